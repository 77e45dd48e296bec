"""Faults, as data: what goes wrong in a run, and when.

Times are seconds of virtual time since the run began. A rate is how likely a fault befalls a message, from 0 to 1.
"""

import ast
import math
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from fnmatch import fnmatchcase
from random import Random
from typing import Any, Final, cast

from typing_extensions import override

from protocol.errors import InvalidSettings

Window = tuple[float, float]
"""From when to when, in seconds."""


class _Written:
    """Written as short as it can be: what has its usual value is left out."""

    __slots__ = ()

    @override
    def __repr__(self) -> str:
        given = [(known, getattr(self, known.name)) for known in fields(cast("Any", self))]
        given = [(known, value) for known, value in given if value != known.default]
        parts = [repr(value) for known, value in given if not known.kw_only]
        parts += [f"{known.name}={value!r}" for known, value in given if known.kw_only]
        return f"{type(self).__name__}({', '.join(parts)})"


@dataclass(frozen=True, slots=True, repr=False)
class MessageFault(_Written):
    """What befalls messages on the bus.

    Attributes:
        channel: which channels; `*` and `?` stand for what they do in file names.
        sender: which nodes' messages.
        receiver: messages to which nodes. `Drop(1, receiver="b", between=(3, 5))` cuts `b` off for two seconds.
        between: when; None is always.
    """

    _: KW_ONLY
    channel: str = "*"
    sender: str = "*"
    receiver: str = "*"
    between: Window | None = None

    def __post_init__(self) -> None:
        if self.between is not None:
            start, end = self.between
            _check(self, 0 <= start <= end, "between goes from one moment to a later one")

    def matches(self, channel: str, sender: str, receiver: str, now: float) -> bool:
        """Whether a message that is sent now can meet with this fault."""
        if self.between is not None and not self.between[0] <= now < self.between[1]:
            return False
        return (
            fnmatchcase(channel, self.channel)
            and fnmatchcase(sender, self.sender)
            and fnmatchcase(receiver, self.receiver)
        )


@dataclass(frozen=True, slots=True, repr=False)
class Delay(MessageFault):
    """Messages take from `least` to `most` seconds longer. Those of one sender to one receiver stay in order."""

    least: float
    most: float
    _: KW_ONLY
    rate: float = 1.0

    def __post_init__(self) -> None:
        MessageFault.__post_init__(self)
        _check(self, 0 <= self.least <= self.most < math.inf, "least and most are seconds, and least is not above most")
        _check_rate(self, self.rate)


@dataclass(frozen=True, slots=True, repr=False)
class Drop(MessageFault):
    """Messages are lost on their way to a receiver, who is counted all the same."""

    rate: float

    def __post_init__(self) -> None:
        MessageFault.__post_init__(self)
        _check_rate(self, self.rate)


@dataclass(frozen=True, slots=True, repr=False)
class Duplicate(MessageFault):
    """Messages arrive twice."""

    rate: float

    def __post_init__(self) -> None:
        MessageFault.__post_init__(self)
        _check_rate(self, self.rate)


@dataclass(frozen=True, slots=True, repr=False)
class Reorder(MessageFault):
    """Messages are up to `within` seconds late, and those behind them do not wait."""

    rate: float
    within: float

    def __post_init__(self) -> None:
        MessageFault.__post_init__(self)
        _check_rate(self, self.rate)
        _check(self, 0 <= self.within < math.inf, "within is seconds, at least 0")


@dataclass(frozen=True, slots=True, repr=False)
class NodeFault(_Written):
    """What befalls a node.

    Attributes:
        node: its name.
        at: when.
    """

    node: str
    at: float

    def __post_init__(self) -> None:
        _check(self, bool(self.node), "node is a node's name")
        _check(self, 0 <= self.at < math.inf, "at is seconds since the run began")


