"""What becomes of the requests that other workers own: rule by rule, and in worlds where all that may go wrong does.

In the tests of single rules a unit of time is a millisecond.
"""
# pyright: reportPrivateUsage=false

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.delivery import OUTCOMES, TRANSITIONS, Delivery, Forwarded, Turn
from protocol.errors import BusUnavailable, ClusterError, IllegalTransition, TooManyForwards
from protocol.forwards import Forwards
from protocol.forwards_messages import (
    Accepted,
    Answered,
    Cancel,
    Conclude,
    Echo,
    Echoed,
    Forward,
    ForwardsEffect,
    ForwardsEvent,
    Heard,
    Joined,
    Left,
    Look,
    Looked,
    Outcome,
    Parted,
    PeerDied,
    Posted,
    Probe,
    Probed,
    Refuse,
    Rejected,
    Send,
    Tick,
    TwinsSeen,
    Wake,
    Withdraw,
)
from protocol.peer import Peer, Terms
from tests.protocol.forwards_world import live

TERMS = Terms(
    most=4,
    most_per_peer=3,
    beat=5_000,
    settle=1_000,
    probe_after=3,
    probe_every=4,
    probe_slow=8,
    sightings=3,
    sighting_span=8,
    look_after=1_000,
    look_every=1_000,
)
GONE = BusUnavailable("the bus is gone", was_sent=True)
NOT_SENT = BusUnavailable("the bus is gone", was_sent=False)
OLD = 100_000.0
LONG = 60_000.0
SILENT = "nobody listens on its channel"


class Driven:
    """The machine of a worker. Call it with an event: it answers the effects, but for `Wake`."""

    def __init__(self, *, age: float = OLD, terms: Terms = TERMS, settled: bool = True) -> None:
        self.machine = Forwards[str](terms)
        self.terms = terms
        self.now = 100_000.0
        self.wake_at: float | None = None
        assert self(Joined(age)) == []
        if settled:
            self.now += terms.settle

    def __call__(self, event: ForwardsEvent[str]) -> list[ForwardsEffect[str]]:
        if isinstance(event, Tick):
            self.wake_at = None
        effects = list(self.machine.handle(event, now=self.now))
        wakes = [effect.at for effect in effects if isinstance(effect, Wake)]
        assert len(wakes) <= 1
        assert all(self.now <= at and (self.wake_at is None or at < self.wake_at) for at in wakes)
        self.wake_at = wakes[0] if wakes else self.wake_at
        return [effect for effect in effects if not isinstance(effect, Wake)]

    def send(self, name: str, peer: str = "bob", within: float = LONG) -> None:
        assert self(Forward(f"asks {name}", name, peer, self.now + within)) == [Send(f"asks {name}", name, peer)]

    def post(self, *names: str, peer: str = "bob", within: float = LONG) -> None:
        for name in names:
            self.send(name, peer, within)
            assert self(Posted(name, 1)) == []

    def accept(self, *names: str) -> None:
        for name in names:
            self.post(name)
            assert self(Accepted(name)) == []

    def go_on(self, milliseconds: float) -> list[ForwardsEffect[str]]:
        """Time goes by. What the ticks on the way lead to."""
        effects: list[ForwardsEffect[str]] = []
        until = self.now + milliseconds
        while self.wake_at is not None and self.wake_at <= until:
            self.now = self.wake_at
            effects += self(Tick())
        self.now = until
        return effects

    def count(self, receivers: int | BusUnavailable, wait: float, peer: str = "bob") -> list[ForwardsEffect[str]]:
        """After so long, and no sooner, the peer is counted."""
        if wait:
            assert self.go_on(wait - 0.5) == []
            assert self.go_on(0.5) == [Probe(peer)]
        else:
            assert self(Tick()) == [Probe(peer)]
        return self(Probed(peer, receivers, self.now))

    def find_silent(self, wait: float = 3) -> None:
        """Find that nobody listens on the peer's channel, so that nothing but the echo is left."""
        assert self.count(0, wait) == []
        assert self.count(0, 4) == []
        assert self.count(0, 4) == [Echo("bob", self.now)]

    def state(self, name: str) -> Delivery:
        return self.machine.delivery(name)


def concluded(effects: Sequence[Any], outcome: Outcome, *names: str) -> str:
    """That these requests, and nothing else, were concluded so. Answers why."""
    assert [type(effect) for effect in effects] == [Conclude] * len(names)
    assert [effect.ticket for effect in effects] == [f"asks {name}" for name in names]
    assert {effect.outcome for effect in effects} == {outcome}
    (why,) = {effect.why for effect in effects}
    return why


def twins_of(ada: Driven) -> set[str]:
    return ada.machine._twins


def reminders_of(ada: Driven) -> int:
    return len(ada.machine._due)


# --- the table


@pytest.mark.holds("C3")
@pytest.mark.parametrize("turn", Turn)
@pytest.mark.parametrize("state", Delivery)
def test_a_request_moves_as_its_table_says_and_else_not_at_all(state: Delivery, turn: Turn) -> None:
    request = Forwarded("asks", "one", Peer[str]("bob", 0), deadline=1, number=1, sent_at=0, line=0)
    assert request.state is Delivery.SENT
    request.state = state
    if (after := TRANSITIONS[state].get(turn)) is not None:
        request.move(turn)
        assert request.state is after
        return
    with pytest.raises(IllegalTransition, match=f"a forwarded request that is {state.name} cannot be {turn.name}"):
        request.move(turn)
    assert request.state is state


