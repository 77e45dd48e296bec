"""A cluster in a storm, for some seconds: the long one is `make storm`. And what the verdict on one is worth."""

import random
from collections.abc import Sequence

import pytest

from tests.integration.storm.record import Call, Execution, Record
from tests.integration.storm.run import raise_storm
from tests.integration.storm.verdict import judge

SECONDS = 15.0
SEED = random.SystemRandom().randrange(1_000_000)
"""Another one each time, told with what fails: `make storm ARGS="--seconds 15 --seed …"` takes it up again."""


@pytest.mark.holds("C1", "C3", "C5", "C6", "C9", "L6", "L9", "R4")
@pytest.mark.backends("asyncio")  # of the storm itself: its workers are on both
async def test_whatever_befalls_workers_redis_and_their_lines_nothing_runs_twice_is_lost_or_is_silently_forgotten() -> (
    None
):
    record = await raise_storm(SECONDS, seed=SEED)
    assert not record.faults, "\n".join([f"seed {SEED}", *record.faults])
    outcomes = {call.outcome for call in record.calls.values()}
    assert {"Answered", "Killed", "SessionStateLost"} <= outcomes
    assert sum(call.outcome == "Answered" for call in record.calls.values()) > 50
    assert {"worker: kill", "worker: stop"} <= {trouble.what for trouble in record.troubles}


# --- the verdict


def answered(name: str, session: str, number: int, *, at: float, conversation: str = "talk") -> Call:
    call = failed(name, "Answered", at=at)
    call.conversation, call.session, call.number = conversation, session, number
    return call


def failed(name: str, outcome: str, *, at: float, has_not_run: bool = False) -> Call:
    return Call(name, "talk", "one", sent_at=at, ended_at=at + 0.5, outcome=outcome, has_not_run=has_not_run)


def verdict(calls: Sequence[Call], *done: tuple[float, str, str, int]) -> list[str]:
    record = Record({call.name: call for call in calls})
    record.executions = [Execution(at, "talk", session, call, number) for at, call, session, number in done]
    judge(record, holding=5.0)
    return record.faults


def test_a_storm_in_which_all_is_as_it_should_be_has_no_faults() -> None:
    calls = [
        answered("a", "s1", 1, at=1),
        failed("b", "OutcomeUnknown", at=2),
        failed("c", "SessionStateLost", at=3, has_not_run=True),
        answered("d", "s2", 1, at=4),
    ]
    assert verdict(calls, (1.1, "a", "s1", 1), (2.1, "b", "s1", 2), (4.1, "d", "s2", 1)) == []


LOST = failed("lost", "SessionStateLost", at=2, has_not_run=True)


@pytest.mark.parametrize(
    ("calls", "done", "fault"),
    [
        ([Call("a", "talk", "one", sent_at=1)], [], "never ended"),
        ([failed("a", "PoolFull", at=1, has_not_run=True)], [], "is PoolFull"),
        ([], [(1.1, "a", "s1", 1)], "was not asked for"),
        ([answered("a", "s1", 1, at=1, conversation="other")], [(1.1, "a", "s1", 1)], "was not asked for"),
        ([answered("a", "s1", 1, at=1)], [(1.1, "a", "s1", 1), (1.2, "a", "s1", 2)], "a ran 2 times"),
        ([failed("a", "NotAlive", at=1, has_not_run=True)], [(1.1, "a", "s1", 1)], "a has run, and is NotAlive"),
        ([answered("a", "s1", 1, at=1)], [], "was answered and not done"),
        ([answered("a", "s1", 2, at=1)], [(1.1, "a", "s1", 1)], "was answered and not done"),
        ([answered("a", "s1", 2, at=1)], [(1.1, "a", "s1", 2)], "counts 2, of 1 acknowledged and 0 unknown"),
        (
            [answered("a", "s1", 1, at=1), answered("b", "s2", 1, at=2)],
            [(1.1, "a", "s1", 1), (2.1, "b", "s2", 1)],
            "nobody was told that s1 is lost",
        ),
        (
            [answered("a", "s1", 1, at=1), LOST, answered("b", "s2", 1, at=3), answered("c", "s1", 2, at=4)],
            [(1.1, "a", "s1", 1), (3.1, "b", "s2", 1), (4.1, "c", "s1", 2)],
            "c ran in s1, which s2 had superseded",
        ),
    ],
)
def test_what_must_not_be_is_found(calls: list[Call], done: list[tuple[float, str, str, int]], fault: str) -> None:
    assert any(fault in found for found in verdict(calls, *done)), verdict(calls, *done)


def test_a_session_that_runs_calls_of_two_conversations_is_found() -> None:
    record = Record({"a": answered("a", "s1", 1, at=1), "b": answered("b", "s1", 2, at=2, conversation="chat")})
    record.executions = [Execution(1.1, "talk", "s1", "a", 1), Execution(2.1, "chat", "s1", "b", 2)]
    judge(record, holding=5.0)
    assert any("ran in the session of talk" in fault for fault in record.faults)


def test_what_may_run_again_may_run_twice() -> None:
    again = answered("a", "s1", 2, at=1)
    again.idempotent = True
    assert verdict([again], (1.1, "a", "s1", 1), (1.2, "a", "s1", 2)) == []


def test_a_loss_is_told_once_for_each_session_that_is_lost() -> None:
    calls = [answered("a", "s1", 1, at=1), LOST, answered("b", "s2", 1, at=3), answered("c", "s3", 1, at=4)]
    faults = verdict(calls, (1.1, "a", "s1", 1), (3.1, "b", "s2", 1), (4.1, "c", "s3", 1))
    assert len(faults) == 1
    assert "nobody was told that s2 is lost" in faults[0]
