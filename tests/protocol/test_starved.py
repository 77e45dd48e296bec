"""Who waits, and for which room: the moves one by one."""

import pytest

from protocol.capacity_events import Scope
from protocol.caps import Caps, Entry, Reservation
from protocol.starved import Starved


class Waiting:
    """Keys of one pool, which is full, so that whoever wants a session waits."""

    def __init__(self, *, per_user: int | None = None) -> None:
        self.caps = Caps[str](sessions=0, per_user=per_user, per_gateway=None)
        self.starved = Starved[str]()
        self.now = 0.0

    def key(self, name: str, tenant: str = "ada", *, is_sticky: bool = False, permits: int = 5) -> Entry[str]:
        line = self.caps.enter(Scope(tenant, None, tenant))
        entry = Entry(name, line, tenant, tenant if is_sticky else None, 0.0)
        entry.permits = permits
        return entry

    def wants(self, entry: Entry[str]) -> Reservation[str]:
        self.now += 1
        self.starved.queue(entry, self.now)
        return self.starved.queued[entry.key][-1]


@pytest.mark.holds("L3")
def test_whoever_is_queued_lacks_room_at_the_cap_that_is_full_and_is_to_be_found_some() -> None:
    pool = Waiting()
    key = pool.key("a")
    first, second = pool.wants(key), pool.wants(key)
    assert (first.number, second.number, first.since, second.since) == (1, 2, 1.0, 2.0)
    assert pool.starved.queued == {"a": [first, second]}
    assert pool.starved.seeking == [first, second]
    assert key.line.parked is pool.caps.all
    assert list(key.line.queue) == list(key.line.lacking) == [first, second]
    assert (first.room, second.room) == (None, None)


@pytest.mark.holds("L2")
def test_whoever_is_taken_out_leaves_nothing_behind() -> None:
    pool = Waiting()
    key, other = pool.key("a"), pool.key("b")
    first, second = pool.wants(key), pool.wants(key)
    pool.starved.unqueue(second)
    assert not second.is_queued
    assert first.is_queued
    assert pool.starved.queued == {"a": [first]}
    assert list(key.line.queue) == list(key.line.lacking) == [first]
    pool.starved.unqueue(first)
    assert pool.starved.queued == {}
    assert key.line.parked is None
    assert pool.starved.helped_by(other) is None
    assert pool.starved._tenants == {}  # pyright: ignore[reportPrivateUsage]


@pytest.mark.holds("L3")
def test_a_key_can_give_as_many_sessions_as_it_has_and_no_more_than_one_at_a_time_is_settled() -> None:
    pool = Waiting()
    giver, taker = pool.key("a", permits=2), pool.key("b")
    first, second = pool.wants(taker), pool.wants(taker)
    assert pool.starved.can_give(giver)
    pool.starved.make_room(giver, first)
    assert pool.starved.can_give(giver)
    pool.starved.make_room(giver, second)
    assert not pool.starved.can_give(giver)
    assert pool.starved.rooms == 2
    assert pool.starved.settle(giver) is first
    assert pool.starved.rooms == 1
    assert (first.room, second.room is None) == (None, False)
    assert pool.starved.settle(giver) is second
    assert pool.starved.settle(giver) is None
    assert pool.starved.rooms == 0


@pytest.mark.holds("L3")
def test_one_for_whom_room_is_made_lacks_none_until_that_is_settled_and_is_sought_for_again() -> None:
    pool = Waiting()
    giver, taker = pool.key("a"), pool.key("b")
    waiting = pool.wants(taker)
    assert pool.starved.helped_by(giver) is waiting
    pool.starved.make_room(giver, waiting)
    assert pool.starved.helped_by(giver) is None
    assert list(taker.line.lacking) == []
    assert (waiting.room is not None, waiting.is_queued) == (True, True)
    pool.starved.seeking.clear()
    assert pool.starved.settle(giver) is waiting
    assert pool.starved.helped_by(giver) is waiting
    assert pool.starved.seeking == [waiting]
    assert list(pool.caps.all.lacking) == [taker.line]


@pytest.mark.holds("L3")
def test_room_of_one_that_is_served_otherwise_passes_to_the_oldest_that_lacks_it() -> None:
    pool = Waiting()
    giver, taker, later, last = (pool.key(name, name) for name in ("a", "b", "c", "d"))
    served, oldest, newest = pool.wants(taker), pool.wants(later), pool.wants(last)
    pool.starved.make_room(giver, served)
    room = served.room
    pool.starved.unqueue(served)
    assert oldest.room is room
    assert newest.room is None
    assert pool.starved.helped_by(giver) is newest
    assert pool.starved.rooms == 1
    assert pool.starved.settle(giver) is oldest


