"""Servers that misbehave, over real sockets: each fault ends what it happened to, by name, and nothing else."""

import logging
import traceback

import anyio
import pytest
from mcp import MCPError

from actors import Connection, PoolSettings, Transports, Upstream
from actors.exchange import Exchange
from protocol.errors import (
    CallFailed,
    CallInterrupted,
    ConnectFailed,
    MalformedResponse,
    ResponseTooLarge,
    SessionTerminated,
    UpstreamRefused,
)
from tests.actors.wire import opening
from tests.integration.ill_servers import (
    INITIALIZED,
    Ill,
    IllServer,
    bomb,
    chunks,
    closes,
    half,
    http,
    never,
    other_id,
    result,
    running,
    sends,
)

LIMIT = 100_000
JSON, EVENTS = "application/json", "text/event-stream"
SECRET = "s3cr3t-t0ken"  # noqa: S105 - made up
ILLS: dict[str, tuple[Ill, type[CallFailed], int | None]] = {
    "html": (sends(http("200 OK", "text/html", b"<h1>hello</h1>")), MalformedResponse, None),
    "no type": (sends(http("200 OK", "", b"hello")), MalformedResponse, None),
    "an odd type": (sends(http("200 OK", "no\x07nsense", b"hello")), MalformedResponse, None),
    "broken json": (sends(http("200 OK", JSON, b'{"jsonrpc": "2.0", "id": ')), MalformedResponse, None),
    "no json-rpc": (sends(http("200 OK", JSON, b'{"neither": "here"}')), MalformedResponse, None),
    "a list": (sends(http("200 OK", JSON, b"[1, 2]")), MalformedResponse, None),
    "a request": (
        sends(http("200 OK", JSON, b'{"jsonrpc":"2.0","id":1,"method":"ping"}')),
        MalformedResponse,
        None,
    ),
    "another id": (other_id, MalformedResponse, None),
    "a wrong shape": (
        sends(http("200 OK", EVENTS, b'data: {"jsonrpc":"2.0","id":1,"result":{"content":5}}\n\n')),
        MalformedResponse,
        None,
    ),
    "deep nonsense": (sends(http("200 OK", JSON, b"[" * 90_000)), MalformedResponse, None),
    "an empty body": (sends(http("200 OK", JSON, b"")), MalformedResponse, None),
    "an empty stream": (sends(http("200 OK", EVENTS, b"")), MalformedResponse, None),
    "a stream of rubbish": (sends(http("200 OK", EVENTS, b"\x00\xff rubbish\n\n" * 9)), MalformedResponse, None),
    "events of rubbish": (sends(http("200 OK", EVENTS, b"data: rubbish\n\n")), MalformedResponse, None),
    "accepted": (sends(http("202 Accepted", "", b"")), MalformedResponse, None),
    "no content": (sends(b"HTTP/1.1 204 No Content\r\n\r\n"), MalformedResponse, None),
    "an odd encoding": (sends(http("200 OK", JSON, b"?", "content-encoding: br")), MalformedResponse, None),
    "closed": (closes, CallInterrupted, None),
    "half a body": (half, CallInterrupted, None),
    "no http": (sends(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), CallInterrupted, None),
    "an endless body": (chunks(JSON, b"{", b" " * 4096), ResponseTooLarge, None),
    "an endless event": (chunks(EVENTS, b"data: ", b"x" * 4096), ResponseTooLarge, None),
    "a large frame": (
        sends(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 104857600\r\n\r\n"),
        ResponseTooLarge,
        None,
    ),
    "a bomb": (bomb(20_000_000), ResponseTooLarge, None),
    "401": (sends(http("401 Unauthorized", "", b"")), UpstreamRefused, 401),
    "403 in json-rpc": (
        sends(http("403 No", JSON, b'{"jsonrpc":"2.0","id":null,"error":{"code":-32003,"message":"no"}}')),
        UpstreamRefused,
        403,
    ),
    "404": (sends(http("404 Not Found", "text/plain", b"?")), SessionTerminated, None),
    "429": (sends(http("429 Slow down", "", b"", "retry-after: 7")), UpstreamRefused, 429),
    "500": (sends(http("500 Oh", "text/html", b"<h1>oh</h1>")), UpstreamRefused, 500),
    "503": (sends(http("503 Later", "", b"", "retry-after: 7")), UpstreamRefused, 503),
    "a redirect to itself": (sends(http("307 There", "", b"", "location: /mcp")), UpstreamRefused, 307),
    "a redirect that drops the message": (sends(http("302 There", "", b"", "location: /mcp")), UpstreamRefused, 302),
    "a redirect to nowhere": (sends(http("308 There", "", b"", "location: http://[")), UpstreamRefused, 308),
}

every_ill = pytest.mark.parametrize("ill", ILLS)


def at(server: IllServer, *, query: str = "") -> Upstream:
    return Upstream(server.url + query, mode="legacy")


async def call(connection: Connection, tool: str) -> None:
    await connection.call(Exchange("tools/call"), lambda: connection.client.call_tool(tool))


async def failure(connection: Connection, expected: type[CallFailed]) -> CallFailed:
    """The error of a call of the tool that is ill."""
    with anyio.fail_after(5), pytest.raises(expected) as caught:
        await call(connection, "ill")
    return caught.value


@every_ill
@pytest.mark.holds("S9", "S3", "X1")
async def test_at_a_call_it_is_a_named_error_for_that_call_at_once(ill: str, caplog: pytest.LogCaptureFixture) -> None:
    how, expected, status = ILLS[ill]
    headers = {"authorization": f"Bearer {SECRET}"}
    caplog.set_level(logging.INFO)
    errors: list[CallFailed] = []
    async with running(IllServer(how)) as server:
        settings = PoolSettings(max_body=LIMIT)
        upstream = at(server, query=f"?key={SECRET}")
        async with Transports()(opening(upstream, settings=settings, headers=headers)) as connection:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call, connection, "slow")
                errors.append(await failure(connection, expected))
                server.goes_on.set()
            await call(connection, "fine")
    [error] = errors
    assert server.url.partition("?")[0] in str(error)
    assert "tools/call" in str(error)
    assert getattr(error, "status", None) == status
    if status in (429, 503):
        assert error.retry_after == 7.0
    assert SECRET not in "".join(traceback.format_exception(error)) + caplog.text
    assert any(f"key={SECRET}" in asked.line for asked in server.seen), "the server needs it all the same"


