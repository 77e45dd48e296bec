"""What a worker counts, what it tells, and how a cluster shows itself. On both event loops."""
# pyright: reportPrivateUsage=false

import json
import logging
from typing import Any

import anyio
import pytest

from actors import ClusterSettings, ClusterStats, ForwardFailure, Pool, open_pool
from actors.cluster import Cluster
from actors.cluster_messages import EndSession
from actors.cluster_tree import ClusterTree
from actors.forwarding import Denied
from actors.mail import MOST_SEEN, ignore
from actors.memory_bus import MemoryBus, MemoryHub
from protocol import bus
from protocol.bus import Arrived, Beat, Holding
from protocol.errors import (
    BusUnavailable,
    ConnectFailed,
    EnvelopeRefused,
    InvalidSettings,
    OutcomeUnknown,
    OwnerUnreachable,
    PoolClosed,
    Refusal,
    TooManyForwards,
)
from protocol.pool_events import BusJoined, BusParted, ConversationLost, ConversationTaken, TwinsFound
from protocol.wire import ID_SIZE, Kind
from protocol.worker_figures import WorkerFigures
from tests.actors.fakes import ECHO, FakeServer, settled
from tests.actors.test_cluster import SETTINGS as CLUSTER
from tests.actors.test_cluster import Worker, hang, workers
from tests.actors.test_pool_cluster import SETTINGS, call, die, pools
from tests.actors.test_pool_events import read

pytestmark = pytest.mark.virtual_time

FIGURES = WorkerFigures("troupe", 12.5, 3, 4, 5, 6, 7, 8, 9, 10, 11)


def figures(pool: Pool) -> ClusterStats:
    stats = pool.stats().cluster
    assert stats is not None
    return stats


def cluster_of(pool: Pool) -> Cluster:
    assert pool._membership is not None
    assert pool._membership._actor is not None
    return pool._membership._actor


def failures(worker: Worker) -> dict[ForwardFailure, int]:
    return {kind: number for kind, number in worker.actor.stats().failures.items() if number}


def accounted(stats: ClusterStats) -> int:
    """Requests that were sent, as they add up from what they came to."""
    sent = {*ForwardFailure} - {ForwardFailure.REFUSED}
    unanswered = {ForwardFailure.NOT_DELIVERED, ForwardFailure.UNKNOWN}
    lost = sum(number for kind, number in stats.failures.items() if kind in sent & unanswered)
    return stats.forwards.count + lost + stats.withdrawn + stats.in_flight


# --- calls


async def test_a_pool_without_a_cluster_has_no_such_figures_and_no_tree() -> None:
    async with open_pool(connector=FakeServer()) as pool:
        assert pool.stats().cluster is None
        assert "conversations" not in str(pool.stats())
        with pytest.raises(InvalidSettings, match="has no cluster"):
            await pool.cluster_tree()


async def test_calls_are_told_apart_by_where_their_conversation_was_owned() -> None:
    async with pools(FakeServer(), "one", "two") as (one, two):
        assert figures(one).hit_rate == 0.0
        for _ in range(3):
            await call(one)
        for _ in range(2):
            await call(two)
        await one.call(ECHO, "tools/call", user="ada")
        here, there = figures(one), figures(two)
        assert (here.misses, here.local_hits, here.remote_hits, here.hit_rate) == (1, 2, 0, pytest.approx(2 / 3))
        assert (there.misses, there.local_hits, there.remote_hits, there.hit_rate) == (0, 0, 2, 1.0)
        assert (here.owned, there.owned) == (1, 0)
        assert (here.served, there.forwarded) == (2, 2)
        assert (here.worker, there.worker) == (one.worker, two.worker)


