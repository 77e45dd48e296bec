"""A Redis for simulated clusters: it takes time, its lines break, it stops and starts, and it forgets."""

import heapq
import math
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import trio
from typing_extensions import override

from actors.bus import Hub
from actors.testing.cluster_phase import Phase, phase_of
from protocol.bus import Arrived, Beat, Claim, Command, Count, Find, Holding, Joined, Post, PostWhileHeard
from protocol.bus_records import BusRecords

if TYPE_CHECKING:
    from actors.testing.cluster_line import SimulatedLine
    from actors.testing.node import Node

LATENCY: Final = (0.0001, 0.002)
"""Seconds that one way takes, from and to."""
CLOSING: Final = (0.004, 0.07)
"""Seconds until Redis knows that the process at the other end was killed, from and to."""


class Mishap(NamedTuple):
    """What befalls one command on its way, and its answer.

    Attributes:
        there, back: seconds that it takes longer.
        again: after how many seconds it is done once more; None for never.
    """

    there: float = 0.0
    back: float = 0.0
    again: float | None = None


NONE: Final = Mishap()

Meets = Callable[[Phase, list["SimulatedLine"]], Mishap]
"""Is told of a command on its way, what it is part of and whose lines it concerns; answers what befalls it."""


class Link:
    """One connection of a line, from its subscription to its end.

    What goes one way arrives in order. A link that is cut loses what is under way and whatever is sent later, both
    ways; a deaf one what is said to the worker; and neither end need know of it at once.
    """

    __slots__ = ("answers_due", "arrivals_due", "channels", "is_cut", "is_deaf", "line", "sent_due")

    def __init__(self, line: "SimulatedLine", channels: tuple[str, ...]) -> None:
        self.line = line
        self.channels = channels
        self.is_cut = self.is_deaf = False
        self.sent_due = self.answers_due = self.arrivals_due = 0.0


