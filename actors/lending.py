"""Lending: leases of conversations that are owned here, for other workers.

A worker that wants a session of such a conversation has this one hold a lease for it: until it gives that back, or
does not say for a while that it holds it still, as one that has died. Requests under it are made under this lease, and
so come to what they would come to here. What the server says of itself meanwhile goes to every worker that holds a
lease of the conversation, and to this one's own handler as ever.
"""

from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import anyio.lowlevel
import mcp_types as types
from mcp.client.session import IncomingMessage
from mcp.shared.dispatcher import ProgressFnT

from actors.lease import Lease
from actors.serving import Asker
from protocol.errors import InvalidParams, SessionTerminated
from protocol.forwarded import ForwardedRequest
from protocol.forwarded_answer import Notification, Progress
from protocol.keys import PoolKey
from protocol.remote_lease import Held, Lend, Use

LIFETIMES: Final = 4
"""For how many lifetimes of workers a lease is held of which nothing is heard."""

Guest = tuple[str, str]
"""The worker that holds a lease, and its name for it."""


@dataclass(slots=True, eq=False)
class _Stay:
    """One lease. `until`: it is held for so long, unless something is heard of it."""

    lease: Lease
    session_id: str
    key: PoolKey
    asker: Asker
    until: float


class Lending:
    """See above.

    Args:
        acquire: a lease for what is asked.
        check: raises unless something may be started here for a downstream session.
        key_of: under which key that lease is.
        now: the clock, in seconds.
        lifetime: of workers, in seconds.
    """

    def __init__(
        self,
        acquire: Callable[[ForwardedRequest, Lend], Coroutine[Any, Any, Lease]],
        check: Callable[[str], None],
        key_of: Callable[[ForwardedRequest], PoolKey],
        *,
        now: Callable[[], float],
        lifetime: float,
    ) -> None:
        self._acquire = acquire
        self._check = check
        self._key_of = key_of
        self._now = now
        self._patience = LIFETIMES * lifetime
        self._stays: OrderedDict[Guest, _Stay] = OrderedDict()  # who is to be heard of first, first
        self._listening: dict[PoolKey, dict[Guest, _Stay]] = {}

    def __len__(self) -> int:
        """How many leases others hold."""
        return len(self._stays)

    # --- what others ask

    async def serve(self, request: ForwardedRequest, asker: Asker) -> dict[str, Any]:
        """Do what another worker asks of a lease, or for one. One that is lent is answered with what its session is.

        Raises:
            SessionTerminated: there is no such lease (any more). Nothing has run.

        And what acquiring a lease raises, and a request under one.
        """
        match request.lease:
            case Lend() as wanted:
                return await self._lend(request, wanted, asker)
            case Use() as use:
                return await self._use(request, use, asker)
            case None:
                raise InvalidParams("the request has nothing to do with a lease")

    async def _lend(self, request: ForwardedRequest, wanted: Lend, asker: Asker) -> dict[str, Any]:
        lease = await self._acquire(request, wanted)
        try:
            self._check(request.session_id)
            introduction = lease.introduction()
            asker.begun()
            await anyio.lowlevel.checkpoint_if_cancelled()  # who does not want it any more has said so before this
        except BaseException:
            lease.release()
            raise
        guest = asker.worker, wanted.name
        self._over(guest)
        stay = _Stay(lease, request.session_id, self._key_of(request), asker, self._now() + self._patience)
        self._stays[guest] = stay
        self._listening.setdefault(stay.key, {})[guest] = stay
        return introduction

    async def _use(self, request: ForwardedRequest, use: Use, asker: Asker) -> dict[str, Any]:
        stay = self._stays.get((asker.worker, use.name))
        if stay is None or stay.session_id != request.session_id:
            what = f"{request.request.method} on {request.upstream.address}"
            raise SessionTerminated(f"{what} has not run: its lease is not held here any more, acquire another one")
        self._check(request.session_id)
        asker.begun()
        if not use.wants_progress:
            return await stay.lease.pass_on(request.request, use.timeout)
        result = await stay.lease.pass_on(request.request, use.timeout, _teller(asker))
        await anyio.lowlevel.checkpoint()  # the SDK tells of progress in tasks, all of which have begun after this
        return result

    # --- what is heard of them

    def held(self, worker: str, held: Held) -> None:
        """A worker says which leases it still holds, and which it gives back."""
        until = self._now() + self._patience
        for name in held.kept:
            if (stay := self._stays.get((worker, name))) is not None:
                stay.until = until
                self._stays.move_to_end((worker, name))
        for name in held.returned:
            self._over((worker, name))

    def beat(self) -> None:
        """Some time has passed: those of which nothing was heard come home."""
        now = self._now()
        while self._stays:
            guest, stay = next(iter(self._stays.items()))
            if stay.until > now:
                return
            self._over(guest)

    def _over(self, guest: Guest) -> None:
        """A lease is held no more."""
        if (stay := self._stays.pop(guest, None)) is None:
            return
        listening = self._listening[stay.key]
        del listening[guest]
        if not listening:
            del self._listening[stay.key]
        stay.asker.hang_up(guest[1])
        stay.lease.release()

    def overheard(self, key: PoolKey, message: IncomingMessage) -> None:
        """A server has said something of itself in a conversation's session. Never waits."""
        listening = self._listening.get(key)
        if listening is None or not isinstance(message, types.ServerNotification):
            return
        if isinstance(message, types.ProgressNotification):
            return  # it is of one call, and has reached whoever made that
        params = message.params
        said = None if params is None else params.model_dump(by_alias=True, mode="json", exclude_unset=True)
        for (_, name), stay in list(listening.items()):
            stay.asker.say(name, Notification(message.method, said))


def _teller(asker: Asker) -> ProgressFnT:
    async def tell(progress: float, total: float | None, message: str | None) -> None:
        asker.note(Progress(progress, total, message))

    return tell
