"""A pool's life under test: users, operators and servers that fail, under a seed. See `docs/simulation.md`."""

import gc
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from actors.connection import Opening, innermost
from actors.pool import Pool, open_pool
from actors.testing import pool_inside
from actors.testing.errors import LifecycleBroken
from actors.testing.fake_upstream import FakeUpstream
from actors.testing.ledger import Ledger
from actors.testing.pool_trouble import PoolOperator, PoolTrouble
from actors.testing.pool_user import PoolUser
from actors.testing.run import Run
from actors.testing.scenarios import Scenario
from actors.testing.scheduler import all_others_wait
from actors.testing.simulation import Simulation
from actors.testing.simulator import simulate
from actors.testing.trouble import Trouble
from protocol.session import SessionState
from protocol.settings import PoolSettings

STEPS: Final = 400
TIME_LIMIT: Final = 100_000.0
SHOWN: Final = 10

SMALL: Final = PoolSettings(
    max_size=2,
    max_sessions=6,
    max_keys=12,
    max_waiting=4,
    acquire_timeout=5,
    connect_timeout=2,
    call_timeout=3,
    close_timeout=1,
    settle_timeout=2,
    max_lifetime=20,
    max_idle=6,
    key_idle=5,
    health_interval=1,
    health_timeout=0.5,
    breaker_threshold=1_000,
)
"""Settings under which everything happens often: little room, and short times."""


def fake_upstreams(random: Random) -> list[FakeUpstream]:
    """A server that keeps state in its sessions, and one that does not, each with a little trouble of its own."""
    troubles = {Trouble.BREAK: 0.02, Trouble.LOSE: 0.02, Trouble.HANG: 0.01, Trouble.REFUSE: 0.02}
    return [
        FakeUpstream("http://stateful.test/mcp", random=random, troubles=troubles),
        FakeUpstream("http://stateless.test/mcp", is_stateful=False, sharing=3, random=random, troubles=troubles),
    ]


@dataclass(frozen=True)
class LifecycleReport:
    """What one seed made of a pool.

    Attributes:
        run: the run, event for event.
        struck: how often each trouble struck a session that the pool had in each state.
        done: how often each thing happened: leases, refusals by name, what operators did.
    """

    run: Run = field(repr=False)
    struck: Counter[tuple[Trouble, SessionState]]
    done: Counter[str]


class PoolLifecycle:
    """A stateful test of a pool: `PoolLifecycle(settings=mine).run(seed)`.

    Users acquire, call, release, forget leases, are cancelled and run out of time. Operators drain, retire, resize.
    Servers break, forget sessions, fall silent and refuse credentials. All of it is drawn from the seed, and happens in
    virtual time. Meanwhile a ledger checks what servers and callers can see (`Ledger`: L1, L3 to L6, L8, L9, S2), and
    at every quiet moment the pool's own figures are checked: every acquire ends in time (L2), nobody waits while there
    is room (L3), permits and sessions are as many (L5). Afterwards the pool is closed, within its time (S4), and every
    permit must be home, and no task, actor or session left (R4).

    Args:
        settings: the pool's; or what draws them from a `Random` that the seed decides. Durations should be of the order
            of `pace`, so that they matter: `SMALL` is an example.
        upstreams: makes the servers, anew for each run, from a `Random` that the seed decides; `FakeUpstream`, or
            classes derived from it.
        steps: how many things users, operators and troubles do in all.
        users: how many callers there are at once.
        pace: the seconds that things take: a user pauses for up to so long.
    """

    def __init__(
        self,
        settings: PoolSettings | Callable[[Random], PoolSettings] = SMALL,
        *,
        upstreams: Callable[[Random], Sequence[FakeUpstream]] = fake_upstreams,
        steps: int = STEPS,
        users: int = 8,
        pace: float = 1.0,
    ) -> None:
        self.settings = settings
        self.upstreams = upstreams
        self.steps = steps
        self.users = users
        self.pace = pace

    def run(self, seed: int) -> LifecycleReport:
        """Play it once. The same seed plays the same, event for event.

        Raises:
            LifecycleBroken: an invariant did not hold; which, and when, with a note that has the last events.
            Exception: whatever else ends a simulation; see `simulate`.
        """
        lives: list[PoolLife] = []

        async def pool_lifecycle(simulation: Simulation) -> None:
            lives.append(PoolLife(self, simulation))
            await lives[0].play()

        try:
            run = simulate(Scenario(pool_lifecycle, time_limit=TIME_LIMIT), seed=seed)
        except Exception as error:
            error.add_note(f"to play it again: {self!r}.run({seed})")
            raise
        return LifecycleReport(run, lives[0].struck, lives[0].done)

    async def __call__(self, simulation: Simulation) -> None:
        """Play it as a scenario: a lifecycle at the top of a module has a command (`python -m actors.testing`)."""
        await PoolLife(self, simulation).play()

    def __repr__(self) -> str:
        return f"PoolLifecycle(..., steps={self.steps}, users={self.users}, pace={self.pace:g})"


