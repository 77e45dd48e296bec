"""What is left of a bus when it is left: nothing, at whatever moment."""

import gc
import os
import socket
from itertools import count
from pathlib import Path
from stat import S_ISSOCK

import anyio
import pytest

from protocol.bus import Find, Post
from protocol.errors import BusUnavailable
from protocol.namespace import Namespace
from tests.integration.buses import Worker, redis_bus, workers
from tests.integration.fake_redis import fake_redis
from tests.redis_server import running_redis

_numbers = count()


async def _leaves(url: str, namespace: Namespace, after: float) -> None:
    sent = 0
    answers: list[object] = []
    worker = Worker("ada", redis_bus(url, namespace, patience=0.2))
    with anyio.move_on_after(after) as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker.run)
            while True:
                worker.bus.send(Post("channel", b"x"), answers.append)
                sent += 1
                await anyio.sleep(after / 50)
    assert scope.cancelled_caught
    assert len(answers) == sent
    gc.collect()  # what was left open says so


@pytest.mark.holds("R4", "S5")
@pytest.mark.parametrize("state", ["well", "silent", "gone", "frozen"])
async def test_it_can_be_left_at_any_moment(namespace: Namespace, state: str) -> None:
    with running_redis() as server, fake_redis(lambda _: b"") as silent:
        urls = {"silent": f"redis://:pass@127.0.0.1:{silent.port}/0", "gone": "redis://127.0.0.1:1/0"}
        if state == "frozen":
            server.freeze()
        for hundredth in range(0, 60, 3):
            await _leaves(urls.get(state, server.url), namespace, 0.0005 * hundredth + 0.0003)
        await _leaves(urls.get(state, server.url), namespace, 0.5)
        server.thaw()
        with anyio.fail_after(5):
            while server.connections():  # noqa: ASYNC110 - it has no event
                await anyio.sleep(0.01)


@pytest.mark.holds("C6", "R4")
async def test_a_redis_that_stands_still_keeps_no_connection_that_was_given_up(namespace: Namespace) -> None:
    with running_redis() as server:
        async with workers(lambda: redis_bus(server.url, namespace, patience=0.2), "ada") as (ada,):
            server.freeze()
            answers: list[object] = []
            for _ in range(30):
                ada.bus.send(Post("channel", b"x" * 1_000_000), answers.append)
            await ada.parted()
            with pytest.raises(BusUnavailable):
                await ada.ask(Find("talk"))
            assert len(answers) == 30
            assert all(isinstance(answer, BusUnavailable) and answer.was_sent for answer in answers)
        # Each is closed by now, though none of it could be written.
        gc.collect()
        assert open_connections(server.port) == 0
        server.thaw()


def open_connections(port: int) -> int:
    """How many sockets of this process are connected to the port."""
    found = 0
    for entry in Path("/dev/fd").iterdir():
        try:
            copy = os.dup(int(entry.name))
        except OSError:  # the listing's own
            continue
        try:
            if S_ISSOCK(os.fstat(copy).st_mode):
                with socket.socket(fileno=os.dup(copy)) as opened:
                    found += opened.family == socket.AF_INET and opened.getpeername()[1] == port
        except OSError:  # it is not connected
            continue
        finally:
            os.close(copy)
    return found
