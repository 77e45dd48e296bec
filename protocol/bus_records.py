"""The records of a bus: who holds which downstream session, and which workers live. What Redis keeps, as a machine.

Each record lives for as long as its last command said, on the clock of the bus; what has expired is as if it had never
been. The rules are those of the commands (`protocol.bus`).
"""

from typing import Any

from protocol.bus import Beat, Claim, Command, Find, Forget, Holding, Look, Peers, Refresh, Release


class BusRecords:
    """Does the commands that are about records."""

    __slots__ = ("_holdings", "_workers")

    def __init__(self) -> None:
        self._holdings: dict[str, tuple[Holding, float]] = {}
        self._workers: dict[str, tuple[bytes, float]] = {}

    def __len__(self) -> int:
        """How many records are kept, those that have expired since they were last asked for included."""
        return len(self._holdings) + len(self._workers)

    def do(self, command: Command[Any], *, now: float) -> Any:
        """Do a command at `now`, in seconds of the bus's clock; answer what the command promises.

        Raises:
            TypeError: it is not about records.
        """
        match command:
            case Find(session_id):
                return self._held(session_id, now)
            case Claim(session_id, holding, lifetime, over):
                held = self._held(session_id, now)
                if held is not None and held.token not in (holding.token, *over):
                    return held
                self._holdings[session_id] = holding, now + lifetime
                return holding
            case Refresh(session_id, token, lifetime):
                held = self._held(session_id, now)
                if held is not None and held.token == token:
                    self._holdings[session_id] = held, now + lifetime
                return held
            case Release(session_id, token):
                held = self._held(session_id, now)
                if held is not None and held.token == token:
                    del self._holdings[session_id]
                    return None
                return held
            case Beat(worker, lifetime, said):
                self._workers[worker] = said, now + lifetime
                return None
            case Look(worker):
                return self._said(worker, now)
            case Peers():
                said = {worker: self._said(worker, now) for worker in list(self._workers)}
                return {worker: words for worker, words in said.items() if words is not None}
            case Forget(worker):
                self._workers.pop(worker, None)
                return None
            case _:
                raise TypeError(f"{type(command).__name__} is not about the records of a bus")

    def restarted(self) -> None:
        """The bus has lost all that it kept."""
        self._holdings.clear()
        self._workers.clear()

    def _held(self, session_id: str, now: float) -> Holding | None:
        holding, ends_at = self._holdings.get(session_id, (None, 0.0))
        if holding is not None and ends_at <= now:
            del self._holdings[session_id]
            return None
        return holding

    def _said(self, worker: str, now: float) -> bytes | None:
        said, ends_at = self._workers.get(worker, (None, 0.0))
        if said is not None and ends_at <= now:
            del self._workers[worker]
            return None
        return said
