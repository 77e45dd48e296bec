"""What a failed exchange with a server says to the caller and to whoever waits for the session."""

import pytest

from protocol.errors import (
    CallFailed,
    CallInterrupted,
    ConnectFailed,
    SessionTerminated,
    UpstreamRefused,
    UpstreamUnreachable,
)
from protocol.fault import Fault, FaultKind

CAUSE = OSError("beneath")


def fault(kind: FaultKind, status: int | None = None, retry_after: float | None = None) -> Fault:
    return Fault(kind, "tools/call", "no route", status=status, retry_after=retry_after, cause=CAUSE)


@pytest.mark.holds("S2", "S9")
@pytest.mark.parametrize("kind", FaultKind)
def test_all_but_what_the_server_answered_badly_ends_the_session(kind: FaultKind) -> None:
    answered = (FaultKind.REFUSED, FaultKind.MALFORMED, FaultKind.TOO_LARGE)
    assert fault(kind).ends_session is (kind not in answered)


@pytest.mark.holds("S3")
@pytest.mark.parametrize(
    ("kind", "was_answered", "error", "told"),
    [
        (
            FaultKind.UNREACHABLE,
            False,
            UpstreamUnreachable,
            "tools/call on host could not be sent (no route): it has not run, try again later",
        ),
        (
            FaultKind.UNREACHABLE,
            True,
            CallInterrupted,
            "tools/call on host was interrupted (after its first request, with no route): it may have run",
        ),
        (
            FaultKind.TERMINATED,
            False,
            SessionTerminated,
            "tools/call on host has not run: the server no longer knows the session, acquire another one",
        ),
        (
            FaultKind.TERMINATED,
            True,
            CallInterrupted,
            "tools/call on host was interrupted (after its first request, with no route): it may have run",
        ),
        *(
            (
                FaultKind.INTERRUPTED,
                was_answered,
                CallInterrupted,
                "tools/call on host was interrupted (no route): it may have run, and the session is closed",
            )
            for was_answered in (False, True)
        ),
        *(
            (
                FaultKind.REFUSED,
                was_answered,
                UpstreamRefused,
                "tools/call on host was refused by the server (no route)",
            )
            for was_answered in (False, True)
        ),
    ],
)
def test_a_caller_is_told_what_happened_to_the_call_and_whether_it_may_have_run(
    kind: FaultKind, told: str, error: type[CallFailed], *, was_answered: bool
) -> None:
    raised = fault(kind).for_call("host", was_answered=was_answered)
    assert type(raised) is error
    assert str(raised) == told
    assert raised.__cause__ is CAUSE


def test_a_refused_call_bears_the_status_and_the_pause_that_the_server_gave() -> None:
    raised = fault(FaultKind.REFUSED, 429, 2.5).for_call("host", was_answered=False)
    assert isinstance(raised, UpstreamRefused)
    assert (raised.status, raised.retry_after) == (429, 2.5)
    without = fault(FaultKind.REFUSED).for_call("host", was_answered=False)
    assert isinstance(without, UpstreamRefused)
    assert (without.status, without.retry_after) == (500, None)


@pytest.mark.parametrize("kind", FaultKind)
def test_whoever_waits_for_the_session_is_told_in_which_step_it_failed_and_with_what(kind: FaultKind) -> None:
    raised = fault(kind, 503, 1.5).for_connect("host")
    assert isinstance(raised, ConnectFailed)
    step = "connect" if kind is FaultKind.UNREACHABLE else "tools/call"
    assert str(raised) == f"no session with host could be opened: {step} failed (no route)"
    assert (raised.step, raised.status, raised.retry_after) == (step, 503, 1.5)
    assert raised.__cause__ is CAUSE
