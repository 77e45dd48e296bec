"""The records of a bus: what Redis is to keep, and for how long."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.bus import Beat, Claim, Command, Find, Forget, Holding, Look, Peers, Post, Refresh, Release
from protocol.bus_records import BusRecords

ADA = Holding("ada", "token-1", "principal")
BOB = Holding("bob", "token-2", "principal")


class Driven:
    """Records, and a clock that is moved by hand."""

    def __init__(self) -> None:
        self.records = BusRecords()
        self.now = 100.0

    def __call__(self, command: Command[Any]) -> Any:
        return self.records.do(command, now=self.now)


@pytest.mark.holds("C1")
def test_who_claims_first_holds_the_session_and_all_others_hear_who_that_is() -> None:
    bus = Driven()
    assert bus(Find("talk")) is None
    assert bus(Claim("talk", ADA, 5)) == ADA
    assert bus(Claim("talk", BOB, 5)) == ADA
    assert bus(Claim("other", BOB, 5)) == BOB
    assert (bus(Find("talk")), bus(Find("other"))) == (ADA, BOB)


@pytest.mark.holds("C1")
def test_a_claim_with_the_token_that_holds_is_a_repetition_and_begins_the_lifetime_anew() -> None:
    bus = Driven()
    bus(Claim("talk", ADA, 5))
    bus.now += 4
    assert bus(Claim("talk", ADA, 5)) == ADA
    bus.now += 4
    assert bus(Find("talk")) == ADA


@pytest.mark.holds("C1")
def test_only_the_owner_that_is_named_is_taken_over_from() -> None:
    bus = Driven()
    bus(Claim("talk", ADA, 5))
    assert bus(Claim("talk", BOB, 5, over=("token-0",))) == ADA
    assert bus(Claim("talk", BOB, 5, over=(ADA.token,))) == BOB
    assert bus(Claim("talk", ADA, 5, over=(ADA.token,))) == BOB
    assert bus(Claim("new", ADA, 5, over=("token-0",))) == ADA


@pytest.mark.holds("C1")
def test_only_the_owner_refreshes_and_only_what_it_still_holds() -> None:
    bus = Driven()
    bus(Claim("talk", ADA, 5))
    bus.now += 3
    assert bus(Refresh("talk", BOB.token, 50)) == ADA
    assert bus(Refresh("talk", ADA.token, 5)) == ADA
    bus.now += 4.9
    assert bus(Find("talk")) == ADA
    bus.now += 0.1
    assert bus(Refresh("talk", ADA.token, 5)) is None
    assert bus(Find("talk")) is None


@pytest.mark.holds("C1")
def test_only_the_owner_releases_and_twice_is_once() -> None:
    bus = Driven()
    bus(Claim("talk", ADA, 5))
    assert bus(Release("talk", BOB.token)) == ADA
    assert bus(Release("talk", ADA.token)) is None
    assert bus(Release("talk", ADA.token)) is None
    assert bus(Claim("talk", BOB, 5)) == BOB


def test_what_has_expired_was_never_there_and_takes_no_room() -> None:
    bus = Driven()
    bus(Claim("talk", ADA, 5))
    bus(Beat("ada", 5, b"well"))
    assert len(bus.records) == 2
    bus.now += 5
    assert bus(Find("talk")) is None
    assert bus(Look("ada")) is None
    assert len(bus.records) == 0


@pytest.mark.holds("C5")
def test_a_worker_lives_for_as_long_as_it_said_when_it_beat_last() -> None:
    bus = Driven()
    assert bus(Look("ada")) is None
    assert bus(Beat("ada", 5, b"one")) is None
    bus.now += 4
    assert bus(Beat("ada", 5, b"two")) is None
    bus.now += 4.9
    assert bus(Look("ada")) == b"two"
    assert bus(Forget("ada")) is None
    assert bus(Forget("ada")) is None
    assert bus(Look("ada")) is None


@pytest.mark.holds("C5")
def test_the_workers_that_live_are_told_with_what_each_said_last() -> None:
    bus = Driven()
    assert bus(Peers()) == {}
    bus(Beat("ada", 5, b"one"))
    bus(Beat("bob", 9, b""))
    bus(Beat("cy", 9, b"three"))
    bus(Beat("ada", 5, b"two"))
    assert bus(Peers()) == {"ada": b"two", "bob": b"", "cy": b"three"}
    bus(Forget("cy"))
    bus.now += 5
    assert bus(Peers()) == {"bob": b""}
    assert len(bus.records) == 1, "who died takes no room"


def test_a_bus_that_restarts_has_lost_everything() -> None:
    bus = Driven()
    bus(Claim("talk", ADA, 5))
    bus(Beat("ada", 5, b"well"))
    bus.records.restarted()
    assert len(bus.records) == 0
    assert bus(Claim("talk", BOB, 5)) == BOB


def test_what_is_not_about_records_is_refused() -> None:
    with pytest.raises(TypeError, match="Post is not about the records of a bus"):
        Driven()(Post("channel", b""))


SESSIONS = st.sampled_from(["talk", "chat"])
HOLDINGS = st.builds(Holding, st.sampled_from(["ada", "bob"]), st.sampled_from("1234"), st.just("p"))
TOKENS = st.sampled_from("1234")
LIFETIMES = st.sampled_from([1.0, 3.0])
COMMANDS = st.one_of(
    st.builds(Claim, SESSIONS, HOLDINGS, LIFETIMES, st.lists(TOKENS, max_size=2).map(tuple)),
    st.builds(Refresh, SESSIONS, TOKENS, LIFETIMES),
    st.builds(Release, SESSIONS, TOKENS),
    st.builds(Find, SESSIONS),
)


@pytest.mark.holds("C1")
@given(st.lists(st.tuples(COMMANDS, st.sampled_from([0.0, 0.5, 1.0, 2.0]))))
def test_a_session_changes_hands_only_when_it_is_free_or_taken_over_by_name(
    steps: list[tuple[Command[Any], float]],
) -> None:
    bus = Driven()
    ends: dict[str, float] = {}
    held: dict[str, Holding] = {}
    for command, pause in steps:
        bus.now += pause
        held = {session_id: holding for session_id, holding in held.items() if ends[session_id] > bus.now}
        match command:
            case Claim(session_id, holding, lifetime, over):
                if session_id not in held or held[session_id].token in (holding.token, *over):
                    held[session_id], ends[session_id] = holding, bus.now + lifetime
            case Refresh(session_id, token, lifetime):
                if session_id in held and held[session_id].token == token:
                    ends[session_id] = bus.now + lifetime
            case Release(session_id, token):
                if session_id in held and held[session_id].token == token:
                    del held[session_id]
            case _:
                assert isinstance(command, Find)
                session_id = command.session_id
        assert bus(command) == held.get(session_id)
