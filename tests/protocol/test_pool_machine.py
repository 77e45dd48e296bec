"""The pool machine, rule by rule: callers, leases and modes. See `test_pool_permits` and `test_pool_upkeep`, too."""

import pytest

from protocol.errors import ConnectFailed, PoolFull, SessionStateLost
from protocol.loan import Loan
from protocol.pool_messages import (
    Abandoned,
    Acquire,
    AwaitCalls,
    CallsEnded,
    CallsOverdue,
    Drain,
    Grant,
    Open,
    PermitGranted,
    Release,
    Reserve,
    Resize,
    Return,
    SessionBroke,
    SessionGone,
    SessionOpened,
    Shut,
    Told,
    Unreserve,
    Untold,
    Withdraw,
)
from protocol.session import Retirement, SessionState
from tests.protocol.driven_pool import Driven, closed, granted, quiet, refused

DOWN = ConnectFailed("nothing listens there", step="connect")

# --- callers and waiters


@pytest.mark.holds("L3", "L5")
def test_the_first_acquire_reserves_a_permit_and_gets_the_session_that_is_opened_with_it() -> None:
    pool = Driven()
    assert pool(Acquire("ada")) == [Reserve("ada")]
    assert pool(PermitGranted()) == [Open(1, "ada")]
    pool.now = 3
    (grant,) = pool(SessionOpened(1))
    assert isinstance(grant, Grant)
    assert (grant.ticket, grant.session, grant.waited) == ("ada", 1, 3)


@pytest.mark.holds("L3")
def test_an_idle_session_is_lent_at_once_and_the_last_used_goes_first() -> None:
    pool = Driven()
    first, second = pool.open("ada"), pool.open("bob")
    assert pool(Release(second, busy=False)) == []
    assert pool(Release(first, busy=False)) == []
    pool.hit("cy", 1)


@pytest.mark.holds("L3")
def test_a_hit_needs_no_ticket() -> None:
    pool = Driven()
    assert pool.machine.lend(0.0) is None
    pool(Release(pool.open("ada"), busy=False))
    loan = pool.machine.lend(0.0)
    assert loan is not None
    assert pool.machine.lend(0.0) is None
    assert pool(Release(loan, busy=False)) == []
    assert pool.machine.counts(now=0.0).hits == 1


@pytest.mark.holds("L3")
def test_a_released_session_goes_straight_to_the_oldest_waiter() -> None:
    pool = Driven(max_size=1)
    loan = pool.open("ada")
    assert pool(Acquire("bob")) == []
    assert pool(Acquire("cy")) == []
    loan = granted(pool(Release(loan, busy=False)), "bob", 1)
    granted(pool(Release(loan, busy=False)), "cy", 1)


@pytest.mark.holds("L3", "L5")
def test_a_waiter_that_was_served_by_a_release_takes_its_reservation_back() -> None:
    pool = Driven()
    loan = pool.open("ada")
    assert pool(Acquire("bob")) == [Reserve("bob")]
    grant, unreserve = pool(Release(loan, busy=False))
    assert isinstance(grant, Grant)
    assert unreserve == Unreserve()


@pytest.mark.holds("L2", "L5")
def test_a_caller_that_withdrew_takes_its_reservation_back_or_leaves_its_session_to_the_next() -> None:
    pool = Driven()
    pool(Acquire("ada"))
    assert pool(Withdraw("ada")) == [Unreserve()]
    assert pool(Withdraw("ada")) == []
    pool(Acquire("bob"))
    pool(PermitGranted())
    assert pool(Withdraw("bob")) == []
    assert pool(SessionOpened(1)) == []
    pool.hit("cy", 1)


@pytest.mark.holds("L2")
def test_a_caller_beyond_max_waiting_is_refused_by_name() -> None:
    pool = Driven(max_size=1, max_waiting=1)
    pool.open("ada")
    assert pool(Acquire("bob")) == []
    error = refused(pool(Acquire("cy")), "cy")
    assert isinstance(error, PoolFull)
    assert "1 leased of at most 1, 1 waiting" in str(error)


@pytest.mark.holds("L2")
def test_with_max_waiting_zero_a_caller_may_still_wait_for_a_session_opened_for_it() -> None:
    pool = Driven(max_size=1, max_waiting=0)
    pool.open("ada")
    assert isinstance(refused(pool(Acquire("bob")), "bob"), PoolFull)


