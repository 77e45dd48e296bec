"""The pool machine, rule by rule: what it shows of itself."""

from typing import Any

import pytest

from protocol.errors import ConnectFailed, IllegalTransition, PoolClosed, PoolFull, SessionStateLost
from protocol.places import NO_DEMAND
from protocol.pool import PoolCounts, PoolMachine
from protocol.pool_messages import (
    Acquire,
    Close,
    Drain,
    Open,
    PermitGranted,
    PermitRefused,
    Refuse,
    Release,
    Reserve,
    Return,
    SessionBroke,
    SessionChecked,
    SessionGone,
    SessionOpened,
    Shut,
)
from protocol.session import Retirement, SessionState
from tests.protocol.driven_pool import Driven, granted, refused

DOWN = ConnectFailed("nothing listens there", step="connect")


def states(**counts: int) -> dict[SessionState, int]:
    return {state: counts.get(state.name, 0) for state in SessionState}


def test_a_new_key_has_nothing_and_wants_nothing() -> None:
    pool = Driven(max_size=3)
    assert pool.machine.counts(now=5.0) == PoolCounts(
        sessions=states(),
        leases=0,
        waiting=0,
        reserved=0,
        free=3,
        hits=0,
        misses=0,
        opened=0,
        open_failures=0,
        broken=0,
        longest_wait=0.0,
        longest_lease=0.0,
    )
    assert pool.machine.is_ending is False
    assert not pool.machine.has_idle
    assert pool.machine.is_unused
    assert pool.machine.is_stateful is None
    assert pool.machine.loans == []
    assert pool.machine.all_uses == 0
    assert not NO_DEMAND.is_starved
    assert not NO_DEMAND.yields_to_others("key", None)


@pytest.mark.holds("L5")
def test_the_figures_tell_what_is_lent_waits_and_is_reserved_and_since_when_at_the_longest() -> None:
    pool = Driven(max_size=4)
    first = pool.open("ada")
    pool.now = 2.0
    second = pool.open("bob")
    pool(Release(second, busy=False))
    second = pool.hit("cy", 2)
    pool.now = 5.0
    pool(Acquire("dee"))
    pool.now = 6.0
    pool(Acquire("eve"))
    pool(PermitGranted())
    assert pool.machine.counts(now=9.0) == PoolCounts(
        sessions=states(LEASED=2, CONNECTING=1),
        leases=2,
        waiting=2,
        reserved=1,
        free=0,
        hits=1,
        misses=4,
        opened=2,
        open_failures=0,
        broken=0,
        longest_wait=4.0,
        longest_lease=9.0,
    )
    assert pool.machine.loans == [first, second]
    assert pool.machine.all_uses == 3
    assert (pool.machine.uses(1), pool.machine.uses(2), pool.machine.uses(3)) == (1, 2, 0)
    assert (pool.machine.opened_at(1), pool.machine.opened_at(2)) == (0.0, 2.0)
    assert not pool.machine.is_unused
    pool(SessionGone(2))
    granted(pool(Release(first, busy=False))[:1], "dee", 1)
    assert (pool.machine.all_uses, pool.machine.hits) == (4, 1), "what was lent stays lent, and dee had waited"
    pool(SessionGone(1))
    assert (pool.machine.all_uses, pool.machine.hits) == (4, 1)


def test_what_broke_or_could_not_be_opened_is_counted() -> None:
    pool = Driven(max_size=4)
    pool.open("ada")
    pool(SessionBroke(1))
    pool(Acquire("bob"))
    pool(PermitGranted())
    pool(SessionBroke(2))
    pool(SessionGone(2))
    pool(Acquire("cy"))
    pool(PermitGranted())
    pool(SessionGone(3, DOWN))
    counts = pool.machine.counts(now=0.0)
    assert (counts.opened, counts.open_failures, counts.broken) == (1, 2, 2)
    assert (counts.sessions, counts.free, counts.leases) == (states(RETIRING=1), 3, 1)


