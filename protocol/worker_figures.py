"""What a worker says of itself each time it beats, for whoever looks at the cluster.

It lies in Redis unsigned, and workers of another version may have written it. So it is read as what anybody may have
put there: it is what it should be, or it is nothing.
"""

from typing import Final

from protocol.errors import EnvelopeRefused
from protocol.layout import Layout, is_moment, is_number, is_text, or_none
from protocol.message import message

VERSION: Final = 1
LONGEST_NAME: Final = 64
"""Characters of a pool's name that are said."""


@message
class WorkerFigures:
    """A worker's figures in small, as they were when it beat last. Counters count since its pool was opened.

    Attributes:
        pool: what its pool is called, in printable ASCII; None where that cannot be said.
        uptime: seconds since its pool was opened.
        conversations: downstream sessions that it owns.
        sessions: upstream sessions that it has, those being opened and closed included.
        local_hits: calls of conversations that it owned.
        remote_hits: calls of conversations that others owned.
        misses: calls of conversations that nobody owned, and that it claimed.
        forwarded: requests that it sent to others.
        in_flight: those of them that are unanswered.
        served: requests of others that it began.
        in_service: those that it has not answered yet.
    """

    pool: str | None
    uptime: float
    conversations: int
    sessions: int
    local_hits: int
    remote_hits: int
    misses: int
    forwarded: int
    in_flight: int
    served: int
    in_service: int

    def pack(self) -> bytes:
        """The figures as bytes; none where they are of a kind that nobody would take."""
        name = "" if self.pool is None else self.pool.encode("ascii", "replace").decode("ascii")[:LONGEST_NAME]
        values = tuple(getattr(self, field) for field in _NUMBERS)
        try:
            return _LAYOUT.pack((VERSION, name if _is_name(name) else None, float(self.uptime), *values))
        except EnvelopeRefused:
            return b""

    @staticmethod
    def unpack(said: bytes) -> "WorkerFigures | None":
        """The figures that these bytes are; None if they are none. Raises nothing, whatever they are."""
        try:
            _, *values = _LAYOUT.unpack(said)
        except EnvelopeRefused:
            return None
        return WorkerFigures(*values)


def _is_version(value: object) -> bool:
    return value.__class__ is int and value == VERSION


def _is_name(value: object) -> bool:
    return is_text(value, LONGEST_NAME)


def _is_uptime(value: object) -> bool:
    return is_moment(value) and isinstance(value, float) and value >= 0


_NUMBERS: Final = tuple(name for name in WorkerFigures.__match_args__ if name not in {"pool", "uptime"})
_LAYOUT: Final = Layout(
    "what a worker says of itself",
    {"version": _is_version, "pool": or_none(_is_name), "uptime": _is_uptime, **dict.fromkeys(_NUMBERS, is_number)},
)
