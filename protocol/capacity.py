"""How many sessions and keys there may be in all, and who makes room for whom.

The rules
---------
- Caps are hard: a permit is taken before a session is opened, and comes home when it has ended. Permits given out never
  exceed `max_sessions`, nor the cap of their user or gateway; admitted keys never exceed `max_keys`. (Caps that are
  lowered take nothing back: idle sessions that are too many are asked for once, nothing is given until there is room.)
- A reservation that cannot be granted waits. Permits go to the oldest reservation that can have one. One that is held
  up by its own user's cap holds up nobody else.
- For each reservation that waits one session is asked for (`MakeRoom`), where there is one: the longest idle one of
  another key that is under the cap in question; a sticky key's only for the same tenant. If that key has none (`Busy`)
  the next is asked; if there is none at all, the next key that says `Idled`.
- Room that is being made for a reservation that was served otherwise passes to the oldest one that lacks it. So there
  are never more sessions on their way out than reservations were waiting at once, whatever else ends meanwhile.
- A sticky session that ended to make room for its tenant is its tenant's: the permit goes to the key that it was
  asked for, if that can have it. Otherwise a permit is anybody's, in turn.
- A busy key gives up a session that comes free when somebody has waited longer than its own waiters, and no room is
  being made for him: `yields_to_others`. It says `Yielded`, which counts as room being made. Until that is heard
  others may yield for the same reservation: as many as there are turns before it in the loop.
- A reservation under two caps that are both full waits at the narrower, and has room made at one after the other.
- A key stands in the order of idleness where its last `Idled` put it. Keys say it at most once a second (and always
  after `Busy` and `InUse`), so the order is right to a second; a key that is used stands where it is used, though it
  may have a session that was idle for longer.
- At `max_keys` a key that ends anyhow (`Leaves`, or asked to for one that waits no more) is waited for, by one newcomer
  each, whoever's it is. If there is none, the key that has had no session for the longest time ends, else the one that
  has been idle the longest, never another tenant's sticky one. A key that cannot be admitted, and finds none that ends
  or that it could evict, is refused at once.
- A key's place goes to whoever has waited the longest, except that of a sticky key which one of its tenant waited for.
- What is said of a key that is not admitted changes nothing. Whoever drives the machine sees to it that what an earlier
  holder of a key still had to say is not said after the key was added again.

`handle` is the one way in, and answers with what must be done; `idled` is what it does with the most frequent event.
What is said: `protocol.capacity_events`.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import Final, Generic, TypeVar, assert_never

from protocol.capacity_events import (
    TRANSITIONS,
    AddKey,
    AdmitKey,
    Busy,
    CapacityCounts,
    CapacityEffect,
    CapacityEvent,
    EvictKey,
    Idled,
    InUse,
    KeyEvent,
    KeyMessage,
    KeyState,
    Leaves,
    MakeRoom,
    NoSpare,
    Permit,
    RefuseKey,
    RemoveKey,
    Reserve,
    ReserveSpare,
    Resized,
    Returned,
    Scope,
    Unreserve,
    Yielded,
)
from protocol.caps import Cap, Caps, Entry, Reservation
from protocol.errors import IllegalTransition, PoolFull
from protocol.key_places import KeyPlaces
from protocol.order import Place
from protocol.starved import Starved

K = TypeVar("K", bound=Hashable)

NOTHING: Final = ()

_EMPTY: Final = KeyState.EMPTY
_IDLE: Final = KeyState.IDLE
_LEAVING: Final = KeyState.LEAVING


class Capacity(Generic[K]):
    """The permits and places of one pool.

    Args:
        max_sessions: the permits there are.
        max_keys: the keys that may be admitted.
        max_sessions_per_user: the permits of one user's keys; None sets no limit and costs nothing.
        max_sessions_per_gateway: the permits of one gateway's keys; None as for users.

    Attributes:
        is_starved: whether any reservation waits. Cheap to read.
    """

    __slots__ = ("_caps", "_effects", "_keys", "_now", "_places", "_starved", "is_starved")

    def __init__(
        self,
        *,
        max_sessions: int,
        max_keys: int,
        max_sessions_per_user: int | None = None,
        max_sessions_per_gateway: int | None = None,
    ) -> None:
        self._caps = Caps[K](
            sessions=max_sessions, per_user=max_sessions_per_user, per_gateway=max_sessions_per_gateway
        )
        self._keys: dict[K, Entry[K]] = {}
        self._places = KeyPlaces[K](max_keys)
        self._starved = Starved[K]()
        self._effects: list[CapacityEffect[K]] = []
        self._now = 0.0
        self.is_starved = False

    def handle(self, event: CapacityEvent[K], *, now: float) -> list[CapacityEffect[K]]:
        """Take in what happened at `now`, in seconds of a monotonic clock; answer what must be done, in order.

        Raises:
            IllegalTransition: a key is added twice, or returns what it does not have.
            InvalidSettings: a cap was to be set where there was none, or taken away.
        """
        self._effects, self._now = [], now
        match event:
            case AddKey(key, scope):
                self._add(key, scope)
            case RemoveKey(key):
                if self._places.leave(key) is None and (entry := self._keys.pop(key, None)) is not None:
                    self._remove(entry)
            case Resized():
                self._resize(event)
            case _:
                if (entry := self._keys.get(event.key)) is not None:
                    self._tell(event, entry)
        for reservation in self._starved.seeking:
            self._seek(reservation)
        self._starved.seeking.clear()
        self.is_starved = bool(self._starved.queued)
        return self._effects

    def idled(self, key: K, now: float) -> Sequence[CapacityEffect[K]]:
        """What an `Idled` comes to, without the event: most are of keys that are known to be idle, and nobody waits."""
        entry = self._keys.get(key)
        if entry is None or entry.state is not _IDLE or self._starved.queued:
            return self.handle(Idled(key), now=now)
        entry.idle_since = now
        for cap, seat in zip(entry.line.caps, entry.seats, strict=False):
            cap.idle.renew(entry.name, seat)
        self._caps.all.idle.renew(entry.name, entry)
        return NOTHING

    def yields_to_others(self, key: K, waiting_since: float | None) -> bool:
        """Whether a session of the key that came free should be closed for the sake of a starved key, rather than lent
        to the key's own oldest waiter, who has waited since `waiting_since` (None: nobody has). Changes nothing:
        whoever acts on it says `Yielded`.
        """
        if not self.is_starved or (entry := self._keys.get(key)) is None:
            return False
        starved = self._starved.helped_by(entry)
        return starved is not None and (waiting_since is None or starved.since < waiting_since)

    def counts(self) -> CapacityCounts:
        """The figures as they are now."""
        return CapacityCounts(
            permits=self._caps.all.given,
            queued=sum(map(len, self._starved.queued.values())),
            rooms=self._starved.rooms,
            keys=len(self._keys),
            pending=self._places.pending,
            evicting=self._places.evicting,
        )

    def _tell(self, event: KeyMessage[K], entry: Entry[K]) -> None:
        match event:
            case Reserve() | ReserveSpare():
                self._reserve(entry, is_spare=isinstance(event, ReserveSpare))
            case Unreserve(key):
                if queued := self._starved.queued.get(key):
                    self._starved.unqueue(queued[-1])
                    self._move_if_spent(entry)
            case Returned():
                self._returned(entry)
            case Idled():
                self._idled(entry)
            case Busy():
                self._move(entry, KeyEvent.BUSY)
                self._starved.settle(entry)
            case InUse():
                self._move(entry, KeyEvent.KEPT)
                if entry.state is not _LEAVING and (waiting := self._places.settle(entry.key)) is not None:
                    self._evict_for(*waiting)
            case Leaves():
                self._move(entry, KeyEvent.LEFT)
                self._places.expect(entry.key)
            case Yielded():
                if self._starved.can_give(entry):
                    self._make_room(entry, self._starved.helped_by(entry))
            case _:
                assert_never(event)

    # --- permits

    def _reserve(self, entry: Entry[K], *, is_spare: bool) -> None:
        has_room = entry.line.blocked() is None
        if is_spare and not has_room:
            self._effects.append(NoSpare(entry.key))
            return
        self._move(entry, KeyEvent.RESERVED)
        if has_room:
            self._give(entry)
        else:
            self._starved.queue(entry, self._now)

    def _give(self, entry: Entry[K]) -> None:
        entry.permits += 1
        for cap in entry.line.caps:
            cap.given += 1
        self._effects.append(Permit(entry.key))

    def _returned(self, entry: Entry[K]) -> None:
        if entry.permits == 0:
            raise IllegalTransition("a key that has no permit cannot return one")
        entry.permits -= 1
        line = entry.line
        for cap in line.caps:
            cap.given -= 1
        reservation = self._starved.settle(entry)
        self._move_if_spent(entry)
        if (
            reservation is not None
            and entry.name == reservation.entry.tenant
            and reservation.entry.line.blocked() is None
        ):
            self._starved.unqueue(self._starved.queued[reservation.entry.key][0])
            self._give(reservation.entry)
        self._serve(line.caps)

    def _serve(self, caps: Iterable[Cap[K]]) -> None:
        """Give what these caps have room for to those that are parked there, the oldest first."""
        while heads := [first for cap in caps if not cap.is_full and (first := cap.waiting.first) is not None]:
            oldest = min(heads)
            line = next(cap.waiting.lowest for cap in caps if not cap.is_full and cap.waiting.first == oldest)
            if (cap := line.blocked()) is not None:
                line.park(cap)
                if cap.idle or cap.surplus:
                    self._starved.seeking.extend(line.lacking)
            else:
                reservation = line.queue.lowest
                self._starved.unqueue(reservation)
                self._give(reservation.entry)

    # --- room

    def _seek(self, reservation: Reservation[K]) -> None:
        """Find a session that can make room for this reservation, if it still lacks one."""
        cap, own = reservation.entry.line.parked, reservation.entry
        if cap is None or not reservation.is_queued or reservation.room is not None or self._starved.claim(reservation):
            return
        longest = self._longest_idle(cap, own.tenant, own.key)
        if longest is not None:
            self._ask(longest, reservation)

    def _longest_idle(self, cap: Cap[K], tenant: str, besides: K) -> Entry[K] | None:
        found = [
            self._keys[key] for name in (None, tenant) if (key := cap.idle.oldest(name, besides=besides)) is not None
        ]
        return min(found, key=_idle_since, default=None)

    def _ask(self, entry: Entry[K], reservation: Reservation[K] | None) -> None:
        self._effects.append(MakeRoom(entry.key))
        self._make_room(entry, reservation)

    def _make_room(self, entry: Entry[K], reservation: Reservation[K] | None) -> None:
        self._starved.make_room(entry, reservation)
        if entry.state is _IDLE and not self._starved.can_give(entry):
            self._move(entry, KeyEvent.ALL_ASKED)

    # --- keys

    def _add(self, key: K, scope: Scope) -> None:
        if key in self._keys or key in self._places:
            raise IllegalTransition("a key that is admitted, or waits for that, cannot be added")
        if len(self._keys) < self._places.max_keys:
            self._admit(key, scope)
        else:
            self._places.wait(key, scope)
            self._evict_for(key, scope)

    def _admit(self, key: K, scope: Scope) -> None:
        line = self._caps.enter(scope)
        entry = Entry(key, line, scope.tenant, scope.tenant if scope.is_sticky else None, self._now)
        self._keys[key] = entry
        self._places.empty.append(entry.name, entry)
        self._effects.append(AdmitKey(key))

    def _evict_for(self, key: K | None, scope: Scope | None) -> None:
        """Find this key one whose place it can have: that ends anyhow, else ask one to; refuse it if there is none."""
        if key is not None and self._places.claim(key):
            return
        names = (None,) if scope is None else (None, scope.tenant)
        for orders in (self._places.empty, self._caps.all.idle):
            found = [self._keys[victim] for name in names if (victim := orders.oldest(name)) is not None]
            if found:
                entry = min(found, key=_idle_since)
                self._move(entry, KeyEvent.EVICTED)
                self._places.evict(entry.key, key)
                self._effects.append(EvictKey(entry.key))
                return
        if key is not None:
            self._places.leave(key)
            full = f"max_keys ({self._places.max_keys}) is reached, and no key is idle: try again later"
            self._effects.append(RefuseKey(key, PoolFull(full)))

    def _remove(self, entry: Entry[K]) -> None:
        """The key has ended: whatever it had and wanted is given back."""
        line = entry.line
        self._leave(entry)
        self._starved.remove(entry)
        for cap in line.caps:
            cap.given -= entry.permits
        self._caps.leave(line)
        self._serve(line.caps)
        waiting = self._places.settle(entry.key)
        first = waiting[0] if waiting is not None and waiting[1].tenant == entry.name else None
        self._fill_places(waiting, first=first)

    def _fill_places(self, heir: tuple[K, Scope] | None = None, *, first: K | None = None) -> None:
        """Admit who waits: the one that the place is for, if it is for one, then the oldest. The heir has no victim."""
        while len(self._keys) < self._places.max_keys:
            key = self._places.oldest() if first is None else first
            if key is None:
                return
            first = None
            scope = self._places.leave(key, None if heir is None else heir[0])
            heir = None
            if scope is not None:
                self._admit(key, scope)
        if heir is not None:
            self._evict_for(*heir)

    def _resize(self, event: Resized) -> None:
        self._caps.resize(
            sessions=event.max_sessions,
            per_user=event.max_sessions_per_user,
            per_gateway=event.max_sessions_per_gateway,
        )
        caps = list(self._caps)
        self._serve([cap for cap in caps if cap.waiting])
        for cap in caps:
            for _ in range(cap.given - cap.limit):
                if (key := cap.idle.oldest(None)) is not None:
                    self._ask(self._keys[key], None)
        self._places.max_keys = event.max_keys
        self._fill_places()
        for _ in range(len(self._keys) - self._places.evicting - event.max_keys):
            self._evict_for(None, None)

    def _idled(self, entry: Entry[K]) -> None:
        if entry.permits == 0:
            self._move_if_spent(entry)
        elif self._starved.can_give(entry):
            self._move(entry, KeyEvent.IDLED)
            while entry.state is _IDLE and (starved := self._starved.helped_by(entry)) is not None:
                self._ask(entry, starved)

    def _move_if_spent(self, entry: Entry[K]) -> None:
        if entry.permits == 0:
            self._move(entry, KeyEvent.SPENT if entry.key in self._starved.queued else KeyEvent.EMPTIED)

    def _move(self, entry: Entry[K], event: KeyEvent) -> None:
        """The one place where a key changes its state, and with it its place in the orders."""
        after = TRANSITIONS[entry.state].get(event)
        if after is None:
            raise IllegalTransition(f"a key that is {entry.state.name} cannot be {event.name}")
        if after is entry.state and event is not KeyEvent.IDLED and event is not KeyEvent.EMPTIED:
            return
        self._leave(entry)
        entry.state = after
        entry.idle_since = self._now
        if after is _EMPTY:
            self._places.empty.append(entry.name, entry)
        elif after is _IDLE:
            for cap, place in _places_of(entry):
                cap.idle.append(entry.name, place)

    def _leave(self, entry: Entry[K]) -> None:
        if entry.state is _EMPTY:
            self._places.empty.remove(entry.name, entry)
        elif entry.state is _IDLE:
            for cap, place in _places_of(entry):
                cap.idle.remove(entry.name, place)


def _places_of(entry: Entry[K]) -> list[tuple[Cap[K], Place[K]]]:
    """Where the key stands when it is idle: at each of its caps."""
    caps = entry.line.caps
    return [*zip(caps, entry.seats, strict=False), (caps[-1], entry)]


def _idle_since(entry: Entry[K]) -> float:
    return entry.idle_since
