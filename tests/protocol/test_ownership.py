"""Who owns a downstream session: rule by rule, and in worlds where all that may go wrong does."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.bus import Holding
from protocol.claims import TAKEN, Terms
from protocol.errors import (
    BusUnavailable,
    ConversationEnded,
    IllegalTransition,
    NotAlive,
    PrincipalMismatch,
    TroupeError,
)
from protocol.ownership import Ownership
from protocol.ownership_messages import (
    Acquired,
    Beaten,
    Claim,
    Claimed,
    End,
    GiveUp,
    HandedOver,
    Inherit,
    Joined,
    Leave,
    Lost,
    Named,
    OwnerDenied,
    OwnerDied,
    OwnershipEffect,
    OwnershipEvent,
    Parted,
    Refresh,
    Refreshed,
    Refuse,
    Release,
    Released,
    TellOwner,
    Tick,
    Wake,
    Want,
    Withdraw,
)
from protocol.tenure import TRANSITIONS, Owned, Tenure, Turn
from tests.protocol.ownership_world import live

GONE = BusUnavailable("the bus is gone", was_sent=True)
THEIRS = Holding("bob", "token-of-bob", "principal")
OLD = 1_000.0


def ours(fresh: str = "t1") -> Holding:
    return Holding("ada", fresh, "principal")


class Driven:
    """The machine of the worker `ada`. Call it with an event: it answers the effects, but for `Wake`."""

    def __init__(self, *, age: float = OLD, checks_principal: bool = True) -> None:
        terms = Terms(beat=5, holding=30, memory=20, checks_principal=checks_principal)
        self.machine = Ownership[str]("ada", terms)
        self.now = 100.0
        self.wake_at: float | None = None
        assert self(Joined(age, "j0")) == []
        assert self(Beaten(self.now, "b0")) == []

    def __call__(self, event: OwnershipEvent[str]) -> list[OwnershipEffect[str]]:
        effects = list(self.machine.handle(event, now=self.now))
        wakes = [effect.at for effect in effects if isinstance(effect, Wake)]
        assert len(wakes) <= 1
        self.wake_at = wakes[0] if wakes else self.wake_at
        return [effect for effect in effects if not isinstance(effect, Wake)]

    def want(self, ticket: str = "caller", fresh: str = "t1", principal: str = "principal") -> Sequence[Any]:
        return self(Want(ticket, "talk", principal, fresh))

    def own(self) -> None:
        """Come to own the session."""
        assert self.want() == [Claim("talk", ours())]
        assert self(Claimed("talk", "t1", ours(), self.now)) == [
            Acquired("talk", is_taken_over=False),
            TellOwner("caller", ours(), is_here=True),
        ]

    def find_theirs(self) -> None:
        """Come to know that it is another worker's."""
        self.want()
        assert self(Claimed("talk", "t1", THEIRS, self.now)) == [TellOwner("caller", THEIRS, is_here=False)]

    def go_on(self, seconds: float) -> list[OwnershipEffect[str]]:
        """Time goes by, while the worker beats. What the ticks on the way lead to."""
        effects: list[OwnershipEffect[str]] = []
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + 1)
            effects += self(Beaten(self.now, "unused"))
            if self.wake_at is not None and self.wake_at <= self.now:
                self.wake_at = None
                effects += self(Tick())
        return effects

    @property
    def tenure(self) -> Tenure:
        return self.machine.tenure("talk")

    @property
    def may_start(self) -> bool:
        return self.machine.may_start("talk", self.now)


def refused(effects: Sequence[Any], *tickets: str) -> TroupeError:
    """The error that these, and nobody else, are told, before anything else is done."""
    refusals = effects[: len(tickets)]
    assert [type(refusal) for refusal in refusals] == [Refuse] * len(tickets)
    assert [refusal.ticket for refusal in refusals] == list(tickets)
    assert len({id(refusal.error) for refusal in refusals}) == 1
    return refusals[0].error


# --- the table


@pytest.mark.holds("C1")
@pytest.mark.parametrize("turn", Turn)
@pytest.mark.parametrize("state", Tenure)
def test_a_tenure_moves_as_its_table_says_and_else_not_at_all(state: Tenure, turn: Turn) -> None:
    owned = Owned[str]("talk", ours())
    owned.state = state
    if (after := TRANSITIONS[state].get(turn)) is not None:
        owned.move(turn)
        assert owned.state is after
        return
    with pytest.raises(IllegalTransition, match=f"a session that is {state.name} here cannot be {turn.name}"):
        owned.move(turn)
    assert owned.state is state


