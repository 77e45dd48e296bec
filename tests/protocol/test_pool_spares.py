"""The pool machine, rule by rule: what is asked for and opened, for spares and ahead of a session's end."""

import math

import pytest

from protocol.errors import ConnectFailed
from protocol.pool_messages import (
    Acquire,
    Open,
    PermitGranted,
    Refuse,
    Release,
    Reserve,
    Resize,
    Return,
    SessionBroke,
    SessionGone,
    SessionOpened,
    Tick,
    Unreserve,
    Withdraw,
)
from protocol.session import Retirement, SessionState
from tests.protocol.driven_pool import Driven, closed, granted, quiet

DOWN = ConnectFailed("nothing listens there", step="connect")

# --- spares


@pytest.mark.holds("L8")
def test_no_spare_is_opened_with_credentials_that_have_ended() -> None:
    pool = Driven(max_size=1, min_idle=1)
    pool(Release(pool.open("ada", expires_at=5.0), busy=False))
    pool.now = 5.0
    pool(SessionBroke(1))
    assert pool(SessionGone(1)) == [Return()]


@pytest.mark.holds("L2", "L8")
def test_permits_for_spares_come_back_when_the_credentials_to_open_them_with_have_ended() -> None:
    pool = Driven(max_size=3, min_idle=2)
    assert pool(Acquire("ada", 5.0)) == [Reserve("ada"), Reserve(None), Reserve(None)]
    pool.now = 5.0
    refusal, *rest = pool(PermitGranted("note"))
    assert isinstance(refusal, Refuse)
    assert refusal.ticket == "ada"
    assert rest == [Return("note"), Unreserve(), Unreserve()]


def test_a_session_that_somebody_shares_is_no_spare() -> None:
    pool = Driven(max_size=2, places=2, min_idle=1)
    assert pool(Acquire("ada")) == [Reserve("ada"), Reserve(None)]
    pool(PermitGranted())
    granted(pool(SessionOpened(1)), "ada", 1)
    assert pool(PermitGranted()) == [Open(2, None)]


def test_a_key_that_nobody_has_asked_for_anything_yet_keeps_no_spares() -> None:
    assert Driven(min_idle=1)(Tick()) == []


def test_no_spares_are_kept_of_a_key_whose_callers_all_went_before_they_were_served() -> None:
    pool = Driven(max_size=1, min_idle=1, max_idle=10.0, key_idle=50.0)
    pool(Acquire("ada"))
    pool(PermitGranted())
    pool(Withdraw("ada"))
    pool(SessionOpened(1))
    assert pool.tick(at=10.0) == []
    assert pool.tick(at=50.0) == closed(1, Retirement.IDLE)


@pytest.mark.holds("L2")
def test_a_failed_opening_costs_nobody_anything_while_a_permit_is_asked_for_that_serves_as_well() -> None:
    pool = Driven(max_size=2, min_idle=1)
    pool(Acquire("ada"))
    assert pool(PermitGranted()) == [Open(1, "ada")]
    assert pool(SessionGone(1, DOWN)) == [Return()]
    assert pool(PermitGranted()) == [Open(2, "ada")]


def test_while_nothing_but_a_spare_is_asked_for_no_tick_is() -> None:
    pool = Driven(max_size=2, min_idle=1, key_idle=50.0)
    pool(Acquire("ada"))
    assert pool(Withdraw("ada")) == [Unreserve()]
    assert pool.machine.counts(now=0.0).reserved == 1
    assert pool.wake_at == math.inf


# --- replacements


@pytest.mark.holds("S7")
def test_the_successor_of_a_session_that_is_lent_lets_it_end_as_it_comes_back() -> None:
    pool = Driven(max_lifetime=100.0, connect_timeout=50.0)
    loan = pool.open("ada")
    assert pool.tick(at=90.0) == [Reserve(None)]
    pool(PermitGranted())
    assert pool(SessionOpened(2)) == []
    assert (pool.count(SessionState.RETIRING), pool.count(SessionState.IDLE)) == (1, 1)
    assert pool(Release(loan, busy=False)) == closed(1, Retirement.EXPIRED)


@pytest.mark.holds("L3", "S7")
def test_a_successor_that_somebody_waited_for_ends_no_other_session() -> None:
    pool = Driven(places=2, max_lifetime=100.0, connect_timeout=50.0)
    pool.open("ada")
    pool.hit("bob", 1)
    assert pool.tick(at=90.0) == [Reserve(None)]
    pool(PermitGranted())
    pool(Acquire("cy"))
    granted(pool(SessionOpened(2)), "cy", 2)
    assert (pool.count(SessionState.LEASED), pool.count(SessionState.RETIRING)) == (2, 0)


@pytest.mark.holds("S7")
def test_a_session_that_is_lent_until_its_very_end_gets_no_successor_then() -> None:
    pool = Driven(max_lifetime=100.0)
    pool.open("ada")
    pool.now = 100.0
    assert pool(Tick()) == []


# --- new settings


@pytest.mark.holds("S8")
def test_as_many_idle_sessions_end_as_are_not_allowed_any_more() -> None:
    pool = Driven(max_size=4)
    loans = [pool.open(name) for name in ("ada", "bob", "cy", "dee")]
    for loan in loans[:3]:
        pool(Release(loan, busy=False))
    assert pool(Resize(quiet(max_size=2))) == [*closed(1, Retirement.RESIZED), *closed(2, Retirement.RESIZED)]
    assert pool(Release(loans[3], busy=False)) == []
    assert pool.count(SessionState.IDLE) == 2


def test_spares_are_kept_from_when_the_settings_ask_for_them_and_not_any_more_when_they_do_not() -> None:
    pool = Driven(max_size=2)
    loan = pool.open("ada")
    assert pool(Resize(quiet(max_size=2, min_idle=1))) == [Reserve(None)]
    pool(Release(loan, busy=False))
    assert pool.machine.lend(0.0) is None
    pool(Resize(quiet(max_size=2)))
    assert pool.machine.lend(0.0) is not None


@pytest.mark.holds("L6")
def test_a_conversation_keeps_no_spares_whatever_the_new_settings_are() -> None:
    pool = Driven(is_sticky=True)
    pool.open("ada")
    assert pool(Resize(quiet(min_idle=1))) == []
    assert pool.machine.lend(0.0) is not None


def test_settings_that_change_twice_ask_for_one_tick_at_once() -> None:
    pool = Driven(max_idle=50.0)
    loan = pool.open("ada")
    assert pool(Resize(quiet(max_idle=10.0))) == []
    assert pool.wake_at == 0.0
    assert pool(Resize(quiet(max_idle=20.0))) == []  # and no other `Wake`, which would be refused here
    assert pool(Release(loan, busy=False)) == []