@pytest.mark.holds("C3")
def test_what_was_accepted_is_never_called_undelivered_but_by_its_owner_and_what_nobody_received_never_unknown() -> (
    None
):
    outcomes = {state: {OUTCOMES[turn] for turn in turns if turn in OUTCOMES} for state, turns in TRANSITIONS.items()}
    assert outcomes[Delivery.ACCEPTED] == {Outcome.UNKNOWN, Outcome.REJECTED}
    assert outcomes[Delivery.MISSED] == {Outcome.NOT_DELIVERED, Outcome.REJECTED}


def test_the_defaults_find_a_killed_owner_in_time_and_are_as_the_docstring_adds_them_up() -> None:
    terms = Terms()
    counts = terms.probe_slow + (terms.sightings - 1) * terms.probe_every
    assert counts == pytest.approx(0.016)
    assert (terms.sightings - 1) * terms.probe_every >= terms.sighting_span
    assert terms.probe_after <= terms.probe_every <= terms.probe_slow
    assert (terms.most, terms.most_per_peer, terms.beat, terms.settle) == (10_000, 2_000, 5.0, 1.0)
    assert (terms.look_after, terms.look_every) == (1.0, 1.0)


# --- a request that goes well


@pytest.mark.holds("C3", "C10")
def test_a_request_is_sent_posted_accepted_and_answered_and_then_nothing_is_known_of_it() -> None:
    ada = Driven()
    ada.send("one")
    assert (len(ada.machine), ada.machine.peers(), ada.state("one")) == (1, {"bob": 1}, Delivery.SENT)
    assert ada(Posted("one", 1)) == []
    assert ada.state("one") is Delivery.POSTED
    assert ada(Accepted("one")) == []
    assert ada.state("one") is Delivery.ACCEPTED
    assert ada(Answered("one")) == []
    assert (len(ada.machine), ada.machine.peers(), ada.state("one")) == (0, {}, Delivery.OVER)


@pytest.mark.holds("C3")
def test_the_owners_words_may_overtake_the_buss_answer() -> None:
    ada = Driven()
    for answer in (1, 0, GONE, NOT_SENT):
        ada.send("one")
        assert ada(Accepted("one")) == []
        assert ada(Posted("one", answer)) == []
        assert ada.state("one") is Delivery.ACCEPTED
        assert ada(Answered("one")) == []
        ada.send("two")
        assert ada(Answered("two")) == []
        assert ada(Posted("two", answer)) == []


def test_what_is_said_of_a_request_or_a_peer_that_nobody_knows_changes_nothing() -> None:
    ada = Driven()
    ada.post("one")
    for event in (
        Posted("none", 1),
        Posted("none", GONE),
        Accepted("none"),
        Answered("none"),
        Rejected("none"),
        Withdraw("none"),
        Heard("carol"),
        Left("carol"),
        Probed("carol", 0, ada.now),
        Probed("bob", 0, ada.now),
        Looked("carol", is_alive=False),
        Looked("bob", is_alive=False),
        Echoed("carol", ada.now),
        Echoed("bob", ada.now),
    ):
        assert ada(event) == []
    assert ada.machine.peers() == {"bob": 1}
    assert ada.state("one") is Delivery.POSTED


@pytest.mark.holds("C3")
def test_what_its_owner_refuses_is_told_as_refused_wherever_it_is() -> None:
    ada = Driven()
    ada.send("one")
    ada.post("two")
    ada.accept("three")
    for name in ("one", "two", "three"):
        assert concluded(ada(Rejected(name)), Outcome.REJECTED, name) == "worker bob refused it before it began"
    assert len(ada.machine) == 0


# --- limits


@pytest.mark.holds("C10")
def test_no_more_requests_are_sent_than_may_be_with_one_peer_and_in_all() -> None:
    ada = Driven()
    ada.post("1", "2", "3")
    (refusal,) = ada(Forward("asks", "4", "bob", ada.now + 1))
    assert isinstance(refusal, Refuse)
    assert isinstance(refusal.error, TooManyForwards)
    assert isinstance(refusal.error, ClusterError)
    assert str(refusal.error).startswith("worker bob has 3 requests of this one to answer")
    ada.post("5", peer="carol")
    (refusal,) = ada(Forward("asks", "6", "dave", ada.now + 1))
    assert isinstance(refusal, Refuse)
    assert refusal.ticket == "asks"
    assert str(refusal.error).startswith("other workers have 4 requests of this one to answer")
    assert ada.machine.peers() == {"bob": 3, "carol": 1}
    ada(Answered("1"))
    ada.post("7")


# --- what the bus says to a post


@pytest.mark.holds("C3", "C9")
def test_what_the_bus_did_not_take_was_not_delivered_and_what_it_may_have_taken_is_unknown() -> None:
    ada = Driven()
    ada.send("one")
    ada.send("two")
    why = concluded(ada(Posted("one", NOT_SENT)), Outcome.NOT_DELIVERED, "one")
    assert why == "the bus did not take it: the bus is gone"
    why = concluded(ada(Posted("two", GONE)), Outcome.UNKNOWN, "two")
    assert why == "the bus went away while it was posted: the bus is gone"
    assert len(ada.machine) == 0