# --- claims


@pytest.mark.holds("C1")
def test_a_session_is_claimed_before_anybody_is_told_that_it_is_owned_here() -> None:
    ada = Driven()
    assert ada.tenure is Tenure.FREE
    assert ada.want() == [Claim("talk", ours())]
    assert not ada.may_start
    assert ada.want("another", fresh="t2") == [], "one claim is enough"
    told = ada(Claimed("talk", "t1", ours(), ada.now))
    assert told == [
        Acquired("talk", is_taken_over=False),
        TellOwner("caller", ours(), is_here=True),
        TellOwner("another", ours(), is_here=True),
    ]
    assert ada.may_start
    assert ada.machine.token("talk") == "t1"
    assert ada.machine.owned() == ["talk"]
    assert ada.want("later", fresh="t3") == [TellOwner("later", ours(), is_here=True)]


@pytest.mark.holds("C1")
def test_who_loses_the_race_is_told_who_won_it() -> None:
    ada = Driven()
    ada.find_theirs()
    assert not ada.may_start
    assert ada.machine.token("talk") is None
    assert ada.machine.owned() == []
    assert ada.want("later", fresh="t2") == [TellOwner("later", THEIRS, is_here=False)]


@pytest.mark.holds("L7")
def test_another_principal_is_refused_be_the_session_here_or_elsewhere() -> None:
    for find in (Driven.own, Driven.find_theirs):
        ada = Driven()
        find(ada)
        assert isinstance(refused(ada.want("mallory", principal="other"), "mallory"), PrincipalMismatch)
        assert ada.want("caller")[0].ticket == "caller"
        lax = Driven(checks_principal=False)
        find(lax)
        assert isinstance(lax.want("mallory", principal="other")[0], TellOwner)


@pytest.mark.holds("L7")
def test_of_two_principals_that_come_at_once_the_one_that_claims_has_the_session() -> None:
    ada = Driven()
    ada.want()
    ada.want("mallory", fresh="t2", principal="other")
    effects = ada(Claimed("talk", "t1", ours(), ada.now))
    assert effects[:2] == [Acquired("talk", is_taken_over=False), TellOwner("caller", ours(), is_here=True)]
    assert isinstance(refused(effects[2:], "mallory"), PrincipalMismatch)


@pytest.mark.holds("C9")
def test_a_claim_that_the_bus_did_not_answer_is_told_to_all_who_wait_and_forgotten() -> None:
    ada = Driven()
    ada.want()
    ada.want("another")
    assert refused(ada(Claimed("talk", "t1", GONE, ada.now)), "caller", "another") is GONE
    assert len(ada.machine) == 0


@pytest.mark.holds("C1")
def test_a_claim_of_ones_own_whose_answer_was_lost_is_claimed_over() -> None:
    ada = Driven()
    ada.want()
    ada(Claimed("talk", "t1", GONE, ada.now))
    assert ada.want(fresh="t2") == [Claim("talk", ours("t2"))]
    assert ada(Claimed("talk", "t2", ours("t1"), ada.now)) == [Claim("talk", ours("t2"), ("t1",))]
    assert ada(Claimed("talk", "t2", ours("t2"), ada.now))[0] == Acquired("talk", is_taken_over=False)


@pytest.mark.holds("C1", "R4")
def test_a_claim_that_succeeds_when_nobody_remembers_it_is_released() -> None:
    ada = Driven()
    ada.want()
    ada(Claimed("talk", "t1", GONE, ada.now))
    assert ada(Claimed("talk", "t1", ours(), ada.now)) == [Release("talk", "t1")]
    assert ada(Claimed("talk", "t1", THEIRS, ada.now)) == []


@pytest.mark.holds("L2")
def test_whoever_has_gone_is_told_nothing() -> None:
    ada = Driven()
    ada.want()
    ada.want("another")
    assert ada(Withdraw("caller", "talk")) == []
    assert ada(Withdraw("caller", "talk")) == []
    assert ada(Withdraw("nobody", "chat")) == []
    told = ada(Claimed("talk", "t1", ours(), ada.now))
    assert told == [Acquired("talk", is_taken_over=False), TellOwner("another", ours(), is_here=True)]


