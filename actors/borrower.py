"""The borrower: leases of conversations that other workers own.

Its owner holds a lease for each (`actors.lending`), and here a task holds the SDK's client of it. Requests go to the
owner. Once one finds that it owns the conversation no more, or has died, the lease is over: the client is left, and
refuses calls as that of a session that was closed.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, assert_never

import anyio
import mcp_types as types
from mcp.shared.dispatcher import ProgressFnT
from typing_extensions import override

from actors.acquire import Acquire
from actors.actor import Actor, Outcome, Signal
from actors.backstage import Backstage
from actors.cluster_messages import ClusterMessage
from actors.connection import Connection, innermost
from actors.effect import Effect, Failed
from actors.forwarding import Denied, Forward
from actors.incoming import handler_of
from actors.learnt import Learnt
from actors.lease import CallRefused, Lease
from actors.lines import Borrowed, Returned
from actors.progress import with_progress
from actors.ref import Ref
from actors.remote_client import remote_connection
from actors.reply import AskerGone, Reply, Unclaimed
from protocol.bus import Holding
from protocol.errors import (
    ActorStopped,
    CallInterrupted,
    OwnerUnreachable,
    PoolClosed,
    SessionTerminated,
    SystemClosed,
)
from protocol.forwarded import ForwardedRequest
from protocol.forwarded_answer import Note, Notification
from protocol.keys import PoolKey
from protocol.loan import Loan, LoanState
from protocol.message import Answer, Request, message
from protocol.pool_messages import Abandoned, CallsEnded, CallsOverdue, Release
from protocol.pooled_session import NEVER
from protocol.raw_request import RawRequest
from protocol.remote_lease import LONGEST, Lend, Use

LEASE: Final = RawRequest("troupe/lease", None)
"""What the owner of a conversation is asked for a lease. No server sees it."""
GRACE: Final = 1.0
"""Seconds that an owner has beyond a caller's time, to say by itself that it is over."""
SOON: Final = 0.001
"""Seconds, at the least, that credentials have which are sent along."""
TRIES: Final = 2
"""How often a request under a lease is sent to its owner, while it cannot have begun there."""
REMEMBERED: Final = 128
"""Of how many keys the tools' schemas are remembered for their next lease."""


@message
class Borrow(Request[Lease]):
    """Ask for a lease of a conversation that another worker owns. Raises what stands in the way.

    Attributes:
        acquire: what is wanted.
        owner: by which holding the conversation is owned.
        request: what the owner is asked for it, without its part about the lease.
        timeout: seconds that the caller waits.
    """

    acquire: Acquire
    owner: Holding
    request: ForwardedRequest
    timeout: float


class _Stay:
    """One lease, from its asking to its end."""

    def __init__(self, borrow: Borrow, name: str, reply: Reply[Lease], now: float) -> None:
        self.borrow = borrow
        self.name = name
        self.reply: Reply[Lease] | None = reply
        self.loan = Loan(None, 1, now)
        self.learnt = Learnt()
        self.effect: Effect | None = None
        self.is_open = False
        self.over = anyio.Event()
        self.notified: Callable[[Notification], None] | None = None


@message
class _Opened(Answer):
    stay: _Stay
    connection: Connection


@message
class _Ended(Answer):
    stay: _Stay
    outcome: Outcome[None]


BorrowerMessage = Borrow | Release | CallsEnded | CallsOverdue | Abandoned | CallRefused | _Opened | _Ended


