"""The supervisor machine, rule by rule."""

import sys
from types import FrameType
from typing import Any

import pytest

from protocol import errors
from protocol.child import ChildSpec, ChildState
from protocol.restart import Backoff, RestartText, StrategyText
from protocol.supervision import Phase, SupervisorMachine
from protocol.supervisor_events import (
    Answer,
    Boot,
    Close,
    DelayElapsed,
    DeleteChild,
    Exited,
    Finish,
    Refuse,
    RestartChild,
    ShutDown,
    Start,
    StartChild,
    Started,
    StartFailed,
    SupervisorEffect,
    SupervisorEvent,
    TerminateChild,
    Wait,
)

S = ChildState
CRASH = RuntimeError("Bearer s3cret")
SLOWLY = Backoff(first=1, factor=2, ceiling=60, jitter=0)


def make() -> None:
    """What a spec here starts, which nobody does."""


def spec(name: str, restart: RestartText = "permanent", shutdown: float | None = None) -> ChildSpec[None]:
    return ChildSpec(name, make, restart=restart, shutdown=shutdown)


class Driven:
    """A machine with a clock that stands still, booted."""

    def __init__(
        self,
        *children: ChildSpec[None] | str,
        strategy: StrategyText = "one_for_one",
        intensity: int = 9,
        backoff: Backoff | None = None,
    ) -> None:
        specs = [child if isinstance(child, ChildSpec) else spec(child) for child in children]
        self.machine = SupervisorMachine[str](
            "root/pool", specs, strategy=strategy, intensity=intensity, backoff=backoff
        )
        orders = self(Boot())
        for known in specs:
            assert orders == [Start(known.id)]
            orders = self(Started(known.id))
        assert orders == []
        assert self.machine.phase is Phase.UP

    def __call__(self, event: SupervisorEvent[str]) -> list[SupervisorEffect[str]]:
        return self.machine.handle(event, now=0.0, draw=0.0)

    def refused(self, event: SupervisorEvent[str]) -> Exception:
        (refused,) = self(event)
        assert isinstance(refused, Refuse)
        return refused.error

    def states(self) -> dict[str, ChildState]:
        return {status.id: status.state for status in self.machine.children()}


@pytest.mark.holds("R3")
def test_children_are_booted_in_order_each_when_the_one_before_it_is_up() -> None:
    machine = SupervisorMachine[str]("root", [spec("a"), spec("b")])
    assert machine.handle(Boot(), now=0.0, draw=0.0) == [Start("a")]
    assert machine.phase is Phase.BOOTING
    assert machine.handle(Started("a"), now=0.0, draw=0.0) == [Start("b")]
    assert machine.handle(Started("b"), now=0.0, draw=0.0) == []
    assert machine.phase is Phase.UP


@pytest.mark.holds("R3")
def test_a_child_that_ends_before_its_start_was_complete_ends_the_boot_and_the_error_names_it() -> None:
    machine = SupervisorMachine[str]("root", [spec("a"), spec("b")])
    for event in (Boot(), Started("a")):
        machine.handle(event, now=0.0, draw=0.0)
    assert machine.handle(Exited("b", CRASH), now=0.0, draw=0.0) == [ShutDown("a", None)]
    (finish,) = machine.handle(Exited("a"), now=0.0, draw=0.0)
    assert isinstance(finish, Finish)
    assert isinstance(finish.error, errors.StartFailed)
    assert str(finish.error) == "child 'b' of root ended before its start was complete"
    assert finish.error.__cause__ is CRASH


@pytest.mark.holds("R3")
def test_a_child_that_crashes_during_boot_is_restarted_in_its_turn_and_the_boot_goes_on() -> None:
    machine = SupervisorMachine[str]("root", [spec("a"), spec("b"), spec("c")])
    for event in (Boot(), Started("a")):
        machine.handle(event, now=0.0, draw=0.0)
    assert machine.handle(Exited("a", CRASH), now=0.0, draw=0.0) == []
    assert machine.handle(Started("b"), now=0.0, draw=0.0) == [Start("a")]
    assert machine.handle(Started("a"), now=0.0, draw=0.0) == [Start("c")]
    assert machine.handle(Started("c"), now=0.0, draw=0.0) == []
    assert (machine.phase, machine.restarts) == (Phase.UP, 1)


