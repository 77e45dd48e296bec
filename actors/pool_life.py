"""The life of a pool: what it is made of, how it is entered, and how it ends."""

import secrets
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from threading import get_ident
from types import TracebackType
from typing import Any, Self

import anyio

from actors.arguments import check_upstream, resized
from actors.backstage import Backstage, HandlerFactory
from actors.cluster_messages import OwnershipNews
from actors.cluster_statistics import ClusterStats
from actors.connection import Connector
from actors.events import BUFFER, Events, EventStream
from actors.extractor import WatchedExtractor
from actors.lending import Lending
from actors.membership import Membership
from actors.ref import Ref
from actors.registry import Registry
from actors.registry_messages import Close, DrainKeys, EndConversation, RegistryMessage, ResetBreakers, ResizePool
from actors.statistics import Permits, PoolStats
from actors.system import System, open_system
from actors.tally import Tally
from actors.transports import Transports
from protocol.errors import ActorStopped, PoolClosed, SystemClosed
from protocol.forwarded import ForwardedRequest
from protocol.headers import check_session_id
from protocol.identity import Identities
from protocol.settings import PoolSettings
from protocol.upstream import Upstream
from protocol.worker_figures import WorkerFigures


class PoolLife:
    """What every pool does but lend. See `actors.pool.Pool`."""

    def __init__(
        self,
        settings: PoolSettings,
        *,
        name: str,
        connector: Connector | None,
        on_message: HandlerFactory | None,
        system: System | None = None,
        membership: Membership | None = None,
    ) -> None:
        self._membership = membership
        self._lending: Lending | None = None
        extractor = settings.identity_extractor
        self._identities = Identities(
            secret=settings.identity_secret or secrets.token_bytes(32),
            names=settings.identity_headers,
            user_fields=settings.user_fields,
            extractor=None if extractor is None else WatchedExtractor(extractor, name),
        )
        self._name = name
        self._system = system or open_system(name)
        self._owns_system = True
        self._backstage = Backstage(
            settings=settings,
            connector=connector or Transports(),
            tally=Tally(),
            events=Events(),
            handlers=on_message,
        )
        self._registry_actor = Registry(self._backstage)
        self._refs = self._registry_actor.refs
        self._registry: Ref[RegistryMessage] | None = None
        self._anonymous: int = 0
        self._resized = settings  # as was asked for last: the registry may have yet to hear of it
        self._is_open = False

    @property
    def settings(self) -> PoolSettings:
        """How it behaves."""
        return self._backstage.settings

    async def __aenter__(self) -> Self:
        if self._registry is not None:
            raise PoolClosed(f"the pool {self._name} was entered before: open another one")
        self._owns_system = not self._system.thread
        if self._owns_system:
            await self._system.__aenter__()
        self._backstage.events.thread = get_ident()
        self._registry = self._system.spawn(self._registry_actor, name="registry" if self._owns_system else self._name)
        if self._membership is not None:
            try:
                await self._join(self._membership)
            except BaseException as error:
                await self._leave(type(error), error, error.__traceback__)
                raise
        self._is_open = True
        return self

    async def _join(self, membership: Membership) -> None:
        self._backstage.conversation_over = membership.over
        lending = self._lending = self._lend_to_others(membership)
        self._backstage.overheard = lending.overheard
        await membership.enter(
            self._system,
            "cluster" if self._owns_system else f"{self._name} cluster",
            serve=self._serve,
            heard=self._loss_was_heard,
            lender=lending,
            backstage=self._backstage,
            told=self._owns_no_more,
            is_used=self._registry_actor.has_conversation,
            publish=self._backstage.events.publish,
            figures=partial(self._in_small, self._system.now()),
        )

    def _in_small(self, opened_at: float, cluster: ClusterStats) -> WorkerFigures:
        """What other workers may see of this one. It is said with every beat, and so walks through no keys."""
        sessions, uptime = self._registry_actor.permits().permits, self._system.now() - opened_at
        return cluster.in_small(pool=self._name, uptime=uptime, sessions=sessions)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            await self.close()
        finally:  # Ctrl-C and asyncio's own cancellation know no shields
            handled = await self._leave(exc_type, exc, traceback)
            self._backstage.events.end()
        return handled

    async def _leave(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        if self._owns_system:
            return await self._system.__aexit__(exc_type, exc, traceback)
        if self._registry is not None:
            with suppress(SystemClosed):
                self._registry.stop()
            with anyio.CancelScope(shield=True):
                await self._system.ended(self._registry)
                if self._membership is not None:
                    await self._membership.stop(self._system)
        return None

    async def close(self) -> None:
        """Close every session and refuse whoever waits. Calls under way end with an error.

        Takes `close_timeout` at most, and as much again for whoever is woken by it.

        Leaving `async with` does this too. Cancellation does not cut it short, since it is bounded and servers are to
        be told. Closing again waits for the same end.
        """
        if self._registry is None:
            return
        self._is_open = False
        if self._membership is not None:
            await self._membership.leave()
        with anyio.move_on_after(2 * self.settings.close_timeout, shield=True):
            with suppress(ActorStopped, SystemClosed):  # it is closed already
                await self._registry.ask(Close())

    # --- looking at it

    def events(self, buffer: int = BUFFER) -> EventStream:
        """What happens from now on, as an asynchronous iterator: `async with pool.events() as events`.

        Args:
            buffer: how many events are kept for a reader that is slow. Beyond that the oldest are dropped, and the
                reader is told how many (`Missed`).

        Raises:
            InvalidSettings: the buffer is not a whole number of at least 1.
            PoolClosed: the pool was not entered yet.
        """
        if self._registry is None:
            raise self._closed()
        return self._backstage.events.subscribe(buffer)

    def stats(self) -> PoolStats:
        """The pool's figures as they are now. Cheap, and works on a closed pool too."""
        tally = self._backstage.tally
        tally.extractor_failures = self._identities.fallbacks
        counts = self._registry_actor.permits()
        return PoolStats(
            keys=tuple(self._registry_actor.stats()),
            anonymous=self._anonymous,
            tally=tally.figures(),
            permits=Permits(counts.permits, self.settings.max_sessions, counts.queued),
            breakers=self._registry_actor.breaker_stats(),
            cluster=None if self._membership is None else self._membership.stats(),
        )

    # --- the pool as a whole

    def end(self, session_id: str) -> None:
        """End a conversation, as when its client has ended the downstream session (HTTP DELETE).

        Its upstream sessions with all servers are closed now, in good order; calls that are under way on them end with
        an error, and who waits for one is told so (`ConversationEnded`). Whose it was is forgotten, and there is nobody
        left to be told of its state. Whoever acquires with this id from now on begins a conversation of their own. An
        id that the pool does not know changes nothing. Returns at once.

        Where another worker owns the conversation, it ends there: that one is told, before whatever this pool asks of
        it from now on. If it cannot be told, as while Redis is away, the log says so, and the conversation goes on.

        Args:
            session_id: the downstream session. Whether its end may be asked for is for the gateway to know.

        Raises:
            InvalidSettings: it cannot be such an id.
            PoolClosed: the pool is not open.
        """
        check_session_id(session_id)
        self._tell(EndConversation(session_id))
        self._registry_actor.hide(session_id)
        if self._membership is not None:
            self._membership.end(session_id)

    def drain(self) -> None:
        """Have every session replaced: idle ones end now, lent ones as they come back, and what is acquired from now on
        is new. For when credentials, certificates or settings have changed. Nobody's call is cut short.

        A stateful conversation's session ends too, and its next call is told so (`SessionStateLost`).

        Raises:
            PoolClosed: the pool is not open.
        """
        self._tell(DrainKeys())

    def retire(self, upstream: Upstream) -> None:
        """Drain the sessions with one server, whoever they are for. Raises as `drain` does."""
        check_upstream(upstream)
        self._tell(DrainKeys(upstream.url))

    def resize(self, **settings: Any) -> None:
        """Change settings while the pool is open: `pool.resize(max_size=20)`.

        Beyond a smaller `max_size` idle sessions end now, and lent ones as they come back. Beyond a smaller cap of many
        keys (`max_sessions`, `max_sessions_per_user`, `max_sessions_per_gateway`) idle sessions are asked for once, and
        nothing lent is taken: no session is opened until there are fewer than the cap. At a smaller `max_keys` idle
        keys end. Sessions that are open keep the timeouts they were opened with.

        Args:
            settings: those that change, by name. How callers are told apart (`identity_…`, `user_fields`), the
                breakers, and whether users and gateways have caps at all, stay as they are.

        Raises:
            InvalidSettings: a setting is unknown, or out of its range; nothing has changed.
            PoolClosed: the pool is not open.
        """
        after = resized(self._resized, settings)
        self._tell(ResizePool(after))
        self._resized = after

    def reset_breakers(self, upstream: Upstream | None = None) -> None:
        """Close the breakers of one server and of the credentials on it, or all. Raises as `drain` does."""
        if upstream is not None:
            check_upstream(upstream)
        self._tell(ResetBreakers(None if upstream is None else upstream.address))

    # --- among other workers

    def _serve(self, request: ForwardedRequest, begun: Callable[[], None]) -> Coroutine[Any, Any, dict[str, Any]]:
        """Do what another worker asks of a conversation that is owned here."""
        raise NotImplementedError

    def _loss_was_heard(self, request: ForwardedRequest) -> None:
        """Another worker's caller has heard that the state of its conversation is lost."""
        raise NotImplementedError

    def _lend_to_others(self, membership: Membership) -> Lending:
        """What is to lend other workers sessions of such conversations."""
        raise NotImplementedError

    def _owns_no_more(self, news: OwnershipNews) -> None:
        """A conversation has come from a dead worker, or has gone to another."""
        raise NotImplementedError

    # --- within

    def _tell(self, message: RegistryMessage) -> None:
        if self._registry is None or not self._is_open:
            raise self._closed()
        self._registry.tell(message)

    def _closed(self) -> PoolClosed:
        if self._registry is None:
            return PoolClosed(f"the pool {self._name} is not open: enter it with `async with`")
        return PoolClosed(f"the pool {self._name} is closed, or was while this caller waited: open another one")

    def __repr__(self) -> str:
        return f"<Pool {self._name}, {'open' if self._is_open else 'closed'}>"
