"""The pool supervisor: one per pool key, owner of the key's sessions and waiters.

It has no policy of its own. Every message becomes an event of the pool machine (`protocol.pool`), and what the machine
answers is done: sessions are started and closed, waiting callers answered.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import assert_never, cast

from typing_extensions import override

from actors.actor import Actor, Signal
from actors.connection import Connector
from actors.lease import Lease
from actors.ref import Ref, Terminated
from actors.reply import AskerGone, Reply, Unclaimed
from actors.session import CloseSession, Session
from protocol import pool
from protocol.errors import ConnectFailed, IllegalTransition
from protocol.keys import PoolKey
from protocol.message import Request, message
from protocol.settings import PoolSettings, Upstream


@message
class Acquire(Request[Lease]):
    """Ask for a session, to be used with these headers. Answered with a lease, or with what stands in the way."""

    key: PoolKey
    upstream: Upstream
    headers: Mapping[str, str] = field(repr=False)  # they hold credentials, and a dead letter is shown


@message
class KeyStats:
    """The figures of one pool key.

    Attributes:
        name: the key, as it may be shown.
        counts: its sessions by state, its waiters, permits and counters.
        http_requests: the HTTP requests that its sessions have sent.
    """

    name: str
    counts: pool.PoolCounts
    http_requests: int


SupervisorMessage = (
    Acquire
    | pool.Shut
    | pool.Release
    | pool.CallsEnded
    | pool.CallsOverdue
    | pool.SessionOpened
    | pool.SessionBroke
    | pool.SessionGone
)


class PoolSupervisor(Actor[SupervisorMessage]):
    """Owns the sessions of one pool key."""

    __slots__ = ("_connector", "_ended_requests", "_key", "_machine", "_sessions", "_settings")

    def __init__(self, key: PoolKey, settings: PoolSettings, connector: Connector) -> None:
        self._key = key
        self._settings = settings
        self._connector = connector
        self._machine = pool.PoolMachine[Reply[Lease]](
            key.name, max_size=settings.max_size, max_waiting=settings.max_waiting
        )
        self._sessions: dict[int, tuple[Session, Ref[CloseSession]]] = {}
        self._ended_requests = 0

    @override
    def receive(self, message: SupervisorMessage) -> None:
        match message:
            case Acquire():
                self._handle(pool.Acquire(self.keep_reply()))
            case pool.SessionGone():
                if (known := self._sessions.pop(message.session, None)) is not None:
                    self._ended_requests += _requests(known[0])
                    self._handle(message)
            case _:
                self._handle(message)

    @override
    def signal(self, signal: Signal) -> None:
        match signal:
            case AskerGone(reply):
                self._handle(pool.Withdraw(reply))
            case Unclaimed(_, Lease() as lease):
                lease.release()
            case Terminated(ref, reason):
                self._session_ended(ref, reason)
            case _:
                pass

    def stats(self) -> KeyStats:
        """The key's figures as they are now."""
        requests = self._ended_requests + sum(_requests(session) for session, _ in self._sessions.values())
        return KeyStats(self._key.name, self._machine.counts(now=self.now()), requests)

    def _handle(self, event: pool.PoolEvent[Reply[Lease]]) -> None:
        for effect in self._machine.handle(event, now=self._cell.system.now()):
            match effect:
                case pool.Grant():  # bound here rather than in the pattern, which takes twice as long
                    self._grant(effect.ticket, effect.session, effect.lease)
                case pool.Refuse(ticket, error):
                    ticket.fail(error)
                case pool.Open(session, ticket):
                    self._open(session, ticket)
                case pool.Close(session):
                    self._sessions[session][1].tell(CloseSession())
                case pool.AwaitCalls(lease):
                    self.after(self._settings.settle_timeout, pool.CallsOverdue(lease))
                case pool.Finished():
                    self.stop()
                case _:
                    assert_never(effect)

    def describe(self) -> str:
        """The key's pool and its state, for errors."""
        return self._machine.describe()

    def _grant(self, reply: Reply[Lease], session: int, lease: int) -> None:
        connection = self._sessions[session][0].connection
        if connection is None:
            raise IllegalTransition(f"session {session} of {self._key.name} was lent before it was open")
        reply.answer(Lease(connection, self.ref, lease))

    def _open(self, number: int, reply: Reply[Lease]) -> None:
        wanted = cast("Acquire", reply.request)
        session = Session(
            number,
            upstream=wanted.upstream,
            headers=wanted.headers,
            settings=self._settings,
            connector=self._connector,
            supervisor=self.ref,
        )
        ref = self.spawn(session, name=f"session-{number}")
        self._sessions[number] = (session, ref)
        self.watch(ref)

    def _session_ended(self, ref: Ref[object], reason: BaseException | None) -> None:
        """A session actor has ended. One that crashed did not say so itself, and its permit comes home here."""
        for number, (_, known) in self._sessions.items():
            if known is ref:
                error = ConnectFailed(f"a session with {self._key.name} crashed: please report this", step="connect")
                error.__cause__ = reason
                self.receive(pool.SessionGone(number, error))
                return


def _requests(session: Session) -> int:
    return 0 if session.connection is None else session.connection.requests
