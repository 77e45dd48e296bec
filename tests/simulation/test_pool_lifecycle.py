"""What users get to test their own pools with: fake servers, their ledger, and the lifecycle itself."""

import subprocess
import sys
from collections.abc import Sequence
from random import Random

import anyio
import pytest
from mcp import MCPError
from mcp_types import CallToolResult

from actors import Connection, PoolSettings, open_pool
from actors.testing import SMALL, FakeUpstream, LifecycleBroken, PoolLifecycle, Simulation, Trouble, simulate
from actors.testing import pool_lifecycle_test as lifecycle_test
from actors.testing.fake_session import FakeSession
from actors.testing.ledger import ATTEMPT_HEADER, Attempt, Ledger
from protocol.errors import CallInterrupted, ConnectFailed, SessionTerminated, UpstreamRefused

# --- a fake server, in a plain test


@pytest.mark.parametrize("is_stateful", [True, False])
async def test_a_fake_server_is_used_like_a_real_one(*, is_stateful: bool) -> None:
    server = FakeUpstream(is_stateful=is_stateful, opening=(0, 0), calling=(0, 0), closing=(0, 0))
    async with open_pool(connector=server) as pool:
        async with pool.session(server.upstream) as session:
            assert isinstance(await session.call_tool("work"), CallToolResult)
        assert await pool.call(server.upstream, "acme/work", {"a": 1}) == {}
        assert len(server.live) == 1
        assert pool.stats().keys[0].stateful is is_stateful
    assert server.live == []
    assert server.ledger.violations == []


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (Trouble.BREAK, CallInterrupted),
        (Trouble.LOSE, SessionTerminated),
        (Trouble.REFUSE, UpstreamRefused),
        (Trouble.HANG, MCPError),
    ],
)
@pytest.mark.holds("S3")
async def test_each_trouble_of_a_call_has_its_error(trouble: Trouble, error: type[Exception]) -> None:
    server = FakeUpstream(opening=(0, 0), calling=(0, 0), closing=(0, 0))
    async with open_pool(PoolSettings(call_timeout=0.05, close_timeout=0.05), connector=server) as pool:
        for way in ("typed", "raw"):
            async with pool.session(server.upstream, user=way) as lease:
                assert server.strike(trouble) is server.sessions[-1]
                with pytest.raises(error):
                    await (lease.call_tool("work") if way == "typed" else lease.request("acme/work"))


async def test_trouble_can_be_foretold_and_a_server_can_be_down() -> None:
    server = FakeUpstream(opening=(0, 0), calling=(0, 0), closing=(0, 0))
    assert server.strike(Trouble.BREAK) is None
    async with open_pool(connector=server) as pool:
        server.expect_trouble(Trouble.REFUSE)
        with pytest.raises(ConnectFailed) as refused:
            await pool.acquire(server.upstream)
        assert refused.value.status == 401
        server.is_down = True
        with pytest.raises(ConnectFailed):
            await pool.acquire(server.upstream)
        server.is_down = False
        (await pool.acquire(server.upstream)).release()
        assert [entry.what for entry in server.ledger.entries].count("open") == 1


# --- the ledger: each rule, broken by hand


class Opened:
    """Stands for an opening, of which the ledger reads this much."""

    def __init__(self, server: FakeUpstream, attempt: int) -> None:
        self.upstream = server.upstream
        self.headers = {ATTEMPT_HEADER: str(attempt)}


ADA = ("ada", "k", None)


class Book:
    """A ledger, and a clock that stands where the test puts it."""

    def __init__(self, settings: PoolSettings | None = None, *, is_stateful: bool = True) -> None:
        self.time = 0.0
        self.ledger = Ledger(lambda: self.time, settings or PoolSettings())
        self.server = FakeUpstream(is_stateful=is_stateful)
        self.server.ledger = self.ledger

    def begin(self, who: tuple[str | None, str, str | None] = ADA, conversation: str | None = None) -> Attempt:
        return self.ledger.begin(self.server.upstream.url, who, conversation)

    def open(self, attempt: int) -> FakeSession:
        session = FakeSession(self.server, len(self.server.sessions) + 1, Opened(self.server, attempt))  # type: ignore[arg-type]
        self.server.sessions.append(session)
        self.ledger.opens(session)
        session.is_open = True
        return session

    def broken(self) -> list[str]:
        return [violation[:2] for violation in self.ledger.violations]


def test_two_leases_of_one_stateful_session_are_noticed() -> None:
    book = Book()
    first, second = book.begin(), book.begin()
    session = book.open(first.number)
    book.ledger.lent(first, session)
    assert book.broken() == []
    book.ledger.lent(second, session)
    assert book.broken() == ["L1"]


