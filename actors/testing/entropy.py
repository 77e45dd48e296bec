"""Python's own sources of randomness, under a seed."""

import os
import random
from collections.abc import Generator
from contextlib import contextmanager
from threading import get_ident
from typing import Any, cast


@contextmanager
def seeded(draws: random.Random) -> Generator[None]:
    """Let the functions of `random`, `secrets` and `uuid4` draw from `draws` within the block, in this thread.

    What they would have drawn otherwise, they draw after it.
    """
    thread, system = get_ident(), os.urandom
    inside = cast("Any", random)
    its_own = inside._urandom  # noqa: SLF001 - what `SystemRandom`, and so `secrets`, draws from
    state = random.getstate()

    def urandom(size: int, /) -> bytes:
        return draws.randbytes(size) if get_ident() == thread else system(size)

    random.seed(draws.getrandbits(64))
    os.urandom = inside._urandom = urandom  # noqa: SLF001
    try:
        yield
    finally:
        os.urandom, inside._urandom = system, its_own  # noqa: SLF001
        random.setstate(state)