@pytest.mark.holds("C9")
def test_nothing_is_sent_while_the_bus_is_away() -> None:
    machine = Forwards[str](TERMS)
    (refusal,) = machine.handle(Forward("asks", "one", "bob", 2.0), now=1.0)
    assert isinstance(refusal, Refuse)
    assert isinstance(refusal.error, BusUnavailable)
    assert str(refusal.error) == "the bus has not been joined yet"
    assert refusal.error.safe_to_retry
    assert refusal.error.was_sent is False
    ada = Driven()
    ada(Parted(GONE))
    assert ada(Forward("asks", "one", "bob", ada.now + 1)) == [Refuse("asks", GONE)]
    ada(Joined(OLD))
    ada.send("one")


@pytest.mark.holds("C3", "C5")
def test_what_was_posted_while_nobody_listened_waits_for_what_became_of_its_owner() -> None:
    ada = Driven()
    ada.send("one")
    assert ada(Posted("one", 0)) == []
    assert ada.state("one") is Delivery.MISSED
    assert ada.count(0, 3) == []
    assert ada.count(0, 4) == [], "the first and the last are not far enough apart yet"
    assert ada.count(0, 4) == [Echo("bob", ada.now)]
    died, *rest = ada(Echoed("bob", ada.now))
    assert died == PeerDied("bob")
    assert concluded(rest, Outcome.NOT_DELIVERED, "one") == f"worker bob died before it accepted it: {SILENT}"
    assert len(ada.machine) == 0


@pytest.mark.holds("C3", "C9")
@pytest.mark.parametrize("sign", [Heard("bob"), Accepted("two"), Answered("two"), Probed("bob", 1, 0.0), "posted"])
def test_what_was_posted_while_nobody_listened_is_told_as_soon_as_its_owner_is_seen_alive(sign: Any) -> None:
    ada = Driven()
    ada.post("two")
    ada.send("one")
    assert ada(Posted("one", 0)) == []
    assert ada.go_on(3) == [Probe("bob")]
    if sign == "posted":
        ada.send("three")
        sign = Posted("three", 1)
    why = concluded(ada(sign), Outcome.NOT_DELIVERED, "one")
    assert why == "nobody listened on the channel of worker bob when it was posted"


@pytest.mark.holds("C5", "C9")
@pytest.mark.parametrize(("age", "settled"), [(0.0, True), (OLD, False), (2_000.0, True), (3_999.0, True)])
def test_where_nobody_can_be_found_dead_yet_what_nobody_received_is_told_at_once(age: float, *, settled: bool) -> None:
    ada = Driven(age=age, settled=settled)
    ada.send("one")
    concluded(ada(Posted("one", 0)), Outcome.NOT_DELIVERED, "one")
    assert len(ada.machine) == 0


@pytest.mark.holds("C5")
def test_a_run_that_is_not_young_and_a_line_that_has_held_are_believed_from_then_on() -> None:
    for ada in (Driven(age=4_000.0), Driven(age=OLD), Driven(age=OLD, terms=TERMS._replace(settle=0))):
        ada.send("one")
        assert ada(Posted("one", 0)) == []
        assert ada.state("one") is Delivery.MISSED


def test_what_was_missed_by_an_owner_that_was_heard_since_it_was_sent_is_told_at_once() -> None:
    ada = Driven()
    ada.post("two")
    ada.send("one")
    ada(Heard("bob"))
    concluded(ada(Posted("one", 0)), Outcome.NOT_DELIVERED, "one")


def test_what_was_counted_wrongly_is_believed_when_its_owner_says_otherwise() -> None:
    ada = Driven()
    for name in ("one", "two", "three"):
        ada.send(name)
        ada(Posted(name, 0))
    effects = ada(Accepted("one"))
    assert ada.state("one") is Delivery.ACCEPTED
    concluded(effects, Outcome.NOT_DELIVERED, "two", "three")
    assert ada(Answered("one")) == []


# --- a peer that dies


@pytest.mark.holds("C3", "C5")
def test_a_dead_peer_is_told_of_once_and_before_what_became_of_its_requests() -> None:
    ada = Driven()
    ada.accept("one")
    ada.post("two")
    ada.post("other", peer="carol")
    assert ada.go_on(3) == [Probe("bob"), Probe("carol")]
    ada(Probed("carol", 1, ada.now))
    ada(Heard("carol"))
    ada(Answered("other"))
    assert ada(Probed("bob", 0, ada.now)) == []
    assert ada.count(0, 4) == []
    assert ada.count(0, 4) == [Echo("bob", ada.now)]
    died, one, two = ada(Echoed("bob", ada.now))
    assert died == PeerDied("bob")
    assert concluded([one], Outcome.UNKNOWN, "one") == f"worker bob died before it answered: {SILENT}"
    assert concluded([two], Outcome.NOT_DELIVERED, "two") == f"worker bob died before it accepted it: {SILENT}"
    assert ada(Echoed("bob", ada.now)) == []
    assert ada.machine.peers() == {}
    assert ada.go_on(LONG) == []