# --- leases


def over(pool: Driven, loan: Loan) -> None:
    """Whatever is said of this loan changes nothing."""
    for event in (
        Release(loan, busy=False),
        Release(loan, busy=True),
        CallsEnded(loan),
        CallsOverdue(loan),
        Abandoned(loan),
    ):
        assert pool(event) == []


@pytest.mark.holds("L4")
def test_a_lease_that_is_over_cannot_touch_the_session_of_the_next_holder() -> None:
    pool = Driven(max_size=1)
    loan = pool.open("ada")
    pool(Release(loan, busy=False))
    pool.hit("bob", 1)
    over(pool, loan)
    assert pool.count(SessionState.LEASED) == 1


@pytest.mark.holds("L4")
def test_a_session_with_the_releasers_calls_under_way_is_lent_again_only_when_they_have_ended() -> None:
    pool = Driven(max_size=1)
    loan = pool.open("ada")
    pool(Acquire("bob"))
    assert pool(Release(loan, busy=True)) == [AwaitCalls(loan)]
    assert pool(Release(loan, busy=False)) == []
    assert pool(Abandoned(loan)) == []
    granted(pool(CallsEnded(loan)), "bob", 1)


@pytest.mark.holds("L4", "L5")
@pytest.mark.parametrize("reason", [Retirement.OVERDUE_CALLS, Retirement.ABANDONED_LEASE])
def test_a_session_whose_borrower_is_not_done_or_never_said_so_is_closed_instead_of_lent(reason: Retirement) -> None:
    pool = Driven(max_size=1)
    loan = pool.open("ada")
    pool(Acquire("bob"))
    if reason is Retirement.OVERDUE_CALLS:
        pool(Release(loan, busy=True))
        assert pool(CallsOverdue(loan)) == closed(1, reason)
    else:
        assert pool(Abandoned(loan)) == closed(1, reason)
    over(pool, loan)
    assert pool(SessionGone(1)) == [Return(), Reserve("bob")]
    assert pool(PermitGranted()) == [Open(2, "bob")]


@pytest.mark.holds("S3")
def test_a_session_that_ends_under_its_borrower_frees_its_permit_and_the_lease_is_void() -> None:
    pool = Driven(max_size=1)
    loan = pool.open("ada")
    pool(Acquire("bob"))
    assert pool(SessionGone(1)) == [Return(), Reserve("bob")]
    over(pool, loan)


@pytest.mark.holds("S2")
def test_an_idle_session_that_breaks_is_closed_and_holds_its_permit_until_it_is_gone() -> None:
    pool = Driven(max_size=1)
    pool(Release(pool.open("ada"), busy=False))
    assert pool(SessionBroke(1)) == closed(1, Retirement.BROKEN)
    assert pool(Acquire("bob")) == []
    assert pool(SessionGone(1)) == [Return(), Reserve("bob")]


@pytest.mark.holds("S2")
def test_a_session_that_breaks_while_lent_is_closed_when_it_comes_back_and_never_lent_again() -> None:
    pool = Driven(max_size=1)
    loan = pool.open("ada")
    assert pool(SessionBroke(1)) == []
    assert pool(Acquire("bob")) == []
    assert pool(Release(loan, busy=True)) == [AwaitCalls(loan)]
    assert pool(CallsEnded(loan)) == closed(1, Retirement.BROKEN)
    assert pool.machine.counts(now=0.0).broken == 1


@pytest.mark.holds("S8")
def test_draining_ends_idle_sessions_now_and_lent_ones_as_they_come_back_and_opens_new_ones() -> None:
    pool = Driven(max_size=3)
    lent, idle = pool.open("ada"), pool.open("bob")
    pool(Release(idle, busy=False))
    pool.hit("cy", 2)
    pool(Acquire("dee"))
    pool(PermitGranted())
    assert pool(Drain()) == closed(3, Retirement.DRAINED)
    assert pool(SessionOpened(3)) == []
    assert pool(SessionGone(3)) == [Return(), Reserve("dee")]
    assert pool(PermitGranted()) == [Open(4, "dee")]
    assert pool(Release(lent, busy=False)) == closed(1, Retirement.DRAINED)


# --- modes


