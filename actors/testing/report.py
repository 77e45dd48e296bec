"""What of a run waits, or is left."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

import actors
from actors.cell import Cell
from actors.life import RUNNING, STOPPED
from actors.links import each
from actors.testing.scheduler import by_age

if TYPE_CHECKING:
    from actors.testing.simulation import Simulation
    from actors.testing.system import SimulatedSystem

SHOWN: Final = 20
_INSIDE: Final = tuple(str(Path(module.__file__ or "").parent) for module in (trio, trio.lowlevel, actors))


def waiting(simulation: "Simulation", scenario: trio.lowlevel.Task) -> str:
    """What waits in a run that does not end."""
    lines = [f"the scenario waits {_where(scenario)}"]
    for system in simulation.systems:
        lines += _waiting_in(system)
    return _listed(lines)


def left(simulation: "Simulation", tasks: list[trio.lowlevel.Task]) -> str | None:
    """What is left of a run that should be over; None if nothing is.

    Args:
        simulation: the run.
        tasks: those that still run.
    """
    lines = [f"task {task.name} waits {_where(task)}" for task in tasks]
    for system in simulation.systems:
        if system.thread:
            lines.append(f"system {system.name} is still open: enter it with `async with`")
        if system.thread or system.alive or system.effects or len(system.queue):
            lines += _waiting_in(system)
        lines += (f"{ask.receiver} was asked for {ask.request}, and has not answered" for ask in system.open_asks)
    return _listed(lines) if lines else None


def tasks_below(root: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    """A task, and all that it has started, and so on. In the order of their start."""
    yield root
    for nursery in root.child_nurseries:
        for task in by_age(nursery.child_tasks):
            yield from tasks_below(task)


def _waiting_in(system: "SimulatedSystem") -> Iterator[str]:
    for ask in system.open_asks:
        yield f"{ask.receiver} was asked for {ask.request} at {ask.since:g} s, and has not answered"
    for cell in system.cells():
        if (state := _state(cell)) is not None:
            yield f"{cell.path} {state}"
    if len(system.queue):
        yield f"{system.name} has {len(system.queue)} messages queued"


def _state(cell: Cell[Any]) -> str | None:
    """What an actor is at, if that is anything that could hold others up."""
    parts = [] if cell.life is RUNNING or cell.life is STOPPED else [f"is {cell.life.value}"]
    if effects := each(cell.effects):
        parts.append(f"has {len(effects)} effects under way")
    if cell.open_replies:
        kept = ", ".join(type(reply.request).__name__ for reply in cell.open_replies)
        parts.append(f"keeps the replies to {kept}")
    return " and ".join(parts) if parts else None


def _where(task: trio.lowlevel.Task) -> str:
    """The line at which a task waits: the innermost that is not the runtime's."""
    found = "before its first line"
    for frame, line in task.iter_await_frames():
        file = frame.f_code.co_filename
        if not file.startswith(_INSIDE) and "anyio" not in Path(file).parts:
            found = f"in {frame.f_code.co_name}, {Path(file).name} line {line}"
    return found


def _listed(lines: list[str]) -> str:
    hidden = len(lines) - SHOWN
    return "\n".join(f"  - {line}" for line in lines[:SHOWN]) + (f"\n  ... and {hidden} more" if hidden > 0 else "")
