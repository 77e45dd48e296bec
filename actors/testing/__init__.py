"""A simulator for actors: whole clusters in one process, under a seed. See `docs/simulation.md`.

What tests pools comes with its first use: it brings the MCP SDK along.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from actors.testing.bus import SimulatedBus
from actors.testing.clock import SimulatedClock
from actors.testing.errors import (
    Deadlock,
    Leftovers,
    LifecycleBroken,
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
from actors.testing.trouble import Trouble

if TYPE_CHECKING:
    from actors.testing.cluster_lifecycle import ClusterLifecycle, ClusterReport
    from actors.testing.cluster_phase import Phase
    from actors.testing.cluster_trouble import Hazard
    from actors.testing.fake_session import FakeSession
    from actors.testing.fake_upstream import FakeUpstream
    from actors.testing.ledger import Attempt, Ledger
    from actors.testing.pool_lifecycle import SMALL, LifecycleReport, PoolLifecycle, pool_lifecycle_test
else:

    def __getattr__(name: str) -> Any:
        if (home := _WITH_THE_POOL.get(name)) is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(home), name)
        return value


_WITH_THE_POOL: Final = {
    "ClusterLifecycle": "actors.testing.cluster_lifecycle",
    "ClusterReport": "actors.testing.cluster_lifecycle",
    "Hazard": "actors.testing.cluster_trouble",
    "Phase": "actors.testing.cluster_phase",
    "SMALL": "actors.testing.pool_lifecycle",
    "Attempt": "actors.testing.ledger",
    "FakeSession": "actors.testing.fake_session",
    "FakeUpstream": "actors.testing.fake_upstream",
    "Ledger": "actors.testing.ledger",
    "LifecycleReport": "actors.testing.pool_lifecycle",
    "PoolLifecycle": "actors.testing.pool_lifecycle",
    "pool_lifecycle_test": "actors.testing.pool_lifecycle",
}

__all__ = [
    "SMALL",
    "Attempt",
    "ClockJump",
    "ClusterLifecycle",
    "ClusterReport",
    "Crash",
    "Deadlock",
    "Delay",
    "Drop",
    "Duplicate",
    "Event",
    "FakeSession",
    "FakeUpstream",
    "Fault",
    "Hazard",
    "Ledger",
    "Leftovers",
    "LifecycleBroken",
    "LifecycleReport",
    "LiveLock",
    "ManualClock",
    "Node",
    "NodeDown",
    "OverTime",
    "Pause",
    "Phase",
    "PoolLifecycle",
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
    "Trouble",
    "UnknownNode",
    "UnknownScenario",
    "parse_fault",
    "pool_lifecycle_test",
    "random_faults",
    "scenario",
    "simulate",
]
