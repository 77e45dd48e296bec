"""A simulator for actors: whole clusters in one process, under a seed. See `docs/simulation.md`."""

from actors.testing.bus import SimulatedBus
from actors.testing.clock import SimulatedClock
from actors.testing.errors import (
    Deadlock,
    Leftovers,
    LiveLock,
    NodeDown,
    OverTime,
    ProbeFailed,
    SimulationError,
    SimulationRunning,
    UnknownNode,
    UnknownScenario,
)
from actors.testing.event import Event
from actors.testing.faults import (
    ClockJump,
    Crash,
    Delay,
    Drop,
    Duplicate,
    Fault,
    Pause,
    Reorder,
    parse_fault,
    random_faults,
)
from actors.testing.manual_clock import ManualClock
from actors.testing.node import Node
from actors.testing.probe import Probe
from actors.testing.run import Run
from actors.testing.scenarios import Scenario, scenario
from actors.testing.simulation import Simulation
from actors.testing.simulator import simulate
from actors.testing.system import SimulatedSystem

__all__ = [
    "ClockJump",
    "Crash",
    "Deadlock",
    "Delay",
    "Drop",
    "Duplicate",
    "Event",
    "Fault",
    "Leftovers",
    "LiveLock",
    "ManualClock",
    "Node",
    "NodeDown",
    "OverTime",
    "Pause",
    "Probe",
    "ProbeFailed",
    "Reorder",
    "Run",
    "Scenario",
    "SimulatedBus",
    "SimulatedClock",
    "SimulatedSystem",
    "Simulation",
    "SimulationError",
    "SimulationRunning",
    "UnknownNode",
    "UnknownScenario",
    "parse_fault",
    "random_faults",
    "scenario",
    "simulate",
]
