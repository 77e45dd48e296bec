"""One breaker: every cell of its table, its rules one by one, and any order of events against a model."""

from dataclasses import dataclass
from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.breaker import TRANSITIONS, Breaker, BreakerEvent, BreakerRules, BreakerState
from protocol.errors import IllegalTransition

S, E = BreakerState, BreakerEvent

EXPECTED: dict[BreakerEvent, dict[BreakerState, BreakerState]] = {
    E.SUCCEEDED: {S.CLOSED: S.CLOSED, S.OPEN: S.CLOSED, S.HALF_OPEN: S.CLOSED},
    E.FAILED: {S.CLOSED: S.CLOSED, S.OPEN: S.OPEN, S.HALF_OPEN: S.HALF_OPEN},
    E.TRIPPED: {S.CLOSED: S.OPEN},
    E.COOLED: {S.OPEN: S.HALF_OPEN},
    E.PROBE_FAILED: {S.HALF_OPEN: S.OPEN},
    E.ABANDONED: {S.HALF_OPEN: S.OPEN},
    E.RESET: {S.CLOSED: S.CLOSED, S.OPEN: S.CLOSED, S.HALF_OPEN: S.CLOSED},
}


@pytest.mark.parametrize("event", BreakerEvent)
@pytest.mark.parametrize("state", BreakerState)
def test_every_cell_of_the_table_is_as_written(state: BreakerState, event: BreakerEvent) -> None:
    assert TRANSITIONS[state].get(event) is EXPECTED[event].get(state)


def test_a_missing_row_is_an_error_that_names_the_state_and_the_event() -> None:
    breaker = Breaker(BreakerRules(1, 1.0, 8.0))
    with pytest.raises(IllegalTransition, match="a breaker that is CLOSED cannot be COOLED"):
        breaker._move(E.COOLED)  # pyright: ignore[reportPrivateUsage]


def tripped(*, threshold: int = 1, backoff: float = 1.0, ceiling: float = 8.0) -> Breaker:
    breaker = Breaker(BreakerRules(threshold, backoff, ceiling))
    for _ in range(threshold):
        breaker.failed(now=0.0, jitter=0.0)
    assert breaker.state is S.OPEN
    return breaker


@pytest.mark.holds("B2")
def test_it_opens_at_the_threshold_refuses_until_its_time_and_lets_one_probe_through() -> None:
    breaker = Breaker(BreakerRules(3, 1.0, 8.0))
    assert (breaker.state, breaker.failures, breaker.openings, breaker.until) == (S.CLOSED, 0, 0, -inf)
    for _ in range(2):
        breaker.failed(now=0.0, jitter=0.0)
        assert breaker.refuses(0.0) is None
        assert breaker.begin() is None
    breaker.failed(now=10.0, jitter=0.0)
    assert breaker.failures == 3
    assert breaker.refuses(10.25) == 0.75
    assert breaker.refuses(11.0) is None
    assert breaker.begin() == 1
    assert breaker.state is S.HALF_OPEN
    assert breaker.refuses(11.0) == 1.0
    breaker.succeeded()
    assert breaker.is_at_rest


@pytest.mark.holds("B2")
def test_a_success_sets_the_row_back_to_nothing() -> None:
    breaker = Breaker(BreakerRules(2, 1.0, 8.0))
    for now in range(5):
        breaker.failed(now=float(now), jitter=0.0)
        assert breaker.state is S.CLOSED
        breaker.succeeded()
        assert breaker.failures == 0


@pytest.mark.holds("B2")
def test_the_backoff_doubles_with_each_probe_that_fails_up_to_the_ceiling_and_starts_over_after_a_success() -> None:
    breaker = tripped()
    waits: list[float] = []
    for _ in range(5):
        now = breaker.until
        breaker.failed(breaker.begin(), now=now, jitter=0.0)
        waits.append(breaker.until - now)
    assert waits == [2, 4, 8, 8, 8]
    for _ in range(2_000):
        breaker.failed(breaker.begin(), now=0.0, jitter=0.0)
    assert breaker.until == 8.0
    breaker.succeeded()
    breaker.failed(now=0.0, jitter=0.0)
    assert breaker.until == 1.0