@pytest.mark.holds("C3", "C5")
def test_a_later_request_to_a_dead_peer_is_sent_and_judged_anew() -> None:
    ada = Driven()
    for name in ("one", "two"):
        ada.post(name)
        ada.find_silent()
        died, *rest = ada(Echoed("bob", ada.now))
        assert died == PeerDied("bob")
        concluded(rest, Outcome.NOT_DELIVERED, name)


@pytest.mark.holds("C3")
def test_last_words_that_come_before_the_echo_count() -> None:
    ada = Driven()
    ada.post("one", "two")
    ada.find_silent()
    asked_at = ada.now
    assert ada(Accepted("one")) == []
    assert ada(Echoed("bob", asked_at)) == [], "it was heard, and is not dead until it is silent again"
    assert ada.state("one") is Delivery.ACCEPTED
    ada.find_silent(wait=4)
    assert ada(Echoed("bob", asked_at)) == [], "an echo of before"
    died, *rest = ada(Echoed("bob", ada.now))
    assert died == PeerDied("bob")
    concluded(rest[:1], Outcome.UNKNOWN, "one")
    concluded(rest[1:], Outcome.NOT_DELIVERED, "two")


@pytest.mark.holds("C3")
def test_an_answer_that_comes_before_the_echo_is_the_answer() -> None:
    ada = Driven()
    ada.accept("one")
    ada.find_silent()
    assert ada(Answered("one")) == []
    assert ada(Echoed("bob", ada.now)) == []


@pytest.mark.holds("C5")
def test_a_peer_that_is_counted_again_before_the_echo_lives() -> None:
    ada = Driven()
    ada.post("one")
    ada.find_silent()
    assert ada.count(1, 4) == []
    assert ada(Echoed("bob", ada.now)) == []
    assert ada.state("one") is Delivery.POSTED


@pytest.mark.holds("C5", "C9")
def test_an_echo_that_does_not_come_is_asked_for_again_but_not_at_every_count() -> None:
    ada = Driven()
    ada.post("one")
    ada.find_silent()
    asked_at = ada.now
    assert ada.count(0, 4) == []
    assert ada.count(0, 4) == [Echo("bob", ada.now)]
    assert ada(Echoed("bob", asked_at)) == []
    assert ada(Echoed("bob", ada.now))[0] == PeerDied("bob")


@pytest.mark.holds("C5")
def test_what_was_heard_between_counts_begins_them_anew() -> None:
    ada = Driven()
    ada.post("one")
    assert ada.count(0, 3) == []
    assert ada.count(0, 4) == []
    ada(Heard("bob"))
    ada.find_silent(wait=4)


@pytest.mark.holds("C5")
def test_a_count_that_finds_somebody_begins_them_anew_and_one_that_fails_does_not() -> None:
    ada = Driven()
    ada.post("one")
    assert ada.count(0, 3) == []
    assert ada.count(0, 4) == []
    assert ada.count(1, 4) == []
    assert ada.count(0, 4) == []
    assert ada.count(GONE, 4) == []
    assert ada.count(0, 4) == [], "two are not enough, however far apart"
    assert ada.count(0, 4) == [Echo("bob", ada.now)]


@pytest.mark.holds("C5")
def test_a_count_from_before_the_peer_was_heard_says_nothing() -> None:
    ada = Driven()
    ada.post("one")
    ada.count(0, 3)
    ada.count(0, 4)
    assert ada.go_on(4) == [Probe("bob")]
    asked_at = ada.now
    ada.now += 1
    ada(Heard("bob"))
    assert ada(Probed("bob", 0, asked_at)) == []
    assert ada.count(0, 4) == []
    assert ada.count(0, 4) == []
    assert ada.count(0, 4) == [Echo("bob", ada.now)]


@pytest.mark.holds("C5")
def test_the_span_is_from_the_first_answer_to_the_last_question() -> None:
    ada = Driven()
    ada.post("one")
    assert ada.go_on(3) == [Probe("bob")]
    asked_at = ada.now
    ada.now += 2
    ada(Probed("bob", 0, asked_at))
    assert ada.count(0, 4) == []
    assert ada.go_on(4) == [Probe("bob")]
    asked_at = ada.now
    ada.now += 1
    assert ada(Probed("bob", 0, asked_at - 0.5)) == []
    assert ada.count(0, 4) == [Echo("bob", ada.now)]


@pytest.mark.holds("C5")
@pytest.mark.parametrize(("age", "settled", "from_now"), [(0.0, False, 5_000.0), (OLD, False, 1_000.0)])
def test_counts_from_before_the_bus_is_believed_say_nothing(age: float, *, settled: bool, from_now: float) -> None:
    ada = Driven(age=age, settled=settled)
    began_at = ada.now
    ada.accept("one")
    first = None
    while first is None:
        for effect in ada.go_on(1):
            assert not isinstance(effect, Echo)
            if isinstance(effect, Probe):
                ada(Probed("bob", 0, ada.now))
                if ada.now >= began_at + from_now:
                    first = ada.now
            elif isinstance(effect, Look):
                ada(Looked("bob", is_alive=True))
    assert ada.count(0, 4) == []
    assert ada.count(0, 4) == [Echo("bob", ada.now)]


