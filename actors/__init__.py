"""Troupe: live sessions with MCP servers, lent out safely; and the actor runtime that they live in."""

from actors.actor import Actor, Outcome, Signal
from actors.connection import Connection, Connector, StreamableHttp
from actors.effect import Cancelled, Effect, Failed, Succeeded
from actors.lease import Lease
from actors.pool import Borrowing, Pool, open_pool
from actors.ref import DeadLetter, Ref, Terminated
from actors.reply import AskerGone, Reply, Unclaimed
from actors.statistics import PoolStats
from actors.supervisor import KeyStats
from actors.system import System, open_system
from actors.timer import Timer
from protocol.message import Request, message
from protocol.settings import PoolSettings, Upstream

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
