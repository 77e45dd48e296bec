"""The registry: routes every acquire to the supervisor of its pool key, which it starts on demand."""

from typing import assert_never

from typing_extensions import override

from actors.actor import Actor, Signal
from actors.connection import Connector
from actors.pool_supervisor import Acquire, KeyStats, PoolSupervisor, SupervisorMessage
from actors.ref import Ref, Terminated
from actors.reply import Reply
from protocol import pool
from protocol.errors import PoolClosed
from protocol.keys import PoolKey
from protocol.message import Request, message
from protocol.settings import PoolSettings


@message
class Close(Request[None]):
    """Ask for the end of the pool. Answered when every session has ended; what is acquired from now on is refused."""


RegistryMessage = Acquire | Close


class Registry(Actor[RegistryMessage]):
    """Knows the supervisor of every pool key."""

    __slots__ = ("_closing", "_connector", "_living", "_made", "_settings", "_supervisors")

    def __init__(self, settings: PoolSettings, connector: Connector) -> None:
        self._settings = settings
        self._connector = connector
        self._supervisors: dict[PoolKey, tuple[PoolSupervisor, Ref[SupervisorMessage]]] = {}
        self._living: set[Ref[SupervisorMessage]] = set()
        self._made = 0
        self._closing: list[Reply[None]] | None = None

    @override
    def receive(self, message: RegistryMessage) -> None:
        match message:
            case Acquire():
                if self._closing is not None:
                    self.keep_reply().fail(PoolClosed("the pool is closed: open another one"))
                    return
                self.forward(self.find(message.key) or self._start(message.key), message)
            case Close():
                if self._closing is None:
                    self._closing = []
                    for _, supervisor in self._supervisors.values():
                        supervisor.tell(pool.Shut())
                self._closing.append(self.keep_reply())
                self._answer_if_closed()
            case _:
                assert_never(message)

    @override
    def signal(self, signal: Signal) -> None:
        if not isinstance(signal, Terminated):
            return
        self._living.discard(signal.ref)
        if self._closing is None:
            for key, (_, ref) in self._supervisors.items():
                if ref is signal.ref:
                    del self._supervisors[key]
                    break
        # Once the pool closes they stay, so that its last figures can be read.
        self._answer_if_closed()

    def stats(self) -> list[KeyStats]:
        """The figures of every key."""
        return [supervisor.stats() for supervisor, _ in self._supervisors.values()]

    def find(self, key: PoolKey) -> Ref[SupervisorMessage] | None:
        """The supervisor of a key, if it has one: whoever knows the address need not ask by way of the registry."""
        known = self._supervisors.get(key)
        return known[1] if known is not None and known[1].is_alive else None

    def describe(self, key: PoolKey) -> str:
        """The key's pool and its state, for errors."""
        known = self._supervisors.get(key)
        return f"pool of {key.name} (not started)" if known is None else known[0].describe()

    def _start(self, key: PoolKey) -> Ref[SupervisorMessage]:
        self._made += 1
        supervisor = PoolSupervisor(key, self._settings, self._connector)
        ref = self.spawn(supervisor, name=f"key-{self._made}")
        self.watch(ref)
        self._supervisors[key] = (supervisor, ref)
        self._living.add(ref)
        return ref

    def _answer_if_closed(self) -> None:
        if self._closing is not None and not self._living:
            for reply in self._closing:
                reply.answer(None)
