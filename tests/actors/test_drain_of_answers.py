"""What a key has learnt about its server, when its sessions are drained."""

import httpx2
import pytest

from actors import Upstream, open_pool
from tests.actors.wire import TwoEras, given, reply

UPSTREAM = Upstream("http://server.test/mcp")


@pytest.mark.holds("S8")
@pytest.mark.parametrize("how", ["drain", "retire"])
async def test_answers_that_were_kept_under_the_old_credentials_are_not_given_after_a_drain(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = TwoEras()
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))

    async def answer(_: httpx2.Request, message: dict[str, object]) -> httpx2.Response:
        kept = {"resultType": "complete", "ttlMs": 3_600_000, "cacheScope": "private"}
        return reply(message, {"tools": [], **kept})

    wire.answer = answer
    async with open_pool() as pool:
        for _ in range(2):
            async with pool.session(UPSTREAM, user="ada") as session:
                await session.list_tools()
        assert wire.methods().count("tools/list") == 1, "it is kept for the key's next session"
        if how == "drain":
            pool.drain()
        else:
            pool.retire(UPSTREAM)
        async with pool.session(UPSTREAM, user="ada") as session:
            await session.list_tools()
        assert wire.methods().count("tools/list") == 2
