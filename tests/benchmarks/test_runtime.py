"""The benchmark of the runtime: what it tells, and what of it is a count and depends on no machine."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import pytest
import trio.testing

from actors import open_system
from actors.cell import ASKS_BETWEEN_YIELDS
from benchmarks.counters import COUNT, TAKE, Counter, Counters, actor_counters, asyncio_counters, trio_counters
from benchmarks.figure import Figure, Options
from benchmarks.runtime import MESSAGES_OF_A_MIX, Mixer, measure, mix
from benchmarks.steps import counted_steps


@pytest.fixture(scope="module")
def figures() -> dict[str, Figure]:
    return {figure.what: figure for figure in measure(Options(quick=True))}


@pytest.mark.backends("trio")
async def test_what_is_told_at_once_switches_no_tasks() -> None:
    async with open_system() as system:
        counter = system.spawn(Counter(), name="counter")
        await trio.testing.wait_all_tasks_blocked()
        with counted_steps() as switches:
            for _ in range(1_000):
                counter.tell(COUNT)
        assert switches.steps == 0
        assert await counter.ask(TAKE) == 1_000


@pytest.mark.backends("trio")
async def test_what_is_answered_at_once_lets_others_run_now_and_then_and_switches_no_tasks_else() -> None:
    async with open_system() as system:
        counter = system.spawn(Counter(), name="counter")
        await trio.testing.wait_all_tasks_blocked()
        with counted_steps() as switches:
            for _ in range(1_000):
                await counter.ask(TAKE)
        assert 0 <= switches.steps - 1_000 // ASKS_BETWEEN_YIELDS <= 1


@pytest.mark.backends("trio")
async def test_a_task_is_switched_to_for_each_message() -> None:
    async with trio_counters() as counters:
        await trio.testing.wait_all_tasks_blocked()
        with counted_steps() as switches:
            await counters.tell(100)
            assert switches.steps >= 100
            await counters.ask(100)
        assert switches.steps >= 300  # to the task and back


async def _uses_all_of(living: Callable[[], AbstractAsyncContextManager[Counters]]) -> None:
    # What is told is counted, or these fail.
    async with living() as counters:
        uses: list[Callable[[int], Awaitable[None]]] = [counters.tell, counters.tell_many, counters.ask, counters.start]
        for use in [*uses, *uses]:
            await use(10)
        await counters.keep("kept")


async def test_counters_that_are_actors_count() -> None:
    await _uses_all_of(actor_counters)


@pytest.mark.backends("trio")
async def test_counters_that_are_tasks_of_trio_count() -> None:
    await _uses_all_of(trio_counters)


@pytest.mark.backends("asyncio")
async def test_counters_that_are_tasks_of_asyncio_count() -> None:
    await _uses_all_of(asyncio_counters)


async def test_a_mix_is_of_as_many_messages_as_it_says() -> None:
    mixer = Mixer()
    async with open_system() as system:
        await mix(system.spawn(mixer, name="mixer"))
    assert (mixer.received, mixer.gone, mixer.ended) == (MESSAGES_OF_A_MIX, 1, 1)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize(
    ("name", "unit", "at_most"),
    [
        ("tell: method call", "µs", None),
        ("tell: actor", "µs", 1),
        ("tell, one at a time: task", "µs", None),
        ("tell, many: actor", "µs", None),
        ("tell, many: task", "µs", None),
        ("tell, many: pykka", "µs", None),
        ("ask: method call", "µs", None),
        ("ask: actor", "µs", 2),
        ("ask: task", "µs", None),
        ("ask: pykka", "µs", None),
        ("start and stop: actor", "µs", None),
        ("start and stop: task", "µs", None),
        ("start and stop: pykka", "µs", None),
        ("tell: actor / tell: method call", "", None),
        ("tell: actor / tell, one at a time: task", "", None),
        ("ask: actor / ask: method call", "", None),
        ("ask: actor / ask: task", "", None),
        ("idle actor among 10,000", "kB", 0.7),
        ("idle task among 10,000", "kB", None),
        ("idle family of two among 10,000", "kB", 0.9),
        ("growth in the second half of 100,000 messages", "kB", 64),
    ],
)
def test_each_is_measured_on_each_event_loop(
    figures: dict[str, Figure], name: str, unit: str, at_most: float | None, backend: str
) -> None:
    figure = figures[f"{name}, {backend}"]
    assert (figure.target, figure.unit, figure.at_most) == ("T15", unit, at_most)
    assert figure.value > 0 or name.startswith("growth")


def test_memory_is_within_its_targets_on_any_machine(figures: dict[str, Figure]) -> None:
    of_memory = [figure for figure in figures.values() if figure.unit == "kB" and figure.at_most is not None]
    assert len(of_memory) == 6
    assert all(figure.is_met for figure in of_memory), of_memory


def test_a_thread_takes_more_than_an_actor(figures: dict[str, Figure]) -> None:
    assert figures["idle pykka actor among 50"].value > figures["idle actor among 10,000, trio"].value
