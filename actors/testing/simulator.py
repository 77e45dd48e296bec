"""Runs a scenario under a seed.

One thread, one event loop, one source of draws: trio on a clock that jumps ahead when nothing can run, with its
scheduler under the seed (`actors.testing.scheduler`). Nothing of the world outside decides anything, so that the same
seed gives the same run.
"""

from collections.abc import Sequence
from random import Random
from threading import Lock
from typing import Final

import trio

from actors.testing import report
from actors.testing.entropy import seeded
from actors.testing.errors import Deadlock, Leftovers, LiveLock, OverTime, SimulationRunning
from actors.testing.faults import Fault
from actors.testing.run import Run
from actors.testing.scenarios import Play, Scenario, as_scenario, command
from actors.testing.scheduler import Scheduler, all_others_wait, installed, is_in_event_loop, virtual_clock
from actors.testing.simulation import Simulation
from protocol.errors import InvalidSettings

STEP_LIMIT: Final = 1_000_000
SECONDS_TO_END_IN: Final = 600.0
"""Virtual time that the end of a run may take, once its scenario has ended."""
EVENTS_IN_NOTE: Final = 12

_running: Final = Lock()


def simulate(
    scenario: Play | Scenario,
    *,
    seed: int,
    faults: Sequence[Fault] = (),
    time_limit: float | None = None,
    step_limit: int = STEP_LIMIT,
) -> Run:
    """Run a scenario in a world of its own, in which the seed decides all that is left to chance.

    The same seed gives the same run, event for event, in every process. Call it from ordinary code, outside of any
    event loop. Meanwhile the functions of `random`, `secrets` and `uuid4` draw from the seed too, and garbage is
    collected at fixed steps; afterwards everything is as it was.

    Args:
        scenario: an `async def` that takes a `Simulation`, or what `@scenario` made of one.
        seed: any whole number.
        faults: what goes wrong, besides the scenario's own faults.
        time_limit: seconds of virtual time that the scenario may take; None means its own limit, 3600 unless it says
            otherwise. They cost nothing: where nothing can run, time jumps.
        step_limit: how many steps of tasks and turns of actors the run may take: what ends one that goes round and
            round without time passing.

    Returns:
        The run, with all its events.

    Raises:
        Exception: what left the scenario, as it is, with a note that tells how to run it again.
        Deadlock: the scenario has not ended, and nothing can run or is to come.
        OverTime: it has not ended within `time_limit`.
        LiveLock: the run has not ended within `step_limit`.
        Leftovers: it has ended, and tasks, actors or asks have not.
        UnknownNode: a fault names a node that was not started.
        SimulationRunning: this is inside an event loop, or another simulation runs in this process.
    """
    run, failure = attempt(scenario, seed=seed, faults=faults, time_limit=time_limit, step_limit=step_limit)
    if failure is not None:
        raise failure
    return run


def attempt(
    scenario: Play | Scenario,
    *,
    seed: int,
    faults: Sequence[Fault] = (),
    time_limit: float | None = None,
    step_limit: int = STEP_LIMIT,
) -> tuple[Run, BaseException | None]:
    """As `simulate`, but answer the run also if it failed, and what it failed with."""
    whole = as_scenario(scenario)
    limit = whole.time_limit if time_limit is None else time_limit
    if not 0 < limit < float("inf"):
        raise InvalidSettings(f"{whole.name} cannot be simulated with a time limit of {limit!r} s")
    if is_in_event_loop():
        raise SimulationRunning(f"{whole.name} cannot be simulated inside an event loop: call simulate from outside")
    if not _running.acquire(blocking=False):
        raise SimulationRunning(f"{whole.name} cannot be simulated while another simulation runs in this process")
    try:
        plan = (*whole.plan(Random(f"{seed}/faults")), *faults)  # noqa: S311 - to be foreseen is the point
        attempted = _Attempt(whole, seed, plan, limit, step_limit)
        run = attempted.run()
    finally:
        _running.release()
    failure = attempted.simulation.failure
    if failure is not None:
        failure.add_note(attempted.note(run, command(whole, seed, faults, limit)))
    return run, failure


