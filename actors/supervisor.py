"""The supervisor: starts its children, and starts them again when they fail.

It has no policy of its own. What happens to its children becomes an event of the supervision machine
(`protocol.supervision`), and what the machine answers is done. The words are OTP's, and mean what they mean there;
`docs/runtime.md` says where this one differs.
"""

import math
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from logging import getLogger
from typing import Any, ClassVar, assert_never, cast

from typing_extensions import override

from actors.actor import Actor, Signal
from actors.cell import Cell
from actors.failure import told
from actors.ref import Ref, Terminated
from actors.reply import Reply
from actors.timer import Timer
from protocol import supervisor_events as events
from protocol.child import ChildSpec, ChildStatus
from protocol.errors import InvalidSettings, StartFailed, UnknownChild
from protocol.message import Answer, Request, message
from protocol.restart import Backoff, Strategy, StrategyText
from protocol.supervision import Phase, SupervisorMachine

logger = getLogger("troupe")


@message
class StartChild(Request[Ref[Any]]):
    """Ask a supervisor for one more child, after all others. Answered with its ref once it has started.

    Fails with `NameTaken` if the supervisor has a child with this id, and with `StartFailed` if it cannot be started;
    then its spec is forgotten.
    """

    spec: ChildSpec[Actor[Any]]


@message
class TerminateChild(Request[None]):
    """Ask a supervisor to shut a child down and leave it stopped; a temporary one is forgotten. Answered at its end."""

    id: str


@message
class RestartChild(Request[Ref[Any]]):
    """Ask a supervisor to start a child that is stopped. Answered with its new ref once it has started."""

    id: str


@message
class DeleteChild(Request[None]):
    """Ask a supervisor to forget a child that is stopped."""

    id: str


@message
class WhichChildren(Request[tuple[ChildStatus, ...]]):
    """Ask a supervisor what its children are at, in the order of their start."""


@message
class _Started(Answer):
    id: str
    ref: Ref[Any]


@message
class _DelayElapsed(Answer):
    id: str


SupervisorMessage = StartChild | TerminateChild | RestartChild | DeleteChild | WhichChildren | _Started | _DelayElapsed