@pytest.mark.holds("C3")
def test_a_verdict_does_not_go_for_what_was_sent_after_the_bus_was_asked() -> None:
    ada = Driven()
    ada.post("one")
    for effects in iter(lambda: ada.go_on(1), [Look("bob")]):
        if effects:
            ada(Probed("bob", 1, ada.now))
    ada.post("two")
    assert ada(Looked("bob", is_alive=False)) == [Echo("bob", ada.now)]
    ada.send("three")
    died, one = ada(Echoed("bob", ada.now))
    assert died == PeerDied("bob")
    why = concluded([one], Outcome.NOT_DELIVERED, "one")
    assert why == "worker bob died before it accepted it: it does not beat any more"
    assert ada.machine.peers() == {"bob": 2}
    concluded(ada(Posted("three", 0)), Outcome.NOT_DELIVERED, "three")
    assert ada.state("two") is Delivery.POSTED


@pytest.mark.holds("C3")
def test_a_verdict_goes_for_all_that_was_sent_before() -> None:
    ada = Driven(terms=TERMS._replace(sightings=1, sighting_span=0))
    ada.post("one", "two")
    assert ada.count(0, 3) == [Echo("bob", ada.now)]
    died, *rest = ada(Echoed("bob", ada.now))
    assert died == PeerDied("bob")
    concluded(rest, Outcome.NOT_DELIVERED, "one", "two")


@pytest.mark.holds("C3", "C5")
def test_what_is_being_posted_when_its_owner_is_found_dead_waits_for_the_buss_answer() -> None:
    ada = Driven()
    for name in ("one", "two"):
        ada.send(name)
    ada.find_silent()
    assert ada(Echoed("bob", ada.now)) == [PeerDied("bob")]
    concluded(ada(Posted("one", 0)), Outcome.NOT_DELIVERED, "one")
    assert ada(Posted("two", 1)) == [], "somebody is there again"
    assert ada.state("two") is Delivery.POSTED
    assert ada.go_on(4) == [Probe("bob")]


@pytest.mark.holds("C5")
def test_posts_that_nobody_received_count_as_counts() -> None:
    ada = Driven()
    ada.send("one")
    ada(Posted("one", 0))
    ada.now += 8
    ada.send("two")
    ada(Posted("two", 0))
    ada.send("three")
    assert ada(Posted("three", 0)) == [Echo("bob", ada.now)]
    died, *rest = ada(Echoed("bob", ada.now))
    assert died == PeerDied("bob")
    concluded(rest, Outcome.NOT_DELIVERED, "one", "two", "three")


# --- how often it is counted


@pytest.mark.holds("C5")
def test_a_peer_is_counted_once_for_all_its_requests_and_one_count_at_a_time() -> None:
    ada = Driven()
    ada.post("one", "two")
    assert ada.go_on(2.5) == []
    ada.post("three")
    assert ada.go_on(0.5) == [Probe("bob")]
    assert ada.go_on(100) == []
    ada(Probed("bob", 1, ada.now))
    assert ada.count(1, 4) == []


def test_a_peer_that_speaks_is_not_counted() -> None:
    ada = Driven()
    ada.post("one")
    for _ in range(10):
        assert ada.go_on(2.5) == []
        ada(Heard("bob"))
    assert ada.count(1, 3) == []


def test_a_peer_of_whom_nothing_is_wanted_is_not_counted() -> None:
    ada = Driven()
    ada.accept("one")
    ada(Answered("one"))
    assert ada.go_on(LONG) == []


def test_a_peer_at_work_is_counted_slowly_once_it_was_counted_and_fast_again_when_something_is_unclear() -> None:
    ada = Driven()
    ada.accept("one")
    assert ada.count(1, 3) == []
    for _ in range(5):
        assert ada.count(1, 8) == []
    assert ada.count(0, 8) == []
    assert ada.count(0, 4) == []
    assert ada.count(1, 4) == []
    assert ada.count(1, 8) == []
    ada.post("two")
    assert ada.count(1, 4) == []
    assert ada.count(1, 4) == []
    ada.now += 1
    assert ada(Rejected("two")) != []
    assert ada.count(1, 7) == []
    assert ada.count(1, 8) == []


def test_a_new_request_gives_a_silent_peer_its_time_to_accept_it() -> None:
    ada = Driven()
    ada.accept("one")
    ada.count(1, 3)
    ada.now += 6
    ada.post("two")
    assert ada.count(1, 3) == []
    ada.now += 3
    ada.post("three")
    assert ada.count(1, 1) == [], "the one before has waited for longer"


def test_a_request_that_was_accepted_before_the_bus_said_that_anybody_was_there_is_counted_fast_until_it_does() -> None:
    ada = Driven()
    ada.send("one")
    ada(Accepted("one"))
    ada(Posted("one", 0))
    assert ada.count(GONE, 3) == []
    assert ada.count(1, 4) == []
    assert ada.count(1, 8) == []
    late = Driven()
    late.send("one")
    late(Accepted("one"))
    assert late.count(GONE, 3) == []
    assert late.count(1, 4) == []


