"""Where a Redis is: an address as text, and how connections to it are made."""

import ipaddress
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast
from urllib.parse import SplitResult, unquote, urlsplit

from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    parse_url,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from protocol.errors import InvalidSettings

SENTINEL: Final = "redis+sentinel"
SCHEMES: Final = ("redis", "rediss", "unix", SENTINEL)
_SENTINEL_PORT: Final = 26_379

Connect = Callable[[], AbstractConnection]
"""Makes a connection that is yet to be opened."""


class RedisAddress:
    """A Redis, by its address.

    - `redis://user:password@host:port/0`, `rediss://` for TLS, `unix:///path/to/socket`, each with redis-py's query
      options (`ssl_ca_certs`, `ssl_cert_reqs`, …).
    - `redis+sentinel://user:password@host:port,host:port/service/0` asks the Sentinels for the master of a service,
      anew whenever it connects. User and password are the master's and the Sentinels'.

    Args:
        url: the address.

    Attributes:
        shown: the address without user, password and query, for errors and logs.
        is_local: whether all of it is on this machine: a socket of the file system, or the loopback.

    Raises:
        InvalidSettings: it is no such address. What it holds is not repeated, since that may be a password.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            self._sentinel = _SentinelService(parts) if parts.scheme == SENTINEL else None
            self._options: dict[str, Any] = {} if self._sentinel else dict(parse_url(url))
            hosts = _hosts(parts)
        except (ValueError, TypeError, AttributeError):
            known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
            raise InvalidSettings(f"cluster is no address of a Redis: begin it with one of {known}") from None
        self._kind = cast("type[AbstractConnection]", self._options.pop("connection_class", Connection))
        place = parts.path if parts.scheme == "unix" else ",".join(hosts) + parts.path
        self.shown = f"{parts.scheme}://{place}"
        self.is_local = parts.scheme == "unix" or all(_is_loopback(host) for host in hosts)

    def __repr__(self) -> str:
        return f"RedisAddress({self.shown!r})"

    async def connector(self) -> Connect:
        """How to connect now. To be used on asyncio's side.

        Raises:
            RedisError, OSError: no Sentinel says where the master is.
        """
        if self._sentinel is None:
            return lambda: self._kind(**{**self._options, **_PLAIN})
        host, port = await self._sentinel.master()
        options: dict[str, Any] = {
            **self._sentinel.options,
            **_PLAIN,
            "host": host,
            "port": port,
            "db": self._sentinel.database,
        }
        return lambda: Connection(**options)


class _SentinelService:
    """A service that Sentinels know the master of."""

    def __init__(self, parts: SplitResult) -> None:
        self._sentinels = [_host_and_port(place) for place in _places(parts)]
        service, _, database = parts.path.strip("/").partition("/")
        if not service or not self._sentinels:
            raise ValueError("no service")
        self._service = unquote(service)
        self.database = int(database or 0)
        user, _, password = parts.netloc.rpartition("@")[0].partition(":")
        self.options = {name: unquote(text) for name, text in (("username", user), ("password", password)) if text}

    async def master(self) -> tuple[str, int]:
        """Where the master is now.

        Raises:
            RedisError: nobody knows.
        """
        options: dict[str, Any] = {**self.options, "protocol": 2, "driver_info": None}
        sentinel: Any = Sentinel(self._sentinels, sentinel_kwargs=options)
        try:
            host, port = await sentinel.discover_master(self._service)
        finally:
            for client in sentinel.sentinels:
                with suppress(RedisError, OSError):
                    await client.aclose()
        return str(host), int(port)


_PLAIN: Final[dict[str, Any]] = {
    "protocol": 2,
    "decode_responses": False,
    "driver_info": None,
    "health_check_interval": 0,
    "retry": Retry(NoBackoff(), 0),
    "retry_on_error": [],
    "retry_on_timeout": False,
    "socket_timeout": None,
}
"""What a line needs, whatever an address says: nothing is repeated or timed by the library, since a repeated PUBLISH
would be delivered twice; and nothing is asked that a narrow ACL user may not."""


def _places(parts: SplitResult) -> list[str]:
    return [place for place in parts.netloc.rpartition("@")[2].split(",") if place]


def _hosts(parts: SplitResult) -> list[str]:
    if parts.scheme == SENTINEL:
        return _places(parts)
    return [] if parts.scheme == "unix" else [parts.netloc.rpartition("@")[2] or "localhost"]


def _host_and_port(place: str) -> tuple[str, int]:
    inner = urlsplit(f"//{place}")
    if inner.hostname is None:
        raise ValueError("no host")
    return inner.hostname, inner.port or _SENTINEL_PORT


def _is_loopback(place: str) -> bool:
    host, _ = _host_and_port(place)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
