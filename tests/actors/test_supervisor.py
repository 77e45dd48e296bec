"""Supervisors at work: the restart rules on real actors, shut-downs in order, escalation. On both event loops."""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise, product
from random import Random
from typing import Any, Literal

import anyio
import anyio.lowlevel
import pytest

from actors import (
    Actor,
    Backoff,
    ChildSpec,
    DeleteChild,
    Ref,
    RestartChild,
    StartChild,
    Supervisor,
    System,
    TerminateChild,
    Terminated,
    WhichChildren,
    message,
    open_system,
)
from protocol.errors import (
    ActorStopped,
    ChildRunning,
    InvalidSettings,
    NameTaken,
    RestartIntensityReached,
    StartFailed,
    UnknownChild,
)
from protocol.restart import RestartText, StrategyText

Log = list[str]


@message
class Crash:
    pass


@message
class Leave:
    pass


class Child(Actor[Crash | Leave]):
    def __init__(self, name: str, log: Log) -> None:
        self.name = name
        self.log = log

    def started(self) -> None:
        self.log.append(f"+{self.name}")

    def receive(self, message: Crash | Leave) -> None:
        match message:
            case Crash():
                raise ValueError("crash")
            case Leave():
                self.stop()

    def stopped(self, reason: BaseException | None) -> None:
        self.log.append(f"-{self.name}")


def children(log: Log, names: str = "abc", *, restart: RestartText = "permanent") -> list[ChildSpec[Child]]:
    return [ChildSpec(name, lambda name=name: Child(name, log), restart=restart) for name in names]


async def settled(system: System) -> None:
    await anyio.wait_all_tasks_blocked()
    while system.is_busy:
        await anyio.lowlevel.checkpoint()


RESTARTS: tuple[RestartText, ...] = ("permanent", "transient", "temporary")
STRATEGIES: tuple[StrategyText, ...] = ("one_for_one", "one_for_all", "rest_for_one")
ENDS: dict[str, tuple[bool, Callable[[Ref[Any]], None]]] = {
    "it leaves": (False, lambda ref: ref.tell(Leave())),
    "somebody stops it": (False, lambda ref: ref.stop()),
    "somebody drains it": (False, lambda ref: ref.drain()),
    "it crashes": (True, lambda ref: ref.tell(Crash())),
}


def expected(restart: str, strategy: str, *, failed: bool) -> Log:
    """What OTP's rules make of the end of b, among a, b and c."""
    if restart == "temporary" or (restart == "transient" and not failed):
        return ["-b"]
    return {
        "one_for_one": ["-b", "+b"],
        "one_for_all": ["-b", "-c", "-a", "+a", "+b", "+c"],
        "rest_for_one": ["-b", "-c", "+b", "+c"],
    }[strategy]


@pytest.mark.holds("R3")
@pytest.mark.parametrize(("restart", "strategy", "end"), list(product(RESTARTS, STRATEGIES, ENDS)))
async def test_the_end_of_a_child_restarts_whom_its_spec_and_the_strategy_say(
    restart: RestartText, strategy: StrategyText, end: str
) -> None:
    log: Log = []
    # The siblings are permanent, so that what becomes of them is up to the strategy alone.
    specs = children(log)
    specs[1] = ChildSpec("b", lambda: Child("b", log), restart=restart)
    failed, bring_about = ENDS[end]
    async with open_system() as system:
        await system.start(Supervisor(specs, strategy=strategy), name="top")
        assert log == ["+a", "+b", "+c"]
        log.clear()
        bring_about(system.named("top/b"))
        await settled(system)
        assert log == expected(restart, strategy, failed=failed)


@pytest.mark.holds("R3")
@pytest.mark.parametrize("intensity", [0, 1, 3])
async def test_one_restart_more_than_the_intensity_allows_ends_the_supervisor_and_the_system(intensity: int) -> None:
    log: Log = []
    with pytest.raises(RestartIntensityReached, match=r"/troupe/top gave up: its child 'a' failed") as caught:
        async with open_system() as system:
            system.spawn(Supervisor(children(log, "a"), intensity=intensity), name="top")
            for _ in range(intensity + 1):
                system.named("top/a").tell(Crash())
                await settled(system)
            pytest.fail("the body is cancelled")
    assert isinstance(caught.value.__cause__, ValueError)
    assert log == ["+a", "-a"] * (intensity + 1)


@pytest.mark.holds("R3")
async def test_a_failure_past_the_intensity_is_the_next_supervisors_to_mend() -> None:
    log: Log = []
    inner = ChildSpec("inner", lambda: Supervisor(children(log, "x"), intensity=0), restart="transient")
    async with open_system() as system:
        await system.start(Supervisor([*children(log, "a"), inner]), name="top")
        log.clear()
        system.named("top/inner/x").tell(Crash())
        await settled(system)
        assert log == ["-x", "+x"]
        assert system.find("top/inner/x") is not None


@pytest.mark.holds("R3")
@pytest.mark.backends("trio")
async def test_restarts_further_apart_than_the_period_never_add_up() -> None:
    log: Log = []
    async with open_system() as system:
        await system.start(Supervisor(children(log, "a"), intensity=1, period=5), name="top")
        for _ in range(10):
            system.named("top/a").tell(Crash())
            await anyio.sleep(5.001)
        assert log.count("+a") == 11