def test_one_count_at_a_time_also_of_a_peer_that_was_forgotten_meanwhile() -> None:
    ada = Driven()
    ada.post("one")
    assert ada.go_on(3) == [Probe("bob")]
    asked_at = ada.now
    ada(Answered("one"))
    ada.post("two")
    assert ada.go_on(50) == []
    assert ada(Probed("bob", 1, asked_at)) == []
    assert ada.count(1, 4) == []


# --- one that stands still


@pytest.mark.holds("C5")
def test_a_peer_that_says_nothing_for_long_is_looked_for_and_dead_when_it_does_not_beat() -> None:
    ada = Driven()
    ada.accept("one")
    assert ada.go_on(3) == [Probe("bob")]
    assert ada.go_on(996.5) == []
    assert ada.go_on(0.5) == [Look("bob")]
    assert ada.go_on(5_000) == [], "one at a time"
    assert ada(Looked("bob", is_alive=True)) == []
    assert ada.go_on(999.5) == []
    assert ada.go_on(0.5) == [Look("bob")]
    assert ada(Looked("bob", GONE)) == []
    assert ada.go_on(1_000) == [Look("bob")]
    assert ada(Looked("bob", is_alive=False)) == [Echo("bob", ada.now)]
    assert ada(Probed("bob", 1, ada.now)) == [], "one that stands still is still counted"
    died, *rest = ada(Echoed("bob", ada.now))
    assert died == PeerDied("bob")
    assert concluded(rest, Outcome.UNKNOWN, "one") == "worker bob died before it answered: it does not beat any more"


@pytest.mark.holds("C5")
@pytest.mark.parametrize(("age", "is_believed"), [(3_999.0, False), (4_000.0, True)])
def test_a_young_bus_is_not_believed_that_somebody_does_not_beat(age: float, *, is_believed: bool) -> None:
    ada = Driven(age=age, settled=False)
    ada.accept("one")
    assert ada.go_on(3) == [Probe("bob")]
    assert ada.go_on(997) == [Look("bob")]
    ada.now += 100
    assert ada(Looked("bob", is_alive=False)) == ([Echo("bob", ada.now)] if is_believed else [])


@pytest.mark.holds("C5")
def test_a_peer_that_was_heard_since_the_bus_was_asked_lives() -> None:
    ada = Driven()
    ada.accept("one")
    assert ada.go_on(1_000) == [Probe("bob"), Look("bob")]
    ada(Heard("bob"))
    assert ada(Looked("bob", is_alive=False)) == []
    assert ada.go_on(999.5) == []
    assert ada.go_on(0.5) == [Look("bob")]


# --- two by one id


@pytest.mark.holds("C2")
def test_two_workers_that_go_by_one_id_are_told_of_once_until_they_are_one_again() -> None:
    ada = Driven()
    ada.send("one")
    assert ada(Posted("one", 2)) == [TwinsSeen("bob", 2)]
    assert ada.state("one") is Delivery.POSTED
    assert ada.count(3, 3) == []
    ada(Answered("one"))
    ada.send("two")
    assert ada(Posted("two", 2)) == [], "also where the peer was forgotten in between"
    assert ada.count(1, 3) == []
    assert ada.count(2, 4) == [TwinsSeen("bob", 2)]


@pytest.mark.holds("C2", "C10")
def test_what_is_remembered_of_twins_is_bounded_and_ends_with_their_death() -> None:
    ada = Driven()
    for name in "abcd":
        ada.send(name, peer=name)
        assert ada(Posted(name, 2)) == [TwinsSeen(name, 2)]
        ada(Answered(name))
    assert len(twins_of(ada)) == 4
    ada.send("e", peer="e")
    assert ada(Posted("e", 2)) == [TwinsSeen("e", 2)]
    assert twins_of(ada) == {"e"}
    ada(Answered("e"))
    ada.send("one")
    ada(Posted("one", 2))
    assert ada.go_on(1_000) == [Probe("bob"), Look("bob")]
    ada(Looked("bob", is_alive=False))
    assert ada(Echoed("bob", ada.now))[0] == PeerDied("bob")
    assert twins_of(ada) == {"e"}


# --- one that leaves


@pytest.mark.holds("C3")
def test_a_peer_that_leaves_answers_what_it_accepted_and_nothing_else() -> None:
    ada = Driven()
    ada.accept("one")
    ada.post("two")
    ada.send("three")
    why = concluded(ada(Left("bob")), Outcome.NOT_DELIVERED, "two", "three")
    assert why == "worker bob leaves, and has not accepted it"
    assert ada.machine.peers() == {"bob": 1}
    assert ada(Posted("three", 1)) == []
    assert ada(Answered("one")) == []


@pytest.mark.holds("C3", "C5")
def test_a_peer_that_leaves_is_counted_until_it_has_answered_but_need_not_beat() -> None:
    ada = Driven()
    ada.accept("one")
    assert ada.go_on(1_000) == [Probe("bob"), Look("bob")]
    assert ada(Left("bob")) == []
    ada.now += 1
    assert ada(Looked("bob", is_alive=False)) == []
    ada(Probed("bob", 1, ada.now))
    for _ in range(200):
        assert ada.count(1, 8) == []
    assert ada.count(0, 8) == []
    assert ada.count(0, 4) == []
    assert ada.count(0, 4) == [Echo("bob", ada.now)]
    died, *rest = ada(Echoed("bob", ada.now))
    assert died == PeerDied("bob")
    concluded(rest, Outcome.UNKNOWN, "one")


