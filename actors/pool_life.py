"""The life of a pool: what it is made of, how it is entered, and how it ends."""

import secrets
from contextlib import suppress
from threading import get_ident
from types import TracebackType
from typing import Self

import anyio

from actors.backstage import Backstage, HandlerFactory
from actors.connection import Connector
from actors.events import BUFFER, Events, EventStream
from actors.extractor import WatchedExtractor
from actors.ref import Ref
from actors.registry import Close, Registry, RegistryMessage
from actors.statistics import Permits, PoolStats
from actors.system import System, open_system
from actors.tally import Tally
from actors.transports import Transports
from protocol.errors import ActorStopped, PoolClosed, SystemClosed
from protocol.identity import Identities
from protocol.settings import PoolSettings


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
    ) -> None:
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
        self._is_open = True
        return self

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
        )

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
