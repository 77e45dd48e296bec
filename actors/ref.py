"""An actor's address: all that others may know of it."""

from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

from protocol.message import Request, message

M_contra = TypeVar("M_contra", contravariant=True)
R = TypeVar("R")


class Ref(Generic[M_contra]):
    """The address of an actor that takes messages of type `M_contra`.

    Refs come from `spawn`, may be kept and passed on for ever, and compare by identity.
    """

    __slots__ = ("__weakref__",)

    @property
    def name(self) -> str:
        """The actor's name among its siblings."""
        raise NotImplementedError

    @property
    def path(self) -> str:
        """Where the actor stands in its system's tree, such as `/troupe/registry`."""
        raise NotImplementedError

    @property
    def is_alive(self) -> bool:
        """Whether the actor takes messages: it starts or runs, and is not draining."""
        raise NotImplementedError

    def tell(self, message: M_contra) -> None:
        """Send a message. If nothing else is being dispatched it is handled before this returns, on the caller's stack.

        Whatever goes wrong in its turn is the receiver's affair: nothing is raised here for it. A message to an actor
        that has stopped becomes a dead letter.

        Raises:
            MailboxFull: too many requests wait for the actor, and its mailbox rejects one more.
            WrongThread: this is not the thread that runs the system; `system.from_thread` is the way in.
            WrongEventLoop: this is not the event loop that runs the system.
            SystemClosed: the system is not open.
        """
        raise NotImplementedError

    def ask(self, request: Request[R], *, timeout: float | None = None) -> Coroutine[Any, Any, R]:
        """Send a request and wait for its answer. One that is answered at once costs no task switch.

        Args:
            request: what to ask.
            timeout: how long to wait, in seconds; None waits for as long as the actor lives.

        Returns:
            The answer.

        Raises:
            AskTimeout: the answer took too long. One that comes later goes back to the actor, as `Unclaimed`.
            ActorStopped: the actor has stopped, or stopped before it answered.
            NoReply: the actor did not answer, nor keep the reply for later.
            AskInTurn: this is inside a turn, where nothing can be awaited: raised at the call, before any `await`.
            MailboxFull, WrongThread, WrongEventLoop, SystemClosed: as for `tell`.
            Exception: whatever the actor failed the reply with.

        Cancellation: nothing is lost. A request not handled yet is dropped; an actor that keeps the reply is told
            `AskerGone`; an answer that was given but not taken goes back to the actor, as `Unclaimed`, and an
            error as `Unheard`.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """Stop the actor now, with its children and effects. Returns at once; `Terminated` says when all have ended.

        Messages still queued become dead letters, and asks fail with `ActorStopped`. Stopping again changes nothing.
        """
        raise NotImplementedError

    def drain(self) -> None:
        """Let the actor handle what is queued, and end in good order (`Actor.draining`). Returns at once.

        What is sent to it from now on becomes a dead letter, and asks fail with `ActorStopped`. An actor that has yet
        to start is stopped, and what is held for it becomes dead letters. Nothing bounds how long an actor drains but
        whoever asked for it: `stop` ends it at any time, and supervisors and systems do so by themselves. Draining
        again changes nothing.
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<Ref {self.path}>"


@message
class Terminated:
    """Signal: an actor that was watched has ended, with all its children and effects.

    Attributes:
        ref: the actor.
        reason: the exception that ended it; None if it was stopped.
    """

    ref: Ref[Any]
    reason: BaseException | None
