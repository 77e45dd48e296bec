"""The bus over Redis Sentinel: a real master, its replica and a Sentinel, and Sentinels that say what a test wants."""

import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from protocol.bus import Claim, Find, Holding
from protocol.namespace import Namespace
from tests.integration.buses import redis_bus, refusal, trying, workers
from tests.integration.fake_redis import bulk, fake_redis, well
from tests.redis_server import RedisServer, find_redis_program, free_port, running_redis

ADA = Holding("ada", "token-1", "principal")
NAMES = Namespace("sentinel")

SETTINGS = """\
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor main 127.0.0.1 {master} 1
sentinel down-after-milliseconds main 300
sentinel failover-timeout main 2000
"""


@contextmanager
def running_sentinel(master: RedisServer) -> Generator[RedisServer]:
    """A Sentinel that watches the master, and knows of its replica."""
    with tempfile.TemporaryDirectory(prefix="troupe-sentinel-") as folder:
        port = free_port()
        settings = Path(folder) / "sentinel.conf"
        settings.write_text(SETTINGS.format(port=port, folder=folder, master=master.port))
        command = [find_redis_program(), str(settings), "--sentinel"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:  # noqa: S603 - the program was found by name, and no shell reads the command
            try:
                sentinel = RedisServer(port=port, process=process)
                deadline = time.monotonic() + 20
                while not _knows_a_replica(sentinel):
                    assert time.monotonic() < deadline, "the Sentinel found no replica"
                    time.sleep(0.05)
                yield sentinel
            finally:
                process.kill()


def _knows_a_replica(sentinel: RedisServer) -> bool:
    try:
        said = sentinel.command("SENTINEL", "REPLICAS", "main")
    except OSError:
        return False
    return b"master-link-status\r\n$2\r\nok" in said


@pytest.mark.holds("C9")
async def test_after_a_failover_the_new_master_is_joined() -> None:
    with (
        running_redis() as master,
        running_redis(options=("--replicaof", f"127.0.0.1 {master.port}", "--repl-diskless-sync-delay", "0")) as new,
        running_sentinel(master) as sentinel,
    ):
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/main/0"
        async with workers(lambda: redis_bus(url, NAMES), "ada") as (ada,):
            assert await ada.ask(Claim("talk", ADA, 60)) == ADA
            assert master.connections() >= 2
            master.process.kill()
            await ada.parted()
            with anyio.fail_after(14):
                await ada.joined(times=2)
            assert b"role:master" in new.command("INFO", "replication")
            assert await ada.ask(Claim("talk", ADA, 60)) == ADA
            assert b"ada" in new.command("HGETALL", NAMES.owner("talk"))


async def test_a_sentinel_that_is_silent_or_gone_or_knows_nothing_is_passed_over() -> None:
    with (
        running_redis() as master,
        fake_redis(lambda _: b"") as silent,
        fake_redis(lambda _: b"*-1\r\n") as ignorant,
        fake_redis(lambda _: bulk(b"127.0.0.1", str(master.port).encode())) as well_informed,
    ):
        places = ",".join(f"127.0.0.1:{port}" for port in (1, silent.port, ignorant.port, well_informed.port))
        async with workers(lambda: redis_bus(f"redis+sentinel://{places}/main", NAMES, patience=0.3), "ada") as (ada,):
            assert await ada.ask(Find("nothing")) is None


async def test_when_no_sentinel_knows_it_each_says_why() -> None:
    with (
        fake_redis(lambda _: b"") as silent,
        fake_redis(lambda _: b"*-1\r\n") as ignorant,
        fake_redis(lambda _: b"-NOPERM User ada has no permissions to run the 'sentinel' command\r\n") as strict,
        fake_redis(lambda _: b"*x\r\n") as nonsense,
    ):
        ports = silent.port, ignorant.port, strict.port, nonsense.port
        places = ",".join(f"127.0.0.1:{port}" for port in ports)
        async with trying(f"redis+sentinel://{places}/main", NAMES, patience=0.2) as worker:
            why = await refusal(worker)
        assert (
            f"no Sentinel says where the master of main is: 127.0.0.1:{silent.port} did not answer within 0.2 s" in why
        )
        assert f"127.0.0.1:{ignorant.port} does not know it" in why
        assert f"127.0.0.1:{strict.port}: NOPERM this user has no permissions" in why
        assert f"127.0.0.1:{nonsense.port}: ValueError was raised" in why


@pytest.mark.holds("C9")
async def test_a_sentinel_that_missed_a_failover_is_not_believed_for_ever() -> None:
    with (
        running_redis() as master,
        running_redis(options=("--replicaof", f"127.0.0.1 {master.port}")) as replica,
        fake_redis(lambda _: bulk(b"127.0.0.1", str(replica.port).encode())) as late,
        fake_redis(lambda _: bulk(b"127.0.0.1", str(master.port).encode())) as well_informed,
    ):
        places = f"127.0.0.1:{late.port},127.0.0.1:{well_informed.port}"
        async with workers(lambda: redis_bus(f"redis+sentinel://{places}/main", NAMES), "ada") as (ada,):
            assert await ada.ask(Claim("talk", ADA, 60)) == ADA
            assert master.connections() >= 2


@pytest.mark.holds("X1")
async def test_a_password_may_be_the_masters_alone() -> None:
    refused = b"-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?\r\n"  # noqa: E501 - Redis's words
    with running_redis(options=("--requirepass", "right")) as master:

        def answer(words: list[bytes]) -> bytes:
            if words[0] == b"AUTH":
                return refused
            return bulk(b"127.0.0.1", str(master.port).encode()) if words[0] == b"SENTINEL" else well(words)

        with fake_redis(answer) as sentinel:
            url = f"redis+sentinel://:right@127.0.0.1:{sentinel.port}/main"
            async with workers(lambda: redis_bus(url, NAMES), "ada") as (ada,):
                assert await ada.ask(Find("nothing")) is None
