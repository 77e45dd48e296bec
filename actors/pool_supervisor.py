"""The pool supervisor: one per pool key, owner of the key's sessions and waiters.

It has no policy of its own. Every message becomes an event of the pool machine (`protocol.pool`), and what the machine
answers is done: sessions are started, checked and closed, waiting callers answered, permits asked of the registry. What
the registry has to know of the key's server it is told (`actors.key_reports`).
"""

from collections.abc import Sequence
from typing import Final, assert_never, cast

from typing_extensions import override

from actors import key_reports as report
from actors.acquire import PLAIN, Acquire, KeyEnded
from actors.actor import Actor, Signal
from actors.backstage import Backstage
from actors.connection import Connection, Learnt
from actors.key_events import (
    tell_created,
    tell_ended,
    tell_held_long,
    tell_leased,
    tell_opening_failed,
    tell_released,
    tell_retired,
)
from actors.key_statistics import NO_LEASES, KeyStats
from actors.lease import CallRefused, Lease
from actors.openings import plan_of
from actors.ref import Ref, Terminated
from actors.reply import AskerGone, Reply, Unclaimed, Unheard
from actors.session import CheckSession, CloseSession, Session, SessionFaulted, SessionProven, SessionReady
from actors.supervisor_messages import EndKey, NeverAsked, ReportIdle, SupervisorMessage
from actors.timer import Timer
from protocol import pool_messages as pool
from protocol.breakers import Attempt
from protocol.errors import ConnectFailed, ConversationEnded, SessionStateLost
from protocol.fault import FaultKind
from protocol.histogram import AGES, HistogramSnapshot
from protocol.loan import Loan
from protocol.pool import PoolMachine
from protocol.settings import Upstream

BEFORE_IDLE_AGAIN: Final = 0.1
"""Seconds after which a key that was to end, and could not, says that it has an idle session all the same."""
BETWEEN_IDLE_REPORTS: Final = 1.0
"""Seconds from one report of an idle session to the next, so that a hit costs the registry nothing."""


Effects = Sequence[pool.PoolEffect[Reply[Lease]]]