@pytest.mark.holds("B2")
def test_jitter_shortens_by_up_to_a_quarter() -> None:
    breaker = Breaker(BreakerRules(1, 1.0, 8.0))
    breaker.failed(now=0.0, jitter=0.5)
    assert breaker.until == 0.875
    breaker.failed(breaker.begin(), now=0.0, jitter=0.999)
    assert 1.5 < breaker.until < 1.501


@pytest.mark.holds("B2")
@pytest.mark.parametrize(
    ("asked", "waits"), [(0.5, 1.0), (5.0, 5.0), (79.0, 79.0), (1e9, 80.0), (0.0, 1.0), (-1.0, 1.0)]
)
def test_retry_after_is_honoured_where_it_is_longer_up_to_ten_ceilings(asked: float, waits: float) -> None:
    breaker = Breaker(BreakerRules(2, 1.0, 8.0))
    breaker.failed(now=0.0, jitter=0.0, retry_after=asked)
    breaker.failed(now=0.0, jitter=0.0)
    assert breaker.until == waits
    breaker.succeeded()
    breaker.failed(now=0.0, jitter=0.0)
    breaker.failed(now=0.0, jitter=0.0)
    assert breaker.until == 1.0, "what was asked for before the success is over"


@pytest.mark.holds("B2")
def test_a_probe_that_is_given_up_lets_the_next_one_be_it_and_has_no_say_any_more() -> None:
    breaker = tripped()
    first = breaker.begin()
    breaker.abandoned(first)
    assert breaker.state is S.OPEN
    assert breaker.refuses(1.0) is None
    second = breaker.begin()
    assert second != first
    breaker.failed(first, now=1.0, jitter=0.0)
    breaker.abandoned(first)
    breaker.abandoned(None)
    assert breaker.state is S.HALF_OPEN
    breaker.failed(second, now=1.0, jitter=0.0)
    assert breaker.until == 3.0


@pytest.mark.holds("B2")
def test_what_was_begun_before_it_opened_closes_it_by_success_and_changes_nothing_by_failure() -> None:
    breaker = tripped()
    breaker.failed(now=0.5, jitter=0.0, retry_after=50.0)
    assert breaker.until == 1.0
    assert breaker.failures == 1
    breaker.begin()
    breaker.failed(now=2.0, jitter=0.0)
    assert breaker.state is S.HALF_OPEN
    breaker.succeeded()
    assert breaker.state is S.CLOSED
    breaker = tripped()
    breaker.succeeded()
    assert breaker.state is S.CLOSED


@pytest.mark.holds("B1")
def test_sessions_that_break_at_once_are_one_failure_and_openings_that_fail_are_each_one() -> None:
    breaker = Breaker(BreakerRules(3, 1.0, 8.0))
    for opened_at in (1.0, 2.0, 10.0):
        breaker.failed(now=10.0, jitter=0.0, since=opened_at)
    assert breaker.failures == 1
    breaker.failed(now=11.0, jitter=0.0, since=10.5)
    assert breaker.failures == 2
    breaker.failed(now=11.0, jitter=0.0)
    assert breaker.state is S.OPEN


def test_resetting_closes_from_any_state() -> None:
    breaker = tripped()
    breaker.reset()
    assert breaker.is_at_rest
    breaker.failed(now=0.0, jitter=0.0)
    probe = breaker.begin()
    breaker.reset()
    assert breaker.is_at_rest
    breaker.abandoned(probe)
    breaker.failed(probe, now=5.0, jitter=0.0)
    assert breaker.until == 6.0, "it counts as any other"


@dataclass
class Begun:
    probe: int | None


