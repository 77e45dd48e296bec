"""The pool machine under any order of events, against a model that is nothing but sets.

The invariants, after every event:

- L1: no session has two leases, and no lease two sessions.
- L2: whoever waits is known to wait: granted, refused and withdrawn tickets are gone.
- L3: nobody waits while a session is idle, or while one could be opened.
- L5: sessions that have not ended + free permits = max_size.
"""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.errors import ConnectFailed
from protocol.pool import (
    Acquire,
    AwaitCalls,
    CallsEnded,
    CallsOverdue,
    Close,
    Finished,
    Grant,
    Open,
    PoolEvent,
    PoolMachine,
    Refuse,
    Release,
    SessionBroke,
    SessionGone,
    SessionOpened,
    Shut,
    Withdraw,
)
from protocol.session import SessionState


class PoolLife(RuleBasedStateMachine):
    """Drives the machine as supervisors do: sessions open, fail, break and end in any order; callers come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.tickets = 0
        self.waiting: list[int] = []
        self.leases: dict[int, int] = {}  # lease -> session, while held
        self.settling: dict[int, int] = {}  # lease -> session, while its calls go on
        self.connecting: set[int] = set()
        self.open: set[int] = set()
        self.broken: set[int] = set()
        self.closing: set[int] = set()
        self.finished = 0
        self.shut = False

    @initialize(max_size=st.integers(1, 4), max_waiting=st.integers(0, 5))
    def make(self, max_size: int, max_waiting: int) -> None:
        self.max_size = max_size
        self.machine = PoolMachine[int]("model", max_size=max_size, max_waiting=max_waiting)

    def send(self, event: PoolEvent[int]) -> None:
        self.now += 1
        for effect in self.machine.handle(event, now=self.now):
            match effect:
                case Open(session, ticket):
                    assert ticket in self.waiting
                    assert session not in self.sessions()
                    self.connecting.add(session)
                case Grant(ticket, session, lease):
                    assert session in self.open - self.broken - self.closing
                    assert session not in {*self.leases.values(), *self.settling.values()}
                    assert lease not in self.leases
                    if self.waiting:
                        assert ticket == self.waiting.pop(0), "waiters are served first come, first served"
                    self.leases[lease] = session
                case Refuse(ticket, _):
                    self.waiting = [waiter for waiter in self.waiting if waiter != ticket]
                case Close(session):
                    assert session not in self.closing
                    self.closing.add(session)
                case AwaitCalls(lease):
                    assert lease in self.settling
                case Finished():
                    self.finished += 1

    def sessions(self) -> set[int]:
        return self.connecting | self.open

    def draw(self, data: st.DataObject, among: set[int] | dict[int, int]) -> int:
        return data.draw(st.sampled_from(sorted(among)))

    # --- callers

    @rule()
    def acquire(self) -> None:
        self.tickets += 1
        self.waiting.append(self.tickets)
        self.send(Acquire(self.tickets))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(ticket)
        self.send(Withdraw(ticket))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), busy=st.booleans())
    def release(self, data: st.DataObject, *, busy: bool) -> None:
        lease = self.draw(data, self.leases)
        session = self.leases.pop(lease)
        if busy:
            self.settling[lease] = session
        self.send(Release(lease, busy=busy))

    @precondition(lambda self: self.settling)
    @rule(data=st.data(), overdue=st.booleans())
    def settle(self, data: st.DataObject, *, overdue: bool) -> None:
        lease = self.draw(data, self.settling)
        del self.settling[lease]
        self.send(CallsOverdue(lease) if overdue else CallsEnded(lease))

    @rule(lease=st.integers(1, 50), said=st.sampled_from(["released", "ended", "overdue"]))
    def say_something_of_a_lease_that_is_over(self, lease: int, said: str) -> None:
        if lease not in self.leases and lease not in self.settling:
            events = {
                "released": Release(lease, busy=False),
                "ended": CallsEnded(lease),
                "overdue": CallsOverdue(lease),
            }
            before = self.machine.counts(now=self.now).sessions
            self.send(events[said])
            assert self.machine.counts(now=self.now).sessions == before

    # --- sessions

    @precondition(lambda self: self.connecting)
    @rule(data=st.data())
    def session_opens(self, data: st.DataObject) -> None:
        session = self.draw(data, self.connecting)
        self.connecting.remove(session)
        self.open.add(session)
        self.send(SessionOpened(session))

    @precondition(lambda self: self.open - self.broken)
    @rule(data=st.data())
    def session_breaks(self, data: st.DataObject) -> None:
        session = self.draw(data, self.open - self.broken)
        self.broken.add(session)
        self.send(SessionBroke(session))

    @precondition(lambda self: self.sessions())
    @rule(data=st.data())
    def session_ends(self, data: st.DataObject) -> None:
        session = self.draw(data, self.sessions())
        for group in (self.connecting, self.open, self.broken, self.closing):
            group.discard(session)
        for held in (self.leases, self.settling):
            for lease in [lease for lease, known in held.items() if known == session]:
                del held[lease]
        self.send(SessionGone(session, ConnectFailed("it ended", step="connect")))

    @precondition(lambda self: not self.shut and self.tickets > 10)
    @rule()
    def shut_down(self) -> None:
        self.shut = True
        self.send(Shut())
        assert not self.waiting

    # --- what must hold

    @invariant()
    def permits_are_conserved(self) -> None:
        counts = self.machine.counts(now=self.now)
        assert sum(counts.sessions.values()) == len(self.sessions())
        assert len(self.sessions()) + counts.free == self.max_size
        assert counts.free >= 0

    @invariant()
    def nobody_waits_without_need(self) -> None:
        counts = self.machine.counts(now=self.now)
        assert counts.waiting == len(self.waiting)
        if self.waiting:
            assert counts.sessions[SessionState.IDLE] == 0
            connecting = counts.sessions[SessionState.CONNECTING]
            assert counts.free == 0 or connecting >= len(self.waiting)

    @invariant()
    def sessions_are_lent_as_the_model_says(self) -> None:
        counts = self.machine.counts(now=self.now)
        idle = self.open - self.broken - self.closing - {*self.leases.values(), *self.settling.values()}
        assert counts.sessions[SessionState.IDLE] == len(idle)
        assert counts.sessions[SessionState.CLOSING] == len(self.closing)

    @invariant()
    def a_shut_pool_finishes_once_and_only_when_it_is_empty(self) -> None:
        assert self.finished == (self.shut and not self.sessions())


PoolLife.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)


@pytest.mark.holds("L1", "L2", "L3", "L4", "L5")
class TestPoolLife(PoolLife.TestCase):
    pass
