"""What the actors of random trees are told and asked. See `trees`."""

from typing import Any

from actors import Outcome, Ref, Reply, Request, message


@message
class Numbered:
    sender: int
    number: int


@message
class TellOn:
    """Send some to that actor in turn."""

    to: Ref[Any]


@message
class Grow:
    pass


@message
class Fail:
    pass


@message
class Stall:
    """Start an effect that takes so long."""

    seconds: float
    fails: bool
    lingers: bool


@message
class Stalled:
    outcome: Outcome[None]


@message
class Beat:
    every: float


@message
class Beaten:
    pass


@message
class Watch:
    whom: Ref[Any]


@message
class Unwatch:
    whom: Ref[Any]


@message
class End:
    fails: bool


@message
class AskNow(Request[int]):
    pass


@message
class AskLater(Request[int]):
    seconds: float


@message
class Late:
    reply: Reply[int]


@message
class AskNever(Request[int]):
    kept: bool


@message
class AskOn(Request[int]):
    """Pass it on to that actor."""

    to: Ref[Any]


BranchMessage = (
    Numbered
    | TellOn
    | Grow
    | Fail
    | Stall
    | Stalled
    | Beat
    | Beaten
    | Watch
    | Unwatch
    | End
    | AskNow
    | AskLater
    | Late
    | AskNever
    | AskOn
)
