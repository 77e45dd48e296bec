"""A pool among others: its conversations, wherever they are owned."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from typing_extensions import override

from actors.acquire import PLAIN, Acquire, Terms
from actors.arguments import check_upstream
from actors.borrower import LEASE
from actors.cluster_messages import OwnershipEnded, OwnershipNews, OwnershipTaken
from actors.cluster_tree import ClusterTree
from actors.lease import Lease, Origin
from actors.lending import Lending
from actors.membership import Membership, Wanted
from actors.pool_life import PoolLife
from actors.registry_messages import ConversationTaken, EndConversation
from protocol.errors import AcquireTimeout, InvalidSettings, OwnedElsewhere, SessionStateLost
from protocol.forwarded import ForwardedRequest
from protocol.headers import check_session_id
from protocol.identity import User
from protocol.keys import PoolKey, key_of
from protocol.pool_messages import Told, Untold
from protocol.raw_request import RawRequest
from protocol.remote_lease import Lend
from protocol.upstream import Upstream

Whom = tuple[Origin | None, Upstream, Mapping[str, str] | None, User | None, str | None, str | None]
"""On whose session something is done: from where in the source, and from `upstream` to `session_id` as of `acquire`."""


class PoolMember(PoolLife):
    """What a pool does among other workers. See `actors.pool.Pool`."""

    # --- conversations among workers

    @property
    def worker(self) -> str | None:
        """This worker's id among those of its cluster, once the pool was entered; None for a pool without a cluster."""
        return None if self._membership is None else self._membership.worker

    async def claim(
        self, session_id: str, *, headers: Mapping[str, str] | None = None, user: User | None = None
    ) -> str:
        """Have somebody own a downstream session, ahead of its first request: this worker, unless another one does.

        Args:
            session_id: the downstream session.
            headers: as of `acquire`: they say whose it is.
            user: as of `acquire`.

        Returns:
            The id of the worker that owns it; `pool.worker` if that is this one.

        Raises:
            PrincipalMismatch: it belongs to somebody else.
            BusUnavailable: Redis cannot be reached, and it is not owned here.
            NotAlive: this worker is out of touch with the others.
            InvalidSettings: the pool has no cluster, or an argument cannot be used.
            PoolClosed: the pool is not open.

        Cancellation: it may be owned all the same.
        """
        membership = self._member()
        check_session_id(session_id)
        caller = self._identities.who(headers, user)
        owner = await membership.own(session_id, caller, self._backstage.settings.acquire_timeout)
        return owner.holding.owner

    async def owner(self, session_id: str) -> str | None:
        """The id of the worker that owns a downstream session; None if nobody does. Nothing is claimed.

        Raises:
            BusUnavailable: Redis cannot be reached.
            InvalidSettings: the pool has no cluster, or it cannot be such an id.
            PoolClosed: the pool is not open.
        """
        membership = self._member()
        check_session_id(session_id)
        return await membership.who_owns(session_id)

    async def cluster_tree(self) -> ClusterTree:
        """The workers of the cluster that live, with what each says of itself: `print(await pool.cluster_tree())`.

        This worker's figures are those of now, and the others' those of their last beat, a quarter of `lifetime` ago
        at the most while all is well. What they say is not signed: it is for people to look at.

        Raises:
            BusUnavailable: Redis cannot be reached.
            InvalidSettings: the pool has no cluster.
            PoolClosed: the pool is not open.
        """
        return await self._member().tree()

    def _member(self) -> Membership:
        if self._membership is None:
            raise InvalidSettings("this pool has no cluster: open it with `cluster=`")
        if not self._is_open:
            raise self._closed()
        return self._membership

    # --- requests, here and there

    async def _call(
        self, request: RawRequest, timeout: float | None, whom: Whom, begun: Callable[[], None] | None = None
    ) -> dict[str, Any]:
        """Make a request in this process.

        Args:
            request: what is asked.
            timeout: as of `Pool.call`.
            whom: on whose session.
            begun: called when the request begins.
        """
        since = self._system.now()
        lease = await self._lease_for(whom, timeout)
        try:
            left = None if timeout is None else since + timeout - self._system.now()
            if left is not None and left <= 0:
                raise AcquireTimeout(f"{request.method} was not sent: {timeout} s were over when there was {lease!r}")
            *_, session_id = whom
            if self._membership is not None and session_id is not None:  # nothing begins once its time is over
                self._membership.check(session_id)
            if begun is not None:
                begun()
            return await lease.send(request, left)
        finally:
            lease.release()

    async def _call_anywhere(
        self, request: RawRequest, timeout: float | None, whom: Whom, *, idempotent: bool
    ) -> dict[str, Any]:
        """Make a request; one of a conversation, wherever that is owned."""
        _, upstream, headers, user, gateway_id, session_id = whom
        if session_id is None or self._membership is None:
            return await self._call(request, timeout, whom)
        membership = self._member()
        check_upstream(upstream)
        check_session_id(session_id)
        caller = self._identities.who(headers, user)
        wanted = Wanted(request, upstream, headers, caller, gateway_id, session_id, idempotent)
        settings = self._backstage.settings
        seconds = settings.acquire_timeout + settings.call_timeout if timeout is None else timeout

        def here(left: float) -> Coroutine[Any, Any, dict[str, Any]]:
            return self._call(request, None if timeout is None else left, whom)

        return await membership.call(wanted, seconds, here)

    @override
    def _serve(self, request: ForwardedRequest, begun: Callable[[], None]) -> Coroutine[Any, Any, dict[str, Any]]:
        return self._call_for_another(request, begun)

    async def _call_for_another(self, request: ForwardedRequest, begun: Callable[[], None]) -> dict[str, Any]:
        try:
            return await self._call(request.request, None, _whom_of(request), begun)
        except SessionStateLost:  # until it is said that this was heard, it is told to whoever asks
            self._tell_key_of(request, Untold())
            raise

    @override
    def _loss_was_heard(self, request: ForwardedRequest) -> None:
        self._tell_key_of(request, Told())

    def _tell_key_of(self, request: ForwardedRequest, news: Told | Untold) -> None:
        supervisor = self._refs.get(self._key_of(request))
        if supervisor is not None:
            supervisor.tell(news)

    def _lease_for(
        self, whom: Whom, timeout: float | None, expires_in: float | None = None, terms: Terms = PLAIN
    ) -> Coroutine[Any, Any, Lease]:
        """Acquire a lease in this process."""
        raise NotImplementedError

    # --- leases, here and there

    async def _from_elsewhere(
        self,
        acquire: Acquire,
        headers: Mapping[str, str] | None,
        gateway_id: str | None,
        timeout: float,
        *,
        may_be: bool,
    ) -> Lease | None:
        """A lease of a conversation that another worker owns; None if this one does.

        Raises:
            OwnedElsewhere: so it is, and it may not be.
        """
        membership, session_id = self._member(), acquire.key.session_id
        if session_id is None or await membership.is_here(session_id, acquire.caller, timeout):
            return None
        upstream = acquire.upstream
        if not may_be:
            raise OwnedElsewhere(
                f"this conversation with {upstream.address} has come to be another worker's: ask again"
            )
        if acquire.terms.http_client is not None:
            raise InvalidSettings(
                f"an http_client cannot be sent to the worker that owns this conversation with {upstream.address}"
            )
        wanted = Wanted(LEASE, upstream, headers, acquire.caller, gateway_id, session_id, idempotent=False)
        return await membership.borrow(acquire, wanted, timeout)

    @override
    def _lend_to_others(self, membership: Membership) -> Lending:
        return Lending(self._lend, membership.check, self._key_of, now=self._system.now, lifetime=membership.lifetime)

    async def _lend(self, request: ForwardedRequest, wanted: Lend) -> Lease:
        terms = Terms(wanted.connect_timeout)
        try:
            return await self._lease_for(_whom_of(request), wanted.timeout, wanted.expires_in or None, terms)
        except SessionStateLost:
            self._tell_key_of(request, Untold())
            raise

    def _key_of(self, request: ForwardedRequest) -> PoolKey:
        caller = self._identities.who(request.headers, request.user)
        return key_of(caller, request.upstream, request.gateway_id, request.session_id)

    @override
    def _owns_no_more(self, news: OwnershipNews) -> None:
        """A conversation has come from a dead worker, has gone to another, or was ended by one."""
        if self._registry is not None:
            session_id = news.session_id
            is_taken = isinstance(news, OwnershipTaken)
            self._registry.tell(ConversationTaken(session_id) if is_taken else EndConversation(session_id))
            if isinstance(news, OwnershipEnded):
                self._registry_actor.hide(session_id)


def _whom_of(request: ForwardedRequest) -> Whom:
    return None, request.upstream, request.headers, request.user, request.gateway_id, request.session_id
