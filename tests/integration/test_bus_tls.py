"""The bus over TLS: a real Redis with certificates of the test's own."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import anyio
import pytest
import trustme

from protocol.bus import Claim, Holding, Post
from protocol.namespace import Namespace
from tests.integration.buses import redis_bus, refusal, trying, workers
from tests.redis_server import RedisServer, RedisUnavailable, free_port, running_redis

ADA = Holding("ada", "token-1", "principal")


class Certificates:
    """A CA, and what it certified: a server under one name, and a client."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir()
        ca = trustme.CA()
        self.ca, self.server, self.server_key, self.client, self.client_key = (
            folder / f"{file}.pem" for file in ("ca", "server", "server-key", "client", "client-key")
        )
        ca.cert_pem.write_to_path(str(self.ca))
        server = ca.issue_cert(name)
        server.private_key_pem.write_to_path(str(self.server_key))
        server.cert_chain_pems[0].write_to_path(str(self.server))
        client = ca.issue_cert("worker@example.org")
        client.private_key_pem.write_to_path(str(self.client_key))
        client.cert_chain_pems[0].write_to_path(str(self.client))


@contextmanager
def redis_with_tls(certificates: Certificates, *, of_clients: str) -> Generator[tuple[RedisServer, int]]:
    """A server, and where it takes TLS. `of_clients`: `yes` if they need a certificate."""
    port = free_port()
    options = ("--tls-port", str(port), "--tls-auth-clients", of_clients)
    options += ("--tls-cert-file", str(certificates.server), "--tls-key-file", str(certificates.server_key))
    try:
        with running_redis(options=(*options, "--tls-ca-cert-file", str(certificates.ca))) as server:
            yield server, port
    except RedisUnavailable as error:
        if "tls" in str(error).lower() or "Bad directive" in str(error):
            pytest.skip("this machine's Redis was built without TLS")
        raise


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "right", "127.0.0.1")


def address(port: int, **options: object) -> str:
    return f"rediss://127.0.0.1:{port}/0?{urlencode(options)}"


async def why_not(url: str) -> str:
    async with trying(url, Namespace("tls")) as worker:
        why = await refusal(worker)
        assert worker.news == []
    return why


async def test_a_redis_whose_certificate_a_known_ca_made_is_joined(certificates: Certificates) -> None:
    with redis_with_tls(certificates, of_clients="no") as (server, port):
        url = address(port, ssl_ca_certs=certificates.ca)
        async with workers(lambda: redis_bus(url, Namespace("tls")), "ada", "bob") as (ada, bob):
            assert await ada.ask(Claim("talk", ADA, 60)) == ADA
            assert await ada.ask(Post(bob.channel, b"x" * 300_000)) == 1
            await bob.until(lambda: bob.envelopes == [b"x" * 300_000])
            server.command("CLIENT", "KILL", "TYPE", "pubsub")
            await ada.joined(times=2)
        with anyio.fail_after(5):
            while server.connections():  # noqa: ASYNC110 - it has no event
                await anyio.sleep(0.01)


async def test_a_redis_that_wants_certificates_gets_the_clients(certificates: Certificates) -> None:
    with redis_with_tls(certificates, of_clients="yes") as (_, port):
        keys = {"ssl_certfile": certificates.client, "ssl_keyfile": certificates.client_key}
        url = address(port, ssl_ca_certs=certificates.ca, **keys)
        async with workers(lambda: redis_bus(url, Namespace("tls")), "ada") as (ada,):
            assert await ada.ask(Claim("talk", ADA, 60)) == ADA
        why = await why_not(address(port, ssl_ca_certs=certificates.ca))
        assert f"rediss://127.0.0.1:{port}/0 cannot be reached" in why
        assert str(certificates.ca) not in why


@pytest.mark.holds("C9", "X1")
async def test_a_certificate_that_does_not_match_is_refused_and_told_by_name(
    tmp_path: Path, certificates: Certificates
) -> None:
    other = Certificates(tmp_path / "other", "redis.example.org")
    with redis_with_tls(certificates, of_clients="no") as (_, port):
        why = await why_not(address(port, ssl_ca_certs=other.ca))
        assert f"127.0.0.1:{port}. [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed" in why
        assert "certificate verify failed" in await why_not(address(port)), "the system's CAs know it no more"
    with redis_with_tls(other, of_clients="no") as (_, port):
        why = await why_not(address(port, ssl_ca_certs=other.ca))
        assert "certificate is not valid for '127.0.0.1'" in why


async def test_a_ca_file_that_is_not_there_and_a_redis_without_tls_are_told_by_name(
    tmp_path: Path, certificates: Certificates
) -> None:
    with running_redis() as server:
        assert "No such file" in await why_not(address(server.port, ssl_ca_certs=tmp_path / "missing.pem"))
        why = await why_not(address(server.port, ssl_ca_certs=certificates.ca))
        assert f"connecting to 127.0.0.1:{server.port}" in why or "did not answer" in why


@pytest.mark.holds("R4", "S5")
async def test_it_can_be_left_while_a_redis_with_tls_stands_still(certificates: Certificates) -> None:
    with redis_with_tls(certificates, of_clients="no") as (server, port):
        url = address(port, ssl_ca_certs=certificates.ca)
        async with workers(lambda: redis_bus(url, Namespace("tls"), patience=0.3), "ada") as (ada,):
            server.freeze()
            answers: list[object] = []
            for _ in range(10):
                ada.bus.send(Post("channel", b"x" * 1_000_000), answers.append)
            await ada.parted()
        assert len(answers) == 10
        for hundredth in range(1, 12):
            with anyio.move_on_after(hundredth / 100):
                await redis_bus(url, Namespace("tls"), patience=0.05).run(("channel",), lambda _: None)
        server.thaw()
        with anyio.fail_after(5):
            while server.connections():  # noqa: ASYNC110 - it has no event
                await anyio.sleep(0.01)
