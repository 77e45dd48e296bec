"""The pool machine, rule by rule."""

import pytest

from protocol.errors import ConnectFailed, PoolClosed, PoolFull
from protocol.pool import (
    Acquire,
    AwaitCalls,
    CallsEnded,
    CallsOverdue,
    Close,
    Finished,
    Grant,
    Open,
    PoolEffect,
    PoolEvent,
    PoolMachine,
    Refuse,
    Release,
    SessionBroke,
    SessionGone,
    SessionOpened,
    Shut,
    Withdraw,
)
from protocol.session import SessionState


class Driven:
    """A machine with a clock that counts events."""

    def __init__(self, *, max_size: int = 2, max_waiting: int = 100) -> None:
        self.machine = PoolMachine[str]("test", max_size=max_size, max_waiting=max_waiting)
        self.now = 0.0

    def __call__(self, event: PoolEvent[str]) -> list[PoolEffect[str]]:
        self.now += 1
        return self.machine.handle(event, now=self.now)

    def lend(self, ticket: str, session: int) -> int:
        """Open that session, which must be the next, for the ticket; answer the lease."""
        assert self(Acquire(ticket)) == [Open(session, ticket)]
        (grant,) = self(SessionOpened(session))
        assert isinstance(grant, Grant)
        assert (grant.ticket, grant.session) == (ticket, session)
        return grant.lease

    def count(self, state: SessionState) -> int:
        return self.machine.counts(now=self.now).sessions[state]


@pytest.mark.holds("L3")
def test_the_first_acquire_opens_a_session_and_gets_it() -> None:
    pool = Driven()
    assert pool(Acquire("ada")) == [Open(1, "ada")]
    assert pool(SessionOpened(1)) == [Grant("ada", 1, 1)]


@pytest.mark.holds("L3")
def test_an_idle_session_is_lent_at_once_and_the_last_used_goes_first() -> None:
    pool = Driven()
    first, second = pool.lend("ada", 1), pool.lend("bob", 2)
    assert pool(Release(second, busy=False)) == []
    assert pool(Release(first, busy=False)) == []
    assert pool(Acquire("cy")) == [Grant("cy", 1, 3)]


@pytest.mark.holds("L3")
def test_a_released_session_goes_straight_to_the_oldest_waiter() -> None:
    pool = Driven(max_size=1)
    lease = pool.lend("ada", 1)
    assert pool(Acquire("bob")) == []
    assert pool(Acquire("cy")) == []
    assert pool(Release(lease, busy=False)) == [Grant("bob", 1, 2)]
    assert pool(Release(2, busy=False)) == [Grant("cy", 1, 3)]


@pytest.mark.holds("L5")
def test_no_more_sessions_are_opened_than_there_are_permits_or_waiters() -> None:
    pool = Driven(max_size=2)
    assert pool(Acquire("ada")) == [Open(1, "ada")]
    assert pool(Acquire("bob")) == [Open(2, "ada")]
    assert pool(Acquire("cy")) == []
    assert pool(SessionOpened(2)) == [Grant("ada", 2, 1)]
    assert pool.machine.counts(now=pool.now).free == 0


@pytest.mark.holds("L2")
def test_a_caller_that_withdrew_is_not_served_and_the_session_opened_for_it_stays_for_the_next() -> None:
    pool = Driven()
    pool(Acquire("ada"))
    assert pool(Withdraw("ada")) == []
    assert pool(SessionOpened(1)) == []
    assert pool(Acquire("bob")) == [Grant("bob", 1, 1)]


@pytest.mark.holds("L2", "L5")
def test_a_session_that_cannot_be_opened_costs_the_oldest_waiter_its_wait_and_frees_the_permit() -> None:
    pool = Driven(max_size=1)
    pool(Acquire("ada"))
    pool(Acquire("bob"))
    why = ConnectFailed("refused", step="connect")
    assert pool(SessionGone(1, why)) == [Refuse("ada", why), Open(2, "bob")]
    assert pool(SessionGone(2, why)) == [Refuse("bob", why)]
    assert pool.machine.counts(now=pool.now).free == 1


@pytest.mark.holds("L2")
def test_a_failed_opening_costs_nobody_anything_while_enough_others_are_under_way() -> None:
    pool = Driven(max_size=2)
    pool(Acquire("ada"))
    pool(Acquire("bob"))
    pool(Withdraw("bob"))
    assert pool(SessionGone(1, ConnectFailed("refused", step="connect"))) == []
    assert pool(SessionOpened(2)) == [Grant("ada", 2, 1)]


@pytest.mark.holds("L4")
def test_a_lease_that_has_ended_cannot_touch_the_session_of_the_next_holder() -> None:
    pool = Driven(max_size=1)
    lease = pool.lend("ada", 1)
    pool(Release(lease, busy=False))
    assert pool(Acquire("bob")) == [Grant("bob", 1, 2)]
    assert pool(Release(lease, busy=False)) == []
    assert pool(CallsEnded(lease)) == []
    assert pool(CallsOverdue(lease)) == []
    assert pool(Release(99, busy=True)) == []
    assert pool.count(SessionState.LEASED) == 1


