"""How actors and systems end when things go wrong at once: nothing hangs, nothing is lost, nobody else is hurt."""

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from actors import Actor, Ref, Reply, Request, Signal, Terminated, message, open_system
from protocol.errors import ActorStopped, NoReply, SystemClosed, WrongThread


@message
class Ping(Request[str]):
    pass


class Echo(Actor[Any]):
    """Does as it is told: a message that can be called is called."""

    def __init__(self, *, ends: Callable[["Echo"], None] | None = None) -> None:
        self.heard: list[Any] = []
        self.signals: list[Signal] = []
        self.heard_before_signals = -1
        self.ends = ends

    def receive(self, message: Any) -> None:
        self.heard.append(message)
        if isinstance(message, Ping):
            self.reply("pong")
        elif callable(message):
            message(self)

    def signal(self, signal: Signal) -> None:
        self.signals.append(signal)
        self.heard_before_signals = len(self.heard)

    def stopped(self, reason: BaseException | None) -> None:
        if self.ends is not None:
            self.ends(self)


class Flood(Actor[int]):
    """Tells itself so many messages at once."""

    def __init__(self) -> None:
        self.left = 0

    def receive(self, message: int) -> None:
        self.left = message
        if message:
            self.ref.tell(message - 1)


@pytest.mark.holds("R4", "S5")
async def test_a_cancellation_from_outside_while_messages_are_queued_does_not_keep_the_system_open() -> None:
    system = open_system()
    with anyio.CancelScope() as scope:
        async with system:
            system.spawn(Flood(), name="flood").tell(100_000)
            assert system.is_busy
            scope.cancel()
            await anyio.sleep(1)
    assert scope.cancelled_caught
    assert not len(system.queue)


@pytest.mark.holds("R4")
async def test_effects_are_ended_by_their_actor_and_not_by_who_opened_the_system() -> None:
    ended: list[str] = []

    class Worker(Actor[Any]):
        def started(self) -> None:
            self.start(self.work, then=lambda _: None)

        async def work(self) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                ended.append("alive" if self.ref.is_alive else "stopped")

    with anyio.CancelScope() as scope:
        async with open_system() as system:
            system.spawn(Worker(), name="worker")
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            await anyio.sleep(1)
    assert ended == ["stopped"]


@pytest.mark.backends("asyncio")
async def test_a_second_cancellation_by_asyncio_while_leaving_leaves_nothing_running() -> None:
    class Slow(Actor[Any]):
        def started(self) -> None:
            self.start(self.work, then=lambda _: None)

        async def work(self) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.05)

    system = open_system()

    async def run() -> None:
        async with system:
            system.spawn(Slow(), name="slow")
            await asyncio.sleep(10)

    task = asyncio.create_task(run())
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    await anyio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert system.thread == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.holds("R1")
async def test_the_news_of_an_actors_end_never_overtakes_its_last_words() -> None:
    async with open_system() as system:
        parent = Echo()
        ref: Ref[Any] = system.spawn(parent, name="parent")

        def last_words(child: Echo) -> None:
            ref.tell("last words")
            child.stop()

        child_ref: Ref[Any] = system.spawn(Echo(), name="child")

        def begin(parent: Echo) -> None:
            parent.watch(child_ref)

        ref.tell(begin)
        # The system is busy from here on, so that both are queued.
        system.spawn(Flood(), name="flood").tell(100_000)
        child_ref.tell(last_words)
        while not parent.signals:
            await anyio.lowlevel.checkpoint()
        assert parent.signals == [Terminated(child_ref, None)]
        assert parent.heard_before_signals == 2, "to watch, and the last words"


async def test_an_actor_can_be_started_anew_under_its_name_as_soon_as_its_end_is_known() -> None:
    again: list[Ref[Any]] = []

    class Parent(Actor[Any]):
        def started(self) -> None:
            self.watch(self.spawn(Worker(), name="worker"))

        def receive(self, message: Any) -> None:
            pass

        def signal(self, signal: Signal) -> None:
            again.append(self.spawn(Echo(), name="worker"))

    class Worker(Actor[Any]):
        def started(self) -> None:
            self.start(self.work, then=lambda _: "done")

        async def work(self) -> None:
            pass

        def receive(self, message: Any) -> None:
            self.stop()

    async with open_system() as system:
        system.spawn(Parent(), name="parent")
        await anyio.wait_all_tasks_blocked()
        assert again[0].is_alive
        assert system.failures == 0


