"""What can go wrong between a session and its server."""

from enum import Enum


class Trouble(Enum):
    """A kind of trouble. It strikes one session of a `FakeUpstream`, whatever that is at: being opened, idle, in use,
    being checked, being closed.
    """

    __hash__ = object.__hash__  # members are singletons

    BREAK = "break"
    """The connection breaks. An opening fails, what is under way ends with an error, and nothing more is answered."""
    LOSE = "lose"
    """The server forgets the session, and answers 404 to whatever is sent on it. One that keeps no state has nothing to
    forget."""
    HANG = "hang"
    """The server falls silent. An opening, a call, a probe, a close: none of them is answered any more."""
    REFUSE = "refuse"
    """The server refuses the credentials (401), once."""
