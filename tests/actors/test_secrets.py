"""Nothing that is secret shows: planted secrets are looked for in all that a pool says, logs, raises and tells."""
# pyright: reportPrivateUsage=false

import gc
import json
import logging
import traceback
import warnings
from collections.abc import Mapping
from typing import Any

import anyio
import httpx2
import pytest

from actors import DeadLetter, Pool, PoolSettings, Upstream, open_pool
from actors.actor import Actor
from protocol.errors import ConnectFailed, TroupeError
from protocol.fault import Fault, FaultKind
from protocol.pool_messages import SessionOpened
from tests.actors.fakes import FakeServer, settled
from tests.actors.wire import FakeWire, given

pytestmark = pytest.mark.virtual_time

SECRETS = ("t0ken-s3cret", "c00kie-s3cret", "qu3ry-s3cret", "fragm3nt-s3cret", "talk-s3cret", "d3ploy-s3cret", "s3cret")
TOKEN, COOKIE, QUERY, FRAGMENT, TALK, DEPLOYMENT, ANY = SECRETS
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Cookie": f"id={COOKIE}"}
UPSTREAM = Upstream(f"http://127.0.0.1:1/mcp?key={QUERY}#{FRAGMENT}", name="the server")


class Undertaker(Actor[DeadLetter]):
    """Keeps what is shown of dead letters."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def receive(self, message: DeadLetter) -> None:
        self.shown += [repr(message), str(message), repr(message.message)]


def extract(headers: Mapping[str, str]) -> str:
    raise ValueError(f"cannot read {headers['authorization']}")


def shown_by(error: BaseException) -> list[str]:
    """What a log shows of an error: its text, and the texts of the errors of ours that it is chained to."""
    shown: list[str] = []
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, TroupeError):
            shown += [str(seen), repr(seen)]
        seen = seen.__cause__ or seen.__context__
    return shown


async def fail(pool: Pool, shown: list[str], **terms: Any) -> None:
    """Ask for a session that there is not, and keep what is said of it."""
    try:
        lease = await pool.acquire(UPSTREAM, timeout=1, **terms)
    except TroupeError as error:
        shown += shown_by(error)
    else:
        raise AssertionError(f"{lease!r} was lent")


@pytest.mark.holds("X1")
async def test_no_secret_is_in_a_log_an_error_a_repr_a_figure_an_event_or_a_dead_letter(  # noqa: PLR0915 - one story
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    server = FakeServer()
    shown: list[str] = []
    settings = PoolSettings(
        identity_extractor=extract,
        identity_secret=DEPLOYMENT.encode(),
        max_size=1,
        max_waiting=1,
        warn_after=1,
        max_keys=4,
        close_timeout=1,
    )
    terms: dict[str, Any] = {"headers": HEADERS, "user": "ada"}
    undertaker = Undertaker()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with open_pool(settings, connector=server, on_message=raising_factory) as pool:
            events = pool.events()
            pool._system.dead_letters.subscribe(pool._system.spawn(undertaker))
            lease = await pool.acquire(UPSTREAM, session_id=TALK, **terms)
            await lease.call_tool("echo")
            shown += [repr(lease), repr(lease.client), repr(lease._acquired), repr(lease._loan), repr(pool)]
            shown += [repr(key) for key in pool._refs]
            await fail(pool, shown, session_id=TALK, headers={"Authorization": f"Bearer other-{ANY}"})
            await fail(pool, shown, session_id=f"{TALK} ", **terms)
            await fail(pool, shown, **{**terms, "headers": {"Authorization": f"Bearer {TOKEN}\n"}})
            server.reports[0](Fault(FaultKind.INTERRUPTED, "event stream", "it broke", cause=OSError(f"at {QUERY}")))
            await anyio.sleep(3)  # held for long
            lease.release()
            await settled()
            await fail(pool, shown, session_id=TALK, **terms)  # its state was lost

            server.fails = RuntimeError(f"cannot send {TOKEN} to {UPSTREAM.url}")
            await fail(pool, shown, **terms)
            server.fails = None
            kept = [await pool.acquire(UPSTREAM, **terms)]
            await fail(pool, shown, **terms)  # nobody gives it back in time
            kept.clear()
            gc.collect()
            await settled()
            lease = await pool.acquire(UPSTREAM, **terms)
            supervisor = pool._refs[lease._acquired.key]
            supervisor.tell(SessionOpened(99))  # type: ignore[arg-type]  # it crashes
            await settled()
            supervisor.tell(lease._acquired)  # and is told no more
            lease.release()
            await settled()
            shown += [repr(pool._system.tree()), str(pool._system.tree()[0])]
            shown += [str(pool.stats()), repr(pool.stats()), str(pool.stats().as_mapping())]
            await pool.close()
            await fail(pool, shown, **terms)
        told = [event async for event in events]
    shown += map(repr, told)
    shown += [str(warning.message) for warning in warned]
    shown += undertaker.shown
    shown += [repr(settings), repr(UPSTREAM)]
    assert len(told) > 10
    assert len(warned) >= 1
    assert undertaker.shown
    assert len(caplog.records) >= 5, "what may hold a secret did happen"
    assert [text for text in shown if any(secret in text for secret in SECRETS)] == []
    logged = [record.getMessage() for record in caplog.records]
    logged += ["".join(traceback.format_exception(*record.exc_info)) for record in caplog.records if record.exc_info]
    assert [text for text in logged if any(secret in text for secret in SECRETS)] == []


def raising_factory(url: str, gateway: str) -> Any:
    raise ValueError(f"no handler for {url}")


@pytest.mark.holds("X1")
async def test_what_a_connector_is_given_shows_no_headers() -> None:
    server = FakeServer()
    async with open_pool(connector=server) as pool:
        (await pool.acquire(UPSTREAM, headers=HEADERS)).release()
    opening = server.openings[0]
    assert dict(opening.headers) == HEADERS
    assert not [secret for secret in SECRETS if secret in repr(opening)]


@pytest.mark.holds("X1")
@pytest.mark.parametrize("where", ["message", "reason"])
async def test_a_server_that_quotes_the_token_that_it_refuses_is_not_quoted(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(request: httpx2.Request) -> httpx2.Response:
        quoted = f"no such key: {request.headers['authorization']}, {request.url.query.decode()}"
        if where == "reason":
            return httpx2.Response(400, extensions={"reason_phrase": quoted.encode()})
        sent = json.loads(await request.aread())
        return httpx2.Response(200, json={"jsonrpc": "2.0", "id": sent["id"], "error": {"code": -1, "message": quoted}})

    wire = FakeWire()
    monkeypatch.setattr(wire, "handle_async_request", refuse)
    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", given(wire))
    async with open_pool() as pool:
        with pytest.raises(ConnectFailed) as failed:
            await pool.acquire(Upstream(UPSTREAM.url, mode="legacy"), headers=HEADERS)
    said = shown_by(failed.value)
    assert ("no such key" in said[0]) is (where == "message")
    assert not [secret for secret in SECRETS for text in said if secret in text]