@pytest.mark.holds("L3")
def test_room_that_nobody_needs_is_claimed_once_by_whoever_comes_next_under_one_of_its_caps() -> None:
    pool = Waiting()
    giver, taker = pool.key("a"), pool.key("b")
    pool.starved.make_room(giver, None)
    assert len(pool.caps.all.surplus) == 1
    first, second = pool.wants(taker), pool.wants(taker)
    assert pool.starved.claim(first)
    assert first.room is not None
    assert first.room.reservation is first
    assert list(taker.line.lacking) == [second]
    assert pool.caps.all.surplus == {}
    assert not pool.starved.claim(second)
    assert second.room is None
    assert pool.starved.settle(giver) is first


def test_room_that_nobody_needs_and_that_was_made_is_claimed_by_nobody() -> None:
    pool = Waiting(per_user=0)
    giver, taker = pool.key("a"), pool.key("b")
    pool.starved.make_room(giver, None)
    assert [len(cap.surplus) for cap in pool.caps] == [1, 1], "one under each of its caps might need it"
    assert pool.starved.settle(giver) is None
    assert [len(cap.surplus) for cap in pool.caps] == [0, 0]
    assert not pool.starved.claim(pool.wants(taker))


def test_room_under_another_users_cap_is_not_claimed() -> None:
    pool = Waiting(per_user=0)
    adas, bobs = pool.key("a"), pool.key("b", "bob")
    pool.starved.make_room(adas, None)
    assert not pool.starved.claim(pool.wants(bobs))
    assert pool.starved.helped_by(adas) is None
    assert not pool.starved.claim(Reservation(9, adas, 0.0)), "nothing waits in its line"


@pytest.mark.holds("L5")
def test_a_sticky_key_helps_the_oldest_of_its_tenant_under_its_caps_and_never_itself() -> None:
    pool = Waiting()
    talk, adas, bobs = pool.key("talk", is_sticky=True), pool.key("a"), pool.key("b", "bob")
    pool.wants(bobs)
    assert pool.starved.helped_by(talk) is None
    own = pool.wants(talk)
    assert pool.starved.helped_by(talk) is None
    oldest = pool.wants(adas)
    pool.wants(adas)
    assert pool.starved.helped_by(talk) is oldest
    assert own.room is None


@pytest.mark.holds("L5")
def test_a_sticky_key_helps_the_next_of_its_tenant_once_room_is_made_for_the_oldest() -> None:
    pool = Waiting()
    talk, adas = pool.key("talk", is_sticky=True), pool.key("a")
    oldest, middle, newest = (pool.wants(adas) for _ in range(3))
    for helped in (oldest, middle, newest):
        assert pool.starved.helped_by(talk) is helped
        pool.starved.make_room(talk, helped)
    assert pool.starved.helped_by(talk) is None
    assert pool.starved._tenants == {}  # pyright: ignore[reportPrivateUsage]
    assert pool.starved.settle(talk) is oldest
    assert pool.starved.helped_by(talk) is oldest


@pytest.mark.holds("L3")
def test_a_key_helps_the_oldest_of_all_others_whichever_of_its_caps_holds_it_up() -> None:
    pool = Waiting(per_user=0)
    adas, second = pool.key("a"), pool.key("a2")
    pool.wants(adas)
    assert pool.starved.helped_by(adas) is None, "a key that gives up a session gains nothing by it"
    under_user = pool.wants(second)
    assert pool.starved.helped_by(adas) is under_user
    pool.starved.unqueue(under_user)
    pool.caps.resize(sessions=0, per_user=1, per_gateway=None)
    under_all = pool.wants(pool.key("b", "bob"))
    assert pool.starved.helped_by(adas) is under_all


@pytest.mark.holds("L3")
@pytest.mark.parametrize("first", ["ada", "bob"])
def test_room_passes_to_the_oldest_also_where_others_wait_at_another_of_its_caps(first: str) -> None:
    pool = Waiting(per_user=1)
    giver, waiting = pool.key("a"), {"ada": pool.key("a2"), "bob": pool.key("b", "bob")}
    giver.line.caps[0].given = 1
    order = sorted(waiting, key=lambda name: name != first)
    oldest, newest = (pool.wants(waiting[name]) for name in order)
    pool.starved.make_room(giver, None)
    assert (oldest.room is not None, newest.room) == (True, None)


@pytest.mark.holds("L5")
def test_a_key_that_ended_makes_no_room_and_wants_nothing() -> None:
    pool = Waiting()
    gone, taker = pool.key("a"), pool.key("b")
    pool.wants(gone)
    pool.wants(gone)
    first, second = pool.wants(taker), pool.wants(taker)
    pool.starved.make_room(gone, first)
    pool.starved.make_room(gone, second)
    pool.starved.remove(gone)
    assert pool.starved.queued == {"b": [first, second]}
    assert pool.starved.rooms == 0
    assert list(taker.line.lacking) == [first, second]
    pool.starved.remove(gone)
    assert pool.starved.queued == {"b": [first, second]}
