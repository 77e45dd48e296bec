"""The HTTP client of a session: the user's, one that minds the environment's proxies, or none but a bare transport."""

import inspect
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final
from urllib.request import getproxies

import httpx2
from typing_extensions import override

from actors.body import ENCODINGS
from actors.tls import TlsContexts
from protocol.errors import ConnectFailed
from protocol.settings import Upstream

LIMITS: Final = httpx2.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=60.0)
STEP: Final = "http client"
_OWN: Final = ("user-agent", "connection", "accept")
"""Headers that a client puts on every request. Those of the user's client are to be seen, not ours."""


class ThroughClient(httpx2.AsyncBaseTransport):
    """A transport that sends through a client, so that the client's auth, hooks, proxies, cookies and headers apply.

    Redirects come back as they are, and cookies stay with the client.

    Args:
        client: sends.
        hides_query: whether the query, which may hold a secret, is kept from the client, which logs addresses: it goes
            beneath it by the extension `target`. Only HTTP transports of the library's own know that.
    """

    def __init__(self, client: httpx2.AsyncClient, *, hides_query: bool) -> None:
        self._client = client
        self._hides_query = hides_query

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url, extensions = request.url, request.extensions
        if self._hides_query and url.query:
            url, extensions = url.copy_with(query=None), {**extensions, "target": url.raw_path}
        built = self._client.build_request(
            request.method, url, content=await request.aread(), headers=request.headers, extensions=extensions
        )
        response = await self._client.send(built, stream=True, follow_redirects=False)
        headers = [(name, value) for name, value in response.headers.raw if name.lower() != b"set-cookie"]
        if response.is_stream_consumed:  # by an auth that looks into answers
            headers = [(name, value) for name, value in headers if name.lower() not in _OF_THE_ENCODING]
            return httpx2.Response(response.status_code, headers=headers, content=response.content)
        return httpx2.Response(
            response.status_code, headers=headers, stream=response.stream, extensions=response.extensions
        )


_OF_THE_ENCODING: Final = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})


@asynccontextmanager
async def beneath(
    upstream: Upstream, factory: object, tls: TlsContexts, timeout: httpx2.Timeout
) -> AsyncGenerator[httpx2.AsyncBaseTransport]:
    """What a session's requests go through, for as long as the session lives.

    Args:
        upstream: the server.
        factory: makes the user's client; None for none.
        tls: the contexts, where the client is ours.
        timeout: what the factory is told.

    Raises:
        ConnectFailed: the factory failed, or made something else; step `http client`.
        InvalidSettings: the TLS settings cannot be used.
    """
    async with AsyncExitStack() as stack:
        if factory is not None:
            # What is beneath a client of the user's may be anything, and its auth may sign the query.
            yield ThroughClient(await _enter(stack, _made_by(factory, upstream, timeout), upstream), hides_query=False)
        elif any(getproxies().get(scheme) for scheme in ("http", "https", "all")):
            context = tls.of(upstream.tls)
            try:
                client = httpx2.AsyncClient(verify=context, limits=LIMITS, timeout=timeout)
            except (ImportError, ValueError, httpx2.InvalidURL) as error:
                raise _failed(upstream, f"the environment's proxies cannot be used, {type(error).__name__}") from None
            yield ThroughClient(await _enter(stack, client, upstream), hides_query=True)
        else:
            transport = httpx2.AsyncHTTPTransport(verify=tls.of(upstream.tls), limits=LIMITS)
            stack.push_async_callback(transport.aclose)
            yield transport


def outer_client(guard: httpx2.AsyncBaseTransport, timeout: httpx2.Timeout) -> httpx2.AsyncClient:
    """The client that the SDK is given. Its cookies are the session's own, and its headers make way for the user's."""
    client = httpx2.AsyncClient(transport=guard, timeout=timeout)
    client.headers["accept-encoding"] = ", ".join(ENCODINGS)
    return client


def make_way(client: httpx2.AsyncClient) -> None:
    """Take from a client the headers that the one beneath it is to put on."""
    for name in _OWN:
        del client.headers[name]


def _made_by(factory: object, upstream: Upstream, timeout: httpx2.Timeout) -> httpx2.AsyncClient:
    if not callable(factory):
        raise _failed(upstream, f"its factory is no function but {type(factory).__name__}")
    try:
        # Headers are put on each request, and differ from lease to lease.
        made = factory(headers=None, timeout=timeout, auth=None)
    except Exception as error:  # noqa: BLE001 - it is the user's code; its text may hold a proxy's password
        raise _failed(upstream, f"its factory raised {type(error).__name__}") from None
    if inspect.iscoroutine(made):
        made.close()
    if not isinstance(made, httpx2.AsyncClient):
        raise _failed(upstream, f"its factory made {type(made).__name__}, not an httpx2.AsyncClient")
    return made


async def _enter(stack: AsyncExitStack, client: httpx2.AsyncClient, upstream: Upstream) -> httpx2.AsyncClient:
    try:
        return await stack.enter_async_context(client)
    except Exception as error:  # noqa: BLE001 - as above
        why = "it was opened before: make one for each session" if isinstance(error, RuntimeError) else ""
        raise _failed(upstream, why or f"opening it raised {type(error).__name__}") from None


def _failed(upstream: Upstream, why: str) -> ConnectFailed:
    return ConnectFailed(f"no session with {upstream.address} could be opened: the HTTP client ({why})", step=STEP)
