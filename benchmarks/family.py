"""Families of two, as a pool has them by the thousand: a parent that watches its child, and has a timer set."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio.lowlevel
from typing_extensions import override

from actors import Actor, open_system


class _Child(Actor[object]):
    __slots__ = ()

    @override
    def started(self) -> None:
        self.start(anyio.lowlevel.checkpoint, then=lambda _: None)

    @override
    def receive(self, message: object) -> None:
        """The effect has ended."""


class _Parent(Actor[object]):
    __slots__ = ()

    @override
    def started(self) -> None:
        self.watch(self.spawn(_Child(), name="child"))
        self.after(3_600.0, None)


class _Ancestor(Actor[str]):
    __slots__ = ()

    @override
    def receive(self, message: str) -> None:
        self.watch(self.spawn(_Parent(), name=message))


@asynccontextmanager
async def families() -> AsyncGenerator[Callable[[str], Awaitable[None]]]:
    """What starts a family of that name. All of them are children of one actor, which watches them."""
    async with open_system() as system:
        ancestor = system.spawn(_Ancestor(), name="ancestor")

        async def keep(name: str) -> None:
            ancestor.tell(name)
            while system.effects:
                await anyio.lowlevel.checkpoint()

        yield keep