class PoolSupervisor(Actor[SupervisorMessage]):
    """Owns the sessions of one pool key.

    Attributes:
        key: which one.
    """

    __slots__ = (
        "_backstage",
        "_credential",
        "_headers",
        "_is_over",
        "_is_shut",
        "_learnt",
        "_machine",
        "_past_requests",
        "_registry",
        "_report_idle_at",
        "_sessions",
        "_timer",
        "_upstream",
        "key",
    )

    def __init__(
        self,
        first: Acquire,
        backstage: Backstage,
        registry: Ref[report.KeyReport],
        *,
        is_lost: bool = False,
        is_presumed: bool = False,
    ) -> None:
        self.key = first.key
        # Of whoever asked last: spare sessions are opened with these.
        self._upstream = first.upstream
        self._headers = first.caller.headers
        # Theirs, for spare sessions, where the key stands for more than one; None: the key's own.
        self._credential: str | None = None
        self._backstage = backstage
        self._registry = registry
        self._sessions: list[Session] = []
        self._learnt: Learnt | None = None
        self._timer: Timer | None = None
        self._past_requests = 0
        self._report_idle_at = 0.0
        self._is_shut = self._is_over = False
        # Made here and not in the first turn, which may come after somebody has read the figures. And not
        # `PoolMachine[…](…)`, which tries to note its type on each object.
        self._machine: PoolMachine[Reply[Lease]] = PoolMachine(
            self.key,
            backstage.settings,
            places=_places(first.upstream),
            is_sticky=self.key.is_sticky,
            demand=backstage.demand,
            key=self,  # as the registry counts permits
            is_lost=is_lost,
            is_presumed=is_presumed,
        )

    @override
    def receive(self, message: SupervisorMessage) -> None:  # noqa: C901, PLR0912, PLR0915 - a row per message
        match message:
            case Acquire():
                # A hit, and below its release, without a call more than they need.
                if message.upstream is not self._upstream:
                    self._reach(message.upstream)
                self._headers = message.caller.headers
                if self._credential is not None:
                    self._credential = message.caller.credential
                now = self._cell.system.now()
                loan = self._machine.lend(now, message.expires_at)
                if loan is None:
                    self._wait(message, now)
                else:
                    self.reply(self._lease(loan, message, 0.0, now))
            case pool.Release():
                now = self._cell.system.now()
                if self._backstage.events.is_heard:
                    tell_released(self._backstage, self.key.name, message.loan, now)
                machine = self._machine
                effects = machine.handle(message, now=now) if message.busy else machine.release(message.loan, now)
                if effects:
                    self._perform(effects, now)
                if now >= self._report_idle_at:
                    self._report_idle(now)
            case SessionReady():
                self._session_ready(message)
            case SessionProven(attempt):
                self._registry.tell(report.EndpointAnswered(self, attempt))
            case SessionFaulted(number, fault, attempt):
                if attempt is None:
                    self._registry.tell(report.SessionFailed(self, fault, self._machine.opened_at(number)))
                else:
                    self._registry.tell(report.OpeningFailed(self, attempt, fault.for_connect(self.endpoint)))
                self._handle(pool.SessionBroke(number, fault.kind is FaultKind.TERMINATED))
            case pool.SessionChecked(_, is_healthy):
                self._backstage.tally.health_failures += not is_healthy
                self._handle(message)
            case pool.SessionGone():
                self._session_gone(message)
            case pool.CallsEnded():
                self._calls_ended(message)
            case pool.Abandoned():
                self._backstage.tally.leases_abandoned += 1
                self._handle(message)
            case CallRefused(credential, retry_after):
                name = self.key.credential_name(credential)
                self._registry.tell(report.CredentialRefused(self, name, retry_after))
            case EndKey():
                self._is_over = True
                self._handle(pool.Shut())
            case pool.Tick():
                self._timer = None
                self._handle(message)
            case ReportIdle():
                self._report_idle(self.now())
            case NeverAsked():
                if self._machine.is_unused and not self._machine.misses:
                    self._handle(pool.Evict())
            case pool.MakeRoom():
                self._make_room(message)
            case pool.Drain():  # new credentials, maybe: what the server answered under the old ones is not theirs
                self._learnt = None
                self._handle(message)
            case pool.Shut():
                self._is_shut = True
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
            case Unheard(_, SessionStateLost()):
                self._handle(pool.Untold())
            case Terminated(ref, reason):
                self._session_crashed(ref, reason)
            case _:
                pass

    # --- what can be seen

    @property
    def endpoint(self) -> str:
        """Its server, as it may be shown."""
        return self._upstream.address

    def stats(self) -> KeyStats:
        """The key's figures as they are now."""
        machine, now = self._machine, self.now()
        ages = [now - loan.since for loan in machine.loans]
        return KeyStats(
            self.key.name,
            machine.counts(now=now),
            http_requests=self._past_requests + sum(session.requests for session in self._sessions),
            uses=machine.all_uses,
            leases=HistogramSnapshot.of(ages, AGES) if ages else NO_LEASES,
            stateful=machine.is_stateful,
        )

    @property
    def owes_loss(self) -> bool:
        """Whether a conversation is to be told that its state is lost, if the key ends as it is now."""
        return self._machine.owes_loss

    def describe(self) -> str:
        """The key's pool and its state, for errors."""
        return self._machine.describe()

    # --- callers

    def _wait(self, message: Acquire, now: float) -> None:
        """Nothing can be lent at once."""
        if message.caller.credential != self.key.identity and not self.key.is_sticky:  # which keeps no spares
            self._credential = message.caller.credential
        if self._machine.is_ending and not self._is_shut:
            self.keep_reply().fail(KeyEnded(f"{self.describe()} is ending: ask its registry for another one"))
        else:
            self._perform(self._machine.handle(pool.Acquire(self.keep_reply(), message.expires_at), now=now), now)

    def _credential_for(self, ticket: Reply[Lease] | None) -> str:
        """The credential that a session is opened with: the waiter's; for a spare one that of whoever asked last."""
        if ticket is not None:
            return cast("Acquire", ticket.request).caller.credential
        return self.key.identity if self._credential is None else self._credential

    def _ended(self) -> ConversationEnded:
        return ConversationEnded(f"{self.describe()}: this conversation was ended while its caller waited")

    def _reach(self, upstream: Upstream) -> None:
        """The upstream is given anew. If the server is reached in another way from now on, sessions are replaced."""
        before, self._upstream = self._upstream, upstream
        if upstream.connection != before.connection:
            self._learnt = None
            self._handle(pool.Share(_places(upstream)))
            self._handle(pool.Drain())

    def _lease(self, loan: Loan, wanted: Acquire, waited: float, now: float) -> Lease:
        connection: Connection = loan.session.note
        loan.note = wanted.origin
        if connection.guard is not None:
            connection.guard.headers = wanted.caller.headers
        if self._backstage.events.is_heard:
            tell_leased(self._backstage, self.key.name, loan, waited, now)
        return Lease(connection, self._cell, loan, wanted)

    def _calls_ended(self, message: pool.CallsEnded) -> None:
        if isinstance(message.loan.note, Timer):
            message.loan.note.cancel()
        self._handle(message)
        self._report_idle(self.now())

    def _make_room(self, message: pool.MakeRoom) -> None:
        self._handle(message)
        self._report_idle_at = self.now()  # what was reported is used up
        self._report_idle(self._report_idle_at)

    def _report_idle(self, now: float) -> None:
        if self._machine.has_idle:
            self._report_idle_at = now + BETWEEN_IDLE_REPORTS
            self._registry.tell(report.SessionIdled(self))

    # --- what the machine wants done

    def _handle(self, event: pool.PoolEvent[Reply[Lease]]) -> None:
        now = self._cell.system.now()
        self._perform(self._machine.handle(event, now=now), now)

    def _perform(self, effects: Effects, now: float) -> None:  # noqa: C901, PLR0912 - a row per effect
        settings = self._backstage.settings
        for effect in effects:
            match effect:
                case pool.Grant(reply, _, loan, waited):
                    self._backstage.tally.waits.record(waited)
                    reply.answer(self._lease(loan, cast("Acquire", reply.request), waited, now))
                case pool.Refuse(reply, error):
                    reply.fail(self._ended() if self._is_over else error)
                case pool.AwaitCalls(loan):
                    loan.note = self.after(settings.settle_timeout, pool.CallsOverdue(loan))
                case pool.Reserve(ticket):
                    name = self.key.credential_name(self._credential_for(ticket))
                    self._registry.tell(report.PermitWanted(self, ticket, name))
                case pool.Unreserve():
                    self._registry.tell(report.PermitUnwanted(self))
                case pool.Return(attempt):
                    self._report_idle_at = now  # what ended may be what was reported
                    self._registry.tell(report.PermitReturned(self, cast("Attempt[str] | None", attempt)))
                case pool.Open(number, ticket, attempt):
                    self._open(number, ticket, cast("Attempt[str]", attempt))
                case pool.Check(number):
                    self._check(number)
                case pool.Close(number, reason):
                    tell_retired(self._backstage, self.key.name, number, reason, now)
                    self._session(number).ref.tell(CloseSession(settings.close_timeout))
                case pool.Yielded():
                    self._registry.tell(report.SessionYielded(self))
                case pool.Occupied(was_to_end):
                    self._report_idle_at = now
                    self._registry.tell(report.NothingIdle(self, was_to_end))
                    if was_to_end:  # it may still have a session to spare; not at once, lest it be asked again
                        self.after(BEFORE_IDLE_AGAIN, ReportIdle())
                case pool.HeldLong(loan):
                    if not isinstance(loan.note, Timer):  # then nobody holds it: it is its calls that are waited for
                        tell_held_long(self._backstage, self.key.name, self.endpoint, loan, now)
                case pool.Wake(at):
                    if self._timer is not None:
                        self._timer.cancel()
                    self._timer = self.after(at - now, pool.Tick())
                case pool.Leaving():
                    self._registry.tell(report.KeyLeaves(self))
                case pool.Finished():
                    self.stop()
                case _:
                    assert_never(effect)

    # --- sessions

    def _session(self, number: int) -> Session:
        return next(session for session in self._sessions if session.number == number)

    def _open(self, number: int, ticket: Reply[Lease] | None, attempt: Attempt[str]) -> None:
        """Open a session for whoever wants it; None: a spare one."""
        wanted = None if ticket is None else cast("Acquire", ticket.request)
        self._learnt = self._learnt or Learnt()
        plan = plan_of(
            self._backstage,
            self.key,
            upstream=self._upstream,  # as it was given last: also for those who wait since before
            headers=self._headers if wanted is None else wanted.caller.headers,
            terms=PLAIN if wanted is None else wanted.terms,
            learnt=self._learnt,
        )
        if (name := self.key.credential_name(self._credential_for(ticket))) != attempt.identity:
            by = Attempt(attempt.endpoint, name, attempt.endpoint_probe)
            self._registry.tell(report.AttemptPassedOn(self, attempt, by))
            attempt = by
        session = Session(number, plan, attempt, self.ref)
        self._sessions.append(session)
        self.watch(self.spawn(session))

    def _session_ready(self, ready: SessionReady) -> None:
        now = self._cell.system.now()
        tell_created(self._backstage, self.key.name, ready.number, ready.seconds, now)
        connection = ready.connection
        opened = pool.SessionOpened(ready.number, connection.is_stateful, self.random.random(), connection)
        self._perform(self._machine.handle(opened, now=now), now)
        self._report_idle(now)
        attempt = self._session(ready.number).attempt
        if attempt is not None and attempt.is_probe and not connection.is_proven:
            # A breaker refuses everybody else until something is heard of the server, and whoever has this session may
            # ask it nothing.
            self._check(ready.number)

    def _check(self, number: int) -> None:
        settings = self._backstage.settings
        self._backstage.tally.checks += 1
        self._session(number).ref.tell(CheckSession(settings.health_probes, settings.health_timeout))

    def _session_gone(self, gone: pool.SessionGone) -> None:
        session = next((known for known in self._sessions if known.number == gone.session), None)
        if session is None:
            return
        self._sessions.remove(session)
        self._past_requests += session.requests
        now = self._cell.system.now()
        uses = self._machine.uses(gone.session)
        if session.attempt is not None:  # whether it was open or not, nothing was heard of its server
            is_given_up = session.was_open or session.is_closing
            self._registry.tell(report.OpeningFailed(self, session.attempt, None if is_given_up else gone.error))
        if session.was_open:
            tell_ended(self._backstage, self.key.name, gone.session, uses, now)
        elif not session.is_closing:
            tell_opening_failed(self._backstage, self.key.name, gone, now)
        self._perform(self._machine.handle(gone, now=now), now)

    def _session_crashed(self, ref: Ref[object], reason: BaseException | None) -> None:
        """A session actor has ended. One that crashed did not say so itself, and its permit comes home here."""
        for session in self._sessions:
            if session.ref is ref:
                error = ConnectFailed(f"a session with {self.key.name} crashed: please report this", step="connect")
                error.__cause__ = reason
                self.receive(pool.SessionGone(session.number, error))
                return


def _places(upstream: Upstream) -> int | None:
    """How many leases a session may have at once; None goes by what the server is."""
    return 1 if upstream.sharing == "exclusive" else upstream.sharing
