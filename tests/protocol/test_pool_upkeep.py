"""The pool machine, rule by rule: what becomes due, and how a key ends."""

import math

import pytest

from protocol.errors import ConnectFailed, PoolClosed, SessionStateLost
from protocol.pool_messages import (
    Acquire,
    Check,
    Drain,
    Evict,
    Finished,
    HeldLong,
    Leaving,
    MakeRoom,
    Open,
    PermitGranted,
    PermitRefused,
    Refuse,
    Release,
    Reserve,
    Resize,
    Return,
    SessionBroke,
    SessionChecked,
    SessionGone,
    SessionOpened,
    Shut,
    Tick,
    Unreserve,
    Withdraw,
)
from protocol.session import Retirement, SessionState
from tests.protocol.driven_pool import Driven, closed, granted, quiet, refused

DOWN = ConnectFailed("nothing listens there", step="connect")

# --- credentials


@pytest.mark.holds("L8")
def test_a_session_is_never_lent_at_or_after_the_end_of_the_credentials_that_it_was_used_with() -> None:
    pool = Driven(max_size=1)
    pool(Release(pool.open("ada", expires_at=5.0), busy=False))
    pool.now = 5.0
    assert pool.machine.lend(5.0) is None
    assert pool(Acquire("bob", 9.0)) == closed(1, Retirement.CREDENTIALS_EXPIRED)


@pytest.mark.holds("L8")
def test_a_rotated_token_with_a_later_end_keeps_the_session() -> None:
    pool = Driven(max_size=1)
    pool(Release(pool.open("ada", expires_at=5.0), busy=False))
    pool(Release(pool.hit("ada", 1, expires_at=9.0), busy=False))
    pool.now = 8.0
    loan = pool.hit("ada", 1)
    pool.now = 9.0
    assert pool(Release(loan, busy=False)) == closed(1, Retirement.CREDENTIALS_EXPIRED)


@pytest.mark.holds("L8")
def test_a_session_ends_when_its_credentials_do_also_where_nothing_else_is_ever_due() -> None:
    pool = Driven()
    pool(Release(pool.open("ada"), busy=False))
    assert pool.wake_at == math.inf
    loan = pool.machine.lend(0.0, 5.0)
    assert loan is not None
    pool(Release(loan, busy=False))
    assert pool.tick(at=5.0) == closed(1, Retirement.CREDENTIALS_EXPIRED)


@pytest.mark.holds("L2", "L8")
def test_a_caller_whose_credentials_have_ended_is_refused_and_no_session_is_opened_with_them() -> None:
    pool = Driven(max_size=1)
    pool(Release(pool.open("ada"), busy=False))
    assert pool.machine.lend(0.0, 0.0) is None
    assert "credentials have expired" in str(refused(pool(Acquire("bob", 0.0)), "bob"))
    loan = pool.hit("ada", 1)
    pool(Acquire("cy", 5.0))
    pool(Acquire("dee"))
    pool.now = 5.0
    refusal, grant = pool(Release(loan, busy=False))
    assert isinstance(refusal, Refuse)
    assert refusal.ticket == "cy"
    granted([grant], "dee", 1)


@pytest.mark.holds("L2", "L8")
def test_a_session_opened_too_late_for_its_credentials_is_not_opened_with_them_again() -> None:
    pool = Driven(max_size=1)
    pool(Acquire("ada", 5.0))
    pool(PermitGranted())
    pool.now = 5.0
    assert pool(SessionOpened(1)) == closed(1, Retirement.CREDENTIALS_EXPIRED)
    assert pool(SessionGone(1)) == [Return(), Reserve("ada")]
    refusal, returned = pool(PermitGranted())
    assert isinstance(refusal, Refuse)
    assert returned == Return()


# --- lifetime


