"""A model of the pool that this project replaces, for the price of a hit on it.

It models the MCP session pool of the gateway ContextForge (github.com/IBM/mcp-context-forge,
`mcpgateway/services/mcp_session_pool.py`) in a late form, as of commit 10c464c2: the key has five fields, each session
a task that owns it, and addresses are cleaned of credentials for the log. It is written anew from reading what that
pool does on a hit, and does the same work in the same order: every lock as often as it is taken there, every look at
the clock, every log line. All is as that pool does it by default: no limits over all keys, and no affinity of sessions
to workers, which is asked about all the same.

- acquire: is the pool closed, is the server's circuit open, is affinity on; the key, from the user, the headers that
  authenticate and the rest; the key's queue, under the lock of the whole pool; when the key was used; the key's lock,
  under the lock of the whole pool again; the key's semaphore; is it time to evict keys; a session from the queue; is
  it usable, young enough, and used not long ago; when and how often it was used, and a hit counted; under the key's
  lock it becomes an active one; a log line.
- release: is it usable; its key anew; the key's lock and queue as before; under the key's lock when the key was used,
  and off the active ones; is it too old; into the queue; a log line.

A session keeps its place in the semaphore while it is idle, so that a hit takes and gives none.

The log lines are for debugging. Nobody reads them, and they are formatted before the logger is asked: that takes the
server's address apart, so that no credential in it is logged, and is 30 % of the hit, as it was of the original's.

Only what a hit never reaches is kept short here: the opening of a session, its end, the eviction of keys, health
checks.

Where the original turns the identity into bytes by a library that this project does not depend on, the model joins it,
which takes no longer. What the original's session is to its pool, a stream that can be closed, the model's session has.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import Any, Self
from urllib.parse import urlparse

import anyio

logger = logging.getLogger("benchmarks.predecessor")

Key = tuple[str, str, str, str, str]
ANONYMOUS = "anonymous"
IDENTITY_HEADERS = frozenset(
    {"authorization", "x-tenant-id", "x-user-id", "x-api-key", "cookie", "x-mcp-session-id"},
)


class Transport(Enum):
    """How a server is reached."""

    SSE = "sse"
    STREAMABLE_HTTP = "streamablehttp"


class OpenStream:
    """What stands for a session of the SDK: the pool looks at the stream on which it sends, and no further."""

    def __init__(self) -> None:
        self._write_stream, self._read_stream = anyio.create_memory_object_stream[object](0)

    def close(self) -> None:
        """Close both ends of the stream."""
        self._write_stream.close()
        self._read_stream.close()


@dataclass(eq=False)
class PooledSession:
    """A session and what the pool knows of it."""

    session: OpenStream
    owner: "asyncio.Task[None]"
    url: str
    transport: Transport
    identity: str
    user: str
    gateway: str
    created_at: float = field(default_factory=time.time)
    last_used: float = field(default_factory=time.time)
    use_count: int = 0
    marked: bool = False

    @property
    def age(self) -> float:
        """Seconds since it was opened."""
        return time.time() - self.created_at

    @property
    def idle_time(self) -> float:
        """Seconds since it was last used."""
        return time.time() - self.last_used

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, the task that owns it has ended, or its stream has nobody who reads it.

        The SDK promises none of the attributes that tell, so each is asked for with a default.
        """
        if self.marked or self.owner.done():
            return True
        try:
            stream = getattr(self.session, "_write_stream", None)
            if stream is not None:
                if getattr(stream, "_closed", False) is True:
                    return True
                state = getattr(stream, "_state", None)
                if state is not None:
                    readers = getattr(state, "open_receive_channels", 1)
                    return isinstance(readers, int) and readers == 0
        except Exception:  # noqa: BLE001, S110 - as the original guards itself against what the SDK may become
            pass
        return False

    def end(self) -> None:
        """Close it. What that takes is not modelled."""
        self.marked = True
        self.owner.cancel()
        self.session.close()


@dataclass
class Config:
    """The gateway's configuration, as far as the pool asks for it."""

    has_affinity: bool = False


@cache
def _config() -> Config:
    return Config()


