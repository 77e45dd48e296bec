"""Code that was written for asyncio, wherever it runs."""

import asyncio

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
