"""The user's own HTTP client beneath a session: it does as it was made, and the guard is above it."""

import logging
import traceback
from collections.abc import Generator
from typing import Any

import anyio
import httpx2
import pytest
from anyio.abc import SocketAttribute, SocketStream
from typing_extensions import override

from actors import Transports, Upstream
from actors.exchange import Exchange
from protocol.errors import ConnectFailed, UpstreamRefused, UpstreamUnreachable
from tests.actors.wire import SERVER, FakeWire, answers, opening, raises, reply

PASSWORD = "hunter2hunter2"  # noqa: S105 - made up


class Recorded:
    """A factory of clients over a wire, which keeps what it was called with and what it made."""

    def __init__(self, wire: FakeWire, **options: Any) -> None:
        self.wire = wire
        self.options = options
        self.asked: list[dict[str, Any]] = []
        self.made: list[httpx2.AsyncClient] = []

    def __call__(self, **asked: Any) -> httpx2.AsyncClient:
        self.asked.append(asked)
        client = httpx2.AsyncClient(transport=self.wire, **self.options)
        self.made.append(client)
        return client


async def test_its_headers_cookies_parameters_and_hooks_apply_and_it_is_closed_with_the_session() -> None:
    wire = FakeWire()
    hooked: list[str] = []

    async def hook(request: httpx2.Request) -> None:
        hooked.append(request.method)

    factory = Recorded(
        wire,
        headers={"user-agent": "mine/1", "x-mine": "yes"},
        cookies={"flavour": "oat"},
        event_hooks={"request": [hook]},
    )
    async with Transports()(opening(http_client=factory, headers={"x-trace": "1"})) as connection:
        await connection.client.call_tool("echo")
        assert not factory.made[0].is_closed
    assert factory.made[0].is_closed
    assert set(factory.asked[0]) == {"headers", "timeout", "auth"}
    _, _, headers = next(seen for seen in wire.seen if seen[1] == "tools/call")
    assert headers["user-agent"] == "mine/1"
    assert headers["x-mine"] == "yes"
    assert headers["x-trace"] == "1"
    assert headers["cookie"] == "flavour=oat"
    assert headers["mcp-session-id"] == "session-1"
    assert hooked.count("POST") >= 4


