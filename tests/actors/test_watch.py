"""What others learn of an actor: watches, names, dead letters, the tree and the counters. On both event loops."""

import re
from collections.abc import Callable
from itertools import count
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from actors import Actor, Clock, DeadLetter, Mailbox, Ref, Request, Signal, System, Terminated, message, open_system
from actors.cell import Cell
from actors.letters import DEAD_LETTERS_KEPT
from actors.links import each
from protocol.errors import ActorStopped, SystemClosed


@message
class Ping(Request[str]):
    pass


class Watcher(Actor[Any]):
    """Notes what it hears, and does what can be called."""

    def __init__(self) -> None:
        self.signals: list[Signal] = []
        self.notes: list[Any] = []
        self.may_start = anyio.Event()

    def receive(self, message: Any) -> None:
        if callable(message):
            message(self)
        else:
            self.notes.append(message)
            self.reply("pong")

    def signal(self, signal: Signal) -> None:
        self.signals.append(signal)


class Late(Watcher):
    async def starting(self) -> None:
        await self.may_start.wait()


class HastyClock(Clock):
    """Each dispatch is over its budget at the second look, so that a backlog is the pump's."""

    looks = count()

    def stopwatch(self) -> float:
        return float(next(self.looks))


def spawn(system: System, name: str | None = None) -> tuple[Watcher, Ref[Any]]:
    watcher = Watcher()
    return watcher, system.spawn(watcher, name=name)


def do(ref: Ref[Any], act: Callable[[Watcher], object]) -> None:
    """Have an actor do something in its turn."""
    ref.tell(act)


async def test_a_watched_actor_is_told_of_once_however_often_it_is_watched() -> None:
    async with open_system() as system:
        (watcher, ref), (_, other) = spawn(system), spawn(system)
        for _ in range(2):
            do(ref, lambda me: me.watch(other))
        other.stop()
        assert watcher.signals == [Terminated(other, None)]
        do(ref, lambda me: me.watch(other))
        assert watcher.signals == [Terminated(other, None)] * 2, "a new watch on what has ended is told anew"


async def test_an_actor_that_is_watched_no_more_is_not_told_of_not_even_if_its_end_was_under_way() -> None:
    async with open_system() as system:
        (watcher, ref), (_, ending), (_, named) = spawn(system), spawn(system), spawn(system, "named")

        def act(me: Watcher) -> None:
            me.watch(ending)
            me.watch(system.named("named"))
            for each in (ending, named):
                each.stop()
            ref.tell(unwatch)  # which is handled after both ends, and before the news of them

        def unwatch(me: Watcher) -> None:
            assert [ending.is_alive, named.is_alive] == [False, False]
            me.unwatch(ending)
            me.unwatch(system.named("named"))

        do(ref, act)
        assert (watcher.signals, ref.is_alive) == ([], True)


async def test_the_news_of_an_end_that_waits_behind_a_backlog_can_still_be_called_off_and_on_again() -> None:
    async with open_system(clock=HastyClock()) as system:
        (watcher, ref), (_, other) = spawn(system), spawn(system)

        def act(me: Watcher) -> None:
            me.watch(other)
            for number in range(500):
                me.ref.tell(number)

        do(ref, act)
        assert system.is_busy
        other.stop()
        do(ref, lambda me: me.unwatch(other))
        do(ref, lambda me: me.watch(other))
        while system.is_busy:
            await anyio.lowlevel.checkpoint()
        assert watcher.signals == [Terminated(other, None)], "once, for the watch that holds"


async def test_to_unwatch_an_actor_leaves_its_successor_of_the_same_name_watched() -> None:
    async with open_system() as system:
        (watcher, ref), (_, old) = spawn(system), spawn(system, "heir")

        def act(me: Watcher) -> None:
            me.watch(old)
            old.stop()
            ref.tell(succeed)

        def succeed(me: Watcher) -> None:
            me.watch(spawn(system, "heir")[1])
            me.unwatch(old)

        do(ref, act)
        heir = system.find("heir")
        assert heir is not None
        heir.stop()
        assert watcher.signals == [Terminated(heir, None)]


@pytest.mark.holds("R4")
async def test_a_watcher_that_ends_and_a_watch_that_is_called_off_leave_nothing_on_the_watched() -> None:
    async with open_system() as system:
        _, watched = spawn(system)
        assert isinstance(watched, Cell)
        for _ in range(10):
            _, ref = spawn(system)
            do(ref, lambda me: me.watch(watched))
            ref.stop()
        _, ref = spawn(system)
        do(ref, lambda me: me.watch(watched))
        assert each(watched.watchers) == (ref,)
        do(ref, lambda me: me.unwatch(watched))
        assert not watched.watchers


async def test_a_name_is_watched_through_whoever_has_it_and_if_nobody_does_that_is_told() -> None:
    async with open_system() as system:
        (watcher, ref), (_, other) = spawn(system), spawn(system, "other")
        do(ref, lambda me: me.watch(system.named("other")))
        do(ref, lambda me: me.watch(system.named("nobody")))
        assert watcher.signals == [Terminated(system.named("nobody"), None)]
        other.stop()
        assert watcher.signals[1:] == [Terminated(other, None)]