@pytest.mark.holds("L4")
def test_a_session_with_the_releasers_calls_under_way_is_lent_again_only_when_they_have_ended() -> None:
    pool = Driven(max_size=1)
    lease = pool.lend("ada", 1)
    assert pool(Acquire("bob")) == []
    assert pool(Release(lease, busy=True)) == [AwaitCalls(lease)]
    assert pool.count(SessionState.SETTLING) == 1
    assert pool(CallsEnded(lease)) == [Grant("bob", 1, 2)]


@pytest.mark.holds("L4", "L5")
def test_a_session_whose_releasers_calls_do_not_end_is_closed_instead_of_lent() -> None:
    pool = Driven(max_size=1)
    lease = pool.lend("ada", 1)
    pool(Acquire("bob"))
    pool(Release(lease, busy=True))
    assert pool(CallsOverdue(lease)) == [Close(1)]
    assert pool(CallsEnded(lease)) == []
    assert pool(SessionGone(1)) == [Open(2, "bob")]


@pytest.mark.holds("S2")
def test_an_idle_session_that_breaks_is_closed_and_holds_its_permit_until_it_is_gone() -> None:
    pool = Driven(max_size=1)
    pool(Release(pool.lend("ada", 1), busy=False))
    assert pool(SessionBroke(1)) == [Close(1)]
    assert pool(Acquire("bob")) == []
    assert pool(SessionGone(1)) == [Open(2, "bob")]


@pytest.mark.holds("S2")
def test_a_session_that_breaks_while_lent_is_closed_when_it_comes_back_and_never_lent_again() -> None:
    pool = Driven(max_size=1)
    lease = pool.lend("ada", 1)
    assert pool(SessionBroke(1)) == []
    assert pool(Acquire("bob")) == []
    assert pool(Release(lease, busy=False)) == [Close(1)]
    assert pool(SessionGone(1)) == [Open(2, "bob")]


@pytest.mark.holds("S2")
def test_a_broken_session_with_calls_left_under_way_waits_for_them_a_bounded_time() -> None:
    pool = Driven(max_size=1)
    lease = pool.lend("ada", 1)
    pool(SessionBroke(1))
    assert pool(Release(lease, busy=True)) == [AwaitCalls(lease)]
    assert pool(CallsOverdue(lease)) == [Close(1)]


def test_a_session_that_ends_under_its_borrower_frees_its_permit_and_the_lease_is_void() -> None:
    pool = Driven(max_size=1)
    lease = pool.lend("ada", 1)
    pool(Acquire("bob"))
    assert pool(SessionGone(1)) == [Open(2, "bob")]
    assert pool(Release(lease, busy=False)) == []


@pytest.mark.holds("L2")
def test_a_caller_beyond_max_waiting_is_refused_by_name() -> None:
    pool = Driven(max_size=1, max_waiting=1)
    pool.lend("ada", 1)
    assert pool(Acquire("bob")) == []
    (refused,) = pool(Acquire("cy"))
    assert isinstance(refused, Refuse)
    assert isinstance(refused.error, PoolFull)
    assert "1 leased of at most 1, 1 waiting" in str(refused.error)


def test_with_max_waiting_zero_a_caller_may_still_wait_for_a_session_opened_for_it() -> None:
    pool = Driven(max_size=1, max_waiting=0)
    pool.lend("ada", 1)
    (refused,) = pool(Acquire("bob"))
    assert isinstance(refused, Refuse)


@pytest.mark.holds("L2", "L5")
def test_shutting_refuses_the_waiters_closes_every_session_and_finishes_when_the_last_is_gone() -> None:
    pool = Driven(max_size=3)
    pool(Release(pool.lend("ada", 1), busy=False))
    lease = 2
    assert pool(Acquire("bob")) == [Grant("bob", 1, lease)]
    assert pool(Acquire("cy")) == [Open(2, "cy")]
    refused, *closing = pool(Shut())
    assert isinstance(refused, Refuse)
    assert refused.ticket == "cy"
    assert isinstance(refused.error, PoolClosed)
    assert closing == [Close(1), Close(2)]
    assert pool(Shut()) == []
    assert pool(Release(lease, busy=False)) == []
    assert pool(SessionOpened(2)) == []
    assert pool(SessionGone(1)) == []
    assert pool(SessionGone(2)) == [Finished()]
    (late,) = pool(Acquire("dee"))
    assert isinstance(late, Refuse)


def test_an_empty_pool_finishes_as_soon_as_it_is_shut() -> None:
    assert Driven()(Shut()) == [Finished()]


def test_the_counts_tell_hits_misses_failures_and_the_longest_wait_and_lease() -> None:
    pool = Driven(max_size=1)
    lease = pool.lend("ada", 1)
    pool(Acquire("bob"))
    counts = pool.machine.counts(now=pool.now + 10)
    assert (counts.hits, counts.misses, counts.opened, counts.waiting) == (0, 2, 1, 1)
    assert counts.longest_wait == 10
    assert counts.longest_lease == 11
    pool(SessionBroke(1))
    pool(Release(lease, busy=False))
    assert pool.machine.counts(now=pool.now).broken == 1
