"""The queue of a system in a simulation."""

from typing import TYPE_CHECKING, Any

from typing_extensions import override

from actors.cell import Cell
from actors.mailbox import Entry, Mark, Queue
from actors.reply import Reply

if TYPE_CHECKING:
    from actors.testing.system import SimulatedSystem


class SimulatedQueue(Queue):
    """A queue that notes who sent what, and seems empty before it is, so that a dispatch ends there.

    Attributes:
        turns: how many more entries to give out; None gives out all.
        sender: who sent what was taken last.
    """

    def __init__(self, system: "SimulatedSystem") -> None:
        super().__init__(system.dead_letters.add)
        self._system = system
        self.turns: int | None = None
        self.sender: Cell[Any] | None = None

    @override
    def put(self, cell: Cell[Any], message: Any, reply: Reply[Any] | None) -> None:
        self.origin = self._system.current
        super().put(cell, message, reply)

    @override
    def put_marked(self, cell: Cell[Any], message: Any, mark: Mark) -> None:
        self.origin = self._system.current
        super().put_marked(cell, message, mark)

    @override
    def hold(self, cell: Cell[Any], message: Any, reply: Reply[Any] | None) -> None:
        self.origin = self._system.current
        super().hold(cell, message, reply)

    @override
    def take(self) -> Entry | None:
        if self.turns is not None:
            if self.turns <= 0:
                return None
            self.turns -= 1
        entry = super().take()
        self.sender = None if entry is None else entry[3]
        return entry
