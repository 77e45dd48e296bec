"""What a borrower holds: a session for a while."""

import warnings
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import CodeType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import anyio
import mcp_types as types
from mcp import Client, MCPError
from mcp.client.caching import CacheMode
from mcp.shared.dispatcher import ProgressFnT

from actors.connection import NOT_OPEN, Connection
from actors.exchange import Exchange
from actors.named import resolve
from actors.ref import Ref
from actors.revocable import Revocable
from actors.seconds import check_seconds
from protocol.errors import CallFailed, LeaseReleased, SystemClosed
from protocol.loan import Loan, LoanState
from protocol.message import Answer, message
from protocol.pool_messages import Abandoned, CallsEnded, Release
from protocol.raw_request import RawRequest

if TYPE_CHECKING:
    from actors.acquire import Acquire

T = TypeVar("T")

Origin = tuple[CodeType, int]
"""A place in somebody's source: the code, and how far it had come, which is cheaper to note than the line."""


@message
class CallRefused(Answer):
    """A call with this credential was answered with 401 or 403."""

    credential: str
    retry_after: float | None


LeaseNews = Release | CallsEnded | Abandoned | CallRefused
"""What a lease tells the supervisor of its session."""


class Lease:
    """A session, lent. It has the methods of `mcp.Client`, and each checks that the lease is still held.

    Every call may raise, besides what the SDK's method of the same name does:

    - `LeaseReleased`: the lease was released; nothing was sent.
    - `UpstreamUnreachable`, `SessionTerminated`: the call has not run; acquire again.
    - `CallInterrupted`: the connection or the session ended under the call, which may have run.
    - `UpstreamRefused`: the server answered with a bare HTTP error.
    - `mcp.MCPError`: the server's own error, or code -32001 when `call_timeout` elapsed.

    A call that fails takes nothing else down: not the other calls on the session, and never the task that makes it. A
    caller that is cancelled gets its cancellation, and the server is told.

    A lease that is dropped without a release closes its session, since nobody knows what is left on it, with a
    `ResourceWarning` that says where it was acquired.
    """

    __slots__ = (
        "__weakref__",
        "_acquired",
        "_calls",
        "_connection",
        "_held",
        "_loan",
        "_supervisor",
    )

    def __init__(
        self,
        connection: Connection,
        supervisor: Ref[LeaseNews],
        loan: Loan,
        acquired: "Acquire",
    ) -> None:
        self._connection = connection
        self._supervisor = supervisor
        self._loan = loan
        self._acquired = acquired
        self._held = True
        self._calls = 0

    def __del__(self) -> None:
        if self._held:
            self._abandon()

    # --- the lease

    @property
    def is_held(self) -> bool:
        """Whether the lease has not been released yet."""
        return self._held

    @property
    def client(self) -> Client:
        """The SDK's client beneath, for what has no method here.

        It is a proxy: after the release it refuses everything, also through what was taken from it before.

        Raises:
            LeaseReleased: the lease was released.
        """
        self.check()
        return cast("Client", Revocable(self, self._connection.client))

    def release(self) -> None:
        """Give the session back. A plain call: it sends a message, and can neither block nor be cancelled.

        The session goes to the oldest waiter at once, unless calls made under this lease are still under way: then it
        is lent again when they have ended, and closed if that takes longer than `settle_timeout`.

        Raises:
            LeaseReleased: it was released before. Nothing has changed.
            WrongThread: this is not the thread that runs the pool. The lease is still held.
        """
        if not self._held:
            raise self._was_released()
        try:  # noqa: SIM105 - `suppress` costs as much as the rest of a release
            self._supervisor.tell(Release(self._loan, self._calls > 0))
        except SystemClosed:
            pass  # the pool is gone, and with it the session: there is nobody left to be told
        self._held = False

    def check(self) -> None:
        """Raise `LeaseReleased` unless the lease is held."""
        if not self._held:
            raise self._was_released()

    def _was_released(self) -> LeaseReleased:
        return LeaseReleased(
            f"this lease of a session with {self._connection.address} was released: acquire another one"
        )

    def _abandon(self) -> None:
        """The collector's, in whatever thread, and in the middle of whatever: nothing is done here but leave word."""
        self._held = False
        cell = resolve(self._supervisor)
        if self._loan.state is LoanState.OVER or cell is None or not cell.is_alive:
            return  # the session has ended meanwhile
        try:
            cell.system.from_thread.tell(cell, Abandoned(self._loan))
        except SystemClosed:
            return  # with its pool
        where = told(self._acquired.origin)
        text = f"a lease of a session with {self._connection.address} was never released: acquired at {where}"
        warnings.warn(text, ResourceWarning, stacklevel=1, source=self)

    def _tell(self, message: LeaseNews) -> None:
        with suppress(SystemClosed):  # the pool is gone, and with it the session: there is nobody left to be told
            self._supervisor.tell(message)

    async def call(self, step: str, make: Callable[[], Awaitable[T]], *, timeout: float | None = None) -> T:
        """Make one call on the session, whatever it is: counted, so that the session is not lent before it has ended.

        Args:
            step: what errors call it, such as `tools/call`.
            make: makes the call on the SDK's client.
            timeout: seconds that it may take; None means the `call_timeout` of the acquire, if it had one.

        Raises:
            CallFailed: as described at `Lease`.
            LeaseReleased: the lease was released.
        """
        acquired = self._acquired
        exchange = self.exchange(step)
        self.begin()
        try:
            if timeout is not None:
                return await self._bounded(exchange, timeout, make, "timeout")
            if acquired.terms.call_timeout is None:
                return await self._connection.call(exchange, make)
            return await self._bounded(exchange, acquired.terms.call_timeout, make, "call_timeout")
        except CallFailed as error:
            if error.fault is not None and error.fault.refuses_credential:
                self._tell(CallRefused(acquired.caller.credential, error.fault.retry_after))
            raise
        finally:
            self.end()

    async def _bounded(self, exchange: Exchange, seconds: float, make: Callable[[], Awaitable[T]], name: str) -> T:
        with anyio.move_on_after(seconds):
            return await self._connection.call(exchange, make)
        raise MCPError(types.REQUEST_TIMEOUT, f"{exchange.step} was not answered within {seconds} s ({name})")

    def explain(self, error: RuntimeError, step: str) -> Exception:
        """The named error where the session was closed under the lease; else `error`."""
        return self._connection.has_ended(step) if str(error) == NOT_OPEN else error

    def exchange(self, step: str) -> Exchange:
        """What is noted of something that is sent under this lease, and thus with its headers."""
        return Exchange(step, headers=self._acquired.caller.headers)

    def begin(self) -> None:
        """Something that uses the session begins; `end` must follow.

        Raises:
            LeaseReleased: the lease was released.
        """
        self.check()
        self._calls += 1

    def end(self) -> None:
        """It has ended. After the last one, a session that was released meanwhile can be lent again."""
        self._calls -= 1
        if not self._held and self._calls == 0:
            self._tell(CallsEnded(self._loan))

    def __repr__(self) -> str:
        return f"<Lease of a session with {self._connection.address}, {'held' if self._held else 'released'}>"

    # --- requests as they come

    async def request(
        self, method: str, params: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> dict[str, Any]:
        """Make a request of MCP's or any other, as JSON has it: `await lease.request("acme/thing", {"a": 1})`.

        Raw means raw. Nothing is made of the params or of the result but JSON; no answer comes from a cache; a tool's
        result is not checked against its schema; and a server's request for more input is a result like any other. What
        the session says of itself with each request is put on this one too: headers of the protocol's, and in the
        stateless era entries of `_meta` (those of the same name are replaced).

        Args:
            method: any but `initialize` and notifications.
            params: an object; None, or an empty one, sends none.
            timeout: seconds that it may take; None means the `call_timeout` of the acquire, else the pool's.

        Raises:
            InvalidMethod: the method is no text, or one of those; nothing was sent.
            InvalidParams: the params are no JSON object; nothing was sent.
            InvalidSettings: the timeout is no number above 0; nothing was sent.
            MCPError: the server's own error, as it came; code -32001 when the time was over.

        And what each call raises, see `Lease`.
        """
        request = RawRequest.of(method, params)
        if timeout is not None:
            check_seconds("timeout", timeout)
        return await self.send(request, timeout)

    async def send(self, request: RawRequest, timeout: float | None) -> dict[str, Any]:
        """As `request`, of one that was checked."""
        connection = self._connection
        seconds = self._acquired.terms.call_timeout if timeout is None else timeout
        return await self.call(request.method, lambda: connection.request(request, seconds), timeout=timeout)

    # --- for whoever holds it from another worker

    async def pass_on(
        self, request: RawRequest, timeout: float | None, on_progress: ProgressFnT | None = None
    ) -> dict[str, Any]:
        """As `send`, of a request that is made under a lease of another worker's, which this one stands for.

        Args:
            request: what is asked.
            timeout: seconds that it has for an answer; None means the pool's.
            on_progress: told how far it is.
        """
        connection = self._connection
        return await self.call(request.method, lambda: connection.request(request, timeout, on_progress))

    def introduction(self) -> dict[str, Any]:
        """What the session agreed on with its server; see `Connection.introduction`."""
        self.check()
        return self._connection.introduction()

    # --- the client's methods

    @property
    def protocol_version(self) -> str:
        """The revision of MCP that the session speaks."""
        return self.client.protocol_version

    @property
    def server_info(self) -> types.Implementation | None:
        """The server's name and version, if it told them."""
        return self.client.server_info

    @property
    def server_capabilities(self) -> types.ServerCapabilities:
        """What the server can do."""
        return self.client.server_capabilities

    @property
    def instructions(self) -> str | None:
        """The server's instructions, if it gave any."""
        return self.client.instructions

    async def call_tool(
        self,
        name: str,
        arguments: dict[str, Any] | None = None,
        read_timeout_seconds: float | None = None,
        progress_callback: ProgressFnT | None = None,
        *,
        meta: types.RequestParamsMeta | None = None,
    ) -> types.CallToolResult:
        """Call a tool; see `mcp.Client.call_tool`. `read_timeout_seconds` None means the `call_timeout` of the acquire,
        else the pool's.
        """
        client = self._connection.client
        if read_timeout_seconds is None:  # that of the acquire may be longer than the pool's, which the client goes by
            read_timeout_seconds = self._acquired.terms.call_timeout
        return await self.call(
            "tools/call", lambda: client.call_tool(name, arguments, read_timeout_seconds, progress_callback, meta=meta)
        )

    async def list_tools(
        self, *, cursor: str | None = None, meta: types.RequestParamsMeta | None = None, cache_mode: CacheMode = "use"
    ) -> types.ListToolsResult:
        """List the server's tools; see `mcp.Client.list_tools`."""
        client = self._connection.client
        return await self.call("tools/list", lambda: client.list_tools(cursor=cursor, meta=meta, cache_mode=cache_mode))

    async def list_prompts(
        self, *, cursor: str | None = None, meta: types.RequestParamsMeta | None = None, cache_mode: CacheMode = "use"
    ) -> types.ListPromptsResult:
        """List the server's prompts; see `mcp.Client.list_prompts`."""
        client = self._connection.client
        return await self.call(
            "prompts/list", lambda: client.list_prompts(cursor=cursor, meta=meta, cache_mode=cache_mode)
        )

    async def get_prompt(
        self, name: str, arguments: dict[str, str] | None = None, *, meta: types.RequestParamsMeta | None = None
    ) -> types.GetPromptResult:
        """Get a prompt; see `mcp.Client.get_prompt`."""
        client = self._connection.client
        return await self.call("prompts/get", lambda: client.get_prompt(name, arguments, meta=meta))

    async def list_resources(
        self, *, cursor: str | None = None, meta: types.RequestParamsMeta | None = None, cache_mode: CacheMode = "use"
    ) -> types.ListResourcesResult:
        """List the server's resources; see `mcp.Client.list_resources`."""
        client = self._connection.client
        return await self.call(
            "resources/list", lambda: client.list_resources(cursor=cursor, meta=meta, cache_mode=cache_mode)
        )

    async def list_resource_templates(
        self, *, cursor: str | None = None, meta: types.RequestParamsMeta | None = None, cache_mode: CacheMode = "use"
    ) -> types.ListResourceTemplatesResult:
        """List the server's resource templates; see `mcp.Client.list_resource_templates`."""
        client = self._connection.client
        return await self.call(
            "resources/templates/list",
            lambda: client.list_resource_templates(cursor=cursor, meta=meta, cache_mode=cache_mode),
        )

    async def read_resource(
        self, uri: str, *, meta: types.RequestParamsMeta | None = None, cache_mode: CacheMode = "use"
    ) -> types.ReadResourceResult:
        """Read a resource; see `mcp.Client.read_resource`."""
        client = self._connection.client
        return await self.call("resources/read", lambda: client.read_resource(uri, meta=meta, cache_mode=cache_mode))

    async def complete(
        self,
        ref: types.ResourceTemplateReference | types.PromptReference,
        argument: dict[str, str],
        context_arguments: dict[str, str] | None = None,
    ) -> types.CompleteResult:
        """Ask for completions of an argument; see `mcp.Client.complete`."""
        client = self._connection.client
        return await self.call("completion/complete", lambda: client.complete(ref, argument, context_arguments))


def told(origin: Origin | None) -> str:
    """A place in the source, in words."""
    if origin is None:
        return "a place that was not noted"
    code, reached = origin
    lines = [line for start, end, line in code.co_lines() if start <= reached < end and line is not None]
    return f"{code.co_filename}:{lines[0] if lines else code.co_firstlineno}, in {code.co_name}"
