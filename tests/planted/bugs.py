"""Bugs that the suite must find: each is a small change to the sources, and the tests that must fail for it.

A plant is text to be replaced. If the sources change so that it is no longer there, the test says so: plant it anew.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Bug:
    """A fault of a kind that happens.

    Attributes:
        name: what goes wrong.
        file: where it is planted.
        right: the text that is there.
        wrong: what takes its place.
        found_by: the tests that must fail, as pytest is told to run them.
        backend: the event loop that they run on. On trio's virtual clock what would hang fails at once.
    """

    name: str
    file: str
    right: str
    wrong: str
    found_by: str
    backend: str = "trio"

    def plant(self, root: Path) -> None:
        """Plant the bug in the copy of the sources under `root`."""
        path = root / self.file
        source = path.read_text(encoding="utf-8")
        assert source.count(self.right) == 1, f"{self.name}: its text is not in {self.file} exactly once"
        path.write_text(source.replace(self.right, self.wrong), encoding="utf-8")


RUNTIME = [
    Bug(
        "a lost wake-up: who waits for a kept reply sleeps on",
        "actors/reply.py",
        "            self.event.set()\n",
        "            pass\n",
        "tests/actors/test_asks.py",
    ),
    Bug(
        "a double reply: the second answer takes the place of the first",
        "actors/reply.py",
        "        if self.is_open:\n            self.is_open = False\n            self.state = ANSWERED",
        "        if self.state is not GONE:\n            self.is_open = False\n            self.state = ANSWERED",
        "tests/actors/test_asks.py",
    ),
    Bug(
        "what an asker did not live to take is lost",
        "actors/reply.py",
        "            self.holder.signal(Unclaimed(self, self.value))",
        "            pass",
        "tests/actors/test_asks.py",
        backend="asyncio",  # trio does not cancel who has been woken
    ),
    Bug(
        "a leaked effect: it goes on after its actor was stopped",
        "actors/tree.py",
        "            effect.cancel()\n",
        "            pass\n",
        "tests/simulation/test_trees.py",
    ),
    Bug(
        "a leaked timer: it outlives its actor",
        "actors/tree.py",
        "            alarm.cancel()\n",
        "            pass\n",
        "tests/actors/test_effects.py tests/actors/test_timers.py",
    ),
    Bug(
        "an effect sees its sender's context variables",
        "actors/tree.py",
        "        self._context.run(self._tasks.start_soon, task, *args)",
        "        self._tasks.start_soon(task, *args)",
        "tests/actors/test_system.py",
    ),
    Bug(
        "nested turns: a message sent in a turn is handled within it",
        "actors/cell.py",
        "        if not system.is_busy:\n            system.dispatch(self, message, None)\n            return",
        "        if system:\n            system.dispatch(self, message, None)\n            return",
        "tests/actors/test_system.py",
    ),
    Bug(
        "a mailbox that fills up for ever: what was handled still counts",
        "actors/mailbox.py",
        "        if reply is None:\n            cell.waiting -= 1\n",
        "        if reply is None:\n            pass\n",
        "tests/actors/test_mailbox.py tests/actors/test_mailbox_properties.py",
    ),
    Bug(
        "a full mailbox refuses answers",
        "actors/mailbox.py",
        "        if reply is None and isinstance(message, Answer):\n            self.entries",
        "        if message is None:\n            self.entries",
        "tests/actors/test_mailbox.py tests/actors/test_mailbox_properties.py",
    ),
    Bug(
        "an overflowing mailbox drops the wrong end",
        "actors/mailbox.py",
        "        entry = droppable.popleft()",
        "        entry = droppable.pop()",
        "tests/actors/test_mailbox.py tests/actors/test_mailbox_properties.py",
    ),
    Bug(
        "a drain that drops what was queued",
        "actors/tree.py",
        "            self.queue.put_marked(cell, DRAIN, SIGNAL)\n",
        "            self.queue.entries.appendleft((cell, DRAIN, SIGNAL, None))\n",
        "tests/actors/test_drain.py",
    ),
    Bug(
        "an actor that is watched no more still sends its end",
        "actors/dispatch.py",
        "        elif not isinstance(signal, Terminated) or cell.forget_watched(signal.ref):",
        "        else:",
        "tests/actors/test_watch.py",
    ),
    Bug(
        "a start that never ends is waited for",
        "actors/tree.py",
        "        if cell.life is STARTING:\n            seconds",
        "        if cell.life is None:\n            seconds",
        "tests/actors/test_start.py",
    ),
    Bug(
        "randomness that no seed decides",
        "actors/actor.py",
        "        return self._cell.system.random",
        "        return Random()",
        "tests/simulation/test_replay.py",
    ),
    Bug(
        "an order that addresses decide",
        "actors/tree.py",
        "        for child in reversed(cell.children):",
        "        for child in set(cell.children):",
        "tests/simulation/test_replay.py",
    ),
]

SUPERVISION = [
    Bug(
        "a wrong restart count: one more than the intensity allows",
        "protocol/restart.py",
        "        if len(times) >= self.intensity:",
        "        if len(times) > self.intensity:",
        "tests/protocol/test_restart.py",
    ),
    Bug(
        "restarts that are forgotten a moment too early",
        "protocol/restart.py",
        "times[0] < now - self.period",
        "times[0] <= now - self.period",
        "tests/protocol/test_restart.py",
    ),
    Bug(
        "a transient child is restarted after a normal end",
        "protocol/supervision.py",
        "child.spec.restart is Restart.PERMANENT or event.error is not None",
        "True",
        "tests/protocol/test_supervision_grid.py",
    ),
    Bug(
        "rest_for_one takes the siblings before the one that failed",
        "protocol/supervision.py",
        "child.number < first",
        "child.number > first > 0",
        "tests/protocol/test_supervision_grid.py",
    ),
    Bug(
        "who asks a supervisor that closes is never told",
        "protocol/supervision.py",
        "                self._refuse(ticket, self._closing())\n            child.enders",
        "                pass\n            child.enders",
        "tests/protocol/test_supervision_machine.py tests/protocol/test_supervision_properties.py",
    ),
    Bug(
        "children are stopped at once instead of being shut down",
        "actors/supervisor.py",
        "self._cell.system.shut_down(self._refs[child], seconds)",
        "self._refs[child].stop()",
        "tests/actors/test_supervisor.py",
    ),
]

LIFE = "tests/simulation/test_pools.py"

POOL = [
    Bug(
        "a release does not wake who waits",
        "protocol/places.py",
        "        if (\n            self._waiting\n            or session.state",
        "        if (\n            session.state",
        LIFE,
    ),
    Bug(
        "a session with its releaser's calls under way is lent again",
        "actors/lease.py",
        "Release(self._loan, self._calls > 0)",
        "Release(self._loan, False)",
        LIFE,
    ),
    Bug(
        "a permit that does not come home when an opening fails",
        "protocol/supply.py",
        "        effects: list[PoolEffect[T]] = [Return()]\n        if never_opened:",
        "        effects: list[PoolEffect[T]] = [] if never_opened else [Return()]\n        if never_opened:",
        LIFE,
    ),
    Bug(
        "a broken session is lent again",
        "actors/pool_supervisor.py",
        "                self._handle(pool.SessionBroke(number, fault.kind is FaultKind.TERMINATED))\n",
        "                pass\n",
        LIFE,
    ),
    Bug(
        "a double release frees a place twice",
        "actors/lease.py",
        "        if not self._held:\n            raise self._was_released()\n        try:",
        "        try:",
        LIFE,
    ),
    Bug(
        "a conversation that lost its session is not told",
        "protocol/places.py",
        "                self._is_lost, self._is_unheard = True, False",
        "                self._is_lost, self._is_unheard = False, False",
        LIFE,
    ),
    Bug(
        "a session is lent after the credentials that it bore have ended",
        "protocol/places.py",
        "        if session.ends_at <= now or expires_at <= now:",
        "        if expires_at <= now:",
        LIFE,
    ),
    Bug(
        "a waiter is skipped: the newest is served first",
        "protocol/places.py",
        "        ticket = next(iter(self._waiting))\n",
        "        ticket = list(self._waiting)[-1]\n",
        LIFE,
    ),
    Bug(
        "a caller who has gone is waited for",
        "actors/pool_supervisor.py",
        "                self._handle(pool.Withdraw(reply))",
        "                pass",
        LIFE,
    ),
    Bug(
        "the cap of all sessions is not looked at",
        "protocol/capacity.py",
        "        has_room = entry.line.blocked() is None",
        "        has_room = True",
        LIFE,
    ),
    Bug(
        "a conversation shares the session of another one",
        "protocol/keys.py",
        "upstream.way, gateway_id, session_id)",
        "upstream.way, gateway_id, session_id and session_id[:2])",
        LIFE,
    ),
    Bug(
        "a session whose last call has ended is never offered to another key that is starved",
        "actors/pool_supervisor.py",
        "        self._handle(message)\n        self._report_idle(self.now())",
        "        self._handle(message)",
        LIFE,
    ),
    Bug(
        "a lease that was forgotten keeps its place",
        "actors/lease.py",
        "            self._abandon()",
        "            pass",
        LIFE,
    ),
    Bug(
        "a pool that is closed waits for its servers for ever",
        "actors/session.py",
        "                bound.deadline = anyio.current_time() + ",
        "                bound.deadline = 10 * anyio.current_time() + ",
        LIFE,
    ),
]
