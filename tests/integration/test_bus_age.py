"""How old the records of a bus are, as whoever joins it is told."""

from itertools import count

import anyio
import pytest

from protocol.bus import Joined
from protocol.namespace import Namespace
from tests.integration.buses import MakeBus, Worker, redis_bus, workers
from tests.redis_server import RedisServer

_numbers = count()


def ages(worker: Worker) -> list[float]:
    return [news.age for news in worker.news if isinstance(news, Joined)]


async def test_whoever_joins_hears_how_old_the_records_are(make: MakeBus) -> None:
    async with workers(make, "ada", "bob") as (ada, bob):
        began = anyio.current_time()
        assert min(ages(ada) + ages(bob)) >= 0
        assert max(ages(ada) + ages(bob)) < 5
        await anyio.sleep(0.3)
        async with workers(make, "cy") as (cy,):
            (age,) = ages(cy)
            assert 0.3 <= age < anyio.current_time() - began + 5
    async with workers(make, "ada") as (ada,):
        assert ages(ada)[0] >= age, "they outlive those who joined"


@pytest.mark.holds("C5")
async def test_a_redis_that_lost_its_records_is_young_again_and_one_that_was_only_cut_off_is_not(
    redis: RedisServer, namespace: Namespace
) -> None:
    async with workers(lambda: redis_bus(redis.url, namespace), "ada") as (ada,):
        await anyio.sleep(0.3)
        redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        await ada.joined(times=2)
        redis.command("DEL", namespace.run)
        redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        await ada.joined(times=3)
        first, second, third = ages(ada)
        assert second >= first + 0.3
        assert third < second


async def test_the_age_never_ends_and_goes_by_the_clock_of_redis(redis: RedisServer, namespace: Namespace) -> None:
    redis.command("SET", namespace.run, "1000000000.250000")
    async with workers(lambda: redis_bus(redis.url, namespace), "ada") as (ada,):
        seconds, microseconds = (int(line) for line in redis.command("TIME").split()[2::2])
        assert ages(ada)[0] == pytest.approx(seconds + microseconds / 1e6 - 1_000_000_000.25, abs=5)
        assert redis.command("PTTL", namespace.run) == b":-1\r\n"


async def test_a_clock_that_was_set_back_makes_the_records_young(redis: RedisServer, namespace: Namespace) -> None:
    redis.command("SET", namespace.run, "9999999999.000000")
    async with workers(lambda: redis_bus(redis.url, namespace), "ada") as (ada,):
        assert ages(ada) == [0.0]


async def test_a_bus_whose_key_is_something_else_is_not_joined(redis: RedisServer, namespace: Namespace) -> None:
    redis.command("HSET", namespace.run, "field", "value")
    async with anyio.create_task_group() as tasks:
        worker = Worker("ada", redis_bus(redis.url, namespace))
        tasks.start_soon(worker.run)
        await anyio.sleep(0.2)
        assert worker.news == []
        redis.command("DEL", namespace.run)
        await worker.joined()
        tasks.cancel_scope.cancel()