@pytest.mark.holds("R3")
def test_giving_up_tells_the_supervisor_the_child_the_limit_and_what_to_do_but_not_the_text_of_the_failure() -> None:
    supervisor = Driven("a", "b", intensity=0)
    assert supervisor(Exited("a", CRASH)) == [ShutDown("b", None)]
    (finish,) = supervisor(Exited("b", CRASH))
    assert isinstance(finish, Finish)
    assert isinstance(finish.error, errors.RestartIntensityReached)
    assert finish.error.__cause__ is CRASH
    assert str(finish.error) == (
        "root/pool gave up: its child 'a' failed with RuntimeError, and a restart would be more than "
        "intensity=0 allows within period=5 seconds: mend what ends the child, allow more restarts, or set a backoff"
    )


@pytest.mark.holds("R3")
def test_a_permanent_child_that_ends_normally_once_too_often_has_no_failure_to_point_to() -> None:
    (finish,) = Driven("a", intensity=0)(Exited("a"))
    assert isinstance(finish, Finish)
    assert finish.error is not None
    assert finish.error.__cause__ is None
    assert "its child 'a' ended, and" in str(finish.error)


@pytest.mark.holds("R3")
def test_a_start_that_fails_in_a_restart_counts_as_another_end_even_of_a_transient_child_that_says_it_is_fine() -> None:
    supervisor = Driven(spec("a", "transient"), intensity=2)
    assert supervisor(Exited("a", CRASH)) == [Start("a")]
    assert supervisor(Exited("a")) == [Start("a")]
    (finish,) = supervisor(Exited("a"))
    assert isinstance(finish, Finish)
    assert finish.error is not None
    assert isinstance(finish.error.__cause__, errors.StartFailed)


@pytest.mark.holds("R3")
def test_a_child_that_crashes_before_its_start_was_complete_gives_the_cause_of_the_end_itself() -> None:
    supervisor = Driven("a", intensity=1)
    assert supervisor(Exited("a")) == [Start("a")]
    (finish,) = supervisor(Exited("a", CRASH))
    assert isinstance(finish, Finish)
    assert finish.error is not None
    assert finish.error.__cause__ is CRASH
    assert "its child 'a' failed with RuntimeError, and" in str(finish.error)


@pytest.mark.holds("R3")
def test_one_restart_in_five_seconds_is_allowed_unless_something_else_is_said() -> None:
    machine = SupervisorMachine[str]("root", [spec("a")])
    for event in (Boot(), Started("a")):
        machine.handle(event, now=0.0, draw=0.0)
    for now in (10.0, 15.5):
        assert machine.handle(Exited("a", CRASH), now=now, draw=0.0) == [Start("a")]
        assert machine.handle(Started("a"), now=now, draw=0.0) == []
    (finish,) = machine.handle(Exited("a", CRASH), now=20.5, draw=0.0)
    assert isinstance(finish, Finish)
    assert "intensity=1 allows within period=5 seconds" in str(finish.error)


@pytest.mark.holds("R3")
def test_a_temporary_child_that_goes_down_in_one_group_restart_is_not_brought_back_by_the_next() -> None:
    supervisor = Driven("a", "b", spec("c", "temporary"), strategy="rest_for_one")
    assert supervisor(Exited("b", CRASH)) == [ShutDown("c", None)]
    assert supervisor(Exited("a", CRASH)) == []
    assert supervisor(Exited("c")) == [Start("a")]
    assert supervisor(Started("a")) == [Start("b")]
    assert supervisor(Started("b")) == []
    assert supervisor.states() == {"a": S.RUNNING, "b": S.RUNNING}