# --- a bus that is young, and one that is away


@pytest.mark.holds("C5")
def test_nothing_is_claimed_from_a_young_bus_until_the_living_have_come_back() -> None:
    ada = Driven(age=2)
    assert ada.want() == []
    assert ada.tenure is Tenure.WANTED
    assert ada.wake_at == 103
    assert ada.go_on(2) == []
    assert ada.go_on(1) == [Claim("talk", ours())]


@pytest.mark.holds("C5", "C9")
def test_who_is_owned_here_is_claimed_anew_from_a_bus_that_has_lost_it_also_while_that_is_young() -> None:
    ada = Driven()
    ada.own()
    ada(Parted(GONE))
    assert ada.may_start, "what is local goes on"
    assert ada(Joined(0.0, "t2")) == [Claim("talk", ours("t2"), ("t1",))]
    assert not ada.may_start, "somebody may have taken it over meanwhile"
    assert ada.want("later") == []
    assert ada(Claimed("talk", "t2", ours("t2"), ada.now)) == [TellOwner("later", ours("t2"), is_here=True)]
    assert ada.may_start
    assert ada.machine.token("talk") == "t2"


@pytest.mark.holds("C9")
def test_while_the_bus_is_away_what_is_not_owned_here_is_refused_at_once() -> None:
    machine = Ownership[str]("ada", Terms(5, 30, 20))
    effects = machine.handle(Want("caller", "talk", "principal", "t1"), now=0)
    assert "has not been joined yet" in str(refused(list(effects), "caller"))
    ada = Driven(age=0)
    ada.want()
    assert refused(ada(Parted(GONE)), "caller") is GONE
    assert len(ada.machine) == 0
    assert refused(ada.want("later"), "later") is GONE


@pytest.mark.holds("C1")
def test_a_session_that_was_taken_over_while_the_bus_was_away_is_lost_when_it_is_back() -> None:
    ada = Driven()
    ada.own()
    ada(Parted(GONE))
    ada(Joined(OLD, "t2"))
    ada.want("later")
    effects = ada(Claimed("talk", "t2", THEIRS, ada.now))
    assert effects == [Lost("talk"), TellOwner("later", THEIRS, is_here=False)]
    assert ada.tenure is Tenure.THEIRS


@pytest.mark.holds("C1")
def test_a_claim_that_is_doubted_twice_is_made_over_both_of_its_tokens() -> None:
    ada = Driven()
    ada.own()
    ada(Parted(GONE))
    ada(Joined(OLD, "t2"))
    ada.want("later")
    ada(Parted(GONE))
    assert refused(ada(Claimed("talk", "t2", GONE, ada.now)), "later") is GONE
    assert ada.tenure is Tenure.DOUBTFUL
    assert ada(Joined(OLD, "t3")) == [Claim("talk", ours("t3"), ("t1", "t2"))]
    assert ada(Claimed("talk", "t2", ours("t2"), ada.now)) == [], "that is an answer of before"
    ada(Claimed("talk", "t3", ours("t3"), ada.now))
    ada(Parted(GONE))
    assert ada(Joined(OLD, "t4")) == [Claim("talk", ours("t4"), ("t3",))]


# --- beats


@pytest.mark.holds("C1", "C5")
def test_a_worker_whose_last_beat_is_over_starts_nothing_until_it_has_claimed_anew() -> None:
    ada = Driven()
    ada.own()
    ada.now += 4.9
    assert ada.may_start
    ada.now += 0.1
    assert not ada.may_start
    error = refused(ada.want("later"), "later")
    assert isinstance(error, NotAlive)
    assert "has not reached the bus for 5 s" in str(error)
    assert error.safe_to_retry
    assert ada(Beaten(ada.now, "t2")) == [Claim("talk", ours("t2"), ("t1",))]
    assert not ada.may_start
    ada(Claimed("talk", "t2", ours("t2"), ada.now))
    assert ada.may_start


@pytest.mark.holds("C1")
def test_a_beat_counts_from_before_it_was_sent_and_an_older_one_changes_nothing() -> None:
    ada = Driven()
    ada.own()
    ada.now += 4
    assert ada(Beaten(ada.now - 3, "unused")) == []
    assert ada(Beaten(ada.now - 4, "unused")) == []
    ada.now += 1.9
    assert ada.may_start
    ada.now += 0.1
    assert not ada.may_start


