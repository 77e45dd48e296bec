"""What is done in the wrong place, or with the wrong thing: an error by name at once, and nothing is half-done."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
import trio

from actors import Actor, InvalidSettings, Mailbox, NameTaken, NoTurn, Request, WrongEventLoop, message, open_system
from actors.system import System


@message
class Question(Request[str]):
    number: int = 0


class Desk(Actor[Any]):
    """Does as it is told: a message that can be called is called."""

    def receive(self, message: Any) -> None:
        if isinstance(message, Question):
            self.reply(f"answer {message.number}")
        elif callable(message):
            message(self)


MISPLACED: list[Callable[[Desk], object]] = [
    lambda desk: desk.reply(1),
    lambda desk: desk.keep_reply(),
    lambda desk: desk.forward(desk.ref, 1),
]


@pytest.mark.parametrize("do", MISPLACED, ids=["reply", "keep_reply", "forward"])
@pytest.mark.parametrize("where", ["effect", "thread", "outside"])
async def test_what_belongs_to_a_turn_is_refused_outside_of_one(do: Callable[[Desk], object], where: str) -> None:
    refused: list[NoTurn] = []
    desk = Desk()

    def attempt(_: object = None) -> None:
        with pytest.raises(NoTurn, match=r"/troupe/desk cannot .*: it has no turn now") as caught:
            do(desk)
        refused.append(caught.value)

    async def effect() -> None:
        attempt()

    async with open_system() as system:
        ref = system.spawn(desk, name="desk")
        match where:
            case "outside":
                attempt()
            case "effect":
                desk.start(effect, then=lambda _: None)
                await anyio.wait_all_tasks_blocked()
            case _:
                # In the middle of a turn, whose reply is somebody else's.
                with ThreadPoolExecutor() as threads:
                    ref.tell(_in(threads, attempt))
        assert ref.is_alive
    assert len(refused) == 1


def _in(threads: ThreadPoolExecutor, attempt: Callable[[], None]) -> Callable[[Desk], None]:
    def turn(_: Desk) -> None:
        threads.submit(attempt).result()

    return turn


class NoShutdown(Desk):
    shutdown = cast("float", "x")


class NoStart(Desk):
    start_timeout = -5


class NoMailbox(Desk):
    mailbox = cast("Mailbox", 5)


class Generator(Desk):
    def receive(self, message: Any) -> Any:
        yield message


class PlainStarting(Desk):
    def starting(self) -> Any:
        pass


@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [
        (NoShutdown, InvalidSettings, "NoShutdown.shutdown must be seconds"),
        (NoStart, InvalidSettings, "NoStart.start_timeout must be seconds"),
        (NoMailbox, InvalidSettings, "NoMailbox.mailbox must be a Mailbox"),
        (Generator, TypeError, "Generator.receive is a coroutine or generator function"),
        (PlainStarting, TypeError, "PlainStarting.starting must be an `async def`"),
        (lambda: Desk, TypeError, "is no object of an Actor's class"),
    ],
)
async def test_an_actor_that_could_not_work_is_refused_at_its_start_with_its_path(
    kind: Callable[[], Any], error: type[Exception], text: str
) -> None:
    async with open_system() as system:
        with pytest.raises(error, match=f"/troupe/desk cannot be started: .*{text}"):
            system.spawn(kind(), name="desk")
        with pytest.raises(InvalidSettings, match="make a Mailbox"):
            system.spawn(Desk(), name="desk", mailbox=cast("Mailbox", 3))
        assert system.tree() == ()
        assert await system.spawn(Desk(), name="desk").ask(Question(1)) == "answer 1"


def test_what_needs_a_system_says_so_before_there_is_one() -> None:
    class Hasty(Desk):
        def __init__(self) -> None:
            self.every(1.0, "tick")

    with pytest.raises(AttributeError, match="this actor has not been spawned yet: do in `started`"):
        Hasty()


async def test_an_effect_is_made_of_functions() -> None:
    desk = Desk()
    not_a_function = cast("Any", None)

    async def effect() -> None:
        await anyio.lowlevel.checkpoint()

    async with open_system() as system:
        system.spawn(desk, name="desk")
        with pytest.raises(TypeError, match="/troupe/desk cannot start an effect"):
            desk.start(effect, then=not_a_function)
        with pytest.raises(TypeError, match="give it to `start`"):
            desk.start_in_thread(effect, then=lambda _: None)
        with pytest.raises(InvalidSettings, match="after nan s"):
            desk.after(float("nan"), "never")


async def test_the_name_of_an_actor_that_is_still_stopping_is_free_once_it_has_ended() -> None:
    class Slow(Desk):
        def started(self) -> None:
            self.start(self.linger, then=lambda _: None)

        async def linger(self) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.01)

    async with open_system() as system:
        ref = system.spawn(Slow(), name="slow")
        await anyio.wait_all_tasks_blocked()
        ref.stop()
        with pytest.raises(NameTaken, match="/troupe/slow is still stopping"):
            system.spawn(Slow(), name="slow")
        assert await system.ended(ref) is None
        system.spawn(Desk(), name="slow").tell(_fail)
        assert await system.ended(ref) is None
        assert await system.ended(system.named("nobody")) is None


def _fail(_: Any) -> None:
    raise ValueError("boom")


async def test_whoever_waits_for_an_end_is_told_what_it_was() -> None:
    ended: list[Any] = []
    async with open_system() as system, anyio.create_task_group() as tasks:
        ref = system.spawn(Desk(), name="desk")

        async def wait(system: System) -> None:
            ended.append(await system.ended(ref))

        tasks.start_soon(wait, system)
        tasks.start_soon(wait, system)
        await anyio.wait_all_tasks_blocked()
        ref.tell(_fail)
    assert [type(reason) for reason in ended] == [ValueError, ValueError]


@pytest.mark.holds("R6")
@pytest.mark.backends("asyncio")
async def test_trio_as_a_guest_of_asyncio_is_another_event_loop() -> None:
    refused: list[WrongEventLoop] = []
    async with open_system() as system:
        ref = system.spawn(Desk(), name="desk")
        over = asyncio.Event()

        async def guest() -> None:
            try:
                ref.tell("from the guest")
            except WrongEventLoop as error:
                refused.append(error)
            await trio.lowlevel.checkpoint()

        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=asyncio.get_running_loop().call_soon_threadsafe,
            done_callback=lambda _: over.set(),
        )
        await over.wait()
        assert await ref.ask(Question(2)) == "answer 2"
    assert "/troupe/desk was sent str from another event loop" in str(refused[0])


def test_messages_of_equal_content_are_one_key() -> None:
    assert {Question(1): "one"}[Question(1)] == "one"
