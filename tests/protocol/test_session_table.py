"""The life of a session, cell by cell. The whole table is written out here a second time, the other way round."""

import pytest

from protocol.errors import IllegalTransition
from protocol.pool import Acquire, PoolMachine, SessionOpened
from protocol.session import TRANSITIONS, SessionEvent, SessionState

S, E = SessionState, SessionEvent

EXPECTED: dict[SessionEvent, dict[SessionState, SessionState]] = {
    E.OPENED: {S.CONNECTING: S.IDLE, S.CLOSING: S.CLOSING},
    E.LENT: {S.IDLE: S.LEASED},
    E.RETURNED: {S.LEASED: S.IDLE, S.SETTLING: S.IDLE, S.RETIRING: S.CLOSING, S.CLOSING: S.CLOSING},
    E.LEFT_BUSY: {S.LEASED: S.SETTLING, S.RETIRING: S.RETIRING, S.CLOSING: S.CLOSING},
    E.OVERDUE: {S.SETTLING: S.CLOSING, S.RETIRING: S.CLOSING, S.CLOSING: S.CLOSING},
    E.BROKE: {
        S.CONNECTING: S.CLOSING,
        S.IDLE: S.CLOSING,
        S.LEASED: S.RETIRING,
        S.SETTLING: S.RETIRING,
        S.RETIRING: S.RETIRING,
        S.CLOSING: S.CLOSING,
    },
    E.DISMISSED: dict.fromkeys((S.CONNECTING, S.IDLE, S.LEASED, S.SETTLING, S.RETIRING, S.CLOSING), S.CLOSING),
    E.GONE: dict.fromkeys((S.CONNECTING, S.IDLE, S.LEASED, S.SETTLING, S.RETIRING, S.CLOSING), S.ENDED),
}


@pytest.mark.parametrize("event", SessionEvent)
@pytest.mark.parametrize("state", SessionState)
def test_every_cell_of_the_table_is_as_written(state: SessionState, event: SessionEvent) -> None:
    assert TRANSITIONS[state].get(event) is EXPECTED[event].get(state)


def test_a_missing_row_is_an_error_that_names_the_state_and_the_event() -> None:
    machine = PoolMachine[str]("test", max_size=1, max_waiting=1)
    machine.handle(Acquire("ada"), now=0.0)
    machine.handle(SessionOpened(1), now=0.0)
    with pytest.raises(IllegalTransition, match="a session that is LEASED cannot be OPENED"):
        machine.handle(SessionOpened(1), now=0.0)


@pytest.mark.holds("L1", "S2")
def test_a_session_is_lent_only_from_idle_and_a_broken_one_never_gets_back_there() -> None:
    lendable = {state for state, row in TRANSITIONS.items() if SessionEvent.LENT in row}
    assert lendable == {SessionState.IDLE}
    after_breaking = {row[SessionEvent.BROKE] for row in TRANSITIONS.values() if SessionEvent.BROKE in row}
    reachable = set(after_breaking)
    while more := {after for state in reachable for after in TRANSITIONS[state].values()} - reachable:
        reachable |= more
    assert SessionState.IDLE not in reachable


def test_every_state_leads_to_the_end_and_nothing_leads_on_from_it() -> None:
    for state in SessionState:
        assert state is SessionState.ENDED or TRANSITIONS[state][SessionEvent.GONE] is SessionState.ENDED
    assert TRANSITIONS[SessionState.ENDED] == {}
