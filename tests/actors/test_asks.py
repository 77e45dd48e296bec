"""Asks and replies: every ask ends, and what was granted is never lost. On both event loops."""

import asyncio

import anyio
import anyio.lowlevel
import pytest
import trio

from actors import Actor, Mailbox, Ref, Unclaimed, open_system
from actors.cell import ASKS_BETWEEN_YIELDS, Cell
from actors.reply import AskerGone, Unheard
from protocol.errors import ActorStopped, AskTimeout, NoReply
from tests.actors.notebook import Answer, Forget, Keep, Note, Notebook, NotebookMessage, Read


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


@pytest.mark.virtual_time
@pytest.mark.holds("R2")
@pytest.mark.parametrize("timeout", [None, 10])
async def test_who_asked_an_actor_that_stops_is_told_how_long_they_had_waited(timeout: float | None) -> None:
    async with open_system() as system, anyio.create_task_group() as tasks:
        ref = system.spawn(Notebook(), name="notebook")

        async def ask() -> None:
            with pytest.raises(ActorStopped) as stopped:
                await ref.ask(Keep(), timeout=timeout)
            assert stopped.value.waited == 3

        tasks.start_soon(ask)
        await anyio.sleep(3)
        ref.stop()
        with pytest.raises(ActorStopped) as stopped:
            await ref.ask(Keep(), timeout=timeout)
        assert stopped.value.waited == 0


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


@pytest.mark.holds("L2")
@pytest.mark.backends("asyncio")
async def test_an_answer_given_to_a_task_that_asyncio_cancels_before_it_wakes_comes_back() -> None:
    async with open_system() as system:
        notebook = Notebook()
        ref = system.spawn(notebook, name="notebook")
        asking = asyncio.ensure_future(ref.ask(Keep()))
        await anyio.wait_all_tasks_blocked()
        ref.tell(Answer("granted"))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert [signal.value for signal in notebook.signals if isinstance(signal, Unclaimed)] == ["granted"]


@pytest.mark.holds("L2", "L9")
async def test_an_error_given_to_an_asker_that_was_cancelled_before_comes_back() -> None:
    async with open_system() as system:
        notebook, error = Notebook(), ValueError("told once")
        ref = system.spawn(notebook, name="notebook")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ref.ask, Keep())
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
            notebook.kept[0].fail(error)  # to a task that is to be cancelled as soon as it runs
        assert notebook.signals == [Unheard(notebook.kept[0], error)]


async def test_an_error_given_to_an_asker_that_has_gone_comes_back() -> None:
    async with open_system() as system:
        notebook = Notebook()
        ref = system.spawn(notebook, name="notebook")
        with pytest.raises(AskTimeout):
            await ref.ask(Keep(), timeout=0.01)
        error = ValueError("too late")
        notebook.kept[0].fail(error)
        assert notebook.signals[1:] == [Unheard(notebook.kept[0], error)]


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
        assert ref.open_replies == ()


async def test_the_first_answer_counts() -> None:
    class Twice(Actor[Keep]):
        def receive(self, message: Keep) -> None:
            self.reply("one")
            self.reply("two")

    async with open_system() as system:
        assert await system.spawn(Twice(), name="twice").ask(Keep()) == "one"


async def test_an_answer_after_the_first_was_taken_comes_back_to_nobody() -> None:
    async with open_system() as system:
        notebook = Notebook()
        ref = system.spawn(notebook, name="notebook")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ref.ask, Keep())
            await anyio.wait_all_tasks_blocked()
            notebook.kept[0].answer("first")
        notebook.kept[0].answer("second")
        assert notebook.signals == []


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


@pytest.mark.backends("trio")
@pytest.mark.holds("S5")
async def test_an_ask_in_a_cancelled_scope_sends_nothing_also_where_trio_does_not_let_its_task_be_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def untold(_: trio.lowlevel.Task) -> object:
        return None

    monkeypatch.setattr("actors.backend._is_cancelled", untold)
    async with open_system() as system:
        assert system.check_cancelled is trio.lowlevel.checkpoint_if_cancelled
        notebook = Notebook()
        ref = system.spawn(notebook, name="notebook")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await ref.ask(Keep())
        assert scope.cancelled_caught
        assert notebook.kept == []
        assert await ref.ask(Read()) is not None, "and otherwise asks as ever"


@pytest.mark.holds("R2")
async def test_who_asks_an_actor_that_stops_in_that_turn_is_told_why() -> None:
    class Quitter(Actor[Forget | Read]):
        def receive(self, message: Forget | Read) -> None:
            self.stop(ValueError("enough") if isinstance(message, Read) else None)

    async with open_system() as system:
        with pytest.raises(ActorStopped) as caught:
            await system.spawn(Quitter(), name="one").ask(Read())
        assert isinstance(caught.value.__cause__, ValueError)
        assert system.failures == 1
        with pytest.raises(ActorStopped):
            await system.spawn(Quitter(), name="two").ask(Forget())
        assert system.failures == 1


@pytest.mark.holds("R2")
async def test_what_is_forwarded_once_it_is_answered_is_told_and_takes_up_no_room_for_good() -> None:
    class Back(Notebook):
        mailbox = Mailbox(2)

    class Front(Actor[Read]):
        def receive(self, message: Read) -> None:
            self.reply(["from the front"])
            self.forward(back, message)

    async with open_system() as system:
        notebook = Back()
        back = system.spawn(notebook, name="back")
        front = system.spawn(Front(), name="front")
        for _ in range(5):
            assert await front.ask(Read()) == ["from the front"]
        assert system.tree()[0].waiting == 0
