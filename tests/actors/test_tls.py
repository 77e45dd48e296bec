"""TLS contexts: one for each set of settings, and a name for each way in which settings can be wrong."""

import os
import ssl
from pathlib import Path
from typing import Any

import httpx2
import pytest

from actors import Transports, Upstream
from actors.tls import TlsContexts
from protocol.errors import InvalidSettings
from protocol.settings import Tls
from tests.actors.wire import FakeWire, opening

CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBdzCCAR2gAwIBAgIURsOp2Y90oEcoUp2OOJAS+HleHx0wCgYIKoZIzj0EAwIw
EDEOMAwGA1UEAwwFdGVzdHMwIBcNMjYxMTI1MDgyNjQzWhgPMjEyNjExMDEwODI2
NDNaMBAxDjAMBgNVBAMMBXRlc3RzMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
kTU1xYplluSNbjaN7cx035XK+ri9aRmjWUZcBUHMqg28H7nUB7q1u85eRh7WB95Q
eOw0thPWoOoJy1txfDGd5KNTMFEwHQYDVR0OBBYEFOIXuGd48dq70lxj0pAFgzTu
KHtmMB8GA1UdIwQYMBaAFOIXuGd48dq70lxj0pAFgzTuKHtmMA8GA1UdEwEB/wQF
MAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIhAMmAqevjGyQFTNsvIcoCSHSixRjycjs6
pfmrBKAekwbIAiBSh9FTCOZ7oyXdrExF4hxc2xXTxlYky2s8MxGDZjOSfQ==
-----END CERTIFICATE-----
"""


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_text(CERTIFICATE)
    return path


def test_equal_settings_share_a_context_and_others_do_not(ca_file: Path) -> None:
    contexts = TlsContexts()
    assert contexts.of(Tls()) is contexts.of(Tls())
    assert contexts.of(Tls(verify=False)) is not contexts.of(Tls())
    trusted = contexts.of(Tls(ca_file=str(ca_file)))
    assert trusted is contexts.of(Tls(ca_file=str(ca_file)))
    assert trusted.get_ca_certs(binary_form=True) == [ssl.PEM_cert_to_DER_cert(CERTIFICATE)]


def test_unless_told_otherwise_servers_are_verified() -> None:
    context = TlsContexts().of(Tls())
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert TlsContexts().of(Tls(verify=False)).verify_mode is ssl.CERT_NONE


def test_a_file_that_changed_makes_a_new_context(ca_file: Path) -> None:
    contexts = TlsContexts()
    before = contexts.of(Tls(ca_file=str(ca_file)))
    os.utime(ca_file, ns=(1, 1))
    assert contexts.of(Tls(ca_file=str(ca_file))) is not before


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("a missing ca_file", r"tls ca_file .*\(No such file"),
        ("a ca_file of rubbish", r"tls ca_file .*\(no PEM file"),
        ("a missing certificate", r"tls certificate .*\(No such file"),
        ("a certificate without a key", r"tls certificate .*\(no PEM file"),
    ],
)
def test_what_cannot_be_used_is_named(what: str, said: str, tmp_path: Path, ca_file: Path) -> None:
    rubbish, missing = tmp_path / "rubbish", str(tmp_path / "missing")
    rubbish.write_text("rubbish")
    tls = {
        "a missing ca_file": Tls(ca_file=missing),
        "a ca_file of rubbish": Tls(ca_file=str(rubbish)),
        "a missing certificate": Tls(certificate=missing),
        "a certificate without a key": Tls(certificate=str(ca_file)),
    }[what]
    with pytest.raises(InvalidSettings, match=said):
        TlsContexts().of(tls)


async def test_the_sessions_of_a_connector_share_the_context_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    wires: list[FakeWire] = []
    verified: list[object] = []

    def transport(*, verify: object, **_: Any) -> httpx2.AsyncBaseTransport:
        verified.append(verify)
        wires.append(FakeWire())
        return wires[-1]

    monkeypatch.setattr(httpx2, "AsyncHTTPTransport", transport)
    connector = Transports()
    for _ in range(2):
        async with connector(opening(Upstream("https://server.test/mcp", mode="legacy"))):
            pass
    assert verified[0] is verified[1]
    assert isinstance(verified[0], ssl.SSLContext)
    assert wires[0] is not wires[1]


async def test_settings_that_cannot_be_used_are_named_to_whoever_opens() -> None:
    upstream = Upstream("https://server.test/mcp", tls=Tls(ca_file="/nowhere/at/all.pem"))
    with pytest.raises(InvalidSettings, match="tls ca_file"):
        async with Transports()(opening(upstream)):
            pass
