"""What every bus has to do: the one within a process and the one over a real Redis, on both event loops."""

from itertools import count
from typing import Final

import anyio
import pytest

from protocol.bus import (
    Beat,
    Claim,
    Count,
    Find,
    Forget,
    Holding,
    Look,
    Peers,
    Post,
    PostWhileHeard,
    Refresh,
    Release,
)
from protocol.errors import BusUnavailable
from protocol.namespace import Namespace
from tests.integration.buses import MakeBus, Worker, maker, redis_bus, workers
from tests.redis_server import RedisServer, running_redis

ADA: Final = Holding("ada", "token-1", "principal")
BOB: Final = Holding("bob", "token-2", "principal")
_numbers = count()


# --- envelopes


async def test_an_envelope_reaches_whoever_listens_to_the_channel_and_nobody_else(make: MakeBus) -> None:
    async with workers(make, "ada", "bob", "cy") as (ada, bob, cy):
        envelope = bytes(range(256)) * 4
        assert await ada.ask(Post(bob.channel, envelope)) == 1
        await bob.until(lambda: bool(bob.envelopes))
        assert (ada.envelopes, bob.envelopes, cy.envelopes) == ([], [envelope], [])


async def test_whoever_posts_hears_that_nobody_listens_or_that_two_do(make: MakeBus) -> None:
    async with workers(make, "ada", "twin", "twin") as (ada, twin, other):
        assert await ada.ask(Post("channel-of-nobody", b"!")) == 0
        assert await ada.ask(Count("channel-of-nobody")) == 0
        assert await ada.ask(Count(twin.channel)) == 2
        assert await ada.ask(Post(twin.channel, b"!")) == 2
        await twin.until(lambda: bool(twin.envelopes))
        await other.until(lambda: bool(other.envelopes))


@pytest.mark.holds("C3", "C5")
async def test_an_envelope_is_sent_only_by_who_listens_if_that_is_asked_for(make: MakeBus) -> None:
    async with workers(make, "ada", "bob") as (ada, bob):
        assert await ada.ask(PostWhileHeard(bob.channel, b"heard", ada.channel)) == 1
        assert await ada.ask(PostWhileHeard(bob.channel, b"deaf", "channel-of-nobody")) == 0
        assert await ada.ask(PostWhileHeard("channel-of-nobody", b"!", ada.channel)) == 0
        assert await ada.ask(Post(bob.channel, b"last")) == 1
        await bob.until(lambda: len(bob.envelopes) == 2)
        assert bob.envelopes == [b"heard", b"last"]


@pytest.mark.holds("C7")
async def test_envelopes_arrive_in_the_order_in_which_they_were_posted(make: MakeBus) -> None:
    async with workers(make, "ada", "bob") as (ada, bob):
        envelopes = [str(number).encode() for number in range(500)]
        for envelope in envelopes:
            ada.bus.send(Post(bob.channel, envelope), lambda _: None)
        await bob.until(lambda: len(bob.envelopes) == len(envelopes))
        assert bob.envelopes == envelopes


async def test_who_has_left_gets_nothing(make: MakeBus) -> None:
    async with workers(make, "ada") as (ada,):
        async with workers(make, "bob") as (bob,):
            pass
        with anyio.fail_after(5):  # Redis notices that a connection has ended a moment later
            while await ada.ask(Count(bob.channel)):  # noqa: ASYNC110
                await anyio.sleep(0.01)
        assert await ada.ask(Post(bob.channel, b"late")) == 0


# --- holdings


@pytest.mark.holds("C1")
async def test_of_two_who_claim_a_session_one_has_it_and_both_are_told_who(make: MakeBus) -> None:
    async with workers(make, "ada", "bob") as (ada, bob):
        assert await ada.ask(Find("talk")) is None
        assert await ada.ask(Claim("talk", ADA, 60)) == ADA
        assert await bob.ask(Claim("talk", BOB, 60)) == ADA
        assert await bob.ask(Find("talk")) == ADA


@pytest.mark.holds("C1")
async def test_fifty_who_claim_a_session_at_once_all_hear_of_the_same_owner(make: MakeBus) -> None:
    async with workers(make, *(f"worker-{number}" for number in range(5))) as crowd:
        heard: list[Holding | None] = []

        async def claim(worker: Worker, number: int) -> None:
            heard.append(await worker.ask(Claim("talk", Holding(worker.name, f"token-{number}", "p"), 60)))

        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(claim, crowd[number % 5], number)
        assert len(heard) == 50
        assert len(set(heard)) == 1


