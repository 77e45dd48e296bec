"""Timers that come again, many timers, and what is refused. On both event loops."""

import math
from itertools import pairwise
from random import Random
from typing import Any

import anyio
import pytest

from actors import Actor, Clock, Ref, Timer, open_system
from actors.backend import Event
from protocol.errors import ActorStopped, InvalidSettings

BEAT = 0.01


class StoppedClock(Clock):
    """The event loop's clock and a distance that a test adds to: the time that the process stood still."""

    def __init__(self) -> None:
        self.lost = 0.0

    def now(self) -> float:
        return anyio.current_time() + self.lost

    async def wait(self, event: Event, until: float) -> None:
        with anyio.CancelScope(deadline=until - self.lost):
            await event.wait()


class Drummer(Actor[Any]):
    """Notes at what time it hears each beat, and stops the drum after so many."""

    def __init__(self, *, beats: int = 1_000_000, every: float = BEAT) -> None:
        self.period = every
        self.beats = beats
        self.heard: list[float] = []
        self.notes: list[Any] = []
        self.enough = anyio.Event()
        self.drum: Timer

    def started(self) -> None:
        self.drum = self.every(self.period, "beat")

    def receive(self, message: Any) -> None:
        if callable(message):
            message(self)
        elif message != "beat":
            self.notes.append(message)
        else:
            self.heard.append(self.now())
            if len(self.heard) == self.beats:
                self.drum.cancel()
                self.enough.set()


def gaps(times: list[float]) -> list[float]:
    return [later - sooner for sooner, later in pairwise(times)]


@pytest.mark.backends("trio")
async def test_a_repeated_message_keeps_the_beat_however_late_it_is_heard() -> None:
    async with open_system() as system:
        began = system.now()
        drummer = Drummer(beats=100)
        system.spawn(drummer)
        await drummer.enough.wait()
        assert drummer.heard == pytest.approx([began + BEAT * number for number in range(1, 101)])


@pytest.mark.backends("trio")
async def test_beats_that_were_missed_while_the_process_stood_still_are_left_out() -> None:
    clock = StoppedClock()
    async with open_system(clock=clock) as system:
        drummer = Drummer(beats=5)
        began = clock.now()
        system.spawn(drummer)
        await anyio.sleep(2.5 * BEAT)
        assert len(drummer.heard) == 2
        clock.lost += 10.2 * BEAT
        await drummer.enough.wait()
    beats = [(heard - began) / BEAT for heard in drummer.heard]
    assert beats[:2] == pytest.approx([1, 2])
    assert beats[2] == pytest.approx(13.2), "the third was due in between: it comes once, late"
    assert beats[3:] == pytest.approx([14, 15]), "and the next is on the beat again"


@pytest.mark.backends("trio")
@pytest.mark.parametrize("seed", range(5))
async def test_no_beat_is_heard_twice_whatever_the_period_and_the_stalls(seed: int) -> None:
    draw, clock = Random(seed), StoppedClock()
    period = draw.uniform(0.001, 0.3)
    async with open_system(clock=clock) as system:
        drummer = Drummer(every=period)
        began = clock.now()
        system.spawn(drummer)
        for _ in range(200):
            clock.lost += draw.choice([0.0, draw.uniform(0, 5 * period)])
            await anyio.sleep(period)
    numbers = [math.floor((heard - began) / period + 1e-6) for heard in drummer.heard]
    assert len(numbers) > 100
    assert min(gaps([float(number) for number in numbers])) >= 1


async def test_a_repeated_message_can_be_cancelled_in_its_own_turn() -> None:
    async with open_system() as system:
        drummer = Drummer(beats=2, every=0.001)
        system.spawn(drummer)
        await drummer.enough.wait()
        assert not drummer.drum.is_set
        drummer.drum.cancel()
        await anyio.sleep(0.01)
        assert len(drummer.heard) == 2
        assert system.statistics().timers == 0


