"""The life of a child, cell by cell. The whole table is written out here a second time, the other way round."""

import math
from typing import Any

import pytest

from protocol.child import TRANSITIONS, ChildEvent, ChildSpec, ChildState
from protocol.errors import IllegalTransition, InvalidSettings
from protocol.restart import Restart
from protocol.settings import LONGEST
from protocol.supervision import SupervisorMachine
from protocol.supervisor_events import (
    Boot,
    Close,
    DelayElapsed,
    Exited,
    Start,
    StartChild,
    Started,
    StartFailed,
    SupervisorEvent,
)

S, E = ChildState, ChildEvent

LIVING = tuple(state for state in S if state is not S.FORGOTTEN)

EXPECTED: dict[ChildEvent, dict[ChildState, ChildState]] = {
    E.SUMMONED: {S.STOPPED: S.READY},
    E.DELAYED: {S.STOPPED: S.WAITING},
    E.DELAY_ENDED: {state: S.READY if state is S.WAITING else state for state in LIVING},
    E.CALLED_OFF: {S.WAITING: S.STOPPED, S.READY: S.STOPPED},
    E.TURN_CAME: {S.READY: S.STARTING, S.CONDEMNED: S.STOPPING},
    E.STARTED: {S.STARTING: S.RUNNING, S.CONDEMNED: S.CONDEMNED, S.STOPPING: S.STOPPING},
    E.START_FAILED: {S.STARTING: S.STOPPED, S.CONDEMNED: S.STOPPED, S.STOPPING: S.STOPPED},
    E.SENTENCED: {S.STARTING: S.CONDEMNED, S.RUNNING: S.CONDEMNED},
    E.EXITED: dict.fromkeys((S.STARTING, S.RUNNING, S.CONDEMNED, S.STOPPING), S.STOPPED),
    E.DROPPED: {S.STOPPED: S.FORGOTTEN},
}


def make() -> None:
    """What a spec here starts, which nobody does."""


@pytest.mark.holds("R3")
@pytest.mark.parametrize("event", ChildEvent)
@pytest.mark.parametrize("state", ChildState)
def test_every_cell_of_the_table_is_as_written(state: ChildState, event: ChildEvent) -> None:
    assert TRANSITIONS[state].get(event) is EXPECTED[event].get(state)


@pytest.mark.holds("R3")
def test_a_child_is_started_only_from_where_nothing_of_it_is_up() -> None:
    started_from = {state for state, row in TRANSITIONS.items() if S.STARTING in row.values()} - {S.STARTING}
    assert started_from == {S.READY}
    into_ready = {state for state, row in TRANSITIONS.items() if S.READY in row.values()} - {S.READY}
    assert into_ready == {S.STOPPED, S.WAITING}


@pytest.mark.holds("R3")
def test_nothing_that_is_up_gets_to_stopped_but_by_its_end() -> None:
    for state in (S.STARTING, S.RUNNING, S.CONDEMNED, S.STOPPING):
        ends = {event for event, after in TRANSITIONS[state].items() if after is S.STOPPED}
        assert ends <= {E.EXITED, E.START_FAILED}
        assert E.EXITED in ends


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (Started("a"), "child 'a', which is RUNNING, cannot be STARTED"),
        (StartFailed("a", RuntimeError()), "child 'a', which is RUNNING, cannot be START_FAILED"),
        (Started("b"), "child 'b', which is STOPPED, cannot be STARTED"),
        (Exited("b"), "child 'b', which is STOPPED, cannot be EXITED"),
        (Boot(), "root/pool, which is UP, cannot be given Boot"),
    ],
)
def test_what_cannot_have_happened_is_an_error_that_names_the_state_and_changes_nothing(
    event: SupervisorEvent[str], told: str
) -> None:
    machine = SupervisorMachine[str]("root/pool", [ChildSpec("a", make), ChildSpec("b", make, restart="transient")])
    for happened in (Boot(), Started("a"), Started("b"), Exited("b")):
        machine.handle(happened, now=0.0, draw=0.0)
    before = machine.children()
    with pytest.raises(IllegalTransition, match=told):
        machine.handle(event, now=0.0, draw=0.0)
    assert machine.children() == before


@pytest.mark.parametrize("event", [Started("a"), DelayElapsed("a"), StartChild("ada", ChildSpec("b", make))])
def test_nothing_but_boot_and_close_comes_first(event: SupervisorEvent[str]) -> None:
    machine = SupervisorMachine[str]("root", [ChildSpec("a", make)])
    with pytest.raises(IllegalTransition, match="root, which is NEW, cannot be given"):
        machine.handle(event, now=0.0, draw=0.0)
    assert machine.handle(Boot(), now=0.0, draw=0.0) == [Start("a")]


def test_a_closed_supervisor_cannot_be_booted() -> None:
    machine = SupervisorMachine[str]("root")
    machine.handle(Close(), now=0.0, draw=0.0)
    with pytest.raises(IllegalTransition, match="root, which is CLOSED, cannot be given Boot"):
        machine.handle(Boot(), now=0.0, draw=0.0)


def test_a_spec_takes_a_text_for_its_restart_type_and_any_patience_for_its_shutdown() -> None:
    assert ChildSpec("a", make).restart is Restart.PERMANENT
    assert ChildSpec("a", make, restart="temporary").restart is Restart.TEMPORARY
    assert ChildSpec("a", make).shutdown is None
    for seconds in (0, 2.5, LONGEST, math.inf):
        assert ChildSpec("a", make, shutdown=seconds).shutdown == seconds


@pytest.mark.parametrize("name", ["", "a/b", "/", None, 5, b"a"])
def test_an_id_that_is_no_name_is_refused(name: Any) -> None:
    with pytest.raises(
        InvalidSettings, match=r"child id .* cannot be used: give a text that is not empty, without '/'"
    ):
        ChildSpec(name, make)


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("start", None, "start must be a callable that makes a new one each time, not NoneType"),
        ("start", "make", "start must be a callable that makes a new one each time, not str"),
        ("restart", "always", "restart 'always' is unknown: use one of permanent, transient, temporary"),
        *(
            ("shutdown", value, "shutdown must be a number of seconds from 0 to 1e\\+09, math.inf or None, not")
            for value in (-1, 2 * LONGEST, math.nan, True, "5", 10**400, -math.inf)
        ),
    ],
)
def test_a_spec_that_cannot_be_is_refused_by_the_name_of_the_child_and_the_value(
    setting: str, value: Any, told: str
) -> None:
    given: dict[str, Any] = {"start": make, setting: value}
    with pytest.raises(InvalidSettings, match=f"child 'ada': {told}"):
        ChildSpec("ada", **given)


def test_two_children_of_one_id_are_refused_as_is_what_is_no_spec() -> None:
    with pytest.raises(InvalidSettings, match="root has two children 'a': give each an id of its own"):
        SupervisorMachine[str]("root", [ChildSpec("a", make), ChildSpec("a", make)])
    with pytest.raises(InvalidSettings, match="children of root must be ChildSpecs, not function"):
        SupervisorMachine[str]("root", [make])  # type: ignore[list-item]
