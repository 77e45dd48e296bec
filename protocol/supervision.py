"""One supervisor: its children, their order, their restarts and their ends, in one machine.

The rules
---------
- Boot starts the children in order, each once the one before it is up. A start that fails ends it all: those that are
  up are shut down, the last started first, and the supervisor ends with the failure.
- A permanent child that ends is restarted, a transient one if it failed, a temporary one never: it is forgotten. A
  child that ends before its start was complete has failed, whatever it says.
- A restart asks the window. If it is one too many, the supervisor gives up: it shuts down the other children and ends
  with `RestartIntensityReached`. Every end that asks for a restart counts once, however many children it concerns.
- A restart concerns the child, all children, or the child and those started after it. Of the others, those that are up
  are shut down, the last started first, each when the one after it has ended; temporary ones are forgotten. How they
  end does not count. Then all are started in order, each once the one before it is up, also those that were stopped.
  What fails meanwhile joins in. A backoff holds up all of them.
- Outside of boot and close, children of a `one_for_one` supervisor concern each other in nothing: each is started, or
  shut down, at once. Everybody else's children take turns: what goes down goes first, then what comes up.
- A start that somebody asked for (`StartChild`, `RestartChild`) is theirs until it succeeds: if it fails they are told,
  nothing is restarted, and the child is as before, which is unknown or stopped. Group restarts only delay it.
- Every ticket is answered once. The later order wins: ending a child that somebody is starting refuses the start, and a
  group restart starts a child again that somebody has just ended.
- Close shuts down all children, the last started first, one at a time. Those not up stay down; requests are refused,
  the pending ones too. When no child is left the supervisor has finished, and nothing follows.

`handle` is the one way in. It answers with what must be done. Whoever drives it answers

- every `Start` with `StartFailed`, or with `Exited`, or with `Started` and later `Exited`;
- every `ShutDown` by seeing to it that the child's `Exited` or `StartFailed` follows, if it is not on its way already;
- every `Wait` with `DelayElapsed`.
"""

from collections.abc import Hashable, Sequence
from enum import Enum, auto
from typing import Generic, TypeVar, assert_never

from protocol import errors
from protocol.child import AnySpec, ChildEvent, ChildSpec, ChildState, ChildStatus, Fate
from protocol.restart import Backoff, Restart, RestartWindow, Strategy, StrategyText
from protocol.roster import Child, Roster
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
    SupervisorEffect,
    SupervisorEvent,
    TerminateChild,
    Wait,
)

T = TypeVar("T", bound=Hashable)
"""What stands for whoever asked something of the supervisor. The machine only keeps it."""


class Phase(Enum):
    """Where a supervisor is in its life."""

    NEW = auto()
    """Made, not booted."""
    BOOTING = auto()
    """Its first children are being started."""
    UP = auto()
    """All of them were."""
    CLOSING = auto()
    """Its children are being shut down."""
    CLOSED = auto()
    """None is left."""


_DUE = (ChildState.WAITING, ChildState.READY)
_UP = (ChildState.STARTING, ChildState.RUNNING)
_GOING = (ChildState.CONDEMNED, ChildState.STOPPING)


