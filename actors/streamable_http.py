"""Streamable HTTP, as the SDK speaks it, over a guarded client."""

import httpx2
from mcp.client import Transport
from mcp.client.streamable_http import streamable_http_client


def streamable_http(address: str, http: httpx2.AsyncClient) -> Transport:
    """The transport to an address over a client. How large an event may be is the guard's affair."""
    return streamable_http_client(address, http_client=http, max_sse_event_size=None)