@pytest.mark.holds("C1")
async def test_a_claim_that_is_repeated_is_recognised(make: MakeBus) -> None:
    async with workers(make, "ada", "bob") as (ada, bob):
        for _ in range(2):
            assert await ada.ask(Claim("talk", ADA, 60)) == ADA
        for _ in range(2):
            assert await bob.ask(Claim("talk", BOB, 60, over=(ADA.token,))) == BOB


@pytest.mark.holds("C1")
async def test_a_session_is_taken_over_from_the_owner_that_was_named_and_from_no_later_one(make: MakeBus) -> None:
    async with workers(make, "ada", "bob", "cy") as (ada, bob, cy):
        await ada.ask(Claim("talk", ADA, 60))
        assert await bob.ask(Claim("talk", BOB, 60, over=(ADA.token,))) == BOB
        late = Holding("cy", "token-3", "principal")
        assert await cy.ask(Claim("talk", late, 60, over=(ADA.token,))) == BOB
        assert await cy.ask(Claim("other", late, 60, over=(ADA.token,))) == late, "nobody has it any more"


@pytest.mark.holds("C1")
async def test_only_the_owner_refreshes_and_releases(make: MakeBus) -> None:
    async with workers(make, "ada", "bob") as (ada, bob):
        await ada.ask(Claim("talk", ADA, 60))
        assert await bob.ask(Refresh("talk", BOB.token, 60)) == ADA
        assert await bob.ask(Release("talk", BOB.token)) == ADA
        assert await ada.ask(Refresh("talk", ADA.token, 60)) == ADA
        for _ in range(2):
            assert await ada.ask(Release("talk", ADA.token)) is None
        assert await ada.ask(Refresh("talk", ADA.token, 60)) is None
        assert await bob.ask(Find("talk")) is None


@pytest.mark.holds("C1", "R4")
async def test_a_session_is_held_for_its_lifetime_and_for_longer_only_if_it_is_refreshed(make: MakeBus) -> None:
    async with workers(make, "ada", "bob") as (ada, bob):
        await ada.ask(Claim("short", ADA, 0.3))
        await ada.ask(Claim("long", ADA, 0.3))
        await ada.ask(Refresh("long", ADA.token, 60))
        await anyio.sleep(0.4)
        assert await bob.ask(Find("short")) is None
        assert await ada.ask(Refresh("short", ADA.token, 60)) is None, "what has ended is not brought back"
        assert await bob.ask(Claim("short", BOB, 60)) == BOB
        assert await bob.ask(Find("long")) == ADA


# --- workers


@pytest.mark.holds("C5")
async def test_a_worker_lives_while_it_beats(make: MakeBus) -> None:
    async with workers(make, "ada", "bob") as (ada, bob):
        assert await bob.ask(Look("ada")) is None
        await ada.ask(Beat("ada", 0.3, b"version 1"))
        assert await bob.ask(Look("ada")) == b"version 1"
        await anyio.sleep(0.4)
        assert await bob.ask(Look("ada")) is None
        await ada.ask(Beat("ada", 60, b"version 2"))
        assert await bob.ask(Look("ada")) == b"version 2"
        await ada.ask(Forget("ada"))
        assert await bob.ask(Look("ada")) is None


@pytest.mark.holds("C5")
async def test_whoever_asks_hears_which_workers_live_and_what_each_said_last(make: MakeBus) -> None:
    async with workers(make, "ada", "bob") as (ada, bob):
        assert await bob.ask(Peers()) == {}
        await ada.ask(Beat("ada", 0.3, b"early"))
        await ada.ask(Beat("ada", 0.3, bytes(range(256))))
        await bob.ask(Beat("bob", 60, b""))
        await bob.ask(Beat("cy", 60, b"cy"))
        assert await bob.ask(Peers()) == {"ada": bytes(range(256)), "bob": b"", "cy": b"cy"}
        await anyio.sleep(0.4)
        assert await ada.ask(Peers()) == {"bob": b"", "cy": b"cy"}
        await bob.ask(Forget("cy"))
        await bob.ask(Forget("cy"))
        assert await ada.ask(Peers()) == {"bob": b""}
        await bob.ask(Forget("bob"))
        assert await ada.ask(Peers()) == {}


# --- ends


