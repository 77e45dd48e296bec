"""Good order: how an actor drains, and how a system is left. On both event loops."""

import math
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from itertools import count
from typing import Any, ClassVar

import anyio
import anyio.lowlevel
import pytest

from actors import Actor, Answer, Clock, Ref, Request, Signal, Succeeded, Terminated, message, open_system
from protocol.errors import ActorStopped, StartFailed, SystemClosed

Log = list[Any]


class HastyClock(Clock):
    """Each dispatch is over its budget at the second look, so that a backlog is the pump's."""

    looks = count()

    def stopwatch(self) -> float:
        return float(next(self.looks))


@message
class Ping(Request[str]):
    pass


@message
class Result(Answer):
    text: str


class Plain(Actor[Any]):
    """Notes all that happens to it, and does what can be called."""

    def __init__(self, name: str = "plain", log: Log | None = None) -> None:
        self.name = name
        self.log: Log = [] if log is None else log

    def receive(self, message: Any) -> None:
        if callable(message):
            message(self)
        else:
            self.log.append(message)
            self.reply("pong")

    def signal(self, signal: Signal) -> None:
        self.log.append(signal)

    def stopped(self, reason: BaseException | None) -> None:
        self.log.append(f"{self.name} stopped")


class Patient(Plain):
    """Has work under way, and drains until it is told that the work is done."""

    shutdown: ClassVar[float] = 0.02

    def draining(self) -> None:
        self.log.append(f"{self.name} draining")

    def receive(self, message: Any) -> None:
        if message == Result("done"):
            self.stop()
        super().receive(message)


class Forever(Patient):
    shutdown: ClassVar[float] = math.inf


class Abrupt(Patient):
    shutdown: ClassVar[float] = 0.0


class Vital(Plain):
    escalates: ClassVar[bool] = True


def fail(_: Plain) -> None:
    raise ValueError("vital")


async def test_what_is_queued_is_handled_and_what_comes_later_is_not() -> None:
    async with open_system() as system:
        plain = Plain()
        ref: Ref[Any] = system.spawn(plain, name="plain")

        def act(_: Plain) -> None:
            ref.tell("before")
            ref.drain()
            ref.drain()
            ref.tell("after")

        ref.tell(act)
        assert plain.log == ["before", "plain stopped"]
        assert [letter.message for letter in system.dead_letters.latest] == ["after"]
        ref.drain()
        with pytest.raises(ActorStopped, match="/troupe/plain"):
            await ref.ask(Ping())


async def test_a_backlog_that_the_pump_has_yet_to_work_off_is_handled_first() -> None:
    async with open_system(clock=HastyClock()) as system:
        plain = Plain()
        ref: Ref[Any] = system.spawn(plain)

        def act(_: Plain) -> None:
            for number in range(1_000):
                ref.tell(number)

        ref.tell(act)
        assert system.is_busy
        assert 0 < len(plain.log) < 1_000
        ref.drain()
        ref.tell("late")
        assert ref.is_alive, "until what was queued before has been handled"
        while system.is_busy:
            await anyio.lowlevel.checkpoint()
        assert plain.log == [*range(1_000), "plain stopped"]
        assert [letter.message for letter in system.dead_letters.latest] == ["late"]


@pytest.mark.holds("R2")
async def test_an_actor_that_drains_takes_no_requests_but_all_that_ends_its_work() -> None:
    may_end = anyio.Event()

    async def work() -> str:
        await may_end.wait()
        return "work"

    def begin(patient: Plain) -> None:
        patient.start(work, then=lambda outcome: outcome)
        patient.after(0.001, "timer")
        patient.watch(other)

    async with open_system() as system:
        other = system.spawn(Plain())
        patient = Patient("patient")
        ref: Ref[Any] = system.spawn(patient, name="patient")
        ref.tell(begin)
        ref.drain()
        assert system.find("patient") is ref
        assert system.tree()[1].state == "draining"
        ref.tell("refused")
        with pytest.raises(ActorStopped, match="/troupe/patient"):
            await ref.ask(Ping())
        assert [(letter.message, letter.reason) for letter in system.dead_letters.latest] == [
            ("refused", "it is draining"),
            (Ping(), "it is draining"),
        ]
        ref.tell(Result("answer"))
        other.stop()
        may_end.set()
        await anyio.sleep(0.002)
        await anyio.wait_all_tasks_blocked()
        assert patient.log[:3] == ["patient draining", Result("answer"), Terminated(other, None)]
        assert sorted(map(str, patient.log[3:])) == sorted(["timer", str(Succeeded("work"))])
        ref.drain()
        assert system.tree()[0].state == "draining", "draining again changes nothing"
        ref.tell(Result("done"))
        assert patient.log[-1] == "patient stopped"
        assert system.tree() == ()


async def test_stop_ends_an_actor_that_drains() -> None:
    async with open_system() as system:
        patient = Patient("patient")
        ref: Ref[Any] = system.spawn(patient)
        ref.drain()
        ref.stop()
        assert patient.log == ["patient draining", "patient stopped"]


