"""A pool among others: its conversations, wherever they are owned."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from typing_extensions import override

from actors.cluster_messages import OwnershipNews, OwnershipTaken
from actors.lease import Lease
from actors.membership import Membership
from actors.pool_life import PoolLife
from actors.registry import ConversationTaken, EndConversation
from protocol.errors import AcquireTimeout, InvalidSettings
from protocol.headers import check_session_id
from protocol.identity import User
from protocol.raw_request import RawRequest


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

    def _member(self) -> Membership:
        if self._membership is None:
            raise InvalidSettings("this pool has no cluster: open it with `cluster=`")
        if not self._is_open:
            raise self._closed()
        return self._membership

    # --- requests, here and there

    async def _call(
        self,
        request: RawRequest,
        timeout: float | None,
        arguments: Any,
        begun: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Make a request in this process."""
        since = self._system.now()
        lease = await self._lease_for(arguments)
        try:
            left = None if timeout is None else since + timeout - self._system.now()
            if left is not None and left <= 0:
                raise AcquireTimeout(f"{request.method} was not sent: {timeout} s were over when there was {lease!r}")
            if self._membership is not None and arguments[5] is not None:  # nothing begins once its time is over
                self._membership.check(arguments[5])
            if begun is not None:
                begun()
            return await lease.send(request, left)
        finally:
            lease.release()

    @override
    def _owns_no_more(self, news: OwnershipNews) -> None:
        """A conversation has come from a dead worker, or has gone to another."""
        if self._registry is not None:
            session_id = news.session_id
            is_taken = isinstance(news, OwnershipTaken)
            self._registry.tell(ConversationTaken(session_id) if is_taken else EndConversation(session_id))

    def _lease_for(self, arguments: Any) -> Coroutine[Any, Any, Lease]:
        """As `Pool.acquire`, whose arguments these are."""
        raise NotImplementedError
