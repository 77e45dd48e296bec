"""The scene of two users: they call at the same time, through one pool, and never share a session."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, cast

import anyio

from actors import Pool, PoolSettings, Upstream, open_pool
from actors.demo.arguments import DemoError
from actors.demo.server import USER_HEADER
from actors.demo.subject import CALL_TIMEOUT, Subject, describe, text_of

USERS: Final = ("alice", "bob")
CALLS: Final = 20
"""Calls that each user makes."""
CALLERS: Final = 2
"""Callers that each user has at a time."""


@dataclass(slots=True)
class TwoUsers:
    """What was seen.

    Attributes:
        witness: who told the sessions apart: the `"server"`, by the session id that a call came in with; or, where the
            server cannot be asked, the `"client"`, by the connection that a call went out on.
        calls: how many calls of each user were answered.
        sessions: how many sessions each user's calls were made on.
        shared: how many sessions bore calls of both.
        mixed_up: how many calls reached the server under another name than the caller's.
        errors: how many calls failed.
        first_error: what the first of them said.
    """

    witness: str
    calls: dict[str, int] = field(default_factory=lambda: dict.fromkeys(USERS, 0))
    sessions: dict[str, int] = field(default_factory=dict[str, int])
    shared: int = 0
    mixed_up: int = 0
    errors: int = 0
    first_error: str | None = None

    @property
    def is_fine(self) -> bool:
        """Whether no session was shared, and no call failed."""
        return all(calls == CALLS for calls in self.calls.values()) and self.shared == self.mixed_up == self.errors == 0


async def seen_by_the_server(url: str) -> TwoUsers:
    """Two users, told apart by a header, on a server of the demo's own, which names the session of each call.

    In the handshake era, that is: in the modern one a server has no sessions.
    """
    seen = TwoUsers("server")
    upstream = Upstream(url, mode="legacy")

    async def call(pool: Pool, user: str, _: int) -> object:
        async with pool.session(upstream, headers={USER_HEADER: user}) as session:
            answer = cast("dict[str, str]", json.loads(text_of(await session.call_tool("whoami"))))
        seen.mixed_up += answer["user"] != user
        return answer["session"]

    return await _watch(seen, call)


async def seen_by_the_client(subject: Subject) -> TwoUsers:
    """Two users, told apart by name, on somebody else's server."""
    seen = TwoUsers("client")

    async def call(pool: Pool, user: str, number: int) -> object:
        async with pool.session(subject.upstream, headers=subject.headers, user=user) as session:
            result = await session.call_tool(subject.tool, subject.arguments_of(number))
            if fault := subject.fault_in(number, result):
                raise DemoError(fault)
            return session.client.server

    return await _watch(seen, call)


async def _watch(seen: TwoUsers, call: Callable[[Pool, str, int], Awaitable[object]]) -> TwoUsers:
    sessions: dict[str, set[object]] = {user: set() for user in USERS}

    async def caller(pool: Pool, user: str) -> None:
        for number in range(CALLS // CALLERS):
            try:
                sessions[user].add(await call(pool, user, number))
                seen.calls[user] += 1
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a call that failed
                seen.errors += 1
                seen.first_error = seen.first_error or describe(error)

    async with (
        open_pool(PoolSettings(max_size=CALLERS, call_timeout=CALL_TIMEOUT)) as pool,
        anyio.create_task_group() as tasks,
    ):
        for user in USERS * CALLERS:
            tasks.start_soon(caller, pool, user)
    one, other = sessions.values()
    seen.shared = len(one & other)
    seen.sessions = {user: len(those) for user, those in sessions.items()}
    return seen
