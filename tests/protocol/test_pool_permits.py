"""The pool machine, rule by rule: permits, openings that fail, and room for other keys."""

import pytest

from protocol.errors import ConnectFailed
from protocol.pool_messages import (
    Acquire,
    Evict,
    Leaving,
    MakeRoom,
    Occupied,
    Open,
    PermitGranted,
    PermitRefused,
    Refuse,
    Release,
    Reserve,
    Resize,
    Return,
    SessionBroke,
    SessionGone,
    SessionOpened,
    Unreserve,
    Withdraw,
    Yielded,
)
from protocol.session import Retirement
from tests.protocol.driven_pool import Driven, Elsewhere, closed, granted, quiet

DOWN = ConnectFailed("nothing listens there", step="connect")


@pytest.mark.holds("L5")
def test_no_more_is_reserved_than_there_are_waiters_or_room_and_what_is_not_needed_comes_back() -> None:
    pool = Driven(max_size=2)
    assert [pool(Acquire(name)) for name in ("ada", "bob", "cy")] == [[Reserve("ada")], [Reserve("bob")], []]
    assert pool.machine.counts(now=0.0).free == 0
    assert pool(PermitGranted()) == [Open(1, "ada")]
    granted(pool(SessionOpened(1)), "ada", 1)
    pool(Withdraw("bob"))
    assert pool(Withdraw("cy")) == [Unreserve()]
    assert pool(PermitGranted()) == [Return()]


@pytest.mark.holds("L5")
def test_a_permit_that_crosses_the_taking_back_of_its_reservation_comes_back_unless_it_is_wanted_again() -> None:
    pool = Driven()
    pool(Acquire("ada"))
    pool(Withdraw("ada"))
    assert pool(PermitGranted()) == [Return()]
    assert pool(Acquire("bob")) == [Reserve("bob")]
    pool(Withdraw("bob"))
    assert pool(Acquire("cy")) == [Reserve("cy")]
    assert pool(PermitGranted()) == [Open(1, "cy")]  # it was bob's
    assert pool(PermitGranted()) == [Return()]


@pytest.mark.holds("L2", "L5")
def test_a_refused_permit_costs_the_one_that_it_was_asked_for_its_wait_and_the_next_one_asks_again() -> None:
    pool = Driven(max_size=1)
    pool(Acquire("ada"))
    pool(Acquire("bob"))
    assert pool(PermitRefused(DOWN, "ada")) == [Refuse("ada", DOWN), Reserve("bob")]
    assert pool(PermitRefused(DOWN, "bob")) == [Refuse("bob", DOWN)]
    assert pool(PermitRefused(DOWN, "bob")) == []


@pytest.mark.holds("L2", "B1")
def test_a_refusal_is_told_to_the_one_that_it_is_for_and_not_to_those_who_have_waited_for_longer() -> None:
    pool = Driven()
    pool(Acquire("ada"))
    pool(Acquire("bob"))
    assert pool(PermitRefused(DOWN, "bob")) == [Refuse("bob", DOWN)]
    assert pool(PermitGranted()) == [Open(1, "ada")]
    assert pool(Acquire("cy")) == [Reserve("cy")]
    assert pool(PermitGranted()) == [Open(2, "cy")]
    assert pool(SessionGone(2, DOWN)) == [Return(), Refuse("cy", DOWN)]
    assert pool(SessionGone(1, DOWN)) == [Return(), Refuse("ada", DOWN)]


@pytest.mark.holds("L5")
def test_a_spare_is_asked_for_as_one_while_some_wait_whom_an_attempt_for_others_will_serve() -> None:
    pool = Driven(places=2, min_idle=1, breaker_ceiling=30.0)
    assert pool(Acquire("ada")) == [Reserve("ada"), Reserve(None)]
    assert pool(Acquire("bob")) == []
    assert pool(PermitRefused()) == []
    assert pool(PermitGranted()) == [Open(1, "ada")]
    assert pool.tick(at=30.0) == [Reserve(None)]


