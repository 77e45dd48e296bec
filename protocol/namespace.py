"""How a deployment's keys and channels are called in Redis, so that several share one server.

All of it begins with `troupe:` and the namespace. What is named needs no quoting: namespaces and workers are letters,
digits, `_` and `-`, as downstream session ids are (`protocol.headers.check_session_id`).
"""

import re
from typing import Final

from protocol.errors import InvalidSettings

_NAMES: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Namespace:
    """The names of one deployment.

    Args:
        name: the namespace.

    Raises:
        InvalidSettings: it is not 1 to 64 letters, digits, `_` and `-`.
    """

    __slots__ = ("_prefix", "name")

    def __init__(self, name: str = "default") -> None:
        if not isinstance(name, str) or not _NAMES.fullmatch(name):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidSettings("namespace cannot be used: give 1 to 64 letters, digits, '_' or '-'")
        self.name = name
        self._prefix = f"troupe:{name}:"

    def __repr__(self) -> str:
        return f"Namespace({self.name!r})"

    def owner(self, session_id: str) -> str:
        """The key of who holds a downstream session: a hash with `owner`, `token` and `principal`."""
        return f"{self._prefix}owner:{session_id}"

    def worker(self, worker: str) -> str:
        """The key of a worker that lives."""
        return f"{self._prefix}worker:{worker}"

    @property
    def workers(self) -> str:
        """The key of which workers live: a sorted set of ids, by the millisecond at which each ends unless it beats."""
        return f"{self._prefix}workers"

    @property
    def run(self) -> str:
        """The key of when the records of this deployment were begun. It is lost when they are, and never expires."""
        return f"{self._prefix}run"

    def requests(self, worker: str) -> str:
        """The channel of what others ask of a worker."""
        return f"{self._prefix}requests:{worker}"

    def replies(self, worker: str) -> str:
        """The channel of what others answer a worker."""
        return f"{self._prefix}replies:{worker}"

    @property
    def access_rules(self) -> tuple[str, ...]:
        """All that a Redis user needs (`ACL SETUSER troupe on >… ` and these)."""
        return (
            "resetkeys",
            f"~{self._prefix}*",
            "resetchannels",
            f"&{self._prefix}*",
            "-@all",
            *(f"+{command}" for command in COMMANDS),
        )


COMMANDS: Final = (
    "eval",
    "get",
    "hset",
    "hmget",
    "del",
    "pexpire",
    "pttl",
    "set",
    "ping",
    "publish",
    "pubsub|numsub",
    "select",
    "subscribe",
    "time",
    "zadd",
    "zrange",
    "zrem",
    "zremrangebyscore",
)
"""The Redis commands that are used, within scripts too: `time` only there, for how old the records are and for
who still lives."""
