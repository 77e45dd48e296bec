"""Troupe: live sessions with MCP servers, lent out safely; and the actor runtime that they live in.

The runtime is imported at once. The pool comes with its first use: it brings the MCP SDK along, which takes most of a
second to import, and who embeds the runtime alone has no use for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from actors.actor import Actor, Signal
from actors.clock import Clock
from actors.configuration import load_settings
from actors.effect import Cancelled, Effect, Failed, Outcome, Succeeded
from actors.inspection import ActorStatus, Statistics
from actors.letters import DeadLetter, DeadLetters
from actors.ref import Ref, Terminated
from actors.reply import AskerGone, Reply, Unclaimed, Unheard
from actors.supervisor import DeleteChild, RestartChild, StartChild, Supervisor, TerminateChild, WhichChildren
from actors.system import System, open_system
from actors.thread import FromThread
from actors.timer import Timer
from protocol.child import ChildSpec, ChildState, ChildStatus
from protocol.cluster_settings import ClusterSettings
from protocol.errors import (
    ActorError,
    ActorReused,
    ActorStopped,
    AskInTurn,
    AskTimeout,
    ChildRunning,
    InvalidName,
    InvalidSettings,
    MailboxFull,
    NameTaken,
    NoReply,
    NoTurn,
    RestartIntensityReached,
    StartFailed,
    StartTimeout,
    SystemClosed,
    TroupeError,
    UnknownChild,
    WrongEventLoop,
    WrongThread,
)
from protocol.mailbox import Mailbox, Overflow
from protocol.message import Answer, Request, message
from protocol.restart import Backoff, Restart, Strategy
from protocol.settings import PoolSettings, Tls, Upstream

if TYPE_CHECKING:
    from actors.backstage import HandlerFactory
    from actors.borrowing import Borrowing
    from actors.cluster_statistics import ClusterStats, ForwardFailure
    from actors.cluster_tree import ClusterTree, WorkerStatus
    from actors.connection import Connection, Connector, Learnt, MessageHandler, Opening
    from actors.events import EventStream
    from actors.key_statistics import KeyStats
    from actors.lease import Lease
    from actors.memory_bus import MemoryHub
    from actors.pool import Pool, open_pool
    from actors.statistics import BreakerStats, Permits, PoolStats
    from actors.transports import StreamableHttp, Transports
else:

    def __getattr__(name: str) -> Any:
        if (home := _WITH_THE_POOL.get(name)) is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(home), name)
        return value


_WITH_THE_POOL: Final = {
    "Borrowing": "actors.borrowing",
    "BreakerStats": "actors.statistics",
    "ClusterStats": "actors.cluster_statistics",
    "ClusterTree": "actors.cluster_tree",
    "Connection": "actors.connection",
    "Connector": "actors.connection",
    "EventStream": "actors.events",
    "ForwardFailure": "actors.cluster_statistics",
    "HandlerFactory": "actors.backstage",
    "KeyStats": "actors.key_statistics",
    "Learnt": "actors.connection",
    "Lease": "actors.lease",
    "MemoryHub": "actors.memory_bus",
    "MessageHandler": "actors.connection",
    "Opening": "actors.connection",
    "Permits": "actors.statistics",
    "Pool": "actors.pool",
    "PoolStats": "actors.statistics",
    "StreamableHttp": "actors.transports",
    "Transports": "actors.transports",
    "WorkerStatus": "actors.cluster_tree",
    "open_pool": "actors.pool",
}

__all__ = [
    "Actor",
    "ActorError",
    "ActorReused",
    "ActorStatus",
    "ActorStopped",
    "Answer",
    "AskInTurn",
    "AskTimeout",
    "AskerGone",
    "Backoff",
    "Borrowing",
    "BreakerStats",
    "Cancelled",
    "ChildRunning",
    "ChildSpec",
    "ChildState",
    "ChildStatus",
    "Clock",
    "ClusterSettings",
    "ClusterStats",
    "ClusterTree",
    "Connection",
    "Connector",
    "DeadLetter",
    "DeadLetters",
    "DeleteChild",
    "Effect",
    "EventStream",
    "Failed",
    "ForwardFailure",
    "FromThread",
    "HandlerFactory",
    "InvalidName",
    "InvalidSettings",
    "KeyStats",
    "Learnt",
    "Lease",
    "Mailbox",
    "MailboxFull",
    "MemoryHub",
    "MessageHandler",
    "NameTaken",
    "NoReply",
    "NoTurn",
    "Opening",
    "Outcome",
    "Overflow",
    "Permits",
    "Pool",
    "PoolSettings",
    "PoolStats",
    "Ref",
    "Reply",
    "Request",
    "Restart",
    "RestartChild",
    "RestartIntensityReached",
    "Signal",
    "StartChild",
    "StartFailed",
    "StartTimeout",
    "Statistics",
    "Strategy",
    "StreamableHttp",
    "Succeeded",
    "Supervisor",
    "System",
    "SystemClosed",
    "TerminateChild",
    "Terminated",
    "Timer",
    "Tls",
    "Transports",
    "TroupeError",
    "Unclaimed",
    "Unheard",
    "UnknownChild",
    "Upstream",
    "WhichChildren",
    "WorkerStatus",
    "WrongEventLoop",
    "WrongThread",
    "load_settings",
    "message",
    "open_pool",
    "open_system",
]
