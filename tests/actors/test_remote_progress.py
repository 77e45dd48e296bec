"""What a server says meanwhile, on its way to the worker that holds a lease: progress, and what it says of itself."""
# pyright: reportPrivateUsage=false

from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.client.session import IncomingMessage

from actors.backstage import HandlerFactory
from actors.connection import MessageHandler
from actors.outlet import UNDER_WAY, WAITING, Outlet
from actors.progress import with_progress
from protocol.forwarded_answer import Notification, Progress
from tests.actors.fakes import ECHO
from tests.actors.memory_servers import Mode, Served
from tests.actors.test_remote_lease import MODES, here_and_there, talk

pytestmark = pytest.mark.virtual_time

Step = tuple[float, float | None, str | None]


class Seen:
    """What a call's callback was told, and then its result."""

    def __init__(self, *, takes: float = 0.0) -> None:
        self.steps: list[Step | str] = []
        self._takes = takes

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        await anyio.sleep(self._takes)
        self.steps.append((progress, total, message))


def steps(number: int) -> list[Step | str]:
    return [*((float(step), float(number), f"step {step}") for step in range(1, number + 1)), "answered"]


@pytest.mark.holds("N2", "C4")
@pytest.mark.parametrize("mode", MODES)
async def test_progress_reaches_the_call_it_is_of_in_order_and_before_its_result(mode: Mode) -> None:
    async with (
        here_and_there(Served(mode)) as (here, there),
        talk(here) as local,
        talk(there) as one,
        talk(there) as two,
    ):
        calls = [(local, Seen(), 3), (one, Seen(), 4), (one, Seen(), 2), (two, Seen(), 5)]

        async def ask(lease: Any, seen: Seen, number: int) -> None:
            result = await lease.call_tool("steps", {"number": number}, progress_callback=seen)
            assert result.structured_content == {"result": number}
            seen.steps.append("answered")

        async with anyio.create_task_group() as tasks:
            for call in calls:
                tasks.start_soon(ask, *call)
        for _, seen, number in calls:
            assert seen.steps == steps(number)
        await one.call_tool("steps", {"number": 2})
        assert calls[1][1].steps == steps(4)


@pytest.mark.holds("N2")
async def test_a_slow_callback_is_told_all_before_the_result() -> None:
    async with here_and_there(Served("legacy")) as (_, there), talk(there) as lease:
        seen = Seen(takes=0.5)
        await lease.call_tool("steps", {"number": 5}, progress_callback=seen)
        assert [*seen.steps, "answered"] == steps(5)


async def test_a_callback_that_raises_costs_itself_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def raises(*_: object) -> None:
        raise ValueError("s3cret")

    async with here_and_there(Served("legacy")) as (_, there), talk(there) as lease:
        result = await lease.call_tool("steps", {"number": 3}, progress_callback=raises)
        assert result.structured_content == {"result": 3}
    said = [record.getMessage() for record in caplog.records if record.name == "troupe"]
    assert said == ["a progress callback raised ValueError"] * 3


async def test_a_callback_that_never_ends_holds_the_result_up_for_a_while_only() -> None:
    async with here_and_there(Served("legacy")) as (_, there), talk(there) as lease:
        began = anyio.current_time()
        result = await lease.call_tool("steps", {"number": 2}, progress_callback=Seen(takes=1000))
        assert result.structured_content == {"result": 2}
        assert anyio.current_time() - began < 10


@pytest.mark.holds("C10")
async def test_progress_that_nobody_takes_finds_only_so_much_room() -> None:
    notes: list[int] = []

    async def ask(note: Any) -> dict[str, Any]:
        for step in range(1000):
            note(Progress(step))
        note(Notification("a/b"))
        return {"a": 1}

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        notes.append(int(progress))

    assert await with_progress(ask, on_progress) == {"a": 1}
    assert notes == list(range(256))


@pytest.mark.holds("S5")
async def test_a_failure_is_raised_as_it_is_and_after_what_was_said_before_it() -> None:
    seen = Seen()

    async def ask(note: Any) -> dict[str, Any]:
        note(Progress(1))
        raise LookupError("as asked")

    with pytest.raises(LookupError, match="as asked"):
        await with_progress(ask, seen)
    assert seen.steps == [(1.0, None, None)]