class SimulatedHub:
    """What the workers of a simulated cluster meet at. `hub.at(node)` is what a pool on that node is opened with.

    Args:
        now: the virtual time.
        random: where draws come from.

    Attributes:
        records: what it keeps.
        is_up: whether it can be reached.
        meets: is told of every command, see `Meets`; None for none.
        links: those that it counts as connected.
        lines: the workers' ways here, by their nodes' names.
        beats: when each worker has beaten last, by its id.
        forgot: when it lost all that it kept.
        came_back_at: when it started again last.
        claims: is told of each claim, and of who holds what it is for; None for nobody.
    """

    def __init__(self, now: Callable[[], float], random: Random) -> None:
        self.now = now
        self.random = random
        self.records = BusRecords()
        self.is_up = True
        self.meets: Meets | None = None
        self.links: dict[Link, None] = {}
        self.lines: dict[str, SimulatedLine] = {}
        self.beats: dict[str, float] = {}
        self.forgot: list[float] = []
        self.came_back_at = -math.inf
        self.claims: Callable[[Claim, Holding | None], None] | None = None
        self._begun_at: float | None = None
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._waiting = trio.CancelScope()

    def at(self, node: "Node") -> Hub:
        """This hub, as that node reaches it: `open_pool(..., cluster=hub.at(node))`."""
        return _HubAt(self, node)

    def is_reached_by(self, node: "Node") -> bool:
        """Whether a worker's line holds. While it does not, others may find the worker dead, and it goes on for as long
        as it was last said to live.
        """
        line = self.lines.get(node.name)
        return line is not None and line.is_joined and line.link is not None and not line.link.is_cut

    async def run(self) -> None:
        """Carry what is said, until cancelled."""
        while True:
            with trio.CancelScope(deadline=self._due[0][0] if self._due else math.inf) as self._waiting:
                await trio.sleep_forever()
            while self._due and self._due[0][0] <= self.now():
                heapq.heappop(self._due)[2]()

    def later(self, seconds: float, do: Callable[[], None]) -> float:
        """Do something after so many seconds. Answers when that is."""
        due = self.now() + seconds
        self._put(due, do)
        return due

    def restart(self, seconds: float, *, forgets: bool) -> None:
        """Stop, and start again after so many seconds. `forgets`: with nothing of what was kept."""
        self.is_up = False
        for link in list(self.links):
            self.cut(link, noticed=self.random.uniform(0, CLOSING[1]))
            self.hang_up(link)
        if forgets:
            self.forgot.append(self.now())
            self.records.restarted()
            self._begun_at = None
        self.later(seconds, self._start)

    def cut(self, link: Link, *, noticed: float, counted: float = 0.0) -> None:
        """A link breaks. The worker notices after so many seconds, and until after so many it is counted here."""
        link.is_cut = True
        self.later(noticed, lambda: link.line.broken(link))
        self.later(counted, lambda: self.hang_up(link))

    def deafen(self, link: Link, *, noticed: float) -> None:
        """What is said to the worker gets lost, until it notices that, and the link ends."""
        link.is_deaf = True
        self.later(noticed, lambda: self.cut(link, noticed=0.0))

    # --- for its lines

    def connect(self, line: "SimulatedLine", channels: tuple[str, ...]) -> Link:
        """A worker subscribes to these."""
        link = Link(line, channels)
        self.links[link] = None
        now = self.now()
        if self._begun_at is None:
            self._begun_at = now
        joined = Joined(now - self._begun_at)
        self._down(link, lambda: line.joined(link, joined), is_arrival=True)
        return link

    def send(self, link: Link, command: Command[Any], answered: Callable[[Any], None]) -> None:
        """A command sets off."""
        mishap = self._meet(command, link)
        link.sent_due = max(link.sent_due, self.now() + self.latency() + mishap.there)
        self._put(link.sent_due, lambda: self._take(link, command, answered, mishap))
        if mishap.again is not None:
            self._put(link.sent_due + mishap.again, lambda: self._again(link, command))

    def hang_up(self, link: Link) -> None:
        """It is connected no more."""
        self.links.pop(link, None)

    def hangs_up(self, link: Link, *, was_killed: bool) -> None:
        """A worker ends its link. What it has sent before arrives before."""
        seconds = self.random.uniform(*CLOSING) if was_killed else self.latency()
        link.sent_due = max(link.sent_due, self.now() + seconds)
        link.is_deaf = True
        self._put(link.sent_due, lambda: self.hang_up(link))

    def latency(self) -> float:
        """Seconds that one way takes."""
        return self.random.uniform(*LATENCY)

    # --- within

    def _start(self) -> None:
        self.is_up = True
        self.came_back_at = self.now()

    def _meet(self, command: Command[Any], link: Link) -> Mishap:
        if self.meets is None or (phase := phase_of(command, self.records, self.now())) is None:
            return NONE
        lines = [link.line]
        if isinstance(command, (Post, PostWhileHeard)):
            lines += [other.line for other in self.links if command.channel in other.channels]
        return self.meets(phase, lines)

    def _take(self, link: Link, command: Command[Any], answered: Callable[[Any], None], mishap: Mishap) -> None:
        if link.is_cut or not self.is_up:
            return
        answer = self._do(command, mishap.back)
        self._down(link, lambda: answered(answer), seconds=mishap.back)

    def _again(self, link: Link, command: Command[Any]) -> None:
        if self.is_up and (isinstance(command, (Post, PostWhileHeard)) or not link.is_cut):
            self._do(command, 0.0)

    def _do(self, command: Command[Any], delay: float) -> Any:
        match command:
            case Post(channel, envelope):
                listeners = self._listeners(channel)
                for link in listeners:
                    arrived = link.line.arrival(link, Arrived(channel, envelope))
                    self._down(link, arrived, seconds=delay, is_arrival=True)
                return len(listeners)
            case PostWhileHeard(channel, envelope, own):
                return self._do(Post(channel, envelope), delay) if self._listeners(own) else 0
            case Count(channel):
                return len(self._listeners(channel))
            case _:
                if isinstance(command, Beat):
                    self.beats[command.worker] = self.now()
                if isinstance(command, Claim) and self.claims is not None:
                    self.claims(command, self.records.do(Find(command.session_id), now=self.now()))
                return self.records.do(command, now=self.now())

    def _listeners(self, channel: str) -> list[Link]:
        return [link for link in self.links if channel in link.channels]

    def _down(self, link: Link, do: Callable[[], None], *, seconds: float = 0.0, is_arrival: bool = False) -> None:
        due = self.now() + self.latency() + seconds
        if is_arrival:
            due = link.arrivals_due = max(due, link.arrivals_due)
        else:
            due = link.answers_due = max(due, link.answers_due)

        def come() -> None:
            if not link.is_cut and not (is_arrival and link.is_deaf):
                do()

        self._put(due, come)

    def _put(self, due: float, do: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._due, (due, self._number, do))
        if self._due[0][1] == self._number:
            self._waiting.deadline = due


class _HubAt(Hub):
    def __init__(self, hub: SimulatedHub, node: "Node") -> None:
        self._hub = hub
        self._node = node

    @override
    def bus(self) -> "SimulatedLine":
        from actors.testing.cluster_line import SimulatedLine  # noqa: PLC0415 - each knows the other

        line = self._hub.lines[self._node.name] = SimulatedLine(self._hub, self._node)
        return line