class SupervisorMachine(Generic[T]):
    """The state of one supervisor.

    Args:
        path: what errors call it.
        children: what it starts at boot, in this order.
        strategy: which children the restart of one concerns.
        intensity: the most restarts within `period`. 0 allows none.
        period: seconds, above 0.
        backoff: how long restarts wait; None lets none wait.

    Raises:
        InvalidSettings: a value cannot be used, or two children have one id; the message says which.
    """

    __slots__ = ("_effects", "_reason", "_roster", "_window", "path", "phase", "restarts", "strategy")

    def __init__(
        self,
        path: str,
        children: Sequence[AnySpec] = (),
        *,
        strategy: Strategy | StrategyText = Strategy.ONE_FOR_ONE,
        intensity: int = 1,
        period: float = 5.0,
        backoff: Backoff | None = None,
    ) -> None:
        self.path = path
        self.strategy = Strategy.parse(strategy)
        self.phase = Phase.NEW
        self.restarts = 0
        """How many the window has allowed."""
        self._window = RestartWindow(intensity, period, backoff)
        self._roster = Roster[T]()
        self._effects: list[SupervisorEffect[T]] = []
        self._reason: Exception | None = None
        for spec in children:
            if not isinstance(spec, ChildSpec):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise errors.InvalidSettings(f"children of {path} must be ChildSpecs, not {type(spec).__name__}")
            if self._roster.get(spec.id) is not None:
                raise errors.InvalidSettings(f"{path} has two children {spec.id!r}: give each an id of its own")
            self._roster.add(spec)

    def handle(self, event: SupervisorEvent[T], *, now: float, draw: float) -> list[SupervisorEffect[T]]:
        """Take in what happened at `now`; answer what must be done, in order.

        Args:
            event: what happened.
            now: seconds of a monotonic clock.
            draw: a random number in [0, 1), for the jitter of a backoff.

        Raises:
            IllegalTransition: it cannot have happened. Nothing has changed.
        """
        if isinstance(event, Boot) is not (self.phase is Phase.NEW) and not isinstance(event, Close):
            kind = type(event).__name__
            raise errors.IllegalTransition(f"{self.path}, which is {self.phase.name}, cannot be given {kind}")
        effects = self._effects = []
        match event:
            case Started():
                self._started(event.id)
            case StartFailed() | Exited():
                self._ended(event, now, draw)
            case DelayElapsed():
                if (child := self._roster.get(event.id)) is not None:
                    self._roster.move(child, ChildEvent.DELAY_ENDED)
            case Boot():
                self._boot()
            case Close():
                self._close(None)
            case _:
                self._requested(event)
        self._take_turns()
        return effects

    def spec(self, child: str) -> AnySpec:
        """The spec of the child with this id.

        Raises:
            UnknownChild: there is none.
        """
        if (known := self._roster.get(child)) is None:
            raise self._unknown(child)
        return known.spec

    def children(self) -> list[ChildStatus]:
        """What the children are at, in start order."""
        return [ChildStatus(child.id, child.state, child.restarts) for child in self._roster]

    # --- starts and ends

    def _boot(self) -> None:
        self.phase = Phase.BOOTING
        for child in reversed(self._roster):
            self._roster.move(child, ChildEvent.SUMMONED)

    def _started(self, child_id: str) -> None:
        if (child := self._roster.get(child_id)) is None:
            return
        self._roster.move(child, ChildEvent.STARTED)
        if child.state is ChildState.RUNNING and child.asked is not None:
            ticket, _ = child.asked
            child.asked = None
            self._effects.append(Answer(ticket, child_id))

    def _ended(self, event: StartFailed | Exited, now: float, draw: float) -> None:
        if (child := self._roster.get(event.id)) is None:
            return
        before = child.state
        self._roster.move(child, ChildEvent.EXITED if isinstance(event, Exited) else ChildEvent.START_FAILED)
        if before in _GOING:
            self._meet_fate(child)
        elif before is ChildState.STARTING:
            self._never_came_up(child, event, now, draw)
        elif child.spec.restart is Restart.TEMPORARY:
            self._roster.move(child, ChildEvent.DROPPED)
        elif child.spec.restart is Restart.PERMANENT or event.error is not None:
            self._restart(child, event.error, now, draw)

    def _meet_fate(self, child: Child[T]) -> None:
        self._effects += [Answer(ticket, child.id) for ticket in child.enders]
        child.enders = ()
        match child.fate:
            case Fate.AGAIN:
                self._roster.move(child, ChildEvent.SUMMONED)
            case Fate.OBLIVION:
                self._roster.move(child, ChildEvent.DROPPED)
            case Fate.REST:
                pass
            case _:
                assert_never(child.fate)

    def _never_came_up(self, child: Child[T], event: StartFailed | Exited, now: float, draw: float) -> None:
        if isinstance(event, StartFailed):
            error = event.error
        else:
            error = errors.StartFailed(f"{self._name(child)} ended before its start was complete")
            error.__cause__ = event.error
        if child.asked is not None:
            ticket, otherwise = child.asked
            child.asked = None
            self._effects.append(Refuse(ticket, error))
            if otherwise is Fate.OBLIVION:
                self._roster.move(child, ChildEvent.DROPPED)
        elif self.phase is Phase.BOOTING:
            self._close(error)
        else:
            self._restart(child, error if event.error is None else event.error, now, draw)

    # --- restarts

    def _restart(self, child: Child[T], error: BaseException | None, now: float, draw: float) -> None:
        delay = self._window.restart(now, draw)
        if delay is None:
            self._close(self._gave_up(child, error))
            return
        self.restarts += 1
        child.restarts += 1
        if self.strategy is not Strategy.ONE_FOR_ONE:
            self._sweep(child)
        if delay > 0:
            self._roster.move(child, ChildEvent.DELAYED)
            self._effects.append(Wait(child.id, delay))
        else:
            self._roster.move(child, ChildEvent.SUMMONED)

    def _sweep(self, failed: Child[T]) -> None:
        """Take in the others that the restart of this one concerns."""
        first = failed.number if self.strategy is Strategy.REST_FOR_ONE else 0
        for child in self._roster:
            if child is failed or child.number < first:
                continue
            if child.state in _UP:
                self._seal(child, Fate.OBLIVION if child.spec.restart is Restart.TEMPORARY else Fate.AGAIN)
            elif child.state is ChildState.STOPPED:
                self._roster.move(child, ChildEvent.SUMMONED)
            elif child.state in _GOING and child.fate is Fate.REST:
                child.fate = Fate.AGAIN

    def _seal(self, child: Child[T], fate: Fate) -> None:
        """Decide what follows the child's end, which is due from now on if it is up."""
        child.fate = fate
        if child.state in _UP:
            self._roster.move(child, ChildEvent.SENTENCED)
        if fate is not Fate.AGAIN and child.asked is not None:
            self._effects.append(Refuse(child.asked[0], self._cut_off(child)))
            child.asked = None

    # --- requests

    def _requested(self, event: ChildRequest[T]) -> None:
        if self.phase in (Phase.CLOSING, Phase.CLOSED):
            self._refuse(event.ticket, self._closing())
            return
        if isinstance(event, StartChild):
            self._start_child(event.ticket, event.spec)
            return
        if (child := self._roster.get(event.id)) is None:
            self._refuse(event.ticket, self._unknown(event.id))
            return
        match event:
            case TerminateChild():
                self._terminate(event.ticket, child)
            case RestartChild() | DeleteChild() if child.state is not ChildState.STOPPED:
                what = "restarted" if isinstance(event, RestartChild) else "deleted"
                text = f"{self._name(child)} is {child.state.name} and cannot be {what}: terminate it first"
                self._refuse(event.ticket, errors.ChildRunning(text))
            case RestartChild():
                child.asked = (event.ticket, Fate.REST)
                self._roster.move(child, ChildEvent.SUMMONED)
            case DeleteChild():
                self._roster.move(child, ChildEvent.DROPPED)
                self._effects.append(Answer(event.ticket, event.id))
            case _:
                assert_never(event)

    def _start_child(self, ticket: T, spec: AnySpec) -> None:
        if (namesake := self._roster.get(spec.id)) is not None:
            text = f"{self._name(namesake)} exists and is {namesake.state.name}: choose another id, or restart that one"
            self._refuse(ticket, errors.NameTaken(text))
            return
        child = self._roster.add(spec)
        child.asked = (ticket, Fate.OBLIVION)
        self._roster.move(child, ChildEvent.SUMMONED)

    def _terminate(self, ticket: T, child: Child[T]) -> None:
        unknown_before = child.asked is not None and child.asked[1] is Fate.OBLIVION
        forget = unknown_before or child.fate is Fate.OBLIVION or child.spec.restart is Restart.TEMPORARY
        child.enders += (ticket,)
        self._seal(child, Fate.OBLIVION if forget else Fate.REST)
        if child.state in _DUE:
            self._roster.move(child, ChildEvent.CALLED_OFF)
        if child.state is ChildState.STOPPED:
            self._meet_fate(child)

    def _refuse(self, ticket: T, error: Exception) -> None:
        self._effects.append(Refuse(ticket, error))

    # --- the end

    def _close(self, reason: Exception | None) -> None:
        if self.phase in (Phase.CLOSING, Phase.CLOSED):
            return
        self.phase = Phase.CLOSING
        self._reason = reason
        for child in self._roster:
            for ticket in child.enders:
                self._refuse(ticket, self._closing())
            child.enders = ()
            if child.state in _DUE:
                self._roster.move(child, ChildEvent.CALLED_OFF)
            self._seal(child, Fate.REST)

    # --- whose turn it is

    def _take_turns(self) -> None:
        roster = self._roster
        if self.phase is Phase.UP and self.strategy is Strategy.ONE_FOR_ONE:
            while (child := roster.next_to_shut_down()) is not None:
                self._shut_down(child)
            while (child := roster.next_to_start()) is not None:
                self._start(child)
        elif roster.count(ChildState.STOPPING):
            return
        elif (child := roster.next_to_shut_down()) is not None:
            self._shut_down(child)
        elif self.phase is Phase.CLOSING:
            self.phase = Phase.CLOSED
            self._effects.append(Finish(self._reason))
        elif roster.count(ChildState.STARTING) or roster.count(ChildState.WAITING):
            return
        elif (child := roster.next_to_start()) is not None:
            self._start(child)
        elif self.phase is Phase.BOOTING:
            self.phase = Phase.UP

    def _shut_down(self, child: Child[T]) -> None:
        self._roster.move(child, ChildEvent.TURN_CAME)
        self._effects.append(ShutDown(child.id, child.spec.shutdown))

    def _start(self, child: Child[T]) -> None:
        self._roster.move(child, ChildEvent.TURN_CAME)
        self._effects.append(Start(child.id))

    # --- what is told

    def _name(self, child: Child[T]) -> str:
        return f"child {child.id!r} of {self.path}"

    def _unknown(self, child: str) -> errors.UnknownChild:
        return errors.UnknownChild(f"{self.path} has no child {child!r}")

    def _closing(self) -> errors.ActorStopped:
        return errors.ActorStopped(f"{self.path} is {self.phase.name} and does nothing more for its children")

    def _cut_off(self, child: Child[T]) -> errors.ActorError:
        if self.phase is Phase.CLOSING:
            return self._closing()
        return errors.ActorStopped(f"{self._name(child)} was shut down before its start was complete")

    def _gave_up(self, child: Child[T], error: BaseException | None) -> errors.RestartIntensityReached:
        # An error's text may hold secrets of a library's making, so only its kind is told.
        end = "ended" if error is None else f"failed with {type(error).__name__}"
        window = self._window
        gave_up = errors.RestartIntensityReached(
            f"{self.path} gave up: its child {child.id!r} {end}, and a restart would be more than "
            f"intensity={window.intensity} allows within period={window.period:g} seconds: "
            f"mend what ends the child, allow more restarts, or set a backoff"
        )
        gave_up.__cause__ = error
        return gave_up