@pytest.mark.holds("S7")
def test_the_lifetime_is_shortened_by_the_jitter_and_ends_a_lent_session_as_it_comes_back() -> None:
    pool = Driven(max_size=1, max_lifetime=100.0, lifetime_jitter=0.2)
    pool(Acquire("ada"))
    pool(PermitGranted())
    loan = granted(pool(SessionOpened(1, jitter=0.5)), "ada", 1)
    pool.now = 90.0
    assert pool(Tick()) == []
    assert pool(Release(loan, busy=False)) == closed(1, Retirement.EXPIRED)


@pytest.mark.holds("S7")
def test_an_idle_session_is_replaced_ahead_of_its_end_by_one_that_is_opened_first() -> None:
    pool = Driven(max_lifetime=100.0, lifetime_jitter=0.1, connect_timeout=50.0)
    pool(Release(pool.open("ada"), busy=False))
    assert pool.tick(at=90.0) == [Reserve(None)]
    assert pool(PermitGranted()) == [Open(2, None)]
    assert pool(SessionOpened(2)) == closed(1, Retirement.EXPIRED)
    pool.hit("bob", 2)


@pytest.mark.holds("S7")
def test_a_session_due_for_a_check_and_for_its_replacement_at_once_is_replaced() -> None:
    pool = Driven(max_lifetime=100.0, connect_timeout=50.0, health_interval=90.0)
    pool(Release(pool.open("ada"), busy=False))
    assert pool.tick(at=90.0) == [Reserve(None)]


def test_a_session_that_nobody_used_in_all_its_life_is_not_replaced() -> None:
    pool = Driven(max_lifetime=100.0)
    pool(Acquire("ada"))
    pool(PermitGranted())
    pool(Withdraw("ada"))
    pool(SessionOpened(1))
    assert pool.tick(at=90.0) == []
    assert pool.tick(at=100.0) == closed(1, Retirement.EXPIRED)


@pytest.mark.holds("L9")
def test_a_conversations_state_has_no_lifetime() -> None:
    pool = Driven(is_sticky=True, max_lifetime=1.0)
    pool(Release(pool.open("ada"), busy=False))
    assert pool.wake_at == math.inf


# --- idleness and spares


def test_a_session_that_nobody_used_for_long_ends_unless_it_is_a_spare_of_a_key_in_use() -> None:
    pool = Driven(max_idle=10.0, min_idle=1, key_idle=50.0)
    assert pool(Acquire("ada")) == [Reserve("ada"), Reserve(None)]
    pool(PermitGranted())
    loan = granted(pool(SessionOpened(1)), "ada", 1)
    pool(PermitGranted())
    pool(SessionOpened(2))
    pool(Release(loan, busy=False))
    assert pool.tick(at=10.0) == closed(2, Retirement.IDLE)
    assert pool(SessionGone(2)) == [Return()]
    assert pool.tick(at=50.0) == closed(1, Retirement.IDLE)


def test_a_spare_that_is_lent_is_made_up_for_at_once() -> None:
    pool = Driven(max_size=3, min_idle=1)
    assert pool(Acquire("ada")) == [Reserve("ada"), Reserve(None)]
    pool(PermitGranted())
    pool(PermitGranted())
    pool(SessionOpened(1))
    assert pool(SessionOpened(2)) == []
    assert pool.machine.lend(0.0) is None, "a hit alone would not see to the next spare"
    grant, reserve = pool(Acquire("bob"))
    granted([grant], "bob", 2)
    assert reserve == Reserve(None)


def test_spares_are_kept_while_a_lease_is_held_for_longer_than_a_key_is_kept() -> None:
    pool = Driven(min_idle=1, max_idle=10.0, key_idle=50.0)
    pool(Acquire("ada"))
    for number in (1, 2):
        pool(PermitGranted())
        pool(SessionOpened(number))
    for _ in range(20):
        assert pool.tick() == []
    assert pool.now > 50.0
    assert pool.count(SessionState.IDLE) == 1


