"""What is noted of an exchange, and what its failure is called."""

import ssl
import time
from email.utils import formatdate

import httpx2
import pytest

from actors.exchange import fault_of, retry_after
from protocol.fault import FaultKind


@pytest.mark.holds("X1")
@pytest.mark.parametrize(
    ("error", "said", "is_chained"),
    [
        (OSError(113, "No route to host"), "OSError: No route to host", True),
        (ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] no"), "SSLCertVerificationError: TLS", True),
        (httpx2.ReadTimeout("slow"), "ReadTimeout", True),
        (httpx2.LocalProtocolError("illegal header b'secret'"), "LocalProtocolError", False),
        (httpx2.RemoteProtocolError("illegal line b'secret'"), "RemoteProtocolError", False),
        (ValueError("what a hook says of a secret"), "ValueError", False),
    ],
)
def test_of_an_exception_only_what_is_known_to_be_harmless_is_told(
    error: Exception, said: str, *, is_chained: bool
) -> None:
    fault = fault_of(error, "tools/call")
    assert fault.detail == said
    assert (fault.cause is error) is is_chained


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx2.ConnectError("refused"), FaultKind.UNREACHABLE),
        (httpx2.ProxyError("407"), FaultKind.UNREACHABLE),
        (httpx2.ReadError("reset"), FaultKind.INTERRUPTED),
        (ValueError("of a hook"), FaultKind.INTERRUPTED),
    ],
)
def test_only_what_was_not_sent_is_unreachable(error: Exception, kind: FaultKind) -> None:
    assert fault_of(error, "tools/call").kind is kind


def test_a_status_that_a_hook_raises_is_a_refusal() -> None:
    request = httpx2.Request("POST", "http://server.test/mcp?key=secret")
    response = httpx2.Response(403, headers={"retry-after": "7"}, request=request)
    with pytest.raises(httpx2.HTTPStatusError) as caught:
        response.raise_for_status()
    fault = fault_of(caught.value, "tools/call")
    assert (fault.kind, fault.status, fault.retry_after, fault.cause) == (FaultKind.REFUSED, 403, 7.0, None)
    assert "secret" not in fault.detail
    assert fault.refuses_credential


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), ("7", 7.0), ("soon", None), ("-3", None), ("9" * 400, None), ("Mon, 1 Jan 1990 00:00:00 GMT", 0.0)],
)
def test_a_pause_is_read_as_the_standard_says(value: str | None, seconds: float | None) -> None:
    assert retry_after(value) == seconds


def test_a_pause_until_a_date_is_the_time_until_then() -> None:
    pause = retry_after(formatdate(time.time() + 60, usegmt=True))
    assert pause is not None
    assert 57 < pause <= 60