@pytest.mark.holds("R3")
def test_a_backoff_holds_up_nobody_else_under_one_for_one() -> None:
    supervisor = Driven("a", "b", backoff=SLOWLY)
    assert supervisor(Exited("a", CRASH)) == [Wait("a", 1)]
    assert supervisor(Exited("b", CRASH)) == [Wait("b", 2)]
    assert supervisor(StartChild("ada", spec("c"))) == [Start("c")]
    assert supervisor(DelayElapsed("b")) == [Start("b")]
    assert supervisor(DelayElapsed("b")) == []
    assert supervisor(DelayElapsed("a")) == [Start("a")]


@pytest.mark.holds("R3")
def test_a_backoff_holds_up_the_whole_group_which_goes_down_meanwhile() -> None:
    supervisor = Driven("a", "b", "c", strategy="one_for_all", backoff=SLOWLY)
    assert supervisor(Exited("b", CRASH)) == [Wait("b", 1), ShutDown("c", None)]
    assert supervisor(Exited("c")) == [ShutDown("a", None)]
    assert supervisor(Exited("a")) == []
    assert supervisor(DelayElapsed("b")) == [Start("a")]
    assert supervisor(Started("a")) == [Start("b")]
    assert supervisor(Started("b")) == [Start("c")]


@pytest.mark.holds("R3")
def test_a_delay_that_is_over_before_the_group_is_down_starts_nobody_yet() -> None:
    supervisor = Driven("a", "b", strategy="one_for_all", backoff=SLOWLY)
    assert supervisor(Exited("a", CRASH)) == [Wait("a", 1), ShutDown("b", None)]
    assert supervisor(DelayElapsed("a")) == []
    assert supervisor(Exited("b", CRASH)) == [Start("a")]


@pytest.mark.holds("R3")
def test_a_child_that_fails_while_its_group_is_restarted_joins_in_and_counts() -> None:
    supervisor = Driven("a", "b", "c", strategy="rest_for_one")
    assert supervisor(Exited("b", CRASH)) == [ShutDown("c", None)]
    assert supervisor(Exited("a", CRASH)) == []
    assert supervisor(Exited("c")) == [Start("a")]
    assert supervisor(Started("a")) == [Start("b")]
    assert supervisor(Exited("a", CRASH)) == [ShutDown("b", None)]
    assert supervisor(Started("b")) == []
    assert supervisor(Exited("b", CRASH)) == [Start("a")]
    assert supervisor(Started("a")) == [Start("b")]
    assert supervisor(Started("b")) == [Start("c")]
    assert supervisor(Started("c")) == []
    assert [(status.id, status.restarts) for status in supervisor.machine.children()] == [("a", 2), ("b", 1), ("c", 0)]
    assert supervisor.machine.restarts == 3


@pytest.mark.holds("R3")
def test_a_new_child_is_started_last_and_its_ticket_answered_when_it_is_up() -> None:
    supervisor = Driven("a")
    assert supervisor(StartChild("ada", spec("b"))) == [Start("b")]
    assert supervisor(Started("b")) == [Answer("ada", "b")]
    assert supervisor.states() == {"a": S.RUNNING, "b": S.RUNNING}


def test_an_id_is_taken_for_as_long_as_its_spec_is_known() -> None:
    supervisor = Driven("a")
    supervisor(TerminateChild("ada", "a"))
    supervisor(Exited("a"))
    error = supervisor.refused(StartChild("ada", spec("a")))
    assert isinstance(error, errors.NameTaken)
    assert str(error).startswith("child 'a' of root/pool exists and is STOPPED: choose another id")


@pytest.mark.holds("R3")
def test_a_new_child_that_does_not_come_up_is_refused_and_forgotten_and_nothing_is_restarted() -> None:
    supervisor = Driven("a", strategy="one_for_all", intensity=0)
    why = errors.StartFailed("it would not")
    supervisor(StartChild("ada", spec("b")))
    assert supervisor(StartFailed("b", why)) == [Refuse("ada", why)]
    assert supervisor.states() == {"a": S.RUNNING}


