"""Membership: a pool's place among those of other workers, as its callers need it."""

import math
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any, Final, TypeVar

import anyio

from actors.acquire import Acquire
from actors.backstage import Backstage
from actors.borrower import GRACE, Borrow, Borrower, BorrowerMessage
from actors.bus import Bus
from actors.cluster import Cluster
from actors.cluster_messages import (
    AwaitJoin,
    ClusterMessage,
    EndElsewhere,
    EndSession,
    LeaveCluster,
    Own,
    Owner,
    OwnershipNews,
    WhoLives,
    WhoOwns,
)
from actors.cluster_statistics import ClusterStats
from actors.cluster_tree import ClusterTree
from actors.forwarding import Denied, Forward, LossHeard, LossTold
from actors.lease import Lease
from actors.ref import Ref
from actors.serving import Lender, Serve
from actors.system import System
from protocol.bus import Holding
from protocol.cluster_settings import ClusterSettings
from protocol.errors import (
    AcquireTimeout,
    ActorStopped,
    AskTimeout,
    NotAlive,
    OutcomeUnknown,
    OwnerUnreachable,
    PoolClosed,
    SystemClosed,
    TroupeError,
)
from protocol.forwarded import ForwardedRequest
from protocol.identity import Caller
from protocol.message import Request, message
from protocol.ownership_messages import OwnerDenied
from protocol.pool_events import ClusterHappening
from protocol.raw_request import RawRequest
from protocol.settings import PoolSettings
from protocol.upstream import Upstream
from protocol.worker_figures import WorkerFigures

R = TypeVar("R")

PERSISTENCE: Final = 2.0
"""Seconds for which the owner of a session is looked for, where those that are found deny it or cannot be reached. Who
has just joined the others takes a second to believe that nobody listens (`protocol.peer.Terms.settle`).
"""
PAUSE: Final = 0.05
"""Seconds until it is looked for again, times how often it was: the second time is at once, since what was known is
often only old.
"""
JOINING: Final = 1.0
"""Seconds that entering a pool waits for its bus at the most."""
LEAVING: Final = 1.0
"""Seconds that leaving the others in good order may take."""


@message
class Wanted:
    """What a caller of the pool wants done in a conversation. Its fields are the arguments of `Pool.call`."""

    request: RawRequest
    upstream: Upstream
    headers: Mapping[str, str] | None
    caller: Caller
    gateway_id: str | None
    session_id: str
    idempotent: bool


Here = Callable[[float], Awaitable[dict[str, Any]]]
"""Makes a request in this process, within so many seconds."""


