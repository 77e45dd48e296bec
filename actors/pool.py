"""The pool, as its users see it."""

import logging
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Final

from typing_extensions import override

from actors.acquire import PLAIN, Acquire, Terms
from actors.arguments import check_kind, check_upstream, terms_of
from actors.backstage import HandlerFactory
from actors.borrowing import Borrowing
from actors.bus import Hub
from actors.connection import Connector
from actors.lease import Lease, Origin
from actors.member import member_of
from actors.pool_member import PoolMember, Whom
from actors.ref import Ref
from actors.registry_messages import Find
from actors.seconds import check_seconds
from actors.supervisor_messages import NeverAsked, SupervisorMessage
from actors.system import System
from protocol.cluster_settings import ClusterSettings
from protocol.errors import (
    AcquireTimeout,
    ActorStopped,
    AskTimeout,
    ConnectFailed,
    InvalidSettings,
    MailboxFull,
    PoolFull,
    SystemClosed,
)
from protocol.identity import User
from protocol.keys import key_of
from protocol.pooled_session import NEVER
from protocol.raw_request import RawRequest
from protocol.settings import PoolSettings, Upstream

logger = logging.getLogger(__name__)

TRIES: Final = 5
"""How often an acquire looks for its key's supervisor anew, when the one it found was just ending."""


