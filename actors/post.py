"""A message under way to a server."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from actors.envelope import Envelope
from actors.exchange import Exchange
from protocol.keys import NOT_FORWARDED


@dataclass(slots=True)
class Post:
    """A message under way to a server.

    Attributes:
        request: that bears it.
        exchange: that it is part of; None for what nobody asked for.
        step: what errors call it.
        envelope: its outside.
        result: what it was answered with, where that is all that there is to its answer.
    """

    request: httpx2.Request
    exchange: Exchange | None
    step: str
    envelope: Envelope
    result: dict[str, Any] | None = None


def put_on(request: httpx2.Request, exchange: Exchange | None, newest: Mapping[str, str]) -> None:
    """Put the headers of the lease that makes the call on its request, else those of the newest one.

    None that is the protocol's own or the connection's.
    """
    for name, value in (newest if exchange is None or exchange.headers is None else exchange.headers).items():
        plain = name.lower()
        if plain not in NOT_FORWARDED and not plain.startswith("mcp-"):
            request.headers[name] = value


def with_query(request: httpx2.Request, query: bytes) -> httpx2.Request:
    """The request with this query, which is kept from the client above: it logs the addresses of its requests."""
    return httpx2.Request(
        request.method,
        request.url.copy_with(query=query),
        headers=request.headers,
        stream=request.stream,
        extensions=request.extensions,
    )
