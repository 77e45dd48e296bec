"""The pool machine, rule by rule: sessions that come back, are shared, or are lost."""

import math

import pytest

from protocol.errors import SessionStateLost
from protocol.pool import PoolMachine
from protocol.pool_messages import (
    Acquire,
    Drain,
    Grant,
    Open,
    PermitGranted,
    Release,
    Reserve,
    Return,
    SessionBroke,
    SessionGone,
    SessionOpened,
    Share,
    Withdraw,
    Yielded,
)
from protocol.session import Retirement, SessionState
from tests.protocol.driven_pool import Driven, Elsewhere, closed, granted, quiet, refused

# --- hits


@pytest.mark.holds("L3")
def test_hits_of_either_kind_are_counted_and_nobody_waited_for_one() -> None:
    pool = Driven(max_size=1, places=9)
    pool.open("ada")
    assert pool.machine.lend(0.0) is not None
    assert pool.machine.lend(0.0) is not None
    for ticket in ("bob", "cy"):
        (grant,) = pool(Acquire(ticket))
        assert isinstance(grant, Grant)
        assert grant.waited == 0.0
    assert pool.machine.counts(now=0.0).hits == 4


def test_a_hit_looks_at_no_clock_and_the_return_of_the_session_does() -> None:
    pool = Driven()
    pool(Release(pool.open("ada"), busy=False))
    loan = pool.hit("bob", 1, expires_at=5.0)
    assert pool.wake_at == math.inf
    pool(Release(loan, busy=False))
    assert pool.wake_at == 5.0


@pytest.mark.holds("L3")
def test_a_sessions_record_says_whether_it_can_be_lent() -> None:
    pool = Driven(max_size=1)
    loan = pool.open("ada")
    assert loan.session.is_listed is False
    pool(Release(loan, busy=False))
    assert loan.session.is_listed is True
    loan = pool.hit("bob", 1)
    assert loan.session.is_listed is False
    pool(Release(loan, busy=False))
    pool(Drain())
    assert loan.session.is_listed is False


def test_what_its_driver_notes_of_a_session_is_found_with_each_loan_of_it() -> None:
    pool = Driven()
    pool(Acquire("ada"))
    pool(PermitGranted())
    loan = granted(pool(SessionOpened(1, note="connection")), "ada", 1)
    assert loan.session.note == "connection"


@pytest.mark.holds("L8")
def test_all_that_have_ended_are_closed_when_the_next_caller_comes_upon_them() -> None:
    pool = Driven(max_size=2)
    for loan in [pool.open("ada", expires_at=5.0), pool.open("bob", expires_at=5.0)]:
        pool(Release(loan, busy=False))
    pool.now = 5.0
    assert pool(Acquire("cy")) == [
        *closed(2, Retirement.CREDENTIALS_EXPIRED),
        *closed(1, Retirement.CREDENTIALS_EXPIRED),
    ]


# --- sessions that come back


@pytest.mark.holds("S8")
def test_a_drained_session_is_closed_when_it_comes_back_though_nobody_waits() -> None:
    pool = Driven()
    loan = pool.open("ada")
    assert pool(Drain()) == []
    assert pool(Release(loan, busy=False)) == closed(1, Retirement.DRAINED)


@pytest.mark.holds("S2", "S3")
def test_a_shared_session_that_broke_is_closed_only_when_the_last_of_its_borrowers_is_done() -> None:
    pool = Driven(max_size=1, places=2)
    one = pool.open("ada")
    other = pool.hit("bob", 1)
    assert pool(SessionBroke(1)) == []
    assert pool(Release(one, busy=False)) == []
    assert pool.count(SessionState.RETIRING) == 1
    assert pool(Release(other, busy=False)) == closed(1, Retirement.BROKEN)


@pytest.mark.holds("S2")
def test_a_session_that_its_server_has_forgotten_is_closed_as_such() -> None:
    pool = Driven()
    pool(Release(pool.open("ada"), busy=False))
    assert pool(SessionBroke(1, is_forgotten=True)) == closed(1, Retirement.TERMINATED)


@pytest.mark.holds("L3")
def test_whoever_waited_for_a_session_that_came_back_is_told_for_how_long() -> None:
    pool = Driven(max_size=1)
    loan = pool.open("ada")
    pool.now = 3.0
    pool(Acquire("bob"))
    pool.now = 7.0
    (grant,) = pool(Release(loan, busy=False))
    assert isinstance(grant, Grant)
    assert grant.waited == 4.0


