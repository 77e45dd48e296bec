"""Restart types, backoff and the window of restarts."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import InvalidSettings
from protocol.restart import Backoff, Restart, RestartWindow, Strategy
from protocol.settings import LONGEST

PLAIN = Backoff(first=0.5, factor=2, ceiling=10, jitter=0)


@pytest.mark.parametrize("restart", Restart)
def test_a_restart_type_is_accepted_as_itself_and_as_its_text(restart: Restart) -> None:
    assert Restart.parse(restart) is restart
    assert Restart.parse(restart.value) is restart


@pytest.mark.parametrize("strategy", Strategy)
def test_a_strategy_is_accepted_as_itself_and_as_its_text(strategy: Strategy) -> None:
    assert Strategy.parse(strategy) is strategy
    assert Strategy.parse(strategy.value) is strategy


@pytest.mark.parametrize("given", ["Permanent", "", None, 1, [], Strategy.ONE_FOR_ALL])
def test_an_unknown_restart_type_is_refused_with_the_known_ones(given: Any) -> None:
    with pytest.raises(InvalidSettings, match="is unknown: use one of permanent, transient, temporary") as refused:
        Restart.parse(given)
    assert repr(given) in str(refused.value)


def test_an_unknown_strategy_is_refused_with_the_known_ones() -> None:
    known = "one_for_one, one_for_all, rest_for_one"
    with pytest.raises(InvalidSettings, match=f"strategy 'all' is unknown: use one of {known}"):
        Strategy.parse("all")  # type: ignore[arg-type]


WRONG: list[Any] = [-1, math.nan, math.inf, "1", None, True, 10**400]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("first", "factor", "ceiling", "jitter") for value in WRONG),
        *(("factor", 0.5), ("ceiling", 0.25), ("jitter", 1.5)),
    ],
)
def test_a_backoff_that_cannot_be_is_refused_by_the_name_of_the_value(name: str, value: Any) -> None:
    fine: dict[str, Any] = {"first": 0.5, "factor": 2, "ceiling": 10, "jitter": 0.5}
    with pytest.raises(InvalidSettings, match=f"backoff {name} must be a number from"):
        Backoff(**{**fine, name: value})


def test_a_backoff_may_be_of_any_length_never_grow_and_wait_no_longer_than_at_first() -> None:
    assert Backoff(first=LONGEST, factor=1, ceiling=LONGEST, jitter=1).delay(3, 0.0) == LONGEST
    assert Backoff(first=0, factor=1.5, ceiling=0, jitter=0).delay(3, 0.0) == 0.0


def test_a_number_out_of_its_range_is_refused_with_the_range_and_itself() -> None:
    with pytest.raises(InvalidSettings) as refused:
        Backoff(first=2, factor=1, ceiling=1, jitter=0)
    assert str(refused.value) == "backoff ceiling must be a number from 2 to 1e+09, not 1"


def test_a_backoff_grows_from_the_first_delay_to_the_ceiling_and_stays_there() -> None:
    assert [PLAIN.delay(attempt, 0.0) for attempt in range(1, 8)] == [0.5, 1, 2, 4, 8, 10, 10]


@pytest.mark.parametrize(
    ("backoff", "delay"),
    [
        (PLAIN, 10.0),
        (Backoff(first=3, factor=1, ceiling=10, jitter=0), 3.0),
        (Backoff(first=0, factor=2, ceiling=10, jitter=0), 0.0),
        (Backoff(first=1, factor=1e9, ceiling=1, jitter=0), 1.0),
    ],
)
@pytest.mark.parametrize("attempt", [5_000, 10**18, 10**400])
def test_no_number_of_attempts_is_too_many_for_a_backoff(backoff: Backoff, delay: float, attempt: int) -> None:
    assert backoff.delay(attempt, 0.0) == delay


@given(st.integers(1, 60), st.floats(0, 1, exclude_max=True), st.floats(0, 1))
def test_jitter_shortens_a_delay_by_up_to_its_fraction(attempt: int, draw: float, jitter: float) -> None:
    whole = PLAIN.delay(attempt, draw)
    drawn = Backoff(first=0.5, factor=2, ceiling=10, jitter=jitter).delay(attempt, draw)
    assert whole * (1 - jitter) <= drawn <= whole
    assert drawn == pytest.approx(whole - whole * jitter * draw)


@pytest.mark.parametrize("intensity", [-1, 1.0, True, "1", None, math.nan])
def test_an_intensity_that_is_no_count_is_refused(intensity: Any) -> None:
    with pytest.raises(InvalidSettings, match="intensity must be a whole number of at least 0"):
        RestartWindow(intensity, 5.0)


@pytest.mark.parametrize("period", [*WRONG, 0, 0.0])
def test_a_period_that_is_no_time_is_refused(period: Any) -> None:
    with pytest.raises(InvalidSettings, match=r"^period must be"):
        RestartWindow(1, period)


def test_a_backoff_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="backoff must be a Backoff or None, not float"):
        RestartWindow(1, 5.0, 0.5)  # type: ignore[arg-type]


@pytest.mark.holds("R3")
def test_intensity_zero_allows_no_restart() -> None:
    assert RestartWindow(0, 5.0).restart(1.0, 0.0) is None


@pytest.mark.holds("R3")
def test_a_restart_exactly_a_period_old_still_counts_and_an_older_one_does_not() -> None:
    window = RestartWindow(2, 5.0)
    assert window.restart(10.0, 0.0) == 0.0
    assert window.restart(11.0, 0.0) == 0.0
    assert window.restart(15.0, 0.0) is None
    assert window.restart(15.5, 0.0) == 0.0
    assert window.restart(16.0, 0.0) is None


@pytest.mark.holds("R3")
def test_the_delay_grows_with_the_restarts_in_the_window_and_starts_over_when_they_are_old() -> None:
    window = RestartWindow(3, 5.0, PLAIN)
    assert [window.restart(now, 0.0) for now in (0.0, 1.0, 2.0)] == [0.5, 1.0, 2.0]
    assert window.restart(5.5, 0.0) == 2.0
    assert window.restart(100.0, 0.0) == 0.5


@pytest.mark.holds("R3")
def test_after_a_clock_went_back_a_restart_counts_for_a_period_of_the_clock_as_it_is_now() -> None:
    window = RestartWindow(2, 5.0)
    window.restart(1_000.0, 0.0)
    window.restart(1_003.0, 0.0)
    assert window.restart(10.0, 0.0) is None
    assert window.restart(12.0, 0.0) is None
    assert window.restart(12.5, 0.0) == 0.0
    assert window.restart(15.0, 0.0) is None
    assert window.restart(15.5, 0.0) == 0.0


@pytest.mark.holds("R3")
def test_after_a_clock_went_back_the_last_restart_is_the_one_that_has_just_been() -> None:
    window = RestartWindow(3, 5.0)
    for now in (1_000.0, 1_001.0, 1_003.0):
        assert window.restart(now, 0.0) == 0.0
    assert window.restart(10.0, 0.0) is None
    assert window.restart(12.5, 0.0) == 0.0
    assert window.restart(13.0, 0.0) is None
    assert window.restart(13.5, 0.0) == 0.0


@pytest.mark.holds("R3")
@given(st.integers(0, 4), st.integers(1, 12), st.lists(st.integers(0, 8), max_size=40))
def test_the_window_allows_what_a_recount_of_all_restarts_allows(
    intensity: int, period: int, pauses: list[int]
) -> None:
    window = RestartWindow(intensity, period / 2)
    allowed: list[float] = []
    now = 0.0
    for pause in pauses:
        now += pause / 2
        recent = [time for time in allowed if time >= now - period / 2]
        expected = len(recent) + 1 <= intensity
        assert (window.restart(now, 0.0) is not None) is expected
        if expected:
            allowed.append(now)
