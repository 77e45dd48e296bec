"""What a fault says of the call, of the session, of the endpoint and of the credential."""

import pytest

from protocol.errors import (
    CallFailed,
    CallInterrupted,
    MalformedResponse,
    ResponseTooLarge,
    SessionTerminated,
    UpstreamRefused,
    UpstreamUnreachable,
)
from protocol.fault import Fault, FaultKind

ADDRESS = "http://server.test/mcp"
ERRORS: dict[FaultKind, type[CallFailed]] = {
    FaultKind.UNREACHABLE: UpstreamUnreachable,
    FaultKind.INTERRUPTED: CallInterrupted,
    FaultKind.TERMINATED: SessionTerminated,
    FaultKind.REFUSED: UpstreamRefused,
    FaultKind.MALFORMED: MalformedResponse,
    FaultKind.TOO_LARGE: ResponseTooLarge,
}


@pytest.mark.parametrize("kind", FaultKind)
def test_each_kind_is_an_error_of_its_own_that_says_what_where_and_why(kind: FaultKind) -> None:
    cause = OSError("reset")
    fault = Fault(kind, "tools/call", "the detail", status=503, retry_after=7.0, cause=cause)
    error = fault.for_call(ADDRESS, was_answered=False)
    assert type(error) is ERRORS[kind]
    assert "tools/call on http://server.test/mcp" in str(error)
    assert error.fault is fault
    assert error.__cause__ is cause
    assert error.safe_to_retry is (kind in (FaultKind.UNREACHABLE, FaultKind.TERMINATED))
    assert error.code == -32000
    assert error.http_status == 502
    if kind is FaultKind.REFUSED:
        assert (error.retry_after, getattr(error, "status", None)) == (7.0, 503)


@pytest.mark.parametrize("kind", FaultKind)
def test_what_follows_an_answer_is_never_safe_to_retry(kind: FaultKind) -> None:
    error = Fault(kind, "tools/call", "the detail").for_call(ADDRESS, was_answered=True)
    assert not error.safe_to_retry


@pytest.mark.parametrize("kind", FaultKind)
def test_at_connect_each_kind_says_how_far_it_came(kind: FaultKind) -> None:
    fault = Fault(kind, "initialize", "the detail", status=429, retry_after=7.0, at_connect=True)
    error = fault.for_connect(ADDRESS)
    assert error.step == ("connect" if kind is FaultKind.UNREACHABLE else "initialize")
    assert (error.status, error.retry_after, error.fault, error.safe_to_retry) == (429, 7.0, fault, True)
    assert ADDRESS in str(error)
    assert "the detail" in str(error)


@pytest.mark.holds("S2")
def test_what_breaks_the_connection_or_loses_the_session_ends_it_and_nothing_else_does() -> None:
    ending = {kind for kind in FaultKind if Fault(kind, "tools/call", "").ends_session}
    assert ending == {FaultKind.UNREACHABLE, FaultKind.INTERRUPTED, FaultKind.TERMINATED}


@pytest.mark.holds("B1")
@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 429, 499, 500, 503])
def test_a_refusal_counts_against_the_endpoint_at_connect_only_and_only_if_it_is_the_servers_own_fault(
    status: int,
) -> None:
    at_call = Fault(FaultKind.REFUSED, "tools/call", "", status=status)
    at_connect = Fault(FaultKind.REFUSED, "initialize", "", status=status, at_connect=True)
    assert not at_call.counts_against_endpoint
    assert at_connect.counts_against_endpoint is (status >= 500 or status == 429)
    assert at_call.refuses_credential is at_connect.refuses_credential is (status in (401, 403))


@pytest.mark.holds("B1")
@pytest.mark.parametrize("kind", FaultKind)
def test_the_transports_failures_always_count_and_bad_answers_at_connect(kind: FaultKind) -> None:
    transport = kind in (FaultKind.UNREACHABLE, FaultKind.INTERRUPTED)
    answer = kind in (FaultKind.MALFORMED, FaultKind.TOO_LARGE)
    assert Fault(kind, "tools/call", "").counts_against_endpoint is transport
    assert Fault(kind, "initialize", "", at_connect=True).counts_against_endpoint is (transport or answer)
    assert not Fault(kind, "tools/call", "").refuses_credential
