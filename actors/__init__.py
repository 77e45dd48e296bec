"""Troupe: live sessions with MCP servers, lent out safely; and the actor runtime that they live in.

The runtime is imported at once. The pool comes with its first use: it brings the MCP SDK along, which takes most of a
second to import, and who embeds the runtime alone has no use for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from actors.actor import Actor, Outcome, Signal
from actors.effect import Cancelled, Effect, Failed, Succeeded
from actors.ref import DeadLetter, Ref, Terminated
from actors.reply import AskerGone, Reply, Unclaimed
from actors.system import System, open_system
from actors.timer import Timer
from protocol.message import Request, message
from protocol.settings import PoolSettings, Upstream

if TYPE_CHECKING:
    from actors.connection import Connection, Connector, StreamableHttp
    from actors.lease import Lease
    from actors.pool import Borrowing, Pool, open_pool
    from actors.statistics import PoolStats
    from actors.supervisor import KeyStats
else:

    def __getattr__(name: str) -> Any:
        if (home := _WITH_THE_POOL.get(name)) is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(home), name)
        return value


_WITH_THE_POOL: Final = {
    "Borrowing": "actors.pool",
    "Connection": "actors.connection",
    "Connector": "actors.connection",
    "KeyStats": "actors.supervisor",
    "Lease": "actors.lease",
    "Pool": "actors.pool",
    "PoolStats": "actors.statistics",
    "StreamableHttp": "actors.connection",
    "open_pool": "actors.pool",
}

__all__ = [
    "Actor",
    "AskerGone",
    "Borrowing",
    "Cancelled",
    "Connection",
    "Connector",
    "DeadLetter",
    "Effect",
    "Failed",
    "KeyStats",
    "Lease",
    "Outcome",
    "Pool",
    "PoolSettings",
    "PoolStats",
    "Ref",
    "Reply",
    "Request",
    "Signal",
    "StreamableHttp",
    "Succeeded",
    "System",
    "Terminated",
    "Timer",
    "Unclaimed",
    "Upstream",
    "message",
    "open_pool",
    "open_system",
]