@pytest.mark.holds("L5")
def test_of_too_many_sessions_each_that_comes_back_ends_until_there_are_no_more_than_may_be() -> None:
    pool = Driven(max_size=4)
    loans = [pool.open(name) for name in ("ada", "bob", "cy", "dee")]
    assert pool(Resize(quiet(max_size=1))) == []
    assert pool(SessionGone(1)) == [Return()]
    assert pool(Release(loans[1], busy=False)) == closed(2, Retirement.RESIZED)
    assert pool(SessionGone(2)) == [Return()]
    assert pool(Release(loans[2], busy=False)) == closed(3, Retirement.RESIZED)
    assert pool(SessionGone(3)) == [Return()]
    assert pool(Release(loans[3], busy=False)) == []


@pytest.mark.holds("L2", "L3")
def test_where_the_one_that_a_refusal_is_for_has_gone_another_attempt_is_made_for_those_who_wait() -> None:
    pool = Driven(max_size=1)
    pool(Acquire("ada"))
    pool(Acquire("bob"))
    pool(Withdraw("ada"))
    assert pool(PermitRefused(DOWN, "ada")) == [Reserve("bob")]
    pool(Acquire("cy"))
    pool(PermitGranted())
    pool(Withdraw("bob"))
    assert pool(SessionGone(1, DOWN)) == [Return(), Reserve("cy")]
    assert pool(PermitRefused(DOWN, "cy")) == [Refuse("cy", DOWN)]


@pytest.mark.holds("L2", "L5")
def test_a_refusal_that_crosses_the_taking_back_of_its_reservation_leaves_nobody_without_an_attempt() -> None:
    pool = Driven()
    pool(Acquire("ada"))
    pool(Acquire("bob"))
    assert pool(Withdraw("bob")) == [Unreserve()], "which takes back that of ada, as bob's is not queued any more"
    assert pool(PermitRefused(DOWN, "bob")) == [Reserve("ada")]
    assert pool(PermitGranted()) == [Open(1, "ada")]


@pytest.mark.holds("L3")
def test_an_attempt_whose_waiter_has_gone_is_for_the_oldest_that_there_is_none_for() -> None:
    pool = Driven(max_size=3)
    for name in ("ada", "bob", "cy"):
        pool(Acquire(name))
    pool(Acquire("dee"))
    pool(Withdraw("bob"))
    assert pool(PermitGranted()) == [Open(1, "ada")]
    assert pool(PermitGranted()) == [Open(2, "dee")]
    assert pool(PermitGranted()) == [Open(3, "cy")]


@pytest.mark.holds("L2")
def test_a_spare_that_cannot_be_opened_costs_nobody_a_wait_and_an_attempt_is_made_for_who_waits_for_it() -> None:
    pool = Driven(min_idle=1)
    assert pool(Acquire("ada")) == [Reserve("ada"), Reserve(None)]
    pool(PermitGranted())
    assert pool(PermitGranted()) == [Open(2, None)]
    granted(pool(SessionOpened(1)), "ada", 1)
    assert pool(Acquire("bob")) == [], "the spare is under way"
    assert pool(SessionGone(2, DOWN)) == [Return(), Reserve("bob")]


@pytest.mark.holds("L2", "L5")
def test_a_session_that_cannot_be_opened_costs_the_waiter_that_it_was_for_its_wait_and_frees_the_permit() -> None:
    pool = Driven(max_size=1)
    pool(Acquire("ada"))
    pool(Acquire("bob"))
    pool(PermitGranted())
    assert pool(SessionGone(1, DOWN)) == [Return(), Refuse("ada", DOWN), Reserve("bob")]
    pool(PermitGranted())
    returned, refusal = pool(SessionGone(2))
    assert returned == Return()
    assert isinstance(refusal, Refuse)
    assert "a session ended before it was open" in str(refusal.error)
    counts = pool.machine.counts(now=0.0)
    assert (counts.free, counts.open_failures, counts.opened) == (1, 2, 0)