@pytest.mark.holds("C5")
def test_who_does_not_beat_yet_claims_nothing_since_others_would_take_it_for_dead() -> None:
    machine = Ownership[str]("ada", Terms(5, 30, 20))
    assert machine.handle(Joined(OLD, "j"), now=0) == []
    assert machine.handle(Want("caller", "talk", "principal", "t1"), now=0) == []
    assert machine.handle(Beaten(0, "b"), now=1) == [Claim("talk", ours())]


# --- time


@pytest.mark.holds("C1")
def test_a_holding_is_refreshed_thrice_in_its_time_and_counts_from_before_that_was_asked() -> None:
    ada = Driven()
    ada.own()
    assert ada.go_on(9) == []
    assert ada.go_on(1) == [Refresh("talk", "t1")]
    assert ada(Refreshed("talk", "t1", ours(), ada.now)) == []
    for _ in range(2):
        assert ada.go_on(10) == [Refresh("talk", "t1")], "unanswered"
    assert ada.go_on(9) == []
    assert ada.may_start
    assert ada.go_on(1) == [Lost("talk")]
    assert not ada.may_start
    assert ada.tenure is Tenure.LAPSED


@pytest.mark.holds("C1")
def test_a_session_whose_time_is_over_starts_nothing_also_before_the_tick_that_says_so() -> None:
    ada = Driven()
    ada.own()
    ada.go_on(29)
    ada.now += 1
    ada(Beaten(ada.now, "unused"))
    assert not ada.may_start
    assert isinstance(refused(ada.want("later"), "later"), NotAlive)


@pytest.mark.holds("C1")
def test_a_refresh_that_finds_another_owner_loses_the_session() -> None:
    ada = Driven()
    ada.own()
    assert ada(Refreshed("talk", "t1", THEIRS, ada.now)) == [Lost("talk")]
    assert ada.want("later") == [TellOwner("later", THEIRS, is_here=False)]


@pytest.mark.holds("C1")
def test_a_refresh_that_finds_nobody_claims_the_session_again() -> None:
    ada = Driven()
    ada.own()
    assert ada(Refreshed("talk", "t1", None, ada.now)) == [Claim("talk", ours())]
    assert ada.may_start
    ada.now += 1
    assert ada(Claimed("talk", "t1", ours(), ada.now)) == []
    assert ada.machine.owned() == ["talk"]


def test_a_refresh_that_is_not_answered_changes_nothing() -> None:
    ada = Driven()
    ada.own()
    assert ada(Refreshed("talk", "t1", GONE, ada.now)) == []
    assert ada(Refreshed("talk", "t0", THEIRS, ada.now)) == []
    assert ada.may_start


def test_nothing_is_refreshed_while_the_bus_is_away() -> None:
    ada = Driven()
    ada.own()
    ada(Parted(GONE))
    assert ada.go_on(29) == []
    assert ada.go_on(1) == [Lost("talk")]


@pytest.mark.holds("C10")
def test_that_a_session_is_elsewhere_is_forgotten_when_nobody_has_asked_for_a_while() -> None:
    ada = Driven()
    ada.find_theirs()
    ada.go_on(15)
    ada.want("later")
    ada.go_on(19)
    assert len(ada.machine) == 1
    ada.go_on(1)
    assert len(ada.machine) == 0


# --- other owners


@pytest.mark.holds("C5")
def test_a_dead_owner_is_taken_over_from_by_its_token_and_whoever_waits_is_told() -> None:
    ada, taken = Driven(), ours(TAKEN + "t2")
    ada.find_theirs()
    assert ada(OwnerDied("talk", "another-token", "t2")) == []
    assert ada(OwnerDied("chat", THEIRS.token, "t2")) == []
    assert ada(OwnerDied("talk", THEIRS.token, "t2")) == [Claim("talk", taken, (THEIRS.token,))]
    assert ada.want("later") == []
    told = ada(Claimed("talk", taken.token, taken, ada.now))
    assert told == [Acquired("talk", is_taken_over=True), TellOwner("later", taken, is_here=True)]
    assert ada.may_start


