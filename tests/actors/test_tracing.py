"""Turns that are watched: what a hook sees, and spans, from a provider made of OpenTelemetry's API alone."""

import contextvars
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from opentelemetry import context as telemetry
from opentelemetry import trace as spans
from opentelemetry.util import types
from typing_extensions import override

from actors import Actor, Failed, Ref, Request, Signal, Succeeded, System, Terminated, message, open_system
from actors.tracing import TracedSystem, Turn
from protocol.errors import AskTimeout

SECRET = "Bearer s3cret"  # noqa: S105 - nobody's


@message
class Fetch(Request[str]):
    text: str


class Relay(Actor[Any]):
    """Answers, passes on, starts effects, fails: as it is told."""

    def __init__(self, onward: Ref[Any] | None = None) -> None:
        self.onward = onward
        self.heard = anyio.Event()

    def receive(self, message: Any) -> None:
        match message:
            case Fetch("never"):
                self.keep_reply()
            case Fetch(text):
                self.reply(text)
            case Succeeded() | Failed():
                self.heard.set()
            case _ if callable(message):
                message(self)
            case _:
                if self.onward is not None:
                    self.onward.tell(message)

    def signal(self, signal: Signal) -> None:
        self.heard.set()


def fail(_: Relay) -> None:
    raise ValueError(SECRET)


@dataclass(eq=False)
class FakeSpan(spans.NonRecordingSpan):
    name: str
    parent: "FakeSpan | None"
    attributes: types.Attributes
    number: int
    status: spans.Status | None = None
    events: list[object] = field(default_factory=list[object])
    has_ended: bool = False

    def __post_init__(self) -> None:
        super().__init__(spans.SpanContext(1, self.number, is_remote=False))

    @override
    def is_recording(self) -> bool:
        return not self.has_ended

    @override
    def set_status(self, status: Any, description: str | None = None) -> None:
        self.status = status

    @override
    def record_exception(self, exception: BaseException, *arguments: Any, **more: Any) -> None:
        self.events.append(exception)

    @override
    def end(self, end_time: int | None = None) -> None:
        self.has_ended = True


class FakeTracer(spans.Tracer, spans.TracerProvider):
    """Keeps the spans it makes, which behave as the SDK's do; and the provider of itself."""

    def __init__(self) -> None:
        self.spans: list[FakeSpan] = []

    @override
    def get_tracer(self, *arguments: Any, **options: Any) -> "FakeTracer":
        return self

    @override
    def start_span(self, name: str, context: telemetry.Context | None = None, *_: Any, **options: Any) -> FakeSpan:
        parent = spans.get_current_span(context)
        known = parent if isinstance(parent, FakeSpan) else None
        self.spans.append(FakeSpan(name, known, options.get("attributes"), len(self.spans) + 1))
        return self.spans[-1]

    @override
    def start_as_current_span(self, name: str, *arguments: Any, **options: Any) -> Any:
        how = {key: options.get(key, True) for key in ("record_exception", "set_status_on_exception")}
        return spans.use_span(self.start_span(name, *arguments, **options), end_on_exit=True, **how)


@pytest.fixture
def tracer(monkeypatch: pytest.MonkeyPatch) -> FakeTracer:
    """The tracer of a global provider. The API lets that be set only once in a process, and never taken back."""
    tracer = FakeTracer()
    monkeypatch.setattr(spans, "_TRACER_PROVIDER", tracer)
    return tracer


@contextmanager
def attached(request: object) -> Generator[None]:
    """A value in the trace context, as whoever handles a request from outside puts it there."""
    token = telemetry.attach(telemetry.set_value("request", request))
    try:
        yield
    finally:
        telemetry.detach(token)


def told(turns: list[Turn]) -> list[tuple[str | None, str, object]]:
    return [(turn.sender.name if turn.sender else None, turn.receiver.name, turn.message) for turn in turns]


def test_a_system_that_nobody_traces_is_a_plain_one() -> None:
    assert type(open_system()) is System
    assert type(open_system(trace=lambda turn: None)) is TracedSystem


def test_a_system_is_traced_when_a_provider_has_been_set(tracer: FakeTracer) -> None:
    assert type(open_system()) is TracedSystem


async def test_the_hook_is_told_of_every_turn_in_order_with_its_sender() -> None:
    turns: list[Turn] = []
    async with open_system(trace=turns.append) as system:
        last: Ref[Any] = system.spawn(Relay(), name="last")
        first: Ref[Any] = system.spawn(Relay(last), name="first")
        first.tell("told")
        assert await first.ask(Fetch("asked")) == "asked"
        first.stop()
    assert told(turns) == [
        (None, "last", "started"),
        (None, "first", "started"),
        (None, "first", "told"),
        ("first", "last", "told"),
        (None, "first", Fetch("asked")),
        (None, "first", "stopped"),
        (None, "last", "draining"),
        (None, "last", "stopped"),
    ]
    assert all(turn.error is None and turns[0].at <= turn.at and 0 <= turn.seconds < 10 for turn in turns)


