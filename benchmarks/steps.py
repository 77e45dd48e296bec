"""Task switches, counted on trio: a count that no machine changes."""

from collections.abc import Generator
from contextlib import contextmanager

import trio


class StepCounter(trio.abc.Instrument):
    """Counts how often any task is switched to.

    Attributes:
        steps: how often so far.
    """

    def __init__(self) -> None:
        self.steps = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count one."""
        del task
        self.steps += 1


@contextmanager
def counted_steps() -> Generator[StepCounter]:
    """Count the switches of the trio run that is under way."""
    counter = StepCounter()
    trio.lowlevel.add_instrument(counter)
    try:
        yield counter
    finally:
        trio.lowlevel.remove_instrument(counter)
