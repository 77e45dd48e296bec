"""How many requests may wait for an actor, and what happens to one too many.

The rules
---------
- The bound is on requests: whatever is told or asked. What answers something (a `protocol.message.Answer`, an effect's
  outcome, a timer, a signal) is bounded by what it answers, and always gets in.
- Nothing is unbounded by default, and a request that does not get in is never lost in silence: it is counted, and its
  sender or the dead letters know of it.
"""

from dataclasses import dataclass
from enum import Enum

from protocol.errors import InvalidSettings


class Overflow(Enum):
    """What happens to a request that finds the mailbox full."""

    REJECT = "reject"
    """Its sender gets `MailboxFull`."""
    DROP_OLDEST = "drop_oldest"
    """The request that has waited longest makes room: a dead letter, and `MailboxFull` for who asked it."""
    DROP_NEWEST = "drop_newest"
    """It becomes a dead letter itself, and who asked it gets `MailboxFull`. Who told it is not told."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """The bound of an actor's mailbox.

    Attributes:
        capacity: how many requests may wait, at least 1. The one being handled does not wait.
        overflow: what happens to one more: an `Overflow` or its text.

    Raises:
        InvalidSettings: the capacity is no whole number of at least 1, or the policy is unknown.
    """

    capacity: int = 10_000
    overflow: Overflow | str = Overflow.REJECT

    def __post_init__(self) -> None:
        capacity = self.capacity
        is_whole = isinstance(capacity, int) and not isinstance(capacity, bool)  # pyright: ignore[reportUnnecessaryIsInstance]
        if not is_whole or capacity < 1:
            raise InvalidSettings(
                f"a mailbox needs a capacity of at least 1 request, not {capacity!r}: the one being handled does not "
                "count, so 1 lets one wait"
            )
        try:
            policy = Overflow(self.overflow)
        except ValueError:
            known = ", ".join(repr(policy.value) for policy in Overflow)
            raise InvalidSettings(f"a mailbox overflows by one of {known}, not by {self.overflow!r}") from None
        object.__setattr__(self, "overflow", policy)
