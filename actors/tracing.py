"""Turns that are watched: a hook for each, and OpenTelemetry's spans for asks and effects.

A system that nobody traces pays nothing for this: `open_system` makes a `TracedSystem` only when it is given a hook, or
when an OpenTelemetry tracer provider has been set.

The trace context travels with the messages. A turn has that of its sender when the message was sent, and so has an
effect that the turn starts. Spans hold names of types and paths only: no content, no text of an exception.
"""

from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from logging import getLogger
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry import context as telemetry
from opentelemetry import trace as spans
from typing_extensions import override

from actors.cell import Cell
from actors.effect import Effect
from actors.mailbox import Entry, Mark, Queue
from actors.reply import Reply
from actors.system import System
from actors.timer import Timer

if TYPE_CHECKING:
    from actors.actor import Actor
    from actors.clock import Clock
    from actors.ref import Ref
    from protocol.mailbox import Mailbox
    from protocol.message import Request

M_contra = TypeVar("M_contra", contravariant=True)
R = TypeVar("R")

logger = getLogger("troupe")


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn that is over, as a trace hook is told of it.

    Attributes:
        sender: the actor in whose turn the message was sent; None if it came from outside or from the runtime.
        receiver: the actor whose turn it was.
        message: what it handled: a message, a signal, or the name of another hook (`started`, `draining`, `stopped`).
        context: the OpenTelemetry context that the message was sent in.
        at: when the turn began, by the system's clock.
        seconds: how long it took, in real time.
        error: what left it, if anything did.
    """

    sender: "Ref[Any] | None"
    receiver: "Ref[Any]"
    message: object = field(repr=False)  # it may hold what no log should
    context: telemetry.Context = field(repr=False)
    at: float
    seconds: float
    error: BaseException | None


TraceHook = Callable[[Turn], None]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a message came from."""

    sender: Cell[Any] | None
    context: telemetry.Context


@dataclass(frozen=True, slots=True)
class _Dated:
    """A timer's message, with the context of the turn that set it."""

    message: object
    context: telemetry.Context


class TracedQueue(Queue):
    """A queue that notes the origin of each message."""

    def __init__(self, system: "TracedSystem") -> None:
        super().__init__(system.dead_letters.add)
        self._system = system
        self.taken: Origin | None = None

    @override
    def put(self, cell: Cell[Any], message: Any, reply: Reply[Any] | None) -> None:
        self.origin = self._system.origin()
        super().put(cell, message, reply)

    @override
    def put_marked(self, cell: Cell[Any], message: Any, mark: Mark) -> None:
        self.origin = self._system.origin()
        super().put_marked(cell, message, mark)

    @override
    def hold(self, cell: Cell[Any], message: Any, reply: Reply[Any] | None) -> None:
        self.origin = self._system.origin()
        super().hold(cell, message, reply)

    @override
    def take(self) -> Entry | None:
        entry = super().take()
        self.taken = None if entry is None else entry[3]
        return entry


class TracedCell(Cell[M_contra]):
    """An actor whose asks have spans."""

    __slots__ = ()

    @override
    def ask(self, request: "Request[R]", *, timeout: float | None = None) -> Coroutine[Any, Any, R]:
        return self._spanned(request, super().ask(request, timeout=timeout))

    async def _spanned(self, request: object, answer: Coroutine[Any, Any, R]) -> R:
        name = type(request).__name__
        with _span(f"ask {name}", {"troupe.receiver": self.path, "troupe.message": name}):
            return await answer


class TracedSystem(System):
    """A system whose turns are watched."""

    def __init__(self, name: str, clock: "Clock | None", random: Random | None, hook: TraceHook | None) -> None:
        super().__init__(name, clock, random)
        self.watches_turns = True
        self.queue = self._traced = TracedQueue(self)
        self._hook = hook
        self._error: BaseException | None = None
        self._contexts: dict[Effect, telemetry.Context] = {}

    def origin(self) -> Origin:
        """The origin of what is sent now."""
        return Origin(self.current, telemetry.get_current())

    @override
    def make_cell(
        self, actor: "Actor[M_contra]", label: str | int, parent: Cell[Any] | None, mailbox: "Mailbox"
    ) -> Cell[M_contra]:
        return TracedCell(self, actor, label, parent, mailbox)

    @override
    def turn(self, cell: Cell[Any], message: Any, reply: Reply[Any] | None, is_answer: bool = False) -> None:
        self._watched(cell, message, partial(super().turn, cell, message, reply, is_answer))

    @override
    def run_hook(self, cell: Cell[Any], about: object, hook: Callable[[], None]) -> None:
        self._watched(cell, about, partial(super().run_hook, cell, about, hook))

    @override
    def fail(self, cell: Cell[Any], error: BaseException) -> None:
        self._error = error
        super().fail(cell, error)

    @override
    def start_effect(self, cell: Cell[Any], run: Callable[[], Awaitable[Any]], then: Callable[[Any], Any]) -> Effect:
        context = telemetry.get_current()
        function: object = getattr(run, "func", run)  # what a partial is of
        name = getattr(function, "__name__", type(function).__name__)

        async def spanned() -> Any:
            token = telemetry.attach(context)
            try:
                with _span(f"effect {name}", {"troupe.actor": cell.path}):
                    return await run()
            finally:
                telemetry.detach(token)

        effect = super().start_effect(cell, spanned, then)
        self._contexts[effect] = context
        return effect

    @override
    def effect_ended(self, cell: Cell[Any], effect: Effect, deliver: Callable[[], None]) -> None:
        token = telemetry.attach(self._contexts.pop(effect, telemetry.get_current()))
        try:
            super().effect_ended(cell, effect, deliver)
        finally:
            telemetry.detach(token)

    @override
    def start_timer(self, cell: Cell[Any], seconds: float, message: Any, *, every: float | None = None) -> Timer:
        return super().start_timer(cell, seconds, _Dated(message, telemetry.get_current()), every=every)

    @override
    def deliver(self, cell: Cell[Any], message: Any) -> None:
        if not isinstance(message, _Dated):
            super().deliver(cell, message)
            return
        token = telemetry.attach(message.context)
        try:
            super().deliver(cell, message.message)
        finally:
            telemetry.detach(token)

    def _watched(self, cell: Cell[Any], message: object, run: Callable[[], None]) -> None:
        origin, self._traced.taken = self._traced.taken or self.origin(), None
        at, began = self.now(), self.clock.stopwatch()
        self._error = None
        self.has_begun = False
        token = telemetry.attach(origin.context)
        try:
            run()
        finally:
            telemetry.detach(token)
            if self._hook is not None and self.has_begun:
                seconds = self.clock.stopwatch() - began
                turn = Turn(origin.sender, cell, message, origin.context, at, seconds, self._error)
                try:
                    self._hook(turn)
                except Exception as error:  # noqa: BLE001 - whoever watches turns must not change them
                    logger.warning("the trace hook of %s failed: %s", self.name, type(error).__name__)


def provider_is_set() -> bool:
    """Whether somebody has set an OpenTelemetry tracer provider."""
    provider = spans.get_tracer_provider()
    return not isinstance(provider, (spans.ProxyTracerProvider, spans.NoOpTracerProvider))


@contextmanager
def _span(name: str, attributes: dict[str, str]) -> Generator[None]:
    """A span around a block, current within it. How the block fails is told by the type of the exception alone."""
    tracer = spans.get_tracer("troupe")
    with tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield
        except BaseException as error:
            span.set_status(spans.Status(spans.StatusCode.ERROR, type(error).__name__))
            raise