async def test_what_was_forwarded_is_counted_and_timed_on_both_sides() -> None:
    async with workers("ada", "bob") as (ada, bob):
        await ada.own("talk")
        owner = await bob.own("talk")

        async def slow(_: Any) -> dict[str, Any]:
            await anyio.sleep(0.3)
            return {}

        ada.result = slow
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(bob.ask, owner)
            await anyio.sleep(0.1)
            here, there = bob.actor.stats(), ada.actor.stats()
            assert (here.in_flight, dict(here.in_flight_with), here.in_flight_with_busiest) == (3, {"ada": 3}, 3)
            assert (there.in_service, there.in_flight, there.in_flight_with_busiest) == (3, 0, 0)
        here, there = bob.actor.stats(), ada.actor.stats()
        assert (here.forwarded, here.in_flight, dict(here.in_flight_with)) == (3, 0, {})
        assert (there.served, there.in_service, there.denied) == (3, 0, 0)
        assert here.forwards.count == 3
        assert here.forwards.mean == pytest.approx(0.3, abs=0.05)
        assert not any(here.failures.values())
        assert (here.peers_seen, there.peers_seen) == (1, 1)
        assert (here.received, there.received) == (6, 3), "each was accepted and answered"
        assert here.sent >= 3


# --- what forwards come to


@pytest.mark.holds("C3")
async def test_a_request_that_fails_there_is_counted_so() -> None:
    async with workers("ada", "bob") as (ada, bob):
        await ada.own("talk")
        owner = await bob.own("talk")

        async def fail(_: Any) -> dict[str, Any]:
            raise ConnectFailed("down", step="connect")

        ada.result = fail
        with pytest.raises(ConnectFailed):
            await bob.ask(owner)
        assert failures(bob) == {ForwardFailure.FAILED: 1}
        assert bob.actor.stats().forwards.count == bob.actor.stats().forwarded == 1


async def test_a_request_whose_owner_is_none_any_more_is_counted_as_denied_on_both_sides() -> None:
    async with workers("ada", "bob") as (ada, bob):
        await ada.own("talk")
        owner = await bob.own("talk")
        ada.ref.tell(EndSession("talk"))
        await anyio.sleep(0.1)
        with pytest.raises(Denied):
            await bob.ask(owner)
        assert failures(bob) == {ForwardFailure.DENIED: 1}
        assert (ada.actor.stats().denied, ada.actor.stats().served, ada.actor.stats().owned) == (1, 0, 0)


async def test_a_request_that_its_owner_does_not_take_is_counted_as_rejected_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with workers("ada", "bob") as (ada, bob):
        await ada.own("talk")
        owner = await bob.own("talk")
        monkeypatch.setattr("actors.serving.MOST", 0)
        with pytest.raises(TooManyForwards):
            await bob.ask(owner)
        assert failures(bob) == {ForwardFailure.REJECTED: 1}
        assert accounted(bob.actor.stats()) == bob.actor.stats().forwarded == 1


async def test_a_request_that_cannot_be_sent_is_counted_as_refused_and_not_as_forwarded() -> None:
    async with workers("ada", "bob") as (ada, bob):
        await ada.own("talk")
        owner = await bob.own("talk")
        with pytest.raises(EnvelopeRefused):
            await bob.ask(owner, text="x" * CLUSTER.max_message)
        bob.ref.tell(bus.Parted("it was unplugged"))
        with pytest.raises(BusUnavailable):
            await bob.ask(owner)
        assert failures(bob) == {ForwardFailure.REFUSED: 2}
        assert (bob.actor.stats().forwarded, bob.actor.stats().timeouts, bob.actor.stats().withdrawn) == (0, 0, 0)


