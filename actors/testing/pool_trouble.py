"""What else befalls the pool under test: its operators, and the troubles of its servers."""

import json
from random import Random
from typing import TYPE_CHECKING, Final

import anyio

from actors.testing.pool_inside import state_of
from actors.testing.trouble import Trouble
from protocol.session import SessionState

if TYPE_CHECKING:
    from actors.testing.fake_session import FakeSession
    from actors.testing.pool_lifecycle import PoolLife

TROUBLES: Final = tuple(Trouble)


class PoolOperator:
    """Somebody who looks after the pool.

    Args:
        life: what it is part of.
        random: where its draws come from.
    """

    def __init__(self, life: "PoolLife", random: Random) -> None:
        self._life = life
        self._random = random

    async def run(self) -> None:
        """Do something now and then, until all steps are done."""
        life, random = self._life, self._random
        while life.step():
            await anyio.sleep(random.uniform(0, 4 * life.pace))
            if life.is_closing:
                return
            work = random.choice((self._drain, self._retire, self._resize, self._look, self._look))
            life.done[f"operator {work.__name__.strip('_')}"] += 1
            work()

    def _drain(self) -> None:
        self._life.pool.drain()

    def _retire(self) -> None:
        self._life.pool.retire(self._random.choice(self._life.upstreams).upstream)

    def _resize(self) -> None:
        life, before = self._life, self._life.settings
        least = max(1, before.min_idle)
        changes = {
            "max_size": self._random.randint(least, max(least, before.max_size + 1)),
            "max_sessions": self._random.randint(max(least, before.max_sessions // 2), before.max_sessions + 1),
        }
        life.pool.resize(**changes)
        life.ledger.resized(life.pool.settings.with_(**changes))

    def _look(self) -> None:
        """Whoever looks must find figures that can be written down."""
        self._life.pool.reset_breakers()
        json.dumps(self._life.pool.stats().as_mapping())


class PoolTrouble:
    """What goes wrong with the servers, besides what they draw themselves: troubles for sessions in every state.

    Args:
        life: what it is part of.
        random: where its draws come from.
    """

    def __init__(self, life: "PoolLife", random: Random) -> None:
        self._life = life
        self._random = random

    async def run(self) -> None:
        """Cause trouble now and then, until all steps are done."""
        while self._life.step():
            await anyio.sleep(self._random.uniform(0, self._life.pace))
            if self._random.random() < OUTAGES:
                await self._outage()
            else:
                self._strike()

    def _strike(self) -> None:
        """Strike a session, mostly with what has been rare so far: some states are over soon."""
        life, random = self._life, self._random
        by_state: dict[SessionState, list[FakeSession]] = {}
        for session in life.ledger.live:
            by_state.setdefault(state_of(life.pool, session), []).append(session)
        occasions = [(trouble, state) for state in by_state for trouble in TROUBLES]
        if not occasions:
            return
        random.shuffle(occasions)
        if random.random() < RARE:
            occasions.sort(key=lambda occasion: life.struck[occasion])
        trouble, state = occasions[0]
        if random.choice(by_state[state]).strike(trouble):
            life.struck[trouble, state] += 1

    async def _outage(self) -> None:
        """A server is down for a while, and with it most of its sessions."""
        life, random = self._life, self._random
        server = random.choice(life.upstreams)
        life.done["outage"] += 1
        server.is_down = True
        for session in server.live:
            if random.random() < LOST_IN_OUTAGE:
                session.strike(Trouble.BREAK)
        await anyio.sleep(random.uniform(0, 3 * life.pace))
        server.is_down = False


OUTAGES: Final = 0.1
RARE: Final = 0.7
LOST_IN_OUTAGE: Final = 0.8
