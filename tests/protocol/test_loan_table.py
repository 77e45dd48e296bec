"""The life of a loan, cell by cell. The whole table is written out here a second time, the other way round."""

import pytest

from protocol.loan import LOAN_TRANSITIONS, Loan, LoanEvent, LoanState

S, E = LoanState, LoanEvent

EXPECTED: dict[LoanEvent, dict[LoanState, LoanState]] = {
    E.RETURNED: {S.HELD: S.OVER, S.SETTLING: S.SETTLING, S.OVER: S.OVER},
    E.LEFT_BUSY: {S.HELD: S.SETTLING, S.SETTLING: S.SETTLING, S.OVER: S.OVER},
    E.CALLS_ENDED: {S.HELD: S.HELD, S.SETTLING: S.OVER, S.OVER: S.OVER},
    E.OVERDUE: {S.HELD: S.HELD, S.SETTLING: S.OVER, S.OVER: S.OVER},
    E.ABANDONED: {S.HELD: S.OVER, S.SETTLING: S.SETTLING, S.OVER: S.OVER},
    E.LOST: dict.fromkeys(S, S.OVER),
}


@pytest.mark.parametrize("event", LoanEvent)
@pytest.mark.parametrize("state", LoanState)
def test_every_cell_of_the_table_is_as_written(state: LoanState, event: LoanEvent) -> None:
    assert LOAN_TRANSITIONS[state][event] is EXPECTED[event][state]


@pytest.mark.holds("L4")
def test_nothing_leads_back_to_a_lease_that_was_given_up() -> None:
    order = [S.HELD, S.SETTLING, S.OVER]
    for before, row in LOAN_TRANSITIONS.items():
        assert all(order.index(after) >= order.index(before) for after in row.values())


@pytest.mark.holds("L4")
def test_releasing_a_lease_twice_does_not_cut_short_the_calls_that_are_waited_for() -> None:
    row = LOAN_TRANSITIONS[S.SETTLING]
    assert {event for event, after in row.items() if after is S.OVER} == {E.CALLS_ENDED, E.OVERDUE, E.LOST}


def test_a_loan_begins_as_somebodys_and_is_told_from_all_others_by_being_the_same() -> None:
    one, other = Loan(None, 1, 1.0), Loan(None, 1, 1.0)
    assert one.state is S.HELD
    assert one.warned is False
    assert one.note is None
    assert one != other
    assert repr(one) == "<Loan, held>"