class _Attempt:
    """One run, while it goes on."""

    def __init__(
        self, scenario: Scenario, seed: int, faults: tuple[Fault, ...], time_limit: float, step_limit: int
    ) -> None:
        self._scenario = scenario
        self._time_limit = time_limit
        self._clock = virtual_clock()
        self.simulation = Simulation(seed, faults, self._clock.current_time)
        simulation = self.simulation
        self._scheduler = simulation.scheduler = Scheduler(
            simulation.draws("scheduler"), simulation.log.count, step_limit, self._too_long
        )

    def run(self) -> Run:
        simulation, scheduler = self.simulation, self._scheduler
        with installed(scheduler), seeded(simulation.draws("entropy")):
            try:
                trio.run(self._main, clock=self._clock)
            except trio.TrioInternalError as error:
                scheduler.abandon()
                simulation.fail(error)
        return Run(
            scenario=self._scenario.name,
            seed=simulation.seed,
            faults=simulation.faults,
            events=tuple(simulation.log.events),
            seconds=simulation.now(),
            steps=scheduler.steps,
        )

    async def _main(self) -> None:
        self._task = trio.lowlevel.current_task()
        root = trio.lowlevel.current_root_task() or self._task
        before = list(report.tasks_below(root))
        async with trio.open_nursery() as nursery:
            scenario_goes_on = trio.CancelScope()
            nursery.start_soon(self._watch, scenario_goes_on)
            await self.simulation.play(self._scenario, scenario_goes_on.cancel)
            nursery.cancel_scope.cancel()
        await all_others_wait()
        rest = [task for task in report.tasks_below(root) if task not in before]
        if (left := report.left(self.simulation, rest)) is not None:
            self._fail(Leftovers(f"{self._scenario.name} has ended, and this has not:\n{left}"))

    async def _watch(self, scenario_goes_on: trio.CancelScope) -> None:
        """End the scenario when it has taken its time, and break off a run that does not end then."""
        with scenario_goes_on:
            await trio.sleep(self._time_limit)
            is_dead = trio.lowlevel.current_statistics().seconds_to_next_deadline == float("inf")
            waits = report.waiting(self.simulation, self._task)
            name, limit = self._scenario.name, self._time_limit
            if is_dead:
                self.simulation.fail(Deadlock(f"{name} is in a deadlock: nothing can run any more\n{waits}"))
            else:
                self.simulation.fail(OverTime(f"{name} has not ended within {limit:g} s of virtual time\n{waits}"))
        await trio.sleep(SECONDS_TO_END_IN)
        left = report.left(self.simulation, list(report.tasks_below(self._task))[1:])
        name, seconds = self._scenario.name, SECONDS_TO_END_IN
        self._fail(Leftovers(f"{name} should have ended {seconds:g} s ago, and this has not:\n{left}"))
        self._scheduler.abort()
        await trio.lowlevel.checkpoint()

    def note(self, run: Run, again: str | None) -> str:
        """What a failure tells of its run: the state of things when it was noticed, and how to run it again."""
        at, events = self.simulation.failed_at, run.events[: self.simulation.events_before]
        lines = [f"{run.scenario} failed under seed {run.seed} at {at:.6f} s of virtual time"]
        if run.faults:
            lines += ["faults:", *(f"  {fault!r}" for fault in run.faults)]
        lines += [f"last of {len(events)} events:", *(f"  {event}" for event in events[-EVENTS_IN_NOTE:])]
        if again is None:
            again = f"simulate(..., seed={run.seed}); a scenario at the top of a module has a command for it"
        return "\n".join([*lines, f"to run it again: {again}"])

    def _fail(self, error: Leftovers) -> None:
        """What is left after a failure is told with that."""
        if self.simulation.failure is None:
            self.simulation.fail(error)
        else:
            self.simulation.failure.add_note(str(error))

    def _too_long(self) -> None:
        name, steps = self._scenario.name, self._scheduler.steps
        now = self.simulation.now()
        self.simulation.fail(
            LiveLock(f"{name} has not ended within {steps} steps (step_limit), and is at {now:g} s of virtual time")
        )
