"""The slot that an ask waits on."""

from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import anyio

from actors.life import DRAINING
from protocol.errors import ActorStopped, AskTimeout, NoReply
from protocol.message import Request, message

if TYPE_CHECKING:
    from actors.cell import Cell

R = TypeVar("R")


class _State(Enum):
    PENDING = auto()
    ANSWERED = auto()
    FAILED = auto()
    TAKEN = auto()
    GONE = auto()
    """The asker left without an answer."""


# On Python 3.11 looking a member up in its Enum takes ten times as long as looking up a name.
_PENDING: Final = _State.PENDING
_ANSWERED: Final = _State.ANSWERED
_FAILED: Final = _State.FAILED
_TAKEN: Final = _State.TAKEN
_GONE: Final = _State.GONE


class Reply(Generic[R]):
    """Where the answer to one request goes.

    An actor that cannot answer within the turn keeps the slot (`self.keep_reply()`) and answers in a later one. Every
    slot is answered: by the actor, or by the runtime when the actor forgets it or stops. A slot is hashable and stands
    for its asker.

    Attributes:
        request: what was asked.
        is_open: whether somebody still waits for the answer. To be read only.
        holder: the actor that is to answer. Only the runtime sets it.
        kept: whether the holder keeps the slot beyond its turn. Only the runtime sets it.
        listed: whether the slot is among the holder's `open_replies`. Only the runtime sets it.
        counted: whether the request waits in the holder's mailbox, and takes up room there. Only the queue sets it.
    """

    __slots__ = ("_event", "_state", "_value", "counted", "holder", "is_open", "kept", "listed", "request")

    def __init__(self, request: Request[R], holder: "Cell[Any]") -> None:
        self.request = request
        self.holder = holder
        self.is_open = True
        self.kept = self.listed = self.counted = False
        self._state = _PENDING
        self._event: anyio.Event | None = None
        self._value: Any  # set with the state that says what it is

    # --- for actors

    def answer(self, value: R) -> None:
        """Give the asker its answer. If the asker has gone, `value` comes back to the actor as a signal, `Unclaimed`.

        Answering again changes nothing: the first answer counts.

        Raises:
            WrongThread: this is not the thread that runs the system.
        """
        if self.listed:
            self.holder.system.check_thread(self.holder, "told to answer")
        if self.is_open:
            self.is_open = False
            self._state = _ANSWERED
            self._value = value
            if self._event is not None or self.listed:
                self._filled()
        elif self._state is _GONE:
            self.holder.signal(Unclaimed(self, value))

    def fail(self, error: Exception) -> None:
        """Raise `error` in the asker; if the asker has gone, do nothing.

        Raises:
            WrongThread: this is not the thread that runs the system.
        """
        if self.listed:
            self.holder.system.check_thread(self.holder, "told to answer")
        if self.is_open:
            self.is_open = False
            self._state = _FAILED
            self._value = error
            self._filled()

    def _filled(self) -> None:
        if self._event is not None:
            self._event.set()
        if self.listed:
            self.holder.open_replies.pop(self, None)

    # --- for the runtime

    def forgotten(self) -> None:
        """The turn that handled the request neither answered nor kept the slot."""
        self.fail(
            NoReply(f"{self.holder.path} did not answer {type(self.request).__name__}: answer it, or keep its reply")
        )

    def holder_stopped(self, reason: BaseException | None) -> None:
        """The actor that was to answer has stopped, or takes no more requests."""
        state = "is draining" if self.holder.life is DRAINING else "has stopped"
        error = ActorStopped(f"{self.holder.path} {state} and cannot answer {type(self.request).__name__}")
        error.__cause__ = reason
        self.fail(error)

    def take(self) -> R:
        """The answer, which is the asker's from now on."""
        state, self._state = self._state, _TAKEN
        if state is _FAILED:
            raise self._value
        return self._value

    async def wait(self, timeout: float | None) -> R:
        """Wait for the answer and take it. However this ends, nothing that was granted is lost."""
        event = self._event = anyio.Event()
        try:
            if timeout is None:
                await event.wait()
            else:
                clock = self.holder.system.clock
                await clock.wait(event, clock.now() + timeout)
        except BaseException:
            self._withdraw()
            raise
        if self.is_open:
            self._withdraw()
            raise AskTimeout(f"{self.holder.path} did not answer {type(self.request).__name__} within {timeout} s")
        return self.take()

    def _withdraw(self) -> None:
        """The asker goes, cancelled or out of time: hand back what is in the slot, or tell whoever keeps it."""
        state, self._state = self._state, _GONE
        self.is_open = False
        if state is _ANSWERED:
            self.holder.signal(Unclaimed(self, self._value))
        elif state is _PENDING and self.kept:
            self.holder.open_replies.pop(self, None)
            self.holder.signal(AskerGone(self))
        elif self.counted:
            self.counted = False
            self.holder.system.queue.asker_gone(self.holder)


@message
class AskerGone:
    """Signal: whoever waits on this reply, which the actor kept, was cancelled or ran out of time."""

    reply: Reply[Any]


@message
class Unclaimed:
    """Signal: an answer that its asker did not live to take, given back to the actor that gave it."""

    reply: Reply[Any]
    value: Any
