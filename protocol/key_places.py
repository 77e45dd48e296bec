"""Who waits for the place of a key, and which keys were asked to end for them.

The rules
---------
- Whoever waits has one victim: a key that was asked to end so that there is a place, or that ends by itself. One that
  gets a place otherwise leaves its victim to the one whose place it took; else it is there for whoever comes next.
- A key that ends by itself is there for whoever comes next, unless somebody counts on it already.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

from protocol.capacity_events import Scope
from protocol.order import Orders

K = TypeVar("K")


class KeyPlaces(Generic[K]):
    """The places of keys, up to `max_keys`."""

    __slots__ = ("_meant_for", "_unclaimed", "_victims", "_waiting", "empty", "max_keys")

    def __init__(self, max_keys: int) -> None:
        self.max_keys = max_keys
        self.empty = Orders[K]()
        """The keys without sessions: by tenant those that are sticky, by None the others."""
        self._waiting: OrderedDict[K, Scope] = OrderedDict()
        self._victims: dict[K, K] = {}  # of each that waits
        self._meant_for: dict[K, K | None] = {}  # each victim: whose it is
        self._unclaimed: dict[K, None] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._waiting

    @property
    def pending(self) -> int:
        """How many keys wait."""
        return len(self._waiting)

    @property
    def evicting(self) -> int:
        """How many keys were asked to end and have not answered, or end by themselves."""
        return len(self._meant_for)

    def wait(self, key: K, scope: Scope) -> None:
        """The key waits for a place. It has no victim yet."""
        self._waiting[key] = scope

    def claim(self, key: K) -> bool:
        """Have a victim that nobody needs be the key's, which waits and has none. Answer whether there was any."""
        if not self._unclaimed:
            return False
        victim, _ = self._unclaimed.popitem()
        self.evict(victim, key)
        return True

    def evict(self, victim: K, key: K | None) -> None:
        """`victim` was asked to end for the sake of `key`; of nobody in particular if that is None."""
        self._meant_for[victim] = key
        if key is None:
            self._unclaimed[victim] = None
        else:
            self._victims[key] = victim

    def expect(self, victim: K) -> None:
        """This key ends by itself."""
        if victim not in self._meant_for:
            self.evict(victim, None)

    def settle(self, victim: K) -> tuple[K, Scope] | None:
        """A victim has ended, or will not. Answer who waited for that, and has no victim now."""
        self._unclaimed.pop(victim, None)
        key = self._meant_for.pop(victim, None)
        if key is None:
            return None
        del self._victims[key]
        return key, self._waiting[key]

    def oldest(self) -> K | None:
        """Who waits the longest."""
        return next(iter(self._waiting), None)

    def leave(self, key: K, heir: K | None = None) -> Scope | None:
        """The key waits no more; its victim is the heir's. Answer its scope; None if it did not wait."""
        scope = self._waiting.pop(key, None)
        if scope is not None and (victim := self._victims.pop(key, None)) is not None:
            self.evict(victim, heir)
        return scope
