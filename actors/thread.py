"""The way into a system from other threads."""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, TypeVar

from actors.ref import Ref
from protocol.errors import ActorError, SystemClosed, WrongThread
from protocol.message import Request

if TYPE_CHECKING:
    from actors.system import System

M = TypeVar("M")
R = TypeVar("R")


async def _raise(error: BaseException) -> None:
    raise error


class FromThread:
    """Sends messages into a system from any thread. Found as `system.from_thread`."""

    def __init__(self, system: "System") -> None:
        self._system = system

    def tell(self, ref: Ref[M], message: M) -> None:
        """Send a message. It is handled soon, by the system's own thread; this returns at once.

        Messages of one thread to one actor arrive in order. One that its mailbox rejects is a dead letter. May be
        called where `Ref.tell` must not be: in a finalizer, in a signal handler, in the middle of a turn.

        Raises:
            SystemClosed: the system is not open.
        """
        system = self._system

        def deliver() -> None:
            try:
                ref.tell(message)
            except ActorError as error:  # closed since, or full: there is nobody here to tell
                system.dead_letters.add(ref, message, str(error))
            except BaseException as error:  # noqa: BLE001 - what ends a process leaves the system, not its event loop
                system.run_task(partial(_raise, error))

        self._run_soon(deliver, f"{ref.path} was told {type(message).__name__}")

    def ask(self, ref: Ref[M], request: Request[R], *, timeout: float | None = None) -> R:
        """Send a request and block this thread until its answer.

        Args:
            ref: whom to ask.
            request: what to ask.
            timeout: how long to wait, in seconds of the system's clock; None waits for as long as the actor lives.

        Raises:
            WrongThread: this is the thread that runs the system, which would wait for itself.
            SystemClosed: the system is not open, or was left before the answer.
            Exception: whatever `Ref.ask` raises.
        """
        system = self._system
        asked = f"{ref.path} was asked for {type(request).__name__}"
        if get_ident() == system.thread:
            raise WrongThread(f"{asked} by way of from_thread from the system's own thread: await ref.ask(...)")
        answer: Future[R] = Future()

        async def ask() -> None:
            try:
                answer.set_result(await ref.ask(request, timeout=timeout))
            except Exception as error:  # noqa: BLE001 - it is the asker's
                answer.set_exception(error)
            finally:
                if not answer.done():
                    answer.set_exception(SystemClosed(f"{asked}, but its system was left before the answer"))

        def begin() -> None:
            try:
                system.run_task(ask)
            except SystemClosed as error:
                answer.set_exception(error)

        self._run_soon(begin, asked)
        return answer.result()

    def _run_soon(self, work: Callable[[], None], what: str) -> None:
        system = self._system
        if not system.thread:
            raise SystemClosed(f"{what}, but its system is not open")
        try:
            system.run_soon(work)
        except RuntimeError as error:  # the event loop has ended under the open system
            raise SystemClosed(f"{what}, but its event loop has ended") from error