async def test_the_hook_is_told_of_outcomes_signals_and_what_left_a_turn() -> None:
    turns: list[Turn] = []

    async def work() -> str:
        return "work"

    def begin(relay: Relay) -> None:
        relay.watch(other)
        relay.start(work, then=lambda outcome: outcome)

    async with open_system(trace=turns.append) as system:
        relay = Relay()
        ref: Ref[Any] = system.spawn(relay, name="relay")
        other: Ref[Any] = system.spawn(Relay(), name="other")
        ref.tell(begin)
        await relay.heard.wait()
        other.tell(fail)
        other.tell("to nobody")
        ref.stop()
    failed = turns[4]
    assert isinstance(failed.error, ValueError)
    assert told(turns)[2:] == [
        (None, "relay", begin),
        (None, "relay", Succeeded("work")),
        (None, "other", fail),
        (None, "other", "stopped"),
        (None, "relay", Terminated(other, failed.error)),
        (None, "relay", "stopped"),
    ]


async def test_a_hook_that_fails_changes_nothing_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def hook(turn: Turn) -> None:
        raise ValueError(SECRET)

    async with open_system(trace=hook) as system:
        assert await system.spawn(Relay()).ask(Fetch("asked")) == "asked"
        assert system.failures == 0
    assert "the trace hook of troupe failed: ValueError" in caplog.text
    assert SECRET not in caplog.text


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")


@pytest.mark.holds("R6")
async def test_the_trace_context_travels_through_a_chain_of_tells_into_an_effect_and_nothing_else_does() -> None:
    turns: list[Turn] = []
    seen: list[object] = []

    class Starter(Relay):
        def receive(self, message: Any) -> None:
            if isinstance(message, str):
                self.start(self.look, then=lambda outcome: outcome)
            super().receive(message)

        async def look(self) -> None:
            seen.extend((telemetry.get_value("request"), variable.get()))

    async with open_system(trace=turns.append) as system:
        starter = Starter()
        chain: Ref[Any] = system.spawn(starter, name="starter")
        for number in range(3):
            chain = system.spawn(Relay(chain), name=f"relay-{number}")
        variable.set("sender's")
        with attached("r-1"):
            chain.tell("go")
        await starter.heard.wait()
    assert seen == ["r-1", "none"]
    of_chain = [turn for turn in turns if turn.message == "go"]
    assert len(of_chain) == 4
    assert all(turn.context.get("request") == "r-1" for turn in of_chain)
    assert all(turn.context.get("request") is None for turn in turns if turn.message == "started")


async def test_what_is_queued_keeps_the_context_that_it_was_sent_in() -> None:
    turns: list[Turn] = []

    def send(relay: Relay) -> None:
        for number in range(3):
            with attached(number):
                relay.ref.tell(number)

    async with open_system(trace=turns.append) as system:
        ref: Ref[Any] = system.spawn(Relay())
        ref.tell(send)
        assert telemetry.get_value("request") is None, "the sender keeps its own"
    assert [(turn.message, turn.context.get("request")) for turn in turns[2:5]] == [(0, 0), (1, 1), (2, 2)]


@pytest.mark.holds("X1")
async def test_asks_and_effects_have_spans_each_below_what_it_came_from(tracer: FakeTracer) -> None:
    class Worker(Relay):
        def receive(self, message: Any) -> None:
            if isinstance(message, Fetch):
                self.start(self.work, then=lambda outcome: outcome)
            super().receive(message)

        async def work(self) -> str:
            return await inner.ask(Fetch(SECRET))

    async with open_system() as system:
        inner: Ref[Any] = system.spawn(Relay(), name="inner")
        worker = Worker()
        ref: Ref[Any] = system.spawn(worker, name="worker")
        with tracer.start_as_current_span("request"):
            await ref.ask(Fetch(SECRET))
        await worker.heard.wait()
    request, outer, effect, below = tracer.spans
    assert [span.name for span in tracer.spans] == ["request", "ask Fetch", "effect work", "ask Fetch"]
    assert [span.parent for span in tracer.spans] == [None, request, outer, effect]
    assert outer.attributes == {"troupe.receiver": "/troupe/worker", "troupe.message": "Fetch"}
    assert effect.attributes == {"troupe.actor": "/troupe/worker"}
    assert below.attributes == {"troupe.receiver": "/troupe/inner", "troupe.message": "Fetch"}
    assert all(span.has_ended and span.status is None for span in tracer.spans)
    assert SECRET not in str(tracer.spans)


@pytest.mark.holds("X1")
async def test_a_span_of_what_failed_names_the_type_of_the_error_and_nothing_of_its_text(tracer: FakeTracer) -> None:
    async def work() -> None:
        raise ValueError(SECRET)

    def begin(relay: Relay) -> None:
        relay.start(work, then=lambda outcome: outcome)

    async with open_system() as system:
        relay = Relay()
        ref: Ref[Any] = system.spawn(relay, name="relay")
        ref.tell(begin)
        await relay.heard.wait()
        with pytest.raises(AskTimeout):
            await ref.ask(Fetch("never"), timeout=0.01)
    assert [span.name for span in tracer.spans] == ["effect work", "ask Fetch"]
    for span, error in zip(tracer.spans, ("ValueError", "AskTimeout"), strict=True):
        assert span.has_ended
        assert span.events == [], "an exception's text and traceback may hold anything"
        assert span.status is not None
        assert (span.status.status_code, span.status.description) == (spans.StatusCode.ERROR, error)
