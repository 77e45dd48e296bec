"""Orders that are kept without a scan: who has been there the longest, and who came first.

The rules
---------
- `Orders` keeps any number of rings, each by its name. A `Place` is in one ring at most. To enter at the end, to leave
  and to say who is the oldest takes the same time however many there are. A `dict` does not do: its first item is found
  by walking over all that were taken out before it. An `OrderedDict` takes a hundred bytes more for each.
- `Ranked` keeps things by a number of theirs, the lowest first. Most come with the highest number yet.
"""

from bisect import bisect_left
from collections.abc import Hashable, Iterator
from itertools import islice
from operator import itemgetter
from typing import Final, Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")


class Place(Generic[K]):
    """Where something stands in one ring. `key` says what."""

    __slots__ = ("after", "before", "key")

    def __init__(self, key: K) -> None:
        self.key = key
        self.before: Place[K] = self
        self.after: Place[K] = self


class Orders(Generic[K]):
    """Rings of places by name, each from the oldest to the newest."""

    __slots__ = ("_oldest",)

    def __init__(self) -> None:
        self._oldest: dict[Hashable, Place[K]] = {}

    def __bool__(self) -> bool:
        return bool(self._oldest)

    def append(self, name: Hashable, place: Place[K]) -> None:
        """Put a place that is in no ring at the end of this one."""
        oldest = self._oldest.setdefault(name, place)
        if oldest is not place:
            newest = oldest.before
            newest.after = oldest.before = place
            place.before, place.after = newest, oldest

    def remove(self, name: Hashable, place: Place[K]) -> None:
        """Take a place out of this ring, where it must be."""
        after = place.after
        if after is place:
            del self._oldest[name]
            return
        if self._oldest[name] is place:
            self._oldest[name] = after
        place.before.after, after.before = after, place.before
        place.before = place.after = place

    def renew(self, name: Hashable, place: Place[K]) -> None:
        """Put a place that is in this ring at its end."""
        oldest = self._oldest[name]
        if oldest is place:
            self._oldest[name] = place.after
        elif oldest.before is not place:
            place.before.after, place.after.before = place.after, place.before
            newest = oldest.before
            newest.after = oldest.before = place
            place.before, place.after = newest, oldest

    def oldest(self, name: Hashable, *, besides: K | None = None) -> K | None:
        """What has been in this ring the longest, other than `besides` (that very object); None if there is none."""
        place = self._oldest.get(name)
        if place is not None and place.key is besides:
            place = None if place.after is place else place.after
        return None if place is None else place.key


_number: Final = itemgetter(0)


class Ranked(Generic[T]):
    """Things by number, the lowest first. A number is there once at most."""

    __slots__ = ("_from", "_ranked")

    def __init__(self) -> None:
        self._ranked: list[tuple[int, T]] = []
        self._from = 0  # what is before it was taken from the front, and goes once it is half of the list

    def __len__(self) -> int:
        return len(self._ranked) - self._from

    def __iter__(self) -> Iterator[T]:
        return (item for _, item in islice(self._ranked, self._from, None))

    @property
    def first(self) -> int | None:
        """The lowest number; None if there is nothing."""
        return self._ranked[self._from][0] if self._ranked else None

    @property
    def lowest(self) -> T:
        """What has the lowest number, where there is something."""
        return self._ranked[self._from][1]

    def add(self, number: int, item: T) -> None:
        """Put something in its place by its number."""
        if not self._ranked or self._ranked[-1][0] < number:
            self._ranked.append((number, item))
        else:
            self._ranked.insert(bisect_left(self._ranked, number, self._from, key=_number), (number, item))

    def discard(self, number: int | None) -> None:
        """Take out what has this number, if anything has."""
        if number is None:
            return
        at = bisect_left(self._ranked, number, self._from, key=_number)
        if at == len(self._ranked) or self._ranked[at][0] != number:
            return
        if at > self._from:
            del self._ranked[at]
        else:
            self._from += 1
        if self._from * 2 >= len(self._ranked):
            del self._ranked[: self._from]
            self._from = 0
