"""Openings that are cancelled, wherever they are; and sessions whose body raises."""

import json
from collections.abc import Callable
from typing import Any

import anyio
import httpx2
import pytest
from typing_extensions import override

from actors import Transports, Upstream
from protocol.errors import InvalidSettings
from tests.actors.test_sse import OLD, SseWire
from tests.actors.wire import SERVER, FakeWire, TwoEras, given, opening

AUTO = Upstream("http://server.test/mcp")
WAYS: list[tuple[Upstream, Callable[[], httpx2.AsyncBaseTransport], str]] = [
    (SERVER, FakeWire, "initialize"),
    (SERVER, FakeWire, "notifications/initialized"),
    (AUTO, TwoEras, "server/discover"),
    (AUTO, lambda: TwoEras("handshake"), "initialize"),
    (OLD, SseWire, "GET"),
    (OLD, SseWire, "initialize"),
    (OLD, SseWire, "notifications/initialized"),
]


class Stuck(httpx2.AsyncBaseTransport):
    """Never answers this one message."""

    def __init__(self, beneath: httpx2.AsyncBaseTransport, at: str) -> None:
        self.beneath = beneath
        self.at = at
        self.is_stuck = anyio.Event()
        self.is_closed = False

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        message: dict[str, Any] = json.loads(await request.aread() or b"{}")
        if self.at in (request.method, message.get("method")):
            self.is_stuck.set()
            await anyio.sleep_forever()
        return await self.beneath.handle_async_request(request)

    @override
    async def aclose(self) -> None:
        self.is_closed = True


@pytest.mark.holds("S1", "S4", "S5")
@pytest.mark.parametrize(("upstream", "make", "at"), WAYS, ids=[f"{way[0].transport} {way[2]}" for way in WAYS])
async def test_an_opening_can_be_cancelled_wherever_it_is(
    upstream: Upstream, make: Callable[[], httpx2.AsyncBaseTransport], at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beneath = make()
    wire = Stuck(beneath, at)
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    opened = False

    async def open_it() -> None:
        nonlocal opened
        async with Transports()(opening(upstream)):
            opened = True

    with anyio.fail_after(1):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(open_it)
            await wire.is_stuck.wait()
            tasks.cancel_scope.cancel()
    assert not opened or at == "notifications/initialized", "which the SDK does not wait for"
    assert wire.is_closed
    if isinstance(beneath, SseWire):
        await beneath.send.aclose()
        await beneath.receive.aclose()


@pytest.mark.holds("S1")
async def test_what_the_holder_of_a_session_raises_comes_out_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = FakeWire()
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    with pytest.raises(KeyError, match="the holder"):
        async with Transports()(opening()):
            raise KeyError("the holder's own")
    assert wire.methods()[-1] == "DELETE", "the server is told all the same"


def test_a_transport_that_is_not_known_is_named() -> None:
    with pytest.raises(InvalidSettings, match="transport 'streamable-http' is unknown: use one of "):
        Transports({})(opening())
