"""Where a Redis is: an address as text, and how connections to it are made."""

import ipaddress
from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast
from urllib.parse import SplitResult, parse_qsl, urlsplit

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from actors.redis_connection import ENDING_AT_ONCE, EndsAtOnce
from actors.redis_sentinel import SentinelService, host_and_port, places
from protocol.errors import InvalidSettings

SENTINEL: Final = "redis+sentinel"
SCHEMES: Final = ("redis", "rediss", "unix", SENTINEL)

Connect = Callable[[], EndsAtOnce]
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
            _check_rest(parts)
            self._sentinel = SentinelService(parts) if parts.scheme == SENTINEL else None
            options: dict[str, Any] = {} if self._sentinel else dict(parse_url(url))
            kind = ENDING_AT_ONCE[cast("type[AbstractConnection]", options.pop("connection_class", Connection))]
            self._connect = partial(kind, **{**options, **_PLAIN})
            self._connect()  # refuses options that there are none of
            hosts = _hosts(parts)
        except (ValueError, TypeError, AttributeError, RedisError):
            known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
            raise InvalidSettings(
                f"cluster is no address of a Redis: begin it with one of {known}, give a number as the database and "
                "options that redis-py's connections have, and quote what is special in a password (%2F for a slash)"
            ) from None
        place = parts.path if parts.scheme == "unix" else ",".join(hosts) + parts.path
        self.shown = f"{parts.scheme}://{place}"
        self.is_local = parts.scheme == "unix" or all(_is_loopback(host) for host in hosts)

    def __repr__(self) -> str:
        return f"RedisAddress({self.shown!r})"

    async def connector(self, patience: float) -> Connect:
        """How to connect now. To be used on asyncio's side.

        Args:
            patience: seconds that each Sentinel has to say where the master is.

        Raises:
            LineBroke: no Sentinel says so.
        """
        if self._sentinel is None:
            return self._connect
        host, port = await self._sentinel.master(self._connect, patience)
        return partial(self._connect, host=host, port=port, db=self._sentinel.database, **self._sentinel.credentials)


_PLAIN: Final[dict[str, Any]] = {
    "protocol": 2,
    "decode_responses": False,
    "driver_info": None,
    "health_check_interval": 0,
    "retry": Retry(NoBackoff(), 0),
    "retry_on_error": [],
    "retry_on_timeout": False,
    "socket_timeout": None,
    "socket_connect_timeout": None,
}
"""What a line needs, whatever an address says: nothing is repeated or timed by the library, since a repeated PUBLISH
would be delivered twice; and nothing is asked that a narrow ACL user may not."""


def _check_rest(parts: SplitResult) -> None:
    """Raise if what follows the host cannot be what it stands for. It is maybe the end of a password that should have
    been quoted, so that the beginning would be taken for a host or a port, and shown.
    """
    if parts.fragment:
        raise ValueError("a fragment")
    if parts.query:
        parse_qsl(parts.query, strict_parsing=True)
    database = parts.path.strip("/")
    if parts.scheme in {"redis", "rediss"} and database:
        int(database)


def _hosts(parts: SplitResult) -> list[str]:
    if parts.scheme == SENTINEL:
        return places(parts)
    return [] if parts.scheme == "unix" else [parts.netloc.rpartition("@")[2] or "localhost"]


def _is_loopback(place: str) -> bool:
    host, _ = host_and_port(place)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
