"""Who has calls made in a storm: a few callers to each conversation, each asking whichever worker comes next."""

import random
from itertools import count
from typing import Final

import anyio

from tests.integration.storm.crew import WorkerProcess
from tests.integration.storm.record import Call
from tests.integration.storm.trouble import Storm

PATIENCE: Final = 20.0
"""Seconds after which a call counts as lost: it may take five, and its worker may stand still for seven."""

_TIMEOUTS: Final = (None, None, None, 0.3, 2.0)
_SECONDS: Final = (0.0, 0.0, 0.0, 0.0, 0.02, 0.1, 0.5)
_NUMBERS: Final = count()


async def converse(storm: Storm, conversation: str, number: int, *, pause: float) -> None:
    """Have one call after the other made in a conversation."""
    dice = random.Random(f"{storm.seed} {conversation} {number}")
    while not storm.is_over.is_set():
        await storm.pause(dice.expovariate(1 / pause))
        if workers := storm.crew.usable():
            worker = dice.choice(workers)
            is_impatient = dice.random() < 0.03
            await ask(storm, worker, conversation, dice, gives_up_after=dice.uniform(0, 0.05) if is_impatient else None)


async def ask(
    storm: Storm,
    worker: WorkerProcess,
    conversation: str,
    dice: random.Random,
    *,
    gives_up_after: float | None = None,
) -> Call:
    """Have one call made, and wait until it is known what came of it."""
    call = Call(f"call-{next(_NUMBERS)}", conversation, worker.name, idempotent=dice.random() < 0.2)
    user = storm.conversations[conversation]
    timeout, seconds = dice.choice(_TIMEOUTS), dice.choice(_SECONDS)

    async def give_up(after: float) -> None:
        await anyio.sleep(after)
        worker.cancel(call)

    with anyio.move_on_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            if gives_up_after is not None:
                tasks.start_soon(give_up, gives_up_after)
            await worker.call(call, user=user, seconds=seconds, timeout=timeout)
            tasks.cancel_scope.cancel()
    return call
