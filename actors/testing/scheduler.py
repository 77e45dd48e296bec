"""Trio's scheduler, under a seed. All that the simulator must know of trio's inside is in this file.

Trio runs tasks in batches: all that are runnable now, in random order. In its deterministic mode (made for Hypothesis)
it sorts a batch by the age of its tasks and lets `_r` shuffle it, so that the order in which tasks became runnable,
which may come from sets and addresses, tells nothing. A `Scheduler` stands in for `_r` during a run. It sees each
batch, and so it can also

- put a task off to a later batch, as a busy machine does;
- hold all tasks of a node that is paused;
- count steps, and end a run that goes on for ever;
- collect garbage at the same steps in every run, rather than when the collector's counters say so.
"""

import asyncio
import gc
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from random import Random
from threading import get_ident
from typing import Any, Final, cast

import trio
from trio._core import _run as trio_run  # pyright: ignore[reportPrivateUsage]

# Public in `trio.testing`, which imports pytest.
from trio._core._mock_clock import MockClock
from trio._core._run import wait_all_tasks_blocked
from trio.lowlevel import Task

STEPS_BETWEEN_COLLECTIONS: Final = 20_000
STEPS_TO_END_IN: Final = 100_000
"""Steps that a run may take beyond its limit in order to end in good order."""
LAZINESS: Final = (0.0, 0.0, 0.05, 0.2, 0.4)
"""How likely a task is put off to a later batch; a run draws one of these."""

whose_task: Final[ContextVar[object]] = ContextVar("whose_task", default=None)
"""The node whose task runs. Tasks inherit it from those that start them."""


class RunAborted(BaseException):
    """Leaves trio's loop in the middle: the run would not end otherwise."""


class Scheduler:
    """Decides which task runs when, by a seed. Takes the place of trio's source of randomness.

    Args:
        random: what all decisions come from.
        turns: how many turns actors have had.
        step_limit: how many steps the run may take, those turns included.
        too_long: called once, when it has.

    """

    def __init__(self, random: Random, turns: Callable[[], int], step_limit: int, too_long: Callable[[], None]) -> None:
        self._task_steps = 0
        self._turns = turns
        self._random = random
        self._laziness = random.choice(LAZINESS)
        self._step_limit = step_limit
        self._too_long = too_long
        self._next_collection = STEPS_BETWEEN_COLLECTIONS
        self._held: dict[object, list[Task]] = {}
        self._runner: Any = None
        self._thread = get_ident()
        self._is_aborted = self._is_over_limit = False
        self._others: Random = trio_run._r  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]

    # --- what trio asks of its source of randomness

    def shuffle(self, batch: list[Task]) -> None:
        """Put the tasks that are runnable now into the order in which they run, from the last to the first."""
        if get_ident() != self._thread:
            self._others.shuffle(batch)  # another thread's event loop is none of ours
            return
        if self._is_aborted:
            raise RunAborted
        if self._runner is None and batch:
            self._runner = batch[0]._runner  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        self._task_steps += len(batch)
        steps = self.steps
        if steps > self._step_limit:
            self._end(steps)
        if steps >= self._next_collection:
            self._next_collection = steps + STEPS_BETWEEN_COLLECTIONS
            gc.collect()
        if self._held:
            batch[:] = [task for task in batch if not self._hold(task)]
        if self._laziness and len(batch) > 1:
            self._put_off(batch)
        self._random.shuffle(batch)

    def random(self) -> float:
        """Asked for by trio outside of its deterministic mode."""
        return self._others.random()

    def uniform(self, least: float, most: float) -> float:
        """Asked for by trio's real clock."""
        return self._others.uniform(least, most)

    # --- for the simulation

    @property
    def steps(self) -> int:
        """The steps so far: of tasks, and turns of actors."""
        return self._task_steps + self._turns()

    def freeze(self, owner: object) -> None:
        """From now on none of the owner's tasks runs, wherever it stands."""
        self._held.setdefault(owner, [])

    def thaw(self, owner: object) -> None:
        """Let the owner's tasks run again."""
        if tasks := self._held.pop(owner, None):
            self._runner.runq.extend(tasks)

    def abort(self) -> None:
        """Leave trio's loop before its next batch. Nothing of the run goes on, or ends in good order."""
        self._is_aborted = True

    def abandon(self) -> None:
        """Close the tasks of an aborted run, as far as they let themselves be closed."""
        tasks = cast("set[Task]", self._runner.tasks if self._runner is not None else set())
        for task in by_age(tasks):
            for nursery in task.child_nurseries:
                nursery._children.clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            _close(task.coro)
        self._runner = None

    def _hold(self, task: Task) -> bool:
        tasks = self._held.get(task.context.get(whose_task))
        if tasks is None:
            return False
        tasks.append(task)
        return True

    def _put_off(self, batch: list[Task]) -> None:
        draw, laziness = self._random.random, self._laziness
        late = [task for task in batch if draw() < laziness]
        if late:
            chosen = set(late)
            batch[:] = [task for task in batch if task not in chosen]
            self._runner.runq.extend(late)

    def _end(self, steps: int) -> None:
        if not self._is_over_limit:
            self._is_over_limit = True
            self._too_long()
        elif steps > self._step_limit + STEPS_TO_END_IN:
            raise RunAborted


def _close(coroutine: object) -> None:
    """Close a coroutine and all that it waits for, from the inside out, so that nothing is left to the collector."""
    chain: list[Any] = []
    while coroutine is not None:
        chain.append(coroutine)
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    for inner in reversed(chain):
        for _ in range(100):  # each time what a `finally` waits for is cut short
            with suppress(BaseException):
                inner.close()
                break


@contextmanager
def installed(scheduler: Scheduler) -> Generator[None]:
    """Trio's tasks are scheduled by it within the block, and garbage is collected only when it says so."""
    before = {name: getattr(trio_run, name) for name in ("_ALLOW_DETERMINISTIC_SCHEDULING", "_r")}
    was_collecting = gc.isenabled()
    is_ours_to_freeze = not gc.get_freeze_count()
    gc.disable()
    if is_ours_to_freeze:
        gc.freeze()  # what is there already costs the collections of the run nothing
    for name, value in zip(before, (True, scheduler), strict=True):
        setattr(trio_run, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(trio_run, name, value)
        if is_ours_to_freeze:
            gc.unfreeze()
        if was_collecting:
            gc.enable()


def virtual_clock() -> trio.abc.Clock:
    """A clock that starts at 0, and jumps ahead to the next deadline when nothing can run."""
    return MockClock(autojump_threshold=0)


async def all_others_wait() -> None:
    """Wait until no other task can run."""
    await wait_all_tasks_blocked()


def by_age(tasks: Iterable[Task]) -> list[Task]:
    """The tasks in the order of their start."""
    return sorted(tasks, key=lambda task: task._counter)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def is_in_event_loop() -> bool:
    """Whether an event loop runs in this thread, so that another one cannot."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return trio.lowlevel.in_trio_run()
    return True
