"""The events of a pool: one hub that the pool's actors publish to, and a stream for each reader.

The rules
---------
- Publishing is a plain call inside a turn. It never waits, never raises and runs no reader's code: it puts the event in
  each reader's buffer, and wakes who waits. When nobody listens, `is_heard` says so before an event is even made.
- A buffer is bounded and lossy by name: when it is full the oldest event is dropped, and the reader gets one `Missed`
  with their number in the place of those that were.
- A stream belongs to its reader. The hub has only a weak reference, so that a reader that goes away without a word is
  forgotten too.
- No task, no timer and no queue besides the buffers.
"""

from collections import deque
from threading import get_ident
from types import TracebackType
from typing import Final, Self
from weakref import ref

import anyio
import anyio.lowlevel

from protocol.errors import InvalidSettings, WrongThread
from protocol.pool_events import Missed, PoolEvent, PoolHappening

BUFFER: Final = 1_000
"""How many events a reader's buffer holds, unless it says otherwise."""


class EventStream:
    """What happens in a pool, as an asynchronous iterator. Made by `pool.events()`.

    What happens from then on is buffered, so nothing is missed before the first `async for`. It ends when the pool has:
    what is buffered can still be read, then the iteration is over. Leaving `async with` is `close()`.
    """

    __slots__ = ("__weakref__", "_buffer", "_capacity", "_ended", "_hub", "_missed", "_missed_at", "_wake")

    def __init__(self, hub: "Events", capacity: int) -> None:
        self._hub = hub
        self._capacity = capacity
        self._buffer: deque[PoolHappening] = deque()
        self._missed = 0
        self._missed_at = 0.0
        self._wake: anyio.Event | None = None
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> PoolEvent:
        """The next event; waits for one if there is none.

        Several tasks may read one stream, and each event goes to one of them.

        Raises:
            StopAsyncIteration: the pool has ended and all is read, or the stream was closed.
            WrongThread: this is not the thread that runs the pool.

        Cancellation: loses nothing. What was not handed out is handed out to the next who reads.
        """
        if get_ident() != self._hub.thread:
            raise WrongThread("a pool's events were read in another thread than the one that runs the pool")
        # Before an event is taken, never after: what is taken is handed out.
        await anyio.lowlevel.checkpoint()
        while True:
            if self._missed:
                missed, self._missed = self._missed, 0
                return Missed(missed, self._missed_at)
            if self._buffer:
                return self._buffer.popleft()
            if self._ended:
                raise StopAsyncIteration
            if self._wake is None:
                self._wake = anyio.Event()
            await self._wake.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, and drop what is buffered. Whoever waits for an event is told that it is over."""
        self._hub.forget(self)
        self._buffer.clear()
        self._missed = 0
        self.end()

    def take(self, event: PoolHappening) -> None:
        """Buffer an event. Only the hub calls this."""
        if len(self._buffer) >= self._capacity:
            self._missed_at = self._buffer.popleft().at
            self._missed += 1
        self._buffer.append(event)
        if self._wake is not None:
            self._wake_up(self._wake)

    def end(self) -> None:
        """Take nothing any more. Only the hub calls this."""
        self._ended = True
        if self._wake is not None:
            self._wake_up(self._wake)

    def _wake_up(self, wake: anyio.Event) -> None:
        self._wake = None
        wake.set()

    def __repr__(self) -> str:
        state = "ended" if self._ended else "open"
        return f"<EventStream, {state}, {len(self._buffer)} buffered of at most {self._capacity}>"


class Events:
    """The hub of one pool's events. Made in the thread that runs the pool.

    Attributes:
        is_heard: whether anybody listens. No event need be made for nobody: `if events.is_heard: events.publish(…)`.
        thread: the thread that runs the pool.
    """

    __slots__ = ("_ended", "_readers", "is_heard", "thread")

    def __init__(self) -> None:
        self.thread = get_ident()
        self.is_heard = False
        self._ended = False
        # Replaced rather than changed: the collector may run in the middle of a turn, and a reader's end with it.
        self._readers: tuple[ref[EventStream], ...] = ()

    def publish(self, event: PoolHappening) -> None:
        """Let every reader know. A plain call, for use inside turns: it never waits and never raises."""
        if not self.is_heard:
            return
        for reader in self._readers:
            if (stream := reader()) is None:
                self._keep(None)
            else:
                stream.take(event)

    def subscribe(self, buffer: int = BUFFER) -> EventStream:
        """A stream of what happens from now on; one that is over already if the pool has ended.

        Args:
            buffer: how many events are kept for a reader that is busy, at least 1.

        Raises:
            InvalidSettings: the buffer is no whole number of at least 1.
        """
        if isinstance(buffer, bool) or not isinstance(buffer, int) or buffer < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidSettings(f"buffer must be a whole number of at least 1, not {buffer!r}")
        stream = EventStream(self, buffer)
        if self._ended:
            stream.end()
        else:
            self._readers = (*self._readers, ref(stream))
            self.is_heard = True
        return stream

    def forget(self, stream: EventStream) -> None:
        """Publish to this reader no more. One that is not known changes nothing."""
        self._keep(stream)

    def end(self) -> None:
        """The pool has ended: every stream ends once it is read. Nothing is published from now on. Twice is once."""
        self._ended = True
        self.is_heard = False
        readers, self._readers = self._readers, ()
        for reader in readers:
            if (stream := reader()) is not None:
                stream.end()

    def __repr__(self) -> str:
        return f"<Events, {'ended' if self._ended else 'open'}, {len(self._readers)} readers>"

    def _keep(self, gone: EventStream | None) -> None:
        """Keep those readers that live, without the one that has gone."""
        alive = [(reader, reader()) for reader in self._readers]
        self._readers = tuple(reader for reader, stream in alive if stream is not None and stream is not gone)
        self.is_heard = bool(self._readers)
