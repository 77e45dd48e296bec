"""How actors start: what waits for it, how it fails, and what is left then. On both event loops."""

import asyncio
from typing import Any, ClassVar

import anyio
import pytest

from actors import Actor, Failed, Ref, Signal, Terminated, open_system
from protocol.errors import ActorReused, ActorStopped, InvalidName, NameTaken, StartFailed, StartTimeout
from tests.actors.notebook import Notebook, Read


class Boat(Actor[Any]):
    """Starts when it may, or fails to, and notes in which order what happened to it."""

    def __init__(self, *, fails: Exception | None = None) -> None:
        self.fails = fails
        self.may_start = anyio.Event()
        self.log: list[Any] = []

    async def starting(self) -> None:
        self.log.append("starting")
        try:
            await self.may_start.wait()
        finally:
            self.log.append("start over")
        if self.fails is not None:
            raise self.fails

    def started(self) -> None:
        self.log.append("started")

    def receive(self, message: Any) -> None:
        self.log.append(message)
        if callable(message):
            message(self)
        self.reply(["answer"])

    def signal(self, signal: Signal) -> None:
        self.log.append(signal)

    def stopped(self, reason: BaseException | None) -> None:
        self.log.append("stopped")


class Overdue(Boat):
    start_timeout: ClassVar[float] = 0.02


class Sinking(Actor[Any]):
    """Cannot start."""

    def started(self) -> None:
        raise ValueError("leak")


class Leaky(Notebook):
    async def starting(self) -> None:
        raise ValueError("leak")


class Harbour(Actor[Any]):
    """Begins children as it is told, and notes what it hears of them."""

    def __init__(self) -> None:
        self.children: list[Ref[Any]] = []
        self.signals: list[Signal] = []

    def receive(self, message: type[Actor[Any]]) -> None:
        self.children.append(self.spawn(message(), name="child"))
        self.watch(self.children[-1])

    def signal(self, signal: Signal) -> None:
        self.signals.append(signal)


async def test_what_comes_during_a_start_is_handled_after_it_in_order_and_after_the_first_turn() -> None:
    async with open_system() as system:
        boat = Boat()
        ref: Ref[Any] = system.spawn(boat)
        ref.tell("first")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ref.ask, Read())
            await anyio.wait_all_tasks_blocked()
            ref.tell("second")
            assert (ref.is_alive, system.tree()[0].state, system.tree()[0].waiting) == (True, "starting", 3)
            boat.may_start.set()
        assert boat.log == ["starting", "start over", "started", "first", Read(), "second"]


async def test_start_returns_once_the_first_turn_is_over_and_so_is_the_timeout() -> None:
    async with open_system() as system:
        boat = Overdue()
        boat.may_start.set()
        ref = await system.start(boat)
        assert boat.log == ["starting", "start over", "started"]
        assert system.statistics().timers == 0
        await anyio.sleep(0.03)
        assert ref.is_alive


@pytest.mark.holds("R2", "R4")
async def test_a_start_that_fails_is_told_with_its_path_and_cause_and_leaves_nothing() -> None:
    async with open_system() as system:
        boat = Boat(fails=ValueError("leak"))
        async with anyio.create_task_group() as tasks:

            async def start() -> None:
                with pytest.raises(StartFailed, match=r"/troupe/boat could not start \(ValueError\)") as caught:
                    await system.start(boat, name="boat")
                assert caught.value.__cause__ is boat.fails

            async def ask() -> None:
                with pytest.raises(ActorStopped, match="/troupe/boat") as caught:
                    await system.named("boat").ask(Read())
                assert isinstance(caught.value.__cause__, StartFailed)

            for run in (start, ask):
                tasks.start_soon(run)
                await anyio.wait_all_tasks_blocked()
            system.named("boat").tell("held")
            boat.may_start.set()
        assert boat.log == ["starting", "start over", "stopped"]
        now = system.statistics()
        assert (system.tree(), now.actors, now.effects, now.timers) == ((), 0, 0, 0)
        assert (now.failures, now.dead_letters) == (1, 2)
        assert system.spawn(Notebook(), name="boat").is_alive, "the name is free"


@pytest.mark.holds("R2", "S4")
async def test_a_start_that_never_ends_is_ended_by_its_timeout() -> None:
    async with open_system() as system:
        boat = Overdue()
        with pytest.raises(StartTimeout, match=r"/troupe/boat did not start within 0.02 s \(start_timeout\)"):
            await system.start(boat, name="boat")
        await anyio.wait_all_tasks_blocked()
        assert boat.log == ["starting", "start over", "stopped"]
        assert (system.tree(), system.statistics().effects) == ((), 0)


async def test_a_first_turn_that_raises_is_raised_by_spawn_and_by_start() -> None:
    async with open_system() as system:
        with pytest.raises(StartFailed, match=r"/troupe/sinking could not start \(ValueError\)") as caught:
            system.spawn(Sinking(), name="sinking")
        assert isinstance(caught.value.__cause__, ValueError)
        with pytest.raises(StartFailed):
            await system.start(Sinking())


@pytest.mark.holds("R4", "S5")
async def test_whoever_is_cancelled_while_waiting_for_a_start_leaves_no_actor_behind() -> None:
    async with open_system() as system:
        boat = Boat()
        with anyio.move_on_after(0.005):
            await system.start(boat)
        await anyio.wait_all_tasks_blocked()
        assert boat.log == ["starting", "start over", "stopped"]
        assert system.tree() == ()