@pytest.mark.holds("C10")
def test_an_errands_notes_are_few_on_the_bus_and_bounded_beside_it_however_many_there_are() -> None:
    posted: list[bytes] = []
    outlet = Outlet(posted.append)
    for number in range(1000):
        outlet.put(b"%d" % number)
    assert posted == [b"%d" % number for number in range(UNDER_WAY)]
    assert outlet.dropped == 1000 - UNDER_WAY - WAITING
    outlet.taken()
    assert posted[-1] == b"%d" % (1000 - WAITING)
    outlet.flush()
    assert posted[UNDER_WAY:] == [b"%d" % number for number in range(1000 - WAITING, 1000)], "in order, the latest"
    for _ in range(len(posted)):
        outlet.taken()
    outlet.put(b"more")
    assert posted[-1] == b"more"


# --- what a server says of itself


class Handlers:
    """Those of each pool, by its name: they note for whom they were made, and what they are given."""

    def __init__(self) -> None:
        self.made: dict[str, list[tuple[str, str]]] = {}
        self.said: dict[str, list[IncomingMessage]] = {}

    def of(self, name: str) -> HandlerFactory:
        said = self.said[name] = []
        made = self.made[name] = []

        def make(url: str, whom: str) -> MessageHandler:
            made.append((url, whom))

            async def handle(message: IncomingMessage) -> None:
                said.append(message)

            return handle

        return make

    def logs(self, name: str) -> list[Any]:
        return [said.params for said in self.said[name] if isinstance(said, types.LoggingMessageNotification)]


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
@pytest.mark.holds("N2", "N1")
async def test_what_a_server_says_in_a_session_reaches_each_worker_that_holds_a_lease_of_it_and_no_other() -> None:
    handlers = Handlers()
    async with here_and_there(Served("legacy"), handlers.of) as (here, there):
        async with talk(there, gateway_id="g1") as lease, there.session(ECHO, user="ada", session_id="chat"):
            assert handlers.made == {"here": [(ECHO.url, "g1")], "there": [(ECHO.url, "g1"), (ECHO.url, ECHO.url)]}
            await lease.call_tool("say", {"text": "one"})
            await anyio.sleep(0.1)
            assert [params.data for params in handlers.logs("there")] == ["one"]
            assert handlers.logs("here") == handlers.logs("there"), "word for word"
        async with talk(here, gateway_id="g1") as lease:
            await lease.call_tool("say", {"text": "two"})
            await anyio.sleep(0.1)
        assert [params.data for params in handlers.logs("there")] == ["one"], "its lease was given back"
        assert [params.data for params in handlers.logs("here")] == ["one", "two"]


@pytest.mark.holds("N2")
async def test_progress_is_told_its_call_and_no_handler_elsewhere() -> None:
    handlers = Handlers()
    async with here_and_there(Served("legacy"), handlers.of) as (_, there), talk(there) as lease:
        await lease.call_tool("steps", {"number": 3}, progress_callback=Seen())
        assert handlers.said["there"] == []


@pytest.mark.holds("N1", "C4")
async def test_a_list_that_has_changed_is_told_and_asked_for_anew() -> None:
    handlers, served = Handlers(), Served("legacy")
    async with here_and_there(served, handlers.of) as (_, there), talk(there) as lease:
        before = {tool.name for tool in (await lease.list_tools()).tools}
        await lease.call_tool("grow")
        await anyio.sleep(0.1)
        assert [type(said) for said in handlers.said["there"]] == [types.ToolListChangedNotification]
        assert {tool.name for tool in (await lease.list_tools()).tools} - before == {"grown"}


@pytest.mark.holds("S9")
async def test_a_handler_that_raises_costs_itself_and_neither_the_lease_nor_the_other_workers() -> None:
    def raising(name: str) -> HandlerFactory:
        async def handle(message: IncomingMessage) -> None:
            said.append(name)
            raise ValueError("as asked")

        def make(url: str, whom: str) -> MessageHandler:
            return handle

        return make

    said: list[str] = []
    async with here_and_there(Served("legacy"), raising) as (_, there), talk(there) as lease:
        for _ in range(2):
            await lease.call_tool("grow")
            await anyio.sleep(0.1)
        assert sorted(said) == ["here", "there"]