@pytest.mark.holds("R3")
def test_a_new_child_caught_up_in_a_group_restart_is_started_with_the_group_and_its_ticket_answered_then() -> None:
    supervisor = Driven("a", strategy="one_for_all")
    assert supervisor(StartChild("ada", spec("b"))) == [Start("b")]
    assert supervisor(Exited("a", CRASH)) == [ShutDown("b", None)]
    assert supervisor(Started("b")) == []
    assert supervisor(Exited("b")) == [Start("a")]
    assert supervisor(Started("a")) == [Start("b")]
    assert supervisor(Started("b")) == [Answer("ada", "b")]


@pytest.mark.holds("R3")
def test_a_new_child_that_fails_after_it_was_caught_up_in_a_group_restart_is_refused_and_forgotten() -> None:
    supervisor = Driven("a", strategy="one_for_all", intensity=1)
    why = errors.StartFailed("it would not")
    supervisor(StartChild("ada", spec("b")))
    supervisor(Exited("a", CRASH))
    assert supervisor(StartFailed("b", CRASH)) == [Start("a")]
    assert supervisor(Started("a")) == [Start("b")]
    assert supervisor(StartFailed("b", why)) == [Refuse("ada", why)]
    assert supervisor.states() == {"a": S.RUNNING}


@pytest.mark.holds("R3")
def test_a_new_temporary_child_caught_up_in_a_group_restart_is_refused_at_once_and_forgotten() -> None:
    supervisor = Driven("a", strategy="one_for_all")
    supervisor(StartChild("ada", spec("b", "temporary")))
    refused, *orders = supervisor(Exited("a", CRASH))
    assert isinstance(refused, Refuse)
    assert isinstance(refused.error, errors.ActorStopped)
    assert str(refused.error) == "child 'b' of root/pool was shut down before its start was complete"
    assert orders == [ShutDown("b", None)]
    assert supervisor(Exited("b")) == [Start("a")]
    assert list(supervisor.states()) == ["a"]


@pytest.mark.holds("R3")
def test_a_terminated_child_stays_stopped_and_everybody_who_asked_is_answered_when_it_has_ended() -> None:
    supervisor = Driven(spec("a", shutdown=2.5), "b")
    assert supervisor(TerminateChild("ada", "a")) == [ShutDown("a", 2.5)]
    assert supervisor(TerminateChild("bob", "a")) == []
    assert supervisor(Exited("a", CRASH)) == [Answer("ada", "a"), Answer("bob", "a")]
    assert supervisor(TerminateChild("cy", "a")) == [Answer("cy", "a")]
    assert supervisor.states() == {"a": S.STOPPED, "b": S.RUNNING}
    assert supervisor.machine.restarts == 0


def test_terminating_a_child_in_backoff_calls_its_restart_off() -> None:
    supervisor = Driven("a", backoff=SLOWLY)
    supervisor(Exited("a", CRASH))
    assert supervisor(TerminateChild("ada", "a")) == [Answer("ada", "a")]
    assert supervisor(DelayElapsed("a")) == []
    assert supervisor.states() == {"a": S.STOPPED}


def test_terminating_a_temporary_child_forgets_it() -> None:
    supervisor = Driven(spec("a", "temporary"))
    supervisor(TerminateChild("ada", "a"))
    assert supervisor(Exited("a")) == [Answer("ada", "a")]
    assert supervisor.states() == {}


def test_terminating_a_child_that_somebody_is_starting_refuses_the_start_and_forgets_a_new_one() -> None:
    supervisor = Driven()
    supervisor(StartChild("ada", spec("a")))
    refused, order = supervisor(TerminateChild("bob", "a"))
    assert isinstance(refused, Refuse)
    assert refused.ticket == "ada"
    assert order == ShutDown("a", None)
    assert supervisor(TerminateChild("cy", "a")) == []
    assert supervisor(Exited("a")) == [Answer("bob", "a"), Answer("cy", "a")]
    assert supervisor.states() == {}