@pytest.mark.parametrize("period", [0, 0.0, -1.0, -math.inf, math.nan])
async def test_what_is_no_period_is_refused_with_the_path_and_the_value(period: float) -> None:
    refused: list[str] = []

    class Careless(Drummer):
        def started(self) -> None:
            try:
                self.every(period, "beat")
            except InvalidSettings as error:
                refused.append(str(error))

    async with open_system() as system:
        system.spawn(Careless(), name="careless")
        assert system.statistics().timers == 0
    assert refused == [f"/troupe/careless cannot be sent a message every {period!r} s: that is no period"]


@pytest.mark.holds("R6")
@pytest.mark.backends("trio")
async def test_a_period_that_the_clock_cannot_tell_from_none_does_not_hold_up_the_event_loop() -> None:
    class Frantic(Drummer):
        def receive(self, message: Any) -> None:
            super().receive(message)
            assert len(self.heard) < 10_000, "all within one moment"

    clock = StoppedClock()
    clock.lost = 1e9
    async with open_system(clock=clock) as system:
        frantic = Frantic(every=1e-9)
        system.spawn(frantic)
        await anyio.sleep(1e-6)
        assert system.failures == 0


@pytest.mark.backends("trio")
async def test_a_thousand_timers_ring_in_the_order_of_their_times_and_those_of_one_time_in_that_of_their_setting() -> (
    None
):
    draw = Random(7)
    set_at = [(draw.randrange(20) / 1000, number) for number in range(1_000)]

    def set_all(drummer: Drummer) -> None:
        drummer.drum.cancel()
        for seconds, number in set_at:
            drummer.after(seconds, (seconds, number))

    async with open_system() as system:
        drummer = Drummer()
        ref: Ref[Any] = system.spawn(drummer)
        ref.tell(set_all)  # all at one moment of the virtual clock
        await anyio.sleep(0.02)
        await anyio.wait_all_tasks_blocked()
    assert drummer.notes == sorted(set_at)


async def test_a_time_that_has_passed_is_now_and_one_that_never_comes_never_rings() -> None:
    def set_all(drummer: Drummer) -> None:
        drummer.drum.cancel()
        drummer.after(-5.0, "past")
        drummer.after(0.0, "now")
        drummer.after(math.inf, "never")
        drummer.every(math.inf, "never")

    async with open_system() as system:
        drummer = Drummer()
        ref: Ref[Any] = system.spawn(drummer)
        ref.tell(set_all)
        assert drummer.notes == [], "never within the turn that sets it"
        await anyio.sleep(0.005)
        assert drummer.notes == ["past", "now"]


async def test_cancelled_timers_do_not_accumulate_also_where_others_are_set() -> None:
    most = 0

    def churn(drummer: Drummer) -> None:
        nonlocal most
        kept = [drummer.after(1000.0, number) for number in range(100)]
        for _ in range(10_000):
            drummer.every(1000.0, "late").cancel()
            most = max(most, drummer.system.statistics().timers)
        for timer in kept:
            timer.cancel()
        drummer.drum.cancel()

    async with open_system() as system:
        ref: Ref[Any] = system.spawn(Drummer())
        ref.tell(churn)
        assert ref.is_alive
        assert most <= 2 * 102
        assert system.statistics().timers <= 1


@pytest.mark.holds("R4")
async def test_what_is_repeated_ends_with_its_actor_and_an_ended_actor_sets_no_timer() -> None:
    async with open_system() as system:
        drummer = Drummer(every=0.001)
        ref: Ref[Any] = system.spawn(drummer, name="drummer")
        ref.stop()
        assert system.statistics().timers == 0
        assert not drummer.drum.is_set
        await anyio.sleep(0.01)
        assert drummer.heard == []
        assert system.dead_letters.count == 0
        for refused in (lambda: drummer.after(0.0, "late"), lambda: drummer.every(1.0, "late")):
            with pytest.raises(ActorStopped, match="/troupe/drummer has stopped and cannot set a timer"):
                refused()