async def test_what_is_asked_of_a_bus_that_is_not_joined_fails_at_once_and_by_name(make: MakeBus) -> None:
    worker = Worker("ada", make())
    with pytest.raises(BusUnavailable, match="cannot be reached") as failed:
        await worker.ask(Find("talk"))
    assert not failed.value.was_sent
    assert failed.value.safe_to_retry
    assert failed.value.http_status == 503
    async with workers(make, "bob") as (bob,):
        pass
    with pytest.raises(BusUnavailable):
        await bob.ask(Find("talk"))


@pytest.mark.holds("S5")
async def test_all_that_was_asked_is_answered_when_a_worker_leaves(make: MakeBus) -> None:
    answers: list[object] = []
    async with workers(make, "ada") as (ada,):
        for _ in range(100):
            ada.bus.send(Find("talk"), answers.append)
    assert len(answers) == 100


# --- Redis alone


@pytest.mark.holds("R4")
async def test_no_list_of_workers_is_left_when_the_last_has_left_or_died(
    redis: RedisServer, namespace: Namespace
) -> None:
    async with workers(maker("redis", redis.url, namespace), "ada") as (ada,):
        await ada.ask(Beat("ada", 60, b""))
        await ada.ask(Beat("bob", 0.2, b""))
        assert int(redis.command("TTL", namespace.workers)[1:]) > 50, (
            "who lives for longer is not forgotten with who does not"
        )
        await ada.ask(Forget("ada"))
        await ada.ask(Forget("bob"))
        assert redis.command("EXISTS", namespace.workers, namespace.worker("ada"), namespace.worker("bob")) == b":0\r\n"
        await ada.ask(Beat("bob", 0.2, b""))
        await anyio.sleep(0.3)
        assert redis.command("EXISTS", namespace.workers, namespace.worker("bob")) == b":0\r\n"


@pytest.mark.holds("C9")
async def test_a_redis_that_dies_is_noticed_at_once_and_rejoined_when_it_is_back(namespace: Namespace) -> None:
    with running_redis() as first:
        async with workers(lambda: redis_bus(first.url, namespace), "ada", "bob") as (ada, bob):
            await ada.ask(Claim("talk", ADA, 60))
            first.process.kill()
            await ada.parted()
            with pytest.raises(BusUnavailable, match=r"redis://127.0.0.1:\d+/0 (cannot be reached|was lost)"):
                await ada.ask(Find("talk"))
            with running_redis(port=first.port):
                await ada.joined(times=2)
                await bob.joined(times=2)
                assert await ada.ask(Find("talk")) is None, "it has forgotten all"
                assert await ada.ask(Post(bob.channel, b"again")) == 1
                await bob.until(lambda: bob.envelopes == [b"again"])


@pytest.mark.holds("C9")
async def test_a_redis_that_is_not_there_yet_is_joined_when_it_comes(namespace: Namespace) -> None:
    with running_redis() as server:
        port = server.port
    async with anyio.create_task_group() as tasks:
        worker = Worker("ada", redis_bus(f"redis://127.0.0.1:{port}/0", namespace))
        tasks.start_soon(worker.run)
        await anyio.sleep(0.2)
        with pytest.raises(BusUnavailable):
            await worker.ask(Find("talk"))
        with running_redis(port=port):
            await worker.joined()
            assert len(worker.news) == 1
            assert await worker.ask(Find("talk")) is None
            tasks.cancel_scope.cancel()


@pytest.mark.holds("C9")
async def test_a_redis_that_stands_still_is_given_up_and_what_was_asked_of_it_has_an_unknown_outcome(
    namespace: Namespace,
) -> None:
    with running_redis() as server:
        async with workers(lambda: redis_bus(server.url, namespace, patience=0.3), "ada") as (ada,):
            server.freeze()
            with pytest.raises(BusUnavailable, match=r"said nothing for 0\.3 s") as failed:
                await ada.ask(Find("talk"))
            assert failed.value.was_sent
            assert not failed.value.safe_to_retry
            server.thaw()
            await ada.joined(times=2)
            assert await ada.ask(Find("talk")) is None


@pytest.mark.holds("C6")
async def test_each_worker_has_two_connections_however_much_it_says(redis: RedisServer, namespace: Namespace) -> None:
    make = maker("redis", redis.url, namespace)
    async with workers(make, "ada") as (ada,):
        before = redis.connections()
        async with workers(make, "bob") as (bob,):
            assert redis.connections() == before + 2
            for number in range(2_000):
                ada.bus.send(Post(bob.channel, str(number).encode()), lambda _: None)
            await bob.until(lambda: len(bob.envelopes) == 2_000)
            assert redis.connections() == before + 2