@pytest.mark.holds("R3")
def test_a_child_terminated_while_its_group_goes_down_stays_stopped_and_the_others_come_back() -> None:
    supervisor = Driven("a", "b", "c", strategy="one_for_all")
    assert supervisor(Exited("a", CRASH)) == [ShutDown("c", None)]
    assert supervisor(TerminateChild("ada", "b")) == []
    assert supervisor(Exited("c")) == [ShutDown("b", None)]
    assert supervisor(Exited("b")) == [Answer("ada", "b"), Start("a")]
    assert supervisor(Started("a")) == [Start("c")]
    assert supervisor.states()["b"] is S.STOPPED


@pytest.mark.holds("R3")
def test_a_group_restart_starts_again_a_child_that_is_just_being_terminated() -> None:
    supervisor = Driven("a", "b", strategy="one_for_all")
    assert supervisor(TerminateChild("ada", "b")) == [ShutDown("b", None)]
    assert supervisor(Exited("a", CRASH)) == []
    assert supervisor(Exited("b")) == [Answer("ada", "b"), Start("a")]
    assert supervisor(Started("a")) == [Start("b")]


def test_only_a_stopped_child_is_restarted_or_deleted() -> None:
    supervisor = Driven("a")
    for event, what in ((RestartChild("ada", "a"), "restarted"), (DeleteChild("ada", "a"), "deleted")):
        error = supervisor.refused(event)
        assert isinstance(error, errors.ChildRunning)
        assert str(error) == f"child 'a' of root/pool is RUNNING and cannot be {what}: terminate it first"
    supervisor(TerminateChild("ada", "a"))
    supervisor(Exited("a"))
    assert supervisor(RestartChild("bob", "a")) == [Start("a")]
    assert supervisor(Started("a")) == [Answer("bob", "a")]
    supervisor(TerminateChild("ada", "a"))
    supervisor(Exited("a"))
    assert supervisor(DeleteChild("cy", "a")) == [Answer("cy", "a")]
    assert supervisor.states() == {}


@pytest.mark.holds("R3")
def test_a_restart_that_was_asked_for_and_fails_is_refused_and_leaves_the_child_stopped() -> None:
    supervisor = Driven("a", intensity=0)
    why = errors.StartFailed("it would not")
    supervisor(TerminateChild("ada", "a"))
    supervisor(Exited("a"))
    supervisor(RestartChild("bob", "a"))
    assert supervisor(StartFailed("a", why)) == [Refuse("bob", why)]
    assert supervisor.states() == {"a": S.STOPPED}


@pytest.mark.parametrize("event", [TerminateChild("ada", "x"), RestartChild("ada", "x"), DeleteChild("ada", "x")])
def test_a_request_about_nobody_is_refused_by_name(event: SupervisorEvent[str]) -> None:
    error = Driven("a").refused(event)
    assert isinstance(error, errors.UnknownChild)
    assert str(error) == "root/pool has no child 'x'"


def test_a_spec_is_found_by_its_id_and_an_unknown_one_by_nothing() -> None:
    supervisor = Driven(spec("a", shutdown=2.5))
    assert supervisor.machine.spec("a") == spec("a", shutdown=2.5)
    with pytest.raises(errors.UnknownChild, match="root/pool has no child 'b'"):
        supervisor.machine.spec("b")