@pytest.mark.backends("trio")
async def test_a_backoff_grows_has_jitter_from_the_systems_randomness_and_holds_up_nobody_else() -> None:
    log: Log = []
    times: list[float] = []

    class Flaky(Child):
        def started(self) -> None:
            times.append(self.now())
            self.after(0.0, Crash())

    random = Random(4)
    draws = Random(4)
    async with open_system(random=random) as system:
        specs = [ChildSpec("flaky", lambda: Flaky("flaky", log)), *children(log, "a")]
        backoff = Backoff(first=1.0, factor=2.0, ceiling=5.0, jitter=0.5)
        await system.start(Supervisor(specs, intensity=5, period=1000, backoff=backoff), name="top")
        assert "+a" in log
        await anyio.sleep(12)
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert len(waits) >= 3
    for number, wait in enumerate(waits):
        longest = min(2.0**number, 5.0)
        assert longest / 2 < wait <= longest
    assert random.getstate() != draws.getstate()


@pytest.mark.holds("R3", "R4")
async def test_children_are_shut_down_one_after_the_other_the_last_started_first() -> None:
    log: Log = []

    class Slow(Child):
        def draining(self) -> None:
            self.log.append(f"~{self.name}")
            self.start(anyio.lowlevel.checkpoint, then=lambda _: Leave())

    specs = [ChildSpec(name, lambda name=name: Slow(name, log)) for name in "abc"]
    async with open_system() as system:
        await system.start(Supervisor(specs), name="top")
        log.clear()
    assert log == ["~c", "-c", "~b", "-b", "~a", "-a"]


@pytest.mark.holds("R3", "R4")
@pytest.mark.backends("trio")
@pytest.mark.parametrize(("patience", "longest"), [(2.0, 2.0), (0, 0.0), (None, 5.0)])
async def test_a_child_that_does_not_end_in_time_is_cancelled(patience: float | None, longest: float) -> None:
    log: Log = []

    class Stubborn(Child):
        def draining(self) -> None:
            self.start(self.linger, then=lambda _: Leave())

        async def linger(self) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                self.log.append("cancelled")

    async with open_system() as system:
        spec = ChildSpec("a", lambda: Stubborn("a", log), shutdown=patience)
        await system.start(Supervisor([spec]), name="top")
        began = anyio.current_time()
    assert anyio.current_time() - began == pytest.approx(longest)
    assert log == ["+a", *(["cancelled"] if longest else []), "-a"]


@pytest.mark.backends("trio")
async def test_a_child_may_be_given_all_the_time_it_takes() -> None:
    log: Log = []

    class Thorough(Child):
        def draining(self) -> None:
            self.after(50.0, Leave())

    async with open_system() as system:
        spec = ChildSpec("a", lambda: Thorough("a", log), shutdown=math.inf)
        await system.start(Supervisor([spec]), name="top")
        began = anyio.current_time()
    assert anyio.current_time() - began == pytest.approx(50)


@pytest.mark.holds("R3", "R4")
async def test_a_child_that_cannot_start_ends_the_supervisor_and_those_that_could() -> None:
    log: Log = []

    def broken() -> Child:
        raise OSError("no disk")

    async with open_system() as system:
        specs = [*children(log, "ab"), ChildSpec("c", broken), *children(log, "d")]
        with pytest.raises(StartFailed, match="/troupe/top/c could not be made") as caught:
            await system.start(Supervisor(specs), name="top")
        assert isinstance(caught.value.__cause__, OSError)
        assert log == ["+a", "+b", "-b", "-a"]
        assert system.tree() == ()
        with pytest.raises(StartFailed, match="/troupe/top/c could not be made"):
            system.spawn(Supervisor(specs), name="top")


@pytest.mark.holds("R3")
async def test_a_supervisor_has_started_when_the_supervisors_below_it_have() -> None:
    log: Log = []

    class Waiting(Child):
        async def starting(self) -> None:
            self.log.append(f"?{self.name}")
            await anyio.lowlevel.checkpoint()

    def inner(name: str) -> ChildSpec[Supervisor]:
        return ChildSpec(f"inner-{name}", lambda: Supervisor([ChildSpec(name, lambda: Waiting(name, log))]))

    async with open_system() as system:
        await system.start(Supervisor([inner("a"), inner("b")]), name="top")
        assert log == ["?a", "+a", "?b", "+b"]


@pytest.mark.holds("R3")
async def test_a_start_that_fails_at_a_restart_counts_as_one_more_restart() -> None:
    log: Log = []
    broken = [False]

    class Fragile(Child):
        def started(self) -> None:
            if broken[0]:
                log.append("?a")
                raise OSError("no disk")
            super().started()

    with pytest.raises(RestartIntensityReached) as caught:
        async with open_system() as system:
            spec = ChildSpec("a", lambda: Fragile("a", log))
            await system.start(Supervisor([spec], intensity=3), name="top")
            broken[0] = True
            system.named("top/a").tell(Crash())
            await settled(system)
            pytest.fail("the body is cancelled")
    assert log == ["+a", "-a", *["?a", "-a"] * 3]
    assert isinstance(caught.value.__cause__, StartFailed)


