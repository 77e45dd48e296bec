"""The events of a pool: a hub, and a stream for each reader. On both event loops."""

import gc
from threading import Thread
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import Actor, open_system
from actors.events import Events, EventStream
from protocol.errors import InvalidSettings, WrongThread
from protocol.pool_events import KeyAdded, Missed, PoolEvent


def event(number: int) -> KeyAdded:
    return KeyAdded(f"key {number}", float(number))


def publish(hub: Events, *numbers: int) -> None:
    for number in numbers:
        hub.publish(event(number))


async def read(stream: EventStream, count: int) -> list[PoolEvent]:
    return [await anext(stream) for _ in range(count)]


async def test_a_reader_gets_what_is_published_in_order_from_its_subscription_on() -> None:
    hub = Events()
    publish(hub, 0)
    async with hub.subscribe() as events:
        publish(hub, 1, 2)
        assert await read(events, 2) == [event(1), event(2)]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.lowlevel.checkpoint)
            publish(hub, 3)
            assert await anext(events) == event(3)


async def test_whoever_waits_is_woken_by_what_comes() -> None:
    hub = Events()
    got: list[PoolEvent] = []
    async with anyio.create_task_group() as tasks, hub.subscribe() as events:

        async def follow() -> None:
            got.extend([event async for event in events])

        tasks.start_soon(follow)
        for number in range(3):
            await anyio.wait_all_tasks_blocked()
            publish(hub, number)
        await anyio.wait_all_tasks_blocked()
        hub.end()
    assert got == [event(0), event(1), event(2)]


async def test_every_reader_gets_everything() -> None:
    hub = Events()
    async with hub.subscribe() as one, hub.subscribe() as other:
        publish(hub, 1, 2)
        assert await read(one, 2) == await read(other, 2) == [event(1), event(2)]
        one.close()
        publish(hub, 3)
        assert await anext(other) == event(3)


async def test_two_tasks_that_read_one_stream_share_its_events() -> None:
    hub = Events()
    events = hub.subscribe()
    got: list[PoolEvent] = []
    async with anyio.create_task_group() as tasks:

        async def follow() -> None:
            got.extend([event async for event in events])

        tasks.start_soon(follow)
        tasks.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        publish(hub, 1, 2, 3)
        hub.end()
    assert sorted(got, key=lambda event: event.at) == [event(1), event(2), event(3)]


async def test_a_full_buffer_drops_the_oldest_and_says_how_many_in_their_place() -> None:
    hub = Events()
    async with hub.subscribe(buffer=2) as events:
        publish(hub, 1, 2, 3, 4, 5)
        assert await anext(events) == Missed(3, at=3.0)
        assert await anext(events) == event(4)
        publish(hub, 6, 7)
        assert await read(events, 3) == [Missed(1, at=5.0), event(6), event(7)]
        publish(hub, 8)
        assert await anext(events) == event(8)


@given(st.integers(1, 5), st.lists(st.one_of(st.just("publish"), st.just("read")), max_size=40))
def test_nothing_is_lost_without_being_counted(buffer: int, steps: list[str]) -> None:
    async def play() -> None:
        hub = Events()
        events = hub.subscribe(buffer=buffer)
        published = 0
        got: list[PoolEvent] = []
        for step in steps:
            if step == "publish":
                published += 1
                publish(hub, published)
            else:
                with anyio.move_on_after(0):
                    got.append(await anext(events))
        hub.end()
        got.extend([event async for event in events])
        seen = 0
        for one in got:
            if isinstance(one, Missed):
                assert one.count > 0
                seen += one.count
            else:
                seen += 1
            assert one.at == seen, "each event, or a Missed, stands in its place"
        assert seen == published

    anyio.run(play, backend="trio")


async def test_the_end_comes_after_what_is_buffered_and_once_and_for_all() -> None:
    hub = Events()
    async with hub.subscribe() as events:
        publish(hub, 1, 2)
        hub.end()
        hub.end()
        assert not hub.is_heard
        publish(hub, 3)
        assert [event async for event in events] == [event(1), event(2)]
        with pytest.raises(StopAsyncIteration):
            await anext(events)
    late = hub.subscribe()
    assert [event async for event in late] == []
    assert not hub.is_heard


@pytest.mark.holds("S5")
async def test_cancellation_ends_a_wait_and_loses_nothing() -> None:
    hub = Events()
    async with hub.subscribe() as events:
        with anyio.move_on_after(0.01) as scope:
            await anext(events)
        assert scope.cancelled_caught
        publish(hub, 1)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anext(events)
        assert scope.cancelled_caught
        assert await anext(events) == event(1)


