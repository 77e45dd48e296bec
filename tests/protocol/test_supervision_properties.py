"""The supervisor machine in a world that answers in any order, against a model that knows what is up and what is due.

The invariants of R3, after every event:

- no child is started while anything of it is up, and none is shut down twice;
- where children take turns, one goes down at a time, the last started first; nobody is started meanwhile, and then one
  at a time, the first first;
- what is not restarted is not started, and what is restarted is started, with everybody whom it concerns;
- restarts never exceed the intensity by a recount of all of them, and the first that would ends the supervisor;
- every ticket is answered once, and a closed supervisor finishes when its last child has ended, and only then.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol import errors
from protocol.child import ChildSpec, ChildState
from protocol.restart import Backoff, Restart, Strategy
from protocol.supervision import Phase, SupervisorMachine
from protocol.supervisor_events import (
    Answer,
    Boot,
    ChildRequest,
    Close,
    DelayElapsed,
    DeleteChild,
    Exited,
    Finish,
    Refuse,
    RestartChild,
    ShutDown,
    Start,
    StartChild,
    Started,
    StartFailed,
    SupervisorEvent,
    TerminateChild,
    Wait,
)

IDS = ("a", "b", "c", "d", "e", "f")


def make() -> None:
    """What a spec here starts, which nobody does."""


@dataclass
class Kid:
    """A child as the world knows it."""

    id: str
    restart: Restart
    starting: bool = False
    running: bool = False
    swept: bool = False
    """To go down because of a sibling."""
    dismissed: bool = False
    """To go down because somebody said so."""
    told: bool = False
    """Its shut-down was ordered."""
    resting: bool = False
    """Not to be started, unless something new happens."""
    waiting: bool = False
    new: bool = False
    """Refusing its start means forgetting it."""
    asker: int | None = None
    forget: bool = False
    restarts: int = 0

    @property
    def up(self) -> bool:
        return self.starting or self.running

    @property
    def going(self) -> bool:
        return self.up and (self.swept or self.dismissed)


Which = Callable[[Kid], bool]


def starting(kid: Kid) -> bool:
    return kid.starting


def running(kid: Kid) -> bool:
    return kid.running and not kid.told


def told(kid: Kid) -> bool:
    return kid.told


def waiting(kid: Kid) -> bool:
    return kid.waiting


def under_way(kid: Kid) -> bool:
    return kid.told or kid.starting or kid.waiting


@dataclass
class Setup:
    restarts: list[Restart]
    strategy: Strategy
    intensity: int
    period: float
    backoff: Backoff | None
    smooth: bool
    """Whether every start of the boot completes."""


RESTARTS = st.sampled_from([Restart.PERMANENT, Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY])
SETUPS = st.builds(
    Setup,
    restarts=st.lists(RESTARTS, max_size=5) | st.lists(RESTARTS, min_size=3, max_size=5),
    strategy=st.sampled_from(Strategy),
    intensity=st.sampled_from([50, 50, 3, 1, 0]),
    period=st.sampled_from([0.5, 2.0, 5.0]),
    backoff=st.sampled_from([None, Backoff(first=0.5, factor=2, ceiling=3, jitter=0.5)]),
    smooth=st.sampled_from([True, True, False]),
)


class SupervisorLife(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.tickets = 0

    @initialize(setup=SETUPS)
    def boot(self, setup: Setup) -> None:
        self.setup = setup
        self.kids = {name: Kid(name, restart) for name, restart in zip(IDS, setup.restarts, strict=False)}
        self.restarted: list[float] = []
        self.asked = 0
        self.pending: set[int] = set()
        self.terminators: dict[str, set[int]] = {}
        self.closing = self.gave_up = self.finished = False
        self.reason: BaseException | None = None
        self.machine = SupervisorMachine[int](
            "root",
            [ChildSpec(kid.id, make, restart=kid.restart) for kid in self.kids.values()],
            strategy=setup.strategy,
            intensity=setup.intensity,
            period=setup.period,
            backoff=setup.backoff,
        )
        self.send(Boot())
        if setup.smooth:
            self.everything_under_way_ends_well()

    @precondition(lambda self: self.finished)
    @rule(setup=SETUPS)
    def after_its_end_another_is_booted(self, setup: Setup) -> None:
        self.boot(setup)

    # --- what the machine wants

    def send(self, event: SupervisorEvent[int]) -> None:
        self.in_turns = self.machine.phase is not Phase.UP or self.setup.strategy is not Strategy.ONE_FOR_ONE
        self.answered: dict[int, Exception | None] = {}
        self.waits: list[tuple[str, float]] = []
        effects = self.machine.handle(event, now=self.now, draw=0.5)
        for effect in effects:
            match effect:
                case Start(name):
                    self.start(self.kids[name])
                case ShutDown(name, seconds):
                    assert seconds is None
                    self.shut_down(self.kids[name])
                case Wait(name, seconds):
                    self.waits.append((name, seconds))
                case Answer(ticket, name):
                    assert name in IDS
                    self.answer(ticket, None)
                case Refuse(ticket, error):
                    self.answer(ticket, error)
                case Finish(error):
                    self.finish(error)

    def answer(self, ticket: int, error: Exception | None) -> None:
        assert ticket in self.pending, "every ticket is answered once"
        self.pending.remove(ticket)
        self.answered[ticket] = error

    def start(self, kid: Kid) -> None:
        assert not kid.up
        assert not kid.resting
        assert not kid.waiting
        assert not self.closing
        if self.in_turns:
            assert not any(other.going or other.waiting or other.starting for other in self.kids.values())
            for other in self.kids.values():
                if other is kid:
                    break
                assert other.running or other.resting, "starts are in start order"
        kid.starting = True

    def shut_down(self, kid: Kid) -> None:
        assert kid.up
        assert not kid.told
        assert kid.going or self.closing
        if self.in_turns or self.closing:
            assert not any(other.told for other in self.kids.values()), "one goes down at a time"
            later = list(self.kids.values())[list(self.kids).index(kid.id) + 1 :]
            assert not any(other.going or (self.closing and other.up) for other in later), "the last started first"
        kid.told = True

    def finish(self, error: Exception | None) -> None:
        assert self.closing
        assert not self.finished
        assert not any(kid.up for kid in self.kids.values())
        assert not self.pending
        if self.gave_up:
            assert isinstance(error, errors.RestartIntensityReached)
            assert error.__cause__ is self.reason or isinstance(error.__cause__, errors.StartFailed)
        elif isinstance(self.reason, errors.StartFailed) or self.reason is None:
            assert error is self.reason
        else:
            assert isinstance(error, errors.StartFailed)
        self.finished = True

    # --- what the rules say of an end

    def end(self, kid: Kid, event: Exited | StartFailed) -> None:
        was_starting = kid.starting
        kid.starting = kid.running = kid.told = False
        refused, wait = None, None
        if self.closing:
            pass
        elif kid.swept or kid.dismissed:
            kid.swept = kid.dismissed = False
            if kid.forget:
                del self.kids[kid.id]
        elif was_starting and kid.asker is not None:
            refused, kid.asker = kid.asker, None
            kid.resting = True
            if kid.new:
                del self.kids[kid.id]
        elif was_starting and self.machine.phase is Phase.BOOTING:
            self.close(event.error or errors.StartFailed(), gave_up=False)
            if isinstance(event, Exited):
                self.reason = RuntimeError("told in the machine's words")
        elif kid.restart is Restart.TEMPORARY:
            del self.kids[kid.id]
        elif was_starting or kid.restart is Restart.PERMANENT or event.error is not None:
            wait = self.restart(kid, event.error)
        else:
            kid.resting = True
        ended = self.terminators.pop(kid.id, set())
        self.send(event)
        if not self.closing:
            assert ended <= set(self.answered), "whoever ended it is told when it has ended"
        if refused is not None:
            assert isinstance(self.answered[refused], errors.StartFailed)
        assert self.waits == ([] if wait is None else [(kid.id, wait)])

    def restart(self, kid: Kid, error: BaseException | None) -> float | None:
        recent = [time for time in self.restarted if time >= self.now - self.setup.period]
        if len(recent) + 1 > self.setup.intensity:
            self.close(error, gave_up=True)
            return None
        self.restarted.append(self.now)
        kid.restarts += 1
        names = list(self.kids)
        concerned = {
            Strategy.ONE_FOR_ONE: [],
            Strategy.ONE_FOR_ALL: names,
            Strategy.REST_FOR_ONE: names[names.index(kid.id) :],
        }[self.setup.strategy]
        for name in concerned:
            other = self.kids[name]
            other.resting = False
            if other.up:
                other.swept = True
                other.forget = other.forget or other.restart is Restart.TEMPORARY
                if other.forget:
                    other.asker = None
        if self.setup.backoff is None:
            return None
        kid.waiting = True
        return min(0.5 * 2 ** len(recent), 3.0) * 0.75

    def close(self, reason: BaseException | None, *, gave_up: bool) -> None:
        self.closing = True
        self.reason = reason
        self.gave_up = gave_up
        self.terminators.clear()

    # --- what happens in the world

    def those(self, which: Which) -> list[str]:
        return [kid.id for kid in self.kids.values() if which(kid)]

    def one_of(self, which: Which, data: st.DataObject) -> Kid:
        return self.kids[data.draw(st.sampled_from(self.those(which)))]

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 5.0]))
    def the_clock_moves(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.those(under_way))
    @rule()
    def everything_under_way_ends_well(self) -> None:
        while busy := self.those(under_way):
            kid = self.kids[busy[0]]
            if kid.told:
                self.end(kid, Exited(kid.id))
            elif kid.starting:
                self.started(kid)
            else:
                self.delayed(kid)

    @precondition(lambda self: self.those(starting))
    @rule(data=st.data())
    def a_start_completes(self, data: st.DataObject) -> None:
        self.started(self.one_of(starting, data))

    def started(self, kid: Kid) -> None:
        kid.starting, kid.running = False, True
        asker = None if kid.going or self.closing else kid.asker
        self.send(Started(kid.id))
        assert self.answered == ({} if asker is None else {asker: None})
        if asker is not None:
            kid.asker, kid.new = None, False

    @precondition(lambda self: self.those(starting))
    @rule(data=st.data(), says=st.sampled_from(["it failed", "it ended", "it crashed"]))
    def a_start_fails(self, data: st.DataObject, says: str) -> None:
        kid = self.one_of(starting, data)
        ends = {
            "it failed": StartFailed(kid.id, errors.StartFailed(says)),
            "it ended": Exited(kid.id),
            "it crashed": Exited(kid.id, RuntimeError(says)),
        }
        self.end(kid, ends[says])

    @precondition(lambda self: self.those(running))
    @rule(data=st.data(), crash=st.booleans())
    def a_running_child_ends(self, data: st.DataObject, *, crash: bool) -> None:
        kid = self.one_of(running, data)
        self.end(kid, Exited(kid.id, RuntimeError("crash") if crash else None))

    @precondition(lambda self: self.those(told))
    @rule(data=st.data(), crash=st.booleans())
    def a_shut_down_child_ends(self, data: st.DataObject, *, crash: bool) -> None:
        kid = self.one_of(told, data)
        self.end(kid, Exited(kid.id, RuntimeError("crash") if crash else None))

    @precondition(lambda self: self.those(waiting))
    @rule(data=st.data())
    def a_delay_ends(self, data: st.DataObject) -> None:
        self.delayed(self.one_of(waiting, data))

    def delayed(self, kid: Kid) -> None:
        kid.waiting = False
        self.send(DelayElapsed(kid.id))

    @rule()
    def what_crossed_on_the_way_changes_nothing(self) -> None:
        late: list[SupervisorEvent[int]] = [Started("gone"), StartFailed("gone", RuntimeError()), Exited("gone")]
        late += [DelayElapsed(kid.id) for kid in self.kids.values() if not kid.waiting]
        before = self.machine.children()
        for event in late:
            assert self.machine.handle(event, now=self.now, draw=0.5) == []
        assert self.machine.children() == before

    @precondition(lambda self: self.asked > 8)
    @rule()
    def it_is_closed(self) -> None:
        if not self.closing:
            self.close(None, gave_up=False)
        self.send(Close())
        assert not self.pending

    # --- what is asked

    def ask(self, name: str, request: Callable[[int], ChildRequest[int]]) -> int | None:
        """Send it, and see to it that it is refused if there is nothing to ask; else answer its ticket."""
        self.tickets += 1
        self.asked += 1
        self.pending.add(self.tickets)
        event = request(self.tickets)
        kid = self.kids.get(name)
        due: type[Exception] | None = None
        if self.closing:
            due = errors.ActorStopped
        elif isinstance(event, StartChild):
            due = errors.NameTaken if kid is not None else None
        elif kid is None:
            due = errors.UnknownChild
        elif not isinstance(event, TerminateChild) and (kid.up or not kid.resting):
            due = errors.ChildRunning
        if due is None:
            return self.tickets
        self.send(event)
        assert type(self.answered[self.tickets]) is due
        return None

    @rule(name=st.sampled_from(IDS), restart=RESTARTS)
    def somebody_starts_a_child(self, name: str, restart: Restart) -> None:
        spec = ChildSpec(name, make, restart=restart)
        if (ticket := self.ask(name, lambda ticket: StartChild(ticket, spec))) is not None:
            self.kids[name] = Kid(name, restart, asker=ticket, new=True)
            self.send(StartChild(ticket, spec))

    @rule(name=st.sampled_from(IDS), what=st.sampled_from(["terminate", "restart", "restart", "delete"]))
    def somebody_asks_something_of_a_child(self, name: str, what: str) -> None:
        {"terminate": self.terminate, "restart": self.restart_stopped, "delete": self.delete}[what](name)

    def restart_stopped(self, name: str) -> None:
        if (ticket := self.ask(name, lambda ticket: RestartChild(ticket, name))) is not None:
            kid = self.kids[name]
            kid.resting, kid.asker = False, ticket
            self.send(RestartChild(ticket, name))

    def delete(self, name: str) -> None:
        if (ticket := self.ask(name, lambda ticket: DeleteChild(ticket, name))) is not None:
            del self.kids[name]
            self.send(DeleteChild(ticket, name))
            assert self.answered[ticket] is None

    def terminate(self, name: str) -> None:
        if (ticket := self.ask(name, lambda ticket: TerminateChild(ticket, name))) is None:
            return
        kid = self.kids[name]
        refused, kid.asker = kid.asker, None
        kid.forget = kid.forget or kid.new or kid.restart is Restart.TEMPORARY
        kid.resting, kid.waiting = True, False
        was_up = kid.up
        if was_up:
            kid.dismissed = True
            self.terminators.setdefault(name, set()).add(ticket)
        elif kid.forget:
            del self.kids[name]
        self.send(TerminateChild(ticket, name))
        assert (ticket in self.answered) is not was_up
        if refused is not None:
            assert isinstance(self.answered[refused], errors.ActorStopped)

    # --- what must hold

    @invariant()
    def children_are_what_the_world_says(self) -> None:
        statuses = self.machine.children()
        if not self.closing:
            assert [status.id for status in statuses] == list(self.kids)
        at = {status.id: status for status in statuses}
        for kid in self.kids.values():
            assert at[kid.id].restarts == kid.restarts
            assert (at[kid.id].state is ChildState.RUNNING) is (kid.running and not kid.going and not self.closing)
            assert (at[kid.id].state is ChildState.STOPPING) is kid.told
        assert self.machine.restarts == len(self.restarted)

    @invariant()
    def it_closes_and_finishes_when_it_must(self) -> None:
        assert self.closing is (self.machine.phase in (Phase.CLOSING, Phase.CLOSED))
        assert self.finished is (self.closing and not any(kid.up for kid in self.kids.values()))
        if self.closing:
            assert not self.pending
            assert self.finished or self.those(told)

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        kids = self.kids.values()
        if self.closing:
            return
        if self.setup.strategy is Strategy.ONE_FOR_ONE and self.machine.phase is Phase.UP:
            assert all(kid.told == kid.going for kid in kids)
            assert all(kid.up or kid.resting or kid.waiting for kid in kids)
        elif not self.those(under_way):
            assert all(kid.running or kid.resting for kid in kids)
            assert not any(kid.going for kid in kids)
            assert not self.pending
            assert self.machine.phase is Phase.UP

    def teardown(self) -> None:
        if not hasattr(self, "machine"):
            return
        if not self.closing:
            self.close(None, gave_up=False)
            self.send(Close())
        while going := self.those(told):
            self.end(self.kids[going[-1]], Exited(going[-1]))
        assert self.finished


SupervisorLife.TestCase.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)


@pytest.mark.holds("R3")
class TestSupervisorLife(SupervisorLife.TestCase):
    pass