def test_a_key_has_a_session_to_give_while_one_is_open_that_nobody_has() -> None:
    pool = Driven(max_size=2, places=2)
    one = pool.open("ada")
    assert not pool.machine.has_idle, "a place is free on it, and it is lent"
    assert not pool.machine.is_unused
    assert pool.machine.is_stateful is True
    pool(Release(one, busy=False))
    assert pool.machine.has_idle
    assert pool.machine.is_unused
    pool(Shut())
    assert not pool.machine.has_idle
    assert not pool.machine.is_unused
    assert pool.machine.is_ending
    assert pool.machine.is_stateful is None


@pytest.mark.holds("L9")
def test_a_conversations_key_is_in_use_while_it_has_state_or_has_to_tell_that_it_lost_it() -> None:
    pool = Driven(is_sticky=True)
    pool(Release(pool.open("ada"), busy=False))
    assert pool.machine.has_idle
    assert not pool.machine.is_unused
    pool(SessionBroke(1))
    pool(SessionGone(1))
    assert not pool.machine.is_unused
    pool = Driven(is_sticky=True)
    pool(Release(pool.open("ada", is_stateful=False), busy=False))
    assert pool.machine.is_unused
    assert pool.machine.is_stateful is False
    assert pool.machine.counts(now=0.0).free == 0, "one session is all that a conversation has"


def test_a_session_that_is_not_there_is_an_error_that_names_the_pool_and_its_state() -> None:
    pool = Driven(max_size=3)
    pool.open("ada")
    for event in (SessionOpened(9), SessionBroke(9), SessionChecked(9, is_healthy=True), SessionGone(9)):
        with pytest.raises(IllegalTransition) as caught:
            pool(event)
        assert str(caught.value) == "pool of test (1 leased of at most 3, 0 waiting): there is no session 9"
    with pytest.raises(IllegalTransition, match="there is no session 9"):
        pool.machine.uses(9)


def test_a_pool_is_described_by_the_states_that_its_sessions_are_in() -> None:
    pool = Driven(max_size=5)
    assert pool.machine.describe() == "pool of test (no sessions of at most 5, 0 waiting)"
    pool.open("ada")
    pool.open("bob")
    pool(Release(pool.open("cy"), busy=False))
    pool(SessionBroke(3))
    pool(Acquire("dee"))
    pool(PermitGranted())
    assert pool.machine.describe() == "pool of test (1 connecting, 2 leased, 1 closing of at most 5, 1 waiting)"


def test_every_refusal_says_of_which_pool_why_and_what_to_do() -> None:
    pool = Driven(max_size=1, max_waiting=0)
    loan = pool.open("ada")
    state = "pool of test (1 leased of at most 1, 0 waiting)"
    error = refused(pool(Acquire("bob")), "bob")
    assert isinstance(error, PoolFull)
    assert str(error) == f"{state}: max_waiting is reached, try again later"
    expired = refused(pool(Acquire("bob", 0.0)), "bob")
    assert isinstance(expired, ConnectFailed)
    assert str(expired) == f"{state}: this caller's credentials have expired, acquire again with new ones"
    assert (expired.step, expired.status) == ("credentials", 401)
    pool(Release(loan, busy=False))
    pool(Shut())
    error = refused(pool(Acquire("bob")), "bob")
    assert isinstance(error, PoolClosed)
    assert str(error) == "pool of test (1 closing of at most 1, 0 waiting) is closed: open another one"


def test_a_waiter_is_told_that_its_session_ended_before_it_was_open_or_that_the_pool_was_closed() -> None:
    pool = Driven(max_size=1)
    pool(Acquire("ada"))
    pool(PermitGranted())
    _, refusal = pool(SessionGone(1))
    error = refused([refusal], "ada")
    assert isinstance(error, ConnectFailed)
    assert str(error) == "pool of test (no sessions of at most 1, 1 waiting): a session ended before it was open"
    assert error.step == "connect"
    assert pool(Acquire("bob")) == [Reserve("bob")]
    refusal, *_ = pool(Shut())
    assert str(refused([refusal], "bob")) == (
        "pool of test (no sessions of at most 1, 1 waiting) was closed while this caller waited"
    )