async def test_commands_of_one_tick_go_out_in_one_write(redis: RedisServer, namespace: Namespace) -> None:
    async with workers(maker("redis", redis.url, namespace), "ada", "bob") as (ada, bob):
        before = redis.stat("total_reads_processed")
        for number in range(100):
            ada.bus.send(Post(bob.channel, str(number).encode()), lambda _: None)
        await bob.until(lambda: len(bob.envelopes) == 100)
        # One for the hundred, some for this question, and signs of life.
        assert redis.stat("total_reads_processed") - before < 20


@pytest.mark.holds("R4")
async def test_namespaces_that_share_a_redis_do_not_meet(redis: RedisServer) -> None:
    make_one = maker("redis", redis.url, Namespace("one"))
    make_two = maker("redis", redis.url, Namespace("two"))
    async with workers(make_one, "ada") as (ada,), workers(make_two, "bob") as (bob,):
        await ada.ask(Claim("talk", ADA, 60))
        await ada.ask(Beat("ada", 60, b""))
        assert await bob.ask(Find("talk")) is None
        assert await bob.ask(Look("ada")) is None
        await ada.ask(Release("talk", ADA.token))


async def test_it_works_for_a_user_who_may_do_nothing_but_what_is_documented(
    redis: RedisServer, namespace: Namespace
) -> None:
    redis.command("ACL", "SETUSER", "narrow", "reset", "on", ">a secret: 1%", *namespace.access_rules)
    url = f"redis://narrow:a%20secret%3A%201%25@127.0.0.1:{redis.port}/0"
    channels = namespace.requests("ada"), namespace.requests("bob")
    async with anyio.create_task_group() as tasks:
        ada, bob = (Worker(name, redis_bus(url, namespace)) for name in ("ada", "bob"))
        tasks.start_soon(ada.bus.run, (channels[0],), ada.tell)
        tasks.start_soon(bob.bus.run, (channels[1],), bob.tell)
        await ada.joined()
        await bob.joined()
        assert await ada.ask(Post(channels[1], b"hello")) == 1
        assert await ada.ask(PostWhileHeard(channels[1], b"hello", channels[0])) == 1
        assert await ada.ask(Count(channels[1])) == 1
        assert await ada.ask(Claim("talk", ADA, 60)) == ADA
        assert await ada.ask(Refresh("talk", ADA.token, 60)) == ADA
        assert await ada.ask(Find("talk")) == ADA
        assert await ada.ask(Release("talk", ADA.token)) is None
        await ada.ask(Beat("ada", 60, b"well"))
        assert await ada.ask(Look("ada")) == b"well"
        assert await ada.ask(Peers()) == {"ada": b"well"}
        await ada.ask(Forget("ada"))
        assert await ada.ask(Peers()) == {}
        with pytest.raises(BusUnavailable, match="refused Post") as refused:
            await ada.ask(Post("troupe:elsewhere:requests:ada", b"hello"))
        assert "secret" not in str(refused.value)
        tasks.cancel_scope.cancel()


@pytest.mark.holds("X1")
async def test_wrong_passwords_are_told_without_being_shown(namespace: Namespace) -> None:
    with running_redis(options=("--requirepass", "right")) as server:
        async with anyio.create_task_group() as tasks:
            worker = Worker("ada", redis_bus(f"redis://:wrong-one@127.0.0.1:{server.port}/0", namespace))
            tasks.start_soon(worker.run)
            with anyio.fail_after(5):
                while True:
                    with pytest.raises(BusUnavailable) as failed:
                        await worker.ask(Find("talk"))
                    if "not been joined yet" not in str(failed.value):
                        break
                    await anyio.sleep(0.01)
            assert "invalid username-password pair" in str(failed.value)
            assert "wrong-one" not in str(failed.value)
            assert "wrong-one" not in repr(worker.bus)
            tasks.cancel_scope.cancel()


async def test_redis_is_reached_through_a_socket_of_the_file_system(
    namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("r") / "s"
    with running_redis(options=("--unixsocket", str(path))):
        async with workers(lambda: redis_bus(f"unix://{path}", namespace), "ada") as (ada,):
            assert await ada.ask(Claim("talk", ADA, 60)) == ADA
