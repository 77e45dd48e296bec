"""What befalls a simulated cluster: each mishap waits for the phase that it is meant for, and strikes in its midst."""

from collections import Counter
from collections.abc import Callable
from enum import Enum
from random import Random
from typing import Final

from actors.testing.cluster_hub import NONE, Mishap, SimulatedHub
from actors.testing.cluster_line import SimulatedLine
from actors.testing.cluster_phase import Phase
from actors.testing.node import Node

HALF: Final = 0.5
DURING: Final = 0.003
"""Seconds within which a mishap strikes, once its phase is there: about as long as that takes."""


class Hazard(Enum):
    """A kind of mishap."""

    DELAY = "delay"
    """What the bus says to a worker is late, and so is all behind it."""
    REORDER = "reorder"
    """What a worker sends is late: whatever others send after it is there before it."""
    DUPLICATE = "duplicate"
    """What was sent comes twice."""
    LOSS = "loss"
    """A worker's line breaks, and what is under way on it is lost; neither end need know at once."""
    CRASH = "crash"
    """A worker dies."""
    PAUSE = "pause"
    """A worker stands still."""
    CLOCK_JUMP = "clock jump"
    """A worker's clock leaps, or the time of day is set there."""
    RESTART = "Redis restart"
    """The bus stops and starts again; it may have forgotten all."""


Struck = tuple[Hazard, Phase]


class ClusterTrouble:
    """Strikes, and notes where.

    Args:
        hub: the bus.
        random: where draws come from.
        planned: what is to strike, and in which phase; each once.
        lifetime: of the workers, in seconds.
        comes_back: has a node that died started again.

    Attributes:
        struck: how often each thing befell each phase.
        planned: what has not come to strike yet.
    """

    def __init__(
        self,
        hub: SimulatedHub,
        random: Random,
        planned: list[Struck],
        lifetime: float,
        comes_back: Callable[[Node], None],
    ) -> None:
        self._hub = hub
        self._random = random
        self.planned = planned
        self._lifetime = lifetime
        self._comes_back = comes_back
        self.struck: Counter[Struck] = Counter()

    def meets(self, phase: Phase, lines: list[SimulatedLine]) -> Mishap:
        """A command is on its way; see `actors.testing.cluster_hub.Meets`."""
        random = self._random
        mishap = NONE
        for planned in [planned for planned in self.planned if planned[1] is phase]:
            if random.random() < HALF:  # the next one of its kind will do as well
                continue
            self.planned.remove(planned)
            self.struck[planned] += 1
            mishap = self._strike(planned, random.choice(lines), mishap)
        return mishap

    def _strike(self, planned: Struck, line: SimulatedLine, mishap: Mishap) -> Mishap:
        trouble, phase = planned
        random, hub = self._random, self._hub
        seconds = random.uniform(0, self._lifetime) * random.choice((0.1, 1))
        if trouble is Hazard.DELAY:
            return mishap._replace(back=seconds)
        if trouble is Hazard.REORDER:
            return mishap._replace(there=seconds)
        if trouble is Hazard.DUPLICATE:
            # An envelope may be played back later; a command is repeated at once, if at all.
            return mishap._replace(again=seconds if phase in (Phase.FORWARD, Phase.REPLY) else 0.0)
        node, soon = line.node, random.uniform(0, DURING)
        match trouble:
            case Hazard.LOSS:
                hub.later(soon, lambda: self._lose(line))
            case Hazard.CRASH:
                hub.later(soon, lambda: self._crash(node))
            case Hazard.PAUSE:
                pause = random.uniform(0, 2.5 * self._lifetime)
                hub.later(soon, lambda: node.pause(pause) if node.is_up else None)
            case Hazard.CLOCK_JUMP:
                leap = random.uniform(0, random.choice((1, 40)) * self._lifetime)
                if random.random() < HALF:  # as after a suspend
                    hub.later(soon, lambda: node.clock.jump(leap))
                else:
                    leap *= random.choice((-1, 1))
                    hub.later(soon, lambda: node.clock.set_wall(leap))
            case Hazard.RESTART:
                forgets = random.random() < HALF
                hub.later(soon, lambda: hub.restart(seconds, forgets=forgets) if hub.is_up else None)
            case _:
                raise AssertionError(trouble)
        return mishap

    def _lose(self, line: SimulatedLine) -> None:
        random, link = self._random, line.link
        if link is None:
            return
        noticed = random.uniform(0, self._lifetime) * random.choice((0.1, 1))
        if random.random() < HALF:
            self._hub.deafen(link, noticed=noticed)
        else:
            self._hub.cut(link, noticed=noticed, counted=random.choice((0.0, noticed / 2, 2 * noticed)))

    def _crash(self, node: Node) -> None:
        node.crash()
        self._hub.later(self._random.uniform(0.1, 2 * self._lifetime), lambda: self._comes_back(node))
