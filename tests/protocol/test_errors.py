"""What a gateway can answer with, error by error, and what some errors tell besides."""

import pytest

from protocol import errors
from protocol.errors import TroupeError

RETRIED: list[tuple[type[TroupeError], int, int]] = [
    (errors.PoolClosed, 503, -32000),
    (errors.PoolFull, 503, -32000),
    (errors.BreakerOpen, 503, -32000),
    (errors.AcquireTimeout, 503, -32001),
    (errors.ConnectFailed, 502, -32000),
    (errors.UpstreamUnreachable, 502, -32000),
    (errors.SessionTerminated, 502, -32000),
    (errors.NotAlive, 503, -32000),
    (errors.OwnedElsewhere, 421, -32000),
    (errors.OwnerUnreachable, 503, -32000),
    (errors.TooManyForwards, 503, -32000),
    (errors.MailboxFull, 503, -32000),
]
NOT_RETRIED: list[tuple[type[TroupeError], int, int]] = [
    (errors.TroupeError, 500, -32603),
    (errors.InvalidSettings, 400, -32602),
    (errors.InvalidMethod, 400, -32600),
    (errors.InvalidParams, 400, -32602),
    (errors.PrincipalMismatch, 403, -32003),
    (errors.SessionStateLost, 404, -32004),
    (errors.ConversationEnded, 404, -32004),
    (errors.LeaseReleased, 500, -32603),
    (errors.CallFailed, 502, -32000),
    (errors.CallInterrupted, 502, -32000),
    (errors.UpstreamRefused, 502, -32000),
    (errors.MalformedResponse, 502, -32000),
    (errors.ResponseTooLarge, 502, -32000),
    (errors.ActorError, 500, -32603),
    (errors.ActorStopped, 500, -32603),
    (errors.AskTimeout, 500, -32603),
    (errors.StartFailed, 503, -32000),
    (errors.StartTimeout, 503, -32000),
    (errors.RestartIntensityReached, 503, -32000),
    (errors.UnknownChild, 500, -32603),
    (errors.ClusterError, 503, -32000),
    (errors.OutcomeUnknown, 504, -32000),
    (errors.OwnerFailed, 502, -32603),
    (errors.EnvelopeRefused, 503, -32000),
    (errors.IllegalTransition, 500, -32603),
]


@pytest.mark.parametrize(("kind", "http_status", "code"), RETRIED)
def test_what_cannot_have_run_says_that_it_is_safe_to_retry(
    kind: type[TroupeError], http_status: int, code: int
) -> None:
    assert (kind.http_status, kind.code, kind.safe_to_retry) == (http_status, code, True)


@pytest.mark.parametrize(("kind", "http_status", "code"), NOT_RETRIED)
def test_what_may_have_run_or_would_fail_again_is_not_called_safe_to_retry(
    kind: type[TroupeError], http_status: int, code: int
) -> None:
    assert (kind.http_status, kind.code, kind.safe_to_retry) == (http_status, code, False)


def test_every_error_is_caught_by_its_root_and_the_familiar_ones_by_their_familiar_names_too() -> None:
    for kind, *_ in (*RETRIED, *NOT_RETRIED):
        assert issubclass(kind, TroupeError)
        assert kind.retry_after is None
    for kind in (errors.AcquireTimeout, errors.AskTimeout, errors.StartTimeout):
        assert issubclass(kind, TimeoutError)
    for kind in (errors.InvalidSettings, errors.NameTaken, errors.ActorReused, errors.InvalidName):
        assert issubclass(kind, ValueError)
    for kind in (errors.UnknownChild, errors.NoTurn):
        assert issubclass(kind, LookupError)


def test_a_breaker_that_is_open_says_until_when() -> None:
    error = errors.BreakerOpen("it is ill", retry_after=1.5)
    assert (str(error), error.retry_after) == ("it is ill", 1.5)


def test_a_connect_that_failed_says_in_which_step_with_which_status_and_how_long_to_wait() -> None:
    error = errors.ConnectFailed("no session", step="initialize", status=429, retry_after=2.5)
    assert (str(error), error.step, error.status, error.retry_after) == ("no session", "initialize", 429, 2.5)
    assert error.http_status == 429
    unknown = errors.ConnectFailed("no session", step="connect")
    assert (unknown.status, unknown.retry_after) == (None, None)


def test_a_call_that_was_refused_says_with_which_status_and_how_long_to_wait() -> None:
    error = errors.UpstreamRefused("no", status=503, retry_after=0.5)
    assert (str(error), error.status, error.retry_after) == ("no", 503, 0.5)
    assert errors.UpstreamRefused("no", status=500).retry_after is None


def test_an_envelope_that_was_refused_says_why() -> None:
    error = errors.EnvelopeRefused("no", reason=errors.Refusal.FORGED)
    assert (str(error), error.reason) == ("no", errors.Refusal.FORGED)


@pytest.mark.parametrize(
    ("status", "passed_on"), [(401, 401), (403, 403), (429, 429), (400, 502), (404, 502), (500, 502), (503, 502)]
)
def test_what_the_server_says_to_the_caller_is_passed_on_and_what_it_says_of_itself_is_not(
    status: int, passed_on: int
) -> None:
    assert errors.UpstreamRefused("no", status=status).http_status == passed_on
    assert errors.ConnectFailed("no session", step="initialize", status=status).http_status == passed_on
    assert (errors.UpstreamRefused.http_status, errors.ConnectFailed.http_status) == (502, 502)