def test_spares_come_back_after_all_sessions_of_a_busy_key_broke() -> None:
    pool = Driven(max_size=1, min_idle=1, key_idle=50.0)
    loan = pool.open("ada")
    pool.now = 60.0
    pool(Release(loan, busy=False))
    pool(SessionBroke(1))
    assert pool(SessionGone(1)) == [Return(), Reserve(None)]


@pytest.mark.holds("S4")
def test_spares_are_not_tried_again_at_once_when_an_opening_failed() -> None:
    pool = Driven(max_size=1, min_idle=1, breaker_backoff=3.0)
    pool(Acquire("ada"))
    pool(PermitGranted())
    assert pool(SessionGone(1, DOWN)) == [Return(), Refuse("ada", DOWN)]
    assert pool.tick(at=3.0) == [Reserve(None)]
    assert pool(PermitRefused(DOWN)) == []
    assert pool.wake_at == 6.0


@pytest.mark.holds("L5")
def test_a_spare_that_made_room_for_another_key_is_not_asked_for_again_at_once() -> None:
    pool = Driven(max_size=1, min_idle=1, breaker_ceiling=30.0)
    pool(Release(pool.open("ada"), busy=False))
    assert pool(MakeRoom()) == closed(1, Retirement.EVICTED)
    assert pool(SessionGone(1)) == [Return()]
    assert pool.tick(at=30.0) == [Reserve(None)]


@pytest.mark.holds("L2", "L5")
def test_no_room_for_a_spare_costs_nobody_his_wait() -> None:
    pool = Driven(max_size=1, min_idle=1)
    pool(Release(pool.open("ada"), busy=False))
    pool(SessionBroke(1))
    assert pool(SessionGone(1)) == [Return(), Reserve(None)]
    assert pool(Acquire("bob")) == []
    assert pool(PermitRefused()) == [Reserve("bob")]


# --- health


@pytest.mark.holds("S7")
def test_a_session_is_checked_after_each_interval_of_idleness_and_lent_all_the_while() -> None:
    pool = Driven(health_interval=10.0)
    pool(Release(pool.open("ada"), busy=False))
    assert pool.tick(at=10.0) == [Check(1)]
    pool.now = 11.0
    assert pool(SessionChecked(1, is_healthy=True)) == []
    assert pool.tick(at=21.0) == [Check(1)]
    loan = pool.hit("bob", 1)
    assert pool(SessionChecked(1, is_healthy=True)) == []
    pool.now = 30.0
    pool(Release(loan, busy=False))
    assert pool.tick(at=31.0) == [], "it was used a second ago"
    assert pool.tick(at=40.0) == [Check(1)]


@pytest.mark.holds("S2")
def test_a_session_that_fails_its_check_is_closed_and_one_that_was_lent_meanwhile_as_it_comes_back() -> None:
    for is_lent in (False, True):
        pool = Driven(health_interval=10.0)
        pool(Release(pool.open("ada"), busy=False))
        pool.tick(at=10.0)
        if is_lent:
            loan = pool.hit("bob", 1)
            assert pool(SessionChecked(1, is_healthy=False)) == []
            assert pool(Acquire("cy")) == [Reserve("cy")]
            assert pool(Release(loan, busy=False)) == closed(1, Retirement.UNHEALTHY)
        else:
            assert pool(SessionChecked(1, is_healthy=False)) == closed(1, Retirement.UNHEALTHY)


# --- long leases


def test_a_lease_held_for_long_is_told_of_once_and_not_after_its_release() -> None:
    pool = Driven(max_size=1, places=2, warn_after=5.0)
    one = pool.open("ada")
    pool.now = 2.0
    other = pool.hit("bob", 1)
    assert pool.tick(at=5.0) == [HeldLong(one, 5.0)]
    pool(Release(other, busy=True))
    assert pool.tick(at=7.0) == []


# --- the next tick


