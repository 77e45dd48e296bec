"""The answers of a server that its clients may keep for a while, bounded by number and by size.

The SDK's own store is bounded by number only, so a thousand resources of any size stay in memory for each pool key.
"""

from collections import OrderedDict
from typing import Final

from mcp.client import CacheEntry, CacheKey

MOST_ANSWERS: Final = 1024
"""How many answers a pool key keeps: as many as the SDK's own store does."""
MOST_BYTES: Final = 1_000_000
"""How many bytes they may have in all, as JSON. A larger answer is not kept."""


class Answers:
    """The SDK's `ResponseCacheStore` for one pool key. What was used the longest ago goes first."""

    __slots__ = ("_kept", "size")

    def __init__(self) -> None:
        self._kept: OrderedDict[CacheKey, tuple[CacheEntry, int]] = OrderedDict()
        self.size = 0
        """What is kept takes so many bytes, as JSON."""

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, key: CacheKey) -> CacheEntry | None:
        """An answer that was kept."""
        if (kept := self._kept.get(key)) is None:
            return None
        self._kept.move_to_end(key)
        return kept[0]

    async def set(self, key: CacheKey, entry: CacheEntry) -> None:
        """Keep an answer, in the place of an earlier one, unless it is too large."""
        await self.delete(key)
        size = len(key.params_key.encode()) + len(entry.value.model_dump_json().encode())
        if size > MOST_BYTES:
            return
        self._kept[key] = entry, size
        self.size += size
        while self.size > MOST_BYTES or len(self._kept) > MOST_ANSWERS:
            _, (_, size) = self._kept.popitem(last=False)
            self.size -= size

    async def delete(self, key: CacheKey) -> None:
        """Forget an answer."""
        if (kept := self._kept.pop(key, None)) is not None:
            self.size -= kept[1]

    async def clear(self) -> None:
        """Forget all answers."""
        self._kept.clear()
        self.size = 0
