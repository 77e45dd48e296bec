"""Threads and event loops: the way in from others, and what is refused. On both event loops."""

import asyncio
import math
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import sniffio
import trio.lowlevel
import trio.testing

from actors import Actor, Effect, Failed, Mailbox, Ref, Request, Succeeded, System, message, open_system
from protocol.errors import ActorStopped, AskInTurn, AskTimeout, MailboxFull, SystemClosed, WrongEventLoop, WrongThread

T = TypeVar("T")


@message
class Ping(Request[str]):
    pass


@message
class Keep(Request[str]):
    """Never answered."""


class Desk(Actor[Any]):
    """Notes what comes and on which thread, and does what can be called."""

    def __init__(self) -> None:
        self.notes: list[Any] = []
        self.threads: set[int] = set()
        self.heard = anyio.Event()

    def receive(self, message: Any) -> None:
        self.threads.add(threading.get_ident())
        match message:
            case Ping():
                self.reply("pong")
            case Keep():
                self.keep_reply()
            case _ if callable(message):
                message(self)
            case _:
                self.notes.append(message)
                self.heard.set()


async def in_thread(function: Callable[[], T]) -> T:
    """Run a function in a thread. Real time passes: the virtual clock, which knows no threads, would jump ahead."""
    if sniffio.current_async_library() == "trio":
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        clock.autojump_threshold = math.inf
        clock.rate = 1.0
    return await anyio.to_thread.run_sync(function, abandon_on_cancel=True)


@pytest.mark.holds("R1", "R6")
async def test_what_a_thread_tells_arrives_in_order_as_turns_like_any_other() -> None:
    async def work() -> str:
        return "work"

    def act(desk: Desk) -> None:
        desk.start(work, then=lambda outcome: outcome)
        desk.after(0.0, "timer")

    async with open_system() as system:
        desk = Desk()
        ref: Ref[Any] = system.spawn(desk)

        await in_thread(lambda: [system.from_thread.tell(ref, each) for each in (*range(100), act)])
        while len(desk.notes) < 102 and ref.is_alive:
            await anyio.lowlevel.checkpoint()
        assert desk.notes[:100] == list(range(100))
        assert sorted(map(str, desk.notes[100:])) == [str(Succeeded("work")), "timer"]
        assert desk.threads == {threading.get_ident()}


@pytest.mark.holds("R2")
async def test_what_a_thread_asks_is_answered_and_errors_cross_over_to_it() -> None:
    async with open_system() as system:
        ref: Ref[Any] = system.spawn(Desk(), name="desk")

        def run() -> None:
            assert system.from_thread.ask(ref, Ping(), timeout=10) == "pong"
            with pytest.raises(AskTimeout, match=r"/troupe/desk did not answer Keep within 0.01 s"):
                system.from_thread.ask(ref, Keep(), timeout=0.01)
            system.from_thread.tell(ref, Desk.stop)
            with pytest.raises(ActorStopped, match="/troupe/desk"):
                system.from_thread.ask(ref, Ping())

        await in_thread(run)


@pytest.mark.holds("R2")
async def test_a_full_mailbox_makes_what_a_thread_tells_a_dead_letter_and_fails_what_it_asks() -> None:
    class Late(Desk):
        async def starting(self) -> None:
            await anyio.sleep_forever()

    async with open_system() as system:
        ref: Ref[Any] = system.spawn(Late(), name="late", mailbox=Mailbox(1))
        for text in ("first", "second"):
            system.from_thread.tell(ref, text)
        with pytest.raises(MailboxFull, match="/troupe/late has no room for Ping"):
            await in_thread(lambda: system.from_thread.ask(ref, Ping()))
        (letter,) = system.dead_letters.latest
        assert letter.reason.startswith("/troupe/late has no room for str")


async def test_the_systems_own_thread_may_tell_so_also_from_a_finalizer_within_a_turn_but_not_ask() -> None:
    async with open_system() as system:
        desk = Desk()
        ref: Ref[Any] = system.spawn(desk, name="desk")
        with pytest.raises(WrongThread, match="/troupe/desk was asked for Ping by way of from_thread"):
            system.from_thread.ask(ref, Ping())
        lent = [lambda: None]
        weakref.finalize(lent[0], system.from_thread.tell, ref, "given back")

        def act(desk: Desk) -> None:
            lent.clear()
            desk.notes.append("the turn goes on")

        ref.tell(act)
        await desk.heard.wait()
        assert desk.notes == ["the turn goes on", "given back"]


async def test_a_system_that_is_not_open_says_so_to_threads_too() -> None:
    async with open_system() as system:
        ref: Ref[Any] = system.spawn(Desk(), name="desk")
    with pytest.raises(SystemClosed, match="/troupe/desk was told str, but its system is not open"):
        system.from_thread.tell(ref, "late")
    with pytest.raises(SystemClosed, match="/troupe/desk was asked for Ping, but its system is not open"):
        await in_thread(lambda: system.from_thread.ask(ref, Ping()))


@pytest.mark.holds("R2", "R4")
@pytest.mark.parametrize("question", [Ping(), Keep()])
async def test_threads_that_ask_all_end_when_the_system_is_left(question: Request[str]) -> None:
    ended: list[str] = []

    async def ask(system: System) -> None:
        def run() -> None:
            with pytest.raises((ActorStopped, SystemClosed), match=r"/troupe/desk|troupe was left"):
                while True:
                    system.from_thread.ask(system.named("desk"), question)

        ended.append(str(await in_thread(run)))

    for _ in range(20):
        async with anyio.create_task_group() as tasks, open_system() as system:
            system.spawn(Desk(), name="desk")
            for _ in range(3):
                tasks.start_soon(ask, system)
            await anyio.sleep(0.002)
    assert len(ended) == 60