@pytest.mark.holds("L9")
def test_a_conversation_that_lost_its_state_is_told_what_has_ended_and_what_comes_next() -> None:
    pool = Driven(is_sticky=True)
    pool.open("ada")
    pool(SessionBroke(1))
    error = refused(pool(Acquire("bob")), "bob")
    assert isinstance(error, SessionStateLost)
    assert str(error) == (
        "the session of test has ended, and what its server kept in it: the next call opens a new one"
    )


@pytest.mark.holds("L5")
def test_what_other_keys_want_is_asked_about_this_key_and_since_when_its_oldest_waits() -> None:
    asked: list[tuple[Any, float | None]] = []

    class Nobody:
        is_starved = True

        def yields_to_others(self, key: Any, waiting_since: float | None) -> bool:
            asked.append((key, waiting_since))
            return False

    pool = Driven(max_size=1)
    pool.machine = PoolMachine[str]("test", pool.settings, demand=Nobody(), key="key")
    loan = pool.open("ada")
    pool.now = 3.0
    pool(Acquire("bob"))
    pool(Acquire("cy"))
    pool.now = 5.0
    loan = granted(pool(Release(loan, busy=False)), "bob", 1)
    loan = granted(pool(Release(loan, busy=False)), "cy", 1)
    assert pool(Release(loan, busy=False)) == []
    assert asked == [("key", 3.0), ("key", 3.0), ("key", None)]


@pytest.mark.holds("L5")
def test_each_answer_is_to_one_reservation_and_the_others_are_waited_for() -> None:
    pool = Driven(max_size=5)
    for name in ("ada", "bob", "cy", "dee"):
        assert pool(Acquire(name)) == [Reserve(name)]
    assert pool(PermitRefused(DOWN, "ada")) == [Refuse("ada", DOWN)]
    assert pool.machine.counts(now=0.0).reserved == 3
    assert pool(PermitGranted("note")) == [Open(1, "bob", "note")]
    counts = pool.machine.counts(now=0.0)
    assert (counts.reserved, counts.waiting, counts.free) == (2, 3, 2)


def test_a_spare_for_which_there_was_no_room_is_tried_again_after_the_longest_backoff() -> None:
    pool = Driven(max_size=1, min_idle=1, breaker_ceiling=30.0, key_idle=100.0)
    pool(Release(pool.open("ada"), busy=False))
    pool.now = 2.0
    pool(SessionBroke(1))
    assert pool(SessionGone(1)) == [Return(), Reserve(None)]
    assert pool(PermitRefused()) == []
    assert pool.tick(at=32.0) == [Reserve(None)]


@pytest.mark.holds("S8")
def test_draining_ends_all_that_are_idle() -> None:
    pool = Driven(max_size=3)
    for loan in [pool.open("ada"), pool.open("bob"), pool.open("cy")]:
        pool(Release(loan, busy=False))
    assert pool(Drain()) == [Close(number, Retirement.DRAINED) for number in (1, 2, 3)]


@pytest.mark.holds("L3")
def test_a_hit_is_a_loan_of_the_session_used_last_from_now_on() -> None:
    pool = Driven(max_size=1, places=2)
    one = pool.open("ada")
    pool.now = 4.0
    other = pool.machine.lend(4.0, 9.0)
    assert other is not None
    assert (one.number, one.since, other.number, other.since) == (1, 0.0, 2, 4.0)
    assert one.session is other.session
    assert other.session.ends_at == 9.0
    assert pool.machine.lend(4.0) is None, "no place is left"
    pool(Release(one, busy=False))
    assert pool.machine.lend(9.0) is None, "it ended"
    assert pool.machine.lend(4.0, 4.0) is None, "so did the caller's credentials"
    assert (pool.machine.hits, pool.machine.misses) == (1, 1)
    assert granted(pool(Acquire("cy", 8.0)), "cy", 1).number == 3
