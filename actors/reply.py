"""The slot that an ask waits on."""

from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from actors.backend import Event
from actors.life import DRAINING
from actors.links import without_link
from protocol.errors import ActorStopped, AskTimeout, NoReply
from protocol.message import Request, message

if TYPE_CHECKING:
    from actors.cell import Cell

R = TypeVar("R")


class State(Enum):
    """What has become of a reply slot."""

    PENDING = auto()
    ANSWERED = auto()
    FAILED = auto()
    TAKEN = auto()
    GONE = auto()
    """The asker left without an answer."""


# On Python 3.11 looking a member up in its Enum takes ten times as long as looking up a name.
PENDING: Final = State.PENDING
ANSWERED: Final = State.ANSWERED
FAILED: Final = State.FAILED
TAKEN: Final = State.TAKEN
GONE: Final = State.GONE


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
        state: what has become of it. Only the runtime sets it.
        value: the answer, or the error. Only the runtime sets it.
        event: what the asker waits on, if it does. Only the runtime sets it.
        counted: whether the request waits in the holder's mailbox, and takes up room there. Only the queue sets it.
    """

    __slots__ = ("counted", "event", "holder", "is_open", "kept", "listed", "request", "state", "value")

    def __init__(self, request: Request[R], holder: "Cell[Any]") -> None:
        self.request = request
        self.holder = holder
        self.is_open = True
        self.kept = self.listed = self.counted = False
        self.state = PENDING
        self.event: Event | None = None
        self.value: Any  # set with the state that says what it is

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
            self.state = ANSWERED
            self.value = value
            if self.event is not None or self.listed:
                self._filled()
        elif self.state is GONE:
            self.holder.signal(Unclaimed(self, value))

    def fail(self, error: Exception) -> None:
        """Raise `error` in the asker. If the asker has gone, it comes back to the actor as a signal, `Unheard`.

        Raises:
            WrongThread: this is not the thread that runs the system.
        """
        if self.listed:
            self.holder.system.check_thread(self.holder, "told to answer")
        if self.is_open:
            self.is_open = False
            self.state = FAILED
            self.value = error
            self._filled()
        elif self.state is GONE:
            self.holder.signal(Unheard(self, error))

    def _filled(self) -> None:
        if self.event is not None:
            self.event.set()
        if self.listed:
            self.holder.replies = without_link(self.holder.replies, self)

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
        state, self.state = self.state, TAKEN
        if state is FAILED:
            raise self.value
        return self.value

    async def wait(self, timeout: float | None) -> R:
        """Wait for the answer and take it. However this ends, nothing that was granted is lost."""
        system = self.holder.system
        event = self.event = system.backend.event()
        clock = system.clock
        began = clock.now()
        try:
            if timeout is None:
                await event.wait()
            else:
                await clock.wait(event, began + timeout)
        except BaseException:
            self._withdraw()
            raise
        if self.is_open:
            self._withdraw()
            raise AskTimeout(f"{self.holder.path} did not answer {type(self.request).__name__} within {timeout} s")
        if isinstance(self.value, ActorStopped):
            self.value.waited = clock.now() - began
        return self.take()

    def _withdraw(self) -> None:
        """The asker goes, cancelled or out of time: hand back what is in the slot, or tell whoever keeps it."""
        state, self.state = self.state, GONE
        self.is_open = False
        if state is ANSWERED:
            self.holder.signal(Unclaimed(self, self.value))
        elif state is FAILED:
            self.holder.signal(Unheard(self, self.value))
        elif state is PENDING and self.kept:
            self.holder.replies = without_link(self.holder.replies, self)
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


@message
class Unheard:
    """Signal: an error that its asker did not live to hear, given back to the actor that failed the reply with it."""

    reply: Reply[Any]
    error: Exception
