"""What a system shows of itself while it runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from actors.cell import Cell
from actors.links import each


@dataclass(frozen=True, slots=True)
class ActorStatus:
    """A living actor, as it was when it was looked at.

    Attributes:
        path: its path.
        kind: the name of its class.
        state: where it is in its life: starting, running, draining or stopping.
        waiting: the requests in its mailbox.
        effects: its tasks that run.
        restarts: how often its supervisor has started one in its place.
        uptime: seconds since it was started.
        children: the actors below it, in the order of their start.
    """

    path: str
    kind: str
    state: str
    waiting: int
    effects: int
    restarts: int
    uptime: float
    children: "tuple[ActorStatus, ...]"

    @override
    def __str__(self) -> str:
        return "\n".join(_lines(self))


@dataclass(frozen=True, slots=True)
class Statistics:
    """A system's counters.

    Attributes:
        actors: actors that have not ended.
        started: actors ever started.
        restarts: those of them that a supervisor started in the place of one that ended.
        failures: exceptions that left an actor's code.
        effects: tasks of actors that run.
        timers: timers that are set, and cancelled ones not yet cleared away.
        queued: messages that wait for their turn.
        asks: requests ever asked.
        dead_letters: messages that reached nobody.
        rejected: requests refused with `MailboxFull`.
        dropped_oldest: requests that made room for a later one.
        dropped_newest: requests dropped on arrival.
    """

    actors: int
    started: int
    restarts: int
    failures: int
    effects: int
    timers: int
    queued: int
    asks: int
    dead_letters: int
    rejected: int
    dropped_oldest: int
    dropped_newest: int


def _lines(root: ActorStatus) -> Iterator[str]:
    left = [(root, 0)]
    while left:
        node, depth = left.pop()
        name = node.path.rpartition("/")[2] if depth else node.path
        yield (
            f"{'  ' * depth}{name} ({node.kind}) {node.state}, {node.uptime:.1f} s, waiting {node.waiting}, "
            f"effects {node.effects}, restarts {node.restarts}"
        )
        left += [(child, depth + 1) for child in reversed(node.children)]


def look(cell: Cell[Any], now: float) -> ActorStatus:
    """An actor and those below it."""
    cells = [cell]
    for above in cells:
        cells += above.children
    nodes: dict[Cell[Any], ActorStatus] = {}
    for below in reversed(cells):  # children before their parents, however deep
        nodes[below] = ActorStatus(
            path=below.path,
            kind=type(below.actor).__name__,
            state=below.life.value,
            waiting=below.waiting,
            effects=len(each(below.effects)),
            restarts=below.system.restarted.get(below, 0),
            uptime=now - below.since,
            children=tuple(nodes[child] for child in below.children),
        )
    return nodes[cell]