@pytest.mark.holds("C1")
def test_who_is_too_late_to_take_over_is_told_who_did() -> None:
    ada = Driven()
    ada.find_theirs()
    ada(OwnerDied("talk", THEIRS.token, "t2"))
    ada.want("later")
    third = Holding("cy", "token-of-cy", "principal")
    assert ada(Claimed("talk", TAKEN + "t2", third, ada.now)) == [TellOwner("later", third, is_here=False)]


@pytest.mark.holds("C1")
def test_what_an_owner_denies_is_asked_of_the_bus_again() -> None:
    ada = Driven()
    ada.find_theirs()
    assert ada(OwnerDenied("talk", "another-token")) == []
    assert ada.tenure is Tenure.THEIRS
    assert ada(OwnerDenied("talk", THEIRS.token)) == []
    assert ada.want(fresh="t2") == [Claim("talk", ours("t2"))]


# --- ends


@pytest.mark.holds("C1", "R4")
def test_a_session_that_is_over_is_released_and_can_be_claimed_anew_after_that() -> None:
    ada = Driven()
    ada.own()
    assert ada(End("talk")) == [Release("talk", "t1")]
    assert ada(End("talk")) == []
    assert not ada.may_start
    assert ada.want("later", fresh="t2") == []
    assert ada.want("latest", fresh="t3") == []
    assert ada(Released("talk", "t0")) == []
    assert ada(Released("talk", "t1")) == [Claim("talk", ours("t2"))]
    assert ada(Released("talk", "t1")) == []
    assert len(ada(Claimed("talk", "t2", ours("t2"), ada.now))) == 3


def test_after_a_release_that_nobody_waited_for_nothing_is_known() -> None:
    ada = Driven()
    ada.own()
    ada(End("talk"))
    ada.want("later", fresh="t2")
    ada(Withdraw("later", "talk"))
    assert ada(Released("talk", "t1")) == []
    assert len(ada.machine) == 0


@pytest.mark.holds("C1", "R4")
def test_a_session_that_ends_while_it_is_claimed_is_released_at_once() -> None:
    ada = Driven()
    ada.want()
    assert isinstance(refused(ada(End("talk")), "caller"), ConversationEnded)
    assert ada(Claimed("talk", "t1", ours(), ada.now)) == [Release("talk", "t1")]
    assert ada(Released("talk", "t1")) == []
    assert len(ada.machine) == 0


def test_a_session_that_ends_while_it_is_claimed_and_is_another_workers_is_forgotten() -> None:
    ada = Driven()
    ada.want()
    ada(End("talk"))
    assert ada(Claimed("talk", "t1", THEIRS, ada.now)) == []
    assert len(ada.machine) == 0
    ada.want()
    ada(End("talk"))
    ada.want("later", fresh="t2")
    assert ada(Claimed("talk", "t1", THEIRS, ada.now)) == [TellOwner("later", THEIRS, is_here=False)]
    assert ada.tenure is Tenure.THEIRS


def test_a_session_that_ends_while_it_is_doubted_wanted_or_elsewhere_is_over_too() -> None:
    ada = Driven()
    ada.own()
    ada(Joined(OLD, "t2"))
    ada.want("later")
    effects = ada(End("talk"))
    assert isinstance(refused(effects, "later"), ConversationEnded)
    assert effects[1:] == [Release("talk", "t2")]
    young = Driven(age=0)
    young.want()
    assert isinstance(refused(young(End("talk")), "caller"), ConversationEnded)
    assert len(young.machine) == 0
    other = Driven()
    other.find_theirs()
    assert other(End("talk")) == []
    assert len(other.machine) == 0


# --- what was lost is told of, whoever goes on


@pytest.mark.holds("L9")
def test_whose_time_was_over_takes_the_session_over_from_itself() -> None:
    ada = Driven()
    ada.own()
    ada(Parted(GONE))
    ada.go_on(30)
    assert isinstance(refused(ada.want(), "caller"), BusUnavailable)
    ada(Joined(OLD, "j1"))
    taken = Holding("ada", TAKEN + "t2", "principal")
    assert ada.want(fresh="t2") == [Claim("talk", taken, ("t1",))]
    assert ada(Claimed("talk", taken.token, taken, ada.now)) == [
        Acquired("talk", is_taken_over=True),
        TellOwner("caller", taken, is_here=True),
    ]