class LastMoment(trio.abc.Instrument):
    """Does something in the tick in which the last task of this task's child tasks has ended."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._parent, self._act = trio.lowlevel.current_task(), act

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        nursery = task.parent_nursery
        if nursery is not None and nursery.parent_task is self._parent and nursery.child_tasks <= {task}:
            self._act()


@pytest.mark.backends("trio")
@pytest.mark.holds("R2", "R4")
async def test_a_thread_that_asks_in_the_last_moment_of_the_system_is_told_that_it_was_left() -> None:
    ended: list[str] = []

    def ask() -> None:
        with pytest.raises(SystemClosed):
            system.from_thread.ask(system.named("desk"), Ping())
        ended.append("refused")

    def act() -> None:
        asking.start()
        asking.join(0.001)  # by then it waits for its answer

    for _ in range(20):  # trio wakes the tasks of one tick in any order
        asking, instrument = threading.Thread(target=ask, daemon=True), LastMoment(act)
        async with open_system() as system:
            trio.lowlevel.add_instrument(instrument)
        trio.lowlevel.remove_instrument(instrument)
        await in_thread(asking.join)
    assert len(ended) == 20


@pytest.mark.holds("R6")
@pytest.mark.parametrize("name", ["asker", "other", "nobody"])
async def test_an_ask_inside_a_turn_is_refused_at_the_call_with_both_paths(name: str) -> None:
    async with open_system() as system:
        asker: Ref[Any] = system.spawn(Desk(), name="asker")
        system.spawn(Desk(), name="other")

        def act(_: Desk) -> None:
            for receiver in (system.find(name) or system.named(name), system.named(name)):
                with pytest.raises(AskInTurn, match=f"/troupe/asker asked /troupe/{name} for Ping inside a turn"):
                    receiver.ask(Ping()).close()

        asker.tell(act)
        assert asker.is_alive


TRESPASS = """
import trio, trio_asyncio
from actors import Supervisor, WhichChildren, open_system
from protocol.errors import WrongEventLoop

async def main():
    async with open_system() as system, trio_asyncio.open_loop() as loop:
        ref, over = system.spawn(Supervisor(), name="there"), trio.Event()
        await ref.ask(WhichChildren())

        def trespass():
            for attempt in (lambda: ref.tell(WhichChildren()), lambda: system.spawn(Supervisor(), name="more")):
                try:
                    attempt()
                except WrongEventLoop as error:
                    print(error)
            over.set()

        loop.call_soon(trespass)
        await over.wait()

trio.run(main)
"""


@pytest.mark.holds("R6")
@pytest.mark.parametrize("first", ["import actors", "import trio_asyncio"])
def test_a_callback_of_trio_asyncio_is_another_event_loop_and_trios_own_side_is_not(first: str) -> None:
    # In a process of its own: with its import trio-asyncio puts itself in the place of asyncio.
    program = [sys.executable, "-c", first + TRESPASS]
    told = subprocess.run(program, check=True, capture_output=True, text=True).stdout  # noqa: S603 - this interpreter
    assert "/troupe/there was sent WhichChildren from another event loop" in told
    assert "Supervisor cannot be started in troupe from another event loop" in told


@pytest.mark.holds("R6")
def test_another_event_loop_of_the_same_thread_is_refused_by_name() -> None:
    async def live(may_end: asyncio.Event) -> None:
        async with open_system() as system:
            opened.append(system.spawn(Desk(), name="desk"))
            await may_end.wait()

    async def trespass() -> None:
        with pytest.raises(WrongEventLoop, match="/troupe/desk was sent str from another event loop"):
            ref.tell("foreign")
        with pytest.raises(WrongEventLoop, match="/troupe/desk was sent Ping"):
            await ref.ask(Ping())

    opened, may_end = list[Ref[Any]](), asyncio.Event()
    with asyncio.Runner() as home, asyncio.Runner() as abroad:
        living = home.get_loop().create_task(live(may_end))
        while not opened:
            home.run(asyncio.sleep(0))
        ref = opened.pop()
        abroad.run(trespass())
        may_end.set()
        home.get_loop().run_until_complete(living)


@pytest.mark.holds("S5", "R4")
async def test_a_function_in_a_thread_tells_how_it_ended_and_outlives_its_cancellation() -> None:
    may_end, effects = threading.Event(), list[Effect]()

    def act(desk: Desk) -> None:
        works: tuple[Callable[[], object], ...] = (lambda: "done", lambda: int("none"), may_end.wait)
        effects.extend(desk.start_in_thread(work, then=lambda outcome: outcome) for work in works)

    async with open_system() as system:
        desk = Desk()
        ref: Ref[Any] = system.spawn(desk)
        await in_thread(lambda: system.from_thread.tell(ref, act))
        while len(desk.notes) < 2:
            await anyio.lowlevel.checkpoint()
        assert Succeeded("done") in desk.notes
        assert any(isinstance(note, Failed) and isinstance(note.error, ValueError) for note in desk.notes)
        effects[2].cancel()
        ref.stop()
        await anyio.sleep(0.001)
        assert (system.tree()[0].state, system.tree()[0].effects) == ("stopping", 1), "a thread cannot be interrupted"
        may_end.set()
