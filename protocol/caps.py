"""What the machine of capacity (`protocol.capacity`) keeps: caps, those who wait at them, and the room that is made.

The rules
---------
- A cap counts the permits given out of its scope: all, one user's, one gateway's.
- A line is all reservations of the keys that are under the same caps. What holds up one of them holds up all of them.
  So a line as a whole is parked at one cap that is full, the narrowest first, and moves in one step.
- Of all lines parked at a cap the one with the oldest reservation comes first.
"""

from collections.abc import Iterator
from typing import Generic, TypeVar

from protocol.capacity_events import KeyState, Scope
from protocol.errors import InvalidSettings
from protocol.order import Orders, Place, Ranked

K = TypeVar("K")


class Cap(Generic[K]):
    """One cap: how many permits may be given out in its scope, and how many are."""

    __slots__ = ("given", "idle", "lacking", "limit", "lines", "surplus", "waiting")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.given = 0
        self.lines = 0
        """How many lines are under it."""
        self.waiting = Ranked[Line[K]]()
        """The lines parked here, by their oldest reservation."""
        self.lacking = Ranked[Line[K]]()
        """Those of them that have reservations nobody makes room for, by the oldest such."""
        self.surplus: dict[Room[K], None] = {}
        """Room that is being made in this scope, and that nobody needs any more."""
        self.idle = Orders[K]()
        """The idle keys of the scope: by tenant those that are sticky, by None the others."""

    @property
    def is_full(self) -> bool:
        """Whether no permit is left."""
        return self.given >= self.limit


class Line(Generic[K]):
    """The reservations that wait of the keys under the same caps."""

    __slots__ = ("_head", "_lacking_head", "caps", "keys", "lacking", "name", "parked", "queue")

    def __init__(self, name: tuple[str | None, str | None], caps: tuple[Cap[K], ...]) -> None:
        self.name = name
        self.caps = caps
        """The narrowest first, the one of all sessions last."""
        self.keys = 0
        """How many keys are under these caps."""
        self.queue = Ranked[Reservation[K]]()
        self.lacking = Ranked[Reservation[K]]()
        """Those of the queue that nobody makes room for."""
        self.parked: Cap[K] | None = None
        self._head: int | None = None
        self._lacking_head: int | None = None

    def blocked(self) -> Cap[K] | None:
        """The narrowest cap that is full; None if a permit can be given."""
        for cap in self.caps:
            if cap.given >= cap.limit:
                return cap
        return None

    def park(self, cap: Cap[K] | None) -> None:
        """Wait at this cap, at the place that the queue as it is now has there; nowhere if nothing is queued."""
        head, lacking_head = self.queue.first, self.lacking.first
        if head is None:
            cap = None
        if cap is self.parked and head == self._head and lacking_head == self._lacking_head:
            return
        if self.parked is not None:
            self.parked.waiting.discard(self._head)
            self.parked.lacking.discard(self._lacking_head)
        self.parked, self._head, self._lacking_head = cap, head, lacking_head
        if cap is not None:
            if head is not None:
                cap.waiting.add(head, self)
            if lacking_head is not None:
                cap.lacking.add(lacking_head, self)


class Entry(Place[K]):
    """An admitted key. It is its own place in the order of all keys."""

    __slots__ = ("idle_since", "line", "name", "permits", "seats", "state", "tenant")

    def __init__(self, key: K, line: Line[K], tenant: str, name: str | None, now: float) -> None:
        super().__init__(key)
        self.line = line
        self.tenant = tenant
        self.name = name
        """That of the orders it is in: the tenant if it is sticky, else None."""
        self.permits = 0
        self.idle_since = now
        self.state = KeyState.EMPTY
        self.seats: tuple[Place[K], ...] = tuple(Place(key) for _ in line.caps[1:])
        """Its places in the orders of the narrower caps."""


class Reservation(Generic[K]):
    """One session that a key wants and cannot have yet."""

    __slots__ = ("entry", "is_queued", "number", "room", "since")

    def __init__(self, number: int, entry: Entry[K], since: float) -> None:
        self.number = number
        self.entry = entry
        self.since = since
        self.is_queued = True
        self.room: Room[K] | None = None


class Room(Generic[K]):
    """A session of `entry` that was asked for or given up, and has not ended yet; and the reservation it is for."""

    __slots__ = ("entry", "reservation")

    def __init__(self, entry: Entry[K]) -> None:
        self.entry = entry
        self.reservation: Reservation[K] | None = None


class Caps(Generic[K]):
    """All caps, and the lines under them. A user's and a gateway's are there while a key is under them."""

    __slots__ = ("_gateways", "_lines", "_per_gateway", "_per_user", "_users", "all")

    def __init__(self, *, sessions: int, per_user: int | None, per_gateway: int | None) -> None:
        self.all = Cap[K](sessions)
        self._per_user = per_user
        self._per_gateway = per_gateway
        self._users: dict[str, Cap[K]] = {}
        self._gateways: dict[str, Cap[K]] = {}
        self._lines: dict[tuple[str | None, str | None], Line[K]] = {}

    def __iter__(self) -> Iterator[Cap[K]]:
        yield from self._users.values()
        yield from self._gateways.values()
        yield self.all

    def enter(self, scope: Scope) -> Line[K]:
        """One more key of this scope. Answer the line of its reservations."""
        name = None if self._per_user is None else scope.user, None if self._per_gateway is None else scope.gateway_id
        line = self._lines.get(name)
        if line is None:
            caps = [
                capped.setdefault(who, Cap(limit))
                for capped, limit, who in (
                    (self._users, self._per_user, name[0]),
                    (self._gateways, self._per_gateway, name[1]),
                )
                if who is not None and limit is not None
            ]
            for cap in caps:
                cap.lines += 1
            line = self._lines[name] = Line(name, (*caps, self.all))
        line.keys += 1
        return line

    def leave(self, line: Line[K]) -> None:
        """One key less has this line."""
        line.keys -= 1
        if line.keys:
            return
        del self._lines[line.name]
        for capped, who in ((self._users, line.name[0]), (self._gateways, line.name[1])):
            if who is not None:
                capped[who].lines -= 1
                if not capped[who].lines:
                    del capped[who]

    def resize(self, *, sessions: int, per_user: int | None, per_gateway: int | None) -> None:
        """The limits are these from now on.

        Raises:
            InvalidSettings: a cap was to be set where there was none, or taken away. Nothing is changed.
        """
        changes = (
            ("max_sessions_per_user", self._per_user, per_user, self._users),
            ("max_sessions_per_gateway", self._per_gateway, per_gateway, self._gateways),
        )
        for name, before, after, _ in changes:
            if (before is None) is not (after is None):
                raise InvalidSettings(f"{name} can be changed where it is set, but not set or taken away later")
        self.all.limit = sessions
        self._per_user, self._per_gateway = per_user, per_gateway
        for _, _, after, capped in changes:
            if after is not None:
                for cap in capped.values():
                    cap.limit = after