class LateConfig:
    """Reads the configuration when something in it is first asked for; whatever is asked for takes this way."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_config(), name)


config = LateConfig()


class PredecessorPool:
    """The pool. `opener` makes a session, in no time."""

    def __init__(
        self,
        opener: Callable[[], OpenStream],
        *,
        max_size: int = 10,
        time_to_live: float = 300.0,
        health_check_interval: float = 60.0,
        eviction_interval: float = 60.0,
    ) -> None:
        self._opener = opener
        self._max_size = max_size
        self._time_to_live = time_to_live
        self._health_check_interval = health_check_interval
        self._eviction_interval = eviction_interval
        self._max_total_sessions = 0
        self._transport_timeout = 30.0
        self._extractor: Callable[[Mapping[str, str]], str | None] | None = None
        self._lock = asyncio.Lock()
        self._idle: dict[Key, asyncio.Queue[PooledSession]] = {}
        self._active: dict[Key, set[PooledSession]] = {}
        self._locks: dict[Key, asyncio.Lock] = {}
        self._semaphores: dict[Key, asyncio.Semaphore] = {}
        self._used_at: dict[Key, float] = {}
        self._open_until: dict[str, float] = {}
        self._evicted_at = 0.0
        self._is_closed = False
        self._no_affinity = self._anonymous = 0
        self.hits = self.misses = 0

    async def acquire(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        transport: Transport = Transport.STREAMABLE_HTTP,
        *,
        timeout: float | None = None,
        user: str | None = None,
        gateway_id: str | None = None,
    ) -> PooledSession:
        """Borrow a session."""
        if self._is_closed:
            raise RuntimeError("the pool is closed")
        if self._is_broken(url):
            raise RuntimeError(f"the circuit of {url} is open")
        timeout = timeout if timeout is not None else self._transport_timeout
        name = user or ANONYMOUS
        key: Key | None = None
        if config.has_affinity and headers:
            raise NotImplementedError
        if key is None:
            self._no_affinity += 1
            key = self._key(url, headers, transport, name, gateway_id)
        if self._max_total_sessions > 0:
            raise NotImplementedError
        idle = await self._queue_of(key)
        self._used_at[key] = time.time()  # at once: eviction may come at the next `await`
        lock = await self._lock_of(key)
        if key not in self._semaphores:
            idle = await self._queue_of(key)
        semaphore = self._semaphores[key]
        await self._maybe_evict()
        while True:
            try:
                pooled = idle.get_nowait()
            except asyncio.QueueEmpty:
                break
            if await self._is_usable(pooled):
                pooled.last_used = time.time()
                pooled.use_count += 1
                self.hits += 1
                async with lock:
                    self._active[key].add(pooled)
                logger.debug(f"Hit on {_shown(url)} (identity {key[2][:8]}, transport {transport.value})")  # noqa: G004 - see above
                return pooled
            pooled.end()
            semaphore.release()
        await semaphore.acquire()
        pooled = PooledSession(self._opener(), self._owner(), url, transport, key[2], name, gateway_id or "")
        self.misses += 1
        async with lock:
            self._active[key].add(pooled)
        return pooled

    async def release(self, pooled: PooledSession, *, discard: bool = False) -> None:
        """Give a session back, or away."""
        if pooled.is_closed:
            discard = True
        user = ANONYMOUS
        if pooled.user != ANONYMOUS:
            user = hashlib.sha256(pooled.user.encode()).hexdigest()
        key = (user, pooled.url, pooled.identity, pooled.transport.value, pooled.gateway)
        lock = await self._lock_of(key)
        idle = await self._queue_of(key)
        async with lock:
            self._used_at[key] = time.time()
            self._active.get(key, set[PooledSession]()).discard(pooled)
        if discard or self._is_closed or pooled.age > self._time_to_live:
            pooled.end()
            self._semaphores[key].release()
            return
        if key not in self._idle:
            idle = await self._queue_of(key)
        idle.put_nowait(pooled)
        logger.debug(f"Back from {_shown(pooled.url)}")  # noqa: G004 - see above

    @asynccontextmanager
    async def session(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        transport: Transport = Transport.STREAMABLE_HTTP,
        *,
        timeout: float | None = None,
        user: str | None = None,
        gateway_id: str | None = None,
    ) -> AsyncGenerator[PooledSession]:
        """Borrow a session for the length of an `async with`."""
        pooled = await self.acquire(url, headers, transport, timeout=timeout, user=user, gateway_id=gateway_id)
        try:
            yield pooled
        finally:
            await self.release(pooled)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """End what is idle. Not modelled: the original ends one session after the other, and waits for each."""
        self._is_closed = True
        ended = [idle.get_nowait() for idle in self._idle.values() for _ in range(idle.qsize())]
        for pooled in ended:
            pooled.end()
        await asyncio.gather(*(pooled.owner for pooled in ended), return_exceptions=True)

    def _key(
        self, url: str, headers: Mapping[str, str] | None, transport: Transport, user: str, gateway_id: str | None
    ) -> Key:
        identity = self._identity(headers)
        name = ANONYMOUS if user == ANONYMOUS else hashlib.sha256(user.encode()).hexdigest()
        return (name, url, identity, transport.value, gateway_id or "")

    def _identity(self, headers: Mapping[str, str] | None) -> str:
        if not headers:
            self._anonymous += 1
            logger.debug("Nobody says who asks: sessions are shared.")
            return ANONYMOUS
        if self._extractor:
            raise NotImplementedError
        by_name = {name.lower(): value for name, value in headers.items()}
        if config.has_affinity:
            raise NotImplementedError
        parts = [f"{name}:{by_name[name]}" for name in sorted(IDENTITY_HEADERS) if name in by_name]
        if not parts:
            self._anonymous += 1
            logger.debug("No header of %s says who asks: sessions are shared.", list(IDENTITY_HEADERS))
            return ANONYMOUS
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def _is_broken(self, url: str) -> bool:
        if url not in self._open_until:
            return False
        return time.time() < self._open_until[url]

    async def _lock_of(self, key: Key) -> asyncio.Lock:
        async with self._lock:
            if key not in self._locks:
                self._locks[key] = asyncio.Lock()
            return self._locks[key]

    async def _queue_of(self, key: Key) -> "asyncio.Queue[PooledSession]":
        async with self._lock:
            if key not in self._idle:
                self._idle[key] = asyncio.Queue(self._max_size)
                self._active[key] = set()
                self._semaphores[key] = asyncio.Semaphore(self._max_size)
            return self._idle[key]

    async def _maybe_evict(self) -> None:
        if self._is_closed:
            return
        now = time.time()
        if now - self._evicted_at < self._eviction_interval:
            return
        self._evicted_at = now  # and goes through all keys, once a minute

    async def _is_usable(self, pooled: PooledSession) -> bool:
        if pooled.is_closed:
            return False
        if pooled.age > self._time_to_live:
            logger.debug(f"Too old: {pooled.age:.1f} s")  # noqa: G004 - see above
            return False
        return pooled.idle_time <= self._health_check_interval

    def _owner(self) -> "asyncio.Task[None]":
        """The task that holds a session open."""

        async def held() -> None:
            await asyncio.Event().wait()

        return asyncio.create_task(held())


def _shown(url: str) -> str:
    """An address without what may be secret in it."""
    parts = urlparse(url)
    if parts.username or parts.password or parts.query:
        raise NotImplementedError
    return url
