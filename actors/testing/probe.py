"""A probe: an actor's stand-in, which a test asks what it was sent."""

from collections.abc import Callable
from typing import Any, Final, Self, TypeVar, cast, overload

import anyio
from typing_extensions import override

from actors.actor import Actor, Signal
from actors.ref import Ref, Terminated
from actors.reply import Reply
from actors.system import System
from actors.testing.errors import ProbeFailed

T = TypeVar("T")

SHOWN: Final = 5


class _Stand(Actor[Any]):
    """The actor itself."""

    def __init__(self, probe: "Probe") -> None:
        self._probe = probe

    @override
    def receive(self, message: Any) -> None:
        self._probe.take(message, self.keep_reply() if self._cell.system.current_reply is not None else None)

    @override
    def signal(self, signal: Signal) -> None:
        self._probe.take_signal(signal)


class Probe:
    """Takes the place of an actor in a test: keeps what it is sent, until the test asks for it.

    Waits go by the event loop's clock: virtual in a simulation and under trio's `MockClock`, else real. A probe is no
    actor of the test's making, so all of this is called by the test, and not in turns.

        probe = Probe.spawn(system)
        cache.tell(Subscribe(probe.ref))
        assert (await probe.expect(Changed)).key == "a"

    Attributes:
        ref: its address, to be given to those under test.
        signals: the signals it was sent, such as `Terminated`.
    """

    def __init__(self) -> None:
        self.ref: Ref[Any]
        self.signals: list[Signal] = []
        self._stand = _Stand(self)
        self._queue: list[tuple[Any, Reply[Any] | None]] = []
        self._asked: Reply[Any] | None = None
        self._news = anyio.Event()

    @classmethod
    def spawn(cls, system: System, *, name: str | None = None) -> Self:
        """Start a probe at the top of a system. Raises as `System.spawn` does."""
        probe = cls()
        probe.ref = system.spawn(probe._stand, name=f"probe-{system.started + 1}" if name is None else name)
        return probe

    @property
    def messages(self) -> tuple[Any, ...]:
        """What it was sent and nobody has expected yet, oldest first."""
        return tuple(message for message, _ in self._queue)

    @overload
    async def expect(self, wanted: type[T], *, within: float = 3.0, skipping: bool = False) -> T: ...
    @overload
    async def expect(self, wanted: Callable[[Any], bool], *, within: float = 3.0, skipping: bool = False) -> Any: ...
    @overload
    async def expect(self, wanted: T, *, within: float = 3.0, skipping: bool = False) -> T: ...

    async def expect(self, wanted: Any, *, within: float = 3.0, skipping: bool = False) -> Any:
        """Wait for the next message, which must be the one that is wanted.

        Args:
            wanted: a type, for a message of it; a function that tells whether a message is meant; or the message.
            within: how long to wait, in seconds.
            skipping: whether other messages may come before it. They stay in `messages`.

        Returns:
            The message.

        Raises:
            ProbeFailed: another one came, or none in time. One that came is still in `messages`.

        Cancellation: nothing is lost.
        """
        deadline = anyio.current_time() + within
        seen = 0
        while True:
            while seen < len(self._queue):
                message, reply = self._queue[seen]
                if _is_meant(message, wanted):
                    del self._queue[seen]
                    if reply is not None:
                        self._asked = reply
                    return message
                if not skipping:
                    raise ProbeFailed(f"{self.ref.path} expected {_named(wanted)}; what came is {self._shown()}")
                seen += 1
            if not await self._more(deadline):
                raise ProbeFailed(
                    f"{self.ref.path} expected {_named(wanted)} within {within:g} s; what came is {self._shown()}"
                )

    async def expect_none(self, *, for_: float = 1.0) -> None:
        """Wait for so many seconds, in which no message may come, nor have come before.

        Raises:
            ProbeFailed: one has.
        """
        deadline = anyio.current_time() + for_
        if self._queue or await self._more(deadline):
            raise ProbeFailed(f"{self.ref.path} expected nothing for {for_:g} s; what came is {self._shown()}")

    def reply(self, value: Any) -> None:
        """Answer the request that was expected last; if none was expected yet, the one that came last.

        Raises:
            LookupError: no request waits for an answer.
        """
        self._open_reply().answer(value)

    def fail(self, error: Exception) -> None:
        """Fail the request that `reply` would answer."""
        self._open_reply().fail(error)

    def watch(self, ref: Ref[Any]) -> None:
        """Have the probe told when that actor ends."""
        self._stand.watch(ref)

    async def expect_terminated(self, ref: Ref[Any], *, within: float = 3.0) -> Terminated:
        """Wait until that actor has ended. One that was not watched is from now on.

        Args:
            ref: the actor.
            within: how long to wait, in seconds.

        Raises:
            ProbeFailed: it has not ended in time.
        """
        deadline = anyio.current_time() + within
        found = self._terminated(ref)
        if found is None:
            self.watch(ref)
        while (found := self._terminated(ref)) is None:
            if not await self._more(deadline):
                raise ProbeFailed(f"{self.ref.path} expected the end of {ref.path} within {within:g} s; it is alive")
        return found

    def take(self, message: Any, reply: Reply[Any] | None) -> None:
        """Keep a message. Only the probe's actor calls this."""
        self._queue.append((message, reply))
        self._news.set()

    def take_signal(self, signal: Signal) -> None:
        """Keep a signal. Only the probe's actor calls this."""
        self.signals.append(signal)
        self._news.set()

    async def _more(self, deadline: float) -> bool:
        """Wait for a message that was not there before; for a signal too, if any comes first."""
        before = len(self._queue), len(self.signals)
        while (len(self._queue), len(self.signals)) == before:
            self._news = anyio.Event()
            with anyio.CancelScope(deadline=deadline) as scope:
                await self._news.wait()
            if scope.cancelled_caught and (len(self._queue), len(self.signals)) == before:
                return False
        return True

    def _open_reply(self) -> Reply[Any]:
        if self._asked is None or not self._asked.is_open:
            self._asked = next((reply for _, reply in reversed(self._queue) if reply and reply.is_open), None)
        if self._asked is None:
            raise LookupError(f"{self.ref.path} has no request to answer: none was asked, or its asker has gone")
        return self._asked

    def _terminated(self, ref: Ref[Any]) -> Terminated | None:
        return next((it for it in self.signals if isinstance(it, Terminated) and it.ref == ref), None)

    def _shown(self) -> str:
        if not self._queue:
            return "nothing"
        first = ", ".join(repr(message) for message in self.messages[:SHOWN])
        return first if len(self._queue) <= SHOWN else f"{first} and {len(self._queue) - SHOWN} more"


def _is_meant(message: Any, wanted: Any) -> bool:
    if isinstance(wanted, type):
        return isinstance(message, wanted)
    if message == wanted:
        return True
    return callable(wanted) and bool(cast("Callable[[Any], object]", wanted)(message))


def _named(wanted: Any) -> str:
    return getattr(wanted, "__qualname__", None) or repr(wanted)
