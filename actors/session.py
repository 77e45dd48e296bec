"""The session actor: one upstream session, held open by one task.

The task enters the SDK's context managers, and the same task leaves them. When a transport breaks, the SDK cancels the
task that entered it: that task is this actor's, and nobody else's. A connection that needs nobody to hold it open has
no task between its opening and its end.
"""

import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, assert_never

import anyio
from typing_extensions import override

from actors.actor import Actor, Outcome
from actors.connection import Connection, Connector, MessageHandler, Opening, innermost
from actors.effect import Effect, Failed, Succeeded
from actors.incoming import handler_of
from actors.ref import Ref
from protocol.breakers import Attempt
from protocol.errors import ConnectFailed, SystemClosed, TroupeError
from protocol.fault import Fault
from protocol.health import HealthCheck, ProbeResult, Verdict
from protocol.message import Answer, message
from protocol.pool_messages import SessionChecked, SessionGone
from protocol.settings import Probe

DROP_TIMEOUT: Final = 2.0
"""Seconds that closing a connection may take whose actor has gone, and the settings with it."""


@message
class CloseSession:
    """Close the session in good order: the server is told, within so many seconds."""

    timeout: float


@message
class CheckSession:
    """Ask the server whether the session is alive: these probes, each within so many seconds. `SessionChecked` is to
    follow.
    """

    probes: tuple[Probe, ...]
    timeout: float


@message
class SessionReady(Answer):
    """A session is open. `seconds`: how long that took."""

    number: int
    connection: Connection
    seconds: float


@message
class SessionProven(Answer):
    """The session's server has answered for the first time: the attempt has succeeded."""

    attempt: Attempt[str]


@message
class SessionFaulted(Answer):
    """A session can no longer be trusted, because of this fault. `attempt`: it has failed by that; None if it was
    proven before.
    """

    number: int
    fault: Fault
    attempt: Attempt[str] | None


SessionNews = SessionReady | SessionProven | SessionFaulted | SessionChecked | SessionGone
"""What a session actor tells its supervisor; `SessionGone` last of all."""


@message
class _Opened:
    connection: Connection
    close: anyio.Event | None


@message
class _Faulted:
    fault: Fault


@message
class _Proven:
    """The server has answered for the first time."""


@message
class _Checked:
    outcome: Outcome[bool]


@message
class _Ended:
    outcome: Outcome[None]


@message
class _LetGo:
    outcome: Outcome[None]


SessionMessage = CloseSession | CheckSession | _Opened | _Faulted | _Proven | _Checked | _Ended | _LetGo


@dataclass(slots=True, eq=False)
class Plan:
    """How a session is to be opened. Forgotten once it is.

    Attributes:
        opening: what the connector needs.
        connector: opens it.
        make_handler: makes the handler of what the server sends by itself. It is the user's: an exception of it costs
            the handler.
        since: when it began.
    """

    opening: Opening
    connector: Connector
    make_handler: Callable[[], MessageHandler | None] | None
    since: float = 0.0