async def test_children_come_and_go_on_request() -> None:
    log: Log = []
    async with open_system() as system:
        top = await system.start(Supervisor(), name="top")
        a = await top.ask(StartChild(children(log, "a")[0]))
        assert a.is_alive
        assert system.find("/troupe/top/a") is a
        with pytest.raises(NameTaken, match="'a' of /troupe/top exists"):
            await top.ask(StartChild(children(log, "a")[0]))
        with pytest.raises(ChildRunning, match="terminate it first"):
            await top.ask(DeleteChild("a"))
        await top.ask(TerminateChild("a"))
        assert not a.is_alive
        again = await top.ask(RestartChild("a"))
        assert again.is_alive
        await top.ask(TerminateChild("a"))
        await top.ask(DeleteChild("a"))
        assert await top.ask(WhichChildren()) == ()
        for request in (TerminateChild("a"), DeleteChild("a"), RestartChild("a")):
            with pytest.raises(UnknownChild, match="/troupe/top has no child 'a'"):
                await top.ask(request)
    assert log == ["+a", "-a"] * 2


async def test_a_request_that_is_told_rather_than_asked_is_carried_out_all_the_same() -> None:
    log: Log = []
    async with open_system() as system:
        top = await system.start(Supervisor(), name="top")
        top.tell(StartChild(children(log, "a")[0]))
        top.tell(TerminateChild("nobody"))
        await settled(system)
        assert log == ["+a"]


@pytest.mark.holds("R2")
async def test_who_asks_a_supervisor_that_ends_is_told() -> None:
    log: Log = []

    class Never(Child):
        async def starting(self) -> None:
            await anyio.sleep_forever()

    async with open_system() as system, anyio.create_task_group() as tasks:
        top = await system.start(Supervisor(), name="top")

        async def ask() -> None:
            with pytest.raises(ActorStopped):
                await top.ask(StartChild(ChildSpec("a", lambda: Never("a", log))))

        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        top.drain()
    assert log == ["-a"], "its last turn tells, though it never had a first one"


@pytest.mark.holds("R3")
async def test_a_watcher_sees_each_end_of_a_restarted_child_and_the_name_stands_for_the_new_one() -> None:
    log: Log = []
    seen: list[Terminated] = []

    class Watcher(Actor[Any]):
        def receive(self, message: Any) -> None:
            self.watch(message)

        def signal(self, signal: Any) -> None:
            seen.append(signal)

    async with open_system() as system:
        await system.start(Supervisor(children(log, "a")), name="top")
        first = system.find("top/a")
        assert first is not None
        system.spawn(Watcher(), name="watcher").tell(first)
        name = system.named("top/a")
        name.tell(Crash())
        await settled(system)
        assert [end.ref for end in seen] == [first]
        assert isinstance(seen[0].reason, ValueError)
        assert name.is_alive
        assert not first.is_alive
        (node,) = (node for node in system.tree() if node.path == "/troupe/top")
        assert node.children[0].restarts == 1
        assert system.statistics().restarts == 1


def bad_supervisors() -> Iterator[tuple[str, Callable[[], Supervisor]]]:
    log: Log = []
    twice = children(log, "aa")
    yield "two children 'a'", lambda: Supervisor(twice)
    yield "intensity must be", lambda: Supervisor(intensity=-1)
    yield "period must be", lambda: Supervisor(period=0)
    unknown: Any = "one_for_none"
    yield "one_for_one, one_for_all, rest_for_one", lambda: Supervisor(strategy=unknown)
    sometimes: Literal["permanent"] = "sometimes"  # type: ignore[assignment]
    yield "child 'a'.*permanent, transient, temporary", lambda: Supervisor(children(log, "a", restart=sometimes))


@pytest.mark.parametrize(("text", "make"), list(bad_supervisors()))
def test_what_cannot_be_supervised_is_refused_by_name(text: str, make: Callable[[], Supervisor]) -> None:
    with pytest.raises(InvalidSettings, match=text):
        make()


async def test_a_start_that_makes_no_actor_is_refused_by_name() -> None:
    nothing: Any = dict
    async with open_system() as system:
        with pytest.raises(StartFailed, match="/troupe/top/a could not be made") as caught:
            await system.start(Supervisor([ChildSpec("a", nothing)]), name="top")
        assert "a dict, which is no Actor" in str(caught.value.__cause__)


@pytest.mark.holds("R4")
async def test_children_that_come_and_go_leave_nothing_with_their_supervisor() -> None:
    log: Log = []
    supervisor = Supervisor()
    async with open_system() as system:
        top = await system.start(supervisor, name="top")
        for number in range(100):
            spec = ChildSpec(f"job-{number}", lambda: Child("job", log), restart="temporary")
            (await top.ask(StartChild(spec))).tell(Leave())
        await settled(system)
        kept = [getattr(supervisor, name) for name in ("_refs", "_ids", "_starts", "_delays")]
        assert kept == [{}, {}, {}, {}]
