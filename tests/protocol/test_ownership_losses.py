"""Losses that are owed: whatever comes between, they are not forgotten before they were told."""

from typing import Any

import pytest

from protocol.claims import TAKEN
from protocol.errors import ConversationEnded
from protocol.ownership_messages import (
    Acquired,
    Beaten,
    Claim,
    Claimed,
    End,
    Inherit,
    Joined,
    Leave,
    Lost,
    OwnerDied,
    Parted,
    Refuse,
    Release,
    Tick,
)
from tests.protocol.test_ownership import GONE, OLD, THEIRS, Driven, ours


@pytest.mark.holds("L9")
def test_what_has_lapsed_is_not_forgotten_by_who_clears_away_what_was_lost() -> None:
    ada = Driven()
    ada.own()
    ada(Parted(GONE))
    ada.now += 31
    assert Lost("talk") in ada(Tick())
    ada(End("talk"))  # the pool's, once it has ended what it had
    ada(Joined(OLD, "j1"))
    ada(Beaten(ada.now, "b1"))
    ada.want("again", "t2")
    effects = ada(Claimed("talk", f"{TAKEN}t2", ours(f"{TAKEN}t2"), ada.now))
    effects += ada(Claimed("talk", "t2", ours("t2"), ada.now))
    assert Acquired("talk", is_taken_over=True) in effects


@pytest.mark.holds("L9")
def test_what_was_inherited_and_is_being_claimed_is_not_given_up_by_a_worker_that_leaves() -> None:
    ada = Driven()
    (claim,) = ada(Inherit("talk", THEIRS, "i1"))
    assert isinstance(claim, Claim)
    ada(Leave())
    effects = ada(Claimed("talk", claim.holding.token, claim.holding, ada.now))
    assert not [effect for effect in effects if isinstance(effect, Release)], "nobody could know what went before"


@pytest.mark.holds("L9")
def test_what_is_to_be_told_is_not_forgotten_when_the_bus_goes_again_before_it_could_be_claimed() -> None:
    ada = Driven()
    ada.own()
    ada.now += 10  # it stood still
    ada(Parted(GONE))
    assert Lost("talk") in ada(Joined(1.0, "j1"))  # a bus that has lost its records
    ada(Beaten(ada.now, "b1"))
    ada(Parted(GONE))
    ada(Joined(2.0, "j2"))
    ada.now += 4
    effects: list[Any] = [*ada(Beaten(ada.now, "b2")), *ada.want("again", "t2"), *ada(Tick())]
    claims = [effect for effect in effects if isinstance(effect, Claim)]
    assert [claim.holding.token.startswith(TAKEN) for claim in claims] == [True]


@pytest.mark.holds("C1")
def test_a_conversation_that_its_user_ends_while_it_is_taken_over_is_ended() -> None:
    ada = Driven()
    ada.find_theirs()
    (claim,) = ada(OwnerDied("talk", THEIRS.token, "d1"))
    assert isinstance(claim, Claim)
    ada.want("waits")
    effects = ada(End("talk", is_asked=True))
    effects += ada(Claimed("talk", claim.holding.token, claim.holding, ada.now))
    assert [effect.error.__class__ for effect in effects if isinstance(effect, Refuse)] == [ConversationEnded]
    assert not [effect for effect in effects if isinstance(effect, Acquired)]