def test_a_session_with_calls_under_way_counts_as_lent() -> None:
    book = Book()
    first, second = book.begin(), book.begin()
    session = book.open(first.number)
    book.ledger.lent(first, session)
    book.ledger.call_begins(first)
    book.ledger.returned(first)
    assert book.ledger.leases == 1
    book.ledger.lent(second, session)
    assert book.broken() == ["L1"]
    book.ledger.call_ends(first)
    assert book.ledger.leases == 1


def test_a_session_of_somebody_else_is_noticed() -> None:
    book = Book()
    first, second = book.begin(), book.begin(("bob", "k", None))
    book.ledger.lent(second, book.open(first.number))
    assert book.broken() == ["L1"]


def test_caps_are_checked_and_those_before_a_resize_hold_at_its_moment() -> None:
    book = Book(PoolSettings(max_size=2))
    attempt = book.begin()
    book.open(attempt.number)
    book.ledger.resized(PoolSettings(max_size=1))
    book.open(attempt.number)
    assert book.broken() == []
    book.time = 1.0
    book.open(attempt.number)
    assert book.broken() == ["L5"]


def test_a_conversation_with_two_sessions_is_noticed() -> None:
    book = Book()
    attempt = book.begin(conversation="c")
    book.open(attempt.number)
    book.open(attempt.number)
    assert book.broken() == ["L6"]


def test_expired_credentials_are_noticed() -> None:
    book = Book()
    first, second = book.begin(), book.begin()
    first.expires_at = 5.0
    session = book.open(first.number)
    book.ledger.lent(first, session)
    book.ledger.returned(first)
    book.time = 5.0
    book.ledger.lent(second, session)
    assert book.broken() == ["L8"]


def test_a_conversation_that_is_not_told_of_its_loss_is_noticed() -> None:
    book = Book()
    first, second = book.begin(conversation="c"), book.begin(conversation="c")
    session = book.open(first.number)
    book.ledger.lent(first, session)
    session.end()
    book.ledger.lent(second, book.open(second.number))
    assert book.broken() == ["L9"]


def test_a_session_that_was_told_to_be_sick_is_not_lent_a_moment_later() -> None:
    book = Book()
    first, second = book.begin(), book.begin()
    session = book.open(first.number)
    session.reported_at = 0.0
    book.ledger.lent(first, session)
    assert book.broken() == []
    book.ledger.returned(first)
    book.time = 1.0
    book.ledger.lent(second, session)
    assert book.broken() == ["S2"]


def test_who_overtakes_a_waiter_is_noticed() -> None:
    book = Book(is_stateful=False)
    first = book.begin()
    book.ledger.all_wait([first.number])
    book.time = 1.0
    second = book.begin()
    book.ledger.lent(second, book.open(second.number))
    book.ledger.all_wait([])
    assert book.broken() == ["L3"]


# --- the lifecycle


def leaky_servers(random: Random) -> Sequence[FakeUpstream]:
    """A fake of the user's own, which does not end its sessions."""

    class Leaky(FakeUpstream):
        async def _loose(self, session: FakeSession) -> Connection:
            connection = await super()._loose(session)
            session.end = lambda: None
            return connection

    return [Leaky(is_stateful=False, random=random)]


def test_a_failure_tells_what_did_not_hold_and_how_to_play_it_again() -> None:
    lifecycle = PoolLifecycle(upstreams=leaky_servers, steps=50)
    with pytest.raises(LifecycleBroken, match=r"L5, at .* the servers have") as caught:
        lifecycle.run(7)
    notes = "\n".join(caught.value.__notes__)
    assert "failed under seed 7" in notes
    assert "to play it again: PoolLifecycle(..., steps=50, users=8, pace=1).run(7)" in notes


def test_hypothesis_draws_the_seeds() -> None:
    lifecycle_test(PoolLifecycle(steps=40), max_examples=5)()
    with pytest.raises(LifecycleBroken) as caught:
        lifecycle_test(PoolLifecycle(upstreams=leaky_servers, steps=40), max_examples=5)()
    assert "seed=" in "\n".join(caught.value.__notes__)


LIFECYCLE = PoolLifecycle(steps=50)


def test_a_lifecycle_at_the_top_of_a_module_has_a_command() -> None:
    command = [sys.executable, "-m", "actors.testing", f"{__file__}:LIFECYCLE", "--seeds", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - our own
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_lifecycle_can_be_part_of_a_scenario() -> None:
    async def twice(simulation: Simulation) -> None:
        await LIFECYCLE(simulation)
        await anyio.sleep(1)

    assert simulate(twice, seed=1).seconds > 1


def test_settings_may_come_from_the_seed_and_the_pace_may_be_slow() -> None:
    def settings(random: Random) -> PoolSettings:
        return SMALL.with_(max_size=random.randint(1, 3))

    slow = PoolLifecycle(settings, steps=100, pace=20, users=3).run(1)
    assert slow.run.seconds > PoolLifecycle(settings, steps=100, users=3).run(1).run.seconds
    assert PoolLifecycle(PoolSettings(), steps=60).run(2).done["lent"] > 0