async def test_cookies_that_the_server_sets_stay_with_the_session() -> None:
    wire = FakeWire()

    async def sets(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
        return reply(message, {"content": [], "tools": []}, {"set-cookie": "crumb=1; Path=/"})

    wire.answer = sets
    factory = Recorded(wire, cookies={"flavour": "oat"})
    for _ in range(2):
        async with Transports()(opening(http_client=factory)) as connection:
            for _ in range(2):
                await connection.client.call_tool("echo")
    sent = [headers.get("cookie") for _, method, headers in wire.seen if method == "tools/call"]
    assert [sorted((cookies or "").split("; ")) for cookies in sent] == [
        ["flavour=oat"],
        ["crumb=1", "flavour=oat"],
    ] * 2


async def test_an_auth_whose_flow_makes_requests_works() -> None:
    wire = FakeWire()

    class Tokens(httpx2.Auth):
        requires_response_body = True

        @override
        def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
            answer = yield httpx2.Request("POST", "http://auth.test/token", json={"id": 1, "method": "token"})
            request.headers["authorization"] = f"Bearer {answer.json()['result']['token']}"
            yield request

    async def token(request: httpx2.Request, message: dict[str, Any]) -> httpx2.Response:
        if message["method"] == "token":
            return reply(message, {"token": "abc"})
        return await wire.result(request, message)

    wire.answer = token
    async with Transports()(opening(http_client=Recorded(wire, auth=Tokens()))) as connection:
        await connection.client.call_tool("echo")
    assert {headers["authorization"] for _, method, headers in wire.seen if method == "tools/call"} == {"Bearer abc"}


@pytest.mark.holds("S9", "X1")
async def test_the_guard_is_above_it_whatever_it_raises() -> None:
    wire = FakeWire()

    async def surly(response: httpx2.Response) -> None:
        response.raise_for_status()

    factory = Recorded(wire, event_hooks={"response": [surly]})
    upstream = Upstream(SERVER.url + "?key=" + PASSWORD, mode="legacy")
    async with Transports()(opening(upstream, http_client=factory)) as connection:

        async def call() -> None:
            await connection.call(Exchange("tools/call"), lambda: connection.client.call_tool("echo"))

        wire.answer = raises(httpx2.ConnectError("refused"))
        with pytest.raises(UpstreamUnreachable):
            await call()
        wire.answer = answers(429, headers={"retry-after": "7"})
        with pytest.raises(UpstreamRefused) as caught:
            await call()
        wire.answer = wire.result
        await call()
    assert (caught.value.status, caught.value.retry_after) == (429, 7.0)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


@pytest.mark.holds("X1")
@pytest.mark.parametrize("what", ["raises", "none", "a coroutine", "no function", "an open one"])
async def test_a_factory_that_makes_no_client_is_a_named_error(what: str) -> None:
    def failing(**_: Any) -> httpx2.AsyncClient:
        raise ValueError(f"http://me:{PASSWORD}@proxy.test is no proxy")

    async def late(**_: Any) -> httpx2.AsyncClient:
        raise AssertionError

    wire = FakeWire()
    shared = httpx2.AsyncClient(transport=wire)

    def same(**_: Any) -> httpx2.AsyncClient:
        return shared

    def nothing(**_: Any) -> None:
        return None

    factory: Any = {
        "raises": failing,
        "none": nothing,
        "a coroutine": late,
        "no function": 5,
        "an open one": same,
    }[what]
    async with shared:
        with pytest.raises(ConnectFailed, match=r"http://server.test/mcp could not|http client|HTTP client") as caught:
            async with Transports()(opening(http_client=factory)):
                pass
    assert caught.value.step == "http client"
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))
    assert wire.seen == []


@pytest.mark.parametrize(("no_proxy", "expected"), [("", "proxy"), ("server.test", "direct")])
async def test_proxies_of_the_environment_are_used_unless_the_server_is_excepted(
    no_proxy: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[str] = []

    class Ways(FakeWire):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        @override
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            used.append(self.name)
            return await super().handle_async_request(request)

    def transport(*_: Any, proxy: object = None, **__: Any) -> httpx2.AsyncBaseTransport:
        return Ways("direct" if proxy is None else "proxy")

    monkeypatch.setenv("http_proxy", "http://proxy.test:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", transport)
    monkeypatch.setattr("httpx2._client.AsyncHTTPTransport", transport)
    async with Transports()(opening()) as connection:
        await connection.client.call_tool("echo")
    assert set(used) == {expected}


@pytest.mark.holds("X1")
async def test_a_query_goes_through_a_proxy_of_the_environment_and_into_no_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    heads: list[bytes] = []

    async def refuse(stream: SocketStream) -> None:
        async with stream:
            heads.append((await stream.receive()).partition(b"\r\n")[0])
            await stream.send(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, refuse)
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - it is anyio's
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "")
        upstream = Upstream(f"{SERVER.url}?key={PASSWORD}", mode="legacy")
        with caplog.at_level(logging.INFO), pytest.raises(ConnectFailed, match="HTTP 403"):
            async with Transports()(opening(upstream)):
                pass
        tasks.cancel_scope.cancel()
    assert heads == [f"POST {SERVER.url}?key={PASSWORD} HTTP/1.1".encode()]
    assert SERVER.url in caplog.text
    assert PASSWORD not in caplog.text


async def test_the_factory_of_the_acquire_goes_before_the_one_of_the_upstream() -> None:
    ours, theirs = Recorded(FakeWire()), Recorded(FakeWire())
    upstream = Upstream(SERVER.url, mode="legacy", http_client=theirs)
    async with Transports()(opening(upstream, http_client=ours)):
        pass
    async with Transports()(opening(upstream)):
        pass
    assert (len(ours.made), len(theirs.made)) == (1, 1)
    assert isinstance(ours.asked[0]["timeout"], httpx2.Timeout)
