"""What a simulation raises by name."""

from protocol.errors import TroupeError


class SimulationError(TroupeError):
    """The root of what the simulator raises."""


class SimulationRunning(SimulationError):
    """A simulation was started where it cannot run: inside an event loop, or while another one runs."""


class Deadlock(SimulationError):
    """Nothing could run any more, and nothing was to come, but the scenario had not ended."""


class OverTime(SimulationError, TimeoutError):
    """The scenario went on beyond its limit of virtual time."""


class LiveLock(SimulationError):
    """The run went on beyond its limit of steps."""


class Leftovers(SimulationError):
    """The scenario has ended, and something of it has not."""


class UnknownNode(SimulationError, LookupError):
    """The plan of faults names a node that the scenario has not started."""


class UnknownScenario(SimulationError, LookupError):
    """There is no such scenario to run."""


class NodeDown(SimulationError):
    """What was asked of a node takes one that runs."""


class ProbeFailed(SimulationError, AssertionError):
    """A probe was not sent what it expects."""


class LifecycleBroken(SimulationError, AssertionError):
    """A pool did not keep to its rules: an invariant did not hold in a `PoolLifecycle`."""