@pytest.mark.holds("C10")
def test_what_has_lapsed_is_forgotten_when_the_bus_has_forgotten_it_too() -> None:
    ada = Driven()
    ada.own()
    ada.go_on(30)
    ada.go_on(29)
    assert ada.tenure is Tenure.LAPSED
    ada.go_on(1)
    assert len(ada.machine) == 0
    again = Driven()
    again.own()
    again.go_on(30)
    assert again(End("talk")) == [], "so says whoever clears away what it had here"
    assert again.tenure is Tenure.LAPSED
    assert again(End("talk", is_asked=True)) == []
    assert len(again.machine) == 0


@pytest.mark.holds("L9")
@pytest.mark.parametrize("token", ["lost", TAKEN + "lost"])
def test_what_the_bus_holds_for_a_worker_that_does_not_know_is_found_when_another_one_says_so(token: str) -> None:
    ada = Driven()
    held = ours(token)
    assert ada(Named("talk", held, "t2")) == [Refresh("talk", token)]
    assert ada(Refreshed("talk", token, None, ada.now)) == [], "it is not so any more"
    assert ada(Refreshed("talk", token, THEIRS, ada.now)) == []
    assert ada(Refreshed("talk", token, GONE, ada.now)) == []
    assert ada(Refreshed("talk", token, held, ada.now)) == [Claim("talk", held)]
    assert ada(Named("talk", held, "t3")) == [], "it is being claimed"
    assert ada(Claimed("talk", token, held, ada.now)) == [Acquired("talk", is_taken_over=token.startswith(TAKEN))]
    assert ada(Named("talk", held, "t4")) == []
    assert ada(Named("chat", THEIRS, "t5")) == [], "that is another worker's affair"
    ada(Parted(GONE))
    assert ada(Named("words", ours("lost"), "t6")) == []


@pytest.mark.holds("L9")
def test_what_is_found_is_not_claimed_by_a_worker_that_leaves_or_of_another_one() -> None:
    ada = Driven()
    ada(Named("talk", ours("lost"), "t2"))
    assert ada(Refreshed("talk", THEIRS.token, THEIRS, ada.now)) == []
    ada(Leave())
    assert ada(Refreshed("talk", "lost", ours("lost"), ada.now)) == []


@pytest.mark.holds("L9")
def test_a_claim_that_took_over_and_whose_answer_was_lost_is_known_by_its_token() -> None:
    ada = Driven()
    ada.want()
    lost = ours(TAKEN + "lost")
    assert ada(Claimed("talk", "t1", lost, ada.now)) == [Claim("talk", ours(), (lost.token,))]
    assert ada(Claimed("talk", "t1", ours(), ada.now))[0] == Acquired("talk", is_taken_over=True)


@pytest.mark.holds("L9")
def test_a_lapsed_session_that_another_worker_asks_for_is_taken_over_from_oneself() -> None:
    ada = Driven()
    ada.own()
    ada.go_on(30)
    assert ada(Named("talk", ours("other"), "t2")) == []
    assert ada(Named("talk", ours(), "t2")) == [Claim("talk", ours(TAKEN + "t2"), ("t1",))]


@pytest.mark.holds("C1", "L9")
def test_who_stood_still_while_the_bus_lost_its_records_takes_over_from_itself() -> None:
    ada, taken = Driven(), ours(TAKEN + "j1")
    ada.own()
    ada.now += 20
    assert ada(Parted(GONE)) == []
    ada.now += 1
    assert ada(Joined(10, "j1")) == [Lost("talk")]
    assert ada(End("talk")) == [], "so says whoever has ended what was lost"
    assert ada(Beaten(ada.now, "b1")) == [Claim("talk", taken, ("t1",))]
    assert ada(Claimed("talk", taken.token, taken, ada.now)) == [Acquired("talk", is_taken_over=True)]


@pytest.mark.holds("C5")
def test_who_was_away_with_the_bus_that_lost_its_records_goes_on_with_what_it_held() -> None:
    ada = Driven()
    ada.own()
    assert ada(Parted(GONE)) == []
    ada.now += 20
    assert ada(Joined(1, "j1")) == [Claim("talk", ours("j1"), ("t1",))]