def test_one_that_leaves_while_the_bus_looks_for_it_is_not_dead_for_that() -> None:
    ada = Driven()
    ada.accept("one")
    ada(Left("bob"))
    assert ada.go_on(5_000) == [Probe("bob")]


@pytest.mark.holds("C5")
def test_a_peer_that_says_that_it_leaves_was_heard() -> None:
    ada = Driven()
    ada.accept("one")
    assert ada.count(0, 3) == []
    assert ada.count(0, 4) == []
    ada(Left("bob"))
    ada.find_silent(wait=4)


@pytest.mark.holds("C3")
def test_what_was_sent_on_a_line_that_broke_may_have_been_accepted_by_one_that_leaves() -> None:
    ada = Driven()
    ada.send("one")
    ada(Parted(GONE))
    ada(Joined(OLD))
    ada.send("two")
    concluded(ada(Left("bob")), Outcome.NOT_DELIVERED, "two")
    concluded(ada(Posted("one", GONE)), Outcome.UNKNOWN, "one")


# --- this worker's own line


@pytest.mark.holds("C3", "C9")
def test_when_the_line_breaks_all_that_was_posted_is_told_at_once_and_the_rest_waits_for_the_bus() -> None:
    ada = Driven()
    ada.accept("one")
    ada.post("two")
    ada.now += 1
    ada.send("three")
    assert ada(Posted("three", 0)) == []
    ada.send("four", peer="carol")
    effects = ada(Parted(GONE))
    why = concluded(effects[:2], Outcome.UNKNOWN, "one", "two")
    assert why == "the bus went away before worker bob answered: the bus is gone"
    why = concluded(effects[2:], Outcome.NOT_DELIVERED, "three")
    assert why == "the bus went away, and nobody listened: the bus is gone"
    assert ada.machine.peers() == {"carol": 1}
    assert ada.go_on(2_000) == [], "nobody is asked for anything meanwhile"
    concluded(ada(Posted("four", NOT_SENT)), Outcome.NOT_DELIVERED, "four")


@pytest.mark.holds("C3")
def test_what_was_posted_while_the_line_broke_may_have_been_accepted_unheard() -> None:
    ada = Driven()
    ada.send("one")
    ada.send("two")
    ada(Parted(GONE))
    why = concluded(ada(Posted("one", 1)), Outcome.UNKNOWN, "one")
    assert why == "this worker's line broke while it was posted"
    ada(Joined(OLD))
    concluded(ada(Posted("two", 1)), Outcome.UNKNOWN, "two")
    ada.send("three")
    ada(Parted(GONE))
    assert ada(Posted("three", 2))[0] == TwinsSeen("bob", 2)
    assert len(ada.machine) == 0, "on no line that broke, be it the first or a later one"


@pytest.mark.holds("C3")
def test_what_is_accepted_on_the_new_line_is_as_if_it_had_been_sent_on_it() -> None:
    ada = Driven()
    ada.send("one")
    ada(Parted(GONE))
    ada(Joined(OLD))
    ada(Accepted("one"))
    assert ada(Posted("one", 1)) == []
    assert ada.state("one") is Delivery.ACCEPTED
    assert ada(Answered("one")) == []


@pytest.mark.holds("C3", "C9")
def test_what_nobody_received_while_the_line_broke_was_not_delivered() -> None:
    ada = Driven()
    ada.send("one")
    ada(Parted(GONE))
    concluded(ada(Posted("one", 0)), Outcome.NOT_DELIVERED, "one")


@pytest.mark.holds("C5")
def test_a_line_that_breaks_takes_with_it_what_spoke_against_a_peer() -> None:
    ada = Driven()
    ada.send("one")
    ada.find_silent()
    asked_at = ada.now
    ada(Parted(GONE))
    ada(Joined(OLD))
    assert ada(Echoed("bob", asked_at)) == []
    ada.now += 1_000
    assert ada(Tick()) == [Probe("bob"), Look("bob")]
    assert ada(Probed("bob", 0, ada.now)) == []
    assert ada.count(0, 4) == []
    assert ada.count(0, 4) == [Echo("bob", ada.now)]


def test_those_who_are_waited_for_are_counted_as_soon_as_the_line_is_back() -> None:
    ada = Driven()
    ada.send("one")
    ada(Parted(GONE))
    assert ada.go_on(500) == []
    assert ada(Joined(OLD)) == []
    assert ada.go_on(0) == [Probe("bob")]


# --- who gives up


@pytest.mark.holds("L2")
def test_whoever_has_gone_is_told_nothing_and_the_owner_is_told_unless_it_cannot_have_the_request() -> None:
    ada = Driven()
    ada.send("one")
    assert ada(Withdraw("one")) == [Cancel("bob", "one")]
    ada.post("two")
    assert ada(Withdraw("two")) == [Cancel("bob", "two")]
    ada.accept("three")
    assert ada(Withdraw("three")) == [Cancel("bob", "three")]
    ada.send("four")
    ada(Posted("four", 0))
    assert ada(Withdraw("four")) == []
    assert ada(Withdraw("four")) == []
    assert (len(ada.machine), ada.machine.peers()) == (0, {})


