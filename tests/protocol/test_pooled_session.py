"""One session's record: when something is due for it, and why it ends."""

import math

import pytest

from protocol.pooled_session import NEVER, REFRESH_SHARE, PooledSession
from protocol.session import Retirement, SessionState
from protocol.settings import PoolSettings

SETTINGS = PoolSettings(
    max_lifetime=100.0, lifetime_jitter=0.2, max_idle=30.0, health_interval=7.0, connect_timeout=50.0
)
NOTHING_DUE = PoolSettings(max_lifetime=None, max_idle=None, health_interval=None)


def opened(*, jitter: float = 0.0, expires_at: float = NEVER, has_lifetime: bool = True) -> PooledSession:
    """One that was asked for at 1 and opened at 10."""
    session = PooledSession(3, 1.0, expires_at=expires_at)
    session.opened(SETTINGS, 10.0, jitter=jitter, has_lifetime=has_lifetime)
    return session


def test_a_session_begins_as_one_that_is_connecting_for_one_caller_and_keeps_state() -> None:
    session = PooledSession(3, 1.0, expires_at=5.0)
    assert (session.number, session.state, session.note, session.reason) == (3, SessionState.CONNECTING, None, None)
    assert (session.loans, session.places, session.uses) == ([], 1, 0)
    assert session.is_stateful is True
    assert (session.is_listed, session.is_replaced) == (False, False)
    assert (session.opened_at, session.used_at, session.checked_at) == (1.0, 1.0, 1.0)
    assert (session.lifetime_ends, session.credentials_end, session.ends_at) == (NEVER, 5.0, 5.0)


@pytest.mark.holds("S7")
@pytest.mark.parametrize(("jitter", "ends"), [(0.0, 110.0), (0.5, 100.0), (1.0, 90.0)])
def test_its_life_begins_when_it_opens_and_is_shortened_by_a_share_of_the_jitter(jitter: float, ends: float) -> None:
    session = opened(jitter=jitter)
    assert (session.opened_at, session.used_at, session.checked_at) == (10.0, 10.0, 10.0)
    assert session.lifetime_ends == session.ends_at == pytest.approx(ends)
    assert session.end_reason is Retirement.EXPIRED


@pytest.mark.holds("L9")
def test_one_without_a_lifetime_ends_with_its_credentials_alone() -> None:
    assert opened(has_lifetime=False).ends_at == NEVER
    assert opened(has_lifetime=False, expires_at=20.0).ends_at == 20.0
    session = PooledSession(3, 1.0, expires_at=NEVER)
    session.opened(NOTHING_DUE, 10.0, jitter=0.5, has_lifetime=True)
    assert (session.lifetime_ends, session.ends_at) == (NEVER, NEVER)


@pytest.mark.holds("L8")
def test_it_ends_with_whichever_comes_first_its_life_or_the_credentials_it_bore_last() -> None:
    session = opened(expires_at=50.0)
    assert (session.ends_at, session.end_reason) == (50.0, Retirement.CREDENTIALS_EXPIRED)
    session.bear(70.0)
    assert (session.credentials_end, session.ends_at, session.end_reason) == (
        70.0,
        70.0,
        Retirement.CREDENTIALS_EXPIRED,
    )
    session.bear(200.0)
    assert (session.credentials_end, session.ends_at, session.end_reason) == (200.0, 110.0, Retirement.EXPIRED)
    session.bear(110.0)
    assert session.end_reason is Retirement.CREDENTIALS_EXPIRED


@pytest.mark.holds("S7")
def test_it_is_replaced_a_tenth_of_its_life_before_its_end_or_as_long_as_connecting_may_take() -> None:
    assert REFRESH_SHARE == 0.1
    session = opened()
    assert session.refresh_at(SETTINGS) == 100.0
    assert session.refresh_at(SETTINGS.with_(connect_timeout=4.0)) == 106.0
    assert session.refresh_at(NOTHING_DUE) == NEVER
    session.bear(110.0)
    assert session.refresh_at(SETTINGS) == NEVER, "its successor would end with the same credentials"


@pytest.mark.holds("S7")
def test_it_is_idle_for_too_long_or_due_for_a_check_after_its_last_use() -> None:
    session = opened()
    assert session.idle_until(SETTINGS, 12.0) == 42.0
    assert session.check_at(SETTINGS, 12.0) == 19.0
    session.checked_at = 15.0
    assert session.check_at(SETTINGS, 12.0) == 22.0, "a check does as well"
    assert session.idle_until(SETTINGS, 12.0) == 42.0
    assert session.idle_until(NOTHING_DUE, 12.0) == session.check_at(NOTHING_DUE, 12.0) == NEVER == math.inf
