"""Refs that stand for a name: whoever has it at the moment is meant."""

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import override

from actors.cell import Cell
from actors.ref import Ref
from protocol.errors import ActorStopped
from protocol.message import Request

if TYPE_CHECKING:
    from actors.system import System

M_contra = TypeVar("M_contra", contravariant=True)
R = TypeVar("R")


class NamedRef(Ref[M_contra]):
    """Stands for whichever actor has a path when it is used. Made by `System.named`.

    A restarted actor is a new one, with a new ref and the old name: this is what to hold of it (what Erlang does with
    a registered name).
    """

    __slots__ = ("_path", "_system")

    def __init__(self, system: "System", path: str) -> None:
        self._system = system
        self._path = path

    @property
    @override
    def name(self) -> str:
        return self._path.rpartition("/")[2]

    @property
    @override
    def path(self) -> str:
        return self._path

    @property
    @override
    def is_alive(self) -> bool:
        return (cell := self.cell) is not None and cell.is_alive

    @property
    def cell(self) -> Cell[M_contra] | None:
        """Whoever has the path now."""
        return self._system.find_cell(self._path)

    @override
    def tell(self, message: M_contra) -> None:
        if (cell := self.cell) is not None:
            cell.tell(message)
        else:
            self._system.check_place(self, type(message).__name__)
            self._system.dead_letters.add(self, message, "nobody has this path")

    @override
    def ask(self, request: Request[R], *, timeout: float | None = None) -> Coroutine[Any, Any, R]:
        if (cell := self.cell) is not None:
            return cell.ask(request, timeout=timeout)
        self._system.check_no_turn(self, request)
        return self._ask_nobody(request)

    async def _ask_nobody(self, request: Request[R]) -> R:
        self._system.check_place(self, type(request).__name__)
        raise ActorStopped(f"nobody has the path {self._path}, so {type(request).__name__} has no answer")

    @override
    def stop(self) -> None:
        if (cell := self.cell) is not None:
            cell.stop()

    @override
    def drain(self) -> None:
        if (cell := self.cell) is not None:
            cell.drain()

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, NamedRef) and (self._system, self._path) == (other._system, other._path)

    @override
    def __hash__(self) -> int:
        return hash(self._path)


def resolve(ref: Ref[M_contra]) -> Cell[M_contra] | None:
    """The actor that a ref stands for; None if nobody is meant by it now, or it is elsewhere."""
    if isinstance(ref, NamedRef):
        return ref.cell
    return ref if isinstance(ref, Cell) else None
