"""The SDK's objects that a lease gives out, for as long as it is held."""

import inspect
from contextlib import AbstractAsyncContextManager
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

from mcp.client.session import ClientSession

from actors.exchange import current_exchange

if TYPE_CHECKING:
    from actors.lease import Lease


class Revocable:
    """An object of the SDK's, for as long as a lease is held."""

    __slots__ = ("_lease", "_target")

    def __init__(self, lease: "Lease", target: object) -> None:
        self._lease = lease
        self._target = target

    def __getattr__(self, name: str) -> Any:
        lease = self._lease
        lease.check()
        if name.startswith("_"):
            # What opens and closes it above all: that is the affair of the one task that holds the session.
            raise AttributeError(f"{name} of a client that is lent is not for its borrowers")
        try:
            value: Any = getattr(self._target, name)
        except RuntimeError as error:
            raise lease.explain(error, name) from error
        if isinstance(value, ClientSession):
            return Revocable(lease, value)
        if not inspect.ismethod(value):
            return value

        @wraps(value)
        def checked(*args: Any, **kwargs: Any) -> Any:
            lease.check()
            if inspect.iscoroutinefunction(value):
                return lease.call(name, lambda: value(*args, **kwargs))
            result = value(*args, **kwargs)
            if isinstance(result, AbstractAsyncContextManager):
                return RevocableContext(lease, cast("AbstractAsyncContextManager[Any]", result))
            return result

        return checked

    def __repr__(self) -> str:
        return f"<the client of {self._lease!r}>"


class RevocableContext:
    """A context manager of the SDK's (`listen`), which uses the session from its entry to its exit."""

    def __init__(self, lease: "Lease", target: AbstractAsyncContextManager[Any]) -> None:
        self._lease = lease
        self._target = target

    async def __aenter__(self) -> Any:
        self._lease.begin()
        token = current_exchange.set(self._lease.exchange("subscriptions/listen"))
        try:
            return await self._target.__aenter__()
        except BaseException:
            self._lease.end()
            raise
        finally:
            current_exchange.reset(token)

    async def __aexit__(self, *error: Any) -> bool | None:
        try:
            return await self._target.__aexit__(*error)
        finally:
            self._lease.end()