@pytest.mark.holds("C3", "C5")
async def test_requests_to_an_owner_that_died_are_counted_by_whether_they_may_have_run() -> None:
    async with workers("ada", "bob") as (ada, bob):
        await ada.own("talk")
        owner = await bob.own("talk")
        ada.result = hang

        async def ask() -> None:
            with pytest.raises(OutcomeUnknown):
                await bob.ask(owner)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.sleep(2)
            ada.ref.stop()
        assert failures(bob) == {ForwardFailure.UNKNOWN: 1}
        with pytest.raises(OwnerUnreachable):
            await bob.ask(owner)
        assert failures(bob) == {ForwardFailure.UNKNOWN: 1, ForwardFailure.NOT_DELIVERED: 1}
        stats = bob.actor.stats()
        assert (stats.timeouts, stats.taken_over, stats.owned, stats.lost) == (0, 1, 1, 0)
        assert stats.peers_seen == 1, "it has heard itself, too"
        assert accounted(stats) == stats.forwarded == 2


@pytest.mark.holds("C3")
async def test_timeouts_are_told_from_other_failures_and_answers_that_come_later_are_counted() -> None:
    async with workers("ada", "bob") as (ada, bob):
        await ada.own("talk")
        owner = await bob.own("talk")

        async def stubborn(_: Any) -> dict[str, Any]:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(5)
            return {}

        ada.result = stubborn
        with pytest.raises(OutcomeUnknown):
            await bob.ask(owner, timeout=3)
        stats = bob.actor.stats()
        assert (stats.timeouts, stats.failures[ForwardFailure.UNKNOWN], stats.superseded) == (1, 1, 0)
        await anyio.sleep(5)
        stats = bob.actor.stats()
        assert (stats.superseded, stats.forwards.count) == (1, 0)
        assert accounted(stats) == stats.forwarded == 1


async def test_whoever_gives_up_is_counted_as_such() -> None:
    async with workers("ada", "bob") as (ada, bob):
        await ada.own("talk")
        owner = await bob.own("talk")
        ada.result = hang
        with anyio.move_on_after(1):
            await bob.ask(owner)
        await anyio.wait_all_tasks_blocked()
        stats = bob.actor.stats()
        assert (stats.withdrawn, stats.in_flight, failures(bob)) == (1, 0, {})
        assert accounted(stats) == stats.forwarded == 1


# --- the bus


@pytest.mark.holds("X1")
async def test_envelopes_that_are_not_taken_are_counted_by_reason() -> None:
    async with workers("ada", "bob") as (ada, bob):
        await ada.own("talk")
        await bob.ask(await bob.own("talk"))
        before = ada.actor.stats()
        envelopes = [b"", b"\x63" + b"x" * 90, b"x" * (CLUSTER.max_message + 1)]
        for envelope in envelopes:
            ada.ref.tell(Arrived("troupe:default:requests:ada", envelope))
        after = ada.actor.stats()
        assert after.refused[Refusal.TOO_SHORT] == after.refused[Refusal.UNKNOWN_VERSION] == 1
        assert after.refused[Refusal.TOO_LARGE] == 1
        assert set(after.refused) == set(Refusal), "a rate needs its first zero"
        assert (after.received, not any(before.refused.values())) == (before.received, True)


async def test_only_so_many_other_workers_are_told_apart() -> None:
    async with workers("ada", "bob") as (ada, bob):
        ada.actor.mail.seen.update(f"worker-{number}" for number in range(MOST_SEEN))
        bob.actor.mail.post("troupe:default:requests:ada", Kind.HELLO, b"!" * ID_SIZE, b"")
        await anyio.sleep(0.1)
        assert ada.actor.stats().received == 1
        assert ada.actor.stats().peers_seen == MOST_SEEN


async def test_whether_the_bus_is_there_and_how_often_it_came_back_is_told() -> None:
    async with pools(FakeServer(), "one") as (one,):
        events = one.events()
        assert (figures(one).joined, figures(one).reconnects) == (True, 0)
        ref = cluster_of(one).ref
        ref.tell(bus.Parted("it was unplugged"))
        assert (figures(one).joined, figures(one).reconnects) == (False, 0)
        ref.tell(bus.Joined(60))
        assert (figures(one).joined, figures(one).reconnects) == (True, 1)
        at = anyio.current_time()
        assert await read(events) == [BusParted("it was unplugged", at), BusJoined(2, at)]
    assert not figures(one).joined, "a closed pool is on no bus"


