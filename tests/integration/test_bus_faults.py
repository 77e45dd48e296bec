"""What becomes of a bus when a Redis fails it: it says so by name, and nothing hangs."""

import time
from itertools import count

import anyio
import pytest

from protocol.bus import Beat, Find, Joined, Look, Parted, Post
from protocol.errors import BusUnavailable
from protocol.namespace import Namespace
from tests.integration.buses import maker, redis_bus, refusal, trying, workers
from tests.integration.fake_redis import bulk, fake_redis, well
from tests.redis_server import RedisServer, free_port, running_redis

_numbers = count()


# --- as it joins


@pytest.mark.holds("C2", "C9")
@pytest.mark.parametrize("channels", [("foreign",), ("foreign", "other")])
async def test_a_refused_subscription_is_no_joining_and_is_told_by_name(
    redis: RedisServer, namespace: Namespace, channels: tuple[str, ...]
) -> None:
    redis.command("ACL", "SETUSER", "narrow", "reset", "on", ">pass", *namespace.access_rules)
    url = f"redis://narrow:pass@127.0.0.1:{redis.port}/0"
    async with trying(url, namespace, *channels) as worker:
        why = await refusal(worker)
        assert "NOPERM this user has no permissions to access one of the channels" in why
        assert "narrow" not in why
        assert worker.news == []


async def test_a_database_that_there_is_none_of_is_told_by_name(redis: RedisServer, namespace: Namespace) -> None:
    async with trying(f"redis://127.0.0.1:{redis.port}/99", namespace) as worker:
        assert "DB index is out of range" in await refusal(worker)


async def test_a_redis_that_takes_connections_and_says_nothing_is_given_up(namespace: Namespace) -> None:
    with fake_redis(lambda _: b"") as fake:
        async with trying(fake.url, namespace, patience=0.1) as worker:
            assert "it did not answer within 0.1 s" in await refusal(worker)
            await anyio.sleep(0.3)
        assert fake.accepted >= 4, "it is tried again"


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n", b"*x\r\n", b"$-7\r\n", b"+OK\r\n", b":1\r\n"])
async def test_what_is_no_redis_is_told_by_name_and_tried_again(namespace: Namespace, garbage: bytes) -> None:
    with fake_redis(lambda _: garbage) as fake:
        async with trying(fake.url, namespace, patience=0.3) as worker:
            assert "Bad Request" not in await refusal(worker)
            before = fake.accepted
            with anyio.fail_after(5):
                while fake.accepted < before + 4:  # noqa: ASYNC110 - it has no event
                    await anyio.sleep(0.01)
            assert worker.news == []


@pytest.mark.holds("X1")
async def test_a_redis_that_does_not_know_a_command_repeats_it_and_the_bus_does_not(namespace: Namespace) -> None:
    options = ("--rename-command", "AUTH", "", "--rename-command", "PUBLISH", "")
    with running_redis(options=options) as server:
        async with trying(f"redis://:secret@127.0.0.1:{server.port}/0", namespace) as worker:
            assert (await refusal(worker)).endswith("cannot be reached: unknown command 'AUTH'")
        async with trying(server.url, namespace) as worker:
            await worker.joined()
            with pytest.raises(BusUnavailable, match=r"refused Post: unknown command 'PUBLISH'$"):
                await worker.ask(Post("channel", b"secret"))


async def test_what_comes_while_it_subscribes_is_not_lost(namespace: Namespace) -> None:
    def answer(words: list[bytes]) -> bytes:
        if words[0] != b"SUBSCRIBE":
            return well(words)
        one, other = (well([b"SUBSCRIBE", channel]) for channel in words[1:])
        return one + bulk(b"message", b"one", b"early") + other

    with fake_redis(answer) as fake:
        async with trying(fake.url, namespace, "one", "other") as worker:
            await worker.until(lambda: bool(worker.envelopes))
            assert isinstance(worker.news[0], Joined)
            assert worker.envelopes == [b"early"]


@pytest.mark.parametrize("key", [bulk(b"yesterday", b"1", b"2"), b"+OK\r\n", b"*0\r\n"])
async def test_a_bus_that_does_not_know_how_old_it_is_is_not_joined(namespace: Namespace, key: bytes) -> None:
    with fake_redis(lambda words: key if words[0] == b"EVAL" else well(words)) as fake:
        async with trying(fake.url, namespace) as worker:
            assert f"does not say since when it has kept its records: see {namespace.run}" in await refusal(worker)
            assert worker.news == []


# --- once it is joined


@pytest.mark.holds("C5", "C9")
@pytest.mark.parametrize("part", ["pubsub", "normal"])
async def test_one_connection_that_is_killed_takes_the_other_with_it(
    redis: RedisServer, namespace: Namespace, part: str
) -> None:
    async with workers(maker("redis", redis.url, namespace), "ada", "bob") as (ada, bob):
        for times in (2, 3):
            redis.command("CLIENT", "KILL", "TYPE", part)
            for worker in (ada, bob):
                await worker.joined(times)
            assert await ada.ask(Post(bob.channel, b"again")) == 1
        assert [type(news) for news in ada.news] == [Joined, Parted, Joined, Parted, Joined]
        assert redis.connections() == 4


