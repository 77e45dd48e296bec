"""What only a look inside a pool tells: the state that it has a session in, and whether anybody waits without need."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from actors.acquire import Acquire
from actors.pool_supervisor import PoolSupervisor
from actors.testing.fake_session import FakeConnection
from actors.testing.ledger import ATTEMPT_HEADER
from protocol.pool import PoolMachine
from protocol.pooled_session import PooledSession
from protocol.session import SessionState

if TYPE_CHECKING:
    from actors.key_statistics import KeyStats
    from actors.lease import Lease
    from actors.pool import Pool
    from actors.testing.fake_session import FakeSession
    from actors.testing.ledger import Ledger

IDLE_REPORT: Final = 1.5
"""Seconds after which the pool as a whole knows that a session is idle."""

# This file is the one place in the kit that looks into what is private to the pool.
# ruff: noqa: SLF001
# pyright: reportPrivateUsage=false


def may_start(pool: "Pool", session_id: str) -> bool:
    """Whether something may be started for a downstream session on this worker, and now."""
    membership = pool._membership
    cluster = None if membership is None else membership._actor
    return cluster is not None and cluster.may_start(session_id)


def session_of(lease: "Lease") -> "FakeSession":
    """The session that was lent. Asking the lease's client for it would tie a knot that only the collector undoes."""
    connection = lease._connection
    if not isinstance(connection, FakeConnection):
        raise TypeError(f"{lease!r} is not of a FakeUpstream")
    return connection.session


def state_of(pool: "Pool", session: "FakeSession") -> SessionState:
    """The state that the pool has this session in."""
    for _, pooled in _sessions(pool):
        if pooled.note is session.connection:
            return pooled.state
    return SessionState.CLOSING if session.is_open or session.closing_at != math.inf else SessionState.CONNECTING


def check(pool: "Pool", ledger: "Ledger") -> None:
    """Note in the ledger what must not be in a pool in which nothing can run at this moment."""
    ledger.all_wait(_queued(pool))
    stats = pool.stats()
    live, sessions = len(ledger.live), stats.sessions()
    if stats.permits is not None and not stats.permits.given == sessions == live:
        given = stats.permits.given
        ledger.violated("L5", f"{given} permits are given, for {sessions} sessions; the servers have {live}")
    if stats.waiting > len(ledger.waiting):
        ledger.violated("L2", f"{stats.waiting} callers wait, and there are {len(ledger.waiting)}")
    held = sum(key.counts.leases for key in stats.keys)
    if held > ledger.leases:
        ledger.violated("L4", f"{held} leases take up places, and callers know of {ledger.leases}")
    for key in stats.keys:
        _check_waiters(key, ledger)
    _check_starved(pool, ledger)


def _check_waiters(key: "KeyStats", ledger: "Ledger") -> None:
    counts = key.counts
    if not counts.waiting:
        return
    if key.available:
        ledger.violated("L3", f"{counts.waiting} callers wait for {key.name}, and {key.available} sessions are idle")
    under_way = key.sessions(SessionState.CONNECTING) + counts.reserved
    needed = counts.waiting if key.stateful else 1
    if under_way < needed and counts.free > 0:
        told = f"{counts.waiting} callers wait for {key.name}, {under_way} sessions are under way"
        ledger.violated("L3", f"{told}, and {counts.free} more could be")


def _check_starved(pool: "Pool", ledger: "Ledger") -> None:
    """Nobody waits for a permit while there is one, or a session that could make room for it."""
    settings = pool.settings
    if settings.max_sessions_per_user is not None or settings.max_sessions_per_gateway is not None:
        return  # who can help whom is then more than can be told from here
    permits = pool._registry_actor.permits()
    if permits.queued and permits.permits < settings.max_sessions:
        ledger.violated("L3", f"{permits.queued} permits are waited for, and {permits.permits} are given")
    if permits.queued <= permits.rooms:
        return
    now = ledger.now()
    for machine, session in _sessions(pool):
        if not machine.is_sticky and session.state is SessionState.IDLE and session.used_at + IDLE_REPORT < now:
            since = f"idle since {session.used_at:g} s"
            ledger.violated("L3", f"{permits.queued} permits are waited for, and one of {machine.name} is {since}")


def _queued(pool: "Pool") -> Iterator[int]:
    for supervisor in pool._registry_actor._living:
        for reply in supervisor._machine._waiting:
            if isinstance(acquire := reply.request, Acquire):
                yield int(acquire.caller.headers[ATTEMPT_HEADER])


def _sessions(pool: "Pool") -> Iterator[tuple[PoolMachine[object], PooledSession]]:
    supervisors: list[PoolSupervisor] = list(pool._registry_actor._living)
    for supervisor in supervisors:
        for session in supervisor._machine._sessions:
            yield supervisor._machine, session  # type: ignore[misc]
