"""A node: what would be a process of its own, with a system in it."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import trio

from actors.testing.bus import SimulatedBus
from actors.testing.clock import SimulatedClock
from actors.testing.errors import NodeDown
from actors.testing.scheduler import whose_task
from actors.testing.system import SimulatedSystem
from protocol.errors import InvalidSettings

if TYPE_CHECKING:
    from actors.testing.simulation import Simulation

Boot = Callable[["Node"], Awaitable[None] | AbstractAsyncContextManager[object]]
"""Starts what a node runs. An asynchronous context manager is left when the node is to end in good order."""


class Incarnation:
    """One life of a node, from boot to end, as the task that it is.

    Attributes:
        error: what it ended with, if it failed.
    """

    def __init__(self, node: "Node", system: SimulatedSystem, bus: SimulatedBus) -> None:
        self.system = system
        self.bus = bus
        self.error: Exception | None = None
        self.is_booted = self.is_frozen = False
        self.settled = trio.Event()
        self.ended = trio.Event()
        self._node = node
        self._scope = trio.CancelScope()
        self._goes = trio.Event()

    async def run(self, boot: Boot, failed: Callable[[Exception], None]) -> None:
        """Open the system, boot, and stay until told to go."""
        whose_task.set(self)
        try:
            with self._scope:
                async with self.system:
                    booted = boot(self._node)
                    if isinstance(booted, AbstractAsyncContextManager):
                        async with booted:
                            await self._stay()
                    else:
                        await booted
                        await self._stay()
        except Exception as error:  # noqa: BLE001 - it is for whoever started the node
            if not self.system.has_crashed:
                self.error = error
                if self.is_booted:
                    failed(error)
        finally:
            self.bus.cut()
            self.ended.set()
            self.settled.set()

    async def _stay(self) -> None:
        self.is_booted = True
        self.settled.set()
        await self._goes.wait()

    def go(self) -> None:
        """End in good order."""
        self._goes.set()

    def crash(self) -> None:
        """End at once."""
        self.bus.cut()
        self.system.crash()
        self._scope.cancel()


class Node:
    """A process of the simulated world: a system, a clock and a way to the bus. Made by `Simulation.start`.

    Nodes know each other by the bus. Refs of one in the hands of another would be what no process has.

    Attributes:
        name: its name, and its system's.
        clock: its clock, which `clock.jump` lets leap. It outlives a restart.
        may_fail: whether it may end with a failure; otherwise that fails the run.
        failure: what it ended with, if it failed.
    """

    def __init__(self, simulation: "Simulation", name: str, boot: Boot, *, may_fail: bool) -> None:
        self.name = name
        self.clock = SimulatedClock(simulation.now, simulation.draws(f"stopwatch of {name}"))
        self.may_fail = may_fail
        self.failure: Exception | None = None
        self._simulation = simulation
        self._boot = boot
        self._lives = 0
        self._pauses = 0
        self._life: Incarnation

    @property
    def system(self) -> SimulatedSystem:
        """Its system; after a restart, another one."""
        return self._life.system

    @property
    def bus(self) -> SimulatedBus:
        """Its way to the bus; after a restart, another one."""
        return self._life.bus

    @property
    def is_up(self) -> bool:
        """Whether it runs, or stands still; it has neither crashed, nor stopped, nor failed."""
        return not self.system.has_crashed and not self._life.ended.is_set()

    @property
    def is_paused(self) -> bool:
        """Whether it stands still."""
        return self._life.is_frozen

    def crash(self) -> None:
        """Let it die, as by `kill -9`. One that is down stays so.

        No actor has another turn, not even the last one (`stopped`); nothing more goes out by its bus, and its
        subscriptions are gone. What it has posted arrives. Its effects are cancelled, since a task cannot vanish: what
        they do in their cleanup reaches no actor of the node and nobody by the bus, but objects that they share with
        the scenario, it reaches. Asks from outside end with `ActorStopped` once those tasks have ended. Called in one
        of the node's own turns, that turn still goes on to its end.
        """
        if not self.is_up:
            return
        self._simulation.log.record(self.name, "crash")
        self._thaw()
        self._life.crash()

    async def restart(self) -> None:
        """Boot it again, in a new system of the same name; one that is up crashes first.

        Returns when it has booted. It does not wait for the cleanup of the life before.

        Raises:
            Exception: whatever the boot raises. The node is down then.
        """
        self.crash()
        await self.begin("restart")

    async def stop(self) -> None:
        """End it in good order, as by SIGTERM: leave its system, and wait until that is done. One down stays so.

        Cancellation: it ends all the same.
        """
        if not self.is_up:
            return
        self.resume()
        self._simulation.log.record(self.name, "stop")
        self._life.go()
        await self._life.ended.wait()

    def pause(self, seconds: float) -> None:
        """Let it stand still for so long, as by SIGSTOP and SIGCONT. One that stands still does so for longer.

        None of its tasks runs: no turn, timer or effect, with whatever tasks an effect has started. Messages by the bus
        wait. Time goes on, also on its clock: whatever was due meanwhile comes when it goes on, and of a repeating
        timer's beats only one. What cannot be held: the turn or step in which this is called, and tasks of the scenario
        that use the node's objects. They may tell and ask its actors; that waits too.

        Raises:
            NodeDown: it is down.
        """
        if not self.is_up:
            raise NodeDown(f"node {self.name} is down and cannot be paused: restart it first")
        if not 0 <= seconds < float("inf"):
            raise InvalidSettings(f"node {self.name} cannot be paused for {seconds!r} s")
        self._simulation.log.record(self.name, "pause", f"{seconds:g} s")
        self._pauses += 1
        self._life.is_frozen = True
        self.system.pause()
        self._simulation.scheduler.freeze(self._life)
        self._simulation.in_background(lambda: self._resume_after(self._life, self._pauses, seconds))

    def resume(self) -> None:
        """Let it go on. One that does not stand still does so anyway."""
        if self.is_paused:
            self._simulation.log.record(self.name, "resume")
            self._thaw()
            self.system.resume()

    async def begin(self, kind: str) -> None:
        """Begin a life. Only the simulation calls this."""
        self._lives += 1
        self.failure = None
        system = self._simulation.make_system(self.name, self.clock)
        life = self._life = Incarnation(self, system, SimulatedBus(self._simulation.broker, self.name))
        self._simulation.log.record(self.name, kind)
        self._simulation.in_background(lambda: life.run(self._boot, self._failed))
        try:
            await life.settled.wait()
        except BaseException:
            if life is self._life:
                self.crash()
            raise
        if life.error is not None and not life.is_booted:
            raise life.error

    def _failed(self, error: Exception) -> None:
        self.failure = error
        if not self.may_fail:
            self._simulation.fail(error)

    async def _resume_after(self, life: Incarnation, pause: int, seconds: float) -> None:
        await trio.sleep(seconds)
        if life is self._life and pause == self._pauses:
            self.resume()

    def _thaw(self) -> None:
        self._life.is_frozen = False
        self._simulation.scheduler.thaw(self._life)

    def __repr__(self) -> str:
        state = "down" if not self.is_up else "paused" if self.is_paused else "up"
        return f"<Node {self.name}, {state}>"
