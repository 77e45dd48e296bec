"""What has to hold of a storm, whatever came of it: what was answered is held against what the MCP server did."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from tests.integration.storm.record import Call, Execution, Record, words_of

NAMED: Final = {
    "Answered",
    "Killed",
    "Cancelled",
    "AcquireTimeout",
    "BusUnavailable",
    "CallInterrupted",
    "ConnectFailed",
    "ConversationEnded",
    "MCPError -32001",
    "NotAlive",
    "OutcomeUnknown",
    "OwnedElsewhere",
    "OwnerUnreachable",
    "SessionStateLost",
    "SessionTerminated",
    "UpstreamUnreachable",
}
"""What may come of a call. Everything else is a fault. The server is well all the time: that it could not be reached is
what a worker finds that stood still while it tried to."""

AROUND: Final = 1.0
"""Seconds of what happened before and after that are told with a fault."""


def judge(record: Record, *, holding: float) -> None:
    """Note what should not be. `holding`: for how long Redis remembers an owner, in seconds."""
    for check in (_ended, _named, _given, _once, _refused, _answered, _counted, _superseded):
        record.faults += check(record)
    for conversation in record.conversations():
        record.faults += _told(record, conversation, holding)


# --- each call by itself


def _ended(record: Record) -> Iterator[str]:
    """Nothing is lost without an error."""
    for call in record.calls.values():
        if call.ended_at is None:
            yield f"{call.name} in {call.conversation}, asked of {call.worker}, never ended"


def _named(record: Record) -> Iterator[str]:
    """Each error is one that may be."""
    for call in record.calls.values():
        if call.ended_at is not None and call.outcome not in NAMED:
            yield f"{call.name} in {call.conversation}, asked of {call.worker}, is {call.outcome}: {call.text}"


def _given(record: Record) -> Iterator[str]:
    """No session runs a call that it was not given: each has one conversation, and runs only what was asked there."""
    whose: dict[str, str] = {}
    for done in record.executions:
        call = record.calls.get(done.call)
        if call is None or call.conversation != done.conversation:
            yield f"{done} was not asked for"
        elif (conversation := whose.setdefault(done.session, done.conversation)) != done.conversation:
            yield f"{done} ran in the session of {conversation}"


def _once(record: Record) -> Iterator[str]:
    """Nothing runs twice, unless it may."""
    for name, times in Counter(done.call for done in record.executions).items():
        call = record.calls.get(name)
        if times > 1 and call is not None and not call.idempotent:
            yield f"{name} ran {times} times{_story_of(record, call)}"


def _refused(record: Record) -> Iterator[str]:
    """What is said not to have run has not."""
    ran = {done.call for done in record.executions}
    for call in record.calls.values():
        if call.has_not_run and call.name in ran and not call.idempotent:
            yield f"{call.name} has run, and is {call.outcome}: {call.text}{_story_of(record, call)}"


def _answered(record: Record) -> Iterator[str]:
    """What was answered was done, in that session and as that one of it."""
    done = {(row.call, row.session, row.number) for row in record.executions}
    for call in record.calls.values():
        if call.outcome == "Answered" and (call.name, call.session, call.number) not in done:
            yield f"{call.name} was answered and not done: {call.text}{_story_of(record, call)}"


def _counted(record: Record) -> Iterator[str]:
    """The counter of each session is what it has acknowledged, and some of what nobody knows of."""
    acknowledged, unknown, counts = Counter[str](), Counter[str](), Counter[str]()
    for done in record.executions:
        call = record.calls.get(done.call)
        counts[done.session] = max(counts[done.session], done.number)
        if call is not None and (call.session, call.number) == (done.session, done.number):
            acknowledged[done.session] += 1
        elif call is not None and (call.idempotent or not (call.outcome == "Answered" or call.has_not_run)):
            unknown[done.session] += 1
    for session, number in counts.items():
        least = acknowledged[session]
        if not least <= number <= least + unknown[session]:
            yield f"session {session} counts {number}, of {least} acknowledged and {unknown[session]} unknown calls"


# --- sessions of a conversation, one after the other


class Span(NamedTuple):
    """A session of a conversation: when it did its first call, and its last one, and when that was asked for."""

    session: str
    first: float
    last: float
    asked: float


def spans_of(record: Record, conversation: str) -> list[Span]:
    """The sessions of a conversation, by their first calls."""
    rows: dict[str, list[Execution]] = defaultdict(list)
    for done in record.executions:
        if done.conversation == conversation:
            rows[done.session].append(done)
    spans = [
        Span(
            session,
            min(done.at for done in of),
            max(done.at for done in of),
            max((record.calls[done.call].sent_at for done in of if done.call in record.calls), default=0.0),
        )
        for session, of in rows.items()
    ]
    return sorted(spans, key=lambda span: span.first)


def _lost_between(record: Record, since: float, until: float) -> bool:
    """Whether Redis was losing what it kept in that time, which begins a little after that was noted."""
    lost_at = float("inf")
    for at, what, _ in record.troubles:
        if what == "Redis: restart with nothing":
            lost_at = at
        elif what == "Redis: is back":
            if lost_at < until and at > since:
                return True
            lost_at = float("inf")
    return lost_at < until


def _left_between(record: Record, since: float, until: float) -> bool:
    """Whether a worker left in good order in that time, which takes it a while."""
    ended = {whom: at for at, what, whom in record.troubles if what == "worker: has left"}
    began = {whom: at for at, what, whom in record.troubles if what == "worker: leave"}
    return any(at < until and ended.get(whom, until) > since for whom, at in began.items())


def _superseded(record: Record) -> Iterator[str]:
    """Once a conversation goes on in a new session, nothing that is asked from then on runs in an earlier one.

    One way there is known, and not mended: a worker is cut off or stands still, and is superseded; then Redis loses
    what it kept, or the new owner gives it up as it leaves; and the first to claim it is the one that still holds it.
    """
    for conversation in record.conversations():
        spans = {span.session: span for span in spans_of(record, conversation)}
        seen: set[str] = set()
        for done in record.executions:
            call = record.calls.get(done.call)
            if call is None or done.conversation != conversation or done.session in seen:
                continue
            first = spans[done.session].first
            later = next((span for span in spans.values() if first < span.first < call.sent_at), None)
            if later is not None:
                seen.add(done.session)
                words = _story(record, conversation, later.first - 2 * AROUND, done.at)
                fault = f"{done.call} ran in {done.session}, which {later.session} had superseded{words}"
                if _lost_between(record, later.first, done.at) or _left_between(record, later.first, done.at):
                    record.known.append(fault)
                else:
                    yield fault


def _told(record: Record, conversation: str, holding: float) -> Iterator[str]:
    """Where a conversation goes on in a new session, somebody was told that the state of the old one is lost.

    It is not told where Redis has forgotten that there was an owner.
    """
    calls = record.of(conversation)
    ran = {done.call for done in record.executions}
    told = sorted((call for call in calls if call.outcome == "SessionStateLost"), key=_end)
    for before, after in pairwise(spans_of(record, conversation)):
        heard = next((call for call in told if call.sent_at < after.first and _end(call) > before.first), None)
        if heard is not None:
            told.remove(heard)
            record.replaced["told"] += 1
        elif _lost_between(record, before.first, after.first):
            record.replaced["forgotten, as Redis lost what it kept"] += 1
        elif after.first - before.asked > holding * 2 / 3:
            record.replaced["forgotten after `holding`"] += 1
        elif any(
            _may_have_run(call) and call.name not in ran and call.sent_at < after.first and _end(call) > before.last
            for call in calls
        ):
            record.replaced["told to somebody who did not live to hear it"] += 1
        else:
            words = _story(record, conversation, before.last, after.first)
            yield f"{conversation} goes on in {after.session}: nobody was told that {before.session} is lost{words}"


def _end(call: Call) -> float:
    return float("inf") if call.ended_at is None else call.ended_at


def _may_have_run(call: Call) -> bool:
    return call.outcome != "Answered" and not call.has_not_run


def _story(record: Record, conversation: str, since: float, until: float) -> str:
    """What happened about a conversation in that time, and around it."""
    return "".join(f"\n  {line}" for line in words_of(record, conversation, since - AROUND, until + AROUND))


def _story_of(record: Record, call: Call) -> str:
    """What happened about a conversation from when a call was asked for until it was over."""
    times = [call.sent_at, call.ended_at or 0.0, *(done.at for done in record.executions if done.call == call.name)]
    return _story(record, call.conversation, call.sent_at, max(times))