@pytest.mark.holds("R3")
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_closing_shuts_down_the_last_started_first_one_at_a_time_and_then_finishes(strategy: StrategyText) -> None:
    supervisor = Driven("a", spec("b", "temporary", 0.0), strategy=strategy)
    assert supervisor(StartChild("ada", spec("c"))) == [Start("c")]
    refused, order = supervisor(Close())
    assert isinstance(refused, Refuse)
    assert isinstance(refused.error, errors.ActorStopped)
    assert order == ShutDown("c", None)
    assert supervisor(Started("c")) == []
    assert supervisor(Close()) == []
    assert supervisor(Exited("c", CRASH)) == [ShutDown("b", 0.0)]
    assert supervisor(Exited("a", CRASH)) == []
    assert supervisor(Exited("b", CRASH)) == [Finish(None)]
    assert supervisor.machine.phase is Phase.CLOSED
    assert supervisor(Close()) == []
    assert supervisor.machine.restarts == 0


@pytest.mark.holds("R3")
def test_closing_drops_what_waits_and_refuses_what_was_asked_before_and_is_asked_later() -> None:
    supervisor = Driven("a", "b", backoff=SLOWLY)
    supervisor(Exited("a", CRASH))
    supervisor(TerminateChild("ada", "b"))
    (refused,) = supervisor(Close())
    assert isinstance(refused, Refuse)
    assert refused.ticket == "ada"
    assert isinstance(refused.error, errors.ActorStopped)
    assert str(refused.error) == "root/pool is CLOSING and does nothing more for its children"
    assert supervisor(DelayElapsed("a")) == []
    for event in (StartChild("bob", spec("c")), RestartChild("bob", "a"), TerminateChild("bob", "x")):
        error = supervisor.refused(event)
        assert isinstance(error, errors.ActorStopped)
        assert str(error) == "root/pool is CLOSING and does nothing more for its children"
    assert supervisor(Exited("b")) == [Finish(None)]
    assert isinstance(supervisor.refused(DeleteChild("cy", "a")), errors.ActorStopped)


def test_a_supervisor_without_children_is_up_at_once_and_finishes_as_soon_as_it_is_closed() -> None:
    assert Driven()(Close()) == [Finish(None)]
    assert SupervisorMachine[str]("root", [spec("a")]).handle(Close(), now=0.0, draw=0.0) == [Finish(None)]


def test_closing_a_supervisor_that_gives_up_changes_neither_its_order_nor_its_error() -> None:
    supervisor = Driven("a", "b", intensity=0)
    supervisor(Exited("a", CRASH))
    assert supervisor(Close()) == []
    (finish,) = supervisor(Exited("b"))
    assert isinstance(finish, Finish)
    assert isinstance(finish.error, errors.RestartIntensityReached)


@pytest.mark.parametrize("event", [Started("x"), StartFailed("x", CRASH), Exited("x"), DelayElapsed("x")])
def test_what_is_said_of_a_child_that_is_forgotten_changes_nothing(event: SupervisorEvent[str]) -> None:
    supervisor = Driven("a")
    assert supervisor(event) == []
    assert supervisor.states() == {"a": S.RUNNING}


def lines_run(supervisor: Driven, *events: SupervisorEvent[str]) -> int:
    """How many lines of `protocol/` these events take: the same on every machine, more where something is searched."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        if not frame.f_globals["__name__"].startswith("protocol."):
            return None  # what a garbage collection runs meanwhile is not theirs
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for event in events:
            supervisor(event)
    finally:
        sys.settrace(before)
    return count


def test_one_child_of_ten_thousand_costs_what_one_of_ten_does_in_a_restart_and_in_each_turn_of_the_end() -> None:
    costs: list[tuple[int, int, int, int]] = []
    for count in (10, 10_000):
        supervisor = Driven(*(f"child-{number}" for number in range(count)))
        restart = lines_run(supervisor, Exited("child-5", CRASH), Started("child-5"))
        request = lines_run(supervisor, StartChild("ada", spec("new")), Started("new"))
        termination = lines_run(supervisor, TerminateChild("ada", "child-5"), Exited("child-5"))
        supervisor(Close())
        supervisor(Exited("new"))
        turn = lines_run(supervisor, Exited(f"child-{count - 1}"))
        costs.append((restart, request, termination, turn))
    assert costs[0] == costs[1]
