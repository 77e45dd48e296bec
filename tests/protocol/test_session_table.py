"""The life of a session, cell by cell. The whole table is written out here a second time, the other way round."""

import pytest

from protocol.errors import IllegalTransition
from protocol.places import LENDABLE
from protocol.pool import PoolMachine
from protocol.pool_messages import Acquire, PermitGranted, SessionChecked, SessionOpened
from protocol.session import TRANSITIONS, SessionEvent, SessionState, illegal
from protocol.settings import PoolSettings

S, E = SessionState, SessionEvent

OPEN: tuple[SessionState, ...] = (S.IDLE, S.LEASED, S.CHECKING)
HELD: tuple[SessionState, ...] = (S.LEASED, S.RETIRING)
ALIVE: tuple[SessionState, ...] = (S.CONNECTING, *OPEN, S.RETIRING, S.CLOSING)

EXPECTED: dict[SessionEvent, dict[SessionState, SessionState]] = {
    E.OPENED: {S.CONNECTING: S.IDLE, S.CLOSING: S.CLOSING},
    E.LENT: dict.fromkeys(OPEN, S.LEASED),
    E.RETURNED: {S.LEASED: S.IDLE, S.RETIRING: S.CLOSING, S.CLOSING: S.CLOSING},
    E.PROBED: {S.IDLE: S.CHECKING},
    E.PASSED: {
        S.IDLE: S.IDLE,
        S.LEASED: S.LEASED,
        S.CHECKING: S.IDLE,
        S.RETIRING: S.RETIRING,
        S.CLOSING: S.CLOSING,
    },
    E.FAILED: {
        S.IDLE: S.CLOSING,
        S.LEASED: S.RETIRING,
        S.CHECKING: S.CLOSING,
        S.RETIRING: S.RETIRING,
        S.CLOSING: S.CLOSING,
    },
    E.BROKE: {state: S.RETIRING if state in HELD else S.CLOSING for state in ALIVE},
    E.RETIRED: {state: S.RETIRING if state in HELD else S.CLOSING for state in ALIVE},
    E.DISMISSED: dict.fromkeys(ALIVE, S.CLOSING),
    E.GONE: dict.fromkeys(ALIVE, S.ENDED),
}


def reachable(start: set[SessionState]) -> set[SessionState]:
    found = set(start)
    while more := {after for state in found for after in TRANSITIONS[state].values()} - found:
        found |= more
    return found


@pytest.mark.parametrize("event", SessionEvent)
@pytest.mark.parametrize("state", SessionState)
def test_every_cell_of_the_table_is_as_written(state: SessionState, event: SessionEvent) -> None:
    assert TRANSITIONS[state].get(event) is EXPECTED[event].get(state)


def test_a_missing_row_is_an_error_that_names_the_state_and_the_event() -> None:
    assert str(illegal(S.LEASED, E.OPENED)) == "a session that is LEASED cannot be OPENED"
    machine = PoolMachine[str]("test", PoolSettings(max_size=1))
    machine.handle(Acquire("ada"), now=0.0)
    machine.handle(PermitGranted(), now=0.0)
    with pytest.raises(IllegalTransition, match="a session that is CONNECTING cannot be PASSED"):
        machine.handle(SessionChecked(1, is_healthy=True), now=0.0)
    machine.handle(SessionOpened(1), now=0.0)
    with pytest.raises(IllegalTransition, match="a session that is LEASED cannot be OPENED"):
        machine.handle(SessionOpened(1), now=0.0)


@pytest.mark.holds("L1", "S2", "S8")
def test_a_session_is_lent_only_while_it_is_open_and_sound() -> None:
    lendable = {state for state, row in TRANSITIONS.items() if E.LENT in row}
    assert lendable == set(LENDABLE) == set(OPEN)


@pytest.mark.holds("S2", "S8")
@pytest.mark.parametrize("event", [E.BROKE, E.FAILED, E.RETIRED, E.DISMISSED])
def test_nothing_leads_back_from_broken_unhealthy_or_retired(event: SessionEvent) -> None:
    after = {row[event] for row in TRANSITIONS.values() if event in row}
    assert reachable(after) == after | {S.CLOSING, S.ENDED}
    assert not reachable(after) & set(LENDABLE)


@pytest.mark.holds("S2")
def test_a_check_that_passes_brings_nothing_back_that_was_to_end() -> None:
    for state in (S.RETIRING, S.CLOSING):
        assert TRANSITIONS[state][E.PASSED] is state


@pytest.mark.holds("L5")
def test_every_state_leads_to_the_end_and_nothing_leads_on_from_it() -> None:
    for state in ALIVE:
        assert TRANSITIONS[state][E.GONE] is S.ENDED
        assert [event for event, after in TRANSITIONS[state].items() if after is S.ENDED] == [E.GONE]
    assert TRANSITIONS[S.ENDED] == {}


def test_whatever_crosses_a_session_on_its_way_out_changes_nothing() -> None:
    row = TRANSITIONS[S.CLOSING]
    assert set(row) == set(E) - {E.LENT, E.PROBED}
    assert {after for event, after in row.items() if event is not E.GONE} == {S.CLOSING}
