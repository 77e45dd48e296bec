"""Random trees of actors, to which all that can happen to actors happens at random.

What must hold then is written down where it can be seen: in each turn (turns of one actor never overlap, messages of
one sender to one receiver arrive in order), at the end of each ask (an answer, or a named error), and at the end of it
all (nothing is left; each actor that was started had its last turn, once).
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Final, assert_never

import anyio

from actors import (
    Actor,
    ChildSpec,
    DeleteChild,
    Mailbox,
    Overflow,
    Ref,
    Request,
    RestartChild,
    Signal,
    StartChild,
    Supervisor,
    System,
    TerminateChild,
    Terminated,
    WhichChildren,
)
from actors.testing import Simulation
from actors.tracing import Turn
from protocol.errors import (
    ActorStopped,
    AskTimeout,
    ChildRunning,
    MailboxFull,
    NameTaken,
    NoReply,
    RestartIntensityReached,
    StartFailed,
    UnknownChild,
)
from protocol.restart import Backoff, Restart, Strategy
from tests.simulation.tree_messages import (
    AskLater,
    AskNever,
    AskNow,
    AskOn,
    Beat,
    Beaten,
    BranchMessage,
    End,
    Fail,
    Grow,
    Late,
    Numbered,
    Stall,
    Stalled,
    TellOn,
    Unwatch,
    Watch,
)

FEWEST_ACTORS: Final = 10
MOST_ACTORS: Final = 60
REFS_KEPT: Final = 80
SUPERVISORS_KEPT: Final = 10
NAMED: Final = (ActorStopped, AskTimeout, MailboxFull, NoReply, NameTaken, StartFailed, UnknownChild, ChildRunning)


class Breakdown(Exception):
    """What goes wrong in an actor here."""


MEANT: Final = (Breakdown, StartFailed, RestartIntensityReached)


@dataclass
class Forest:
    """What is known of all trees of a run."""

    random: Random
    refs: list[Ref[Any]] = field(default_factory=list[Ref[Any]])
    supervisors: list[Ref[Any]] = field(default_factory=list[Ref[Any]])
    sent: dict[tuple[int, Ref[Any]], int] = field(default_factory=dict[tuple[int, Ref[Any]], int])
    wrong: list[BaseException] = field(default_factory=list[BaseException])
    made: int = 0
    alive: dict[int, None] = field(default_factory=dict[int, None])
    asked: int = 0
    answered: int = 0
    refused: int = 0
    cancelled: int = 0

    def watch(self, turn: Turn) -> None:
        """An exception stops its actor and nothing else: one that is not meant has to be caught here."""
        if turn.error is not None and not isinstance(turn.error, MEANT):
            self.wrong.append(turn.error)

    def add(self, ref: Ref[Any]) -> None:
        if len(self.refs) >= REFS_KEPT:
            dead = (place for place, known in enumerate(self.refs) if not known.is_alive)
            del self.refs[next(dead, self.random.randrange(len(self.refs)))]
        self.refs.append(ref)

    def any(self) -> Ref[Any]:
        """Any actor, more often a living one."""
        draw = self.random.choice
        return next((ref for ref in (draw(self.refs) for _ in range(3)) if ref.is_alive), None) or draw(self.refs)

    def tell(self, sender: int, receiver: Ref[Any]) -> None:
        number = self.sent.get((sender, receiver), 0)
        self.sent[sender, receiver] = number + 1
        try:
            receiver.tell(Numbered(sender, number))
        except MailboxFull:
            self.sent[sender, receiver] = number

    def plant(self, actor: Actor[Any], spawn: Callable[..., Ref[Any]]) -> None:
        """Start an actor, and keep its ref where it belongs: a supervisor is not told what a branch is."""
        if isinstance(actor, Supervisor):
            self.supervisors.append(spawn(actor))
            del self.supervisors[:-SUPERVISORS_KEPT]
        else:
            ref = spawn(actor, mailbox=self.mailbox())
            self.add(ref)
            self.tell(0, ref)

    def actor(self, depth: int) -> Actor[Any]:
        """Any kind of actor that there is."""
        match self.random.randrange(20):
            case 0:
                return FailsToStart(self, depth)
            case 1 | 2 | 3:
                return SlowToStart(self, depth)
            case 4 | 5 | 6 | 7 if depth < 4:
                return self.supervisor(depth)
            case _:
                return Branch(self, depth)

    def supervisor(self, depth: int) -> Supervisor:
        draw = self.random
        children = [
            ChildSpec(
                f"child-{number}",
                partial(self.actor, depth + 1),
                restart=draw.choice(list(Restart)),
                shutdown=draw.choice((0, 0.1, 1, None)),
            )
            for number in range(draw.randint(1, 3))
        ]
        return Supervisor(
            children,
            strategy=draw.choice(list(Strategy)),
            intensity=draw.choice((0, 1, 3, 100)),
            period=draw.choice((0.1, 5.0)),
            backoff=draw.choice((None, Backoff(0.01, 2.0, 1.0, 0.1))),
        )

    def mailbox(self) -> Mailbox | None:
        return self.random.choice((None, None, Mailbox(3, self.random.choice(list(Overflow)))))


class Branch(Actor[BranchMessage]):
    """Does what it is told, notes what must not be, and ends in every way an actor can."""

    shutdown = 1.0

    def __init__(self, forest: Forest, depth: int) -> None:
        forest.made += 1
        self.number = forest.made
        self.forest = forest
        self.depth = depth
        self.seen: dict[int, int] = {}
        self.is_in_turn = False
        self.ended = False
        self.watched: dict[Ref[Any], None] = {}

    def started(self) -> None:
        self.forest.alive[self.number] = None
        self.forest.add(self.ref)

    def receive(self, message: BranchMessage) -> None:
        assert not self.is_in_turn, "R1: two turns of one actor overlap"
        assert not self.ended, "a turn after the last one"
        self.is_in_turn = True
        try:
            self.handle(message)
        finally:
            self.is_in_turn = False

    def handle(self, message: BranchMessage) -> None:  # noqa: C901, PLR0912 - an arm for each message
        forest = self.forest
        match message:
            case Numbered(sender, number):
                self.check_order(sender, number)
            case TellOn(to):
                for _ in range(3):
                    forest.tell(self.number, to)
            case Grow():
                if self.depth < 5 and len(forest.alive) < MOST_ACTORS:
                    forest.plant(forest.actor(self.depth + 1), self.spawn)
            case Fail():
                raise Breakdown
            case Stall():
                effect = self.start(lambda: stall(message), then=Stalled)
                if message.seconds < 0.01:
                    effect.cancel()
            case Beat(seconds):
                self.every(seconds, Beaten())
            case Watch(whom):
                self.watched[whom] = None
                self.watch(whom)
            case Unwatch(whom):
                self.watched.pop(whom, None)
                self.unwatch(whom)
            case End(fails):
                self.stop(Breakdown() if fails else None)
            case AskNow():
                self.reply(self.number)
            case AskLater(seconds):
                self.after(seconds, Late(self.keep_reply()))
            case Late(reply):
                reply.answer(self.number)
            case AskNever(kept):
                if kept:
                    self.keep_reply()
            case AskOn(to):
                self.forward(to, AskNow())
            case Beaten() | Stalled():
                pass
            case _:
                assert_never(message)

    def check_order(self, sender: int, number: int) -> None:
        # Requests that a full mailbox dropped leave gaps; nothing comes twice, and nothing overtakes.
        assert number >= self.seen.get(sender, 0), "R1: out of order"
        self.seen[sender] = number + 1

    def signal(self, signal: Signal) -> None:
        assert not self.is_in_turn, "R1: two turns of one actor overlap"
        if isinstance(signal, Terminated):
            assert signal.ref in self.watched, "Terminated of an actor that is not watched"
            del self.watched[signal.ref]

    def draining(self) -> None:
        if self.number % 3:
            self.stop()
        else:
            self.after(self.random.random() * 2, End(fails=False))

    def stopped(self, reason: BaseException | None) -> None:
        assert not self.ended, "two last turns"
        self.ended = True
        self.forest.alive.pop(self.number, None)


class SlowToStart(Branch):
    start_timeout = 0.5

    async def starting(self) -> None:
        await anyio.sleep(self.random.random())


class FailsToStart(Branch):
    def started(self) -> None:
        raise Breakdown


async def stall(how: Stall) -> None:
    try:
        await anyio.sleep(how.seconds)
    finally:
        if how.lingers:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.2)
    if how.fails:
        raise Breakdown


async def ask(forest: Forest, ref: Ref[Any], request: Request[Any], timeout: float | None, patience: float) -> None:
    forest.asked += 1
    with anyio.move_on_after(patience) as scope:
        try:
            await ref.ask(request, timeout=timeout)
        except NAMED:
            forest.refused += 1
        else:
            forest.answered += 1
    forest.cancelled += scope.cancelled_caught


def happening(forest: Forest) -> Callable[[Ref[Any]], Any]:
    """Something that happens to an actor, at random."""
    draw = forest.random
    match draw.randrange(64):
        case 0:
            return lambda ref: ref.stop()
        case 1:
            return lambda ref: ref.drain()
        case 2:
            return lambda ref: ref.tell(End(draw.random() < 0.5))
        case 3 | 4:
            return lambda ref: ref.tell(Fail())
        case 5 | 6 | 7 | 8 | 9 | 10:
            seconds = draw.expovariate(5) if draw.random() < 0.9 else float("inf")
            stall = Stall(seconds, draw.random() < 0.2, draw.random() < 0.2)
            return lambda ref: ref.tell(stall)
        case 11:
            return lambda ref: ref.tell(Beat(draw.uniform(0.2, 2)))
        case 12 | 13 | 14:
            return lambda ref: ref.tell(Watch(forest.any()))
        case 15:
            return lambda ref: ref.tell(Unwatch(forest.any()))
        case number if number < 36:
            return lambda ref: ref.tell(Grow())
        case number if number < 48:
            return lambda ref: ref.tell(TellOn(forest.any()))
        case _:
            return lambda ref: forest.tell(0, ref)


def order(forest: Forest) -> Request[Any]:
    """Something to ask of a supervisor."""
    draw = forest.random
    child = f"child-{draw.randrange(4)}"
    match draw.randrange(6):
        case 0 | 1:
            return StartChild(ChildSpec(child, partial(forest.actor, 4), restart=draw.choice(list(Restart))))
        case 2:
            return TerminateChild(child)
        case 3:
            return RestartChild(child)
        case 4:
            return DeleteChild(child)
        case _:
            return WhichChildren()


def question(forest: Forest) -> Request[int]:
    """Something to ask of a branch."""
    draw = forest.random
    match draw.randrange(8):
        case 0 | 1 | 2:
            return AskNow()
        case 3 | 4:
            return AskLater(draw.random())
        case 5 | 6:
            return AskOn(forest.any())
        case _:
            return AskNever(draw.random() < 0.7)


async def grow(simulation: Simulation, steps: int) -> Forest:
    """Let so many things happen to a forest."""
    forest, draw = Forest(simulation.random), simulation.random
    patiences = (0.05, 0.5, 5.0, float("inf"))
    timeouts = (0.05, 1.0, None)
    async with anyio.create_task_group() as askers, simulation.open_system("forest", trace=forest.watch) as system:
        for _ in range(steps):
            if len(forest.alive) < FEWEST_ACTORS:
                forest.plant(Branch(forest, 0), system.spawn)
            what = draw.random()
            if what < 0.15:
                patience, timeout = draw.choice(patiences), draw.choice(timeouts)
                askers.start_soon(ask, forest, forest.any(), question(forest), timeout, patience)
            elif what < 0.17 and forest.supervisors:
                supervisor, patience = draw.choice(forest.supervisors), draw.choice(patiences)
                askers.start_soon(ask, forest, supervisor, order(forest), None, patience)
            elif what < 0.175 and forest.supervisors:
                supervisor = draw.choice(forest.supervisors)
                draw.choice((supervisor.stop, supervisor.drain))()
            elif what < 0.2:
                await anyio.sleep(draw.expovariate(10))
            else:
                with suppress(MailboxFull):
                    happening(forest)(forest.any())
    check_end(forest, system)
    return forest


def check_end(forest: Forest, system: System) -> None:
    """What must hold once a forest's system was left."""
    if forest.wrong:
        raise forest.wrong[0]
    figures = system.statistics()
    assert (figures.actors, figures.effects, figures.queued) == (0, 0, 0)
    assert not list(system.cells())
    assert not any(alarm.is_set for _, _, alarm in system.timers._heap), "a timer is set"  # pyright: ignore[reportPrivateUsage]
    assert not forest.alive, "an actor that was started has had no last turn"
    assert forest.asked == forest.answered + forest.refused + forest.cancelled, "R2: an ask has not ended"


async def forest(simulation: Simulation) -> None:
    """A thousand things happen."""
    await grow(simulation, 1_000)


async def large_forest(simulation: Simulation) -> None:
    """Ten thousand things happen."""
    await grow(simulation, 10_000)
