"""What is done for an actor that must wait: a task, whose outcome comes back as a message."""

from asyncio import CancelledError, current_task
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from actors.links import with_link
from protocol.message import message

if TYPE_CHECKING:
    from anyio import CancelScope

    from actors.cell import Cell

T = TypeVar("T")


@message
class Succeeded(Generic[T]):
    """The effect returned `value`."""

    value: T


@message
class Failed:
    """The effect raised `error`, with its traceback and cause. An exception group arrives whole."""

    error: Exception


@message
class Cancelled:
    """The effect was cancelled, by its actor or by the actor's end."""


Outcome = Succeeded[T] | Failed | Cancelled


class Effect:
    """A running effect, as its actor sees it."""

    __slots__ = ("_owner", "_scope")

    def __init__(self, owner: "Cell[Any]") -> None:
        self._owner = owner
        # Shielded: only its actor ends an effect, and so in good order. It is large, and actors keep effects that have
        # ended: those have none.
        self._scope: CancelScope | None = owner.system.new_scope()
        owner.effects = with_link(owner.effects, self)

    def cancel(self) -> None:
        """Cancel the task. Its outcome still arrives, once it has ended; that is `Cancelled` unless it ended before.

        Raises:
            WrongThread: this is not the thread that runs the system.
        """
        self._owner.system.check_thread(self._owner, "told to cancel an effect")
        if self._scope is not None:
            self._scope.cancel()

    async def execute(self, run: Callable[[], Awaitable[Any]], ended: Callable[[Outcome[Any]], None]) -> None:
        """Run to the end, and tell the owner. Only the system calls this, once, in a task of its own."""
        outcome: Outcome[Any] = Cancelled()
        try:
            try:
                with cast("CancelScope", self._scope) as scope:
                    if not scope.cancel_called:
                        outcome = Succeeded(await run())
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the owner's to judge
                outcome = Failed(error)
            except CancelledError as error:
                # It is asyncio's, and not the scope's. Either somebody has cancelled the task, which ends here without
                # taking the system with it, or what the effect waited for was cancelled, and it was not.
                task = current_task()
                if task is None or not task.cancelling():
                    outcome = Failed(as_exception(error))
            except BaseExceptionGroup as group:
                if group.subgroup((KeyboardInterrupt, SystemExit)) is not None:
                    raise
                outcome = Failed(ExceptionGroup(group.message, [as_exception(error) for error in group.exceptions]))
        finally:
            self._scope = None
            self._owner.system.effect_ended(self._owner, self, lambda: ended(outcome))


def as_exception(error: BaseException) -> Exception:
    """A failure as an exception: a cancellation that is nobody's here is told as one."""
    if isinstance(error, Exception):
        return error
    told = RuntimeError(f"{type(error).__name__} outside of its scope: what was waited for was cancelled")
    told.__cause__ = error
    return told
