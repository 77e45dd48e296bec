"""Workers that meet on a bus, and own downstream sessions between them. On both event loops."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from mcp import MCPError

from actors import Ref, System, open_system
from actors.bus import Bus, Told
from actors.cluster import Cluster
from actors.cluster_messages import (
    ClusterMessage,
    EndSession,
    LeaveCluster,
    Own,
    Owner,
    OwnershipNews,
    OwnershipTaken,
    WhoOwns,
)
from actors.forwarding import Denied, Forward, LossHeard, LossTold
from actors.memory_bus import MemoryHub
from protocol.bus import Command, Holding
from protocol.cluster_settings import ClusterSettings
from protocol.errors import (
    BusUnavailable,
    ClusterError,
    ConnectFailed,
    EnvelopeRefused,
    NotAlive,
    OutcomeUnknown,
    OwnerFailed,
    OwnerUnreachable,
    PrincipalMismatch,
    SessionStateLost,
)
from protocol.forwarded import ForwardedRequest
from protocol.raw_request import RawRequest
from protocol.upstream import Upstream

pytestmark = pytest.mark.virtual_time

ECHO = Upstream("http://127.0.0.1:1/mcp")
SETTINGS = ClusterSettings(lifetime=2, holding=9)


async def echo(request: ForwardedRequest) -> dict[str, Any]:
    return {"said": request.request.params}


class Worker:
    """One of those that meet."""

    def __init__(self, system: System, bus: Bus, name: str) -> None:
        self.news: list[OwnershipNews] = []
        self.served: list[ForwardedRequest] = []
        self.heard: list[ForwardedRequest] = []
        self.used = set[str]()
        self.result: Callable[[ForwardedRequest], Awaitable[dict[str, Any]]] = echo
        self.actor = Cluster(
            name,
            bus,
            SETTINGS,
            checks_principal=True,
            told=self.news.append,
            serve=self._serve,
            heard=self.heard.append,
            is_used=self.used.__contains__,
            clock=system.now,
            wall_clock=system.now,
        )
        self.ref: Ref[ClusterMessage] = system.spawn(self.actor, name=name)

    async def _serve(self, request: ForwardedRequest, begun: Callable[[], None]) -> dict[str, Any]:
        self.served.append(request)
        begun()
        return await self.result(request)

    async def ask(
        self, owner: Owner, session_id: str = "talk", *, timeout: float = 20, **params: Any
    ) -> dict[str, Any]:
        """Have the owner of a session do something."""
        request = ForwardedRequest.of(
            session_id=session_id,
            token=owner.holding.token,
            upstream=ECHO,
            request=RawRequest.of("tools/call", params),
            headers={"X-Trace": "1", "Authorization": "Bearer secret"},
            user="ada",
            gateway_id=None,
            principal="principal",
        )
        return await self.ref.ask(Forward(owner.holding, request, timeout))

    async def own(self, session_id: str, principal: str = "principal") -> Owner:
        return await self.ref.ask(Own(session_id, principal), timeout=30)

    async def who_owns(self, session_id: str) -> Holding | None:
        return await self.ref.ask(WhoOwns(session_id), timeout=30)


@asynccontextmanager
async def workers(*names: str) -> AsyncGenerator[list[Worker]]:
    """Workers of one hub, that has been there for long."""
    async with open_system() as system:
        hub = MemoryHub()
        await anyio.sleep(10)
        found = [Worker(system, hub.bus(), name) for name in names]
        await anyio.wait_all_tasks_blocked()
        yield found


@pytest.mark.holds("C1", "C7")
async def test_of_many_workers_that_ask_at_once_one_owns_the_session_and_all_are_told_which() -> None:
    async with workers("ada", "bob", "cy") as crowd:
        told: list[tuple[str, Owner]] = []

        async def own(worker: Worker) -> None:
            told.append((worker.actor.worker, await worker.own("talk")))

        async with anyio.create_task_group() as tasks:
            for worker in crowd * 5:
                tasks.start_soon(own, worker)
        (holding,) = {owner.holding for _, owner in told}
        assert all(owner.is_here is (name == holding.owner) for name, owner in told)
        assert [worker.actor.may_start("talk") for worker in crowd].count(True) == 1
        assert await crowd[0].who_owns("talk") == holding
        assert await crowd[0].who_owns("chat") is None


@pytest.mark.holds("C1")
async def test_a_session_is_owned_for_as_long_as_its_worker_lives() -> None:
    async with workers("ada", "bob") as (ada, bob):
        owner = await ada.own("talk")
        await anyio.sleep(40)
        assert ada.actor.may_start("talk")
        assert (await bob.own("talk")).holding == owner.holding
        assert ada.news == []


@pytest.mark.holds("L7")
async def test_a_session_is_bound_to_its_principal_wherever_it_is_asked_for() -> None:
    async with workers("ada", "bob") as (ada, bob):
        await ada.own("talk")
        for worker in (ada, bob):
            with pytest.raises(PrincipalMismatch):
                await worker.own("talk", "another")


@pytest.mark.holds("R4")
async def test_a_session_that_ends_can_be_owned_by_another_worker() -> None:
    async with workers("ada", "bob") as (ada, bob):
        await ada.own("talk")
        ada.ref.tell(EndSession("talk"))
        await anyio.wait_all_tasks_blocked()
        assert not ada.actor.may_start("talk")
        assert (await bob.own("talk", "another")).is_here


@pytest.mark.holds("R4")
async def test_the_last_worker_that_leaves_leaves_nothing_behind() -> None:
    async with workers("ada") as (ada,):
        for session_id in ("talk", "chat"):
            await ada.own(session_id)
        await ada.ref.ask(LeaveCluster(), timeout=30)
        for session_id in ("talk", "chat"):
            assert await ada.who_owns(session_id) is None
        with pytest.raises(NotAlive, match="leaves the cluster"):
            await ada.own("talk")
        await ada.ref.ask(LeaveCluster(), timeout=30)


@pytest.mark.holds("C1", "L9")
async def test_a_worker_that_leaves_hands_its_sessions_over_to_one_that_lives() -> None:
    async with workers("ada", "bob") as (ada, bob):
        await bob.own("words")  # until it beats, nobody knows of it
        for session_id in ("talk", "chat"):
            await ada.own(session_id)
        await ada.ref.ask(LeaveCluster(), timeout=0.1)
        await anyio.wait_all_tasks_blocked()  # it knows when the heir has asked, and the heir when it is answered
        assert bob.news == [OwnershipTaken("talk"), OwnershipTaken("chat")]
        for session_id in ("talk", "chat"):
            assert not ada.actor.may_start(session_id)
            assert bob.actor.may_start(session_id)
            assert (await bob.own(session_id)).is_here
        await bob.ref.ask(LeaveCluster(), timeout=0.1)
        assert await bob.who_owns("talk") is None, "the other one has gone before"


@pytest.mark.holds("R4")
async def test_a_worker_that_leaves_passes_over_one_that_leaves_as_well() -> None:
    async with workers("ada", "bob", "cy") as (ada, bob, cy):
        await cy.own("words")
        await bob.own("chat")
        await ada.own("talk")
        async with anyio.create_task_group() as tasks:
            for worker in (bob, ada):
                tasks.start_soon(partial(worker.ref.ask, LeaveCluster(), timeout=5))
        await anyio.wait_all_tasks_blocked()
        for session_id in ("talk", "chat"):
            assert cy.actor.may_start(session_id)
        assert not any(isinstance(news, OwnershipTaken) for news in bob.news)


@pytest.mark.holds("L9")
async def test_a_loss_is_told_until_somebody_has_heard_of_it() -> None:
    async with workers("ada", "bob") as (ada, bob):
        await ada.own("talk")
        owner = await bob.own("talk")

        async def lost(_: ForwardedRequest) -> dict[str, Any]:
            raise SessionStateLost("it is gone")

        ada.result = lost
        with pytest.raises(LossTold) as told:
            await bob.ask(owner, number=1)
        assert isinstance(told.value.error, SessionStateLost)
        await anyio.wait_all_tasks_blocked()
        assert not ada.heard
        for _ in range(2):
            bob.ref.tell(LossHeard(told.value.owner, told.value.correlation))
            await anyio.wait_all_tasks_blocked()
            assert [request.request.params for request in ada.heard] == [{"number": 1}], "once"


@pytest.mark.holds("L2")
async def test_whoever_gives_up_asking_costs_nothing() -> None:
    async with workers("ada") as (ada,):
        with anyio.move_on_after(0):
            await ada.own("talk")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ada.own, "talk")
            tasks.start_soon(ada.own, "talk")
            tasks.cancel_scope.cancel()
        assert (await ada.own("talk")).is_here


class Away(Bus):
    """A bus that is never joined."""

    async def run(self, channels: tuple[str, ...], tell: Told) -> None:
        await anyio.sleep_forever()

    def send(self, command: Command[Any], then: Callable[[Any], None]) -> None:
        then(BusUnavailable("the bus is away", was_sent=False))


@pytest.mark.holds("C9")
async def test_a_worker_whose_bus_is_not_there_says_so_at_once() -> None:
    async with open_system() as system:
        worker = Worker(system, Away(), "ada")
        began = system.now()
        with pytest.raises(BusUnavailable, match="has not been joined yet"):
            await worker.own("talk")
        with pytest.raises(BusUnavailable, match="the bus is away"):
            await worker.who_owns("talk")
        await worker.ref.ask(LeaveCluster(), timeout=30)
        assert system.now() == began


# --- requests of sessions that another worker owns


@pytest.mark.holds("C3", "C4")
async def test_a_request_is_done_once_by_the_worker_that_owns_its_session_and_comes_back_as_it_is() -> None:
    async with workers("ada", "bob") as (ada, bob):
        await ada.own("talk")
        owner = await bob.own("talk")
        assert await bob.ask(owner, text="hello", number=2**70) == {"said": {"text": "hello", "number": 2**70}}
        (request,) = ada.served
        assert (request.request.method, request.user, request.headers["X-Trace"]) == ("tools/call", "ada", "1")
        assert bob.served == []
        assert (len(ada.actor.serving), len(bob.actor.forwarding)) == (0, 0)


@pytest.mark.holds("C4")
@pytest.mark.parametrize(
    "error",
    [
        MCPError(-32002, "no such thing", {"why": [1, None]}),
        MCPError(-32601, "unknown"),
        ConnectFailed("down", step="connect", status=503, retry_after=2.0),
        ValueError("a secret"),
    ],
)
async def test_an_error_comes_back_as_itself_and_an_unexpected_one_by_a_name(error: Exception) -> None:
    async with workers("ada", "bob") as (ada, bob):
        await ada.own("talk")

        async def fail(_: ForwardedRequest) -> dict[str, Any]:
            raise error

        ada.result = fail
        expected = OwnerFailed if isinstance(error, ValueError) else type(error)
        with pytest.raises(expected) as raised:
            await bob.ask(await bob.own("talk"))
        assert "secret" not in str(raised.value)
        if isinstance(error, MCPError):
            assert isinstance(raised.value, MCPError)
            assert raised.value.error == error.error
        elif isinstance(error, ConnectFailed):
            assert isinstance(raised.value, ConnectFailed)
            assert (raised.value.step, raised.value.status, raised.value.retry_after) == ("connect", 503, 2.0)


@pytest.mark.holds("C7")
async def test_requests_of_one_session_begin_in_order_and_run_at_the_same_time() -> None:
    async with workers("ada", "bob") as (ada, bob):
        for session_id in ("talk", "chat"):
            await ada.own(session_id)
        owners = {session_id: await bob.own(session_id) for session_id in ("talk", "chat")}
        opened = anyio.Event()

        async def wait(_: ForwardedRequest) -> dict[str, Any]:
            await opened.wait()
            return {}

        ada.result = wait
        async with anyio.create_task_group() as tasks:
            bob.actor.system.is_busy = True  # so that all of them are sent in one tick, in this order
            for number in range(30):
                for session_id, owner in owners.items():
                    tasks.start_soon(partial(bob.ask, owner, session_id, number=number))
                    await anyio.lowlevel.checkpoint()
            bob.actor.system.is_busy = False
            ada.ref.tell(EndSession("nothing"))
            await anyio.sleep(1)
            assert len(ada.served) == 60, "all are under way"
            for session_id in owners:
                mine = [request for request in ada.served if request.session_id == session_id]
                assert [(request.request.params or {})["number"] for request in mine] == list(range(30))
            opened.set()


@pytest.mark.holds("C1", "C3")
async def test_a_worker_that_does_not_own_the_session_any_more_denies_and_does_nothing() -> None:
    async with workers("ada", "bob") as (ada, bob):
        await ada.own("talk")
        owner = await bob.own("talk")
        ada.ref.tell(EndSession("talk"))
        await anyio.sleep(0.1)
        with pytest.raises(Denied) as denied:
            await bob.ask(owner)
        assert denied.value.held is None
        await ada.own("talk")
        with pytest.raises(Denied) as denied:
            await bob.ask(owner)
        assert denied.value.held is not None, "it owns it by another holding"
        assert ada.served == []


async def hang(_: ForwardedRequest) -> dict[str, Any]:
    await anyio.sleep_forever()
    return {}


@pytest.mark.holds("C3", "C5")
async def test_a_request_that_had_begun_when_its_owner_died_has_an_unknown_outcome_and_the_next_takes_over() -> None:
    async with workers("ada", "bob") as (ada, bob):
        await ada.own("talk")
        owner = await bob.own("talk")
        ada.result = hang
        outcomes: list[Exception] = []

        async def ask() -> None:
            try:
                await bob.ask(owner)
            except ClusterError as error:
                outcomes.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.sleep(1)
            assert len(ada.served) == 1
            ada.ref.stop()
            await anyio.sleep(0.05)
            assert [type(error) for error in outcomes] == [OutcomeUnknown]
        assert not isinstance(outcomes[0], ClusterError) or not outcomes[0].safe_to_retry
        assert (await bob.own("talk")).is_here
        assert bob.news == [OwnershipTaken("talk")]


@pytest.mark.holds("C3", "C5")
async def test_a_request_to_an_owner_that_is_dead_already_has_not_begun_and_the_next_one_takes_over() -> None:
    async with workers("ada", "bob") as (ada, bob):
        await ada.own("talk")
        owner = await bob.own("talk")
        await anyio.sleep(2)
        ada.ref.stop()
        await anyio.sleep(0.01)
        with pytest.raises(OwnerUnreachable, match=r"tools/call on http://127\.0\.0\.1:1/mcp has not begun") as failed:
            await bob.ask(owner)
        assert failed.value.safe_to_retry
        assert (await bob.own("talk")).is_here


@pytest.mark.holds("N2", "S5")
async def test_whoever_gives_up_a_request_has_it_cancelled_where_it_runs() -> None:
    async with workers("ada", "bob") as (ada, bob):
        await ada.own("talk")
        owner = await bob.own("talk")
        was_cancelled = anyio.Event()

        async def hang_and_tell(request: ForwardedRequest) -> dict[str, Any]:
            try:
                return await hang(request)
            finally:
                was_cancelled.set()

        ada.result = hang_and_tell
        with anyio.move_on_after(1):
            await bob.ask(owner)
        with anyio.fail_after(1):
            await was_cancelled.wait()
        await anyio.wait_all_tasks_blocked()
        assert (len(ada.actor.serving), len(bob.actor.forwarding)) == (0, 0)


@pytest.mark.holds("C3")
async def test_a_request_that_is_not_answered_in_time_has_an_unknown_outcome_and_is_cancelled() -> None:
    async with workers("ada", "bob") as (ada, bob):
        await ada.own("talk")
        ada.result = hang
        with pytest.raises(OutcomeUnknown):
            await bob.ask(await bob.own("talk"), timeout=3)
        await anyio.sleep(0.1)
        assert len(ada.actor.serving) == 0


@pytest.mark.holds("C4")
async def test_what_is_too_large_is_refused_by_name_on_the_side_that_would_send_it() -> None:
    async with workers("ada", "bob") as (ada, bob):
        await ada.own("talk")
        owner = await bob.own("talk")
        large = "x" * SETTINGS.max_message
        with pytest.raises(EnvelopeRefused, match="bytes are more than workers take"):
            await bob.ask(owner, text=large)
        assert ada.served == []

        async def answer(_: ForwardedRequest) -> dict[str, Any]:
            return {"text": large}

        async def fail(_: ForwardedRequest) -> dict[str, Any]:
            raise MCPError(-32000, "too much", large)

        for result in (answer, fail):
            ada.result = result
            with pytest.raises(EnvelopeRefused, match="bytes are more than workers take"):
                await bob.ask(owner)
        ada.result = echo
        assert await bob.ask(owner, text="small") == {"said": {"text": "small"}}


@pytest.mark.holds("C3")
async def test_a_request_that_no_worker_would_take_is_refused_where_it_is_made_and_harms_no_other() -> None:
    async with workers("ada", "bob") as (ada, bob):
        await ada.own("talk")
        owner = await bob.own("talk")
        odd = Owner(Holding("ada", "t" * 2_000, "principal"), is_here=False)
        with pytest.raises(EnvelopeRefused):
            await bob.ask(odd)
        assert len(bob.actor.forwarding) == 0
        assert await bob.ask(owner, text="hello") == {"said": {"text": "hello"}}