@pytest.mark.holds("L1")
def test_a_session_of_a_server_that_keeps_state_has_one_lease_and_of_another_as_many_as_are_shared() -> None:
    pool = Driven(max_size=1, shared_leases=2)
    pool(Acquire("ada"))
    for name in ("bob", "cy"):
        assert pool(Acquire(name)) == []
    pool(PermitGranted())
    grants = pool(SessionOpened(1, is_stateful=False))
    assert [(grant.ticket, grant.session) for grant in grants if isinstance(grant, Grant)] == [("ada", 1), ("bob", 1)]
    assert pool.machine.counts(now=0.0).waiting == 1


@pytest.mark.holds("L1", "L3")
def test_a_key_that_has_learnt_that_its_server_is_stateless_reserves_one_session_for_many() -> None:
    pool = Driven(max_size=4, shared_leases=2)
    for name in ("ada", "bob", "cy"):
        assert pool(Acquire(name)) == [Reserve(name)], "an unknown server is taken for one that keeps state"
    pool(PermitGranted())
    *_, unreserve = pool(SessionOpened(1, is_stateful=False))
    assert unreserve == Unreserve(), "one more session is enough for the one who still waits"
    assert pool(Acquire("dee")) == []
    pool(PermitGranted())
    assert [type(effect) for effect in pool(SessionOpened(2, is_stateful=False))] == [Grant, Grant]


@pytest.mark.holds("L1", "L3")
def test_a_server_that_turns_out_to_keep_state_after_all_gets_as_many_sessions_as_there_are_waiters() -> None:
    pool = Driven(max_size=3, shared_leases=9)
    loan = pool.open("ada", is_stateful=False)
    pool(SessionBroke(1))
    pool(Release(loan, busy=False))
    pool(SessionGone(1))
    assert [pool(Acquire(name)) for name in ("bob", "cy", "dee")] == [[Reserve("bob")], [], []]
    pool(PermitGranted())
    grant, *reserved = pool(SessionOpened(2, is_stateful=True))
    assert isinstance(grant, Grant)
    assert reserved == [Reserve("cy"), Reserve("dee")]


@pytest.mark.holds("L1")
def test_an_explicit_number_of_places_counts_whatever_the_server_is() -> None:
    for is_stateful in (True, False):
        pool = Driven(max_size=1, places=2)
        pool.open("ada", is_stateful=is_stateful)
        pool.hit("bob", 1)
        assert pool(Acquire("cy")) == []


@pytest.mark.holds("L6")
def test_a_conversation_makes_one_handshake_for_calls_that_come_at_once_and_they_share_the_session() -> None:
    pool = Driven(is_sticky=True, max_size=5)
    assert [pool(Acquire(str(call))) for call in range(4)] == [[Reserve("0")], [], [], []]
    pool(PermitGranted())
    grants = pool(SessionOpened(1))
    assert [(type(grant), grant.session) for grant in grants if isinstance(grant, Grant)] == [(Grant, 1)] * 4
    pool.hit("late", 1)
    assert pool(PermitGranted()) == [Return()]


@pytest.mark.holds("L9")
def test_a_conversation_that_lost_its_state_is_told_once_and_the_next_call_opens_another_session() -> None:
    pool = Driven(is_sticky=True)
    loan = pool.open("ada")
    pool(SessionBroke(1))
    error = refused(pool(Acquire("bob")), "bob")
    assert isinstance(error, SessionStateLost)
    assert pool(Acquire("cy")) == []
    assert pool(Release(loan, busy=False)) == closed(1, Retirement.BROKEN)
    assert pool(SessionGone(1)) == [Return(), Reserve("cy")]
    pool(PermitGranted())
    granted(pool(SessionOpened(2)), "cy", 2)


@pytest.mark.holds("L9")
def test_a_loss_that_nobody_heard_of_is_told_to_whoever_comes_next_also_where_a_session_is_open_again() -> None:
    pool = Driven(is_sticky=True)
    pool(Release(pool.open("ada"), busy=False))
    assert pool(Untold()) == []
    assert pool.machine.lend(pool.now) is None
    assert isinstance(refused(pool(Acquire("cy")), "cy"), SessionStateLost)
    pool.hit("cy", 1)