class Supervisor(Actor[SupervisorMessage]):
    """Runs children, and restarts them when they end as their specs say.

    Example: `system.spawn(Supervisor([ChildSpec("db", Database), ChildSpec("web", Web)], strategy="rest_for_one"))`.

    A restarted child is a new actor with a new ref and the old name; `System.named` gives a ref to the name. More
    children come with `StartChild`. A supervisor that gives up (`RestartIntensityReached`) fails itself, which is for
    *its* supervisor to judge; at the top of the tree it takes the system down (`Actor.escalates`).

    Args:
        children: what to run, in the order of their start.
        strategy: which children the restart of one concerns: `one_for_one`, `one_for_all` or `rest_for_one`.
        intensity: the most restarts within `period`; one more, and the supervisor gives up.
        period: seconds.
        backoff: how long a restart waits; None restarts at once, as OTP does.

    Raises:
        InvalidSettings: a value cannot be used, or two children have one id; the message says which.
    """

    __slots__ = ("_delays", "_events", "_ids", "_machine", "_refs", "_starts")

    shutdown: ClassVar[float] = math.inf
    escalates: ClassVar[bool] = True
    settles_itself: ClassVar[bool] = True

    def __init__(
        self,
        children: Sequence[ChildSpec[Actor[Any]]] = (),
        *,
        strategy: Strategy | StrategyText = Strategy.ONE_FOR_ONE,
        intensity: int = 1,
        period: float = 5.0,
        backoff: Backoff | None = None,
    ) -> None:
        self._machine = SupervisorMachine[Reply[Any]](
            type(self).__name__, children, strategy=strategy, intensity=intensity, period=period, backoff=backoff
        )
        self._refs: dict[str, Cell[Any]] = {}
        self._ids: dict[Ref[Any], str] = {}
        self._starts: dict[str, int] = {}
        self._delays: dict[str, Timer] = {}
        self._events: deque[events.SupervisorEvent[Reply[Any]]] = deque()

    @override
    def started(self) -> None:
        self._machine.path = self.ref.path
        self._handle(events.Boot())

    @override
    def receive(self, message: SupervisorMessage) -> None:
        match message:
            case _Started(child, ref):
                if self._refs.get(child) is ref:
                    self._handle(events.Started(child))
            case _DelayElapsed(child):
                self._delays.pop(child, None)
                self._handle(events.DelayElapsed(child))
            case StartChild(spec):
                if isinstance(spec, ChildSpec):  # pyright: ignore[reportUnnecessaryIsInstance]
                    self._handle(events.StartChild(self._ticket(message), spec))
                else:
                    self._refuse(message, f"a child is given as a ChildSpec, not {type(spec).__name__}")
            case TerminateChild(child) | RestartChild(child) | DeleteChild(child) if not _is_text(child):
                self._refuse(message, f"a child's id is text, not {type(child).__name__}")
            case TerminateChild(child):
                self._handle(events.TerminateChild(self._ticket(message), child))
            case RestartChild(child):
                self._handle(events.RestartChild(self._ticket(message), child))
            case DeleteChild(child):
                self._handle(events.DeleteChild(self._ticket(message), child))
            case WhichChildren():
                self.reply(tuple(self._machine.children()))
            case _:
                self._refuse(message, f"a supervisor has no use for {type(message).__name__}")

    @override
    def signal(self, signal: Signal) -> None:
        if not isinstance(signal, Terminated) or (child := self._ids.pop(signal.ref, None)) is None:
            return
        cell = self._refs.pop(child)
        if isinstance(signal.reason, StartFailed) and not cell.has_started:
            self._handle(events.StartFailed(child, signal.reason))
        else:
            self._handle(events.Exited(child, signal.reason))
        if not self._knows(child):
            self._starts.pop(child, None)

    @override
    def draining(self) -> None:
        self._handle(events.Close())

    def _handle(self, event: events.SupervisorEvent[Reply[Any]]) -> None:
        self._events.append(event)
        while self._events:
            happened = self._events.popleft()
            for effect in self._machine.handle(happened, now=self.now(), draw=self.random.random()):
                self._perform(effect)
        if self._machine.phase is Phase.UP:
            self._cell.system.settle(self._cell, has_started=True)

    def _perform(self, effect: events.SupervisorEffect[Reply[Any]]) -> None:
        match effect:
            case events.Start(child):
                self._start(child)
            case events.ShutDown(child, seconds):
                self._cell.system.shut_down(self._refs[child], seconds)
            case events.Wait(child, seconds):
                if (earlier := self._delays.pop(child, None)) is not None:
                    earlier.cancel()
                self._delays[child] = self.after(seconds, _DelayElapsed(child))
            case events.Answer(ticket, child):
                wants_ref = isinstance(ticket.request, StartChild | RestartChild)
                ticket.answer(self._refs[child] if wants_ref else None)
            case events.Refuse(ticket, error):
                ticket.fail(error)
            case events.Finish(error):
                self.stop(error)
            case _:
                assert_never(effect)

    def _start(self, child: str) -> None:
        system = self._cell.system
        try:
            made: object = self._machine.spec(child).start()
            if not isinstance(made, Actor):
                raise TypeError(f"start made a {type(made).__name__}, which is no Actor")  # noqa: TRY301
            actor = cast("Actor[Any]", made)
            cell = system.start_actor(actor, child, self._cell, settled=partial(self._settled, child))
        except Exception as error:  # noqa: BLE001 - a start that fails is what the machine is for
            failed = StartFailed(f"{self.ref.path}/{child} could not be made ({type(error).__name__})")
            failed.__cause__ = error
            with suppress(Exception):
                logger.error("%s/%s could not be made: %s", self.ref.path, child, told(error))  # noqa: TRY400
            self._events.append(events.StartFailed(child, failed))
            return
        self._refs[child] = cell
        self._ids[cell] = child
        restarts = self._starts.get(child, 0)
        self._starts[child] = restarts + 1
        if restarts:
            system.restarts += 1
            system.restarted[cell] = restarts
            logger.warning("%s is started again (restart %d)", cell.path, restarts)
        self.watch(cell)

    def _settled(self, child: str, has_started: bool) -> None:  # noqa: FBT001 - a callback
        # An end without a start is told by `Terminated`.
        if has_started and (cell := self._refs.get(child)) is not None:
            self._cell.system.deliver(self._cell, _Started(child, cell))

    def _ticket(self, request: Request[Any]) -> Reply[Any]:
        """What stands for whoever asked; if nobody did, a reply that nobody takes."""
        return self.keep_reply() if self._cell.system.current_reply is not None else Reply(request, self._cell)

    def _refuse(self, request: object, why: str) -> None:
        """Answer what nobody should have sent. It is no reason to end all the children."""
        error = InvalidSettings(f"{self.ref.path} was sent {type(request).__name__}: {why}")
        logger.warning("%s", error)
        if self._cell.system.current_reply is not None:
            self.keep_reply().fail(error)

    def _knows(self, child: str) -> bool:
        try:
            self._machine.spec(child)
        except UnknownChild:
            return False
        return True


def _is_text(given: object) -> bool:
    return isinstance(given, str)
