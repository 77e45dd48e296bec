"""Where a Redis is: addresses, good and bad."""

import pytest

from actors.redis_address import RedisAddress
from protocol.errors import InvalidSettings


@pytest.mark.holds("X1")
@pytest.mark.parametrize(
    ("url", "shown", "is_local"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0", True),
        ("redis://localhost/2", "redis://localhost/2", True),
        ("redis://", "redis://localhost", True),
        ("redis://[::1]:6379", "redis://[::1]:6379", True),
        ("redis://ada:s%3Acret@10.0.0.7:6379/1?health_check_interval=2", "redis://10.0.0.7:6379/1", False),
        ("rediss://:secret@redis.example:6380", "rediss://redis.example:6380", False),
        ("unix:///run/redis.sock?db=1&password=secret", "unix:///run/redis.sock", True),
        ("redis+sentinel://ada:secret@one:26379,two/main/3", "redis+sentinel://one:26379,two/main/3", False),
        ("redis+sentinel://127.0.0.1,127.0.0.1:26380/main", "redis+sentinel://127.0.0.1,127.0.0.1:26380/main", True),
        ("redis+sentinel://127.0.0.1,far.example/main", "redis+sentinel://127.0.0.1,far.example/main", False),
    ],
)
def test_an_address_is_shown_without_its_secrets_and_known_to_be_near_or_far(
    url: str, shown: str, *, is_local: bool
) -> None:
    address = RedisAddress(url)
    assert address.shown == shown
    assert repr(address) == f"RedisAddress({shown!r})"
    assert address.is_local is is_local


@pytest.mark.holds("X1")
@pytest.mark.parametrize(
    "url",
    [
        "",
        "secret",
        "http://:secret@127.0.0.1",
        "redis://:secret@127.0.0.1:port",
        "redis://:secret@127.0.0.1:6379?db=secret",
        "redis+sentinel://:secret@/main",
        "redis+sentinel://:secret@one",
        "redis+sentinel://:secret@one/main/secret",
        "redis://[secret",
        "redis://127.0.0.1/secret",
        "redis://127.0.0.1:6379?secret=1",
        "redis://127.0.0.1:6379?max_connections=1&password=secret",
        "rediss://127.0.0.1:6379?ssl_cert_reqs=secret",
        # Passwords that hold what ends a host: their beginning would be taken for a port, and shown.
        "redis://:12/secret@127.0.0.1/0",
        "redis://:12#secret@127.0.0.1/0",
        "redis://ada:12?secret@127.0.0.1/0",
        "redis+sentinel://:12#secret@127.0.0.1/main",
    ],
)
def test_what_is_no_address_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(InvalidSettings, match="cluster is no address of a Redis: begin it with one of redis://") as no:
        RedisAddress(url)
    assert "secret" not in str(no.value)
    assert no.value.__cause__ is None
    assert no.value.__suppress_context__