async def test_a_listener_too_slow_for_redis_is_rejoined(redis: RedisServer, namespace: Namespace) -> None:
    redis.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 1")
    async with workers(maker("redis", redis.url, namespace), "ada") as (ada,):
        redis.command("EVAL", f"for i=1,40 do redis.call('PUBLISH','{ada.channel}',string.rep('x',1000000)) end", "0")
        await ada.joined(times=2)
        assert await ada.ask(Post(ada.channel, b"again")) == 1


@pytest.mark.holds("C9")
async def test_a_connection_that_never_holds_is_not_tried_without_a_pause(namespace: Namespace) -> None:
    def answer(words: list[bytes]) -> bytes | None:
        return None if words == [b"PING"] else well(words)

    with fake_redis(answer) as fake:
        async with trying(fake.url, namespace) as worker:
            await worker.parted()
            await anyio.sleep(0.5)
        assert 3 < fake.accepted < 30


@pytest.mark.holds("C1", "C5")
async def test_a_line_that_is_cut_soon_after_a_long_absence_of_redis_comes_back_at_once(namespace: Namespace) -> None:
    port = free_port()
    async with trying(f"redis://127.0.0.1:{port}/0", namespace) as worker:
        await anyio.sleep(1.5)  # by then its attempts are most of a second apart
        with running_redis(port=port) as server:
            await worker.joined()
            await anyio.sleep(0.2)
            server.command("CLIENT", "KILL", "TYPE", "pubsub")
            cut_at = time.monotonic()
            await worker.joined(times=2)
            assert time.monotonic() < cut_at + 0.25


@pytest.mark.holds("C9")
async def test_a_process_that_stood_still_itself_blames_no_redis(redis: RedisServer, namespace: Namespace) -> None:
    async with workers(lambda: redis_bus(redis.url, namespace, patience=0.3), "ada") as (ada,):
        for _ in range(3):
            time.sleep(0.7)  # noqa: ASYNC251 - that is the point
            await anyio.sleep(0.1)
        assert [type(news) for news in ada.news] == [Joined]


@pytest.mark.holds("C9")
@pytest.mark.parametrize("garbage", [b"*x\r\n", b"!\r\n", b"+PONG\r\n+PONG\r\n", b"*1\r\n" * 5_000])
async def test_a_redis_that_says_nonsense_is_parted_from(namespace: Namespace, garbage: bytes) -> None:
    with fake_redis(lambda words: garbage if words[0] == b"HMGET" else well(words)) as fake:
        async with trying(fake.url, namespace) as worker:
            await worker.joined()
            with pytest.raises(BusUnavailable):
                await worker.ask(Find("talk"))
                await worker.ask(Find("talk"))
            await worker.joined(times=2)


async def test_an_answer_that_is_none_is_that_commands_own_affair(namespace: Namespace) -> None:
    answers = {b"HMGET": b"$3\r\nabc\r\n", b"GET": b":5\r\n", b"PUBLISH": b"$1\r\nx\r\n"}
    with fake_redis(lambda words: answers.get(words[0]) or well(words)) as fake:
        async with trying(fake.url, namespace) as worker:
            await worker.joined()
            for command in (Find("talk"), Look("ada"), Post("channel", b"")):
                with pytest.raises(BusUnavailable, match=f"answered {type(command).__name__} oddly") as odd:
                    await worker.ask(command)
                assert odd.value.was_sent
            assert [type(news) for news in worker.news] == [Joined]


@pytest.mark.holds("C9")
async def test_a_master_that_became_a_replica_is_left(redis: RedisServer, namespace: Namespace) -> None:
    with running_redis() as former:
        async with workers(maker("redis", former.url, namespace), "ada") as (ada,):
            former.command("REPLICAOF", "127.0.0.1", str(redis.port))
            with pytest.raises(BusUnavailable, match="READONLY You can't write against a read only replica"):
                await ada.ask(Beat("ada", 60, b""))
            await ada.parted()
            assert "READONLY" in await refusal(ada)
            former.command("REPLICAOF", "NO", "ONE")
            await ada.joined(times=2)


@pytest.mark.holds("C9")
async def test_a_node_of_a_cluster_is_refused_by_name(namespace: Namespace) -> None:
    with running_redis(options=("--cluster-enabled", "yes")) as node:
        async with trying(node.url, namespace) as worker:
            assert "CLUSTERDOWN Hash slot not served (it is a node of a Redis Cluster" in await refusal(worker)
            node.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            await worker.joined()  # one node that has it all is a Redis like another


async def test_what_another_node_of_a_cluster_has_is_refused_by_name(namespace: Namespace) -> None:
    with fake_redis(lambda words: b"-MOVED 5 10.0.0.7:7001\r\n" if words[0] == b"EVAL" else well(words)) as fake:
        async with trying(fake.url, namespace) as worker:
            assert "MOVED 5 10.0.0.7:7001 (it is a node of a Redis Cluster" in await refusal(worker)
