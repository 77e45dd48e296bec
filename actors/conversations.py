"""Conversations: which keys a downstream session has, whose it is, and what a crash has cost it. The registry's."""

from typing import Generic, Protocol, TypeVar

from protocol.keys import PoolKey


class Sticky(Protocol):
    """A key of a conversation: its supervisor."""

    key: PoolKey


K = TypeVar("K", bound=Sticky)


class Conversations(Generic[K]):
    """The downstream sessions that a pool knows, by their ids.

    Each is bound to a principal, which a sticky key holds in place of the identity: that of the first of its keys.

    Attributes:
        lost: how many keys are remembered that a crash has cost a conversation's state.
    """

    __slots__ = ("_keys", "_lost", "_taken", "lost")

    def __init__(self) -> None:
        self._taken: dict[str, set[PoolKey]] = {}  # with the keys that have succeeded since
        self._keys: dict[str, tuple[K, ...]] = {}
        self._lost: dict[str, tuple[PoolKey, ...]] = {}
        self.lost = 0

    def __len__(self) -> int:
        return len(self._keys)

    def principal(self, session_id: str) -> str | None:
        """Whom it is bound to; None if nobody has it."""
        keys = self._keys.get(session_id)
        if keys is not None:
            return keys[0].key.identity
        lost = self._lost.get(session_id)
        return None if lost is None else lost[0].identity

    def keys(self, session_id: str) -> tuple[K, ...]:
        """Its keys: those that the pool has, and those that wait for their place."""
        return self._keys.get(session_id, ())

    def add(self, key: K) -> None:
        """A key that may be a conversation's begins."""
        session_id = key.key.session_id
        if session_id is not None:
            self._keys[session_id] = (*self._keys.get(session_id, ()), key)

    def remove(self, key: K) -> None:
        """A key has ended, or did not begin. With its last one a conversation is forgotten."""
        session_id = key.key.session_id
        if session_id is None or session_id not in self._keys:
            return
        left = tuple(other for other in self._keys[session_id] if other is not key)
        if left:
            self._keys[session_id] = left
        else:
            del self._keys[session_id]
            if self._taken.get(session_id):
                del self._taken[session_id]  # it was told, by one at least

    def end(self, session_id: str) -> tuple[K, ...]:
        """The conversation is over: forget it, and what it was still to be told. Answer the keys that it had."""
        self.lost -= len(self._lost.pop(session_id, ()))
        self._taken.pop(session_id, None)
        return self._keys.pop(session_id, ())

    # --- what a crash has cost them

    def is_lost(self, key: PoolKey) -> bool:
        """Whether the key's conversation is still to be told that a crash has cost it its state."""
        return key.session_id is not None and key in self._lost.get(key.session_id, ())

    def crashed(self, key: PoolKey, most: int) -> None:
        """Remember a key whose supervisor crashed with a conversation's state; the latest, at most so many."""
        if key.session_id is None or self.is_lost(key):
            return
        self._lost[key.session_id] = (*self._lost.pop(key.session_id, ()), key)
        self.lost += 1
        while self.lost > most:
            self.lost -= len(self._lost.pop(next(iter(self._lost))))

    def succeeded(self, key: PoolKey) -> None:
        """The key has a supervisor again, which knows what it is to tell."""
        session_id = key.session_id
        if session_id in self._taken:
            self._taken[session_id].add(key)
        if session_id is None or not self.is_lost(key):
            return
        self.lost -= 1
        left = tuple(other for other in self._lost[session_id] if other != key)
        if left:
            self._lost[session_id] = left
        else:
            del self._lost[session_id]

    # --- what was another worker's

    def taken(self, session_id: str, most: int) -> str | None:
        """It was taken over from a worker that has gone, and whatever state it had there is lost, with every server.

        Args:
            session_id: which conversation.
            most: how many are remembered, the latest.

        Returns:
            The one that is remembered no more for that.
        """
        self._taken.pop(session_id, None)
        self._taken[session_id] = set()
        if len(self._taken) <= most:
            return None
        oldest = next(iter(self._taken))
        del self._taken[oldest]
        return oldest

    def is_taken(self, key: PoolKey) -> bool:
        """Whether the key's conversation was taken over, and the key has had no supervisor here since: the first that
        it has tells of the loss.
        """
        return key.session_id in self._taken and key not in self._taken[key.session_id]

    def knows(self, session_id: str) -> bool:
        """Whether it has keys here, or is still to be told of a loss."""
        return self.principal(session_id) is not None or session_id in self._taken
