"""The simulated world, as a scenario sees it."""

from collections.abc import Awaitable, Callable
from random import Random
from typing import TYPE_CHECKING, Final

import trio

from actors.system import System
from actors.testing.bus import Broker, SimulatedBus
from actors.testing.clock import SimulatedClock
from actors.testing.errors import Leftovers, UnknownNode
from actors.testing.event import Log
from actors.testing.faults import ClockJump, Crash, Fault, MessageFault, NodeFault, Pause
from actors.testing.node import Boot, Node
from actors.testing.probe import Probe
from actors.testing.scheduler import Scheduler
from actors.testing.system import SimulatedSystem
from protocol.errors import NameTaken

if TYPE_CHECKING:
    from actors.tracing import TraceHook

SCENARIO: Final = "scenario"
"""What the scenario's own way to the bus is called."""


class Simulation:
    """Systems, nodes, a bus and virtual time, all under one seed. Given to the scenario by `simulate`.

    Attributes:
        seed: what all draws come from.
        random: for the scenario's own draws.
        faults: the plan of faults.
        bus: the scenario's own way to the bus.
        nodes: those that were started, by name.
        systems: those that were ever made.
    """

    def __init__(self, seed: int, faults: tuple[Fault, ...], now: Callable[[], float]) -> None:
        self.seed = seed
        self.faults = faults
        self.now = now
        """The virtual time, in seconds since the run began."""
        self.random = self.draws(SCENARIO)
        self.log = Log(now)
        on_messages = [fault for fault in faults if isinstance(fault, MessageFault)]
        self.broker = Broker(now, self.draws("bus"), on_messages, self.log)
        self.bus = SimulatedBus(self.broker, SCENARIO)
        self.nodes: dict[str, Node] = {}
        self.systems: list[SimulatedSystem] = []
        self.scheduler: Scheduler
        self.scope = trio.CancelScope()
        self.failure: BaseException | None = None
        self.failed_at = 0.0
        self.events_before = 0
        self._nursery: trio.Nursery

    def open_system(self, name: str = "troupe", *, trace: "TraceHook | None" = None) -> SimulatedSystem:
        """Make an actor system, and enter it with `async with`. It is as `actors.open_system` says, and goes by virtual
        time; its dispatches, its `random` and the order of its tasks come from the seed.

        Args:
            name: the first part of every path.
            trace: called after every turn.
        """
        clock = SimulatedClock(self.now, self.draws(f"stopwatch of {name}, {len(self.systems)}"))
        return self.make_system(name, clock, *(() if trace is None else (trace,)))

    async def start(self, name: str, boot: Boot, *, may_fail: bool = False) -> Node:
        """Start a node, and wait until it has booted. At the end of the scenario it is stopped, in good order.

        Args:
            name: its name, and its system's.
            boot: called in a task of the node's own, once its system is open: what spawns its actors. It is called
                again at every restart. One that answers an asynchronous context manager is left in good order when the
                node stops, before its system is.
            may_fail: whether the node may end with a failure (an actor that escalates took its system down), and the
                scenario goes on; it is then `Node.failure`. Otherwise the run fails with that failure.

        Raises:
            NameTaken: there is such a node.
            Exception: whatever the boot raises.

        Cancellation: the node crashes.
        """
        if name in self.nodes:
            raise NameTaken(f"there is a node {name} already: restart that one, or choose another name")
        node = self.nodes[name] = Node(self, name, boot, may_fail=may_fail)
        await node.begin("start")
        return node

    def probe(self, system: System, name: str | None = None) -> Probe:
        """Start a probe at the top of a system."""
        return Probe.spawn(system, name=name)

    def draws(self, purpose: str) -> Random:
        """A source of randomness of its own, which the seed and the purpose decide."""
        return Random(f"{self.seed}/{purpose}")  # noqa: S311 - to be foreseen is the point

    # --- for the simulator

    def make_system(self, name: str, clock: SimulatedClock, *hooks: "TraceHook") -> SimulatedSystem:
        """A system, known from now on."""
        number = len(self.systems)
        system = SimulatedSystem(
            name,
            clock,
            self.draws(f"system {name}, {number}"),
            self.draws(f"dispatches of {name}, {number}"),
            self.log,
            *hooks,
        )
        self.systems.append(system)
        return system

    def in_background(self, run: Callable[[], Awaitable[None]]) -> None:
        """Run something until the scenario has ended."""
        self._nursery.start_soon(run)

    def fail(self, error: BaseException) -> None:
        """End the run with a failure; the first one counts."""
        if self.failure is None:
            self.failure = error
            self.failed_at = self.now()
            self.events_before = len(self.log.events)
        self.scope.cancel()

    async def play(self, scenario: Callable[["Simulation"], Awaitable[None]], ending: Callable[[], None]) -> None:
        """Run a scenario, and end what it has left to the simulation.

        Args:
            scenario: the scenario.
            ending: called when it has ended, and the rest is about to.
        """
        try:
            with self.scope:
                async with trio.open_nursery() as self._nursery:
                    self.in_background(self.broker.run)
                    for fault in self.faults:
                        if isinstance(fault, NodeFault):
                            self._nursery.start_soon(self._inject, fault)
                    try:
                        await scenario(self)
                    except Exception as error:  # noqa: BLE001 - it leaves as it is, not in a group
                        self.fail(error)
                    finally:
                        ending()
                        with trio.CancelScope(shield=True):
                            await self._end_nodes()
                            await self._leave_systems()
                    self._nursery.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001 - what happens is told by `failure`
            self.fail(error)
        if self.failure is None:
            for fault in self.faults:
                if isinstance(fault, NodeFault) and fault.node not in self.nodes:
                    self.fail(self._unknown(fault))

    async def _end_nodes(self) -> None:
        for node in reversed(self.nodes.values()):
            if self.failure is None:
                await node.stop()
            else:
                node.crash()

    async def _leave_systems(self) -> None:
        """Leave what the scenario has entered and not left, which is a failure of its own."""
        for system in reversed(self.systems):
            if system.thread and not system.has_crashed:
                self.fail(Leftovers(f"system {system.name} is still open: enter it with `async with`"))
                await system.__aexit__(None, None, None)

    async def _inject(self, fault: NodeFault) -> None:
        await trio.sleep_until(fault.at)
        node = self.nodes.get(fault.node)
        if node is None:
            self.fail(self._unknown(fault))
        elif not node.is_up:
            pass  # another fault was there before
        elif isinstance(fault, Pause):
            node.pause(fault.seconds)
        elif isinstance(fault, ClockJump):
            self.log.record(node.name, "jump", f"{fault.seconds:g} s")
            node.clock.jump(fault.seconds)
        elif isinstance(fault, Crash):
            node.crash()
            if fault.restart_after is not None:
                await trio.sleep(fault.restart_after)
                if not node.is_up:
                    await self._restart(node)

    async def _restart(self, node: Node) -> None:
        try:
            await node.restart()
        except Exception as error:  # noqa: BLE001 - the run is to fail with it as it is
            self.fail(error)

    def _unknown(self, fault: NodeFault) -> UnknownNode:
        known = ", ".join(self.nodes) or "none"
        return UnknownNode(f"{fault!r}, but no node {fault.node} was started by then; those started: {known}")
