"""What a pool key has learnt about its server, and what one of its sessions recalls of that.

A session of a key that knows its server needs one HTTP request for its first call where sessions keep no state: the
protocol's revision is taken as agreed on, and the tools' schemas come from the last listing. In the handshake era it
saves the `server/discover` that asks for the era, and the `tools/list` after the first call.

What was learnt may have become wrong. So a session that recalls it negotiates anew when the server says so, and lists
the tools anew when an answer does not fit them.
"""

import copy
import json
import math
from collections.abc import Callable
from typing import Any, Final, cast

import anyio
import mcp_types as types
from mcp import Client, MCPError
from mcp.client import CacheConfig, CacheEntry, CacheKey, ClientSession
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_MODERN_VERSION, MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from actors.answers import Answers
from actors.envelope import Envelope
from actors.exchange import Exchange
from protocol.fault import Fault, FaultKind


class Learnt:
    """What a pool key has learnt about its server, for its next session. Filled and read by the connector.

    Attributes:
        discovery: what the server said of itself, where sessions keep no state.
        shakes_hands: whether the server is of the handshake era; None if that is not known.
        schemas: its tools, as last listed.
    """

    __slots__ = ("_answers", "discovery", "schemas", "shakes_hands")

    def __init__(self) -> None:
        self.discovery: types.DiscoverResult | None = None
        self.shakes_hands: bool | None = None
        self.schemas: types.ListToolsResult | None = None
        self._answers: Answers | None = None

    @property
    def answers(self) -> Answers:
        """The responses that the server lets its clients keep for a while (2026-07-28, Caching). Of this key only."""
        if self._answers is None:
            self._answers = Answers()
        return self._answers

    def forget(self) -> None:
        """The server is not what it was."""
        self.discovery = self.shakes_hands = self.schemas = self._answers = None

    def keep(self, session: ClientSession) -> None:
        """Note what this session agreed on with the server."""
        self.discovery = session.discover_result
        self.shakes_hands = session.initialize_result is not None