@pytest.mark.holds("C2")
async def test_two_workers_by_one_id_raise_an_alarm_once(caplog: pytest.LogCaptureFixture) -> None:
    async with pools(FakeServer(), "one", "two") as (one, two):
        assert one.worker is not None
        await call(one)
        events = two.events()
        twin = cluster_of(one)._bus
        assert isinstance(twin, MemoryBus)
        hub: MemoryHub = twin._hub
        for _ in range(2):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hub.bus().run, (f"troupe:default:requests:{one.worker}",), ignore)
                await settled()
                for _ in range(3):
                    await call(two)
                tasks.cancel_scope.cancel()
            await call(two)
        assert figures(two).twins == 2
        warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert [one.worker in record.getMessage() for record in warnings] == [True]
        told = [event for event in await read(events) if isinstance(event, TwinsFound)]
        assert [(event.worker, event.listeners) for event in told] == [(one.worker, 2), (one.worker, 2)]


# --- conversations that change hands


@pytest.mark.holds("L9", "C5")
async def test_a_conversation_that_is_taken_over_is_counted_and_told() -> None:
    async with pools(FakeServer(is_stateful=False), "one", "two") as (one, two):
        await call(one)
        await call(two)
        events = two.events()
        await anyio.sleep(3)
        die(one)
        await anyio.sleep(0.1)
        await call(two)
        stats = figures(two)
        assert (stats.taken_over, stats.owned, stats.lost) == (1, 1, 0)
        assert stats.failures[ForwardFailure.NOT_DELIVERED] == 1
        assert (stats.remote_hits, stats.local_hits, stats.misses) == (2, 0, 0), "each call is counted once"
        (taken,) = [event for event in await read(events) if isinstance(event, ConversationTaken)]
        assert taken.session_id == "talk"
        assert "talk" not in repr(taken)


@pytest.mark.holds("C1")
async def test_a_conversation_that_another_worker_has_taken_is_counted_and_told_as_lost() -> None:
    async with pools(FakeServer(), "one", "two") as (one, two):
        await call(one)
        events = one.events()
        actor = cluster_of(one)
        token = actor._machine.token("talk")
        assert token is not None
        assert two.worker is not None
        taken = bus.Claim("talk", Holding(two.worker, "another", "principal"), 60, (token,))
        cluster_of(two)._bus.send(taken, lambda _: None)
        actor.ref.tell(bus.Joined(60))
        await anyio.sleep(0.1)
        assert (figures(one).lost, figures(one).owned, figures(one).taken_over) == (1, 0, 0)
        (lost,) = [event for event in await read(events) if isinstance(event, ConversationLost)]
        assert lost.session_id == "talk"
        assert "talk" not in repr(lost)


# --- what is shown


async def test_the_figures_are_json_and_show_in_the_line_for_people() -> None:
    async with pools(FakeServer(), "one", "two") as (one, two):
        await call(one)
        await call(two)
        told = two.stats().as_mapping()["cluster"]
        assert json.loads(json.dumps(told, allow_nan=False)) == told
        assert told["worker"] == two.worker
        assert (told["remote_hits"], told["hit_rate"], told["reconnects"], told["joined"]) == (1, 1.0, 0, True)
        assert told["failures"] == {kind.value: 0 for kind in ForwardFailure}
        assert told["refused"] == {reason.name.lower(): 0 for reason in Refusal}
        assert told["forwards"]["count"] == 1
        line = f"; worker {two.worker} on the bus, 0 conversations owned; 0 hits here, 1 elsewhere, 0 misses (100.0%"
        assert line in str(two.stats())


