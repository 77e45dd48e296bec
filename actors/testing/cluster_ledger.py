"""What was asked of a simulated cluster, what its servers did, and what must not have happened."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, NamedTuple

from mcp import MCPError

from protocol.errors import SessionStateLost, TroupeError

LATE: Final = 5.0
"""Seconds beyond its timeout by which a call must have ended."""


class Execution(NamedTuple):
    """One call, as a server executed it.

    Attributes:
        number: the call's.
        talk: the conversation that it was for.
        url: the server's.
        session: the server's session that it came on.
        counted: how many calls that session had answered then, this one included.
        started_at: when the owner of the conversation sent it.
        was_cut_off: whether that worker was cut off from the others then.
    """

    number: int
    talk: str
    url: str
    session: int
    counted: int
    started_at: float
    was_cut_off: bool


@dataclass(slots=True, eq=False)
class Asked:
    """A call that somebody made of a worker.

    Attributes:
        number: its own.
        talk: the conversation.
        url: the server's.
        worker: the node that it was asked of.
        idempotent: whether it may run twice.
        asked_at, ended_at: when.
        result: what it was answered.
        error: what it raised.
        was_cancelled: whether its caller went away, or died with its worker.
        executions: what servers did for it.
    """

    number: int
    talk: str
    url: str
    worker: str
    idempotent: bool
    asked_at: float
    ended_at: float | None = None
    result: dict[str, Any] | None = None
    error: Exception | None = None
    was_cancelled: bool = False
    executions: list[Execution] = field(default_factory=list[Execution])

    @property
    def has_not_run(self) -> bool:
        """Whether whoever asked was told that it has not run."""
        return isinstance(self.error, TroupeError) and (
            self.error.safe_to_retry or isinstance(self.error, SessionStateLost)
        )

    @property
    def was_told(self) -> bool:
        """Whether whoever asked was told that the conversation's state is lost."""
        return isinstance(self.error, SessionStateLost)

    def __str__(self) -> str:
        end = f"raised {self.error!r}" if self.error is not None else f"answered {self.result}"
        if self.was_cancelled:
            end = "cancelled"
        return (
            f"call {self.number} of {self.talk} on {self.worker} at {self.asked_at:g} s, {end}, "
            f"executed {[done[3:] for done in self.executions]}"
        )


class ClusterLedger:
    """See above.

    Args:
        now: the virtual time.
        record: takes down what happens, as text.

    Attributes:
        asked: all calls, by number.
        violations: what must not have been, each with the number of its invariant.
    """

    def __init__(self, now: Callable[[], float], record: Callable[[str, str], None]) -> None:
        self.now = now
        self.asked: dict[int, Asked] = {}
        self.stateful: set[str] = set()
        self.violations: list[str] = []
        self._record = record
        self._forgot: Sequence[float] = ()

    def ask(self, talk: str, url: str, worker: str, *, idempotent: bool) -> Asked:
        """A call is made."""
        number = len(self.asked) + 1
        asked = self.asked[number] = Asked(number, talk, url, worker, idempotent, self.now())
        return asked

    def ended(self, asked: Asked) -> None:
        """A call has ended."""
        asked.ended_at = self.now()
        self._record("ended", str(asked.number))
        if asked.error is not None and not isinstance(asked.error, (TroupeError, MCPError)):
            self.violated("L2", f"{asked}: an error without a name")

    def executed(self, execution: Execution) -> None:
        """A server did something."""
        self.asked[execution.number].executions.append(execution)
        self._record("executed", f"{execution.number} on session {execution.session}")

    def violated(self, invariant: str, what: str) -> None:
        """Something must not have been."""
        self.violations.append(f"{invariant}, at {self.now():g} s: {what}")

    # --- at the end

    def check(self, forgot: Sequence[float]) -> None:
        """See whether all that has happened may have happened.

        Args:
            forgot: when the bus lost all that it kept. If the owner of a conversation went too before it was back,
                nobody is left who knows that there was any state.
        """
        self._forgot = forgot
        for asked in self.asked.values():
            self._check_call(asked)
        talks: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
        for asked in self.asked.values():
            for done in asked.executions:
                talks[done.url, done.session].add(done.talk)
        for (url, session), several in talks.items():
            if len(several) > 1 and url in self.stateful:
                self.violated("L6", f"session {session} of {url} served several conversations: {sorted(several)}")
        for url in sorted(self.stateful):
            for talk in sorted({asked.talk for asked in self.asked.values()}):
                self._check_losses(url, talk)

    def _check_call(self, asked: Asked) -> None:
        times = len(asked.executions)
        if asked.ended_at is None:
            self.violated("R2", f"{asked}: it has not ended")
        if times > 1 and not asked.idempotent:
            self.violated("C3", f"{asked}: it ran {times} times")
        if asked.has_not_run and times and not asked.idempotent:
            self.violated("C3", f"{asked}: it ran, and was said not to have")
        if asked.result is not None:
            said = {(done.number, done.talk, done.counted, done.session) for done in asked.executions}
            got = tuple(asked.result.get(name) for name in ("number", "talk", "count", "session"))
            if got not in said:
                self.violated("C4", f"{asked}: that is not what its server answered")

    def _check_losses(self, url: str, talk: str) -> None:
        """State that is gone is not gone in silence: between calls on two sessions somebody was told."""
        mine = [asked for asked in self.asked.values() if asked.talk == talk and asked.url == url]
        done = sorted((execution for asked in mine for execution in asked.executions), key=lambda done: done.started_at)
        for earlier, later in pairwise(done):
            if earlier.was_cut_off or later.was_cut_off:
                continue
            if later.session < earlier.session and not self._has_forgotten(earlier.started_at, later.started_at):
                self.violated("C1", f"call {later.number} of {talk} began on a session that had been replaced")
            if later.session > earlier.session and not self._was_told(mine, earlier.started_at, later.started_at):
                self.violated(
                    "L9",
                    f"{talk} went from session {earlier.session} (call {earlier.number}, sent at "
                    f"{earlier.started_at:g} s) to {later.session} (call {later.number}, sent at "
                    f"{later.started_at:g} s), and nobody was told",
                )

    def _was_told(self, mine: list[Asked], since: float, until: float) -> bool:
        """Whether somebody was told of a loss between; or may have been, and did not live to hear it. What is told at
        once with what goes on may be heard a little later.
        """
        return self._has_forgotten(since, until) or any(
            (asked.was_told or asked.was_cancelled)
            and asked.asked_at <= until
            and asked.ended_at is not None
            and asked.ended_at >= since
            for asked in mine
        )

    def _has_forgotten(self, since: float, until: float) -> bool:
        return any(since <= at <= until for at in self._forgot)
