"""Messages between the systems of one simulation, and what befalls them."""

import heapq
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, NamedTuple

import trio

from actors.cell import Cell
from actors.named import resolve
from actors.ref import Ref
from actors.testing.event import Log
from actors.testing.faults import Delay, Drop, Duplicate, MessageFault, Reorder
from actors.testing.system import SimulatedSystem
from protocol.errors import ActorError

LATENCY: Final = (0.0001, 0.002)
"""Seconds that a message takes without any fault: a draw between these."""


class SimulatedBus:
    """A party's way to the message bus of a simulation: a node's (`Node.bus`), or the scenario's (`Simulation.bus`).

    It is what a pub/sub server is to processes. A message goes to everybody who has subscribed to its channel when it
    is posted, and arrives later. Messages from one party to one subscriber arrive in the order in which they were
    posted, each once, unless a fault says otherwise. They are handed over as they are, not copied: what is posted must
    not be changed any more.
    """

    def __init__(self, broker: "Broker", name: str) -> None:
        self._broker = broker
        self._is_cut = False
        self._subscribed: dict[tuple[str, Ref[Any]], None] = {}
        self.name = name

    def subscribe(self, channel: str, ref: Ref[Any]) -> None:
        """Tell that actor whatever is posted on the channel from now on, until it stops. Twice is once."""
        if not self._is_cut:
            self._broker.subscriptions.setdefault(channel, {})[ref] = None
            self._subscribed[channel, ref] = None

    def unsubscribe(self, channel: str, ref: Ref[Any]) -> None:
        """Tell it no more. What is under way still arrives. One that has not subscribed changes nothing."""
        self._broker.subscriptions.get(channel, {}).pop(ref, None)
        self._subscribed.pop((channel, ref), None)

    def post(self, channel: str, message: object) -> None:
        """Send a message, and do not wait. May be called in a turn."""
        self._post(channel, message)

    async def publish(self, channel: str, message: object) -> int:
        """Send a message, and wait until the bus has it: a round trip of virtual time.

        Returns:
            How many subscribers it goes to. Whether they get it is not known (they may have crashed, or stand still).

        Cancellation: the message is out, and what became of it is unknown.
        """
        receivers = self._post(channel, message)
        await trio.sleep(self._broker.latency())
        return receivers

    def cut(self) -> None:
        """Nothing goes through here any more: its node has ended."""
        self._is_cut = True
        for channel, ref in list(self._subscribed):
            self.unsubscribe(channel, ref)

    def _post(self, channel: str, message: object) -> int:
        return 0 if self._is_cut else self._broker.post(self, channel, message)


class _Delivery(NamedTuple):
    due: float
    number: int
    sender: str
    receiver: Ref[Any]
    message: object


class Broker:
    """What the parties share: subscriptions, and messages under way.

    Attributes:
        subscriptions: who gets what is posted on a channel.
        lost: how many messages found their receiver gone.
    """

    def __init__(self, now: Callable[[], float], random: Random, faults: Sequence[MessageFault], log: Log) -> None:
        self.subscriptions: dict[str, dict[Ref[Any], None]] = {}
        self.lost = 0
        self._now = now
        self._random = random
        self._faults = faults
        self._log = log
        self._heap: list[_Delivery] = []
        self._posted = 0
        self._last: dict[tuple[SimulatedBus, Ref[Any]], float] = {}
        self._sooner = trio.Event()

    def latency(self) -> float:
        """Seconds that one way takes."""
        return self._random.uniform(*LATENCY)

    def post(self, party: SimulatedBus, channel: str, message: object) -> int:
        """Let a message set off to everybody who has subscribed. Answers how many those are."""
        subscribers = self.subscriptions.get(channel, {})
        for ref in [ref for ref in subscribers if isinstance(ref, Cell) and not ref.is_alive]:
            del subscribers[ref]
        for ref in subscribers:
            self._send(party, channel, ref, message)
        return len(subscribers)

    async def run(self) -> None:
        """Deliver messages as they come due, until cancelled."""
        while True:
            self._sooner = trio.Event()
            with trio.move_on_at(self._heap[0].due if self._heap else float("inf")):
                await self._sooner.wait()
            while self._heap and self._heap[0].due <= self._now():
                self._deliver(heapq.heappop(self._heap))
                await trio.lowlevel.checkpoint()

    def _send(self, party: SimulatedBus, channel: str, receiver: Ref[Any], message: object) -> None:
        now, draw = self._now(), self._random
        due, copies, keeps_order = now + self.latency(), 1, True
        to = receiver.path.split("/")[1]
        for fault in self._faults:
            if not fault.matches(channel, party.name, to, now):
                continue
            match fault:
                case Delay() if draw.random() < fault.rate:
                    due += draw.uniform(fault.least, fault.most)
                case Drop() if draw.random() < fault.rate:
                    copies = 0
                case Duplicate() if draw.random() < fault.rate:
                    copies += copies
                case Reorder() if draw.random() < fault.rate:
                    due += draw.uniform(0, fault.within)
                    keeps_order = False
                case _:
                    continue
            kind = type(fault).__name__.lower()
            self._log.record(party.name, kind, type(message).__name__, sender=party.name, receiver=receiver.path)
        for _ in range(copies):
            if keeps_order:
                due = self._last[party, receiver] = max(due, self._last.get((party, receiver), due))
            self._put(_Delivery(due, self._posted, party.name, receiver, message))
            due += self.latency()

    def _put(self, delivery: _Delivery) -> None:
        self._posted += 1
        heapq.heappush(self._heap, delivery)
        if self._heap[0] is delivery:
            self._sooner.set()

    def _deliver(self, delivery: _Delivery) -> None:
        receiver, message = delivery.receiver, delivery.message
        cell = resolve(receiver)
        if cell is not None and isinstance(cell.system, SimulatedSystem) and cell.system.is_paused:
            cell.system.when_resumed(lambda: self._put(delivery._replace(due=self._now())))
            return
        try:
            if receiver.is_alive:
                receiver.tell(message)
                return
        except ActorError:
            pass
        self.lost += 1
        to = receiver.path.split("/")[1]
        self._log.record(to, "lost", type(message).__name__, sender=delivery.sender, receiver=receiver.path)