@pytest.mark.holds("L5")
def test_a_session_that_came_free_while_another_key_waits_is_idle_if_it_is_not_given_up() -> None:
    pool = Driven(is_sticky=True, demand=Elsewhere(since=-1.0))
    one = pool.open("ada")
    other = pool.hit("bob", 1)
    assert pool(Release(one, busy=False)) == []
    assert (pool.count(SessionState.LEASED), pool.count(SessionState.IDLE)) == (1, 0)
    assert pool(Release(other, busy=False)) == []
    assert (pool.count(SessionState.LEASED), pool.count(SessionState.IDLE)) == (0, 1)


@pytest.mark.holds("L5")
def test_a_shared_session_is_given_up_for_another_key_by_the_first_borrower_to_leave() -> None:
    pool = Driven(max_size=1, places=2, demand=Elsewhere(since=-1.0))
    one = pool.open("ada")
    other = pool.hit("bob", 1)
    assert pool(Release(one, busy=False)) == [Yielded()]
    assert pool(Acquire("cy")) == []
    assert pool(Release(other, busy=False)) == closed(1, Retirement.EVICTED)


# --- how many share a session


@pytest.mark.holds("L1")
def test_the_next_sessions_are_for_as_many_as_is_said_anew_and_as_many_fewer_are_asked_for() -> None:
    pool = Driven(max_size=3)
    loan = pool.open("ada")
    assert pool(Share(2)) == []
    assert pool(Acquire("bob")) == [Reserve("bob")]
    assert pool(Acquire("cy")) == [], "one is for two"
    pool(PermitGranted())
    assert [type(effect) for effect in pool(SessionOpened(2))] == [Grant, Grant]
    assert loan.session.places == 1, "what is open stays as it is"


@pytest.mark.holds("L1")
def test_sessions_are_for_as_many_as_their_server_allows_again() -> None:
    pool = Driven(max_size=3, places=2, shared_leases=3)
    assert pool(Share(None)) == []
    assert [pool(Acquire(name)) for name in ("ada", "bob")] == [[Reserve("ada")], [Reserve("bob")]]
    pool(PermitGranted())
    granted(pool(SessionOpened(1)), "ada", 1)
    pool(PermitGranted())
    loan = granted(pool(SessionOpened(2, is_stateful=False)), "bob", 2)
    assert loan.session.places == 3


@pytest.mark.holds("L6")
@pytest.mark.parametrize("places", [1, None])
def test_a_conversation_has_one_session_for_all_its_calls_whatever_is_said_of_sharing(places: int | None) -> None:
    pool = Driven(is_sticky=True)
    assert pool(Share(places)) == []
    assert [pool(Acquire(name)) for name in ("ada", "bob", "cy")] == [[Reserve("ada")], [], []]
    pool(PermitGranted())
    assert [type(effect) for effect in pool(SessionOpened(1))] == [Grant, Grant, Grant]


# --- what was lost


@pytest.mark.holds("L9")
def test_a_conversation_that_lost_its_state_before_its_key_was_made_is_told_once() -> None:
    pool = Driven()
    pool.machine = PoolMachine[str]("test", quiet(), is_sticky=True, is_lost=True)
    assert pool.machine.owes_loss
    assert isinstance(refused(pool(Acquire("ada")), "ada"), SessionStateLost)
    assert not pool.machine.owes_loss
    assert pool(Acquire("bob")) == [Reserve("bob")]


def test_a_withdrawal_of_one_who_does_not_wait_changes_nothing() -> None:
    pool = Driven(max_size=3, min_idle=1)
    pool(Acquire("ada", 5.0))
    pool.now = 5.0
    assert pool(Withdraw("bob")) == []
    assert pool.machine.counts(now=5.0).reserved == 2


def test_each_session_that_breaks_before_it_is_open_is_counted() -> None:
    pool = Driven()
    for number in (1, 2):
        pool(Acquire("ada"))
        assert pool(PermitGranted()) == [Open(number, "ada")]
        pool(SessionBroke(number))
        assert pool(SessionGone(number)) == [Return()]
    counts = pool.machine.counts(now=0.0)
    assert (counts.open_failures, counts.broken, counts.opened) == (2, 2, 0)
