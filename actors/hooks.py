"""The hooks that a class of actors has, and whether they could work."""

from inspect import iscoroutinefunction, isgeneratorfunction
from typing import Any, Final

from actors.actor import Actor
from protocol.errors import InvalidSettings
from protocol.mailbox import Mailbox

TURNS: Final = ("receive", "started", "signal", "draining", "stopped")


def check_class(kind: type[Actor[Any]], path: str) -> None:
    """Raise if actors of a class could not work, and would show it only later."""
    for hook in TURNS:
        function = getattr(kind, hook)
        if iscoroutinefunction(function) or isgeneratorfunction(function):
            raise TypeError(
                f"{path} cannot be started: {kind.__name__}.{hook} is a coroutine or generator function, and turns "
                "never await. What must wait is started as an effect"
            )
    if not iscoroutinefunction(kind.starting):
        raise TypeError(f"{path} cannot be started: {kind.__name__}.starting must be an `async def`")
    for name in ("shutdown", "start_timeout"):
        seconds: object = getattr(kind, name)
        if not isinstance(seconds, (int, float)) or not seconds >= 0:
            raise InvalidSettings(
                f"{path} cannot be started: {kind.__name__}.{name} must be seconds of at least 0, not {seconds!r}"
            )
    if not isinstance(kind.mailbox, Mailbox):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidSettings(f"{path} cannot be started: {kind.__name__}.mailbox must be a Mailbox")