@pytest.mark.holds("C5")
@pytest.mark.parametrize("age", [19.0, OLD])
def test_who_stood_still_while_the_bus_kept_its_records_is_told_by_the_bus(age: float) -> None:
    ada = Driven()
    ada.own()
    ada.now += 20
    ada(Parted(GONE))
    assert ada(Joined(age, "j1")) == [Claim("talk", ours("j1"), ("t1",))]


# --- a worker leaves


@pytest.mark.holds("R4", "C1")
def test_a_worker_that_leaves_starts_nothing_and_holds_what_it_holds_until_somebody_has_it() -> None:
    ada = Driven()
    ada.own()
    ada(Want("another", "chat", "principal", "t2"))
    ada(Want("third", "words", "principal", "t3"))
    ada(Claimed("words", "t3", THEIRS, ada.now))
    assert isinstance(refused(ada(Leave()), "another"), NotAlive)
    assert not ada.may_start
    assert ada.machine.left() == {"talk": ours()}
    assert ada(Claimed("chat", "t2", ours("t2"), ada.now)) == [Release("chat", "t2")]
    ada(Released("chat", "t2"))
    assert ada(HandedOver("talk", "another")) == []
    assert ada(HandedOver("talk", "t1")) == [Lost("talk")]
    assert len(ada.machine) == 0
    error = refused(ada.want("late"), "late")
    assert "leaves the cluster: ask another one" in str(error)


@pytest.mark.holds("R4")
def test_what_nobody_is_there_to_take_is_given_up_and_so_is_what_has_lapsed() -> None:
    ada = Driven()
    ada.own()
    ada.go_on(30)
    ada(Want("another", "chat", "principal", "t2"))
    ada(Claimed("chat", "t2", ours("t2"), ada.now))
    ada(Leave())
    assert ada.machine.left() == {"talk": ours(), "chat": ours("t2")}
    assert ada(GiveUp()) == [Release("talk", "t1"), Release("chat", "t2")]
    ada(Released("chat", "t2"))
    assert len(ada.machine) == 0


@pytest.mark.holds("C1")
def test_a_worker_that_leaves_and_is_found_to_have_lost_a_session_forgets_it() -> None:
    ada = Driven()
    ada.own()
    ada(Leave())
    assert ada(Refreshed("talk", "t1", THEIRS, ada.now)) == [Lost("talk")]
    assert len(ada.machine) == 0


@pytest.mark.holds("L9")
def test_an_heir_claims_over_whoever_leaves_as_if_that_had_died() -> None:
    ada, taken = Driven(), ours(TAKEN + "t2")
    assert ada(Inherit("talk", THEIRS, "t2")) == [Claim("talk", taken, (THEIRS.token,))]
    assert ada(Claimed("talk", taken.token, taken, ada.now)) == [Acquired("talk", is_taken_over=True)]
    assert ada(Inherit("talk", THEIRS, "t3")) == [], "it is held already"
    other = Driven()
    other.find_theirs()
    assert other(Inherit("talk", THEIRS, "t2")) == [Claim("talk", taken, (THEIRS.token,))]
    for leaves in (Leave(), Parted(GONE)):
        gone = Driven()
        gone(leaves)
        assert gone(Inherit("talk", THEIRS, "t2")) == []


@pytest.mark.holds("C1")
def test_a_holding_is_refreshed_after_four_beats_times_at_the_latest() -> None:
    assert Terms(5, 3600, 20).refreshing == 20
    assert Terms(5, 30, 20).refreshing == 10


# --- worlds


@pytest.mark.holds("C1", "C5", "C9", "C10", "L2", "R4")
@pytest.mark.parametrize("batch", range(5))
def test_in_no_world_may_two_workers_start_something_for_one_session_and_all_ends_well(batch: int) -> None:
    seen = Counter[str]()
    for seed in range(30 * batch, 30 * batch + 30):
        seen.update(live(seed))
    assert all(
        seen[what]
        for what in (
            "acquired",
            "taken over",
            "lost",
            "restarts",
            "told: here",
            "told: there",
            "refused: BusUnavailable",
            "refused: NotAlive",
            "refused: ConversationEnded",
            "handed over",
            "named",
        )
    ), seen


@pytest.mark.holds("C1")
@given(st.integers(min_value=150))
def test_nor_in_any_other_world(seed: int) -> None:
    live(seed)