class Pool(PoolMember):
    """Live sessions with MCP servers, to be lent. Made by `open_pool`."""

    # --- sessions

    def session(
        self,
        upstream: Upstream,
        *,
        headers: Mapping[str, str] | None = None,
        user: User | None = None,
        gateway_id: str | None = None,
        session_id: str | None = None,
        timeout: float | None = None,
        expires_in: float | None = None,
        connect_timeout: float | None = None,
        call_timeout: float | None = None,
        http_client: Callable[..., object] | None = None,
    ) -> Borrowing:
        """Borrow a session for the length of an `async with`: `async with pool.session(echo) as session`.

        Arguments and errors are those of `acquire`. Leaving releases the lease if it is still held; it never raises,
        and never hides the body's exception.
        """
        frame = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - a look at one frame, no more
        origin = frame.f_code, frame.f_lasti
        terms = PLAIN
        if connect_timeout is not None or call_timeout is not None or http_client is not None:
            terms = terms_of(connect_timeout, call_timeout, http_client)
        arguments = origin, upstream, headers, user, gateway_id, session_id, timeout, expires_in, terms
        return Borrowing(self._acquire, arguments)

    def acquire(
        self,
        upstream: Upstream,
        *,
        headers: Mapping[str, str] | None = None,
        user: User | None = None,
        gateway_id: str | None = None,
        session_id: str | None = None,
        timeout: float | None = None,
        expires_in: float | None = None,
        connect_timeout: float | None = None,
        call_timeout: float | None = None,
        http_client: Callable[..., object] | None = None,
    ) -> Coroutine[Any, Any, Lease]:
        """Borrow a session until `lease.release()`.

        Args:
            upstream: the server.
            headers: sent with every request under this lease. Those that authenticate (`identity_headers`) make the
                identity, unless `identity_extractor` makes it of them, and sessions are never shared between
                identities. Without any of them the caller is anonymous. Headers that belong to the gateway, the
                protocol or the connection are left out.
            user: who the session is for, as text, or as a mapping that has one of `user_fields`; users never share
                sessions.
            gateway_id: on whose behalf; gateways never share sessions.
            session_id: the downstream session whose conversation this is: 1 to 128 letters, digits, `_` and `-`. All
                its calls share one upstream session of its own, and nobody else ever uses that. It is bound to the
                principal that used it first: what the extractor answered, else the user, else the identity. Where
                another worker of the cluster owns it, the session is there, and calls are messages to it.
            timeout: how long to wait, in seconds; None means the pool's `acquire_timeout`, 0 takes a session only if
                one is idle.
            expires_in: after how many seconds the credentials in `headers` end, where that is known. A session is not
                lent beyond the end of what it was last used with.
            connect_timeout: how long opening a session may take, in seconds, if one is opened for this caller; None
                means the pool's.
            call_timeout: how long a call under this lease may take, in seconds; None means the pool's.
            http_client: makes the `httpx2.AsyncClient` of a session that is opened for this caller; goes before the
                upstream's.

        Returns:
            A lease of a session. How many leases a session has at once says `Upstream.sharing`.

        Raises:
            ConnectFailed: a session was opened for this caller, and that failed.
            BreakerOpen: the server, or the credential, failed too often of late; it says when it is tried again.
            AcquireTimeout: no session became free in time.
            PoolFull: `max_waiting` callers wait already, or there is no room for another key.
            PrincipalMismatch: the downstream session is somebody else's.
            SessionStateLost: the conversation's upstream session was lost, with what its server kept in it. Told once.
            PoolClosed: the pool is closed, or was while this waited.
            ClusterError: the conversation is another worker's, which cannot be reached, or did not answer.
            InvalidSettings: an argument cannot be used; the message names it.

        Cancellation: whatever was granted goes back to the pool, and to the next waiter.
        """
        frame = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - a look at one frame, no more
        origin = frame.f_code, frame.f_lasti
        terms = PLAIN
        if connect_timeout is not None or call_timeout is not None or http_client is not None:
            terms = terms_of(connect_timeout, call_timeout, http_client)
        return self._acquire(origin, upstream, headers, user, gateway_id, session_id, timeout, expires_in, terms)

    def call(
        self,
        upstream: Upstream,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        user: User | None = None,
        gateway_id: str | None = None,
        session_id: str | None = None,
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> Coroutine[Any, Any, dict[str, Any]]:
        """Make one request as JSON has it, on any session: `await pool.call(echo, "tools/call", {"name": "add"})`.

        It is `acquire`, `Lease.request` and a release, whatever happens. Its arguments and errors are theirs. For what
        is refused for its method or its params nothing is acquired.

        Args:
            upstream: the server.
            method: what is asked of it.
            params: an object, or None.
            headers: as of `acquire`, and so are the next three.
            user: who it is for.
            gateway_id: on whose behalf.
            session_id: the downstream session whose conversation this is.
            timeout: how long all of it may take, in seconds; None means `acquire_timeout` for the session, and then
                `call_timeout` for the request.
            idempotent: whether the request may run again where nobody knows if it has run. That is for calls that
                another process makes: one that is made in this process is made once, whatever comes of it, and its
                error says whether it may have run.

        Cancellation: the server is told, and the session goes back to the pool.
        """
        frame = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - a look at one frame, no more
        request = RawRequest.of(method, params)
        if timeout is not None:
            check_seconds("timeout", timeout)
        whom = (frame.f_code, frame.f_lasti), upstream, headers, user, gateway_id, session_id
        return self._call_anywhere(request, timeout, whom, idempotent=idempotent)

    @override
    def _lease_for(
        self, whom: Whom, timeout: float | None, expires_in: float | None = None, terms: Terms = PLAIN
    ) -> Coroutine[Any, Any, Lease]:
        return self._acquire(*whom, timeout, expires_in, terms, anywhere=False)

    async def _acquire(  # noqa: C901, PLR0912, PLR0917 - one way in for two, which name them all
        self,
        origin: Origin | None,
        upstream: Upstream,
        headers: Mapping[str, str] | None,
        user: User | None,
        gateway_id: str | None,
        session_id: str | None,
        timeout: float | None,
        expires_in: float | None,
        terms: Terms,
        borrowing: Borrowing | None = None,
        *,
        anywhere: bool = True,
    ) -> Lease:
        if not self._is_open:
            raise self._closed()
        if timeout is None:
            timeout = self._backstage.settings.acquire_timeout
        else:
            check_seconds("timeout", timeout, is_positive=False)
        if not isinstance(upstream, Upstream):  # pyright: ignore[reportUnnecessaryIsInstance]
            check_upstream(upstream)
        caller = self._identities.who(headers, user)
        if caller.is_anonymous:
            self._anonymous += 1
            if self._anonymous == 1:
                self._warn_of_sharing()
        key = key_of(caller, upstream, gateway_id, session_id)
        expires_at = NEVER
        if expires_in is not None:
            check_seconds("expires_in", expires_in)
            expires_at = self._system.now() + expires_in
        acquire = Acquire(key, upstream, caller, expires_at, terms, origin)
        lease: Lease | None = None
        waited = 0.0
        if session_id is not None and self._membership is not None:
            lease = await self._from_elsewhere(acquire, headers, gateway_id, timeout, may_be=anywhere)
        try:
            if lease is None and (supervisor := self._refs.get(key)) is not None:
                lease = await supervisor.ask(acquire, timeout=timeout)
        except ActorStopped as error:  # just now, and its successor is asked; or it crashed while this waited
            waited = error.waited
        except _NO_ANSWER as error:
            raise self._refusal(error, acquire, timeout) from error
        if lease is None:
            lease = await self._acquire_anew(acquire, timeout, waited)
        if borrowing is not None:
            borrowing.lease = lease if borrowing.lease is None else borrowing.another(lease)
        return lease

    async def _acquire_anew(self, acquire: Acquire, timeout: float, waited: float) -> Lease:
        """Have the registry find the supervisor of a key that has none yet, or whose supervisor has just ended, though
        not before its caller had waited so long.
        """
        until = self._system.now() + timeout - waited
        for _ in range(TRIES):
            if self._registry is None or not self._is_open:
                break
            try:
                supervisor = await self._registry.ask(Find(acquire), timeout=max(0.0, until - self._system.now()))
                return await _ask_first(supervisor, acquire, timeout=max(0.0, until - self._system.now()))
            except ActorStopped as error:
                if error.__cause__ is not None:
                    crashed = f"the {self._registry_actor.describe(acquire.key)} crashed: please report this"
                    raise ConnectFailed(crashed, step="pool") from error
            except _NO_ANSWER as error:
                raise self._refusal(error, acquire, timeout) from error
        if self._registry is None or not self._is_open or not self._registry.is_alive:
            raise self._closed()
        state = self._registry_actor.describe(acquire.key)
        raise PoolFull(f"max_keys is reached, and other keys took the place of the {state} each time: try again later")

    def _refusal(self, error: Exception, acquire: Acquire, timeout: float) -> Exception:
        """What the caller is told where nobody answered."""
        if isinstance(error, SystemClosed):
            return self._closed()
        state = self._registry_actor.describe(acquire.key)
        if isinstance(error, MailboxFull):
            return PoolFull(f"too many callers wait at once for the {state}")
        return AcquireTimeout(f"no session became free within {timeout} s in the {state}")

    def _warn_of_sharing(self) -> None:
        name = self._name
        logger.warning("the pool %s lends to callers without credentials or user: these share sessions", name)


async def _ask_first(supervisor: Ref[SupervisorMessage], acquire: Acquire, *, timeout: float) -> Lease:
    """Ask a supervisor that was started for this. Should the request not reach it, the key is not wanted."""
    try:
        return await supervisor.ask(acquire, timeout=timeout)
    except BaseException:
        with suppress(SystemClosed):
            supervisor.tell(NeverAsked())
        raise


_NO_ANSWER: Final = (AskTimeout, SystemClosed, MailboxFull)


def open_pool(
    settings: PoolSettings | None = None,
    *,
    name: str = "troupe",
    connector: Connector | None = None,
    on_message: HandlerFactory | None = None,
    system: System | None = None,
    cluster: str | Hub | None = None,
    cluster_settings: ClusterSettings | None = None,
) -> Pool:
    """Make a pool, and enter it with `async with`.

    Args:
        settings: how it behaves; None means the defaults.
        name: what errors and logs call it.
        connector: how sessions are opened; None means over the SDK's transports. Tests may give their own.
        on_message: called for each session that is opened, with the server's url and the gateway id that it is for (the
            url again, where there is none). What it answers is given whatever the server sends by itself:
            notifications, and exceptions of the transport. One that raises costs its handler, not the session.
        system: the actor system that it lives in; None makes one. One that is not open yet is the pool's own, and is
            entered and left with it: so a test gives the pool a clock, or a simulation's time and randomness
            (`simulation.open_system()`). One that is open already has the pool among its other actors, under the
            pool's name. Timers and the deadlines of callers go by its clock, jitter by its randomness; the time limits
            of a session's own task (opening, calls, probes, closing) go by the event loop's clock.

        cluster: where this worker meets others: the address of a Redis (`redis://`, `rediss://`, `unix://` or
            `redis+sentinel://`), or a `MemoryHub` for pools that share a process. Then each conversation (`session_id`)
            is owned by one worker, and what is asked of it goes there from any of them. None: the pool is by itself.
        cluster_settings: how others are met; None means the defaults.

    Raises:
        InvalidSettings: an argument is of another kind; or there is a cluster, and no `identity_secret` that all
            workers have in common, or no `secrets` where Redis is not on this machine.

    Leaving it closes every session (see `Pool.close`) and leaves nothing running.
    """
    check_kind("settings", settings, PoolSettings)
    check_kind("system", system, System)
    check_kind("cluster_settings", cluster_settings, ClusterSettings)
    for what, given in (("connector", connector), ("on_message", on_message)):
        if given is not None and not callable(given):
            raise InvalidSettings(f"{what} must be a function or None, not {type(given).__name__}")
    settings = settings or PoolSettings()
    membership = None if cluster is None else member_of(cluster, cluster_settings or ClusterSettings(), settings)
    return Pool(settings, name=name, connector=connector, on_message=on_message, system=system, membership=membership)
