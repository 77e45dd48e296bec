"""A fake MCP server: slow, unreliable and watchful as the test wants it to be."""

from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from random import Random
from typing import Final

import anyio

from actors.connection import Connection, Opening
from actors.testing.fake_session import FakeSession
from actors.testing.ledger import Ledger
from actors.testing.trouble import Trouble
from protocol.settings import Sharing, Upstream

Range = tuple[float, float]
"""Seconds: from, to. What a step takes is drawn between them."""

OPENING: Final[Range] = (0.01, 0.5)
CALLING: Final[Range] = (0.0, 1.0)
CLOSING: Final[Range] = (0.0, 0.3)


class FakeUpstream:
    """A server that is not there, and the connector to it: `open_pool(connector=server)`.

    Time passes by the event loop's clock, so in a simulation it is virtual. `ledger` knows who had which session when,
    and lists what must not have happened (`ledger.violations`). Of each call it takes an answer for granted; what goes
    wrong is drawn from `troubles`, or done by hand: `strike`, `expect_trouble`, `is_down`.

    Args:
        url: its address.
        is_stateful: whether it keeps state in its sessions, as the servers of the handshake era do.
        sharing: as for `Upstream`.
        random: where draws come from; None means always the same.
        opening, calling, closing: the seconds that these steps take, from and to.
        troubles: how likely each trouble strikes at each step of a session, from 0 to 1.

    Attributes:
        upstream: what a pool is asked for: `pool.acquire(server.upstream)`.
        sessions: all that ever were, the failed ones included.
        is_down: while True, whatever is opened or asked fails at once.
        ledger: what happened. Several servers of one pool may share one.
    """

    def __init__(
        self,
        url: str = "http://fake.test/mcp",
        *,
        is_stateful: bool = True,
        sharing: Sharing | None = None,
        random: Random | None = None,
        opening: Range = OPENING,
        calling: Range = CALLING,
        closing: Range = CLOSING,
        troubles: Mapping[Trouble, float] | None = None,
    ) -> None:
        self.upstream = Upstream(url, sharing=sharing)
        self.is_stateful = is_stateful
        self.random = random or Random(0)  # noqa: S311 - to be foreseen is the point
        self.opening = opening
        self.calling = calling
        self.closing = closing
        self.troubles = dict(troubles or {})
        self.sessions: list[FakeSession] = []
        self.is_down = False
        self.ledger = Ledger(anyio.current_time)
        self._expected: list[Trouble] = []
        self._numbers = count(1)

    @property
    def live(self) -> list[FakeSession]:
        """The sessions that have not ended; those being opened and closed are among them."""
        return [session for session in self.sessions if session in self.ledger.live]

    def strike(self, trouble: Trouble, session: FakeSession | None = None) -> FakeSession | None:
        """This befalls a session now, whatever it is at.

        Args:
            trouble: what.
            session: which; None draws one of those that live.

        Returns:
            The one that was struck; None if there is none.
        """
        if session is None:
            if not (live := self.live):
                return None
            session = self.random.choice(live)
        session.strike(trouble)
        return session

    def expect_trouble(self, trouble: Trouble, times: int = 1) -> None:
        """This befalls the next sessions that are opened, called, checked or closed, at that step."""
        self._expected += [trouble] * times

    def __call__(self, opening: Opening) -> AbstractAsyncContextManager[Connection] | Awaitable[Connection]:
        """Open a session; see `Connector`. One without state needs nobody to hold it open."""
        session = FakeSession(self, next(self._numbers), opening)
        return self._held(session) if self.is_stateful else self._loose(session)

    # --- for its sessions

    def tempt(self, session: FakeSession) -> None:
        """A step of this session begins: does anything go wrong?"""
        if self._expected:
            session.strike(self._expected.pop(0))
        for trouble, share in self.troubles.items():
            if self.random.random() < share:
                session.strike(trouble)

    def draw(self, seconds: Range) -> float:
        """How long a step takes."""
        return self.random.uniform(*seconds)

    @asynccontextmanager
    async def _held(self, session: FakeSession) -> AsyncGenerator[Connection]:
        self._add(session)
        try:
            connection = await session.open()
            async with anyio.create_task_group() as tasks:
                if self.random.random() < FALLING:
                    tasks.start_soon(session.fall)
                yield connection
                await session.close()
                tasks.cancel_scope.cancel()
        finally:
            session.end()

    async def _loose(self, session: FakeSession) -> Connection:
        self._add(session)
        try:
            return await session.open()
        except BaseException:
            session.end()
            raise

    def _add(self, session: FakeSession) -> None:
        self.sessions.append(session)
        self.ledger.opens(session)


FALLING: Final = 0.5
"""How likely a broken connection takes down the task that holds it, rather than only say that it broke."""
