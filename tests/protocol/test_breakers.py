"""The breakers of a pool: which one an outcome counts for, what is kept, and what is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.breaker import BreakerState
from protocol.breakers import Attempt, BreakerMoved, Breakers
from protocol.errors import BreakerOpen

S = BreakerState
ADA, BOB = "ada0ada0ada0", "b0bb0bb0bb0b"
SERVER, OTHER = "http://server/mcp", "http://other/mcp"


def made(threshold: int = 1, most: int = 10) -> Breakers[str]:
    return Breakers[str](threshold=threshold, backoff=1.0, ceiling=8.0, most=most)


def begin(breakers: Breakers[str], identity: str = ADA, endpoint: str = SERVER, now: float = 0.0) -> Attempt[str]:
    attempt, _ = breakers.ask(endpoint, identity, now=now)
    assert isinstance(attempt, Attempt)
    return attempt


def refusal(breakers: Breakers[str], identity: str = ADA, endpoint: str = SERVER, now: float = 0.0) -> BreakerOpen:
    refused, moves = breakers.ask(endpoint, identity, now=now)
    assert isinstance(refused, BreakerOpen)
    assert moves == []
    return refused


@pytest.mark.holds("B1", "B2")
def test_an_endpoint_that_fails_is_refused_to_everybody_and_another_to_nobody() -> None:
    breakers = made(threshold=2)
    assert breakers.failed(begin(breakers), now=0.0, jitter=0.0) == []
    moved = BreakerMoved(SERVER, S.CLOSED, S.OPEN)
    assert breakers.failed(begin(breakers), now=0.0, jitter=0.0) == [moved]
    refused = refusal(breakers, BOB, now=0.25)
    assert str(refused) == (
        "http://server/mcp has failed 2 times in a row, so it is not asked for now: "
        "see to the server, or try again in 0.75 seconds"
    )
    assert refused.retry_after == 0.75
    assert breakers.states() == {SERVER: S.OPEN}
    begin(breakers, endpoint=OTHER)


@pytest.mark.holds("B1")
def test_a_refused_credential_is_refused_to_its_holder_alone() -> None:
    breakers = made()
    moves = breakers.refused_credential(begin(breakers), now=0.0, jitter=0.0, retry_after=5.0)
    assert moves == [BreakerMoved(f"{SERVER}, identity ada0ada0", S.CLOSED, S.OPEN)]
    refused = refusal(breakers)
    assert str(refused) == (
        "http://server/mcp, identity ada0ada0: the credential was refused once, so it is not asked for now: "
        "bring another one, or try again in 5 seconds"
    )
    assert ADA not in str(refused)
    begin(breakers, BOB)
    begin(breakers, endpoint=OTHER)


@pytest.mark.holds("B1")
def test_a_credential_that_goes_by_its_user_is_shown_with_the_users_name_in_full() -> None:
    breakers = made()
    moves = breakers.refused_credential(begin(breakers, "user 'lovelace'"), now=0.0, jitter=0.0)
    assert moves == [BreakerMoved(f"{SERVER}, user 'lovelace'", S.CLOSED, S.OPEN)]


@pytest.mark.holds("B1")
def test_a_server_that_refuses_a_credential_has_answered() -> None:
    breakers = made(threshold=2)
    breakers.failed(begin(breakers), now=0.0, jitter=0.0)
    breakers.refused_credential(begin(breakers), now=0.0, jitter=0.0)
    assert breakers.failed(begin(breakers), now=0.0, jitter=0.0) == []


@pytest.mark.holds("B2")
def test_one_attempt_probes_both_and_its_outcome_decides_on_each() -> None:
    breakers = made()
    breakers.refused_credential(begin(breakers), now=0.0, jitter=0.0)
    breakers.failed(begin(breakers, BOB), now=0.0, jitter=0.0)
    attempt, moves = breakers.ask(SERVER, ADA, now=1.0)
    assert isinstance(attempt, Attempt)
    assert [(move.before, move.after) for move in moves] == [(S.OPEN, S.HALF_OPEN)] * 2
    refused = refusal(breakers, BOB, now=1.0)
    assert str(refused).endswith("see to the server, or wait for the one attempt that is under way now")
    assert refused.retry_after == 1.0
    assert breakers.opened(attempt) == [
        BreakerMoved(SERVER, S.HALF_OPEN, S.CLOSED),
        BreakerMoved(f"{SERVER}, identity ada0ada0", S.HALF_OPEN, S.CLOSED),
    ]
    assert len(breakers) == 0


@pytest.mark.holds("B2")
def test_an_endpoint_that_is_down_says_nothing_of_the_credential_that_was_probed() -> None:
    breakers = made()
    breakers.refused_credential(begin(breakers), now=0.0, jitter=0.0)
    attempt = begin(breakers, now=1.0)
    moves = breakers.failed(attempt, now=1.0, jitter=0.0)
    assert BreakerMoved(f"{SERVER}, identity ada0ada0", S.HALF_OPEN, S.OPEN) in moves
    probe = begin(breakers, now=2.0)
    assert probe.endpoint_probe is not None
    assert probe.credential_probe is not None


@pytest.mark.holds("B2")
def test_a_credential_that_is_refused_does_not_use_up_the_endpoints_probe() -> None:
    breakers = made()
    breakers.refused_credential(begin(breakers), now=0.0, jitter=0.0, retry_after=50.0)
    breakers.failed(begin(breakers, BOB), now=0.0, jitter=0.0)
    refusal(breakers, ADA, now=1.0)
    assert begin(breakers, BOB, now=1.0).endpoint_probe is not None


@pytest.mark.holds("B2")
def test_a_probe_that_is_abandoned_frees_both() -> None:
    breakers = made()
    breakers.refused_credential(begin(breakers), now=0.0, jitter=0.0)
    breakers.failed(begin(breakers, BOB), now=0.0, jitter=0.0)
    assert len(breakers.abandoned(begin(breakers, now=1.0))) == 2
    assert breakers.abandoned(begin(breakers, BOB, OTHER)) == []
    begin(breakers, now=1.0)


@pytest.mark.holds("B1")
def test_many_sessions_that_break_at_once_are_one_failure() -> None:
    breakers = made(threshold=2)
    for opened_at in range(10):
        assert breakers.broke(SERVER, since=float(opened_at), now=20.0, jitter=0.0) == []
    assert breakers.broke(SERVER, since=21.0, now=22.0, jitter=0.0) == [BreakerMoved(SERVER, S.CLOSED, S.OPEN)]


def test_resetting_one_endpoint_closes_its_credentials_too_and_resetting_all_closes_all() -> None:
    breakers = made()
    for endpoint in (SERVER, OTHER):
        breakers.refused_credential(begin(breakers, "", endpoint), now=0.0, jitter=0.0)
        breakers.failed(begin(breakers, BOB, endpoint), now=0.0, jitter=0.0)
    assert breakers.states() == dict.fromkeys((SERVER, OTHER, f"{SERVER}, anonymous", f"{OTHER}, anonymous"), S.OPEN)
    assert {move.name for move in breakers.reset(SERVER)} == {SERVER, f"{SERVER}, anonymous"}
    begin(breakers, "")
    refusal(breakers, "", OTHER)
    assert {move.name for move in breakers.reset()} == {OTHER, f"{OTHER}, anonymous"}
    assert breakers.states() == {}


def test_no_more_are_kept_than_was_said_and_closed_ones_go_first() -> None:
    breakers = made(threshold=2, most=3)
    for _ in range(2):
        breakers.refused_credential(begin(breakers, "open"), now=0.0, jitter=0.0)
    for identity in ("one", "two", "three"):
        breakers.refused_credential(begin(breakers, identity), now=0.0, jitter=0.0)
    assert breakers.states() == {
        f"{SERVER}, identity open": S.OPEN,
        f"{SERVER}, identity two": S.CLOSED,
        f"{SERVER}, identity three": S.CLOSED,
    }
    for identity in ("two", "three", "four", "four"):
        breakers.refused_credential(begin(breakers, identity), now=0.0, jitter=0.0)
    assert breakers.states() == {f"{SERVER}, identity {name}": S.OPEN for name in ("two", "three", "four")}


@pytest.mark.holds("B2")
def test_an_endpoints_probe_that_fails_opens_it_again_for_longer() -> None:
    breakers = made()
    assert breakers.failed(begin(breakers), now=0.0, jitter=0.0) == [BreakerMoved(SERVER, S.CLOSED, S.OPEN)]
    assert refusal(breakers, now=0.5).retry_after == 0.5
    attempt, moves = breakers.ask(SERVER, ADA, now=1.0)
    assert attempt == Attempt(SERVER, ADA, endpoint_probe=1)
    assert moves == [BreakerMoved(SERVER, S.OPEN, S.HALF_OPEN)]
    assert isinstance(attempt, Attempt)
    assert breakers.failed(attempt, now=1.0, jitter=0.0) == [BreakerMoved(SERVER, S.HALF_OPEN, S.OPEN)]
    assert refusal(breakers, now=1.0).retry_after == 2.0


@pytest.mark.holds("B2")
def test_a_credentials_probe_that_is_refused_opens_it_again_for_longer_and_the_endpoint_is_well() -> None:
    breakers = made()
    name = f"{SERVER}, identity ada0ada0"
    breakers.refused_credential(begin(breakers), now=0.0, jitter=0.0)
    attempt, moves = breakers.ask(SERVER, ADA, now=1.0)
    assert attempt == Attempt(SERVER, ADA, credential_probe=1)
    assert moves == [BreakerMoved(name, S.OPEN, S.HALF_OPEN)]
    breakers.failed(begin(breakers, BOB), now=0.0, jitter=0.0)
    assert isinstance(attempt, Attempt)
    assert breakers.refused_credential(attempt, now=1.0, jitter=0.0) == [
        BreakerMoved(SERVER, S.OPEN, S.CLOSED),
        BreakerMoved(name, S.HALF_OPEN, S.OPEN),
    ]
    assert refusal(breakers, now=1.0).retry_after == 2.0


@pytest.mark.holds("B2")
def test_a_server_that_says_when_it_is_well_again_is_left_alone_until_then() -> None:
    breakers = made()
    breakers.failed(begin(breakers), now=0.0, jitter=0.0, retry_after=30.0)
    assert refusal(breakers, now=10.0).retry_after == 20.0


def test_where_all_are_open_the_one_that_has_been_so_the_longest_goes() -> None:
    breakers = made(most=2)
    for identity in ("one", "two", "three"):
        breakers.refused_credential(begin(breakers, identity), now=0.0, jitter=0.0)
    assert breakers.states() == {f"{SERVER}, identity {name}": S.OPEN for name in ("two", "three")}


def test_every_breaker_that_is_not_as_good_as_new_is_there_to_be_read_with_its_kind_and_name() -> None:
    breakers = made(threshold=2)
    for identity in (ADA, "", BOB):
        breakers.refused_credential(begin(breakers, identity), now=0.0, jitter=0.0)
    breakers.failed(begin(breakers, endpoint=OTHER), now=0.0, jitter=0.0)
    breakers.opened(begin(breakers, BOB))
    assert len(breakers) == 3
    assert [(kind, name, breaker.failures) for kind, name, breaker in breakers.all()] == [
        ("endpoint", OTHER, 1),
        ("credential", f"{SERVER}, identity ada0ada0", 1),
        ("credential", f"{SERVER}, anonymous", 1),
    ]
    assert dict.fromkeys(breakers.states()) == {name: None for _, name, _ in breakers.all()}


def test_of_two_credentials_of_one_name_the_worse_is_shown() -> None:
    breakers = made(threshold=2)
    for identity in (ADA, ADA + "another", ADA + "another"):
        breakers.refused_credential(begin(breakers, identity), now=0.0, jitter=0.0)
    assert len(breakers) == 2
    assert breakers.states() == {f"{SERVER}, identity ada0ada0": S.OPEN}


def end(breakers: Breakers[str], what: str, attempt: Attempt[str], now: float) -> list[BreakerMoved]:
    match what:
        case "opened":
            return breakers.opened(attempt)
        case "failed":
            return breakers.failed(attempt, now=now, jitter=0.5)
        case "refused":
            return breakers.refused_credential(attempt, now=now, jitter=0.5)
        case _:
            return breakers.abandoned(attempt)


@pytest.mark.holds("B1", "B2")
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ask", "opened", "failed", "refused", "abandoned", "broke", "reset"]),
            st.sampled_from([ADA, BOB]),
            st.sampled_from([SERVER, OTHER]),
            st.floats(0, 3),
        ),
        max_size=60,
    )
)
def test_states_follow_the_moves_that_were_told_and_one_probe_at_most_is_under_way(
    steps: list[tuple[str, str, str, float]],
) -> None:
    breakers = made(threshold=2)
    now = 0.0
    told: dict[str, BreakerState] = {}
    under_way: list[Attempt[str]] = []
    for what, identity, endpoint, seconds in steps:
        now += seconds
        if what == "ask":
            attempt, moves = breakers.ask(endpoint, identity, now=now)
            if isinstance(attempt, BreakerOpen):
                worst = [breakers.states().get(name) for name in (endpoint, f"{endpoint}, identity {identity[:8]}")]
                assert S.OPEN in worst or S.HALF_OPEN in worst
                assert attempt.retry_after is not None
                assert attempt.retry_after > 0
            else:
                under_way.append(attempt)
        elif what == "broke":
            moves = breakers.broke(endpoint, since=now - 1, now=now, jitter=0.5)
        elif what == "reset":
            moves = breakers.reset(endpoint)
        elif not under_way:
            continue
        else:
            attempt = under_way.pop(0)
            moves = end(breakers, what, attempt, now)
        for move in moves:
            assert told.get(move.name, S.CLOSED) is move.before
            assert move.after is not move.before
            told[move.name] = move.after
        known = breakers.states()
        assert {name: state for name, state in known.items() if state is not S.CLOSED} == {
            name: state for name, state in told.items() if state is not S.CLOSED
        }
        for name in (SERVER, OTHER):
            probing = [a for a in under_way if a.endpoint == name and a.endpoint_probe is not None]
            assert known.get(name) is not S.HALF_OPEN or probing
