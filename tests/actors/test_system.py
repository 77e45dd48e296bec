"""The runtime: turns, asks, ends. On both event loops."""

import contextvars
import threading
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from actors import Actor, DeadLetter, Ref, Terminated, message, open_system
from protocol.errors import NameTaken, SystemClosed, WrongThread
from tests.actors.notebook import Boom, Note, Notebook, Read


async def test_a_message_is_handled_before_tell_returns() -> None:
    async with open_system() as system:
        notebook = Notebook()
        ref = system.spawn(notebook, name="notebook")
        ref.tell(Note("first"))
        assert notebook.notes == ["started", "first"]
        assert await ref.ask(Read()) == ["started", "first"]
        assert ref.path == "/troupe/notebook"


@pytest.mark.holds("R1")
async def test_turns_never_nest_and_messages_from_one_sender_arrive_in_order() -> None:
    @message
    class Count:
        left: int

    class Nested(Actor[Count]):
        def __init__(self) -> None:
            self.depth = 0
            self.seen: list[int] = []

        def receive(self, message: Count) -> None:
            self.depth += 1
            assert self.depth == 1
            self.seen.append(message.left)
            if message.left == 3:
                for left in (2, 1, 0):
                    self.ref.tell(Count(left))
                assert self.seen == [3]
            self.depth -= 1

    async with open_system() as system:
        nested = Nested()
        system.spawn(nested, name="nested").tell(Count(3))
        assert nested.seen == [3, 2, 1, 0]


@pytest.mark.holds("R6")
async def test_a_long_chain_of_messages_lets_other_tasks_run_in_between() -> None:
    @message
    class Count:
        left: int

    class Chain(Actor[Count]):
        left = -1

        def receive(self, message: Count) -> None:
            self.left = message.left
            if message.left:
                self.ref.tell(Count(message.left - 1))

    async with open_system() as system:
        chain = Chain()
        system.spawn(chain, name="chain").tell(Count(200_000))
        assert chain.left > 0, "the sender got its thread back before the chain was done"
        while chain.left:
            await anyio.lowlevel.checkpoint()


@pytest.mark.holds("R2")
async def test_an_actor_that_fails_is_stopped_and_its_sender_sees_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with open_system() as system:
        notebook, watcher = Notebook(), Notebook()
        ref = system.spawn(notebook, name="notebook")

        class Watching(Notebook):
            def started(self) -> None:
                self.watch(ref)

        watcher = Watching()
        system.spawn(watcher, name="watcher")
        ref.tell(Boom())
        assert not ref.is_alive
        assert isinstance(notebook.ended[0], ValueError)
        assert watcher.signals == [Terminated(ref, notebook.ended[0])]
        assert "/troupe/notebook failed" in caplog.text
        assert system.failures == 1


@pytest.mark.holds("R2")
async def test_what_is_told_to_a_stopped_actor_is_a_dead_letter() -> None:
    async with open_system() as system:
        ref = system.spawn(Notebook(), name="notebook")
        ref.stop()
        ref.stop()
        ref.tell(Note("late"))
        assert system.dead_letters.count == 1
        assert list(system.dead_letters.latest) == [DeadLetter(ref, Note("late"), "it has stopped")]


async def test_a_taken_name_is_refused_and_free_again_after_the_end() -> None:
    async with open_system() as system:
        ref = system.spawn(Notebook(), name="one")
        with pytest.raises(NameTaken, match="/troupe/one is alive"):
            system.spawn(Notebook(), name="one")
        ref.stop()
        system.spawn(Notebook(), name="one")


@pytest.mark.holds("R4")
async def test_children_end_with_their_parent_and_before_it() -> None:
    ended: list[str] = []

    class Family(Actor[Note]):
        def __init__(self, name: str, *children: "Family") -> None:
            self.name = name
            self.offspring = children

        def started(self) -> None:
            for child in self.offspring:
                self.spawn(child, name=child.name)

        def receive(self, message: Note) -> None:
            pass

        def stopped(self, reason: BaseException | None) -> None:
            ended.append(self.name)

    async with open_system() as system:
        ref = system.spawn(Family("root", Family("a", Family("a1")), Family("b")), name="root")
        ref.stop()
        assert ended == ["b", "a1", "a", "root"]


async def test_a_watch_on_an_actor_that_has_ended_answers_at_once() -> None:
    async with open_system() as system:
        ended = system.spawn(Notebook(), name="ended")
        ended.stop()

        class Watching(Notebook):
            def started(self) -> None:
                self.watch(ended)

        watcher = Watching()
        system.spawn(watcher, name="watcher")
        assert watcher.signals == [Terminated(ended, None)]


@pytest.mark.holds("R6")
async def test_a_message_from_another_thread_is_refused_by_name() -> None:
    async with open_system() as system:
        ref = system.spawn(Notebook(), name="notebook")
        raised: list[Exception] = []

        def tell() -> None:
            try:
                ref.tell(Note("foreign"))
            except WrongThread as error:
                raised.append(error)

        thread = threading.Thread(target=tell)
        thread.start()
        thread.join()
        assert "/troupe/notebook was sent Note from another thread" in str(raised[0])


async def test_a_system_that_was_left_says_so() -> None:
    async with open_system("short") as system:
        ref = system.spawn(Notebook(), name="notebook")
    with pytest.raises(SystemClosed, match="/short/notebook was sent Note, but its system is not open"):
        ref.tell(Note(""))
    with pytest.raises(SystemClosed):
        await ref.ask(Read())
    with pytest.raises(SystemClosed, match="the system short is not open"):
        system.spawn(Notebook(), name="other")
    ref.stop()


async def test_an_exception_of_the_body_leaves_as_it_is() -> None:
    with pytest.raises(ValueError, match="mine"):
        async with open_system() as system:
            system.spawn(Notebook(), name="notebook")
            raise ValueError("mine")


@pytest.mark.holds("S5")
async def test_a_cancelled_body_leaves_cancelled_and_stops_the_actors() -> None:
    notebook = Notebook()
    with anyio.CancelScope() as scope:
        async with open_system() as system:
            system.spawn(notebook, name="notebook")
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert notebook.ended == [None]


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")


@pytest.mark.holds("R6")
async def test_an_effect_does_not_see_the_senders_context() -> None:
    seen: list[str] = []

    class Starter(Actor[Any]):
        def receive(self, message: Any) -> None:
            if message == "go":
                self.start(self.look, then=lambda _: "done")
            else:
                finished.set()

        async def look(self) -> None:
            seen.append(variable.get())

    variable.set("opener")
    async with open_system() as system:
        finished = anyio.Event()
        ref: Ref[Any] = system.spawn(Starter(), name="starter")
        variable.set("sender")
        ref.tell("go")
        await finished.wait()
    assert seen == ["opener"]
