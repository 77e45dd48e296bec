"""Settings from outside the program: a file, the environment, and what the program says itself, in this order.

What comes later wins. An error names where the bad value came from, and never shows a secret.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final, cast

from protocol.errors import InvalidSettings
from protocol.settings import SETTING_NAMES, PoolSettings, nearest, read_settings

PREFIX: Final = "TROUPE_"


def load_settings(
    path: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    table: str | None = "troupe",
    **overrides: Any,
) -> PoolSettings:
    """The settings of a pool: from a TOML file, then `TROUPE_*` environment variables, then keyword arguments.

    Args:
        path: the file; None means none. It is read at once, in the caller's thread.
        environ: the environment: `TROUPE_MAX_SIZE` sets `max_size`, and so on. A variable that is almost a setting's is
            refused as a slip; others that begin with `TROUPE_` are left alone, since orchestrators make such for a
            service of this name.
        table: where the settings are in the file, with dots for tables in tables (`"tool.troupe"`); if it is not
            there, or None, the whole file holds settings and nothing else.
        overrides: settings by their names. Text is read as `read_settings` says.

    Raises:
        InvalidSettings: the file cannot be read, a name is unknown, a value cannot be used, or two contradict each
            other. The message says which, and where each came from.

    Example:
        `settings = load_settings("troupe.toml", max_size=20)`
    """
    given: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if path is not None:
        shown, mapping = _read_file(path, table)
        _add(given, origins, mapping, dict.fromkeys(mapping, shown))
    variables = _read_environment(environ)
    _add(given, origins, variables, {name: f"{PREFIX}{name.upper()}" for name in variables})
    _add(given, origins, overrides, dict.fromkeys(overrides, "keyword argument"))
    try:
        return PoolSettings(**given)
    except InvalidSettings as error:  # two contradict each other
        named = [name for name in re.findall(r"\w+", str(error)) if name in SETTING_NAMES]
        said = ", ".join(f"{name} from {origins.get(name, 'its default')}" for name in dict.fromkeys(named))
        raise InvalidSettings(f"{error} ({said})") from None


def _add(
    given: dict[str, Any], origins: dict[str, str], mapping: Mapping[str, object], sources: Mapping[str, str]
) -> None:
    for name, value in mapping.items():
        try:
            given |= read_settings({name: value})
        except InvalidSettings as error:
            raise InvalidSettings(f"{sources[name]}: {error}") from None
        origins[name] = sources[name]


def _read_environment(environ: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in SETTING_NAMES:
            found[name] = text
        elif (meant := nearest(name)) is not None:
            raise InvalidSettings(f"{variable}: there is no such setting: did you mean {PREFIX}{meant.upper()}?")
    return found


def _read_file(path: str | os.PathLike[str], table: str | None) -> tuple[str, dict[str, object]]:
    """Where the settings were found, for errors, and what they are."""
    shown = os.fspath(path)
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as the standard library's own examples read TOML
            document: dict[str, object] = tomllib.load(file)
    except OSError as error:
        raise InvalidSettings(f"{shown} cannot be read: {error.strerror or type(error).__name__}") from error
    except (ValueError, RecursionError) as error:
        # Newer Pythons' errors bear the whole document, with what is secret in it.
        why = str(error) if isinstance(error, tomllib.TOMLDecodeError) else type(error).__name__
        raise InvalidSettings(f"{shown} is not TOML that can be read: {why}") from None
    if table is None:
        return shown, document
    found: object = document
    for part in table.split("."):
        found = _entry(found, part)
    if found is None:  # which TOML has no word for
        return shown, document
    if not isinstance(found, dict):
        raise InvalidSettings(f"{shown}: {table} must be a table, such as [{table}], not {type(found).__name__}")
    return f"{shown}, [{table}]", cast("dict[str, object]", found)


def _entry(table: object, name: str) -> object:
    return cast("dict[str, object]", table).get(name) if isinstance(table, dict) else None
