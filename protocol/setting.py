"""What a setting may be: its kind, how a value is checked, and how one is read from text.

Text is what configuration files and the environment hold. It is read strictly: `none` for None where that is allowed,
numbers and durations as numbers, lists parted by commas; what a kind cannot read is refused, and never guessed at.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from typing_extensions import override

from protocol.errors import InvalidSettings

LONGEST: Final = 1e9
"""Seconds; what is longer than thirty years is a mistake, and more than timers take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting(ABC):
    """A kind of setting.

    Args:
        or_none: whether None is allowed too.
    """

    or_none: bool = False

    @property
    @abstractmethod
    def expected(self) -> str:
        """What would be accepted, for errors."""

    @abstractmethod
    def accepts(self, value: object) -> bool:
        """Whether this is a value of the setting, None aside."""

    @abstractmethod
    def read(self, text: str) -> object:
        """The value that the text stands for. ValueError if for none."""

    def show(self, value: object) -> str:
        """A value that was refused, as an error may show it."""
        return shown(value)

    def check(self, name: str, value: object) -> None:
        """Refuse what is no value of the setting of this name.

        Raises:
            InvalidSettings: so it is; the message names the setting and what would be accepted.
        """
        if not (value is None and self.or_none) and not self.accepts(value):
            raise self._refusal(name, value)

    def take(self, name: str, value: object) -> object:
        """The value, which may be given as text, or as a list where a tuple is meant.

        Raises:
            InvalidSettings: it is no value of the setting of this name.
        """
        taken = value
        if isinstance(value, str):
            if self.or_none and value.strip().lower() == "none":
                return None
            try:
                taken = self.read(value)
            except ValueError:
                raise self._refusal(name, value) from None
        elif isinstance(value, list):
            taken = tuple(cast("list[object]", value))
        self.check(name, taken)
        return taken

    def _refusal(self, name: str, value: object) -> InvalidSettings:
        none = " or None" if self.or_none else ""
        return InvalidSettings(f"{name} must be {self.expected}{none}, not {self.show(value)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Count(Setting):
    """A whole number from a lowest one on."""

    at_least: int = 1

    @property
    @override
    def expected(self) -> str:
        return f"a whole number of at least {self.at_least}"

    @override
    def accepts(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= self.at_least

    @override
    def read(self, text: str) -> object:
        return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds(Setting):
    """A duration."""

    @property
    @override
    def expected(self) -> str:
        return f"a number of seconds above 0 and at most {LONGEST:.0e}"

    @override
    def accepts(self, value: object) -> bool:
        # Written so that not-a-number is refused too.
        return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= LONGEST

    @override
    def read(self, text: str) -> object:
        return float(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share(Setting):
    """A part of a whole."""

    @property
    @override
    def expected(self) -> str:
        return "a number from 0 to 1"

    @override
    def accepts(self, value: object) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1

    @override
    def read(self, text: str) -> object:
        return float(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag(Setting):
    """Yes or no."""

    @property
    @override
    def expected(self) -> str:
        return "True or False (as text: true or false, yes or no, on or off, 1 or 0)"

    @override
    def accepts(self, value: object) -> bool:
        return isinstance(value, bool)

    @override
    def read(self, text: str) -> object:
        try:
            return _SAID[text.strip().lower()]
        except KeyError:
            raise ValueError from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Words(Setting):
    """Different words, one at least.

    Args:
        of: the words that there are; none given means any.
    """

    of: tuple[str, ...] = ()

    @property
    @override
    def expected(self) -> str:
        among = f" out of {', '.join(self.of)}" if self.of else ""
        return f"a tuple of texts{among}, at least one, none of them twice"

    @override
    def accepts(self, value: object) -> bool:
        if not isinstance(value, tuple) or not value:
            return False
        words = cast("tuple[object, ...]", value)
        if not all(isinstance(word, str) and word and (not self.of or word in self.of) for word in words):
            return False
        return len(set(words)) == len(words)

    @override
    def read(self, text: str) -> object:
        return tuple(word.strip() for word in text.split(","))


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret(Setting):
    """Bytes that are never shown. As text they are its UTF-8."""

    @property
    @override
    def expected(self) -> str:
        return "bytes, at least one,"

    @override
    def accepts(self, value: object) -> bool:
        return isinstance(value, bytes) and bool(value)

    @override
    def read(self, text: str) -> object:
        return text.encode()  # whose error is a ValueError, and is dropped

    @override
    def show(self, value: object) -> str:
        return f"empty {type(value).__name__}" if value in (b"", "") else type(value).__name__


@dataclass(frozen=True, slots=True, kw_only=True)
class Function(Setting):
    """Something to call. Text cannot hold it."""

    @property
    @override
    def expected(self) -> str:
        return "a function, given in code,"

    @override
    def accepts(self, value: object) -> bool:
        return callable(value)

    @override
    def read(self, text: str) -> Callable[..., object]:
        raise ValueError

    @override
    def show(self, value: object) -> str:
        return "text" if isinstance(value, str) else type(value).__name__


def shown(value: object) -> str:
    """A value as an error may show it: not longer than a line, and whatever its repr does."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - such as a number of 5,000 digits, which Python does not write out
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


_SHOWN: Final = 60
_SAID: Final = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