async def test_a_last_turn_answers_nobody_elses_request() -> None:
    async with open_system() as system:
        ender: Ref[Any] = system.spawn(Echo(ends=lambda actor: actor.reply("wrong")), name="ender")

        class Stopper(Actor[Ping]):
            def receive(self, message: Ping) -> None:
                self.kept: Reply[str] = self.keep_reply()
                ender.stop()
                self.kept.answer("right")

        assert await system.spawn(Stopper(), name="stopper").ask(Ping()) == "right"
        ender.stop()
        assert system.current_reply is None


@pytest.mark.holds("R2")
async def test_what_ends_a_process_ends_the_actor_reaches_the_sender_and_wedges_nothing() -> None:
    def leave(_: Echo) -> None:
        raise SystemExit(3)

    async with open_system() as system:
        ref: Ref[Any] = system.spawn(Echo(), name="leaver")
        with pytest.raises(SystemExit):
            ref.tell(leave)
        while system.is_busy:
            await anyio.lowlevel.checkpoint()
        assert not ref.is_alive
        other: Ref[Any] = system.spawn(Echo(), name="other")
        assert await other.ask(Ping()) == "pong"


@pytest.mark.holds("R4")
async def test_what_starts_itself_anew_at_its_end_does_not_keep_the_system_open() -> None:
    refused: list[Exception] = []

    async with open_system() as system:

        def again(_: Echo) -> None:
            try:
                system.spawn(Echo(ends=again), name="phoenix")
            except SystemClosed as error:
                refused.append(error)

        system.spawn(Echo(ends=again), name="phoenix")
    assert len(refused) == 1


async def test_nothing_can_be_started_below_an_actor_that_has_stopped() -> None:
    async with open_system() as system:
        echo = Echo()
        system.spawn(echo, name="echo").stop()
        with pytest.raises(ActorStopped, match="/troupe/echo has stopped and cannot start child"):
            echo.spawn(Echo(), name="child")


@pytest.mark.holds("R4")
async def test_a_very_deep_tree_ends_from_the_bottom_up() -> None:
    ended: list[int] = []

    class Link(Actor[int]):
        def __init__(self, number: int) -> None:
            self.number = number

        def started(self) -> None:
            if self.number:
                self.spawn(Link(self.number - 1), name="next")

        def receive(self, message: int) -> None:
            pass

        def stopped(self, reason: BaseException | None) -> None:
            ended.append(self.number)

    async with open_system() as system:
        root = system.spawn(Link(3_000), name="root")
        root.stop()
        while system.is_busy:
            await anyio.lowlevel.checkpoint()
        assert ended == list(range(3_001))


@pytest.mark.holds("R2")
async def test_an_ask_that_is_still_queued_when_the_system_is_left_ends() -> None:
    ended: list[str] = []
    async with anyio.create_task_group() as outer:
        async with open_system() as system:
            ref: Ref[Any] = system.spawn(Echo(), name="echo")
            system.spawn(Flood(), name="flood").tell(100_000)

            async def ask() -> None:
                try:
                    ended.append(await ref.ask(Ping()))
                except ActorStopped:
                    ended.append("stopped")

            outer.start_soon(ask)
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
        assert not len(system.queue)
    assert len(ended) == 1


@pytest.mark.holds("R6")
async def test_an_actor_cannot_be_started_from_another_thread() -> None:
    async with open_system() as system:
        with ThreadPoolExecutor() as threads, pytest.raises(WrongThread):
            threads.submit(lambda: system.spawn(Echo(), name="echo")).result()


async def test_a_request_cannot_be_forwarded_to_another_system() -> None:
    async with open_system("one") as one, open_system("two") as two:
        there: Ref[Any] = two.spawn(Echo(), name="there")

        class Front(Actor[Ping]):
            def receive(self, message: Ping) -> None:
                with pytest.raises(TypeError, match="is not of <System one"):
                    self.forward(there, message)
                self.reply("refused")

        assert await one.spawn(Front(), name="front").ask(Ping()) == "refused"