async def test_a_pool_that_was_not_entered_or_is_closed_has_figures_too() -> None:
    pool = open_pool(SETTINGS, connector=FakeServer(), cluster=MemoryHub())
    assert pool.stats().cluster == ClusterStats()
    async with pool:
        pass
    assert figures(pool).joins == 1
    with pytest.raises(PoolClosed):
        await pool.cluster_tree()


async def test_the_cluster_shows_each_living_worker_with_what_it_owns() -> None:
    async with pools(FakeServer(), "one", "two") as (one, two):
        await call(one)
        await call(one, "chat")
        await call(two)
        tree = await one.cluster_tree()
        here = tree.workers[0]
        assert here.is_here
        assert (here.worker, here.figures is not None) == (one.worker, True)
        assert here.figures is not None
        assert (here.figures.pool, here.figures.conversations, here.figures.sessions) == ("one", 2, 2)
        assert (here.figures.misses, here.figures.served) == (2, 1), "its own figures are those of now"
        assert len(tree.workers) == 3
        await anyio.sleep(2)
        tree = await two.cluster_tree()
        seen = {status.worker: status.figures for status in tree.workers}
        said = seen[str(one.worker)]
        assert said is not None
        assert said.conversations == 2, "the others' are those of their last beat"
        assert tree.conversations == 2
        head, first, *others = str(tree).splitlines()
        assert head == "default: 3 workers, conversations 2"
        assert first.startswith(f"  {two.worker} (two, this one) ")
        assert "conversations 0, sessions 0, hits 0 here and 1 elsewhere, misses 0, forwarded 1, in flight 0" in first
        assert any(f"  {one.worker} (one) " in line and "conversations 2, sessions 2" in line for line in others)


@pytest.mark.holds("C5")
async def test_a_worker_that_has_died_or_left_is_in_the_tree_no_more() -> None:
    hub = MemoryHub()
    async with open_pool(SETTINGS, connector=FakeServer(), cluster=hub) as stays:
        await anyio.sleep(10)
        async with (
            open_pool(SETTINGS, connector=FakeServer(), cluster=hub),
            open_pool(SETTINGS, connector=FakeServer(), cluster=hub) as dies,
        ):
            assert len((await stays.cluster_tree()).workers) == 3
            die(dies)
            await anyio.sleep(ClusterSettings().lifetime + 0.1)
            assert len((await stays.cluster_tree()).workers) == 2
        assert [status.is_here for status in (await stays.cluster_tree()).workers] == [True]


async def test_a_tree_cannot_be_had_while_the_bus_is_away() -> None:
    hub = MemoryHub()
    async with open_pool(SETTINGS, connector=FakeServer(), cluster=hub) as pool:
        cluster_of(pool)._bus._tell = None  # type: ignore[attr-defined]
        with pytest.raises(BusUnavailable):
            await pool.cluster_tree()


@pytest.mark.holds("X1")
async def test_odd_workers_in_the_records_do_no_harm_and_say_nothing() -> None:
    hub = MemoryHub()
    async with open_pool(SETTINGS, name="one", connector=FakeServer(), cluster=hub) as pool:
        for worker, said in {"odd": b"\xc1", "mute": b"", "of\nno\x1b[2Jterms": FIGURES.pack()}.items():
            hub.do(Beat(worker, 60, said))
        tree = await pool.cluster_tree()
        assert [(status.worker, status.figures) for status in tree.workers[1:]] == [("mute", None), ("odd", None)]
        assert "  odd (says nothing of itself)" in str(tree).splitlines()


def test_a_worker_that_the_records_do_not_know_of_is_not_shown() -> None:
    tree = ClusterTree.of("default", {"bob": FIGURES.pack()}, here="ada", figures=FIGURES)
    assert [status.worker for status in tree.workers] == ["bob"]
    assert str(tree).splitlines()[0] == "default: 1 worker, conversations 3"
    mute = ClusterTree.of("default", {"ada": b""}, here="ada", figures=None)
    assert str(mute).splitlines()[1] == "  ada (says nothing of itself, this one)"