async def test_a_reader_that_is_cancelled_as_it_is_woken_leaves_the_event_for_the_next() -> None:
    hub = Events()
    events = hub.subscribe()
    got: list[PoolEvent] = []
    async with anyio.create_task_group() as tasks:

        async def follow() -> None:
            got.append(await anext(events))

        tasks.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        publish(hub, 1)
        tasks.cancel_scope.cancel()
    hub.end()
    got.extend([event async for event in events])
    assert got == [event(1)]


async def test_a_stream_that_is_closed_is_over_for_all_who_read_it() -> None:
    hub = Events()
    events = hub.subscribe()
    ended = anyio.Event()
    async with anyio.create_task_group() as tasks:

        async def follow() -> None:
            async for _ in events:
                pass
            ended.set()

        tasks.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        events.close()
        await ended.wait()
    assert not hub.is_heard
    publish(hub, 1)
    assert [event async for event in events] == []
    events.close()


async def test_what_a_closed_stream_had_buffered_is_dropped() -> None:
    hub = Events()
    async with hub.subscribe(buffer=1) as events:
        publish(hub, 1, 2)
    assert [event async for event in events] == []


async def test_nobody_listens_before_the_first_reader_and_after_the_last() -> None:
    hub = Events()
    assert not hub.is_heard
    one, other = hub.subscribe(), hub.subscribe()
    assert hub.is_heard
    one.close()
    assert hub.is_heard
    other.close()
    assert not hub.is_heard


async def test_a_reader_that_goes_away_without_a_word_is_forgotten() -> None:
    hub = Events()
    kept = hub.subscribe()
    for _ in range(100):
        hub.subscribe()
    publish(hub, 1)
    assert "1 readers" in repr(hub)
    cycle: list[Any] = [hub.subscribe()]
    cycle.append(cycle)
    del cycle
    gc.collect()
    publish(hub, 2)
    assert "1 readers" in repr(hub)
    assert await read(kept, 2) == [event(1), event(2)]
    del kept
    publish(hub, 3)
    assert not hub.is_heard


class Publisher(Actor[int]):
    def __init__(self, hub: Events, turns: list[str]) -> None:
        self.hub = hub
        self.turns = turns

    def receive(self, message: int) -> None:
        self.turns.append(f"turn {message} begins")
        publish(self.hub, message)
        self.turns.append(f"turn {message} ends")


@pytest.mark.holds("R6")
async def test_no_readers_code_runs_inside_the_turn_that_publishes() -> None:
    hub = Events()
    turns: list[str] = []
    async with open_system() as system, anyio.create_task_group() as tasks:
        publisher = system.spawn(Publisher(hub, turns))

        async def follow() -> None:
            async with hub.subscribe() as events:
                async for one in events:
                    turns.append(f"read {one.at:.0f}")
                    if one.at == 1:
                        publisher.tell(2)  # from a reader, too

        tasks.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        publisher.tell(1)
        assert turns == ["turn 1 begins", "turn 1 ends"]
        await anyio.wait_all_tasks_blocked()
        hub.end()
    assert turns == ["turn 1 begins", "turn 1 ends", "read 1", "turn 2 begins", "turn 2 ends", "read 2"]


@pytest.mark.holds("R6")
async def test_another_thread_is_refused_by_name() -> None:
    hub = Events()
    events = hub.subscribe()

    async def elsewhere() -> None:
        with pytest.raises(WrongThread, match="another thread"):
            await anext(events)

    refused: list[None] = []
    thread = Thread(target=lambda: refused.append(anyio.run(elsewhere)))
    thread.start()
    thread.join()
    assert refused == [None]
    publish(hub, 1)
    assert await anext(events) == event(1)


@pytest.mark.parametrize("buffer", [0, -1, 1.5, True, None, "10"])
def test_a_buffer_that_is_none_is_refused(buffer: Any) -> None:
    with pytest.raises(InvalidSettings, match="buffer must be a whole number of at least 1"):
        Events().subscribe(buffer)


def test_a_stream_shows_its_state_and_no_event() -> None:
    hub = Events()
    events = hub.subscribe(buffer=5)
    publish(hub, 1)
    assert repr(hub) == "<Events, open, 1 readers>"
    assert repr(events) == "<EventStream, open, 1 buffered of at most 5>"
    hub.end()
    assert repr(hub) == "<Events, ended, 0 readers>"
    assert repr(events) == "<EventStream, ended, 1 buffered of at most 5>"