class Membership:
    """See above. Made before the pool is entered, and entered with it.

    Args:
        way: makes the bus, once there is a system.
        settings: how others are met.
        pool: the pool's settings.
    """

    def __init__(
        self,
        way: Callable[[Random], Bus],
        settings: ClusterSettings,
        pool: PoolSettings,
    ) -> None:
        self._way = way
        self._settings = settings
        self._pool = pool
        self._actor: Cluster | None = None
        self._ref: Ref[ClusterMessage] | None = None
        self._figures: Callable[[ClusterStats], WorkerFigures] | None = None
        self._local_hits = self._remote_hits = self._misses = 0
        self._borrower: Ref[BorrowerMessage] | None = None

    async def enter(
        self,
        system: System,
        name: str,
        *,
        serve: Serve,
        heard: Callable[[ForwardedRequest], None],
        lender: Lender,
        told: Callable[[OwnershipNews], None],
        is_used: Callable[[str], bool],
        publish: Callable[[ClusterHappening], None],
        figures: Callable[[ClusterStats], WorkerFigures],
        backstage: Backstage,
    ) -> None:
        """Begin to be a member, and give the others a moment to know.

        The arguments are those of `Cluster`; `figures` makes of this worker's those that it shows to others, and
        `backstage` is what the actors of the pool share.
        """
        self._figures = figures
        actor = self._actor = Cluster(
            f"{os.getpid()}-{system.random.getrandbits(48):012x}",
            self._way(system.random),
            self._settings,
            checks_principal=self._pool.check_principal,
            told=told,
            serve=serve,
            heard=heard,
            is_used=is_used,
            clock=system.clock.through_suspends,
            wall_clock=system.clock.wall,
            identity_headers=self._pool.identity_headers,
            says=self._says,
            publish=publish,
            lender=lender,
        )
        self._ref = system.spawn(actor, name=name)
        self._borrower = system.spawn(Borrower(self._ref, backstage), name=f"{name} borrower")
        with suppress(AskTimeout):  # then it goes on without, and joins them when it can
            await self._ref.ask(AwaitJoin(), timeout=JOINING)

    @property
    def worker(self) -> str:
        """This worker's id."""
        return self._entered()[0].worker

    @property
    def lifetime(self) -> float:
        """How long a worker counts as living after it was last heard of, in seconds."""
        return self._settings.lifetime

    def over(self, session_id: str) -> None:
        """Nothing is left of a conversation here."""
        if self._ref is not None:
            self._ref.tell(EndSession(session_id))

    def end(self, session_id: str) -> None:
        """A conversation is over, and is to end wherever it is owned."""
        if self._ref is not None:
            self._ref.tell(EndElsewhere(session_id))

    async def leave(self) -> None:
        """Leave in good order, if the bus lets us. Leases of others' conversations are over."""
        if self._borrower is not None:
            self._borrower.stop()
        if self._ref is not None and self._ref.is_alive:
            with anyio.move_on_after(LEAVING, shield=True):
                await self._ref.ask(LeaveCluster())

    async def stop(self, system: System) -> None:
        """Have nothing left of this worker in a system that goes on."""
        for ref in (self._borrower, self._ref):
            if ref is not None:
                with suppress(SystemClosed):
                    ref.stop()
                await system.ended(ref)

    # --- figures

    def stats(self) -> ClusterStats:
        """This worker's figures; zeros before it was entered."""
        if self._actor is None or self._ref is None:
            return ClusterStats()
        stats = self._actor.stats()
        return replace(
            stats,
            joined=stats.joined and self._ref.is_alive,
            local_hits=self._local_hits,
            remote_hits=self._remote_hits,
            misses=self._misses,
        )

    async def tree(self) -> ClusterTree:
        """The workers that live, this one with its figures of this moment.

        Raises:
            BusUnavailable: the bus cannot be reached.
            PoolClosed: the pool is closed, or was while this waited.
        """
        said = await self._ask(WhoLives())
        figures = None if self._figures is None else self._figures(self.stats())
        return ClusterTree.of(self._settings.namespace, said, here=self.worker, figures=figures)

    def _says(self) -> bytes:
        return b"" if self._figures is None else self._figures(self.stats()).pack()

    def _count(self, owner: Owner, *, was_here: bool) -> None:
        """Count a call by where its conversation was owned."""
        if not owner.is_here:
            self._remote_hits += 1
        elif was_here:
            self._local_hits += 1
        else:
            self._misses += 1

    # --- sessions

    def check(self, session_id: str) -> None:
        """Refuse to start anything for a session that is not owned here and now.

        Raises:
            NotAlive: it is not.
        """
        if not self._entered()[0].may_start(session_id):
            raise NotAlive("nothing was started: this worker does not own the conversation any more, ask again")

    async def own(self, session_id: str, caller: Caller, timeout: float) -> Owner:
        """Who owns a session; this worker, if nobody did."""
        try:
            return await self._ask(Own(session_id, caller.principal), timeout=timeout)
        except AskTimeout as error:
            raise AcquireTimeout(f"it was not known within {timeout:g} s who owns the conversation") from error

    async def is_here(self, session_id: str, caller: Caller, timeout: float) -> bool:
        """Whether a session is owned here, which it is from now on if nobody owned it. To ask for that is not to wait
        for a session: there is a moment for it, whatever the timeout.
        """
        return self.may_start(session_id) or (await self.own(session_id, caller, max(timeout, GRACE))).is_here

    def may_start(self, session_id: str) -> bool:
        """Whether something may be started for a session here and now."""
        return self._entered()[0].may_start(session_id)

    async def who_owns(self, session_id: str) -> str | None:
        """The id of the worker that owns a session, if one does."""
        holding = await self._ask(WhoOwns(session_id))
        return None if holding is None else holding.owner

    async def call(self, wanted: Wanted, seconds: float, here: Here) -> dict[str, Any]:
        """Make a request where its session is owned: here, or there.

        Raises:
            OutcomeUnknown: it was delivered, and its owner did not answer.
            OwnerUnreachable: it was not, and no owner could be found that it can be.
        """
        _, ref = self._entered()

        async def there(holding: Holding, left: float) -> dict[str, Any]:
            forward = Forward(holding, self._forwarded(wanted, holding), left)
            if not ref.is_alive:
                raise self._closed()
            try:
                return await self._ask(forward)
            except PoolClosed as error:
                what = f"{wanted.request.method} on {wanted.upstream.address}"
                raise OutcomeUnknown(f"{what} may have run: this pool was closed while its owner had it") from error

        return await self._at_owner(wanted, seconds, here, there, is_call=True)

    async def borrow(self, acquire: Acquire, wanted: Wanted, seconds: float) -> Lease | None:
        """A lease of a session that another worker owns; None if it has come to be owned here.

        Raises:
            AcquireTimeout: there was none in time.
            OutcomeUnknown: its owner did not answer.

        And whatever acquiring it there raises.
        """

        async def here(_: float) -> None:
            return None

        async def there(holding: Holding, left: float) -> Lease:
            borrow = Borrow(acquire, holding, self._forwarded(wanted, holding), seconds)
            return await self._ask(borrow, left + GRACE, of=self._borrower)

        try:
            return await self._at_owner(wanted, seconds, here, there)
        except AskTimeout as error:
            where = f"the pool of {acquire.key.name}, at the worker that owns it"
            raise AcquireTimeout(f"no session became free within {seconds} s in {where}") from error

    async def _at_owner(
        self,
        wanted: Wanted,
        seconds: float,
        here: Callable[[float], Awaitable[R]],
        there: Callable[[Holding, float], Awaitable[R]],
        *,
        is_call: bool = False,
    ) -> R:
        """Do something where a session is owned. The functions have so many seconds left for it."""
        actor, ref = self._entered()
        until = actor.now() + seconds
        gives_up_at = math.inf
        failure: TroupeError | None = None
        was_here = actor.owns(wanted.session_id)
        for tried in count():
            if tried:
                await anyio.sleep(max(0.0, min(PAUSE * (tried - 1), until - actor.now())))
            left = max(0.0, until - actor.now())
            owner = await self.own(wanted.session_id, wanted.caller, left)
            if is_call and not tried:
                self._count(owner, was_here=was_here)
            left = max(0.0, until - actor.now())
            if owner.is_here:
                return await here(left)
            try:
                return await there(owner.holding, left)
            except LossTold as told:
                ref.tell(LossHeard(told.owner, told.correlation))
                raise told.error from None
            except Denied:
                ref.tell(OwnerDenied(wanted.session_id, owner.holding.token))
            except OwnerUnreachable as error:
                failure = error
            except OutcomeUnknown:
                if not wanted.idempotent:
                    raise
            gives_up_at = min(gives_up_at, actor.now() + PERSISTENCE)
            if actor.now() >= min(until, gives_up_at):
                break
        raise failure or OwnerUnreachable(
            f"{wanted.request.method} on {wanted.upstream.address} has not begun: the conversation's owner changed "
            "while it was sent: try again"
        )

    def _forwarded(self, wanted: Wanted, holding: Holding) -> ForwardedRequest:
        return ForwardedRequest.of(
            session_id=wanted.session_id,
            token=holding.token,
            upstream=wanted.upstream,
            request=wanted.request,
            headers=wanted.headers,
            user=wanted.caller.user,
            gateway_id=wanted.gateway_id,
            principal=wanted.caller.principal,
            idempotent=wanted.idempotent,
            identity_headers=self._pool.identity_headers,
        )

    async def _ask(self, request: Request[R], timeout: float | None = None, *, of: Ref[Any] | None = None) -> R:
        """Ask the cluster something, or one of its like.

        Raises:
            PoolClosed: the pool is closed, or was while this waited.
        """
        try:
            return await (of or self._entered()[1]).ask(request, timeout=timeout)
        except (ActorStopped, SystemClosed) as error:
            raise self._closed() from error

    @staticmethod
    def _closed() -> PoolClosed:
        return PoolClosed("the pool is closed, or was while this caller waited: open another one")

    def _entered(self) -> tuple[Cluster, Ref[ClusterMessage]]:
        if self._actor is None or self._ref is None:
            raise RuntimeError("this membership was not entered")
        return self._actor, self._ref
