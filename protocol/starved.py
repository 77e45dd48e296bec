"""The reservations that wait, and the room that is made for them (`protocol.capacity` says by what rules).

A reservation that waits either has a room (a session that was asked for or given up) or lacks one. One that lacks is
found from both sides: by the cap that its line is parked at, and by its tenant.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

from protocol.caps import Entry, Reservation, Room
from protocol.order import Ranked

K = TypeVar("K", bound=Hashable)


class Starved(Generic[K]):
    """Who waits, and for which room."""

    __slots__ = ("_next_number", "_rooms", "_tenants", "queued", "seeking")

    def __init__(self) -> None:
        self.queued: dict[K, list[Reservation[K]]] = {}
        """Of each key that wants more than it has: its reservations, the oldest first."""
        self.seeking: list[Reservation[K]] = []
        """Those that may have come to lack room in this turn."""
        self._tenants: dict[str, Ranked[Reservation[K]]] = {}  # those that lack room
        self._rooms: dict[K, list[Room[K]]] = {}  # by the key whose session it is
        self._next_number = 1

    @property
    def rooms(self) -> int:
        """How many sessions were asked for or given up, and have not ended yet."""
        return sum(map(len, self._rooms.values()))

    def can_give(self, entry: Entry[K]) -> bool:
        """Whether the key has a session that was neither asked for nor given up."""
        return len(self._rooms.get(entry.key, ())) < entry.permits

    # --- reservations

    def queue(self, entry: Entry[K], now: float) -> None:
        """The key wants a session, and has to wait."""
        reservation = Reservation(self._next_number, entry, now)
        self._next_number += 1
        entry.line.queue.add(reservation.number, reservation)
        self.queued.setdefault(entry.key, []).append(reservation)
        self.lacks_room(reservation)

    def unqueue(self, reservation: Reservation[K]) -> None:
        """Take it out: it is granted, or not wanted any more. Room that is made for it passes to another."""
        room, reservation.is_queued = reservation.room, False
        self._has_room(reservation, room)
        line = reservation.entry.line
        line.queue.discard(reservation.number)
        line.park(line.parked)
        queued = self.queued[reservation.entry.key]
        queued.remove(reservation)
        if not queued:
            del self.queued[reservation.entry.key]
        if room is not None:
            self._pass_on(room)

    def lacks_room(self, reservation: Reservation[K]) -> None:
        """Nobody makes room for it, or nobody does any more."""
        reservation.room = None
        line = reservation.entry.line
        line.lacking.add(reservation.number, reservation)
        line.park(line.parked or line.blocked())
        self._tenants.setdefault(reservation.entry.tenant, Ranked()).add(reservation.number, reservation)
        self.seeking.append(reservation)

    def _has_room(self, reservation: Reservation[K], room: Room[K] | None) -> None:
        reservation.room = room
        line = reservation.entry.line
        line.lacking.discard(reservation.number)
        line.park(line.parked)
        if (same_tenant := self._tenants.get(reservation.entry.tenant)) is not None:
            same_tenant.discard(reservation.number)
            if not same_tenant:
                del self._tenants[reservation.entry.tenant]

    # --- room

    def make_room(self, entry: Entry[K], reservation: Reservation[K] | None) -> None:
        """A session of the key is asked for or given up: for this reservation, or for whoever needs it."""
        room = Room(entry)
        self._rooms.setdefault(entry.key, []).append(room)
        if reservation is None:
            self._pass_on(room)
        else:
            room.reservation = reservation
            self._has_room(reservation, room)

    def claim(self, reservation: Reservation[K]) -> bool:
        """Take room that is being made at its cap and that nobody needs. Answer whether there was any."""
        cap = reservation.entry.line.parked
        if cap is None or not cap.surplus:
            return False
        room = next(iter(cap.surplus))
        self._forget(room)
        room.reservation = reservation
        self._has_room(reservation, room)
        return True

    def settle(self, entry: Entry[K]) -> Reservation[K] | None:
        """The oldest room of this key was made, or cannot be. Answer who waits for it, and lacks one from now on."""
        rooms = self._rooms.get(entry.key)
        if not rooms:
            return None
        room = rooms.pop(0)
        if not rooms:
            del self._rooms[entry.key]
        self._forget(room)
        if room.reservation is not None:
            self.lacks_room(room.reservation)
        return room.reservation

    def remove(self, entry: Entry[K]) -> None:
        """The key has ended: it makes no room, and wants nothing."""
        while entry.key in self._rooms:
            self.settle(entry)
        for reservation in list(self.queued.get(entry.key, ())):
            self.unqueue(reservation)

    def helped_by(self, entry: Entry[K]) -> Reservation[K] | None:
        """The oldest reservation of another key that lacks room, and that a session of this key could make it for."""
        caps = entry.line.caps
        if entry.name is not None:
            for reservation in self._tenants.get(entry.name, ()):
                if reservation.entry is not entry and reservation.entry.line.parked in caps:
                    return reservation
            return None
        found: list[Reservation[K]] = []
        for cap in caps:
            for line in cap.lacking:
                first = next((waiting for waiting in line.lacking if waiting.entry is not entry), None)
                if first is not None:
                    found.append(first)
                    break
        return min(found, key=_number, default=None)

    def _pass_on(self, room: Room[K]) -> None:
        """Nobody needs this room now: the oldest that lacks one has it, else whoever comes to lack one."""
        room.reservation = None
        caps = room.entry.line.caps
        lacking = [cap.lacking.lowest.lacking.lowest for cap in caps if cap.lacking]
        if lacking:
            room.reservation = min(lacking, key=_number)
            self._has_room(room.reservation, room)
            return
        for cap in caps:
            cap.surplus[room] = None

    def _forget(self, room: Room[K]) -> None:
        if room.reservation is None:
            for cap in room.entry.line.caps:
                del cap.surplus[room]


def _number(reservation: Reservation[K]) -> int:
    return reservation.number