@pytest.mark.holds("R4")
@pytest.mark.parametrize("leave", ["in peace", "with an exception"])
async def test_a_system_is_left_root_by_root_the_last_one_first_each_within_its_time(leave: str) -> None:
    log: Log = []
    began = anyio.current_time()
    with pytest.raises(LookupError, match="mine") if leave != "in peace" else nullcontext():
        async with open_system() as system:
            for actor in (Plain("first", log), Patient("second", log), Abrupt("third", log), Patient("fourth", log)):
                system.spawn(actor)
            if leave != "in peace":
                raise LookupError("mine")
    assert log == [
        *("fourth draining", "fourth stopped", "third stopped"),
        *("second draining", "second stopped", "first stopped"),
    ]
    assert anyio.current_time() - began >= 0.04, "each of the two had its time"


async def test_a_system_waits_for_an_actor_with_all_the_time_there_is_and_starts_no_other_meanwhile() -> None:
    class Last(Forever):
        def draining(self) -> None:
            super().draining()
            self.after(0.03, Result("done"))
            with pytest.raises(SystemClosed, match="no Plain can be started in it"):
                self.system.spawn(Plain())

    log: Log = []
    async with open_system() as system:
        system.spawn(Last("last", log))
    assert log == ["last draining", Result("done"), "last stopped"]


@pytest.mark.holds("R4", "S5")
async def test_a_cancelled_body_stops_all_at_once() -> None:
    log: Log = []
    with anyio.CancelScope() as scope:
        async with open_system() as system:
            system.spawn(Forever("forever", log))
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert log == ["forever stopped"]


@pytest.mark.holds("R4", "S5")
async def test_a_cancellation_that_comes_while_the_actors_drain_stops_them_and_leaves() -> None:
    log: Log = []
    system = open_system()
    with anyio.move_on_after(0.01) as scope:
        async with system:
            system.spawn(Plain("plain", log))
            system.spawn(Forever("forever", log))
        log.append("left in peace")
    assert scope.cancelled_caught
    assert log == ["forever draining", "forever stopped", "plain stopped"]
    assert system.thread == 0


async def goes_on() -> None:
    """A body that ends without a point at which it could be cancelled."""


@pytest.mark.holds("R2")
@pytest.mark.parametrize("rest", [anyio.sleep_forever, goes_on])
async def test_what_fails_and_escalates_cancels_the_body_and_leaves_in_its_place(
    rest: Callable[[], Awaitable[None]],
) -> None:
    log: Log = []
    with anyio.CancelScope() as scope:
        with pytest.raises(ValueError, match="vital"):
            async with open_system() as system:
                system.spawn(Forever("forever", log))
                vital: Ref[Any] = system.spawn(Vital("vital", log))
                vital.tell(fail)
                await rest()
        log.append("caught")
        await anyio.lowlevel.checkpoint()
    assert not scope.cancel_called, "nobody outside is cancelled"
    assert [entry for entry in log if entry != "forever draining"] == ["vital stopped", "forever stopped", "caught"]


async def test_an_actor_that_escalates_takes_the_system_down_also_while_it_drains() -> None:
    class Failing(Vital):
        def draining(self) -> None:
            self.after(0.001, fail)

    log: Log = []
    with pytest.raises(ValueError, match="vital"):
        async with open_system() as system:
            system.spawn(Forever("forever", log))
            system.spawn(Failing("vital", log))
    assert (log[0], log[-1]) == ("vital stopped", "forever stopped")


class Stillborn(Vital):
    async def starting(self) -> None:
        raise ValueError("stillborn")


async def test_an_actor_that_is_stopped_or_whose_start_is_waited_for_escalates_nothing() -> None:
    async with open_system() as system:
        system.spawn(Vital()).stop()
        with pytest.raises(StartFailed):
            await system.start(Stillborn())
        await anyio.wait_all_tasks_blocked()
        assert system.failures == 1


async def test_a_start_that_fails_when_nobody_waits_for_it_escalates() -> None:
    with pytest.raises(StartFailed, match="could not start") as caught:
        async with open_system() as system:
            system.spawn(Stillborn())
            await anyio.sleep_forever()
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("when", ["before", "instead of its cancellation"])
async def test_the_bodys_own_exception_wins_over_one_that_escalates(when: str) -> None:
    with pytest.raises(LookupError, match="mine"):
        async with open_system() as system:
            vital: Ref[Any] = system.spawn(Vital())
            vital.tell(fail)
            try:
                if when != "before":
                    await anyio.sleep_forever()
            finally:
                raise LookupError("mine")


async def test_an_exception_of_the_body_leaves_also_if_the_leaving_is_cancelled() -> None:
    scope = anyio.CancelScope()

    class Slow(Actor[Any]):
        def draining(self) -> None:
            scope.cancel()

    with pytest.raises(LookupError, match="mine"), scope:
        async with open_system() as system:
            system.spawn(Slow())
            raise LookupError("mine")
