"""What was sent just now is admitted once, and the rest refused: with memory full, and with a clock that jumps."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.errors import EnvelopeRefused, Refusal
from protocol.freshness import MAX_AGE, Freshness
from protocol.wire import Envelope
from tests.protocol.sealed import changed

SKEW = 2.0


def sent(at: float, number: int = 0, *, remaining: float | None = None, sender: str = "worker-1") -> Envelope:
    return changed(sent_at=at, nonce=number.to_bytes(16, "big"), remaining=remaining, sender=sender)


def verdict(freshness: Freshness, envelope: Envelope, now: float) -> Refusal | None:
    try:
        freshness.admit(envelope, now)
    except EnvelopeRefused as refused:
        return refused.reason
    return None


@pytest.mark.holds("C8")
def test_what_was_sent_just_now_is_admitted_once() -> None:
    freshness = Freshness(SKEW, 10)
    freshness.admit(sent(100.0), 100.0)
    with pytest.raises(EnvelopeRefused, match=r"^an envelope has been here before$") as caught:
        freshness.admit(sent(100.0), 100.0)
    assert caught.value.reason is Refusal.REPLAYED
    assert verdict(freshness, sent(100.0, 1), 100.0) is None
    assert verdict(freshness, sent(100.0, sender="worker-2"), 100.0) is None, "nonces are a sender's own"
    assert len(freshness) == 3


@pytest.mark.holds("C8")
@pytest.mark.parametrize(
    ("remaining", "allowed"),
    [(None, MAX_AGE), (0.0, 0.0), (1.5, 1.5), (MAX_AGE + 1, MAX_AGE), (1e300, MAX_AGE), (-1.0, -1.0)],
)
def test_what_is_older_than_its_request_had_time_or_than_anything_may_be_is_refused(
    remaining: float | None, allowed: float
) -> None:
    last = 100.0 + allowed + SKEW
    assert verdict(Freshness(SKEW, 10), sent(100.0, remaining=remaining), last) is None
    with pytest.raises(EnvelopeRefused) as caught:
        Freshness(SKEW, 10).admit(sent(100.0, remaining=remaining), last + 0.125)
    assert caught.value.reason is Refusal.EXPIRED
    age = allowed + SKEW + 0.125
    assert str(caught.value) == f"an envelope was sent {age:.3f} s ago, and had {allowed:.3f} s"


@pytest.mark.holds("C8")
def test_how_old_anything_may_be_can_be_said() -> None:
    freshness = Freshness(SKEW, 10, max_age=5.0)
    assert verdict(freshness, sent(100.0), 107.0) is None
    assert verdict(freshness, sent(100.0, 1), 107.125) is Refusal.EXPIRED


@pytest.mark.holds("C8")
def test_what_will_have_been_sent_later_than_clocks_may_differ_is_refused_and_may_come_again() -> None:
    freshness = Freshness(SKEW, 10)
    assert verdict(freshness, sent(102.0), 100.0) is None
    with pytest.raises(EnvelopeRefused, match=r"^an envelope was sent 2\.125 s from now$") as caught:
        freshness.admit(sent(102.125, 1), 100.0)
    assert caught.value.reason is Refusal.EXPIRED
    assert len(freshness) == 1
    assert verdict(freshness, sent(102.125, 1), 101.0) is None


@pytest.mark.holds("C8")
def test_what_was_admitted_is_remembered_as_long_as_it_could_be_admitted_and_no_longer() -> None:
    freshness = Freshness(SKEW, 10)
    freshness.admit(sent(100.0), 100.0)
    last = 100.0 + MAX_AGE + SKEW
    assert verdict(freshness, sent(100.0), last) is Refusal.REPLAYED
    assert len(freshness) == 1
    assert verdict(freshness, sent(100.0), last + 0.125) is Refusal.EXPIRED
    assert len(freshness) == 0
    assert freshness.forgotten_early == 0


@pytest.mark.holds("C8")
def test_beyond_its_capacity_the_first_sent_is_forgotten_and_nothing_sent_before_it_is_admitted_from_then_on() -> None:
    freshness = Freshness(SKEW, 3)
    for number in (2, 0, 3, 1):
        assert verdict(freshness, sent(100.0 + number, number), 104.0) is None
    assert (len(freshness), freshness.forgotten_early) == (3, 1)
    with pytest.raises(EnvelopeRefused, match=r"^an envelope was sent 4\.000 s ago, and what came then is forgotten$"):
        freshness.admit(sent(100.0, 0), 104.0)
    assert verdict(freshness, sent(100.0, 8), 104.0) is Refusal.EXPIRED, "a straggler, as old as the one forgotten"
    assert verdict(freshness, sent(99.0, 9), 104.0) is Refusal.EXPIRED
    assert verdict(freshness, sent(101.0, 1), 104.0) is Refusal.REPLAYED
    assert verdict(freshness, sent(100.5, 7), 104.0) is None, "it is admitted, and the first to be forgotten"
    assert verdict(freshness, sent(100.5, 7), 104.0) is Refusal.EXPIRED
    assert (len(freshness), freshness.forgotten_early) == (3, 2)


@pytest.mark.holds("C8")
def test_a_clock_that_is_set_back_brings_back_nothing_that_was_forgotten() -> None:
    freshness = Freshness(SKEW, 10)
    freshness.admit(sent(100.0), 100.0)
    freshness.admit(sent(1_000.0, 1), 1_000.0)
    assert len(freshness) == 1
    assert verdict(freshness, sent(100.0), 100.0) is Refusal.EXPIRED
    assert verdict(freshness, sent(100.5, 2), 100.0) is None


@dataclass
class Admitted:
    envelope: Envelope
    is_forgotten: bool = False


class FreshnessLife(RuleBasedStateMachine):
    """Envelopes come in any order, some of them twice, on a clock that mostly goes on. The model remembers every one
    that was ever admitted, and looks through all of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0
        self.number = 0
        self.admitted: list[Admitted] = []
        self.refused: list[Envelope] = []

    @initialize(capacity=st.sampled_from([1, 2, 5, 1_000]), skew=st.sampled_from([0.0, 2.0]))
    def make(self, capacity: int, skew: float) -> None:
        self.capacity, self.skew = capacity, skew
        self.freshness = Freshness(skew, capacity, max_age=10.0)

    @rule(seconds=st.sampled_from([0.25, 1.0, 5.0, 20.0, -3.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(ago=st.sampled_from([-3.0, -1.0, 0.0, 0.5, 4.0, 11.0, 13.0]), remaining=st.none() | st.floats(-1.0, 20.0))
    def one_comes(self, ago: float, remaining: float | None) -> None:
        self.number += 1
        self.come(sent(self.now - ago, self.number, remaining=remaining))

    @precondition(lambda self: self.admitted)
    @rule(data=st.data())
    def one_comes_again(self, data: st.DataObject) -> None:
        envelope = data.draw(st.sampled_from(self.admitted)).envelope
        assert self.come(envelope) is not None

    @precondition(lambda self: self.admitted)
    @rule(data=st.data())
    def a_nonce_is_used_again(self, data: st.DataObject) -> None:
        used = data.draw(st.sampled_from(self.admitted)).envelope
        self.come(changed(sent_at=self.now, nonce=used.nonce, remaining=None))

    @precondition(lambda self: self.refused)
    @rule(data=st.data())
    def one_that_was_refused_comes_again(self, data: st.DataObject) -> None:
        self.come(data.draw(st.sampled_from(self.refused)))

    def come(self, envelope: Envelope) -> Refusal | None:
        expected = self.expected(envelope)
        found = verdict(self.freshness, envelope, self.now)
        assert found is expected
        if found is None:
            self.admitted.append(Admitted(envelope))
            remembered = self.remembered()
            if len(remembered) > self.capacity:
                remembered[0].is_forgotten = True
        else:
            self.refused.append(envelope)
        return found

    def expected(self, envelope: Envelope) -> Refusal | None:
        for each in self.admitted:
            if self.now - each.envelope.sent_at > 10.0 + self.skew:
                each.is_forgotten = True
        age = self.now - envelope.sent_at
        allowed = 10.0 if envelope.remaining is None else min(envelope.remaining, 10.0)
        if age < -self.skew or age > allowed + self.skew:
            return Refusal.EXPIRED
        mark = (envelope.sender, envelope.nonce)
        if any((each.envelope.sender, each.envelope.nonce) == mark for each in self.remembered()):
            return Refusal.REPLAYED
        if any(envelope.sent_at <= each.envelope.sent_at for each in self.admitted if each.is_forgotten):
            return Refusal.EXPIRED
        return None

    def remembered(self) -> list[Admitted]:
        kept = [each for each in self.admitted if not each.is_forgotten]
        return sorted(kept, key=lambda each: (each.envelope.sent_at, each.envelope.nonce))

    @invariant()
    def memory_is_bounded_and_holds_what_the_model_remembers(self) -> None:
        assert len(self.freshness) == len(self.remembered())
        assert len(self.freshness) <= self.capacity


FreshnessLife.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)


@pytest.mark.holds("C8")
class TestFreshnessLife(FreshnessLife.TestCase):
    pass


@given(st.lists(st.integers(0, 10), max_size=60), st.integers(1, 8))
def test_nothing_is_ever_admitted_twice_however_small_the_capacity(numbers: list[int], capacity: int) -> None:
    freshness = Freshness(SKEW, capacity)
    admitted = [number for number in numbers if verdict(freshness, sent(number / 4, number), 1.0) is None]
    assert len(admitted) == len(set(admitted))
