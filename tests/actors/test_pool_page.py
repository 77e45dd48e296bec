"""What docs/pool.md shows, run as it stands, and its tables against the code."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import anyio
import httpx2
import pytest
from mcp import Client, MCPError
from mcp_types import CallToolResult, ToolListChangedNotification

from actors import Connection, Opening, Upstream, open_pool
from protocol import errors
from protocol.errors import (
    BreakerOpen,
    CallInterrupted,
    ConnectFailed,
    SessionTerminated,
    TroupeError,
)
from protocol.settings import SETTING_NAMES
from tests.actors.fakes import ECHO, FakeServer, client_of

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "pool.md").read_text(encoding="utf-8")
BLOCKS: list[str] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
ADA = {"authorization": "Bearer monday"}
REQUEST = {"id": 7, "params": {"name": "note", "arguments": {"text": "milk"}}}


@pytest.fixture
def page() -> Any:
    made = ModuleType("page")
    exec("\n\n".join(BLOCKS), made.__dict__)  # noqa: S102 - the page is ours
    return made


class Script:
    """A server that does with each call, or with each opening, what comes next."""

    def __init__(self, *calls: Exception | str, openings: list[Exception] | None = None) -> None:
        self.protocol_version = "2025-11-25"
        self.calls = list(calls)
        self.openings = openings or []
        self.opened = 0

    async def call_tool(self, name: str, arguments: dict[str, Any] | None, *_: Any, **__: Any) -> CallToolResult:
        await anyio.lowlevel.checkpoint()
        if isinstance(outcome := self.calls.pop(0), Exception):
            raise outcome
        return CallToolResult(content=[], structured_content={"said": outcome, "name": name, "arguments": arguments})

    @asynccontextmanager
    async def __call__(self, opening: Opening) -> AsyncGenerator[Connection]:
        await anyio.lowlevel.checkpoint()
        if self.openings:
            raise self.openings.pop(0)
        self.opened += 1
        yield Connection(opening.upstream.address, cast("Client", self))


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table beneath a heading."""
    lines = PAGE.partition(f"## {heading}")[2].partition("\n## ")[0].splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    return cells[2:]


async def test_the_first_example_searches(page: Any) -> None:
    async with open_pool(connector=Script("found")) as pool:
        found = await page.search(pool, "actors", headers=ADA, gateway_id="g1")
    assert found == {"said": "found", "name": "search", "arguments": {"text": "actors"}}


@pytest.mark.holds("L5")
async def test_the_pages_extractor_keeps_a_session_when_its_token_rotates(page: Any) -> None:
    async with open_pool(page.settings, connector=FakeServer()) as pool:
        sessions: list[object] = []
        for token in ("monday", "tuesday", "of somebody else"):
            async with pool.session(ECHO, headers={"authorization": f"Bearer {token}"}) as session:
                sessions.append(client_of(session))
        assert sessions[0] is sessions[1] is not sessions[2]
        assert pool.stats().tally.extractor_failures == 1


async def test_the_handler_answers_with_the_servers_result(page: Any) -> None:
    async with open_pool(connector=Script("noted")) as pool:
        status, headers, response = await page.handle(pool, REQUEST, ADA, "conversation-1")
    assert (status, headers, response["id"]) == (200, {}, 7)
    assert response["result"]["structuredContent"]["said"] == "noted"


async def test_the_handler_passes_the_servers_own_error_on(page: Any) -> None:
    async with open_pool(connector=Script(MCPError(-32602, "no such tool"))) as pool:
        answer = await page.handle(pool, REQUEST, ADA, "conversation-1")
    error = {"code": -32602, "message": "no such tool"}
    assert answer == (200, {}, {"jsonrpc": "2.0", "id": 7, "error": error})


async def test_the_handler_tries_again_what_has_not_run_and_nothing_else(page: Any) -> None:
    server = Script(SessionTerminated("gone"), "noted", CallInterrupted("broke"))
    async with open_pool(connector=server) as pool:
        status, _, _ = await page.handle(pool, REQUEST, ADA, "conversation-1")
        assert status == 200
        status, _, response = await page.handle(pool, REQUEST, ADA, "conversation-1")
    assert (status, response["error"]) == (502, {"code": -32000, "message": "broke"})
    assert not server.calls


@pytest.mark.holds("L9")
async def test_the_handler_tells_of_a_lost_conversation_once(page: Any) -> None:
    async with open_pool(connector=Script("noted", "noted")) as pool:
        await page.handle(pool, REQUEST, ADA, "conversation-1")
        pool.retire(page.NOTES)
        told, _, response = await page.handle(pool, REQUEST, ADA, "conversation-1")
        assert (told, response["error"]["code"]) == (404, -32004)
        again, _, _ = await page.handle(pool, REQUEST, ADA, "conversation-1")
        assert again == 200


