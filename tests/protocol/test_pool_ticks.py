"""The pool machine, rule by rule: several things that are due at once, and when the next one is."""

import math

import pytest

from protocol.pool_messages import (
    Acquire,
    Check,
    Finished,
    HeldLong,
    Leaving,
    PermitGranted,
    Release,
    Resize,
    Return,
    SessionGone,
    SessionOpened,
    Shut,
    Tick,
)
from protocol.session import Retirement
from tests.protocol.driven_pool import Driven, closed, granted, quiet


def with_idle(pool: Driven, *ends: float) -> Driven:
    """With sessions open that nobody has, which were used with credentials that end then."""
    for loan in [pool.open(f"caller {number}", expires_at=end) for number, end in enumerate(ends)]:
        pool(Release(loan, busy=False))
    return pool


# --- several at once


@pytest.mark.holds("L8")
def test_all_sessions_end_whose_credentials_did() -> None:
    pool = with_idle(Driven(), 5.0, 5.0)
    assert pool.tick(at=5.0) == [
        *closed(1, Retirement.CREDENTIALS_EXPIRED),
        *closed(2, Retirement.CREDENTIALS_EXPIRED),
    ]


def test_all_sessions_end_that_were_idle_for_too_long() -> None:
    pool = with_idle(Driven(max_idle=10.0), math.inf, math.inf)
    assert pool.tick(at=10.0) == [*closed(1, Retirement.IDLE), *closed(2, Retirement.IDLE)]


@pytest.mark.holds("S7")
def test_all_sessions_are_checked_that_are_due() -> None:
    pool = with_idle(Driven(health_interval=10.0), math.inf, math.inf)
    assert pool.tick(at=10.0) == [Check(1), Check(2)]


@pytest.mark.parametrize(
    ("ends", "kept"),
    [
        ((10.0, math.inf), 2),
        ((10.0, math.inf, math.inf), 3),
        ((math.inf, math.inf, math.inf), 3),
        ((math.inf, 10.0, math.inf, math.inf), 4),
    ],
)
def test_of_those_that_were_idle_for_too_long_as_many_stay_as_spares_are_kept(
    ends: tuple[float, ...], kept: int
) -> None:
    pool = with_idle(Driven(max_size=4), *ends)
    pool(Resize(quiet(max_size=4, min_idle=1, max_idle=10.0)))
    assert pool.tick(at=0.0) == []
    assert pool.tick(at=10.0) == [
        effect
        for number, end in enumerate(ends, 1)
        if number != kept
        for effect in closed(number, Retirement.IDLE if end > 10.0 else Retirement.CREDENTIALS_EXPIRED)
    ]


# --- long leases


def test_a_lease_is_told_of_with_how_long_it_has_been_held() -> None:
    pool = Driven(warn_after=5.0)
    pool(Release(pool.open("ada"), busy=False))
    assert pool.tick(at=5.0) == []
    pool.now = 6.0
    loan = pool.machine.lend(6.0)
    assert loan is not None
    assert pool.tick(at=10.0) == [], "whoever borrows later is told of in time"
    assert pool.tick(at=11.0) == [HeldLong(loan, 5.0)]


# --- the next tick


def test_a_lent_session_is_idle_for_too_long_when_it_was_long_enough_since_its_return() -> None:
    pool = Driven(max_idle=10.0)
    loan = pool.open("ada")
    assert pool.tick(at=10.0) == []
    pool.now = 12.0
    pool(Release(loan, busy=False))
    assert pool.tick(at=20.0) == []
    assert pool.tick(at=22.0) == closed(1, Retirement.IDLE)


@pytest.mark.holds("S7")
def test_a_lent_session_is_checked_when_it_was_long_enough_since_its_return() -> None:
    pool = Driven(health_interval=10.0)
    loan = pool.open("ada")
    assert pool.tick(at=10.0) == []
    pool.now = 12.0
    pool(Release(loan, busy=False))
    assert pool.tick(at=20.0) == []
    assert pool.tick(at=22.0) == [Check(1)]


def test_a_conversations_session_ends_without_being_replaced_before() -> None:
    pool = Driven(is_sticky=True, max_lifetime=100.0)
    pool(Acquire("ada"))
    pool(PermitGranted())
    pool(Release(granted(pool(SessionOpened(1, is_stateful=False)), "ada", 1), busy=False))
    assert pool.tick(at=100.0) == closed(1, Retirement.EXPIRED)


@pytest.mark.parametrize("is_asked", [False, True])
def test_a_key_that_nobody_has_asked_for_anything_yet_is_not_forgotten(*, is_asked: bool) -> None:
    pool = Driven(key_idle=5.0)
    pool.now = 50.0
    assert pool(Tick()) == []
    assert pool.wake_at == math.inf
    if is_asked:
        pool(Acquire("ada", 0.0))
        assert pool.tick(at=55.0) == [Leaving(), Finished()]


def test_a_key_is_kept_for_a_while_after_it_lost_the_session_that_somebody_had() -> None:
    pool = Driven(key_idle=50.0)
    pool.open("ada")
    pool.now = 30.0
    assert pool(SessionGone(1)) == [Return()]
    assert pool.tick(at=80.0) == [Leaving(), Finished()]


def test_a_key_that_is_ending_asks_for_no_tick_when_its_settings_change() -> None:
    pool = Driven(max_idle=10.0)
    pool.open("ada")
    pool(Shut())
    pool.wake_at = -math.inf  # none would be taken
    assert pool(Resize(quiet(max_idle=5.0))) == []