class Borrower(Actor[BorrowerMessage]):
    """See above.

    Args:
        cluster: forwards requests.
        backstage: the pool's.
    """

    def __init__(self, cluster: Ref[ClusterMessage], backstage: Backstage) -> None:
        self._cluster = cluster
        self._backstage = backstage
        self._stays: dict[Loan, _Stay] = {}
        self._asked: dict[Reply[Lease], _Stay] = {}
        self._schemas: OrderedDict[PoolKey, types.ListToolsResult] = OrderedDict()

    def __len__(self) -> int:
        """How many leases there are, with those that are asked for."""
        return len(self._stays)

    @override
    def receive(self, message: BorrowerMessage) -> None:
        match message:
            case Borrow():
                self._borrow(message, self.keep_reply())
            case _Opened(stay, connection):
                self._opened(stay, connection)
            case _Ended(stay, outcome):
                self._ended(stay, outcome)
            case Release(loan, busy):
                self._released(loan, is_busy=busy)
            case CallsEnded(loan) | CallsOverdue(loan) | Abandoned(loan):
                self._end(loan)
            case CallRefused():
                pass  # its owner knows: it has seen it first
            case _:
                assert_never(message)

    @override
    def signal(self, signal: Signal) -> None:
        match signal:
            case AskerGone(reply) if (stay := self._asked.pop(reply, None)) is not None:
                self._end(stay.loan)
            case Unclaimed(_, Lease() as lease):
                lease.release()
            case _:
                pass

    # --- the life of a lease

    def _borrow(self, borrow: Borrow, reply: Reply[Lease]) -> None:
        stay = _Stay(borrow, f"{self.random.getrandbits(128):032x}", reply, self.now())
        stay.learnt.schemas = self._schemas.get(borrow.acquire.key)
        self._stays[stay.loan] = self._asked[reply] = stay
        stay.effect = self.start(partial(self._hold, stay), then=partial(_Ended, stay))

    def _opened(self, stay: _Stay, connection: Connection) -> None:
        stay.is_open = True
        reply = self._waits(stay)
        if reply is not None and stay.loan.state is LoanState.HELD:
            reply.answer(Lease(connection, self.ref, stay.loan, stay.borrow.acquire))

    def _waits(self, stay: _Stay) -> Reply[Lease] | None:
        """Whoever waits for the lease, if they still do. Nothing of them is kept, and so nothing of the lease."""
        reply, stay.reply = stay.reply, None
        return None if reply is None or self._asked.pop(reply, None) is None else reply

    def _released(self, loan: Loan, *, is_busy: bool) -> None:
        if is_busy and loan in self._stays:
            loan.state = LoanState.SETTLING
            self.after(self._backstage.settings.settle_timeout, CallsOverdue(loan))
        else:
            self._end(loan)

    def _end(self, loan: Loan) -> None:
        loan.state = LoanState.OVER
        stay = self._stays.get(loan)
        if stay is not None and stay.effect is not None:
            stay.over.set()
            if not stay.is_open:
                stay.effect.cancel()

    def _ended(self, stay: _Stay, outcome: Outcome[None]) -> None:
        del self._stays[stay.loan]
        stay.loan.state = LoanState.OVER
        self._remember(stay)
        if (reply := self._waits(stay)) is None:
            return
        if isinstance(outcome, Failed):
            error = innermost(outcome.error)
            reply.fail(error if isinstance(error, Exception) else outcome.error)
        else:
            reply.fail(PoolClosed("the pool was closed while this caller waited: open another one"))

    def _remember(self, stay: _Stay) -> None:
        key, schemas = stay.borrow.acquire.key, stay.learnt.schemas
        self._schemas.pop(key, None)
        if schemas is not None:
            self._schemas[key] = schemas
            if len(self._schemas) > REMEMBERED:
                self._schemas.popitem(last=False)

    # --- in its task

    async def _hold(self, stay: _Stay) -> None:
        """Have a lease lent, and hold it until it is over."""
        key, upstream = stay.borrow.acquire.key, stay.borrow.acquire.upstream
        self._cluster.tell(Borrowed(stay.name, stay.borrow.owner.owner, partial(_noted, stay)))
        try:
            introduction = await self._lent(stay)
            make = self._backstage.handlers
            handler = make and handler_of(partial(make, key.url, key.gateway_id or key.url), upstream.address)
            async with remote_connection(
                upstream.address,
                introduction,
                partial(self._use, stay),
                call_timeout=self._backstage.settings.call_timeout,
                handler=handler,
                learnt=stay.learnt,
            ) as (connection, stay.notified):
                self.ref.tell(_Opened(stay, connection))
                await stay.over.wait()  # a client that is left by a cancellation does not know that it was
        finally:
            with suppress(SystemClosed):
                self._cluster.tell(Returned(stay.name))

    async def _lent(self, stay: _Stay) -> dict[str, Any]:
        """Have the owner hold a lease, and say what its session is."""
        acquire, wanted = stay.borrow.acquire, stay.borrow.timeout
        expires_in = None if acquire.expires_at == NEVER else max(SOON, acquire.expires_at - self.now())
        lend = Lend(stay.name, wanted, acquire.terms.connect_timeout, expires_in)
        request = _with_part(stay.borrow.request, LEASE, lend)
        return await self._cluster.ask(Forward(stay.borrow.owner, request, wanted + GRACE))

    async def _use(
        self, stay: _Stay, request: RawRequest, timeout: float | None, on_progress: ProgressFnT | None
    ) -> dict[str, Any]:
        """Make a request under a lease, where its session is.

        Raises:
            SessionTerminated: the lease is over, and nothing has run.
            OutcomeUnknown: the owner did not answer; it may have run.
        """
        part = Use(stay.name, timeout, wants_progress=on_progress is not None)
        asked = _with_part(stay.borrow.request, request, part)
        seconds = LONGEST if timeout is None else timeout + GRACE
        what = f"{request.method} on {stay.borrow.acquire.upstream.address}"

        async def ask(notes: Callable[[Note], None] | None) -> dict[str, Any]:
            return await self._cluster.ask(Forward(stay.borrow.owner, asked, seconds, notes))

        for attempt in range(1, TRIES + 1):
            try:
                return await (ask(None) if on_progress is None else with_progress(ask, on_progress))
            except (Denied, OwnerUnreachable) as error:
                if isinstance(error, OwnerUnreachable) and attempt < TRIES:
                    continue
                stay.over.set()
                raise SessionTerminated(
                    f"{what} has not run: the worker that owned its conversation does not any more, acquire another one"
                ) from error
            except (ActorStopped, SystemClosed) as error:
                raise CallInterrupted(f"{what} was interrupted: the pool was closed, so it may have run") from error
        raise AssertionError("the last attempt returns or raises")


def _noted(stay: _Stay, note: Note) -> None:
    """The owner says something of the lease. In a turn."""
    if isinstance(note, Notification) and stay.notified is not None:
        stay.notified(note)


def _with_part(request: ForwardedRequest, raw: RawRequest, part: Lend | Use) -> ForwardedRequest:
    return ForwardedRequest(
        request.session_id,
        request.token,
        request.upstream,
        raw,
        request.headers,
        request.user,
        request.gateway_id,
        request.principal,
        idempotent=False,
        lease=part,
    )