@every_ill
@pytest.mark.holds("S4", "X1")
async def test_at_connect_it_is_a_named_error_for_the_opening_at_once(
    ill: str, caplog: pytest.LogCaptureFixture
) -> None:
    how, _, status = ILLS[ill]
    caplog.set_level(logging.INFO)
    headers = {"authorization": f"Bearer {SECRET}"}
    async with running(IllServer(how, at_connect=True)) as server:
        settings = PoolSettings(max_body=LIMIT)
        with anyio.fail_after(5), pytest.raises(ConnectFailed) as caught:
            async with Transports()(opening(Upstream(server.url), settings=settings, headers=headers)):
                pass
    error = caught.value
    assert server.url in str(error)
    assert error.step in ("initialize", "server/discover", "handshake")
    assert error.fault is not None
    assert error.fault.at_connect
    assert error.status == (404 if ill == "404" else status) or error.status in (None, 200)
    assert error.fault.refuses_credential is (status in (401, 403))
    is_healthy = ill.startswith(("40", "a redirect"))
    assert error.fault.counts_against_endpoint is not is_healthy
    if status in (401, 429, 503):
        assert len(server.seen) == 1, "it is not asked again what it has refused already"
    assert SECRET not in "".join(traceback.format_exception(error)) + caplog.text


async def test_a_server_that_speaks_an_unknown_version_is_named() -> None:
    async def ancient(stream: anyio.abc.ByteStream, asked: object) -> None:
        await stream.send(result(asked, {**INITIALIZED, "protocolVersion": "1999-01-01"}))  # type: ignore[arg-type]

    async with running(IllServer(ancient, at_connect=True)) as server:
        with anyio.fail_after(5), pytest.raises(ConnectFailed, match="no version of MCP that is spoken here") as caught:
            async with Transports()(opening(at(server))):
                pass
    assert caught.value.step == "handshake"


async def test_a_server_that_never_answers_a_call_costs_that_call_its_timeout() -> None:
    async with (
        running(IllServer(never)) as server,
        Transports()(opening(at(server), call_timeout=0.2)) as connection,
    ):
        with anyio.fail_after(5), pytest.raises(MCPError, match="timed out"):
            await call(connection, "ill")
        await call(connection, "fine")


@pytest.mark.holds("X1")
@pytest.mark.parametrize("status", ["301 There", "302 There", "303 There", "307 There", "308 There"])
async def test_a_redirect_to_elsewhere_is_not_followed_and_nothing_is_sent_there(status: str) -> None:
    async with running(IllServer(closes)) as elsewhere:
        away = sends(http(status, "", b"", f"location: {elsewhere.url}"))
        async with (
            running(IllServer(away)) as server,
            Transports()(opening(at(server), headers={"authorization": SECRET})) as connection,
        ):
            with pytest.raises(UpstreamRefused, match="redirected, and not followed"):
                await call(connection, "ill")
        assert elsewhere.seen == []


async def test_a_redirect_that_stays_is_followed_with_the_message() -> None:
    class Moved(IllServer):
        async def answer(self, stream: anyio.abc.ByteStream, asked: object) -> None:
            assert isinstance(asked, type(self.seen[0]))
            if " /mcp/ " not in asked.line:
                await stream.send(http("307 There", "", b"", "location: /mcp/"))
            else:
                await super().answer(stream, asked)

    async with running(Moved(closes)) as server, Transports()(opening(at(server))) as connection:
        await call(connection, "fine")


async def test_a_large_answer_within_the_limit_arrives() -> None:
    text = "x" * 3_000_000

    async def large(stream: anyio.abc.ByteStream, asked: object) -> None:
        body = result(asked, {"content": [{"type": "text", "text": text}]}).partition(b"\r\n\r\n")[2]  # type: ignore[arg-type]
        await stream.send(http("200 OK", EVENTS, b"event: message\r\ndata: " + body + b"\r\n\r\n"))

    async with running(IllServer(large)) as server, Transports()(opening(at(server))) as connection:
        answer = await connection.call(Exchange("tools/call"), lambda: connection.client.call_tool("ill"))
        assert answer.content[0].text == text  # type: ignore[union-attr]


@pytest.mark.holds("S9", "S5")
async def test_a_server_that_is_slow_with_cancellations_holds_nobody_up() -> None:
    class Slow(IllServer):
        async def answer(self, stream: anyio.abc.ByteStream, asked: object) -> None:
            assert isinstance(asked, type(self.seen[0]))
            if asked.method == "notifications/cancelled":
                await anyio.sleep_forever()
            await super().answer(stream, asked)

    async with running(Slow(never)) as server:
        with anyio.fail_after(5):
            async with Transports()(opening(at(server))) as connection:
                for _ in range(50):
                    with anyio.move_on_after(0.01):
                        await call(connection, "slow")
                    with anyio.fail_after(1):
                        await call(connection, "fine")
        told = [asked for asked in server.seen if asked.method == "notifications/cancelled"]
        assert 0 < len(told) <= 32, "they are told, and bounded in number"