@pytest.mark.holds("L9")
def test_a_loss_that_was_heard_of_after_all_is_not_told_again_but_another_one_is() -> None:
    pool = Driven(is_sticky=True)
    pool(Release(pool.open("ada"), busy=False))
    pool(Untold())
    assert pool(Told()) == []
    assert not pool.machine.owes_loss or pool.machine.lend(pool.now) is not None
    pool(SessionBroke(1))
    pool(Told())
    assert isinstance(refused(pool(Acquire("cy")), "cy"), SessionStateLost)


@pytest.mark.holds("L9")
def test_a_loss_that_nobody_heard_of_is_told_to_the_oldest_of_those_who_wait() -> None:
    pool = Driven(is_sticky=True)
    pool(Release(pool.open("ada"), busy=False))
    pool(SessionBroke(1))
    assert isinstance(refused(pool(Acquire("bob")), "bob"), SessionStateLost)
    pool(Acquire("cy"))
    pool(Acquire("dee"))
    pool(SessionGone(1))
    assert isinstance(refused(pool(Untold()), "cy"), SessionStateLost)
    pool(PermitGranted())
    granted(pool(SessionOpened(2)), "dee", 2)


@pytest.mark.holds("L9")
def test_a_loss_that_nobody_heard_of_is_nobodys_once_the_pool_is_shut() -> None:
    pool = Driven(is_sticky=True)
    pool(Release(pool.open("ada"), busy=False))
    pool(Shut())
    assert pool(Untold()) == []
    assert not pool.machine.owes_loss


@pytest.mark.holds("L9")
@pytest.mark.parametrize("is_stateful", [True, False])
def test_a_loss_that_is_presumed_is_told_once_the_first_session_has_opened_if_its_server_keeps_state(
    *, is_stateful: bool
) -> None:
    pool = Driven(is_sticky=True, is_presumed=True)
    assert pool.machine.owes_loss
    assert not pool.machine.is_unused
    assert pool(Acquire("ada")) == [Reserve("ada")]
    pool(Acquire("bob"))
    pool(PermitGranted())
    effects = pool(SessionOpened(1, is_stateful))
    if is_stateful:
        assert isinstance(refused(effects[:1], "ada"), SessionStateLost)
        granted(effects[1:], "bob", 1)
    else:
        assert [type(effect) for effect in effects] == [Grant, Grant]
    pool.hit("cy", 1)


@pytest.mark.holds("L9")
def test_a_loss_that_is_presumed_and_turns_out_when_nobody_waits_is_told_to_whoever_comes_next() -> None:
    pool = Driven(is_sticky=True, is_presumed=True)
    pool(Acquire("ada"))
    pool(PermitGranted())
    pool(Withdraw("ada"))
    assert pool(SessionOpened(1)) == []
    assert isinstance(refused(pool(Acquire("bob")), "bob"), SessionStateLost)
    pool.hit("cy", 1)


@pytest.mark.holds("L9")
@pytest.mark.parametrize("is_stateful", [True, False])
def test_what_had_no_state_or_was_never_used_is_replaced_without_a_word(*, is_stateful: bool) -> None:
    pool = Driven(is_sticky=True)
    pool(Acquire("ada"))
    pool(PermitGranted())
    if is_stateful:
        pool(Withdraw("ada"))
        pool(SessionOpened(1))
    else:
        pool(SessionOpened(1, is_stateful=False))
    pool(SessionBroke(1))
    assert pool(Acquire("bob")) == []


@pytest.mark.holds("L5", "S8")
def test_fewer_are_allowed_so_idle_ones_end_now_and_lent_ones_as_they_come_back() -> None:
    pool = Driven(max_size=4)
    loans = [pool.open(name) for name in ("ada", "bob", "cy")]
    pool(Acquire("dee"))
    pool(Release(loans[0], busy=False))
    assert pool.count(SessionState.LEASED) == 3
    assert pool(Acquire("eve")) == [Reserve("eve")]
    assert pool(Resize(quiet(max_size=2))) == [Unreserve()]
    assert pool(Release(loans[1], busy=False)) == closed(2, Retirement.RESIZED)
    granted(pool(Release(loans[2], busy=False)), "eve", 3)


@pytest.mark.holds("L3")
def test_more_are_allowed_so_those_who_wait_get_them() -> None:
    pool = Driven(max_size=1)
    pool.open("ada")
    assert pool(Acquire("bob")) == []
    assert pool(Resize(quiet(max_size=2))) == [Reserve("bob")]
