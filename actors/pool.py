"""The pool, as its users see it."""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import MappingProxyType, TracebackType
from typing import Final, Self

import anyio

from actors.connection import Connector, StreamableHttp
from actors.lease import Lease
from actors.pool_supervisor import Acquire
from actors.ref import Ref
from actors.registry import Close, Registry, RegistryMessage
from actors.statistics import PoolStats
from actors.system import open_system
from protocol.errors import (
    AcquireTimeout,
    ActorStopped,
    AskTimeout,
    InvalidSettings,
    MailboxFull,
    PoolClosed,
    PoolFull,
    SystemClosed,
)
from protocol.keys import ANONYMOUS, NOT_FORWARDED, PoolKey, check_headers, check_name, identify
from protocol.settings import PoolSettings, Upstream

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Pool:
    """Live sessions with MCP servers, to be lent. Made by `open_pool`.

    Attributes:
        settings: how it behaves.
    """

    def __init__(self, settings: PoolSettings, *, name: str, connector: Connector | None) -> None:
        self.settings = settings
        self._secret = settings.identity_secret or secrets.token_bytes(32)
        self._system = open_system(name)
        self._registry_actor = Registry(settings, connector or StreamableHttp())
        self._registry: Ref[RegistryMessage] | None = None
        self._anonymous = 0
        self._is_open = False

    async def __aenter__(self) -> Self:
        if self._registry is not None:
            raise PoolClosed(f"the pool {self._system.name} was entered before: open another one")
        await self._system.__aenter__()
        self._registry = self._system.spawn(self._registry_actor, name="registry")
        self._is_open = True
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            await self.close()
        finally:  # Ctrl-C and asyncio's own cancellation know no shields
            handled = await self._system.__aexit__(exc_type, exc, traceback)
        return handled

    async def close(self) -> None:
        """Close every session and refuse whoever waits. Calls under way end with an error.

        Takes `close_timeout` at most, and as much again for whoever is woken by it.

        Leaving `async with` does this too. Cancellation does not cut it short, since it is bounded and servers are to
        be told. Closing again waits for the same end.
        """
        if self._registry is None:
            return
        self._is_open = False
        with anyio.move_on_after(2 * self.settings.close_timeout, shield=True):
            with suppress(ActorStopped, SystemClosed):  # it is closed already
                await self._registry.ask(Close())

    def session(
        self,
        upstream: Upstream,
        *,
        headers: Mapping[str, str] | None = None,
        user: str | None = None,
        gateway_id: str | None = None,
        timeout: float | None = None,
    ) -> "Borrowing":
        """Borrow a session for the length of an `async with`: `async with pool.session(echo) as session`.

        Arguments and errors are those of `acquire`. Leaving releases the lease if it is still held; it never raises,
        and never hides the body's exception.
        """
        return Borrowing(
            lambda: self.acquire(upstream, headers=headers, user=user, gateway_id=gateway_id, timeout=timeout)
        )

    async def acquire(
        self,
        upstream: Upstream,
        *,
        headers: Mapping[str, str] | None = None,
        user: str | None = None,
        gateway_id: str | None = None,
        timeout: float | None = None,
    ) -> Lease:
        """Borrow a session until `lease.release()`.

        Args:
            upstream: the server.
            headers: sent with every request under this lease. Those that authenticate (`authorization`, `cookie`,
                `x-api-key`, `x-tenant-id`, `x-user-id`) make the identity, and sessions are never shared between
                identities. Without any of them the caller is anonymous. Headers that belong to the protocol or the
                connection are left out.
            user: who the session is for; users never share sessions.
            gateway_id: on whose behalf; gateways never share sessions.
            timeout: how long to wait, in seconds; None means the pool's `acquire_timeout`, 0 takes a session only if
                one is idle.

        Returns:
            A lease of a session that is nobody else's until it is released.

        Raises:
            ConnectFailed: a session was opened for this caller, and that failed.
            AcquireTimeout: no session became free in time.
            PoolFull: `max_waiting` callers wait already.
            PoolClosed: the pool is closed, or was while this waited.
            InvalidSettings: an argument cannot be used; the message names it.

        Cancellation: whatever was granted goes back to the pool, and to the next waiter.
        """
        if self._registry is None or not self._is_open:
            raise PoolClosed(
                f"the pool {self._system.name} is not open: enter it with `async with`, or open another one"
            )
        if timeout is None:
            timeout = self.settings.acquire_timeout
        # Written so that not-a-number is refused too.
        elif not isinstance(timeout, (int, float)) or not timeout >= 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidSettings(f"timeout must be a number of seconds of at least 0, not {timeout!r}")
        sent, key = self._key(upstream, headers, user, gateway_id)
        receiver = self._registry_actor.find(key) or self._registry
        try:
            lease = await receiver.ask(Acquire(key, upstream, sent), timeout=timeout)
        except AskTimeout:
            state = self._registry_actor.describe(key)
            raise AcquireTimeout(f"no session became free within {timeout} s in the {state}") from None
        except (ActorStopped, SystemClosed) as error:
            raise PoolClosed(f"the pool {self._system.name} ended while this caller waited") from error
        except MailboxFull as error:
            raise PoolFull(f"too many callers wait at once for the {self._registry_actor.describe(key)}") from error
        lease.bear(sent)
        return lease

    def _key(
        self, upstream: Upstream, headers: Mapping[str, str] | None, user: str | None, gateway_id: str | None
    ) -> tuple[Mapping[str, str], PoolKey]:
        """The headers to be sent and the key to be pooled under. In the caller's frame: what is bad stops here."""
        if not isinstance(upstream, Upstream):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidSettings(f"upstream must be an Upstream, not {type(upstream).__name__}")
        if user is not None:
            check_name("user", user)
        if gateway_id is not None:
            check_name("gateway_id", gateway_id)
        identity = ANONYMOUS
        sent: Mapping[str, str] = NO_HEADERS
        if headers:
            check_headers(headers)
            sent = {name: value for name, value in headers.items() if name.lower() not in NOT_FORWARDED}
            identity = identify(sent, secret=self._secret)
        if identity == ANONYMOUS:
            self._anonymous += 1
        # `PoolKey(...)` goes through a function written in Python, and takes three times as long.
        fields = (user, upstream.url, identity, upstream.transport, gateway_id)
        key = tuple.__new__(PoolKey, fields)  # pyright: ignore[reportUnknownMemberType] - a stub's own unknown
        return sent, key

    def stats(self) -> PoolStats:
        """The pool's figures as they are now. Cheap, and works on a closed pool too."""
        return PoolStats(keys=tuple(self._registry_actor.stats()), anonymous=self._anonymous)

    def __repr__(self) -> str:
        return f"<Pool {self._system.name}, {'open' if self._is_open else 'closed'}>"


class Borrowing:
    """What `pool.session()` returns: a lease for the length of an `async with`."""

    __slots__ = ("_acquire", "_lease")

    def __init__(self, acquire: Callable[[], Awaitable[Lease]]) -> None:
        self._acquire = acquire
        self._lease: Lease | None = None

    async def __aenter__(self) -> Lease:
        if self._lease is not None and self._lease.is_held:
            raise RuntimeError("this session is borrowed already: call pool.session() again for another one")
        self._lease = await self._acquire()
        return self._lease

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._lease is not None and self._lease.is_held:
            self._lease.release()


def open_pool(
    settings: PoolSettings | None = None, *, name: str = "troupe", connector: Connector | None = None
) -> Pool:
    """Make a pool, and enter it with `async with`.

    Args:
        settings: how it behaves; None means the defaults.
        name: what errors and logs call it.
        connector: how sessions are opened; None means over Streamable HTTP. Tests may give their own.

    Leaving it closes every session (see `Pool.close`) and leaves nothing running.
    """
    return Pool(settings or PoolSettings(), name=name, connector=connector)
