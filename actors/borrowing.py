"""Borrowing: a lease for the length of an `async with`."""

from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Final

from actors.lease import Lease


class Borrowing:
    """What `pool.session()` returns: a lease for the length of an `async with`.

    Attributes:
        lease: the one that is held, or was last. Only the pool sets it.
    """

    __slots__ = ("_acquire", "_arguments", "lease")

    def __init__(self, acquire: Callable[..., Coroutine[Any, Any, Lease]], arguments: tuple[Any, ...]) -> None:
        self._acquire = acquire
        self._arguments = arguments
        self.lease: Lease | None = None

    # Neither of these is a coroutine function of its own, which would cost a hit a tenth of its price.

    def __aenter__(self) -> Coroutine[Any, Any, Lease]:
        if self.lease is not None and self.lease.is_held:
            raise _is_borrowed()
        return self._acquire(*self._arguments, self)

    def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> Awaitable[None]:
        if self.lease is not None and self.lease.is_held:
            self.lease.release()
        return _DONE

    def another(self, lease: Lease) -> Lease:
        """The next lease; only the pool calls this.

        Raises:
            RuntimeError: the one before is held still, since two tasks have entered at once. The next one is released.
        """
        if self.lease is not None and self.lease.is_held:
            lease.release()
            raise _is_borrowed()
        return lease


def _is_borrowed() -> RuntimeError:
    return RuntimeError("this session is borrowed already: call pool.session() again for another one")


class _Done:
    """Awaited, it is over at once."""

    def __await__(self) -> Generator[Any, Any, None]:
        return iter(())  # pyright: ignore[reportReturnType] - all that is asked of it is to be iterated


_DONE: Final = _Done()
