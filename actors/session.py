"""The session actor: one upstream session, held open by one task.

The task enters the SDK's context managers, and the same task leaves them. When a transport breaks, the SDK cancels the
task that entered it: that task is this actor's, and nobody else's.
"""

import math
from collections.abc import Mapping
from typing import assert_never

import anyio
from typing_extensions import override

from actors.actor import Actor, Outcome
from actors.connection import Connection, Connector, innermost
from actors.effect import Effect, Failed
from actors.ref import Ref
from protocol.errors import ConnectFailed, TroupeError
from protocol.fault import Fault
from protocol.message import message
from protocol.pool import SessionBroke, SessionGone, SessionOpened
from protocol.settings import PoolSettings, Upstream


@message
class CloseSession:
    """Close the session in good order: the server is told, within `close_timeout`."""


@message
class _Opened:
    connection: Connection


@message
class _Faulted:
    """The session can no longer be trusted. Which fault it was, the call that met it is told."""


@message
class _Ended:
    outcome: Outcome[None]


SessionMessage = CloseSession | _Opened | _Faulted | _Ended


class Session(Actor[SessionMessage]):
    """Opens a session as soon as it starts, and ends when the session has.

    Tells its supervisor `SessionOpened`, `SessionBroke` if the session can no longer be trusted, and last of all
    `SessionGone`.

    Attributes:
        connection: the open session; None before it opened.
    """

    __slots__ = (
        "_broken",
        "_close",
        "_connector",
        "_effect",
        "_headers",
        "_number",
        "_settings",
        "_supervisor",
        "_upstream",
        "connection",
    )

    def __init__(
        self,
        number: int,
        *,
        upstream: Upstream,
        headers: Mapping[str, str],
        settings: PoolSettings,
        connector: Connector,
        supervisor: Ref[SessionOpened | SessionBroke | SessionGone],
    ) -> None:
        self._number = number
        self._upstream = upstream
        self._headers = headers
        self._settings = settings
        self._connector = connector
        self._supervisor = supervisor
        self._close = anyio.Event()
        self._broken = False
        self._effect: Effect | None = None
        self.connection: Connection | None = None

    @override
    def started(self) -> None:
        self._effect = self.start(self._hold, then=_Ended)

    @override
    def receive(self, message: SessionMessage) -> None:
        match message:
            case _Opened(connection):
                self.connection = connection
                self._supervisor.tell(SessionOpened(self._number))
                if self._broken:
                    self._supervisor.tell(SessionBroke(self._number))
            case _Faulted():
                # The first fault says it all; and one of a session that is not open yet matters only if it opens.
                if self.connection is not None and not self._broken:
                    self._supervisor.tell(SessionBroke(self._number))
                self._broken = True
            case CloseSession():
                self._close.set()
                if self.connection is None and self._effect is not None:
                    self._effect.cancel()
            case _Ended(outcome):
                error = None if self.connection is not None else self._why_not_opened(outcome)
                self._supervisor.tell(SessionGone(self._number, error))
                self.stop()
            case _:
                assert_never(message)

    async def _hold(self) -> None:
        """Hold the session open until it is to be closed. The one task that enters and leaves it."""
        settings = self._settings
        # One scope around everything, whose deadline moves: the SDK's scopes outlive the opening, and have to end
        # within it.
        with anyio.CancelScope(deadline=self.now() + settings.connect_timeout) as bound:
            async with self._connector(self._upstream, self._headers, settings, self._report) as connection:
                bound.deadline = math.inf
                self.ref.tell(_Opened(connection))
                await self._close.wait()
                bound.deadline = self.now() + settings.close_timeout

    def _report(self, _: Fault) -> None:
        self.ref.tell(_Faulted())

    def _why_not_opened(self, outcome: Outcome[None]) -> TroupeError:
        address = self._upstream.address
        if isinstance(outcome, Failed):
            cause = innermost(outcome.error)
            if isinstance(cause, TroupeError):
                return cause
            error = ConnectFailed(f"no session with {address} could be opened ({type(cause).__name__})", step="connect")
            error.__cause__ = cause
            return error
        if self._close.is_set():
            return ConnectFailed(f"the session with {address} was closed before it was open", step="connect")
        limit = self._settings.connect_timeout
        return ConnectFailed(
            f"no session with {address} could be opened within {limit} s (connect_timeout)", step="connect"
        )