class PoolLife:
    """One run of a lifecycle, as its users and troubles see it.

    Attributes:
        pool, upstreams, ledger: what is under test, and what watches it.
        settings: those that the pool began with.
        tasks: for what goes on in the background.
        pace: see `PoolLifecycle`.
        is_closing: whether the pool was told to close.
        struck, done: see `LifecycleReport`.
    """

    pool: Pool
    tasks: TaskGroup

    def __init__(self, lifecycle: PoolLifecycle, simulation: Simulation) -> None:
        given, draws = lifecycle.settings, simulation.draws
        self.settings = given if isinstance(given, PoolSettings) else given(draws("settings"))
        self.upstreams = list(lifecycle.upstreams(draws("upstreams")))
        self.ledger = Ledger(
            simulation.now, self.settings, lambda what, whom: simulation.log.record("ledger", what, whom)
        )
        for upstream in self.upstreams:
            upstream.ledger = self.ledger
        self.pace = lifecycle.pace
        self.is_closing = False
        self.struck: Counter[tuple[Trouble, SessionState]] = Counter()
        self.done: Counter[str] = Counter()
        self._steps = lifecycle.steps
        self._no_more_steps = anyio.Event()
        self._users = lifecycle.users
        self._simulation = simulation
        self._random = simulation.draws("lifecycle")

    def step(self) -> bool:
        """Whether there is another step to be done; it counts."""
        self._steps -= 1
        if self._steps < 0:
            self._no_more_steps.set()
        return self._steps >= 0

    async def play(self) -> None:
        """Play it to the end, and check.

        Raises:
            LifecycleBroken: an invariant did not hold.
        """
        with _silence():
            await self._play()
        if not self.ledger.violations:
            self._check_end()
        self._raise_if_broken()

    async def _play(self) -> None:
        system = self._simulation.open_system("pool")
        self.pool = open_pool(self.settings, connector=self._open, system=system)
        is_abrupt = self._random.random() < ABRUPT
        try:
            async with self.pool:
                async with anyio.create_task_group() as self.tasks:
                    self._start_all()
                    if is_abrupt:
                        await self._no_more_steps.wait()
                        await self._close()
                if not is_abrupt and not self.ledger.violations:
                    await self._settle()
                    await self._close()
        except BaseExceptionGroup as error:
            raise innermost(error) from None
        finally:
            self.done.update(entry.what for entry in self.ledger.entries)

    def _start_all(self) -> None:
        draws, start = self._simulation.draws, self.tasks.start_soon
        start(self._watch)
        for number in range(self._users):
            start(PoolUser(self, draws(f"user {number}")).run)
        start(PoolOperator(self, draws("operator")).run)
        start(PoolTrouble(self, draws("trouble")).run)

    def _open(self, opening: Opening) -> Any:
        server = next(server for server in self.upstreams if server.upstream.url == opening.upstream.url)
        return server(opening)

    async def _watch(self) -> None:
        """Look at the pool whenever nothing can run. The first violation ends the run."""
        random = self._simulation.draws("watch")
        while self._steps > 0:
            await anyio.sleep(random.uniform(0, self.pace))
            await all_others_wait()
            if not self.is_closing:
                pool_inside.check(self.pool, self.ledger)
            if self.ledger.violations:
                self._steps = 0
                self.tasks.cancel_scope.cancel()

    async def _settle(self) -> None:
        """All callers have gone: what they have left comes home by itself."""
        settings = self.pool.settings
        gc.collect()  # what was forgotten may be held by a knot
        await anyio.sleep(settings.settle_timeout + settings.connect_timeout + settings.close_timeout)
        await all_others_wait()
        pool_inside.check(self.pool, self.ledger)
        stats = self.pool.stats()
        held = sum(key.counts.leases for key in stats.keys)
        if held or stats.waiting:
            self.ledger.violated("L4", f"all callers have gone, {held} leases are held and {stats.waiting} wait")

    async def _close(self) -> None:
        self.is_closing = True
        began, limit = self.ledger.now(), 2 * self.pool.settings.close_timeout
        await self.pool.close()
        if self.ledger.now() > began + limit + LATE:
            self.ledger.violated("S4", f"the pool took {self.ledger.now() - began:g} s to close, not {limit:g}")

    def _check_end(self) -> None:
        ledger, permits = self.ledger, self.pool.stats().permits
        if permits is not None and (permits.given or permits.queued):
            ledger.violated("L5", f"the pool is closed, and {permits.given} permits are not home")
        if ledger.live:
            ledger.violated("R4", f"the pool is closed, and this has not ended: {', '.join(map(str, ledger.live))}")
        for event in self._simulation.log.events:
            if event.error is not None:
                ledger.violated("S1", f"an actor failed: {event}")
        for attempt in ledger.waiting:
            ledger.violated("L2", f"attempt {attempt.number} has not ended")

    def _raise_if_broken(self) -> None:
        if violations := self.ledger.violations:
            raise LifecycleBroken("\n".join(["the pool did not keep to its rules:", *violations[:SHOWN]]))


ABRUPT: Final = 0.3
"""How likely the pool is closed while it is in use."""
LATE: Final = 1e-6


@contextmanager
def _silence() -> Generator[None]:
    """Leases are forgotten on purpose, and whatever else is warned of happens by the hundred."""
    logger = logging.getLogger("actors")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            yield
            gc.collect()
    finally:
        logger.setLevel(level)


def pool_lifecycle_test(lifecycle: PoolLifecycle | None = None, *, max_examples: int = 50) -> Callable[[], None]:
    """A test that pytest and unittest run, which draws seeds with Hypothesis.

        test_my_pool = pool_lifecycle_test(PoolLifecycle(MY_SETTINGS))

    A failure shows the seed, and `lifecycle.run(seed)` plays that again. It takes the extra `testing`.

    Args:
        lifecycle: what to play; None plays the pool's own.
        max_examples: how many seeds.
    """
    from hypothesis import Phase, given  # noqa: PLC0415 - it is an extra
    from hypothesis import settings as examples  # noqa: PLC0415
    from hypothesis import strategies as st  # noqa: PLC0415

    played = lifecycle or PoolLifecycle()

    # A smaller seed is no simpler one: there is nothing to shrink.
    @examples(max_examples=max_examples, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
    @given(seed=st.integers(0, 2**32 - 1))
    def test_pool_lifecycle(seed: int) -> None:
        played.run(seed)

    return test_pool_lifecycle
