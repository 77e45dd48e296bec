"""What was asked for in a storm, what came of it, and what was done to whom."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple


@dataclass(slots=True)
class Call:
    """A call that a worker was told to make. Times are seconds of the machine's monotonic clock.

    Attributes:
        name: its own.
        conversation: in which.
        worker: who was told.
        idempotent: whether it may run again.
        sent_at: when the worker was told.
        ended_at: when it was known what came of it.
        outcome: `Answered`; an error's name; `Cancelled`; or `Killed`, as its worker was.
        has_not_run: whether that says that it has not run.
        session: the upstream session that answered.
        number: the how manieth of that session it was, as was answered.
        text: the error, or the answer, in words.
    """

    name: str
    conversation: str
    worker: str
    idempotent: bool = False
    sent_at: float = 0.0
    ended_at: float | None = None
    outcome: str = ""
    has_not_run: bool = False
    session: str | None = None
    number: int | None = None
    text: str = ""


class Execution(NamedTuple):
    """What the MCP server says that it did: when, in which upstream session, and the how manieth there it was."""

    at: float
    conversation: str
    session: str
    call: str
    number: int


class Trouble(NamedTuple):
    """What was done to whom, and when."""

    at: float
    what: str
    whom: str


@dataclass(slots=True)
class Record:
    """All of a storm.

    Attributes:
        calls: by their names.
        executions: in their order.
        troubles: in theirs.
        faults: what must not be, in words.
        known: what must not be either, and is known and not mended yet.
        figures: of whatever was measured, by name.
        replaced: how often a conversation went on in a new session, by how that was told.
    """

    calls: dict[str, Call] = field(default_factory=dict[str, Call])
    executions: list[Execution] = field(default_factory=list[Execution])
    troubles: list[Trouble] = field(default_factory=list[Trouble])
    faults: list[str] = field(default_factory=list[str])
    known: list[str] = field(default_factory=list[str])
    figures: dict[str, float] = field(default_factory=dict[str, float])
    replaced: Counter[str] = field(default_factory=Counter[str])

    def trouble(self, at: float, what: str, whom: str) -> None:
        """Note what was done."""
        self.troubles.append(Trouble(at, what, whom))

    def conversations(self) -> list[str]:
        """Those in which calls were made."""
        return sorted({call.conversation for call in self.calls.values()})

    def of(self, conversation: str) -> list[Call]:
        """The calls of one, in the order in which they were asked for."""
        return [call for call in self.calls.values() if call.conversation == conversation]

    def write(self, path: Path) -> None:
        """Write all of it down, a line to each, in the order of time."""
        rows: list[tuple[float, dict[str, Any]]] = [
            (call.sent_at, {"call": asdict(call)}) for call in self.calls.values()
        ]
        rows += [(done.at, {"execution": done._asdict()}) for done in self.executions]
        rows += [(trouble.at, {"trouble": trouble._asdict()}) for trouble in self.troubles]
        rows.sort(key=lambda row: row[0])
        with path.open("w") as file:
            for at, row in rows:
                file.write(json.dumps({"at": at, **row}) + "\n")
            for fault in self.faults:
                file.write(json.dumps({"fault": fault}) + "\n")


def words_of(record: Record, conversation: str, since: float, until: float) -> Iterator[str]:
    """What happened about a conversation in that time, a line to each."""
    rows: list[tuple[float, str]] = []
    for call in record.of(conversation):
        if call.sent_at <= until and (call.ended_at is None or call.ended_at >= since):
            rows.append((call.sent_at, f"{call.name} is asked of {call.worker}"))
            if call.ended_at is not None:
                rows.append(
                    (
                        call.ended_at,
                        f"{call.name} is {call.outcome} {call.session or ''} {call.number or ''}{call.text}",
                    )
                )
    rows += [
        (done.at, f"{done.call} is done in {done.session} as {done.number}")
        for done in record.executions
        if done.conversation == conversation
    ]
    rows += [(trouble.at, f"{trouble.what}: {trouble.whom}") for trouble in record.troubles]
    for at, row in sorted(rows):
        if since <= at <= until:
            yield f"{at:.3f} {row}"