@pytest.mark.holds("C3")
def test_what_is_not_answered_in_time_is_unknown_and_cancelled() -> None:
    ada = Driven()
    ada.send("one", within=2)
    ada.post("two", within=2)
    ada.send("three", within=2)
    ada(Accepted("three"))
    assert ada.go_on(1.5) == []
    effects = ada.go_on(0.5)
    assert effects[::2] == [Cancel("bob", "one"), Cancel("bob", "two"), Cancel("bob", "three")]
    why = concluded(effects[1::2], Outcome.UNKNOWN, "one", "two", "three")
    assert why == "worker bob has not answered within 2 s"


@pytest.mark.holds("C3")
def test_what_nobody_received_in_time_was_not_delivered() -> None:
    ada = Driven()
    ada.send("one", within=2)
    ada(Posted("one", 0))
    concluded(ada.go_on(2), Outcome.NOT_DELIVERED, "one")


@pytest.mark.holds("C3")
def test_what_is_late_before_it_is_sent_is_not_sent() -> None:
    ada = Driven()
    why = concluded(ada(Forward("asks one", "one", "bob", ada.now)), Outcome.NOT_DELIVERED, "one")
    assert why == "its time was over before it was sent"
    assert len(ada.machine) == 0


# --- what is kept


@pytest.mark.holds("C10")
def test_what_is_over_leaves_nothing_behind_however_late_its_deadline_would_have_been() -> None:
    ada = Driven()
    ada.post("stays", peer="carol")
    for number in range(1_000):
        ada.accept(str(number))
        ada(Answered(str(number)))
        assert reminders_of(ada) <= 64 + 2 * 2
    assert ada.go_on(3) == [Probe("carol")], "what counts is still there"
    assert ada.machine.peers() == {"carol": 1}


def test_a_peer_has_one_reminder_and_one_tick_sees_to_all_that_is_due() -> None:
    ada = Driven()
    ada.post("one", "two")
    assert reminders_of(ada) == 3
    ada(Answered("one"))
    ada(Answered("two"))
    ada.post("three", peer="carol")
    ada.now += 3
    assert ada(Tick()) == [Probe("carol")]


def test_requests_that_are_answered_at_once_wake_nobody_each() -> None:
    ada = Driven()
    ticks, until = 0, ada.now + 100
    number = 0
    while ada.now < until:
        name = str(number := number + 1)
        ada.accept(name)
        ada.now += 0.5
        assert ada(Answered(name)) == []
        assert reminders_of(ada) == 0
        if ada.wake_at is not None and ada.wake_at <= ada.now:
            assert ada(Tick()) == []
            ticks += 1
    assert number == 200
    assert ticks <= 100 / TERMS.probe_after


def test_a_tick_that_comes_early_or_twice_does_nothing() -> None:
    ada = Driven()
    ada.post("one")
    ada.now += 1
    assert ada(Tick()) == []
    assert ada.wake_at is not None
    assert ada.count(1, 2) == []


# --- in figures


@pytest.mark.holds("C5")
@pytest.mark.parametrize("killed_after", [0.2, 7.3, 10.1, 15.9, 16.0, 20.5, 1_234.5])
@pytest.mark.parametrize("noticed_after", [4.0, 22.0])
def test_whoever_waits_for_a_killed_owner_knows_within_25_ms_of_the_bus(
    killed_after: float, noticed_after: float
) -> None:
    terms, round_trip, step = Terms(), 0.0003, 0.0001
    ada = Driven(terms=terms, age=1_000.0)
    ada.accept("one")
    gone_at = ada.now + (killed_after + noticed_after) / 1_000
    due: list[tuple[float, ForwardsEvent[str]]] = []
    while len(ada.machine):
        ada.now += step
        effects = ada.go_on(0)
        for at, event in list(due):
            if at <= ada.now:
                due.remove((at, event))
                effects += ada(event)
        for effect in effects:
            at = ada.now + round_trip
            match effect:
                case Probe(peer):
                    due.append((at, Probed(peer, int(ada.now < gone_at), ada.now)))
                case Look(peer):
                    due.append((at, Looked(peer, is_alive=True)))
                case Echo(peer, asked_at):
                    due.append((at, Echoed(peer, asked_at)))
                case _:
                    assert isinstance(effect, PeerDied | Conclude)
        assert ada.now < gone_at + 0.018


# --- worlds


@pytest.mark.holds("C3", "C5", "C9", "C10", "L2")
def test_in_no_world_does_anything_begin_that_was_said_to_be_safe_and_everybody_is_told() -> None:
    seen = Counter[str]()
    for seed in range(300):
        seen.update(live(seed))
    assert all(
        seen[what] > 3
        for what in (
            "answered",
            "NOT_DELIVERED",
            "REJECTED",
            "UNKNOWN",
            "died",
            "presumed dead",
            "joined",
            "restarts",
            "refused: BusUnavailable",
            "refused: TooManyForwards",
        )
    ), seen


@pytest.mark.holds("C3")
@given(st.integers(min_value=300))
def test_nor_in_any_other_world(seed: int) -> None:
    live(seed)
