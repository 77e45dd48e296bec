"""Code that was written for asyncio, wherever it runs."""

import asyncio
import subprocess
import sys

import anyio
import pytest

from actors.flavour import in_asyncio


class Slow:
    """Takes a while to end."""

    def __init__(self) -> None:
        self.has_ended = False

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(20):
                await asyncio.sleep(0)
            self.has_ended = True


async def test_whoever_is_cancelled_is_waited_for() -> None:
    slow = Slow()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_asyncio, slow.run)
        await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert slow.has_ended


@pytest.mark.backends("asyncio")
async def test_whoever_is_cancelled_again_is_waited_for_all_the_same() -> None:
    slow = Slow()
    task = asyncio.create_task(in_asyncio(slow.run))
    await asyncio.sleep(0.01)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slow.has_ended


def test_plain_asyncio_is_plain_also_after_asyncios_code_has_run_on_trio() -> None:
    program = """
import asyncio, anyio
from actors.flavour import in_asyncio

async def kind():
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]

async def main():
    return await in_asyncio(kind)

print(asyncio.run(kind()), anyio.run(main, backend="trio"), asyncio.run(kind()), anyio.run(main, backend="asyncio"))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert ran.stdout.split() == ["asyncio", "trio_asyncio", "asyncio", "asyncio"]
