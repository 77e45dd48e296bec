"""The runtime: turns, asks, ends. On both event loops."""

import contextvars
import threading
from typing import Any, assert_never

import anyio
import anyio.lowlevel
import pytest

from actors import Actor, DeadLetter, Ref, Reply, Request, Signal, Terminated, Unclaimed, message, open_system
from actors.cell import ASKS_BETWEEN_YIELDS, Cell
from actors.reply import AskerGone
from protocol.errors import ActorStopped, AskTimeout, NameTaken, NoReply, SystemClosed, WrongThread


@message
class Note:
    text: str


@message
class Boom:
    pass


@message
class Read(Request[list[str]]):
    pass


@message
class Keep(Request[str]):
    """Answered later, by `Answer`."""


@message
class Answer:
    value: str


@message
class Forget(Request[str]):
    """Never answered."""


NotebookMessage = Note | Boom | Read | Keep | Answer | Forget


class Notebook(Actor[NotebookMessage]):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.kept: list[Reply[str]] = []
        self.signals: list[Signal] = []
        self.ended: list[BaseException | None] = []

    def started(self) -> None:
        self.notes.append("started")

    def receive(self, message: NotebookMessage) -> None:
        match message:
            case Note(text):
                self.notes.append(text)
            case Boom():
                raise ValueError("boom")
            case Read():
                self.reply(list(self.notes))
            case Keep():
                self.kept.append(self.keep_reply())
            case Answer(value):
                self.kept.pop(0).answer(value)
            case Forget():
                pass
            case _:
                assert_never(message)

    def signal(self, signal: Signal) -> None:
        self.signals.append(signal)

    def stopped(self, reason: BaseException | None) -> None:
        self.ended.append(reason)


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
async def test_every_ask_ends_answered_forgotten_failed_or_stopped() -> None:
    async with open_system() as system:
        ref = system.spawn(Notebook(), name="notebook")
        with pytest.raises(NoReply, match="/troupe/notebook did not answer Forget"):
            await ref.ask(Forget())

        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                with pytest.raises(ActorStopped, match="has stopped and cannot answer Keep"):
                    await ref.ask(Keep())

            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            ref.stop()
        with pytest.raises(ActorStopped):
            await ref.ask(Read())


@pytest.mark.holds("R2")
async def test_what_is_told_to_a_stopped_actor_is_a_dead_letter() -> None:
    async with open_system() as system:
        ref = system.spawn(Notebook(), name="notebook")
        ref.stop()
        ref.stop()
        ref.tell(Note("late"))
        assert system.dead_letters == 1
        assert list(system.last_dead_letters) == [DeadLetter(ref, Note("late"))]


@pytest.mark.holds("R2", "L2")
async def test_an_ask_that_times_out_tells_the_actor_that_its_asker_has_gone() -> None:
    async with open_system() as system:
        notebook = Notebook()
        ref = system.spawn(notebook, name="notebook")
        with pytest.raises(AskTimeout, match=r"did not answer Keep within 0.01 s"):
            await ref.ask(Keep(), timeout=0.01)
        (gone,) = notebook.signals
        assert isinstance(gone, AskerGone)
        assert gone.reply is notebook.kept[0]
        ref.tell(Answer("late"))
        assert notebook.signals[1] == Unclaimed(gone.reply, "late"), "an answer nobody takes comes back"


@pytest.mark.holds("L2")
async def test_an_answer_given_to_an_asker_that_is_cancelled_before_it_wakes_comes_back() -> None:
    async with open_system() as system:
        notebook = Notebook()
        ref = system.spawn(notebook, name="notebook")
        taken: list[str] = []
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                taken.append(await ref.ask(Keep()))

            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            ref.tell(Answer("granted"))
            tasks.cancel_scope.cancel()
        values = [signal.value for signal in notebook.signals if isinstance(signal, Unclaimed)]
        assert taken + values == ["granted"], "taken by the asker or handed back, and never both"


async def test_a_kept_reply_that_was_answered_is_not_held_on_to() -> None:
    class Prompt(Notebook):
        def receive(self, message: NotebookMessage) -> None:
            super().receive(message)
            if isinstance(message, Keep):
                self.ref.tell(Answer("in the same dispatch"))

    async with open_system() as system:
        ref = system.spawn(Prompt(), name="prompt")
        assert await ref.ask(Keep()) == "in the same dispatch"
        assert isinstance(ref, Cell)
        assert ref.open_replies == set()


async def test_the_first_answer_counts() -> None:
    class Twice(Actor[Keep]):
        def receive(self, message: Keep) -> None:
            self.reply("one")
            self.reply("two")

    async with open_system() as system:
        assert await system.spawn(Twice(), name="twice").ask(Keep()) == "one"


async def test_a_forwarded_request_is_answered_by_whoever_it_was_forwarded_to() -> None:
    class Front(Actor[Read]):
        def __init__(self, back: Ref[Read]) -> None:
            self.back = back

        def receive(self, message: Read) -> None:
            self.forward(self.back, message)

    async with open_system() as system:
        back = system.spawn(Notebook(), name="back")
        front = system.spawn(Front(back), name="front")
        assert await front.ask(Read()) == ["started"]
        back.stop()
        with pytest.raises(ActorStopped, match="/troupe/back"):
            await front.ask(Read())


async def test_keeping_the_reply_of_a_message_that_was_told_is_an_error() -> None:
    class Keeper(Actor[Note]):
        def receive(self, message: Note) -> None:
            with pytest.raises(LookupError, match="was told, not asked"):
                self.keep_reply()

    async with open_system() as system:
        system.spawn(Keeper(), name="keeper").tell(Note(""))
        assert system.failures == 0


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


async def test_asks_answered_at_once_let_other_tasks_run_now_and_then() -> None:
    async with open_system() as system:
        ref = system.spawn(Notebook(), name="notebook")
        ran: list[int] = []

        async def other() -> None:
            ran.append(1)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            for _ in range(2 * ASKS_BETWEEN_YIELDS):  # a task runs at the second yield at the latest
                await ref.ask(Read())
            assert ran == [1]


@pytest.mark.holds("S5")
async def test_an_ask_in_a_cancelled_scope_sends_nothing() -> None:
    async with open_system() as system:
        notebook = Notebook()
        ref = system.spawn(notebook, name="notebook")
        with anyio.CancelScope() as scope:
            scope.cancel()
            try:
                await anyio.lowlevel.checkpoint()
            finally:
                await ref.ask(Keep())
        assert scope.cancelled_caught
        assert notebook.kept == []


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
