"""One session of a fake server: the connection that the pool sees, and the client that its borrowers see."""

import math
from typing import TYPE_CHECKING, Any, cast

import anyio
from mcp import Client, MCPError
from mcp.shared.dispatcher import ProgressFnT
from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT, CallToolResult
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from typing_extensions import override

from actors.connection import Connection, Opening
from actors.exchange import current_exchange
from actors.testing.trouble import Trouble
from protocol.fault import Fault, FaultKind
from protocol.health import ProbeResult
from protocol.raw_request import RawRequest

if TYPE_CHECKING:
    from actors.testing.fake_upstream import FakeUpstream
    from actors.testing.ledger import Attempt
    from protocol.settings import Probe


class Ill(Exception):
    """The server did not answer as it should."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.detail)
        self.fault = fault


class FakeSession:
    """A session with a `FakeUpstream`, from the first packet to the last.

    Attributes:
        number: its name at its server, from 1.
        opening: what it was opened with.
        is_stateful: whether its server keeps state in it.
        is_open: whether its handshake has succeeded.
        connection: what the pool has of it.
        attempt, leases, places, credentials_end: what the ledger knows of who has it.
        reported_at, closing_at, ended_at: when the pool was told that it is sick, began to close it, and had done so.
    """

    def __init__(self, upstream: "FakeUpstream", number: int, opening: Opening) -> None:
        self.upstream = upstream
        self.number = number
        self.opening = opening
        self.is_stateful = upstream.is_stateful
        self.is_open = False
        self.connection = FakeConnection(opening.upstream.address, self)
        self.attempt: Attempt | None = None
        self.leases: dict[Attempt, None] = {}
        self.places = math.inf
        self.credentials_end = math.inf
        self.reported_at = self.closing_at = self.ended_at = math.inf
        self._troubles: dict[Trouble, None] = {}
        self._broke = anyio.Event()

    def __str__(self) -> str:
        return f"session {self.number} of {self.opening.upstream.address}"

    def strike(self, trouble: Trouble) -> bool:
        """This befalls it now. Whether it does: one that has ended is spared."""
        if self.ended_at != math.inf or (trouble is Trouble.LOSE and not self.is_stateful):
            return False
        self.upstream.ledger.struck(self, trouble.value)
        self._troubles[trouble] = None
        if trouble is Trouble.BREAK:
            self._broke.set()
            self._report(Fault(FaultKind.INTERRUPTED, "event stream", "it broke"))
        return True

    async def open(self) -> Connection:
        """Shake hands.

        Raises:
            ConnectFailed: that has failed.
        """
        try:
            await self._answer(self.upstream.draw(self.upstream.opening), "initialize")
        except Ill as ill:
            raise ill.fault.for_connect(self.opening.upstream.address) from None
        self.is_open = True
        self.upstream.ledger.struck(self, "open")
        return self.connection

    async def call(self, step: str) -> None:
        """Answer one request.

        Raises:
            Ill: there is no proper answer.
        """
        try:
            await self._answer(self.upstream.draw(self.upstream.calling), step)
        except Ill as ill:
            if ill.fault.ends_session:
                self._report(ill.fault)
            raise

    async def close(self) -> None:
        """Be closed in good order.

        Raises:
            ConnectionError: the connection broke meanwhile.
        """
        self.closing_at = self.upstream.ledger.now()
        self.upstream.ledger.struck(self, "closing")
        try:
            await self._answer(self.upstream.draw(self.upstream.closing), "close")
        except Ill as ill:
            if ill.fault.kind is FaultKind.INTERRUPTED:
                raise ConnectionResetError(ill.fault.detail) from None

    async def fall(self) -> None:
        """Raise when the connection breaks, as the task does that reads from it."""
        await self._broke.wait()
        await anyio.sleep(self.upstream.draw(self.upstream.closing))
        raise ConnectionResetError("it broke")

    def end(self) -> None:
        """Nothing is left of it."""
        if self.ended_at == math.inf:
            self.ended_at = self.upstream.ledger.now()
            self._broke.set()
            self.upstream.ledger.ended(self)

    async def _answer(self, seconds: float, step: str) -> None:
        """Let so much time pass before an answer, if there is one.

        Raises:
            Ill: there is one, and it is not what it should be.
        """
        self.upstream.tempt(self)
        with anyio.move_on_after(seconds):
            await self._broke.wait()
        if Trouble.HANG in self._troubles:
            await self._broke.wait()
        if self._broke.is_set() or self.upstream.is_down:
            kind = FaultKind.INTERRUPTED if self.is_open else FaultKind.UNREACHABLE
            raise Ill(Fault(kind, step, "it broke"))
        if Trouble.LOSE in self._troubles:
            raise Ill(Fault(FaultKind.TERMINATED, step, "it is unknown", status=404))
        if Trouble.REFUSE in self._troubles:
            del self._troubles[Trouble.REFUSE]
            raise Ill(Fault(FaultKind.REFUSED, step, "HTTP 401", status=401))

    def _report(self, fault: Fault) -> None:
        if self.is_open and self.ended_at == math.inf:
            self.reported_at = min(self.reported_at, self.upstream.ledger.now())
            self.opening.report(fault)


class FakeConnection(Connection):
    """What the pool has of a fake session."""

    __slots__ = ("session",)

    def __init__(self, address: str, session: FakeSession) -> None:
        super().__init__(address, cast("Client", FakeClient(session)), is_stateful=session.is_stateful)
        self.session = session

    @override
    async def probe(self, name: "Probe", timeout: float) -> ProbeResult:
        with anyio.move_on_after(timeout):
            try:
                await self.session.call(name)
            except Ill:
                return ProbeResult.DEAD
            return ProbeResult.HEALTHY
        return ProbeResult.SILENT

    @override
    def introduction(self) -> dict[str, Any]:
        return introduced(self.protocol_version, is_stateful=self.is_stateful)

    @override
    async def request(
        self, request: RawRequest, timeout: float | None, on_progress: ProgressFnT | None = None
    ) -> dict[str, Any]:
        await _ask(self.session, request.method, timeout)
        return {}

    @override
    async def close(self) -> None:
        try:
            await self.session.close()
        except ConnectionError:
            pass
        finally:
            self.session.end()


class FakeClient:
    """Stands for the SDK's client. Every tool that is called takes its time, and answers nothing.

    Attributes:
        session: the session beneath. A lease's `client.session` is this, too.
    """

    def __init__(self, session: FakeSession) -> None:
        self.session = session
        self.protocol_version = "2025-11-25" if session.is_stateful else "2026-07-28"

    async def call_tool(
        self,
        name: str,
        arguments: dict[str, Any] | None = None,
        read_timeout_seconds: float | None = None,
        *_: object,
        **__: object,
    ) -> CallToolResult:
        """Call a tool. Errors are those of the SDK's client, and what they mean the lease finds out."""
        del name, arguments
        await _ask(self.session, "tools/call", read_timeout_seconds)
        return CallToolResult(content=[])


def introduced(version: str, *, is_stateful: bool) -> dict[str, Any]:
    """What a connection to a server that is not there says of it; see `Connection.introduction`."""
    said: dict[str, Any]
    if version in HANDSHAKE_PROTOCOL_VERSIONS:
        name = {"name": "fake", "version": "0"}
        said = {"protocolVersion": version, "capabilities": {}, "serverInfo": name}
    else:
        said = {"supportedVersions": [version], "capabilities": {}, "resultType": "complete", "ttlMs": 0}
        said["cacheScope"] = "private"
    return {"protocolVersion": version, "isStateful": is_stateful, "said": said}


async def _ask(session: FakeSession, method: str, timeout: float | None) -> None:
    """Make a request, which fails as one of the SDK's client would."""
    seconds = timeout or session.opening.call_timeout
    with anyio.move_on_after(seconds):
        try:
            await session.call(method)
        except Ill as ill:
            if (exchange := current_exchange.get()) is not None:
                exchange.fault = ill.fault
            raise MCPError(CONNECTION_CLOSED, "Connection closed") from None
        return
    raise MCPError(REQUEST_TIMEOUT, f"{method} was not answered within {seconds} s")
