"""A model of the pool that this project replaces, for the price of a hit on it.

It models an asyncio pool of MCP sessions with one queue, one lock and one semaphore per key, step by step as that pool
takes them, and without anything added:

- acquire: normalise the user, hash the authentication headers, build the key, get or create the key's pool under the
  global lock, look at the circuit breaker, take the key's semaphore, take an idle session from the key's queue,
  validate it (closed? too old? idle for so long that its health is to be checked?), count, add it to the active ones
  under the key's lock, log;
- release: under the key's lock take it off the active ones, check whether it was closed or is too old, put it back into
  the queue, give back the semaphore, log.

Its log lines are at debug level and formatted before the logger is asked: nobody reads them, and they are paid for.
What a hit never reaches (eviction, health checks) is kept to the branch that leads there, or left out. It is written
from a description of that pool, so it may well be cheaper than the original, whose figure is told beside it.
"""

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

logger = logging.getLogger("benchmarks.predecessor")

Key = tuple[str, str, str, str, str]
IDENTITY_HEADERS = ("authorization", "x-tenant-id", "x-user-id", "x-api-key", "cookie")


@dataclass(eq=False)
class PooledSession:
    """A session and what the pool knows of it."""

    session: object
    key: Key
    created_at: float
    last_used: float
    use_count: int = 0
    is_closed: bool = False

    @property
    def age(self) -> float:
        """Seconds since it was opened."""
        return time.time() - self.created_at

    @property
    def idle_time(self) -> float:
        """Seconds since it was last used."""
        return time.time() - self.last_used


@dataclass
class Breaker:
    """What the pool remembers of a server's failures."""

    failures: int = 0
    open_until: float = 0.0


@dataclass
class KeyPool:
    """One key's sessions."""

    max_size: int
    idle: asyncio.Queue[PooledSession] = field(init=False)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    semaphore: asyncio.Semaphore = field(init=False)
    active: dict[int, PooledSession] = field(default_factory=dict[int, PooledSession])
    last_used: float = 0.0

    def __post_init__(self) -> None:
        self.idle = asyncio.Queue(self.max_size)
        self.semaphore = asyncio.Semaphore(self.max_size)


class PredecessorPool:
    """The pool. `opener` opens a session."""

    def __init__(
        self,
        opener: Callable[[], Awaitable[object]],
        *,
        max_size: int = 10,
        time_to_live: float = 300.0,
        health_check_interval: float = 60.0,
    ) -> None:
        self._opener = opener
        self._max_size = max_size
        self._time_to_live = time_to_live
        self._health_check_interval = health_check_interval
        self._lock = asyncio.Lock()
        self._pools: dict[Key, KeyPool] = {}
        self._breakers: dict[str, Breaker] = {}
        self._is_closed = False
        self.hits = self.misses = 0

    async def acquire(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        transport: str = "streamablehttp",
        user: str | None = None,
        gateway: str | None = None,
    ) -> PooledSession:
        """Borrow a session."""
        if self._is_closed:
            raise RuntimeError("the pool is closed")
        key = self._key(url, headers, transport, user, gateway)
        if self._is_broken(url):
            raise RuntimeError(f"the circuit of {url} is open")
        pool = await self._pool(key)
        await pool.semaphore.acquire()
        try:
            pooled = await self._take(pool, key)
            async with pool.lock:
                pool.active[id(pooled)] = pooled
            pooled.use_count += 1
            pooled.last_used = time.time()
            pool.last_used = pooled.last_used
        except BaseException:
            pool.semaphore.release()
            raise
        logger.debug(
            f"Lent a session of {_shown(url)} to {key[0]} (identity {key[2][:8]}, gateway {key[4]}): "  # noqa: G004 - see above
            f"use {pooled.use_count}, {pooled.age:.1f} s old, {len(pool.active)} active, {pool.idle.qsize()} idle"
        )
        return pooled

    async def release(self, pooled: PooledSession) -> None:
        """Give a session back."""
        key = pooled.key
        pool = await self._pool(key)
        async with pool.lock:
            pool.active.pop(id(pooled), None)
        try:
            if pooled.is_closed or pooled.age > self._time_to_live:
                pooled.is_closed = True
                return
            pooled.last_used = time.time()
            pool.last_used = pooled.last_used
            pool.idle.put_nowait(pooled)
        finally:
            pool.semaphore.release()
        logger.debug(
            f"Took back a session of {_shown(key[1])} from {key[0]} (identity {key[2][:8]}): "  # noqa: G004 - see above
            f"{len(pool.active)} active, {pool.idle.qsize()} idle"
        )

    @asynccontextmanager
    async def session(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        transport: str = "streamablehttp",
        user: str | None = None,
        gateway: str | None = None,
    ) -> AsyncGenerator[PooledSession]:
        """Borrow a session for the length of an `async with`."""
        pooled = await self.acquire(url, headers, transport, user, gateway)
        try:
            yield pooled
        finally:
            await self.release(pooled)

    def _key(
        self, url: str, headers: Mapping[str, str] | None, transport: str, user: str | None, gateway: str | None
    ) -> Key:
        name = (user or "anonymous").strip().lower()
        return (name, url, self._identity(headers), transport, gateway or "")

    def _identity(self, headers: Mapping[str, str] | None) -> str:
        if not headers:
            return "anonymous"
        by_name = {name.lower(): value for name, value in headers.items()}
        credentials = {name: by_name[name] for name in IDENTITY_HEADERS if name in by_name}
        if not credentials:
            return "anonymous"
        return hashlib.sha256(json.dumps(credentials, sort_keys=True).encode()).hexdigest()

    def _is_broken(self, url: str) -> bool:
        breaker = self._breakers.get(url)
        return breaker is not None and breaker.open_until > time.time()

    async def _pool(self, key: Key) -> KeyPool:
        async with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                pool = self._pools[key] = KeyPool(self._max_size)
            return pool

    async def _take(self, pool: KeyPool, key: Key) -> PooledSession:
        while True:
            try:
                pooled = pool.idle.get_nowait()
            except asyncio.QueueEmpty:
                self.misses += 1
                now = time.time()
                return PooledSession(await self._opener(), key, created_at=now, last_used=now)
            if self._is_valid(pooled):
                self.hits += 1
                return pooled
            pooled.is_closed = True

    def _is_valid(self, pooled: PooledSession) -> bool:
        if pooled.is_closed:
            logger.debug(f"The session of {_shown(pooled.key[1])} is closed")  # noqa: G004 - see above
            return False
        if pooled.age > self._time_to_live:
            logger.debug(f"The session of {_shown(pooled.key[1])} is too old")  # noqa: G004 - see above
            return False
        return pooled.idle_time <= self._health_check_interval


def _shown(url: str) -> str:
    return url.partition("?")[0]
