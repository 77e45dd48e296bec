"""Raw requests: what may be asked, on which session, for how long, and that nothing is left behind."""
# pyright: reportPrivateUsage=false

from typing import Any

import anyio
import pytest
from mcp import MCPError

from actors import Lease, Pool, PoolSettings, open_pool
from protocol.errors import (
    AcquireTimeout,
    CallInterrupted,
    InvalidMethod,
    InvalidParams,
    InvalidSettings,
    LeaseReleased,
    PrincipalMismatch,
    SessionStateLost,
    SessionTerminated,
)
from protocol.raw_request import RawRequest
from protocol.session import SessionState
from tests.actors.fakes import ECHO, NOTHING_LEFT, FakeServer, bookkeeping, settled

pytestmark = pytest.mark.virtual_time

both_forms = pytest.mark.parametrize("form", ["pool", "lease"])


async def ask(pool: Pool, form: str, method: Any, params: Any = None, *, timeout: float | None = None) -> Any:
    """The same request as a call of the pool and on a lease."""
    if form == "pool":
        return await pool.call(ECHO, method, params, timeout=timeout)
    async with pool.session(ECHO) as lease:
        return await lease.request(method, params, timeout=timeout)


# --- what may be asked


@pytest.mark.holds("C4")
@pytest.mark.parametrize(
    "params",
    [[], [1], (1,), "text", b"bytes", 7, True, {1}, object()],
    ids=lambda value: type(value).__name__,
)
@both_forms
async def test_params_that_are_no_object_are_refused_before_anything_is_acquired_or_sent(
    form: str, params: object
) -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        with pytest.raises(InvalidParams, match=f"an object or None, not {type(params).__name__}") as caught:
            await ask(pool, form, "tools/call", params)
        assert (caught.value.code, caught.value.http_status, caught.value.safe_to_retry) == (-32602, 400, False)
        assert isinstance(caught.value, ValueError)
        assert server.calls == []
        assert server.attempts == (form == "lease")


def looped() -> dict[str, Any]:
    loop: dict[str, Any] = {}
    loop["again"] = loop
    return loop


def deep() -> dict[str, Any]:
    bottom: dict[str, Any] = {}
    for _ in range(100_000):
        bottom = {"a": bottom}
    return bottom


@pytest.mark.holds("C4", "X1")
@pytest.mark.parametrize(
    "params",
    [{"s3cret": object()}, {"a": float("nan")}, {"a": float("inf")}, {"s3cret": "\ud800"}, looped(), deep()],
    ids=["an object", "not a number", "infinity", "half a character", "a loop", "too deep"],
)
async def test_params_that_json_cannot_say_are_refused_and_not_quoted(params: dict[str, Any]) -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        with pytest.raises(InvalidParams, match="cannot be said in JSON") as caught:
            await pool.call(ECHO, "tools/call", params)
        assert "s3cret" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert server.attempts == 0


@pytest.mark.parametrize("meta", [[], "", 0, False, "text"])
async def test_meta_that_is_no_object_is_refused(meta: object) -> None:
    async with open_pool(connector=FakeServer()) as pool:
        with pytest.raises(InvalidParams, match="_meta in the params of tools/call must be an object"):
            await pool.call(ECHO, "tools/call", {"_meta": meta})


@pytest.mark.parametrize("method", [None, 7, b"ping", "", "a b", "ping\r\nx-user: eve", "größe", "x" * 201])
@both_forms
async def test_what_is_no_method_is_refused_and_not_quoted(form: str, method: object) -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        with pytest.raises(InvalidMethod, match="must be text of 1 to 200 visible ASCII characters") as caught:
            await ask(pool, form, method)
        assert (caught.value.code, caught.value.http_status, caught.value.safe_to_retry) == (-32600, 400, False)
        assert server.calls == []


@pytest.mark.parametrize("method", ["initialize", "notifications/cancelled", "notifications/initialized"])
async def test_what_would_upset_the_session_or_has_no_answer_is_refused_by_name(method: str) -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        with pytest.raises(InvalidMethod, match=f"{method} was not sent"):
            await pool.call(ECHO, method)
        assert server.attempts == 0
        for allowed in ("server/discover", "ping", "logging/setLevel", "acme/notifications/x", "x" * 200):
            await pool.call(ECHO, allowed)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), True, "5"])
@both_forms
async def test_a_timeout_that_is_none_is_refused(form: str, timeout: Any) -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        with pytest.raises(InvalidSettings, match="timeout must be a number of seconds above 0"):
            await ask(pool, form, "ping", timeout=timeout)
        assert server.calls == []


# --- what a call of the pool is


@pytest.mark.holds("L1")
async def test_a_call_has_the_session_and_the_headers_of_who_makes_it_and_gives_it_back() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        for token in ("ada", "bob", "ada"):
            headers = {"authorization": token, "x-trace": token}
            assert await pool.call(ECHO, "acme/thing", {"a": 1}, headers=headers, gateway_id="g1") == {
                "asked": {"a": 1}
            }
        assert [headers["x-trace"] for headers in server.headers_of_calls] == ["ada", "bob", "ada"]
        assert server.attempts == 2
        assert pool.stats().hits == 1
        assert pool.stats().sessions(SessionState.IDLE) == 2
        await pool.call(ECHO, "acme/thing", headers={"authorization": "ada"}, gateway_id="g2")
        assert server.attempts == 3


