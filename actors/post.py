"""A message under way to a server."""

from dataclasses import dataclass

import httpx2

from actors.envelope import Envelope
from actors.exchange import Exchange


@dataclass(slots=True)
class Post:
    """A message under way to a server.

    Attributes:
        request: that bears it.
        exchange: that it is part of; None for what nobody asked for.
        step: what errors call it.
        envelope: its outside.
    """

    request: httpx2.Request
    exchange: Exchange | None
    step: str
    envelope: Envelope