class BreakerLife(RuleBasedStateMachine):
    """Attempts begin, end and are given up in any order. The model says what it is from what was told since the last
    success: openings in that time, failures, and who the probe is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.begun: list[Begun] = []
        self.row = 0
        self.trips = 0
        self.until = 0.0
        self.asked_for = 0.0
        self.last = 0.0
        self.probe: Begun | None = None

    @initialize(threshold=st.integers(1, 4), backoff=st.sampled_from([0.5, 2.0]), ceiling=st.sampled_from([2.0, 9.0]))
    def make(self, threshold: int, backoff: float, ceiling: float) -> None:
        self.threshold, self.backoff, self.ceiling = threshold, backoff, ceiling
        self.breaker = Breaker(BreakerRules(threshold, backoff, ceiling))

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def ask(self) -> None:
        refused = self.breaker.refuses(self.now)
        if self.probe is not None:
            assert refused is not None
        elif self.trips:
            assert (refused is not None) == (self.now < self.until)
            assert refused is None or refused == pytest.approx(self.until - self.now)
        else:
            assert refused is None
        if refused is None:
            begun = Begun(self.breaker.begin())
            self.begun.append(begun)
            if self.trips:
                self.probe = begun
            assert (begun.probe is not None) == bool(self.trips)

    def take(self, data: st.DataObject) -> Begun:
        begun = data.draw(st.sampled_from(self.begun))
        self.begun = [other for other in self.begun if other is not begun]
        return begun

    def count(self, jitter: float, retry_after: float | None) -> None:
        self.row += 1
        self.last = self.now
        self.asked_for = max(self.asked_for, self.now + min(retry_after or 0.0, 10 * self.ceiling))
        if self.row >= self.threshold:
            wait = min(self.ceiling, self.backoff * 2**self.trips)
            self.trips += 1
            self.until = max(self.now + wait * (1 - jitter / 4), self.asked_for)

    @precondition(lambda self: self.begun)
    @rule(data=st.data(), jitter=st.floats(0, 0.99), retry_after=st.none() | st.sampled_from([0.2, 5.0, 1e6]))
    def attempt_fails(self, data: st.DataObject, jitter: float, retry_after: float | None) -> None:
        begun = self.take(data)
        self.breaker.failed(begun.probe, now=self.now, jitter=jitter, retry_after=retry_after)
        if begun is self.probe or not self.trips:
            self.probe = None
            self.count(jitter, retry_after)

    @rule(jitter=st.floats(0, 0.99), age=st.sampled_from([0.0, 0.5, 20.0]))
    def session_breaks(self, jitter: float, age: float) -> None:
        self.breaker.failed(now=self.now, jitter=jitter, since=self.now - age)
        if not self.trips and self.now - age > self.last:
            self.count(jitter, None)

    @precondition(lambda self: self.begun)
    @rule(data=st.data())
    def attempt_is_given_up(self, data: st.DataObject) -> None:
        begun = self.take(data)
        self.breaker.abandoned(begun.probe)
        if begun is self.probe:
            self.probe = None

    @rule(data=st.data(), by_hand=st.booleans())
    def all_is_well(self, data: st.DataObject, *, by_hand: bool) -> None:
        if by_hand:
            self.breaker.reset()
        elif self.begun:
            self.take(data)
            self.breaker.succeeded()
        else:
            return
        self.row = self.trips = 0
        self.asked_for, self.probe = 0.0, None

    @invariant()
    def it_is_what_the_model_says(self) -> None:
        state = S.HALF_OPEN if self.probe is not None else S.OPEN if self.trips else S.CLOSED
        assert self.breaker.state is state
        assert self.breaker.failures == self.row
        assert self.breaker.is_at_rest == (self.row == 0)
        assert not self.trips or self.breaker.until == pytest.approx(self.until)


BreakerLife.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


@pytest.mark.holds("B1", "B2")
class TestBreakerLife(BreakerLife.TestCase):
    pass
