"""Settings from a file, the environment and code: which wins, and what is said of a bad one."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from actors import configuration
from actors.configuration import load_settings
from protocol.errors import InvalidSettings
from protocol.settings import PoolSettings

NOTHING: Mapping[str, str] = {}


def file_of(folder: Path, text: str) -> Path:
    path = folder / "troupe.toml"
    path.write_text(text)
    return path


def test_nothing_given_is_the_defaults() -> None:
    assert load_settings(environ=NOTHING) == PoolSettings()


def test_the_environment_goes_before_the_file_and_arguments_before_both(tmp_path: Path) -> None:
    path = file_of(tmp_path, "[troupe]\nmax_size = 1\nmax_keys = 1\nmax_waiting = 1\n")
    environ = {"TROUPE_MAX_KEYS": "2", "TROUPE_MAX_WAITING": "2", "HOME": "/"}
    settings = load_settings(path, environ=environ, max_waiting=3)
    assert (settings.max_size, settings.max_keys, settings.max_waiting) == (1, 2, 3)
    assert load_settings(str(path), environ=NOTHING).max_keys == 1


def test_the_processes_own_environment_is_read_if_no_other_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TROUPE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TROUPE_MAX_IDLE", "none")
    assert load_settings() == PoolSettings(max_idle=None)


def test_all_that_toml_can_say_is_understood(tmp_path: Path) -> None:
    path = file_of(
        tmp_path,
        """
        other = "is not looked at, since there is a table"
        [troupe]
        max_lifetime = 60
        max_idle = "none"
        lifetime_jitter = 0.5
        check_principal = false
        health_probes = ["ping", "skip"]
        identity_headers = "X-B, Authorization"
        identity_secret = "s3cret"
        """,
    )
    assert load_settings(path, environ=NOTHING) == PoolSettings(
        max_lifetime=60,
        max_idle=None,
        lifetime_jitter=0.5,
        check_principal=False,
        health_probes=("ping", "skip"),
        identity_headers=("authorization", "x-b"),
        identity_secret=b"s3cret",
    )


def test_the_table_may_be_the_whole_file_or_one_within_others(tmp_path: Path) -> None:
    assert load_settings(file_of(tmp_path, "max_size = 3"), environ=NOTHING).max_size == 3
    path = file_of(tmp_path, "[tool.troupe]\nmax_size = 4\n[tool.other]\nx = 1\n")
    assert load_settings(path, environ=NOTHING, table="tool.troupe").max_size == 4
    with pytest.raises(InvalidSettings, match="there is no setting 'tool'"):
        load_settings(path, environ=NOTHING)
    with pytest.raises(InvalidSettings, match="there is no setting 'troupe'"):
        load_settings(file_of(tmp_path, "[troupe]"), environ=NOTHING, table=None)
    with pytest.raises(InvalidSettings, match=r"troupe must be a table, such as \[troupe\], not int"):
        load_settings(file_of(tmp_path, "troupe = 5"), environ=NOTHING)


def test_a_bad_value_is_told_with_where_it_came_from(tmp_path: Path) -> None:
    path = file_of(tmp_path, "[troupe]\nmax_size = 0\n")
    with pytest.raises(InvalidSettings, match=r"troupe.toml, \[troupe\]: max_size must be .* not 0"):
        load_settings(path, environ=NOTHING)
    with pytest.raises(InvalidSettings, match=r"^TROUPE_MAX_SIZE: max_size must be .* not 'ten'"):
        load_settings(environ={"TROUPE_MAX_SIZE": "ten"})
    with pytest.raises(InvalidSettings, match=r"^keyword argument: max_size must be"):
        load_settings(environ=NOTHING, max_size=-1)
    with pytest.raises(InvalidSettings, match=r"^keyword argument: .* did you mean max_size"):
        load_settings(environ=NOTHING, max_sise=1)


def test_two_that_contradict_each_other_are_told_with_where_each_came_from(tmp_path: Path) -> None:
    path = file_of(tmp_path, "min_idle = 5")
    with pytest.raises(InvalidSettings, match="min_idle") as caught:
        load_settings(path, environ={"TROUPE_MAX_SIZE": "4"})
    assert str(caught.value).endswith(f"(min_idle from {path}, max_size from TROUPE_MAX_SIZE)")
    with pytest.raises(InvalidSettings, match=r"\(min_idle from keyword argument, max_size from its default\)"):
        load_settings(environ=NOTHING, min_idle=11)
    with pytest.raises(InvalidSettings, match=r"\(identity_headers from TROUPE_IDENTITY_HEADERS\)"):
        load_settings(environ={"TROUPE_IDENTITY_HEADERS": "a b"})


def test_a_variable_that_is_almost_a_settings_is_a_slip_and_others_are_left_alone() -> None:
    others = {"TROUPE_SERVICE_HOST": "10.0.0.1", "TROUPE_PORT": "tcp://10.0.0.1:80", "TROUPE_PYTHON": ""}
    assert load_settings(environ={**others, "troupe_max_size": "5", "MAX_SIZE": "5"}) == PoolSettings()
    with pytest.raises(InvalidSettings, match=r"TROUPE_MAX_SISE: .* did you mean TROUPE_MAX_SIZE"):
        load_settings(environ={"TROUPE_MAX_SISE": "5"})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"max_size = ", "is not TOML that can be read: Invalid value"),
        (b"\xff", "is not TOML that can be read: UnicodeDecodeError"),
        (b"a = " + b"[" * 100_000, "is not TOML that can be read"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_by_its_name(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "troupe.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidSettings, match=why) as caught:
        load_settings(path, environ=NOTHING)
    assert str(caught.value).startswith(str(path))
    with pytest.raises(InvalidSettings, match="cannot be read: Is a directory"):
        load_settings(tmp_path, environ=NOTHING)


def test_a_function_cannot_come_from_text(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"^TROUPE_IDENTITY_EXTRACTOR: identity_extractor must be a function"):
        load_settings(environ={"TROUPE_IDENTITY_EXTRACTOR": "os.getenv"})
    with pytest.raises(InvalidSettings, match="identity_extractor must be a function, given in code"):
        load_settings(file_of(tmp_path, 'identity_extractor = "os.getenv"'), environ=NOTHING)
    extractor = configuration.os.getenv
    assert load_settings(environ=NOTHING, identity_extractor=extractor).identity_extractor is extractor


@pytest.mark.holds("X1")
def test_no_error_shows_a_secret(tmp_path: Path) -> None:
    texts = [
        'identity_secret = "s3cret"\nmin_idle = 11',
        'identity_secret = ["s3cret"]',
        'identity_secret = { value = "s3cret" }',
        'identity_secret = "s3cret" s3cret',
        'identity_secret = "s3cret',
        'identity_secret = "s3cret"\nidentity_secret = "s3cret"',
    ]
    for text in texts:
        with pytest.raises(InvalidSettings) as caught:
            load_settings(file_of(tmp_path, text), environ=NOTHING)
        assert "s3cret" not in str(caught.value)
    with pytest.raises(InvalidSettings) as caught:
        load_settings(environ={"TROUPE_IDENTITY_SECRET": "s3cret"}, min_idle=11)
    assert "s3cret" not in str(caught.value)
