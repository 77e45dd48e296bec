"""The machine of capacity under any order of events, against a model that searches everything every time.

The invariants, after every event:

- L5: permits given out = `Permit` effects - `Returned` - what removed keys had; no cap is exceeded, ever.
- L3: nothing waits that could be granted; permits go to the oldest that can have one; each that waits and lacks room
  has no key left that could be asked. In the end all are served.
- Nobody makes room for another tenant with a sticky session; who is asked has been idle the longest.
- No key is refused, and none is evicted for it, while one that nobody waits for is on its way out; no two wait for the
  same one. Places go to the oldest, but for a sticky key's that is its tenant's.
"""

# pyright: reportPrivateUsage=false
# Which room is meant for whom shows only within.

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.capacity import Capacity
from protocol.capacity_events import (
    AddKey,
    AdmitKey,
    Busy,
    CapacityEvent,
    EvictKey,
    Idled,
    InUse,
    KeyMessage,
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

SCOPES = st.builds(
    Scope,
    user=st.sampled_from([None, "ada", "bob"]),
    gateway_id=st.sampled_from([None, "east", "west"]),
    tenant=st.sampled_from(["red", "blue"]),
    is_sticky=st.booleans(),
)
CAPS = st.none() | st.integers(1, 3)


class CapacityLife(RuleBasedStateMachine):
    """Drives the machine as supervisors do, and as they may not: in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.made = 0
        self.scopes: dict[int, Scope] = {}
        self.admitted: set[int] = set()
        self.pending: list[int] = []
        self.permits: dict[int, int] = {}
        self.queue: list[tuple[int, int, float]] = []  # number, key, since
        self.reservations = 0
        self.asked: dict[int, int] = {}  # rooms that are being made, by key
        self.evicting: set[int] = set()  # those on their way out, asked or not
        self.leaving: set[int] = set()  # those of them that end for certain
        self.empty: dict[int, float] = {}  # key -> since when
        self.idle: dict[int, float] = {}

    @initialize(
        sessions=st.integers(1, 5), keys=st.integers(2, 7), user=CAPS, gateway=CAPS, first=st.lists(SCOPES, max_size=7)
    )
    def make(self, sessions: int, keys: int, user: int | None, gateway: int | None, first: list[Scope]) -> None:
        self.max_sessions, self.max_keys, self.per_user, self.per_gateway = sessions, keys, user, gateway
        self.machine = Capacity[int](
            max_sessions=sessions, max_keys=keys, max_sessions_per_user=user, max_sessions_per_gateway=gateway
        )
        for scope in first:
            self.add_a_key(scope)

    # --- the model

    def caps(self, key: int) -> list[tuple[int, set[int]]]:
        """Each cap of the key: its limit, and the keys under it."""
        scope = self.scopes[key]
        caps = [(self.max_sessions, set(self.admitted))]
        if self.per_user is not None and scope.user is not None:
            caps.append((self.per_user, {k for k in self.admitted if self.scopes[k].user == scope.user}))
        if self.per_gateway is not None and scope.gateway_id is not None:
            same = {k for k in self.admitted if self.scopes[k].gateway_id == scope.gateway_id}
            caps.append((self.per_gateway, same))
        return caps

    def full_caps(self, key: int) -> list[set[int]]:
        return [keys for limit, keys in self.caps(key) if sum(self.permits[k] for k in keys) >= limit]

    def may_give(self, giver: int, key: int) -> bool:
        return not self.scopes[giver].is_sticky or self.scopes[giver].tenant == self.scopes[key].tenant

    def queued(self, key: int) -> int:
        return sum(queued == key for _, queued, _ in self.queue)

    def settle_empty(self, key: int) -> None:
        self.idle.pop(key, None) if not self.permits[key] else None
        self.empty.pop(key, None)
        if not self.permits[key] and not self.queued(key) and key not in self.evicting:
            self.empty[key] = self.now

    def send(self, event: CapacityEvent[int]) -> None:
        self.now += 1
        self.earmarked: str | None = None
        if isinstance(event, Returned) and event.key in self.admitted and self.scopes[event.key].is_sticky:
            self.earmarked = self.scopes[event.key].tenant
        self.heirs: str | None = None
        if isinstance(event, RemoveKey) and event.key in self.admitted and self.scopes[event.key].is_sticky:
            self.heirs = self.scopes[event.key].tenant
        self.before(event)
        is_said_short = isinstance(event, Idled) and self.now % 2
        for effect in (
            self.machine.idled(event.key, self.now)
            if isinstance(event, Idled) and is_said_short
            else self.machine.handle(event, now=self.now)
        ):
            match effect:
                case Permit(key):
                    self.permit(key)
                case MakeRoom(key):
                    self.make_room(key, resized=isinstance(event, Resized))
                case AdmitKey(key):
                    heirs, self.heirs = self.heirs, None
                    assert key == self.pending[0] or heirs == self.scopes[key].tenant
                    self.pending.remove(key)
                    self.admitted.add(key)
                    self.permits[key] = self.asked[key] = 0
                    self.empty[key] = self.now
                    assert len(self.admitted) <= self.max_keys
                case RefuseKey(key, _):
                    assert not self.victims(key)
                    self.pending.remove(key)
                    assert not self.unclaimed()
                case EvictKey(key):
                    assert key not in self.evicting
                    is_wanted = len(self.evicting) < len(self.pending)
                    is_too_many = len(self.admitted) - len(self.evicting) > self.max_keys
                    assert is_too_many if isinstance(event, Resized) else is_wanted
                    assert any(key in self.victims(waiting) for waiting in self.pending) or (
                        isinstance(event, Resized) and not self.scopes[key].is_sticky
                    )
                    self.evicting.add(key)
                    self.empty.pop(key, None)
                    self.idle.pop(key, None)
                case NoSpare(key):
                    assert self.full_caps(key)

    def before(self, event: CapacityEvent[int]) -> None:
        """What the event says, before the machine answers."""
        match event:
            case AddKey(key):
                self.pending.append(key)
            case RemoveKey(key):
                if key in self.pending:
                    self.pending.remove(key)
                self.admitted.discard(key)
                self.evicting.discard(key)
                self.leaving.discard(key)
                for known in (self.permits, self.asked, self.empty, self.idle):
                    known.pop(key, None)
                self.queue = [queued for queued in self.queue if queued[1] != key]
            case Resized():
                self.max_sessions, self.max_keys = event.max_sessions, event.max_keys
                self.per_user, self.per_gateway = event.max_sessions_per_user, event.max_sessions_per_gateway
            case _:
                if event.key in self.admitted:
                    self.said(event)

    def said(self, event: KeyMessage[int]) -> None:
        key = event.key
        match event:
            case Reserve():
                self.reservations += 1
                self.queue.append((self.reservations, key, self.now))
                self.empty.pop(key, None)
            case Unreserve():
                self.unreserved(key)
            case Returned():
                self.permits[key] -= 1
                self.asked[key] = max(0, self.asked[key] - 1)
                if not self.permits[key]:
                    self.settle_empty(key)
            case Idled():
                self.idled(key)
            case Busy():
                self.idle.pop(key, None)
                self.asked[key] = max(0, self.asked[key] - 1)
            case InUse():
                self.evicting -= {key} - self.leaving
            case Leaves():
                self.leaving.add(key)
                self.evicting.add(key)
                self.empty.pop(key, None)
                self.idle.pop(key, None)
            case Yielded():
                self.yielded(key)
            case ReserveSpare():
                pass

    def unreserved(self, key: int) -> None:
        mine = [queued for queued in self.queue if queued[1] == key]
        if mine:
            self.queue.remove(mine[-1])
            if not self.permits[key]:
                self.settle_empty(key)

    def idled(self, key: int) -> None:
        if not self.permits[key]:
            self.settle_empty(key)
        elif self.asked[key] < self.permits[key] and key not in self.evicting:
            self.idle[key] = self.now

    def yielded(self, key: int) -> None:
        if self.asked[key] < self.permits[key]:
            self.asked[key] += 1
            if self.asked[key] == self.permits[key]:
                self.idle.pop(key, None)

    def permit(self, key: int) -> None:
        mine = [queued for queued in self.queue if queued[1] == key]
        assert not self.full_caps(key), "no cap is exceeded"
        if mine:
            older = [other for number, other, _ in self.queue if number < mine[0][0] and not self.full_caps(other)]
            earmarked, self.earmarked = self.earmarked, None
            assert not older or earmarked == self.scopes[key].tenant, "the oldest that can be served is served first"
            self.queue.remove(mine[0])
        self.empty.pop(key, None)
        self.permits[key] += 1

    def make_room(self, giver: int, *, resized: bool) -> None:
        def has_been_idle_longest(key: int, among: set[int]) -> bool:
            could = [self.idle[k] for k in among if k in self.idle and k != key and self.may_give(k, key)]
            return giver in among and self.idle[giver] == min(could)

        assert giver in self.idle
        assert resized or any(
            has_been_idle_longest(key, among)
            for _, key, _ in self.queue
            if key != giver and self.may_give(giver, key)
            for among in self.full_caps(key)
        )
        assert not resized or not self.scopes[giver].is_sticky or self.queue
        self.asked[giver] += 1
        if self.asked[giver] == self.permits[giver]:
            del self.idle[giver]

    def victims(self, key: int) -> set[int]:
        """Who may be evicted for this key now."""
        for order in (self.empty, self.idle):
            could = {k: since for k, since in order.items() if self.may_give(k, key)}
            if could:
                return {k for k, since in could.items() if since == min(could.values())}
        return set()

    def unclaimed(self) -> int:
        """How many keys are on their way out that nobody waits for: whoever waits does so for one of his own."""
        return len(self.evicting) - len(self.pending)

    # --- what happens

    def draw(self, data: st.DataObject, among: "set[int] | list[int]") -> int:
        return data.draw(st.sampled_from(sorted(among)))

    @rule(scope=SCOPES)
    def add_a_key(self, scope: Scope) -> None:
        self.made += 1
        self.scopes[self.made] = scope
        self.send(AddKey(self.made, scope))

    @precondition(lambda self: self.admitted or self.pending)
    @rule(data=st.data())
    def remove_a_key(self, data: st.DataObject) -> None:
        self.send(RemoveKey(self.draw(data, [*self.admitted, *self.pending])))

    @precondition(lambda self: self.admitted)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.send(Leaves(self.draw(data, self.admitted)))

    @precondition(lambda self: self.evicting)
    @rule(data=st.data(), ends=st.booleans())
    def answer_an_eviction(self, data: st.DataObject, *, ends: bool) -> None:
        key = self.draw(data, self.evicting)
        self.send(RemoveKey(key) if ends else InUse(key))

    @precondition(lambda self: self.admitted)
    @rule(data=st.data(), kind=st.sampled_from([Reserve, Reserve, Reserve, ReserveSpare, Unreserve, Idled, Busy]))
    def say_something(
        self,
        data: st.DataObject,
        kind: "type[Reserve[int] | ReserveSpare[int] | Unreserve[int] | Idled[int] | Busy[int]]",
    ) -> None:
        self.send(kind(self.draw(data, self.admitted)))

    @precondition(lambda self: self.admitted)
    @rule(data=st.data(), times=st.integers(1, 3))
    def reserve(self, data: st.DataObject, times: int) -> None:
        key = self.draw(data, self.admitted)
        for _ in range(times):
            self.send(Reserve(key))

    @precondition(lambda self: any(self.permits.values()))
    @rule(data=st.data(), idle=st.booleans())
    def use_a_session(self, data: st.DataObject, *, idle: bool) -> None:
        key = self.draw(data, {key for key, permits in self.permits.items() if permits})
        self.send(Idled(key) if idle else Returned(key))

    @precondition(lambda self: any(self.asked.values()))
    @rule(data=st.data(), ends=st.booleans())
    def answer_a_request_for_room(self, data: st.DataObject, *, ends: bool) -> None:
        key = self.draw(data, {key for key, asked in self.asked.items() if asked})
        self.send(Returned(key) if ends else Busy(key))

    @precondition(lambda self: any(self.permits.values()))
    @rule(data=st.data(), since=st.none() | st.floats(0, 60))
    def yield_a_session(self, data: st.DataObject, since: float | None) -> None:
        key = self.draw(data, {key for key, permits in self.permits.items() if permits})
        lacking = [
            reservation
            for queued in self.machine._starved.queued.values()
            for reservation in queued
            if reservation.room is None and reservation.entry.key != key and self.may_give(key, reservation.entry.key)
        ]
        helped = [r for r in lacking if any({key, r.entry.key} <= keys for keys in self.full_caps(r.entry.key))]
        older = [r for r in helped if since is None or r.since < since]
        if self.machine.yields_to_others(key, since):
            assert older
            self.send(Yielded(key))
        elif self.per_user is None and self.per_gateway is None:
            assert not older

    @precondition(lambda self: self.made > 4)
    @rule(sessions=st.integers(1, 5), keys=st.integers(1, 5), cap=st.integers(1, 3))
    def resize(self, sessions: int, keys: int, cap: int) -> None:
        user = None if self.per_user is None else cap
        gateway = None if self.per_gateway is None else cap
        self.send(Resized(sessions, keys, user, gateway))

    @rule(
        key=st.integers(0, 30),
        kind=st.sampled_from([Returned, Idled, Busy, InUse, Leaves, Reserve, Yielded, RemoveKey]),
    )
    def say_something_of_a_key_that_is_not_there(self, key: int, kind: "type[Returned[int]]") -> None:
        if key not in self.admitted and key not in self.pending:
            before = self.machine.counts()
            assert self.machine.handle(kind(key), now=self.now) == []
            assert self.machine.counts() == before

    # --- what must hold

    @invariant()
    def permits_are_conserved(self) -> None:
        counts = self.machine.counts()
        assert counts.permits == sum(self.permits.values())
        assert counts.queued == len(self.queue)
        assert self.machine.is_starved == bool(self.queue)
        assert counts.keys == len(self.admitted)
        assert counts.pending == len(self.pending)
        assert counts.rooms == sum(self.asked.values())
        assert counts.evicting == len(self.evicting)

    @invariant()
    def nothing_waits_that_could_be_granted(self) -> None:
        assert all(self.full_caps(key) for _, key, _ in self.queue)
        assert not self.pending or len(self.admitted) >= self.max_keys

    @invariant()
    def whoever_lacks_room_has_nobody_to_ask(self) -> None:
        rooms: list[object] = []
        for queued in self.machine._starved.queued.values():
            for reservation in queued:
                if reservation.room is not None:
                    rooms.append(reservation.room)
                    continue
                key = reservation.entry.key
                parked = reservation.entry.line.parked
                assert parked is not None
                assert parked.is_full
                under = [k for k in self.idle if parked in self.machine._keys[k].line.caps]
                assert not [k for k in under if k != key and self.may_give(k, key)]
                assert not parked.surplus
        assert len(rooms) == len(set(map(id, rooms))), "no two reservations count on one room"

    @invariant()
    def every_key_that_waits_has_one_of_its_own_that_is_on_its_way_out(self) -> None:
        assert self.unclaimed() >= 0
        victims = self.machine._places._victims
        assert set(victims) == set(self.pending)
        assert len(set(victims.values())) == len(victims)
        assert set(self.machine._places._meant_for) == self.evicting
        assert set(self.machine._places._unclaimed) == self.evicting - set(victims.values())

    def teardown(self) -> None:
        if not hasattr(self, "machine"):
            return
        for _ in range(1_000):
            if not self.queue:
                break
            self.send(Returned(next(key for key, permits in self.permits.items() if permits)))
        assert not self.queue, "everybody is served once sessions end"
        for key in list(self.admitted) + self.pending:
            self.send(RemoveKey(key))
        for key in list(self.admitted):
            self.send(RemoveKey(key))
        counts = self.machine.counts()
        assert counts.permits == counts.rooms == counts.keys == counts.pending == counts.evicting == 0
        left = self.machine._caps
        assert not left._users
        assert not left._gateways
        assert not left._lines
        assert not left.all.idle
        assert not left.all.surplus
        assert not len(left.all.waiting)
        assert not len(left.all.lacking)
        assert not self.machine._places.empty
        assert not self.machine._starved._tenants


CapacityLife.TestCase.settings = settings(max_examples=400, stateful_step_count=60, deadline=None)


@pytest.mark.holds("L3", "L5")
class TestCapacityLife(CapacityLife.TestCase):
    pass