class Recollection:
    """What one session recalls: its response cache, which is its key's, and how it makes up for what is out of date.

    Args:
        learnt: the key's.
        report: told when the session is not to be lent again.

    Attributes:
        is_recalled: whether the era was taken as agreed on, and not asked for.
        is_confirmed: whether the server has answered in that era since.
        has_seeds: whether the tools' schemas are those of an earlier session.
    """

    def __init__(self, learnt: Learnt, report: Callable[[Fault], None]) -> None:
        self.learnt = learnt
        self.is_recalled = False
        self.is_confirmed = False
        self.has_seeds = False
        self._report = report
        self._is_seeding = False
        self._negotiating = anyio.Lock()
        self._negotiated = 0

    def mode(self, asked: str) -> str:
        """How to agree on the era: as asked, or as it is known."""
        if asked == "auto" and self.learnt.shakes_hands:
            return "legacy"
        discovery = self.learnt.discovery
        known = [v for v in MODERN_PROTOCOL_VERSIONS if discovery is not None and v in discovery.supported_versions]
        return known[-1] if asked == "auto" and known else asked

    def cache(self, address: str) -> CacheConfig:
        """The response cache, as the SDK's client wants it."""
        return CacheConfig(store=self, partition="pool key", target_id=address)

    async def seed(self, client: Client) -> None:
        """Give the session the tools that an earlier one has listed. Sends nothing."""
        if self.learnt.schemas is None:
            return
        self._is_seeding = self.has_seeds = True
        try:
            await client.list_tools()
        finally:
            self._is_seeding = False

    def answered(self, envelope: Envelope, result: dict[str, Any]) -> None:
        """The server has answered a request. What it said of itself is kept."""
        self.is_confirmed = True
        try:
            if envelope.method == "tools/list" and envelope.is_whole_list:
                # The one who asked may be given this very result, and change it; here and below.
                self.learnt.schemas = types.ListToolsResult.model_validate(copy.deepcopy(result), by_name=False)
            elif envelope.method == "server/discover" and self.learnt.discovery is not None:
                self.learnt.discovery = types.DiscoverResult.model_validate(copy.deepcopy(result), by_name=False)
        except ValidationError:
            pass  # whoever asked is told

    def noticed(self, message: object) -> None:
        """The server has said something of itself."""
        if isinstance(message, types.ToolListChangedNotification):
            self.learnt.schemas = None

    # --- when it is out of date

    @property
    def negotiated(self) -> int:
        """How often the era was agreed on anew."""
        return self._negotiated

    def doubts(self, error: MCPError, exchange: Exchange) -> bool:
        """Whether this error says that the server no longer speaks what was recalled. If so, the call has not run."""
        if not self.is_recalled:
            return False
        if error.code == types.UNSUPPORTED_PROTOCOL_VERSION:
            return True
        if self.is_confirmed:
            return False
        return exchange.status in NOT_UNDERSTOOD or error.code in (types.INVALID_REQUEST, types.METHOD_NOT_FOUND)

    async def negotiate(self, client: Client, known: int) -> bool:
        """Agree on the era anew, unless another call has since `known`; answer whether that was possible.

        If the server has come to keep state in its sessions, this one is not lent again: it may have been lent to
        several already.
        """
        async with self._negotiating:
            if self._negotiated != known:
                return True
            self.learnt.forget()
            session = client.session
            try:
                found = types.DiscoverResult.model_validate(await session.send_discover(LATEST_MODERN_VERSION))
                session.adopt(found)  # raises RuntimeError if there is no revision that both speak
            except (MCPError, ValidationError, RuntimeError):
                try:
                    await session.initialize()
                except (MCPError, ValidationError, RuntimeError):
                    return False
            self._negotiated += 1
            self.is_confirmed = True
            self.learnt.keep(session)
            if session.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS:
                self.is_recalled = False
                self._report(Fault(FaultKind.TERMINATED, "handshake", "the server keeps state in its sessions now"))
            return True

    async def validate_anew(self, client: Client, error: RuntimeError, exchange: Exchange) -> types.CallToolResult:
        """Check a tool's result against the tools as they are now; `error` says that it does not fit those recalled.

        Raises:
            RuntimeError: it does not fit those either.
        """
        if not self.has_seeds or exchange.result is None or not str(error).startswith(_OF_THE_SCHEMA):
            raise error
        sent, result = exchange.result
        self.has_seeds = False
        self.learnt.schemas = None
        try:
            answer = types.CallToolResult.model_validate(result, by_name=False)
            name = json.loads(sent)["params"]["name"]
            await client.session.list_tools()
        except (ValidationError, LookupError, ValueError, MCPError):
            raise error from None
        await client.session.validate_tool_result(cast("str", name), answer)
        return answer

    # --- the SDK's ResponseCacheStore

    async def get(self, key: CacheKey) -> CacheEntry | None:
        """An answer that was kept; while seeding, the tools."""
        if self._is_seeding and key.method == "tools/list":
            return CacheEntry(value=self.learnt.schemas, scope="private", expires_at=math.inf)
        return await self.learnt.answers.get(key)

    async def set(self, key: CacheKey, entry: CacheEntry) -> None:
        """Keep an answer."""
        await self.learnt.answers.set(key, entry)

    async def delete(self, key: CacheKey) -> None:
        """Forget an answer."""
        await self.learnt.answers.delete(key)

    async def clear(self) -> None:
        """Forget all answers."""
        await self.learnt.answers.clear()


NOT_UNDERSTOOD: Final = frozenset({400, 404, 405, 406, 415})
"""The HTTP statuses of servers that do not understand a request of an era that is not theirs."""
_OF_THE_SCHEMA: Final = ("Invalid structured content", "Invalid schema for tool", "Tool ")