@pytest.mark.holds("R2")
async def test_a_kept_reply_that_is_forwarded_after_all_is_the_receivers_to_answer() -> None:
    class Mute(Actor[Ping]):
        def receive(self, message: Ping) -> None:
            pass

    class Front(Actor[Ping]):
        def __init__(self, back: Ref[Ping]) -> None:
            self.back = back

        def receive(self, message: Ping) -> None:
            self.keep_reply()
            self.forward(self.back, message)

    async with open_system() as system:
        mute = system.spawn(Mute(), name="mute")
        with pytest.raises(NoReply, match="/troupe/mute"):
            await system.spawn(Front(mute), name="front").ask(Ping())


class Fatal(BaseException):
    """Ends more than an actor, as SystemExit does."""


def fatal(_: Any) -> None:
    raise Fatal


class Outcomes(Echo):
    """Starts an effect at once, and does with its outcome as it is told."""

    def __init__(self, then: Callable[[Any], None], **ends: Any) -> None:
        super().__init__(**ends)
        self.then = then

    def started(self) -> None:
        self.start(anyio.lowlevel.checkpoint, then=lambda _: self.then)


@pytest.mark.holds("R4")
@pytest.mark.parametrize(
    "actor", [lambda: Outcomes(fatal), lambda: Outcomes(Echo.stop, ends=fatal)], ids=["in a turn", "in the last turn"]
)
async def test_what_ends_more_than_an_actor_within_an_effect_ends_the_system_and_does_not_hang_it(
    actor: Callable[[], Outcomes],
) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        async with open_system() as system:
            system.spawn(actor(), name="actor")
            await anyio.sleep(1)
    assert caught.group_contains(Fatal)


@pytest.mark.holds("R4")
async def test_what_ends_more_than_an_actor_within_the_pump_ends_the_system_and_does_not_hang_it() -> None:
    class Bomb(Flood):
        def receive(self, message: int) -> None:
            super().receive(message)
            if message == 20:
                raise Fatal

    with pytest.raises(BaseExceptionGroup) as caught:
        async with open_system() as system:
            system.spawn(Bomb(), name="bomb").tell(100_000)
            await anyio.sleep(1)
    assert caught.group_contains(Fatal)


@pytest.mark.holds("R4")
async def test_an_actor_that_has_ended_can_start_nothing() -> None:
    refused: list[Exception] = []

    def start(echo: Echo) -> None:
        try:
            echo.start(anyio.sleep_forever, then=lambda _: None)
        except ActorStopped as error:
            refused.append(error)

    async with open_system() as system:
        system.spawn(Echo(ends=start), name="late")
    assert "/troupe/late has stopped and cannot start an effect" in str(refused[0])


@pytest.mark.backends("asyncio")
@pytest.mark.holds("R2")
async def test_an_ask_behind_a_backlog_ends_also_when_asyncio_cancels_twice() -> None:
    system = open_system()
    answers: list[str] = []

    async def run() -> None:
        async with system:
            system.spawn(Flood(), name="flood").tell(100_000)
            await asyncio.sleep(10)

    async def ask() -> None:
        try:
            answers.append(await ref.ask(Ping()))
        except ActorStopped:
            answers.append("stopped")

    task = asyncio.create_task(run())
    await anyio.lowlevel.checkpoint()
    ref: Ref[Any] = system.spawn(Echo(), name="echo")
    asking = asyncio.create_task(ask())
    await anyio.lowlevel.checkpoint()
    task.cancel()
    await anyio.lowlevel.checkpoint()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asking
    assert len(answers) == 1
    assert not system.is_busy


@pytest.mark.parametrize("what", ["tell", "stop", "spawn"])
async def test_no_depth_of_the_senders_stack_wedges_the_system(what: str) -> None:
    async with open_system() as system:

        def act(number: int, ref: Ref[Any]) -> None:
            match what:
                case "tell":
                    ref.tell("deep")
                case "stop":
                    ref.stop()
                case _:
                    system.spawn(Echo(), name=f"deep-{number}")

        def at_depth(frames: int, number: int, ref: Ref[Any]) -> None:
            if frames:
                at_depth(frames - 1, number, ref)
            else:
                act(number, ref)

        for number, depth in enumerate(range(sys.getrecursionlimit() - 250, sys.getrecursionlimit(), 2)):
            ref: Ref[Any] = system.spawn(Echo(), name=f"echo-{number}")
            with suppress(RecursionError):
                at_depth(depth, number, ref)
        fresh: Ref[Any] = system.spawn(Echo(), name="fresh")
        assert await fresh.ask(Ping()) == "pong"
