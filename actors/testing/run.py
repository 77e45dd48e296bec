"""A run of a scenario, as it is when it is over."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from typing_extensions import override

from actors.testing.event import Event, digest
from actors.testing.faults import Fault

EVENTS_SHOWN: Final = 40


@dataclass(frozen=True)
class Run:
    """What one seed made of a scenario. As text, a readable trace of its last events.

    Attributes:
        scenario: its name.
        seed: what all draws of the run came from.
        faults: the plan of faults, those included that were drawn from the seed.
        events: all that happened, in order.
        seconds: how long it took, in virtual time.
        steps: how often a task ran, and how many turns actors had.
    """

    scenario: str
    seed: int
    faults: tuple[Fault, ...]
    events: tuple[Event, ...]
    seconds: float
    steps: int

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the events, in hexadecimal digits: two runs with one digest went the same way."""
        return digest(self.events)

    def last(self, count: int) -> str:
        """The last so many events, one to a line."""
        hidden = max(0, len(self.events) - count)
        lines = [f"... {hidden} events before"] if hidden else []
        return "\n".join([*lines, *(str(event) for event in self.events[hidden:])])

    @override
    def __str__(self) -> str:
        head = f"{self.scenario}, seed {self.seed}: {len(self.events)} events in {self.seconds:g} s of virtual time"
        return "\n".join([head, *(f"fault {fault!r}" for fault in self.faults), self.last(EVENTS_SHOWN)])
