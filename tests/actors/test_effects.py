"""Effects and timers: what an actor has done for it, and how that ends."""

from collections.abc import Awaitable, Callable

import anyio
import pytest

from actors import Actor, Cancelled, Effect, Failed, Outcome, Succeeded, Timer, message, open_system


@message
class Go:
    run: Callable[[], Awaitable[str]]


@message
class Cancel:
    pass


@message
class Done:
    outcome: Outcome[str]


@message
class Later:
    seconds: float
    text: str


@message
class Rang:
    text: str


class Worker(Actor[Go | Cancel | Done | Later | Rang]):
    def __init__(self) -> None:
        self.outcomes: list[Outcome[str]] = []
        self.rang: list[str] = []
        self.effect: Effect | None = None
        self.timers: dict[str, Timer] = {}
        self.heard = anyio.Event()
        self.has_ended = False

    def receive(self, message: Go | Cancel | Done | Later | Rang) -> None:
        match message:
            case Go(run):
                self.effect = self.start(run, then=Done)
            case Cancel():
                if self.effect is not None:
                    self.effect.cancel()
            case Done(outcome):
                self.outcomes.append(outcome)
                self.heard.set()
            case Later(seconds, text):
                self.timers[text] = self.after(seconds, Rang(text))
            case Rang(text):
                self.rang.append(text)
                self.heard.set()

    def stopped(self, reason: BaseException | None) -> None:
        self.has_ended = True


async def forever() -> str:
    await anyio.sleep_forever()
    return "never"


async def test_an_effects_value_arrives_as_a_message() -> None:
    async def run() -> str:
        return "value"

    async with open_system() as system:
        worker = Worker()
        system.spawn(worker, name="worker").tell(Go(run))
        assert worker.outcomes == [], "an effect never runs within the turn that starts it"
        await worker.heard.wait()
        assert worker.outcomes == [Succeeded("value")]


async def test_an_effects_exception_arrives_whole() -> None:
    error = ExceptionGroup("several", [ValueError("one"), KeyError("two")])

    async def run() -> str:
        raise error

    async with open_system() as system:
        worker = Worker()
        system.spawn(worker, name="worker").tell(Go(run))
        await worker.heard.wait()
        assert worker.outcomes == [Failed(error)]
        assert system.failures == 0


@pytest.mark.holds("S5")
async def test_a_cancelled_effect_says_so_once_it_has_ended() -> None:
    cleaned: list[bool] = []

    async def run() -> str:
        try:
            return await forever()
        finally:
            cleaned.append(True)

    async with open_system() as system:
        worker = Worker()
        ref = system.spawn(worker, name="worker")
        ref.tell(Go(run))
        await anyio.wait_all_tasks_blocked()
        ref.tell(Cancel())
        assert cleaned == []
        await worker.heard.wait()
        assert cleaned == [True]
        assert worker.outcomes == [Cancelled()]


@pytest.mark.holds("R4")
async def test_an_actor_has_ended_only_when_its_effects_have() -> None:
    release = anyio.Event()

    async def run() -> str:
        try:
            return await forever()
        finally:
            with anyio.CancelScope(shield=True):
                await release.wait()

    async with open_system() as system:
        worker = Worker()
        ref = system.spawn(worker, name="worker")
        ref.tell(Go(run))
        await anyio.wait_all_tasks_blocked()
        ref.stop()
        await anyio.wait_all_tasks_blocked()
        assert not ref.is_alive
        assert not worker.has_ended
        release.set()
        await anyio.wait_all_tasks_blocked()
        assert worker.has_ended
        assert worker.outcomes == [], "an actor that was stopped hears of nothing any more"


async def test_an_actor_whose_outcome_cannot_be_made_a_message_fails() -> None:
    class Clumsy(Actor[str]):
        def __init__(self) -> None:
            self.reason: BaseException | None = None
            self.ended = anyio.Event()

        def started(self) -> None:
            self.start(self.run, then=self.translate)

        async def run(self) -> None:
            pass

        def translate(self, outcome: Outcome[None]) -> str:
            raise ValueError("cannot")

        def stopped(self, reason: BaseException | None) -> None:
            self.reason = reason
            self.ended.set()

    async with open_system() as system:
        clumsy = Clumsy()
        system.spawn(clumsy, name="clumsy")
        await clumsy.ended.wait()
        assert isinstance(clumsy.reason, ValueError)


async def test_timers_ring_in_the_order_of_their_times_and_cancelled_ones_never() -> None:
    async with open_system() as system:
        worker = Worker()
        ref = system.spawn(worker, name="worker")
        for seconds, text in ((0.03, "third"), (0.01, "first"), (0.02, "second"), (0.015, "never")):
            ref.tell(Later(seconds, text))
        worker.timers["never"].cancel()
        worker.timers["never"].cancel()
        while len(worker.rang) < 3:
            worker.heard = anyio.Event()
            await worker.heard.wait()
        assert worker.rang == ["first", "second", "third"]
        worker.timers["first"].cancel()
        assert not worker.timers["first"].is_set


@pytest.mark.holds("R4")
async def test_timers_are_gone_with_their_actor() -> None:
    async with open_system() as system:
        worker = Worker()
        ref = system.spawn(worker, name="worker")
        ref.tell(Later(0.01, "late"))
        ref.stop()
        await anyio.sleep(0.02)
        assert worker.rang == []
        assert system.dead_letters.count == 0


async def test_many_cancelled_timers_are_not_kept() -> None:
    async with open_system() as system:
        worker = Worker()
        ref = system.spawn(worker, name="worker")
        for number in range(10_000):
            ref.tell(Later(1000.0, str(number)))
            worker.timers.pop(str(number)).cancel()
        assert len(system.timers) < 10