@pytest.mark.holds("L7")
async def test_the_handler_refuses_somebody_elses_conversation(page: Any) -> None:
    async with open_pool(connector=Script("noted")) as pool:
        await page.handle(pool, REQUEST, ADA, "conversation-1")
        status, _, response = await page.handle(pool, REQUEST, {"x-api-key": "of bob"}, "conversation-1")
    assert (status, response["error"]["code"]) == (403, -32003)


async def test_the_handler_says_when_to_come_back(page: Any) -> None:
    refused = ConnectFailed("busy", step="connect", status=429, retry_after=6.2)
    async with open_pool(connector=Script(openings=[refused])) as pool:
        status, headers, _ = await page.handle(pool, REQUEST, ADA, "conversation-1")
    assert (status, headers) == (429, {"retry-after": "7"})


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConnectFailed("no", step="connect", status=401), 401),
        (ConnectFailed("no", step="connect"), 502),
        (BreakerOpen("later", retry_after=1.0), 503),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
async def test_the_handler_has_a_status_for_each_error(page: Any, error: TroupeError, status: int) -> None:
    async with open_pool(connector=Script(openings=[error])) as pool:
        answered, _, _ = await page.handle(pool, REQUEST, ADA, "conversation-1")
    assert answered == status


async def test_what_the_page_forwards_is_answered_as_json(page: Any) -> None:
    async with open_pool(connector=page.in_process) as pool:
        result = await page.forward(pool, {"method": "tools/call", **REQUEST}, ADA, "conversation-1")
        assert result["structuredContent"] == {"result": "noted: milk"}
        assert await page.forward(pool, {"id": 8, "method": "ping"}, ADA, "conversation-1") == {}
        with pytest.raises(MCPError) as caught:
            await page.forward(pool, {"id": 9, "method": "acme/thing"}, ADA, "conversation-1")
        assert caught.value.code == -32601


async def test_what_is_reconfigured_replaces_sessions(page: Any) -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        for upstream in (page.SEARCH, ECHO):
            (await pool.acquire(upstream, user="ada")).release()
        page.reconfigure(pool)
        assert (pool.settings.max_size, pool.settings.max_idle) == (5, 60.0)
        (await pool.acquire(ECHO, user="ada")).release()
        assert server.closed == 2
        assert server.attempts == 3


async def test_the_pages_client_can_be_made(page: Any) -> None:
    async with page.by_proxy(headers=None, timeout=httpx2.Timeout(5.0), auth=None) as client:
        assert isinstance(client, httpx2.AsyncClient)
    assert isinstance(page.INTERNAL, Upstream)
    assert page.OUTSIDE.http_client is page.by_proxy


async def test_the_message_handler_tells_whose_tools_have_changed(
    page: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    server = FakeServer()
    async with open_pool(connector=server, on_message=page.on_message) as pool:
        (await pool.acquire(ECHO, gateway_id="g1")).release()
        handler = server.openings[0].handler
        assert handler is not None
        await handler(ToolListChangedNotification())
    assert capsys.readouterr().out == "the tools of g1 have changed\n"


async def test_the_pages_test_of_a_gateway_passes(page: Any) -> None:
    await page.check_the_handler()


def test_the_pages_test_of_settings_passes(page: Any) -> None:
    page.check_the_settings()


def test_the_page_lists_the_errors_of_the_pool_as_they_are() -> None:
    listed: list[str] = []
    for names, *cells in rows("A handler"):
        for name in re.findall(r"`(\w+)`", names):
            error: type[TroupeError] = getattr(errors, name)
            is_safe = "yes" if error.safe_to_retry else "no"
            assert cells == [str(error.http_status), str(error.code).replace("-", "−"), is_safe], name  # noqa: RUF001
            listed.append(name)
    of_others = errors.ActorError, errors.ClusterError, errors.IllegalTransition
    all_others = {
        error.__name__
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, TroupeError) and not issubclass(error, of_others)
    }
    assert sorted(listed) == sorted(all_others - {"TroupeError", "CallFailed"})


def test_the_page_names_only_settings_that_there_are() -> None:
    for *_, names in rows("Upkeep"):
        assert set(re.findall(r"`(\w+)`", names)) <= set(SETTING_NAMES)


def test_the_pages_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGE)
    assert links
    assert all((DOCS / link).exists() for link in links)
