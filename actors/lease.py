"""What a borrower holds: a session for a while."""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from functools import wraps
from typing import Any, TypeVar, cast

import mcp_types as types
from mcp import Client, MCPError
from mcp.client.caching import CacheMode
from mcp.client.session import ClientSession
from mcp.shared.dispatcher import ProgressFnT

from actors.connection import Connection
from actors.exchange import Exchange, current_exchange
from actors.ref import Ref
from protocol.errors import LeaseReleased, SystemClosed
from protocol.pool import CallsEnded, Release

T = TypeVar("T")


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
    """

    __slots__ = ("__weakref__", "_calls", "_connection", "_held", "_number", "_proxy", "_supervisor")

    def __init__(self, connection: Connection, supervisor: Ref[Release | CallsEnded], number: int) -> None:
        self._connection = connection
        self._supervisor = supervisor
        self._number = number
        self._held = True
        self._calls = 0
        self._proxy: Client | None = None

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
        if self._proxy is None:
            self._proxy = cast("Client", _Revocable(self, self._connection.client))
        return self._proxy

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
        self._tell(Release(self._number, self._calls > 0))
        self._held = False

    def bear(self, headers: Mapping[str, str]) -> None:
        """Send these headers with every request under this lease."""
        guard = self._connection.guard
        if guard is not None:
            guard.headers = headers

    def check(self) -> None:
        """Raise `LeaseReleased` unless the lease is held."""
        if not self._held:
            raise self._was_released()

    def _was_released(self) -> LeaseReleased:
        return LeaseReleased(
            f"this lease of a session with {self._connection.address} was released: acquire another one"
        )

    def _tell(self, message: Release | CallsEnded) -> None:
        try:  # noqa: SIM105 - `suppress` costs as much as the rest of a release
            self._supervisor.tell(message)
        except SystemClosed:
            pass  # the pool is gone, and with it the session: there is nobody left to be told

    async def call(self, step: str, make: Callable[[], Awaitable[T]]) -> T:
        """Make one call on the session, whatever it is: counted, so that the session is not lent before it has ended.

        Args:
            step: what errors call it, such as `tools/call`.
            make: makes the call on the SDK's client.

        Raises:
            CallFailed: as described at `Lease`.
            LeaseReleased: the lease was released.
        """
        exchange = Exchange(step)
        self.begin()
        token = current_exchange.set(exchange)
        try:
            return await make()
        except MCPError as error:
            if (named := self._connection.explain(error, exchange)) is None:
                raise
            raise named from (named.__cause__ or error)
        finally:
            self.end()
            current_exchange.reset(token)

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
            self._tell(CallsEnded(self._number))

    def __repr__(self) -> str:
        return f"<Lease of a session with {self._connection.address}, {'held' if self._held else 'released'}>"

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
        """Call a tool; see `mcp.Client.call_tool`. `read_timeout_seconds` None means the pool's `call_timeout`."""
        client = self._connection.client
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


class _Revocable:
    """An object of the SDK's, for as long as a lease is held."""

    __slots__ = ("_lease", "_target")

    def __init__(self, lease: Lease, target: object) -> None:
        self._lease = lease
        self._target = target

    def __getattr__(self, name: str) -> Any:
        lease = self._lease
        lease.check()
        value: Any = getattr(self._target, name)
        if isinstance(value, ClientSession):
            return _Revocable(lease, value)
        if not inspect.ismethod(value):
            return value

        @wraps(value)
        def checked(*args: Any, **kwargs: Any) -> Any:
            lease.check()
            result = value(*args, **kwargs)
            if inspect.iscoroutine(result):
                return self._counted(name, result)
            if isinstance(result, AbstractAsyncContextManager):
                return _RevocableContext(lease, cast("AbstractAsyncContextManager[Any]", result))
            return result

        return checked

    async def _counted(self, name: str, call: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await self._lease.call(name, lambda: call)
        finally:
            call.close()

    def __repr__(self) -> str:
        return f"<the client of {self._lease!r}>"


class _RevocableContext:
    """A context manager of the SDK's (`listen`), which uses the session from its entry to its exit."""

    def __init__(self, lease: Lease, target: AbstractAsyncContextManager[Any]) -> None:
        self._lease = lease
        self._target = target

    async def __aenter__(self) -> Any:
        self._lease.begin()
        try:
            return await self._target.__aenter__()
        except BaseException:
            self._lease.end()
            raise

    async def __aexit__(self, *error: Any) -> bool | None:
        try:
            return await self._target.__aexit__(*error)
        finally:
            self._lease.end()