@pytest.mark.holds("S4")
def test_no_tick_follows_another_at_the_same_moment_while_a_key_waits_for_a_permit_for_long() -> None:
    pool = Driven(key_idle=5.0)
    pool(Acquire("ada"))
    pool.now = 10.0
    assert pool(Tick()) == []
    assert pool.wake_at == math.inf
    assert pool(Withdraw("ada")) == [Unreserve()]
    assert pool.tick(at=10.0) == [Leaving(), Finished()]


def test_what_new_settings_make_overdue_is_done_at_once() -> None:
    pool = Driven()
    pool(Release(pool.open("ada"), busy=False))
    pool.now = 60.0
    assert pool(Resize(quiet(max_idle=10.0))) == []
    assert pool.tick(at=60.0) == closed(1, Retirement.IDLE)


# --- ends


def test_a_key_that_nobody_uses_ends_some_time_after_its_last_session() -> None:
    pool = Driven(max_idle=10.0, key_idle=50.0)
    pool(Release(pool.open("ada"), busy=False))
    pool.tick(at=10.0)
    pool.now = 11.0
    assert pool(SessionGone(1)) == [Return()]
    assert pool.tick(at=61.0) == [Leaving(), Finished()]
    assert pool(Tick()) == [], "it ends once"
    assert isinstance(refused(pool(Acquire("bob")), "bob"), PoolClosed)


def test_a_conversation_without_state_ends_with_its_session() -> None:
    pool = Driven(is_sticky=True)
    pool(Release(pool.open("ada", is_stateful=False), busy=False))
    assert pool(Evict()) == [Leaving(), *closed(1, Retirement.EVICTED)]
    assert pool(SessionGone(1)) == [Return(), Finished()]
    pool = Driven(is_sticky=True)
    pool(Release(pool.open("ada", is_stateful=False), busy=False))
    pool(SessionBroke(1))
    assert pool(SessionGone(1)) == [Return(), Leaving(), Finished()]


@pytest.mark.holds("L9")
def test_a_lost_conversation_is_remembered_until_it_was_told_or_for_long_enough() -> None:
    for is_told in (True, False):
        pool = Driven(is_sticky=True, key_idle=5.0, lost_memory=100.0)
        pool(Release(pool.open("ada"), busy=False))
        pool(SessionBroke(1))
        pool(SessionGone(1))
        assert pool(Evict()) != [Leaving(), Finished()]
        assert pool.wake_at == 100.0
        if is_told:
            pool.now = 50.0
            assert isinstance(refused(pool(Acquire("bob")), "bob"), SessionStateLost)
        assert pool.tick(at=55.0 if is_told else 100.0) == [Leaving(), Finished()]


@pytest.mark.holds("L2", "L5", "L9")
def test_shutting_refuses_who_waits_takes_all_back_closes_all_and_finishes_when_the_last_is_gone() -> None:
    pool = Driven(max_size=3)
    loan = pool.open("ada")
    pool(Acquire("bob"))
    pool(PermitGranted())
    pool(Acquire("cy"))
    first, second, unreserve, *closing = pool(Shut())
    assert isinstance(refused([first], "bob"), PoolClosed)
    assert isinstance(refused([second], "cy"), PoolClosed)
    assert unreserve == Unreserve()
    assert closing == [*closed(1, Retirement.CLOSED), *closed(2, Retirement.CLOSED)]
    for late in (Shut(), Drain(), Tick(), SessionOpened(2), Release(loan, busy=False)):
        assert pool(late) == []
    assert pool(PermitGranted()) == [Return()], "it crosses"
    assert pool(SessionGone(1)) == [Return()]
    assert pool(SessionGone(2)) == [Return(), Finished()]
    assert isinstance(refused(pool(Acquire("dee")), "dee"), PoolClosed)
    assert Driven()(Shut()) == [Finished()]


@pytest.mark.holds("L9")
def test_a_conversation_whose_pool_closes_is_told_that_and_nothing_else() -> None:
    pool = Driven(is_sticky=True)
    pool.open("ada")
    pool(Shut())
    assert isinstance(refused(pool(Acquire("bob")), "bob"), PoolClosed)
