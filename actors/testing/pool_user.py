"""Somebody who uses the pool under test, as real callers do: in a hurry, careless, and gone again."""

import math
from random import Random
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel
from mcp import MCPError

from actors.lease import Lease
from actors.testing.ledger import ATTEMPT_HEADER, Attempt
from actors.testing.pool_inside import session_of
from protocol.errors import (
    AcquireTimeout,
    BreakerOpen,
    CallFailed,
    ConnectFailed,
    LeaseReleased,
    PoolClosed,
    PoolFull,
    SessionStateLost,
)

if TYPE_CHECKING:
    from actors.testing.pool_lifecycle import PoolLife

REFUSALS: Final = (AcquireTimeout, ConnectFailed, BreakerOpen, PoolFull, SessionStateLost, PoolClosed)
"""What an acquire may end with, besides a lease and its caller's cancellation."""
TENANTS: Final = (
    ("ada", "key-1", None),
    ("ada", "key-1", "red"),
    ("ada", "key-2", "red"),
    ("bob", "key-1", "red"),
    ("bob", "key-3", None),
    (None, "key-4", "blue"),
)
"""User, identity, gateway: some differ in one of them alone."""
CONVERSATIONS: Final = ("c1", "c2")


class Whim(Exception):
    """What a borrower's own code raises."""


class PoolUser:
    """One caller after another, as the seed has them.

    Args:
        life: what it is part of.
        random: where its draws come from.
    """

    def __init__(self, life: "PoolLife", random: Random) -> None:
        self._life = life
        self._random = random

    async def run(self) -> None:
        """Use the pool until all steps are done."""
        while self._life.step():
            await anyio.sleep(self._seconds(1))
            await self._use()

    def _seconds(self, most: float) -> float:
        return self._random.uniform(0, most * self._life.pace)

    def _happens(self, share: float) -> bool:
        return self._random.random() < share

    async def _use(self) -> None:
        """Acquire, call, and leave in one way or another."""
        life, random = self._life, self._random
        server = random.choice(life.upstreams)
        who = random.choice(TENANTS)
        conversation = random.choice(CONVERSATIONS) if self._happens(0.25) else None
        attempt = life.ledger.begin(server.upstream.url, who, conversation and f"{conversation}-{TENANTS.index(who)}")
        wanted = self._wanted(attempt)
        if self._happens(0.3):
            await self._borrow(attempt, wanted)
            return
        patience = self._seconds(2) if self._happens(0.2) else math.inf
        with anyio.move_on_after(patience):
            lease = await self._acquired(attempt, life.pool.acquire(server.upstream, **wanted), wanted["timeout"])
            if lease is None:
                return
            await self._hold(lease, attempt)
            self._leave(lease, attempt)
            return
        if attempt in life.ledger.waiting:
            life.ledger.failed(attempt, "cancelled")

    def _wanted(self, attempt: Attempt) -> dict[str, Any]:
        random = self._random
        headers = {"Authorization": f"Bearer {attempt.identity}", ATTEMPT_HEADER: str(attempt.number)}
        timeout = random.choice([0.0, self._seconds(1), self._seconds(5), None])
        expires_in = None
        if self._happens(0.15):
            expires_in = 0.1 + self._seconds(5)
            attempt.expires_at = self._life.ledger.now() + expires_in
        return {
            "headers": headers,
            "user": attempt.user,
            "gateway_id": attempt.gateway,
            "session_id": attempt.conversation,
            "timeout": timeout,
            "expires_in": expires_in,
        }

    async def _acquired(self, attempt: Attempt, acquire: Any, timeout: float | None) -> Lease | None:
        """Wait for the lease; None if there is none, for a reason that may be."""
        life, ledger = self._life, self._life.ledger
        began = ledger.now()
        limit = life.pool.settings.acquire_timeout if timeout is None else timeout
        try:
            lease: Lease = await acquire
        except REFUSALS as error:
            if isinstance(error, PoolClosed) and not life.is_closing:
                ledger.violated("L2", f"attempt {attempt.number} was told that the pool is closed, which it is not")
            ledger.failed(attempt, type(error).__name__, is_told=isinstance(error, SessionStateLost))
            return None
        except Exception as error:
            ledger.violated("L2", f"attempt {attempt.number} ended with {error!r}")
            raise
        finally:
            if ledger.now() > began + limit + LATE:
                ledger.violated("L2", f"attempt {attempt.number} took {ledger.now() - began:g} s, not {limit:g}")
        ledger.lent(attempt, session_of(lease))
        return lease

    async def _borrow(self, attempt: Attempt, wanted: dict[str, Any]) -> None:
        """The same by a context manager, whose body may fail."""
        ledger, whim = self._life.ledger, Whim() if self._happens(0.3) else None
        upstream = next(server.upstream for server in self._life.upstreams if server.upstream.url == attempt.url)
        borrowing = self._life.pool.session(upstream, **wanted)
        lease = await self._acquired(attempt, borrowing.__aenter__(), wanted["timeout"])
        if lease is None:
            return
        try:
            try:
                await self._hold(lease, attempt)
                if whim is not None:
                    raise whim
            finally:
                ledger.returned(attempt)
        except BaseException as error:
            await borrowing.__aexit__(type(error), error, error.__traceback__)
            if error is not whim:
                raise
        else:
            await borrowing.__aexit__(None, None, None)
        if lease.is_held:
            ledger.violated("L4", f"the lease of attempt {attempt.number} is held after its block")

    async def _hold(self, lease: Lease, attempt: Attempt) -> None:
        """Make calls: some to their end, some until one has had enough, some that are left under way."""
        try:
            for _ in range(self._random.randrange(4)):
                way = self._random.random()
                if way < TO_THE_END:
                    await self._call(lease, attempt)
                elif way < CUT_SHORT:
                    with anyio.move_on_after(self._seconds(0.5)):
                        await self._call(lease, attempt)
                else:
                    self._life.tasks.start_soon(self._call, lease, attempt)
                    await anyio.lowlevel.checkpoint()
            if self._happens(0.1):
                await anyio.sleep(self._seconds(4))
        except BaseException:
            if lease.is_held:  # cancelled: what is borrowed is given back all the same
                self._return(lease, attempt)
            raise

    async def _call(self, lease: Lease, attempt: Attempt) -> None:
        ledger = self._life.ledger
        if not lease.is_held:
            return
        ledger.call_begins(attempt)
        try:
            await lease.call_tool("work", {"attempt": attempt.number})
        except (CallFailed, MCPError):
            pass  # by name, as it should be
        finally:
            ledger.call_ends(attempt)

    def _leave(self, lease: Lease, attempt: Attempt) -> None:
        """Give the lease back, or forget to."""
        if self._happens(0.08):
            self._life.ledger.forgotten(attempt)
            return
        self._return(lease, attempt)
        if self._happens(0.2):
            self._again(lease, attempt)

    def _return(self, lease: Lease, attempt: Attempt) -> None:
        self._life.ledger.returned(attempt)
        lease.release()

    def _again(self, lease: Lease, attempt: Attempt) -> None:
        try:
            lease.release()
        except LeaseReleased:
            return
        self._life.ledger.violated("L4", f"the lease of attempt {attempt.number} was released twice, without an error")


TO_THE_END: Final = 0.5
CUT_SHORT: Final = 0.7
LATE: Final = 1e-6
"""Seconds: what rounding may make of a deadline."""
