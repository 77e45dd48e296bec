"""A cluster's life under test: workers, callers and a Redis that fail, under a seed. See `docs/simulation.md`."""

import logging
from collections import Counter
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from random import Random
from typing import Final

import anyio
from anyio.abc import TaskGroup

from actors.pool import open_pool
from actors.testing.cluster_hub import SimulatedHub
from actors.testing.cluster_ledger import ClusterLedger
from actors.testing.cluster_line import BACKOFF
from actors.testing.cluster_phase import Phase
from actors.testing.cluster_server import CountingServer
from actors.testing.cluster_trouble import ClusterTrouble, Hazard, Struck
from actors.testing.cluster_worker import Order, Worker
from actors.testing.errors import LifecycleBroken
from actors.testing.node import Node
from actors.testing.pool_inside import may_start
from actors.testing.run import Run
from actors.testing.scenarios import Scenario
from actors.testing.scheduler import all_others_wait
from actors.testing.simulation import Simulation
from actors.testing.simulator import simulate
from protocol.bus import Claim, Find, Holding
from protocol.cluster_settings import ClusterSettings
from protocol.errors import InvalidSettings
from protocol.settings import PoolSettings

SHOWN: Final = 10
LEAST: Final = 3
IDEMPOTENT: Final = 0.2
IMPATIENT: Final = 0.1
"""How likely a call may be run twice, and how likely its caller goes away."""
HAIR: Final = 1e-6
"""Seconds by which two clocks may be apart, for they round."""
TIME_LIMIT: Final = 10_000.0
POOL: Final = PoolSettings(
    identity_secret=b"what identities are hashed with",
    acquire_timeout=1.5,
    call_timeout=2,
    close_timeout=1,
    connect_timeout=1,
    health_interval=None,
    max_lifetime=None,
    max_idle=None,
    breaker_threshold=1_000,
)
CLUSTER: Final = ClusterSettings(lifetime=1.0, holding=60.0, skew=0.5)


@dataclass(frozen=True)
class ClusterReport:
    """What one seed made of a cluster.

    Attributes:
        run: the run, event for event.
        struck: how often each trouble struck in the midst of each phase.
        done: how often each thing happened: calls by how they ended, take-overs.
    """

    run: Run = field(repr=False)
    struck: Counter[Struck]
    done: Counter[str]


class ClusterLifecycle:
    """A stateful test of a cluster: `ClusterLifecycle().run(seed)`.

    Callers have conversations with two servers, one of which keeps state, and ask a worker at random each time. Workers
    crash, stand still, leave and come back; their lines break, their clocks leap; the bus is late, says things twice,
    stops and forgets. All of it is drawn from the seed, and happens in virtual time. Afterwards a ledger checks what
    callers and servers saw (C3, C4, L6, L9, R2), during the run at most one worker owns a conversation (C1), once the
    troubles are over every worker serves every conversation again (C5, C9), and when all have left the bus has nothing
    of them (R4).

    Args:
        workers: how many there are at the most; at least 3.
        calls: how many are made.
        troubles: how many things befall them.
        pool: the pools' settings.
        cluster: how they meet.

    Raises:
        InvalidSettings: fewer than three workers.
    """

    def __init__(
        self,
        *,
        workers: int = 7,
        calls: int = 32,
        troubles: int = 10,
        pool: PoolSettings = POOL,
        cluster: ClusterSettings = CLUSTER,
    ) -> None:
        if workers < LEAST:
            raise InvalidSettings(f"a cluster under test has at least {LEAST} workers, not {workers}")
        self.workers = workers
        self.calls = calls
        self.troubles = troubles
        self.pool = pool
        self.cluster = cluster

    def run(self, seed: int) -> ClusterReport:
        """Play it once. The same seed plays the same, event for event.

        Raises:
            LifecycleBroken: an invariant did not hold; which, and when, with a note that has the last events.
            Exception: whatever else ends a simulation; see `simulate`.
        """
        lives: list[_Life] = []

        async def cluster_lifecycle(simulation: Simulation) -> None:
            lives.append(_Life(self, simulation))
            await lives[0].play()

        try:
            run = simulate(Scenario(cluster_lifecycle, time_limit=TIME_LIMIT), seed=seed)
        except Exception as error:
            error.add_note(f"to play it again: {self!r}.run({seed})")
            raise
        return ClusterReport(run, lives[0].trouble.struck, lives[0].done)

    async def __call__(self, simulation: Simulation) -> None:
        """Play it as a scenario: a lifecycle at the top of a module has a command (`python -m actors.testing`)."""
        await _Life(self, simulation).play()

    def __repr__(self) -> str:
        return f"ClusterLifecycle(workers={self.workers}, calls={self.calls}, troubles={self.troubles})"


