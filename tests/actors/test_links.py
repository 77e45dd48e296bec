"""What belongs to an actor is kept in no more room than it takes, and in the order in which it came."""

from collections.abc import Callable
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from actors import Actor, Ref, Signal, Terminated, open_system
from actors.cell import Cell
from actors.links import Links, Several, each, has_link, with_link, without_link
from protocol.errors import NameTaken


class Clerk(Actor["Callable[[Clerk], object] | None"]):
    """Does what it is told to do, and notes what it hears."""

    __slots__ = ("heard",)

    def __init__(self) -> None:
        self.heard: list[Signal] = []

    @override
    def receive(self, message: "Callable[[Clerk], object] | None") -> None:
        if message is not None:
            message(self)

    @override
    def signal(self, signal: Signal) -> None:
        self.heard.append(signal)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3))))
def test_links_are_those_that_came_and_have_not_gone_in_their_order(steps: list[tuple[bool, int]]) -> None:
    things: list[Ref[Any]] = [Ref() for _ in range(4)]
    links: Links[Ref[Any]] = None
    model: dict[Ref[Any], None] = {}
    for comes, number in steps:
        thing = things[number]
        if comes:
            links = with_link(links, thing)
            model[thing] = None
        else:
            links = without_link(links, thing)
            model.pop(thing, None)
        assert each(links) == tuple(model)
        assert [has_link(links, thing) for thing in things] == [thing in model for thing in things]
        assert isinstance(links, Several) == (len(model) > 1), "one stands for itself, and none is None"


async def test_an_actor_keeps_no_container_for_one_of_a_kind_nor_for_what_it_has_no_more() -> None:
    async with open_system() as system:
        ref = cast("Cell[Callable[[Clerk], object]]", system.spawn(Clerk()))

        def fill(me: Clerk) -> None:
            child = me.spawn(Clerk(), name="child")
            me.watch(child)
            me.after(60, None)
            me.start(anyio.lowlevel.checkpoint, then=lambda _: None)

        ref.tell(fill)
        child = system.find("clerk-1/child")
        assert isinstance(child, Cell)
        assert ref.family is child
        assert (ref.watched, child.watchers) == (None, None), "a parent's watch is a mark on its child"
        await anyio.sleep(1)
        assert ref.effects is None
        ref.tell(lambda me: [me.spawn(Clerk()) for _ in range(10)])
        assert len(ref.children) == 11
        for other in ref.children[1:]:
            other.stop()
        assert ref.family is child, "ten that are gone leave nothing"
        child.stop()
        assert ref.family is None
        assert ref.watched is None, "and no watch, once its end is told"


@pytest.mark.holds("R2")
async def test_a_parent_is_told_of_its_child_once_for_each_watch_and_not_when_it_called_the_watch_off() -> None:
    async with open_system() as system:
        clerk = Clerk()
        ref = system.spawn(clerk)

        def twice(me: Clerk) -> None:
            child = me.spawn(Clerk(), name="child")
            me.watch(child)
            me.watch(child)

        ref.tell(twice)
        child = system.find("clerk-1/child")
        assert child is not None
        child.stop()
        assert clerk.heard == [Terminated(child, None)]
        ref.tell(lambda me: me.watch(child))
        assert clerk.heard == [Terminated(child, None)] * 2, "it has ended already"

        def call_off(me: Clerk) -> None:
            other = me.spawn(Clerk(), name="child")
            me.watch(other)
            other.stop()
            me.unwatch(system.named("clerk-1/child"))

        ref.tell(call_off)
        ref.tell(twice)
        ref.tell(lambda me: me.unwatch(system.named("clerk-1/child")))
        assert len(clerk.heard) == 2


async def test_a_name_made_of_a_number_is_found_and_taken_like_any_other() -> None:
    async with open_system() as system:
        ref = cast("Cell[Callable[[Clerk], object]]", system.spawn(Clerk()))
        ref.tell(lambda me: [me.spawn(Clerk()) for _ in range(3)])
        names = [child.name for child in ref.children]
        assert names == ["clerk-2", "clerk-3", "clerk-4"]
        for child in (ref, *ref.children):
            assert system.find(child.path) is child
        for name in ("clerk-02", "clerk-٢", "clerk-²", "clerk-9", "other-2", "clerk", "2", f"clerk-{'9' * 9_999}"):
            assert system.find(f"{ref.path}/{name}") is None
        refused: list[str] = []

        def take(me: Clerk) -> None:
            for name in names:
                try:
                    me.spawn(Clerk(), name=name)
                except NameTaken:
                    refused.append(name)

        ref.tell(take)
        assert refused == names
        ref.tell(lambda me: me.spawn(Clerk(), name="clerk-5"))
        ref.tell(lambda me: me.spawn(Clerk()))
        assert [child.name for child in ref.children][3:] == ["clerk-5", "clerk-6"], "a name given is not made again"