@pytest.mark.holds("L6", "L7", "L9")
async def test_calls_of_a_conversation_share_its_session_and_are_told_of_its_loss() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(lambda: pool.call(ECHO, "acme/thing", user="ada", session_id="talk"))
        assert server.attempts == 1
        with pytest.raises(PrincipalMismatch):
            await pool.call(ECHO, "acme/thing", user="eve", session_id="talk")
        pool.drain()
        with pytest.raises(SessionStateLost):
            await pool.call(ECHO, "acme/thing", user="ada", session_id="talk")
        assert len(server.calls) == 5
        await pool.call(ECHO, "acme/thing", user="ada", session_id="talk")


@pytest.mark.parametrize("idempotent", [False, True])
@pytest.mark.parametrize("error", [SessionTerminated("gone"), CallInterrupted("broke"), MCPError(-1, "no", {"a": 1})])
async def test_a_call_is_made_once_whatever_comes_of_it_and_its_session_comes_back(
    error: Exception, *, idempotent: bool
) -> None:
    server = FakeServer()
    server.fails_calls = error
    async with open_pool(connector=server) as pool:
        with pytest.raises(type(error)) as caught:
            await pool.call(ECHO, "tools/call", {}, idempotent=idempotent)
        assert caught.value is error
        assert len(server.calls) == 1
        assert pool.stats().sessions(SessionState.LEASED) == 0


@pytest.mark.holds("L2", "L5", "S5")
async def test_a_cancelled_call_gives_its_session_to_the_next_and_one_that_waits_holds_nothing() -> None:
    server = FakeServer()
    settings = PoolSettings(max_size=1, key_idle=5.0)
    async with open_pool(settings, connector=server) as pool:
        got: list[dict[str, Any]] = []

        async def next_one() -> None:
            got.append(await pool.call(ECHO, "ping"))

        async def make(scope: anyio.CancelScope) -> None:
            with scope:
                await pool.call(ECHO, "wait")

        async with anyio.create_task_group() as tasks:
            calling, waiting = anyio.CancelScope(), anyio.CancelScope()
            tasks.start_soon(make, calling)
            await settled()
            tasks.start_soon(make, waiting)
            tasks.start_soon(next_one)
            await settled()
            assert server.calls == ["wait"]
            waiting.cancel()
            await settled()
            calling.cancel()
        assert got == [{"asked": None}]
        assert server.calls == ["wait", "ping"]
        assert pool.stats().sessions(SessionState.IDLE) == 1
        pool.drain()
        await anyio.sleep(pool.settings.key_idle + 1)
        assert bookkeeping(pool) == NOTHING_LEFT


async def test_the_timeout_bounds_the_wait_and_the_call_together() -> None:
    server = FakeServer()
    async with open_pool(PoolSettings(max_size=1), connector=server) as pool, anyio.create_task_group() as tasks:
        lease = await pool.acquire(ECHO)

        async def release() -> None:
            await anyio.sleep(3)
            lease.release()

        began = anyio.current_time()
        with pytest.raises(AcquireTimeout) as waited:
            await pool.call(ECHO, "wait", timeout=2)
        assert waited.value.safe_to_retry
        assert anyio.current_time() - began == pytest.approx(2)
        tasks.start_soon(release)
        with pytest.raises(MCPError, match=r"wait was not answered within .* s \(timeout\)") as late:
            await pool.call(ECHO, "wait", timeout=5)
        assert late.value.code == -32001
        assert anyio.current_time() - began == pytest.approx(7)
        assert server.raw[0][2] == pytest.approx(2)
        assert pool.stats().sessions(SessionState.IDLE) == 1


async def test_a_session_that_comes_when_the_time_is_over_goes_back_and_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        beneath = pool._acquire

        async def late(*arguments: Any, **more: Any) -> Lease:
            lease = await beneath(*arguments, **more)
            await anyio.sleep(5)
            return lease

        monkeypatch.setattr(pool, "_acquire", late)
        with pytest.raises(AcquireTimeout, match=r"ping was not sent: 5 s were over .* http://127\.0\.0\.1:1/mcp"):
            await pool.call(ECHO, "ping", timeout=5)
        assert server.calls == []
        assert pool.stats().sessions(SessionState.IDLE) == 1


async def test_without_a_timeout_of_its_own_a_request_has_that_of_its_acquire_else_its_clients() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        await pool.call(ECHO, "ping")
        for call_timeout, timeout in ((None, 7.0), (3.0, None), (3.0, 7.0)):
            async with pool.session(ECHO, call_timeout=call_timeout) as lease:
                await lease.request("ping", timeout=timeout)
        assert [seconds for _, _, seconds in server.raw] == [None, 7.0, 3.0, 7.0]
        began = anyio.current_time()
        async with pool.session(ECHO, call_timeout=3.0) as lease:
            with pytest.raises(MCPError, match=r"within 7\.0 s"):
                await lease.request("wait", timeout=7.0)
        assert anyio.current_time() - began == pytest.approx(7)


@pytest.mark.holds("L4")
async def test_a_raw_request_is_refused_after_the_release_and_counts_as_a_call_under_way() -> None:
    server = FakeServer()
    async with open_pool(PoolSettings(max_size=1), connector=server) as pool, anyio.create_task_group() as tasks:
        lease = await pool.acquire(ECHO)
        tasks.start_soon(lease.request, "wait")
        await settled()
        lease.release()
        assert pool.stats().sessions(SessionState.LEASED) == 1
        with pytest.raises(LeaseReleased):
            await lease.request("ping")
        assert server.calls == ["wait"]
        server.answers.set()
        await settled()
        assert pool.stats().sessions(SessionState.IDLE) == 1


def test_what_is_asked_is_not_shown() -> None:
    assert "s3cret" not in repr(RawRequest.of("tools/call", {"token": "s3cret"}))
