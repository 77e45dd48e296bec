"""The comparison: a fresh session for each call, as the SDK makes it or with shared TLS, against pooled sessions."""

import math
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import anyio
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult
from typing_extensions import override

from actors import Pool, PoolSettings, open_pool
from actors.demo.server import HOST
from actors.demo.subject import CALL_TIMEOUT, Subject, describe

ROUNDS: Final = 10
_SDK_TIMEOUT: Final = httpx2.Timeout(30.0, read=300.0)
"""The SDK's own defaults, so that nothing but the TLS context tells its client from ours."""


class Way(ABC):
    """A way to make a call."""

    @abstractmethod
    async def call(self, number: int) -> CallToolResult:
        """Make the call of this number."""

    @abstractmethod
    def spent(self) -> tuple[int, int]:
        """The HTTP requests sent so far, and the handshakes made."""


class Fresh(Way):
    """A session for each call, made as `mcp.Client(url)` makes it, with the requests counted.

    Args:
        subject: what is called.
        tls: the TLS context that all sessions use; None for one of each session's own, which is the SDK's way.
    """

    def __init__(self, subject: Subject, tls: ssl.SSLContext | None = None) -> None:
        self._subject = subject
        self._tls = tls
        self._requests = 0
        self._handshakes = 0

    @override
    async def call(self, number: int) -> CallToolResult:
        subject = self._subject
        async with (
            httpx2.AsyncClient(
                headers=subject.headers,
                timeout=_SDK_TIMEOUT,
                verify=True if self._tls is None else self._tls,
                event_hooks={"request": [self._count]},
                # A proxy named in the environment has no way to a server on this machine's loopback.
                mounts={f"all://{HOST}": None},
            ) as http,
            Client(
                streamable_http_client(subject.upstream.url, http_client=http), read_timeout_seconds=CALL_TIMEOUT
            ) as client,
        ):
            self._handshakes += 1
            return await client.call_tool(subject.tool, subject.arguments_of(number))

    @override
    def spent(self) -> tuple[int, int]:
        return self._requests, self._handshakes

    def forget(self) -> None:
        """Count from nothing again."""
        self._requests = self._handshakes = 0

    async def _count(self, _: httpx2.Request) -> None:
        self._requests += 1


class Pooled(Way):
    """A session borrowed for each call."""

    def __init__(self, subject: Subject, pool: Pool) -> None:
        self._subject = subject
        self._pool = pool

    @override
    async def call(self, number: int) -> CallToolResult:
        subject = self._subject
        async with self._pool.session(subject.upstream, headers=subject.headers) as session:
            return await session.call_tool(subject.tool, subject.arguments_of(number))

    @override
    def spent(self) -> tuple[int, int]:
        figures = self._pool.stats()
        return figures.http_requests, figures.opened


@dataclass(slots=True)
class Measured:
    """The figures of one way.

    Attributes:
        seconds: how long each good call took.
        errors: how many calls failed.
        first_error: what the first of them said.
        elapsed: seconds that all calls took together.
        http_requests: requests sent for them.
        handshakes: sessions opened for them.
    """

    seconds: list[float] = field(default_factory=list[float])
    errors: int = 0
    first_error: str | None = None
    elapsed: float = 0.0
    http_requests: int = 0
    handshakes: int = 0

    def percentile(self, percent: int) -> float:
        """The seconds within which so many per cent of the good calls ended; not a number if there were none."""
        ordered = sorted(self.seconds)
        return ordered[math.ceil(len(ordered) * percent / 100) - 1] if ordered else math.nan

    @property
    def calls_per_second(self) -> float:
        """Good calls by the time that all took."""
        return len(self.seconds) / self.elapsed if self.elapsed else 0.0

    def failed(self, why: str) -> None:
        """Count a failed call."""
        self.errors += 1
        self.first_error = self.first_error or why


@dataclass(frozen=True, slots=True)
class Comparison:
    """The figures of the three ways. The pool's requests and handshakes include its warm-up, the others' do not."""

    fresh: Measured
    fresh_shared_tls: Measured
    pooled: Measured

    @property
    def ways(self) -> dict[str, Measured]:
        """The ways by name."""
        return {"fresh": self.fresh, "fresh_shared_tls": self.fresh_shared_tls, "pooled": self.pooled}

    @property
    def speedup(self) -> float:
        """How many times lower the pooled median is than that of a fresh session as the SDK makes it."""
        return self.fresh.percentile(50) / self.pooled.percentile(50)


async def compare(subject: Subject, *, calls: int, concurrency: int, advance: Callable[[int], None]) -> Comparison:
    """Make the same calls in each of the three ways.

    The ways take turns, a batch each, so that whatever else this machine does falls on all alike. Each is warmed up
    first, with calls that are checked but not timed.

    Args:
        subject: what is called.
        calls: how many calls are timed each way.
        concurrency: how many of them are under way at a time.
        advance: told how many calls were made, after each batch.
    """
    async with open_pool(PoolSettings(max_size=concurrency, call_timeout=CALL_TIMEOUT)) as pool:
        fresh = Fresh(subject)
        fresh_shared_tls = Fresh(subject, httpx2.create_ssl_context())
        ways: list[tuple[Way, Measured]] = [
            (fresh, Measured()),
            (fresh_shared_tls, Measured()),
            (Pooled(subject, pool), Measured()),
        ]
        for way, measured in ways:
            await _batch(subject, way, measured, range(concurrency), concurrency)
            measured.seconds.clear()
            measured.elapsed = 0.0
        fresh.forget()
        fresh_shared_tls.forget()
        for numbers in _batches(calls, concurrency):
            for way, measured in ways:
                await _batch(subject, way, measured, numbers, concurrency)
                advance(len(numbers))
        for way, measured in ways:
            measured.http_requests, measured.handshakes = way.spent()
    return Comparison(*(measured for _, measured in ways))


def _batches(calls: int, concurrency: int) -> Iterator[range]:
    """The numbers of the calls, in about `ROUNDS` batches that keep `concurrency` callers busy to their end."""
    size = math.ceil(calls / ROUNDS / concurrency) * concurrency
    for first in range(0, calls, size):
        yield range(first, min(first + size, calls))


async def _batch(subject: Subject, way: Way, measured: Measured, numbers: range, concurrency: int) -> None:
    remaining = iter(numbers)

    async def caller() -> None:
        for number in remaining:
            started = time.perf_counter()
            try:
                result = await way.call(number)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a call that failed
                measured.failed(describe(error))
                continue
            seconds = time.perf_counter() - started
            if (fault := subject.fault_in(number, result)) is None:
                measured.seconds.append(seconds)
            else:
                measured.failed(fault)

    started = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for _ in range(min(concurrency, len(numbers))):
            tasks.start_soon(caller)
    measured.elapsed += time.perf_counter() - started
