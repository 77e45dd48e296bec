"""A supervisor's children in their order, without the supervisor."""

import pytest

from protocol.child import ChildEvent, ChildSpec, ChildState
from protocol.errors import IllegalTransition
from protocol.roster import Child, Roster

S, E = ChildState, ChildEvent


def make() -> None:
    """What a spec here starts, which nobody does."""


def roster_of(*names: str) -> Roster[str]:
    roster = Roster[str]()
    for name in names:
        roster.add(ChildSpec(name, make))
    return roster


def known(roster: Roster[str], name: str) -> Child[str]:
    child = roster.get(name)
    assert child is not None
    return child


def move(roster: Roster[str], name: str, *events: ChildEvent) -> None:
    for event in events:
        roster.move(known(roster, name), event)


def next_id(child: Child[str] | None) -> str | None:
    return None if child is None else child.id


def test_children_are_kept_in_the_order_of_their_coming() -> None:
    roster = roster_of("b", "a", "c")
    assert [child.id for child in roster] == ["b", "a", "c"]
    assert [child.id for child in reversed(roster)] == ["c", "a", "b"]
    assert known(roster, "a").spec.id == "a"
    assert roster.get("d") is None


def test_children_are_counted_by_their_state_from_the_first_to_the_last() -> None:
    roster = roster_of("a", "b", "c")
    assert {state: roster.count(state) for state in S if roster.count(state)} == {S.STOPPED: 3}
    move(roster, "a", E.SUMMONED)
    move(roster, "b", E.SUMMONED, E.TURN_CAME)
    move(roster, "c", E.SUMMONED, E.TURN_CAME)
    assert {state: roster.count(state) for state in S if roster.count(state)} == {S.READY: 1, S.STARTING: 2}
    move(roster, "c", E.DELAY_ENDED)
    assert {state: roster.count(state) for state in S if roster.count(state)} == {S.READY: 1, S.STARTING: 2}
    move(roster, "a", E.CALLED_OFF, E.DROPPED)
    assert {state: roster.count(state) for state in S if roster.count(state)} == {S.FORGOTTEN: 1, S.STARTING: 2}
    assert roster.get("a") is None


@pytest.mark.holds("R3")
def test_the_first_of_those_that_are_ready_is_next_whatever_the_order_in_which_they_became_so() -> None:
    roster = roster_of("a", "b", "c")
    assert roster.next_to_start() is None
    for name, first in (("b", "b"), ("c", "b"), ("a", "a")):
        move(roster, name, E.SUMMONED)
        assert next_id(roster.next_to_start()) == first
    move(roster, "b", E.CALLED_OFF)
    assert next_id(roster.next_to_start()) == "a"
    move(roster, "a", E.TURN_CAME)
    assert next_id(roster.next_to_start()) == "c"
    move(roster, "c", E.TURN_CAME)
    assert roster.next_to_start() is None


@pytest.mark.holds("R3")
def test_the_last_of_those_that_are_condemned_is_next_whatever_the_order_in_which_they_became_so() -> None:
    roster = roster_of("a", "b", "c")
    for name in ("a", "b", "c"):
        move(roster, name, E.SUMMONED, E.TURN_CAME, E.STARTED)
    assert roster.next_to_shut_down() is None
    for name, last in (("b", "b"), ("a", "b"), ("c", "c")):
        move(roster, name, E.SENTENCED)
        assert next_id(roster.next_to_shut_down()) == last
    move(roster, "b", E.EXITED)
    assert next_id(roster.next_to_shut_down()) == "c"
    move(roster, "c", E.TURN_CAME)
    assert next_id(roster.next_to_shut_down()) == "a"
    move(roster, "a", E.TURN_CAME)
    assert roster.next_to_shut_down() is None


def test_a_move_without_a_row_is_an_error_that_names_the_child_and_changes_nothing() -> None:
    roster = roster_of("a")
    with pytest.raises(IllegalTransition, match=r"^child 'a', which is STOPPED, cannot be STARTED$"):
        move(roster, "a", E.STARTED)
    assert known(roster, "a").state is S.STOPPED
    assert roster.count(S.STOPPED) == 1