@dataclass(frozen=True, slots=True, repr=False)
class Crash(NodeFault):
    """The node dies (`Node.crash`), and is started again after `restart_after` seconds; None leaves it dead."""

    restart_after: float | None = None

    def __post_init__(self) -> None:
        NodeFault.__post_init__(self)
        seconds = self.restart_after
        _check(self, seconds is None or 0 <= seconds < math.inf, "restart_after is seconds, at least 0, or None")


@dataclass(frozen=True, slots=True, repr=False)
class Pause(NodeFault):
    """The node stands still for so many seconds (`Node.pause`)."""

    seconds: float

    def __post_init__(self) -> None:
        NodeFault.__post_init__(self)
        _check(self, 0 <= self.seconds < math.inf, "seconds is at least 0")


@dataclass(frozen=True, slots=True, repr=False)
class ClockJump(NodeFault):
    """The node's clock leaps by so many seconds, back if that is below 0 (`Node.clock`)."""

    seconds: float

    def __post_init__(self) -> None:
        NodeFault.__post_init__(self)
        _check(self, math.isfinite(self.seconds), "seconds is a finite number")


Fault = Delay | Drop | Duplicate | Reorder | Crash | Pause | ClockJump
KINDS: Final[dict[str, Callable[..., Fault]]] = {
    kind.__name__: kind for kind in (Delay, Drop, Duplicate, Reorder, Crash, Pause, ClockJump)
}


def parse_fault(text: str) -> Fault:
    """The fault that is written so in Python, such as `Drop(0.1, channel="news")`.

    Raises:
        InvalidSettings: that is none.
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise InvalidSettings(f"{text!r} is no fault: write it as in Python, such as Drop(0.1)")
        kind = KINDS[call.func.id]
        named = {keyword.arg or "": ast.literal_eval(keyword.value) for keyword in call.keywords}
        return kind(*(ast.literal_eval(argument) for argument in call.args), **named)
    except (SyntaxError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InvalidSettings):
            raise
        known = ", ".join(KINDS)
        raise InvalidSettings(f"{text!r} is no fault ({error}): the kinds are {known}") from error


def random_faults(random: Random, nodes: Sequence[str], duration: float) -> tuple[Fault, ...]:
    """Draw a plan of faults for a run.

    Args:
        random: where the draws come from.
        nodes: the names of the nodes that may crash, stand still, or have their clocks leap.
        duration: seconds that the scenario takes, about: all that befalls nodes begins within it.
    """
    if not duration > 0:
        raise InvalidSettings(f"a plan of faults cannot be drawn for {duration!r} s")

    def window() -> Window:
        start, end = sorted((random.uniform(0, duration), random.uniform(0, duration)))
        return start, end

    def some(most: int) -> range:
        return range(random.randint(0, most))

    most = duration / 20
    faults: list[Fault] = []
    faults += (Delay(0, random.uniform(0, most), rate=random.random(), between=window()) for _ in some(2))
    faults += (Drop(random.uniform(0, 0.5), between=window()) for _ in some(2))
    faults += (Duplicate(random.uniform(0, 0.5), between=window()) for _ in some(2))
    faults += (Reorder(random.uniform(0, 0.5), random.uniform(0, most), between=window()) for _ in some(2))
    if nodes:
        at, node = lambda: random.uniform(0, duration), lambda: random.choice(nodes)
        faults += (Crash(node(), at(), restart_after=random.uniform(0, duration / 5)) for _ in some(2))
        faults += (Pause(node(), at(), random.uniform(0, duration / 5)) for _ in some(2))
        faults += (ClockJump(node(), at(), random.uniform(-duration / 5, duration / 5)) for _ in some(2))
    return tuple(faults)


def _check(fault: object, holds: bool, rule: str) -> None:  # noqa: FBT001 - a fact, not a flag
    if not holds:
        raise InvalidSettings(f"{fault!r} cannot be: {rule}")


def _check_rate(fault: object, rate: float) -> None:
    _check(fault, 0 <= rate <= 1, "a rate is from 0 to 1")
