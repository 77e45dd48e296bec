"""A supervisor's children in the order of their start, and whose turn it is.

The rules
---------
- A child keeps its place for as long as it is known. A new one comes last.
- Among those that are READY the first is next; among those that are CONDEMNED the last is.
- Nothing is looked for child by child except what concerns all of them: one child of ten thousand costs what one of two
  does, and ten thousand turns in a row cost no search each.
"""

from bisect import insort
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from protocol.child import TRANSITIONS, AnySpec, ChildEvent, ChildState, Fate, illegal

T = TypeVar("T", bound=Hashable)
"""What stands for whoever asked something of the supervisor."""


class Child(Generic[T]):
    """What is known of a child."""

    __slots__ = ("asked", "enders", "fate", "number", "restarts", "spec", "state")

    def __init__(self, number: int, spec: AnySpec) -> None:
        self.number = number
        self.spec = spec
        self.state = ChildState.STOPPED
        self.fate = Fate.AGAIN
        """What follows its shut-down, while one is due or under way."""
        self.restarts = 0
        self.asked: tuple[T, Fate] | None = None
        """Who asked for its start, and what follows if that fails."""
        self.enders: tuple[T, ...] = ()
        """Who waits for its end."""

    @property
    def id(self) -> str:
        """Its name among its siblings."""
        return self.spec.id


class Roster(Generic[T]):
    """The children of one supervisor."""

    __slots__ = ("_by_id", "_condemned", "_counts", "_next_number", "_ready")

    def __init__(self) -> None:
        self._by_id: dict[str, Child[T]] = {}
        self._counts = dict.fromkeys(ChildState, 0)
        self._next_number = 1
        # In both, the child whose turn is next comes last.
        self._ready: list[Child[T]] = []
        self._condemned: list[Child[T]] = []

    def __iter__(self) -> Iterator[Child[T]]:
        return iter(self._by_id.values())

    def __reversed__(self) -> Iterator[Child[T]]:
        return reversed(self._by_id.values())

    def get(self, child: str) -> Child[T] | None:
        """The child with this id, if there is one."""
        return self._by_id.get(child)

    def count(self, state: ChildState) -> int:
        """How many are in this state."""
        return self._counts[state]

    def next_to_start(self) -> Child[T] | None:
        """The first of those that are READY."""
        return self._ready[-1] if self._ready else None

    def next_to_shut_down(self) -> Child[T] | None:
        """The last of those that are CONDEMNED."""
        return self._condemned[-1] if self._condemned else None

    def add(self, spec: AnySpec) -> Child[T]:
        """Take in a new child, whose id must be free."""
        child = self._by_id[spec.id] = Child[T](self._next_number, spec)
        self._next_number += 1
        self._counts[child.state] += 1
        return child

    def move(self, child: Child[T], event: ChildEvent) -> None:
        """The one place where a child changes its state, and where the lists of those due follow.

        Raises:
            IllegalTransition: the table has no row for it. Nothing has changed.
        """
        before = child.state
        after = TRANSITIONS[before].get(event)
        if after is None:
            raise illegal(child.id, before, event)
        if after is before:
            return
        child.state = after
        self._counts[before] -= 1
        self._counts[after] += 1
        if before is ChildState.READY:
            _take_out(self._ready, child)
        elif before is ChildState.CONDEMNED:
            _take_out(self._condemned, child)
        if after is ChildState.READY:
            insort(self._ready, child, key=_last_to_first)
        elif after is ChildState.CONDEMNED:
            insort(self._condemned, child, key=_first_to_last)
        elif after is ChildState.FORGOTTEN:
            del self._by_id[child.id]


def _take_out(due: list[Child[T]], child: Child[T]) -> None:
    if due[-1] is child:
        due.pop()
    else:
        due.remove(child)


def _first_to_last(child: Child[T]) -> int:
    return child.number


def _last_to_first(child: Child[T]) -> int:
    return -child.number