async def test_watches_work_while_the_watcher_or_the_watched_starts() -> None:
    class Eager(Late):
        async def starting(self) -> None:
            self.watch(gone)
            await super().starting()

    async with open_system() as system:
        (watcher, ref), (_, gone) = spawn(system), spawn(system)
        late, eager = system.spawn(Late()), Eager()
        gone.stop()
        system.spawn(eager)
        do(ref, lambda me: me.watch(late))
        await anyio.wait_all_tasks_blocked()
        late.stop()
        await anyio.wait_all_tasks_blocked()
        assert watcher.signals == [Terminated(late, None)]
        assert eager.signals == [], "held, as all that comes before the start"
        eager.may_start.set()
        await anyio.wait_all_tasks_blocked()
        assert eager.signals == [Terminated(gone, None)]
        never = system.spawn(Eager())
        await anyio.wait_all_tasks_blocked()
        never.stop()
        assert system.dead_letters.count == 0, "news for an actor that never started is nobody's letter"


async def test_actors_are_found_by_their_path_while_they_live() -> None:
    async with open_system("town") as system:
        _, ref = spawn(system, "registry")
        do(ref, lambda me: me.spawn(Watcher(), name="clerk"))
        assert system.find("registry") is system.find("/town/registry") is ref
        assert "/town/registry/clerk" in repr(system.find("registry/clerk"))
        for path in ("", "/", "/town", "clerk", "/village/registry", "registry/", "registry/clerk/pen"):
            assert system.find(path) is None, path
        ref.stop()
        assert system.find("registry") is None


@pytest.mark.holds("R2")
async def test_a_named_ref_reaches_whoever_has_the_name_and_while_nobody_does_says_so() -> None:
    async with open_system() as system:
        name = system.named("heir")
        assert {name: name.path}[system.named("/troupe/heir")] == "/troupe/heir"
        for _ in range(2):
            assert not name.is_alive
            name.tell("lost")
            assert system.dead_letters.latest.pop() == DeadLetter(name, "lost", "nobody has this path")
            with pytest.raises(ActorStopped, match="nobody has the path /troupe/heir, so Ping has no answer"):
                await name.ask(Ping())
            name.stop()
            name.drain()
            heir, _ = spawn(system, "heir")
            name.tell("told")
            assert await name.ask(Ping()) == "pong"
            assert name.is_alive
            assert heir.notes == ["told", Ping()]
            name.drain()
        spawn(system, "heir")
        name.stop()
        assert system.tree() == ()
    with pytest.raises(SystemClosed):
        name.tell("too late")


async def test_whoever_subscribes_hears_of_dead_letters_until_it_unsubscribes_or_ends() -> None:
    async with open_system() as system:
        (first, one), (second, two), (_, gone) = spawn(system), spawn(system), spawn(system)
        gone.stop()
        for ref in (one, one, two):
            system.dead_letters.subscribe(ref)
        gone.tell("lost")
        letter = DeadLetter(gone, "lost", "it has stopped")
        system.dead_letters.unsubscribe(one)
        two.stop()
        gone.tell("unheard")
        assert (first.notes, second.notes) == ([letter], [letter]), "subscribed twice is subscribed once"
        assert system.dead_letters.count == 2, "and there is no letter to a subscriber that has gone"


async def test_a_subscriber_may_unsubscribe_another_that_has_ended_while_it_is_told() -> None:
    class Warden(Watcher):
        def receive(self, message: Any) -> None:
            self.dead_letters.unsubscribe(other)

    async with open_system() as system:
        _, other = spawn(system)
        for ref in (system.spawn(Warden()), other):
            system.dead_letters.subscribe(ref)
        other.stop()
        system.named("nobody").tell("lost")
        assert system.dead_letters.count == 1


@pytest.mark.parametrize("overflow", ["reject", "drop_oldest", "drop_newest"])
async def test_a_subscriber_without_room_misses_letters_and_makes_no_new_ones_without_end(overflow: str) -> None:
    async with open_system() as system:
        subscriber = Late()
        ref: Ref[Any] = system.spawn(subscriber, mailbox=Mailbox(2, overflow))
        system.dead_letters.subscribe(ref)
        _, gone = spawn(system)
        gone.stop()
        for number in range(2 * DEAD_LETTERS_KEPT):
            gone.tell(number)
        assert len(system.dead_letters.latest) == DEAD_LETTERS_KEPT, "the latest are kept, and no more"
        subscriber.may_start.set()
        await anyio.wait_all_tasks_blocked()
        heard = [letter.message for letter in subscriber.notes]
        assert heard == ([30, 31] if overflow == "drop_oldest" else [0, 1])


async def test_the_tree_and_the_counters_tell_what_there_is() -> None:
    async with open_system() as system:
        _, ref = spawn(system, "parent")
        late: Ref[Any] = system.spawn(Late())
        late.tell("waits")

        def act(me: Watcher) -> None:
            me.spawn(Watcher(), name="child")
            me.start(anyio.sleep_forever, then=lambda outcome: outcome)
            me.after(10.0, "timer")
            me.every(10.0, "beat").cancel()

        do(ref, act)
        assert await ref.ask(Ping()) == "pong"
        await anyio.sleep(0.01)
        parent, other = system.tree()
        (child,) = parent.children
        assert (child.path, child.children) == ("/troupe/parent/child", ())
        assert (other.state, other.waiting, other.restarts) == ("starting", 1, 0)
        assert parent.uptime >= 0.01
        drawn = r"/troupe/parent \(Watcher\) running, 0\.\d s, waiting 0, effects 1, restarts 0\n  child \(Watcher\) .+"
        assert re.fullmatch(drawn, str(parent))
        late.stop()
        await anyio.wait_all_tasks_blocked()
        now = system.statistics()
        assert (now.actors, now.started, now.asks, now.timers, now.queued) == (2, 3, 1, 1, 0)
        assert (now.failures, now.restarts, now.dead_letters, now.rejected) == (0, 0, 1, 0)
    now = system.statistics()
    assert (now.actors, now.effects, now.timers, now.queued) == (0, 0, 0, 0)
