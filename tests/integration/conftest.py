"""What the tests of buses and clusters begin with: a Redis of the module's own, and a namespace of each test's own."""

from collections.abc import Generator
from itertools import count
from typing import Final

import pytest

from protocol.namespace import Namespace
from tests.integration.buses import MakeBus, maker
from tests.redis_server import RedisServer, running_redis

_NUMBERS: Final = count()


@pytest.fixture(scope="module")
def redis() -> Generator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def namespace() -> Namespace:
    return Namespace(f"test-{next(_NUMBERS)}")


@pytest.fixture(params=["memory", "redis"])
def make(request: pytest.FixtureRequest, redis: RedisServer, namespace: Namespace) -> MakeBus:
    """Makes buses of each kind that meet."""
    return maker(request.param, redis.url, namespace)