@pytest.mark.backends("asyncio")
@pytest.mark.holds("R4", "S5")
async def test_a_task_that_asyncio_cancels_just_when_the_actor_has_started_leaves_none_behind_either() -> None:
    async with open_system() as system:
        boat = Boat()
        task = asyncio.create_task(system.start(boat, name="boat"))
        await anyio.wait_all_tasks_blocked()
        system.named("boat").tell(lambda _: task.cancel())  # pyright: ignore[reportUnknownLambdaType]
        boat.may_start.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await anyio.wait_all_tasks_blocked()
        assert system.tree() == ()


@pytest.mark.backends("asyncio")
@pytest.mark.holds("R2", "S1")
async def test_a_start_or_effect_that_waits_for_what_was_cancelled_fails_alone() -> None:
    async def wait() -> None:
        cancelled = asyncio.get_running_loop().create_future()
        cancelled.cancel()
        await cancelled

    class Unlucky(Boat):
        async def starting(self) -> None:
            await wait()

    def begin(boat: Boat) -> None:
        boat.start(wait, then=lambda outcome: outcome)

    body_went_on = False
    async with open_system() as system:
        boat = Boat()
        ref: Ref[Any] = system.spawn(boat)
        boat.may_start.set()
        with pytest.raises(StartFailed, match="/troupe/unlucky"):
            await system.start(Unlucky(), name="unlucky")
        ref.tell(begin)
        await anyio.wait_all_tasks_blocked()
        assert isinstance(boat.log[-1], Failed)
        body_went_on = True
    assert body_went_on, "the system was taken down, in silence"


@pytest.mark.holds("R2")
@pytest.mark.parametrize("how", ["stop", "drain"])
async def test_an_actor_that_is_stopped_or_drained_while_it_starts_never_runs_and_its_starter_learns_it(
    how: str,
) -> None:
    async with open_system() as system, anyio.create_task_group() as tasks:
        boat = Boat()

        async def start() -> None:
            with pytest.raises(ActorStopped, match="/troupe/boat was stopped before it had started"):
                await system.start(boat, name="boat")

        tasks.start_soon(start)
        await anyio.wait_all_tasks_blocked()
        ref = system.named("boat")
        ref.tell("held")
        getattr(ref, how)()
        assert not ref.is_alive
        await anyio.wait_all_tasks_blocked()
        assert boat.log == ["starting", "start over", "stopped"]
        assert (system.dead_letters.count, system.failures) == (1, 0)


@pytest.mark.parametrize("kind", [Sinking, Leaky])
async def test_a_child_that_cannot_start_ends_with_start_failed_and_its_parent_does_not(kind: type[Actor[Any]]) -> None:
    async with open_system() as system:
        harbour = Harbour()
        ref: Ref[Any] = system.spawn(harbour, name="harbour")
        ref.tell(kind)
        await anyio.wait_all_tasks_blocked()
        (signal,) = harbour.signals
        assert isinstance(signal, Terminated)
        assert signal.ref is harbour.children[0]
        assert repr(signal.reason) == "StartFailed('/troupe/harbour/child could not start (ValueError)')"
        ref.tell(Notebook)
        assert harbour.children[1].is_alive, "its name is free again"


@pytest.mark.holds("R4")
async def test_children_and_effects_that_a_failing_start_began_end_before_it() -> None:
    class Parent(Boat):
        async def starting(self) -> None:
            self.spawn(child)
            self.start(self.work, then=lambda outcome: outcome)
            self.after(10.0, "timer")
            await super().starting()

        async def work(self) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                self.log.append("effect over")

    async with open_system() as system:
        child, parent = Boat(), Parent(fails=OSError("storm"))
        system.spawn(parent)
        await anyio.wait_all_tasks_blocked()
        assert system.statistics().actors == 2
        parent.may_start.set()
        await anyio.wait_all_tasks_blocked()
        assert parent.log == ["starting", "start over", "effect over", "stopped"]
        assert child.log == ["starting", "start over", "stopped"]
        assert (system.tree(), system.statistics().effects, system.statistics().timers) == ((), 0, 0)


async def test_a_name_is_part_of_a_path_and_made_where_none_is_given_and_never_taken() -> None:
    bad: list[Any] = ["", "a/b", "/", 7]
    async with open_system() as system:
        for name in bad:
            with pytest.raises(InvalidName, match=f"/troupe/{name} is no path for an actor"):
                system.spawn(Notebook(), name=name)
        system.spawn(Notebook(), name="notebook-2")
        assert len({system.spawn(Notebook()).name for _ in range(10)}) == 10


async def test_an_actor_is_started_once_and_one_whose_name_was_taken_may_try_another() -> None:
    async with open_system() as system:
        notebook, taken = Notebook(), system.spawn(Notebook())
        with pytest.raises(NameTaken, match=f"{taken.path} is alive"):
            system.spawn(notebook, name=taken.name)
        system.spawn(notebook).stop()
        with pytest.raises(ActorReused, match="/troupe/two cannot be started: this Notebook was started before"):
            system.spawn(notebook, name="two")


@pytest.mark.holds("R6")
@pytest.mark.parametrize("hook", ["receive", "started", "signal", "draining", "stopped"])
async def test_a_hook_that_is_a_coroutine_function_is_refused_before_anything_starts(hook: str) -> None:
    async def wait(*arguments: object) -> None: ...

    kind = type("Waiting", (Actor,), {hook: wait})
    async with open_system() as system:
        with pytest.raises(TypeError, match=f"/troupe/waiting cannot be started: Waiting.{hook} is a coroutine"):
            system.spawn(kind(), name="waiting")
        assert system.tree() == ()