class Session(Actor[SessionMessage]):
    """Opens a session as soon as it starts, and ends when the session has.

    Args:
        number: its name among those of its key.
        plan: how to open it.
        attempt: what the breakers of its endpoint know that by.
        supervisor: is told `SessionNews`.

    Attributes:
        attempt: None once it is known what came of it: the server has answered, or the session met a fault.
    """

    __slots__ = ("_close", "_closing", "_connection", "_effect", "_fault", "_plan", "_supervisor", "attempt", "number")

    def __init__(self, number: int, plan: Plan, attempt: Attempt[str], supervisor: Ref[SessionNews]) -> None:
        self.number = number
        self.attempt: Attempt[str] | None = attempt
        self._plan: Plan | None = plan
        self._supervisor = supervisor
        self._connection: Connection | None = None
        self._effect: Effect | None = None
        self._close: anyio.Event | None = None
        self._fault: Fault | None = None
        self._closing: CloseSession | None = None

    @property
    def was_open(self) -> bool:
        """Whether its handshake has succeeded."""
        return self._connection is not None

    @property
    def is_closing(self) -> bool:
        """Whether it was told to close."""
        return self._closing is not None

    @property
    def requests(self) -> int:
        """The HTTP requests that it has sent."""
        return 0 if self._connection is None else self._connection.requests

    @override
    def started(self) -> None:
        if (plan := self._plan) is not None:
            plan.since = self.now()
            plan.opening.report = self._report
            plan.opening.proven = self._proven
            self._effect = self.start(partial(self._hold, plan), then=_Ended)

    @override
    def receive(self, message: SessionMessage) -> None:  # noqa: C901, PLR0912 - a row per message
        match message:
            case _Opened(connection, close):
                self._opened(connection, close)
            case _Faulted(fault):
                # The first fault says it all; and one of a session that is not open yet matters only if it opens.
                if self._connection is not None and self._fault is None:
                    self._tell_fault(fault)
                self._fault = self._fault or fault
            case _Proven():
                self._prove()
            case CheckSession():
                self.start(partial(self._check, message), then=_Checked)
            case _Checked(outcome):
                is_healthy = isinstance(outcome, Succeeded) and outcome.value
                self._supervisor.tell(SessionChecked(self.number, is_healthy))
            case CloseSession():
                self._closing = message
                self._close_now(message)
            case _Ended(outcome):
                self._effect = None
                if self._connection is None:
                    self._end(self._why_not_opened(outcome))
                elif self._close is not None:
                    self._end(None)
                elif self._closing is not None:  # it was opened, and needs nobody to hold it
                    self._close_now(self._closing)
            case _LetGo():
                self._end(None)
            case _:
                assert_never(message)

    def _opened(self, connection: Connection, close: anyio.Event | None) -> None:
        plan, self._plan = self._plan, None
        if plan is None:
            return
        self._connection, self._close = connection, close
        self._supervisor.tell(SessionReady(self.number, connection, self.now() - plan.since))
        if connection.is_proven:
            self._prove()
        if self._fault is not None:
            self._tell_fault(self._fault)
        if self._closing is not None:
            self._close_now(self._closing)

    def _prove(self) -> None:
        """The server has answered. Whether the session opens is told otherwise, while it has not."""
        if self._connection is not None and self.attempt is not None:
            self._supervisor.tell(SessionProven(self.attempt))
            self.attempt = None

    def _tell_fault(self, fault: Fault) -> None:
        self._supervisor.tell(SessionFaulted(self.number, fault, self.attempt))
        self.attempt = None

    @override
    def stopped(self, reason: BaseException | None) -> None:
        connection = self._connection
        if connection is not None and self._close is None and self._closing is None:
            # Stopped from outside, as when its supervisor has crashed: no task holds it, so none would leave it.
            with suppress(SystemClosed):
                self.system.run_task(partial(_drop, connection))

    def _end(self, error: TroupeError | None) -> None:
        self._supervisor.tell(SessionGone(self.number, error))
        self.stop()

    def _close_now(self, closing: CloseSession) -> None:
        if self._close is not None:
            self._close.set()
        elif self._connection is None:
            if self._effect is not None:
                self._effect.cancel()
        elif self._effect is None:
            self._effect = self.start(partial(_let_go, self._connection, closing.timeout), then=_LetGo)

    async def _hold(self, plan: Plan) -> None:
        """Hold the session open until it is to be closed. The one task that enters and leaves it."""
        opening = plan.opening
        # One scope around everything, whose deadline moves: the SDK's scopes outlive the opening, and have to end
        # within it.
        with anyio.CancelScope(deadline=anyio.current_time() + opening.connect_timeout) as bound:
            if plan.make_handler is not None:
                opening.handler = handler_of(plan.make_handler, opening.upstream.address)
            opened = plan.connector(opening)
            if not isinstance(opened, AbstractAsyncContextManager):
                self.ref.tell(_Opened(await opened, None))
                return
            async with opened as connection:
                bound.deadline = math.inf
                close = anyio.Event()
                self.ref.tell(_Opened(connection, close))
                await close.wait()
                bound.deadline = anyio.current_time() + opening.settings.close_timeout

    async def _check(self, wanted: CheckSession) -> bool:
        """Whether the server says that the session is alive."""
        if self._connection is None:
            return False
        check = HealthCheck(wanted.probes)
        step = check.first()
        while not isinstance(step, Verdict):
            result = ProbeResult.SILENT
            with anyio.move_on_after(wanted.timeout):
                result = await self._connection.probe(step, wanted.timeout)
            step = check.next(result)
        return step is Verdict.HEALTHY

    def _proven(self) -> None:
        self.ref.tell(_Proven())

    def _report(self, fault: Fault) -> None:
        self.ref.tell(_Faulted(fault))

    def _why_not_opened(self, outcome: Outcome[None]) -> TroupeError:
        if self._plan is None:
            raise RuntimeError(f"{self.ref.path} has forgotten how it was to be opened before it was")
        opening = self._plan.opening
        address = opening.upstream.address
        if isinstance(outcome, Failed):
            cause = innermost(outcome.error)
            if isinstance(cause, TroupeError):
                return cause
            error = ConnectFailed(f"no session with {address} could be opened ({type(cause).__name__})", step="connect")
            error.__cause__ = cause
            return error
        if self._closing is not None:
            return ConnectFailed(f"the session with {address} was closed before it was open", step="connect")
        limit = opening.connect_timeout
        return ConnectFailed(
            f"no session with {address} could be opened within {limit} s (connect_timeout)", step="connect"
        )


async def _let_go(connection: Connection, timeout: float) -> None:
    with anyio.move_on_after(timeout):
        await connection.close()


async def _drop(connection: Connection) -> None:
    with suppress(Exception):  # there is nobody left to be told
        await _let_go(connection, DROP_TIMEOUT)
