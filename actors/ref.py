"""An actor's address: all that others may know of it."""

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
        """Whether the actor still takes messages."""
        raise NotImplementedError

    def tell(self, message: M_contra) -> None:
        """Send a message. If nothing else is being dispatched it is handled before this returns, on the caller's stack.

        Whatever goes wrong in its turn is the receiver's affair: nothing is raised here for it. A message to an actor
        that has stopped becomes a dead letter.

        Raises:
            WrongThread: this is not the thread that runs the system.
            SystemClosed: the system is not open.
        """
        raise NotImplementedError

    async def ask(self, request: Request[R], *, timeout: float | None = None) -> R:
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
            WrongThread, SystemClosed: as for `tell`.
            Exception: whatever the actor failed the reply with.

        Cancellation: nothing is lost. A request not handled yet is dropped; an actor that keeps the reply is told
            `AskerGone`; an answer that was given but not taken goes back to the actor, as `Unclaimed`.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """Stop the actor, its children and its effects. Returns at once; `Terminated` says when all of them have ended.

        Messages still queued become dead letters, and asks fail with `ActorStopped`. Stopping again changes nothing.
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


@message
class DeadLetter:
    """A message that could not be delivered, since its receiver had stopped."""

    receiver: Ref[Any]
    message: object