class _Life:
    """One run."""

    tasks: TaskGroup

    def __init__(self, lifecycle: ClusterLifecycle, simulation: Simulation) -> None:
        self._lifecycle = lifecycle
        self._simulation = simulation
        self._random = random = simulation.draws("lifecycle")
        self.done: Counter[str] = Counter()
        self.hub = SimulatedHub(simulation.now, simulation.draws("hub"))
        self.ledger = ClusterLedger(simulation.now, lambda what, whom: simulation.log.record("ledger", what, whom))
        self.servers = [
            CountingServer(
                f"http://{name}.test/mcp", self.ledger, simulation.draws(name), is_stateful=name == "stateful"
            )
            for name in ("stateful", "stateless")
        ]
        self.ledger.stateful.add(self.servers[0].upstream.url)
        some = min(random.randint(LEAST, lifecycle.workers) for _ in range(2))  # few are as good as many, and cost less
        self.names = [f"w{number}" for number in range(1, some + 1)]
        self.talks = [f"talk-{number}" for number in range(1, random.randint(2, 4) + 1)]
        self.workers: dict[str, Worker] = {}
        kinds, phases = list(Hazard), list(Phase)
        planned = [(random.choice(kinds), random.choice(phases)) for _ in range(lifecycle.troubles)]
        self.trouble = ClusterTrouble(
            self.hub, simulation.draws("trouble"), planned, lifecycle.cluster.lifetime, self._comes_back
        )
        self._calls = lifecycle.calls
        self._is_over = False

    # --- the play

    async def play(self) -> None:
        """Play it to the end, and check.

        Raises:
            LifecycleBroken: an invariant did not hold.
        """
        logging.getLogger("actors").setLevel(logging.CRITICAL)
        async with anyio.create_task_group() as self.tasks:
            self.tasks.start_soon(self.hub.run)
            for name in self.names:
                await self._simulation.start(name, self._boot)
            await anyio.sleep(self._lifecycle.cluster.lifetime * self._random.choice((0.2, 1.5)))
            self.hub.meets, self.hub.claims = self.trouble.meets, self._claims
            self.tasks.start_soon(self._watch)
            async with anyio.create_task_group() as callers:
                for talk in self.talks:
                    callers.start_soon(self._talk, talk, self._simulation.draws(talk))
                callers.start_soon(self._leave_and_come)
            self.hub.meets = None
            if not self.ledger.violations:
                await self._settle()
            if not self.ledger.violations:
                await self._end()
            self.tasks.cancel_scope.cancel()
        self.ledger.check(self.hub.forgot)
        self._raise_if_broken()

    def _boot(self, node: Node) -> AbstractAsyncContextManager[None]:
        lifecycle = self._lifecycle
        worker: list[Worker] = []

        def starts(number: int) -> bool:
            return self._starts(worker[0], number)

        connectors = {server.upstream.url: server.at(starts) for server in self.servers}
        pool = open_pool(
            lifecycle.pool,
            name=node.name,
            connector=lambda opening: connectors[opening.upstream.url](opening),
            system=node.system,
            cluster=self.hub.at(node),
            cluster_settings=lifecycle.cluster,
        )
        worker.append(Worker(node, pool, self.ledger))
        self.workers[node.name] = worker[0]
        return worker[0].running()

    def _claims(self, claim: Claim, held: Holding | None) -> None:
        """Something is claimed: not from a living worker that has yet to come back to a Redis that has come back."""
        hub = self.hub
        others = [worker for worker in self.workers.values() if worker.pool.worker != claim.holding.owner]
        living = [worker for worker in others if worker.is_open and worker.node.is_up and not worker.node.is_paused]
        if held is None and not claim.over:  # else it is claimed by who holds it as well as those may
            robbed = [worker for worker in living if may_start(worker.pool, claim.session_id)]
        elif held is not None and held.token in claim.over and self._simulation.now() <= hub.came_back_at + BACKOFF[1]:
            robbed = [worker for worker in living if worker.pool.worker == held.owner]
        else:
            robbed = []
        for worker in robbed:
            if not hub.is_reached_by(worker.node):
                what = f"{claim.session_id} was claimed from {worker.node.name}, which lives"
                self.ledger.violated("C5", f"{what}, after a restart of Redis")

    def _starts(self, worker: Worker, number: int) -> bool:
        """A call is sent to its server: whose is the conversation then?"""
        asked, is_cut_off = self.ledger.asked[number], not self.hub.is_reached_by(worker.node)
        held = self.hub.records.do(Find(asked.talk), now=self._simulation.now())
        if held is not None and held.owner != worker.pool.worker and not is_cut_off:
            self.ledger.violated("C1", f"{worker.node.name} began {asked}, and another worker owns that")
        return is_cut_off

    async def _talk(self, talk: str, random: Random) -> None:
        """One conversation: a call or a few, and a pause, and so on."""
        while self._calls > 0 and not self.ledger.violations:
            await anyio.sleep(random.uniform(0, 0.8))
            orders = [self._order(talk, random) for _ in range(random.choice((1, 1, 1, 2, 4)))]
            for order in orders:
                if order is not None:
                    await order.has_ended.wait()

    def _order(self, talk: str, random: Random) -> Order | None:
        up = [worker for worker in self.workers.values() if worker.is_open and worker.node.is_up]
        if not up or self._calls <= 0:
            return None
        self._calls -= 1
        worker, server = random.choice(up), random.choice((*self.servers, self.servers[0]))
        asked = self.ledger.ask(talk, server.upstream.url, worker.node.name, idempotent=random.random() < IDEMPOTENT)
        patience = random.uniform(0, 1) if random.random() < IMPATIENT else float("inf")
        order = Order(asked, server.upstream, f"user of {talk}", random.choice((None, 1.0)), patience)
        worker.take(order)
        return order

    async def _leave_and_come(self) -> None:
        """Now and then a worker leaves in good order, and comes back as another one."""
        random = self._simulation.draws("leaving")
        while self._calls > 0 and not self.ledger.violations:
            await anyio.sleep(random.uniform(1, 6))
            node = self._simulation.nodes[random.choice(self.names)]
            if node.is_up and not node.is_paused and self.workers[node.name].is_open:
                is_alone = self._is_alone(node)
                await node.stop()
                if is_alone or self._is_alone(node):
                    self.hub.forgot.append(self._simulation.now())  # nobody was there to leave anything to
                await anyio.sleep(random.uniform(0, 1))
                await self._start_again(node)

    def _is_alone(self, node: Node) -> bool:
        """Whether all others are down, or stand still: then they may count as dead."""
        others = [other for other in self._simulation.nodes.values() if other is not node]
        return not any(other.is_up and not other.is_paused for other in others)

    def _comes_back(self, node: Node) -> None:
        self.tasks.start_soon(self._start_again, node)

    async def _start_again(self, node: Node) -> None:
        if not node.is_up:
            await node.restart()

    async def _watch(self) -> None:
        """Whenever nothing can run at this moment, at most one worker may start anything for a conversation."""
        random, lifetime = self._simulation.draws("watch"), self._lifecycle.cluster.lifetime
        while True:
            await anyio.sleep(random.uniform(0, 0.5))
            await all_others_wait()
            for talk in self.talks:
                owners = [
                    worker for worker in self.workers.values() if worker.node.is_up and may_start(worker.pool, talk)
                ]
                for worker in owners:
                    if self._simulation.now() > self.hub.beats.get(worker.pool.worker or "", 0) + lifetime + HAIR:
                        self.ledger.violated("C1", f"{worker.node.name} owns {talk}, and its time is over")
                reached = [worker.node.name for worker in owners if self.hub.is_reached_by(worker.node)]
                if len(reached) > 1:
                    self.ledger.violated("C1", f"{talk} is owned by {' and by '.join(reached)}")

    # --- when the troubles are over

    async def _settle(self) -> None:
        """Every worker serves every conversation, once all is well again."""
        cluster = self._lifecycle.cluster
        await anyio.sleep(3 * cluster.lifetime)
        for name in self.names:
            node = self._simulation.nodes[name]
            node.clock.set_wall(0.0)
            await self._start_again(node)
        await anyio.sleep(2 * cluster.lifetime)
        for talk in self.talks:
            for name in self.names:
                await self._is_served(name, talk)

    async def _is_served(self, name: str, talk: str) -> None:
        said: list[str] = []
        server = self.servers[0]
        for _ in range(2):
            asked = self.ledger.ask(talk, server.upstream.url, name, idempotent=False)
            order = Order(asked, server.upstream, f"user of {talk}", None, float("inf"))
            self.workers[name].take(order)
            await order.has_ended.wait()
            if asked.result is not None:
                return
            said.append(str(asked))
            if not asked.was_told:
                break
        self.ledger.violated("C9", f"all is well, and {name} does not serve {talk}: {said}")

    async def _end(self) -> None:
        """All leave, and nothing is left of them."""
        for name in self.names:
            await self._simulation.nodes[name].stop()
        await anyio.sleep(self._lifecycle.cluster.holding + self._lifecycle.cluster.lifetime)
        left = [talk for talk in self.talks if self.hub.records.do(Find(talk), now=self._simulation.now()) is not None]
        if left:
            self.ledger.violated("R4", f"all have left, and the bus still has {left}")
        if self.hub.links:
            self.ledger.violated("R4", f"all have left, and {len(self.hub.links)} are still connected")

    def _raise_if_broken(self) -> None:
        for asked in self.ledger.asked.values():
            end = "answered" if asked.error is None else type(asked.error).__name__
            self.done["cancelled" if asked.was_cancelled else end] += 1
        if violations := self.ledger.violations:
            shown = "\n".join(f"  {violation}" for violation in violations[:SHOWN])
            raise LifecycleBroken(f"{len(violations)} invariants did not hold:\n{shown}")