@pytest.mark.holds("L2")
def test_a_failed_opening_costs_nobody_anything_while_enough_others_are_under_way() -> None:
    pool = Driven()
    pool(Acquire("ada"))
    pool(Acquire("bob"))
    pool(PermitGranted())
    pool(PermitGranted())
    pool(Withdraw("bob"))
    assert pool(SessionGone(1, DOWN)) == [Return()]
    granted(pool(SessionOpened(2)), "ada", 2)


@pytest.mark.holds("L2", "L3")
def test_a_session_that_breaks_before_it_is_open_is_a_failed_opening() -> None:
    pool = Driven()
    pool(Acquire("ada"))
    pool(PermitGranted())
    close, refusal = pool(SessionBroke(1))
    assert [close] == closed(1, Retirement.BROKEN)
    assert isinstance(refusal, Refuse)
    assert pool(SessionOpened(1)) == []
    assert pool(SessionGone(1)) == [Return()]


@pytest.mark.holds("L5")
def test_a_session_that_came_free_is_closed_for_a_key_that_has_waited_for_longer_than_its_own_waiters() -> None:
    demand = Elsewhere(since=5.0)
    pool = Driven(max_size=1, demand=demand)
    loan = pool.open("ada")
    pool(Acquire("bob"))
    loan = granted(pool(Release(loan, busy=False)), "bob", 1)
    pool.now = 9.0
    pool(Acquire("cy"))
    assert pool(Release(loan, busy=False)) == [Yielded(), *closed(1, Retirement.EVICTED)]
    assert pool(SessionGone(1)) == [Return(), Reserve("cy")], "its own waiter asks again, behind the other key"
    pool(PermitGranted())
    granted(pool(SessionOpened(2)), "cy", 2)  # what was opened in its turn is not given up unused


@pytest.mark.holds("L5")
def test_nobody_waits_here_and_another_key_does_so_what_comes_free_is_closed() -> None:
    pool = Driven(demand=Elsewhere(since=5.0))
    assert pool(Release(pool.open("ada"), busy=False)) == [Yielded(), *closed(1, Retirement.EVICTED)]


@pytest.mark.holds("L9")
def test_a_conversation_does_not_lose_its_state_by_returning_its_session_while_others_wait() -> None:
    pool = Driven(is_sticky=True, demand=Elsewhere(since=-1.0))
    assert pool(Release(pool.open("ada"), busy=False)) == []


@pytest.mark.holds("L5")
def test_room_is_made_with_the_session_that_has_been_idle_the_longest() -> None:
    pool = Driven(max_size=3)
    loans = [pool.open(name) for name in ("ada", "bob", "cy")]
    assert pool(MakeRoom()) == [Occupied()]
    for moment, loan in enumerate([loans[1], loans[0]]):
        pool.now = moment
        pool(Release(loan, busy=False))
    assert pool(MakeRoom()) == closed(2, Retirement.EVICTED)
    assert pool(MakeRoom()) == closed(1, Retirement.EVICTED)
    assert pool(MakeRoom()) == [Occupied()]


@pytest.mark.holds("L5")
def test_a_key_is_evicted_only_while_nobody_uses_it() -> None:
    pool = Driven()
    loan = pool.open("ada")
    assert pool(Evict()) == [Occupied(was_to_end=True)]
    pool(Release(loan, busy=False))
    pool(Acquire("bob"))
    assert pool(Evict()) == [Occupied(was_to_end=True)]
    other = Driven()
    other(Acquire("ada"))
    assert other(Evict()) == [Occupied(was_to_end=True)]
    other(PermitGranted())
    other(Withdraw("ada"))
    assert other(Evict()) == [Occupied(was_to_end=True)], "what is being opened is of use soon"
    other(SessionOpened(1))
    assert other(Evict()) == [Leaving(), *closed(1, Retirement.EVICTED)]
