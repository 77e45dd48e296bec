"""Mailboxes: one first-in-first-out queue for the whole system, in which every actor has its bounded share.

An actor's mailbox is a counter, not a container: a hundred thousand idle actors have no queue of their own. Messages
of one sender to one receiver stay in order, since there is only one line to stand in. What happens when an actor's
share is used up is told by `protocol.mailbox`.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from actors.life import STARTING
from actors.reply import Reply
from protocol.errors import MailboxFull
from protocol.mailbox import Overflow
from protocol.message import Answer

if TYPE_CHECKING:
    from actors.cell import Cell


class Mark(Enum):
    """In the place of a reply slot: what is queued is no request, and takes up no room in the mailbox."""

    ALWAYS = auto()
    """A message that is always accepted: an answer, an effect's outcome, a timer's."""
    SIGNAL = auto()
    """What the runtime has to say."""


ALWAYS: Final = Mark.ALWAYS
SIGNAL: Final = Mark.SIGNAL

Entry = tuple["Cell[Any]", Any, Reply[Any] | Mark | None, Any] | list[Any]
"""Receiver, message, reply slot or mark, origin. A list where it may be dropped again: then its receiver is None."""

_FEW: Final = 16

E = TypeVar("E", bound=Entry)

Lost = Callable[["Cell[Any]", Any, str], None]


class Queue:
    """All that waits for a turn.

    Attributes:
        entries: what is queued, oldest first.
        rejected: how many requests were refused with `MailboxFull`.
        dropped_oldest: how many made room for a later one.
        dropped_newest: how many were dropped on arrival.
        origin: noted with each message, for whoever traces turns; None while nobody does.
    """

    def __init__(self, lost: Lost) -> None:
        self.entries: deque[Entry] = deque()
        self.rejected = 0
        self.dropped_oldest = 0
        self.dropped_newest = 0
        self.origin: Any = None
        self._lost = lost
        self._voids = 0

    def __len__(self) -> int:
        """How many messages wait for their turn."""
        return len(self.entries) - self._voids

    def put(self, cell: "Cell[Any]", message: Any, reply: Reply[Any] | None) -> None:
        """Queue a message of whatever kind.

        Raises:
            MailboxFull: it is a request that the actor's mailbox has no room for, and is to be rejected.
        """
        if reply is None and isinstance(message, Answer):
            self.entries.append((cell, message, ALWAYS, self.origin))
        elif cell.waiting < cell.mailbox.capacity and cell.droppable is None:
            cell.waiting += 1
            if reply is not None:
                reply.counted = True
            self.entries.append((cell, message, reply, self.origin))
        else:
            self._admit(self.entries, cell, message, reply)

    def put_marked(self, cell: "Cell[Any]", message: Any, mark: Mark) -> None:
        """Queue what is no request."""
        self.entries.append((cell, message, mark, self.origin))

    def hold(self, cell: "Cell[Any]", message: Any, reply: Reply[Any] | None) -> None:
        """Keep a message for an actor that has yet to start. Raises as `put` does."""
        if reply is None and isinstance(message, Answer):
            cell.held.append((cell, message, ALWAYS, self.origin))
        else:
            self._admit(cell.held, cell, message, reply)

    def take(self) -> Entry | None:
        """The next that is due; what waits for an actor that has yet to start is put aside for it."""
        entries = self.entries
        while entries:
            entry = entries.popleft()
            cell = entry[0]
            if cell is None:
                self._voids -= 1
            elif cell.life is STARTING:
                cell.held.append(entry)
            else:
                mark = entry[2]
                if mark is None and cell.droppable is None:
                    cell.waiting -= 1
                elif mark is not ALWAYS and mark is not SIGNAL:
                    self._uncount(entry)
                return entry
        return None

    def put_back(self, entry: Entry) -> None:
        """Make what was taken the next one again."""
        cell, mark = entry[0], entry[2]
        if not isinstance(mark, Mark):
            if mark is None:
                cell.waiting += 1
            elif mark.is_open:
                cell.waiting += 1
                mark.counted = True
            if cell.droppable is not None:
                cell.droppable.appendleft(cast("list[Any]", entry))
        self.entries.appendleft(entry)

    def release(self, cell: "Cell[Any]") -> None:
        """Queue what was held for an actor, ahead of all that was sent later."""
        held, cell.holding = cell.holding, None
        if held is not None:
            self.entries.extendleft(reversed(held))

    def discard_held(self, cell: "Cell[Any]") -> list[tuple[Any, Reply[Any] | None]]:
        """Give up what was held for an actor that will not start: the messages, with the reply slots of those asked."""
        held, cell.holding = cell.holding, None
        discarded: list[tuple[Any, Reply[Any] | None]] = []
        for entry in held or ():
            _, message, mark, _ = entry
            if not isinstance(mark, Mark):
                self._uncount(entry)
                if mark is None or mark.is_open:
                    discarded.append((message, mark))
            elif mark is ALWAYS:
                discarded.append((message, None))
        return discarded

    def asker_gone(self, cell: "Cell[Any]") -> None:
        """Somebody whose request waits has gone: it keeps nobody else out any more, and is skipped when its turn comes.

        What is held for a slow start is cleared of such now and then, so that it cannot pile up.
        """
        cell.waiting -= 1
        held = cell.holding
        if held is not None and len(held) > 2 * cell.waiting + _FEW:
            _keep(held, _is_wanted)
            if cell.droppable is not None:
                _keep(cell.droppable, _is_wanted)

    @staticmethod
    def _uncount(entry: Entry) -> None:
        """Take an actor's oldest request out of its mailbox's count; one whose asker has gone is out of it already."""
        cell: Cell[Any] = entry[0]
        reply = cast("Reply[Any] | None", entry[2])
        if reply is None:
            cell.waiting -= 1
        elif reply.counted:
            cell.waiting -= 1
            reply.counted = False
        if cell.droppable and cell.droppable[0] is entry:
            cell.droppable.popleft()

    def _admit(self, line: deque[Entry], cell: "Cell[Any]", message: Any, reply: Reply[Any] | None) -> None:
        """Let a request into the mailbox, at whatever price."""
        dropped: list[Any] | None = None
        if cell.waiting >= cell.mailbox.capacity:
            if not cell.has_turns:  # whoever sends to the dead is not told that they are busy
                if reply is not None:
                    reply.holder = cell
                    reply.holder_stopped(cell.reason)
                self._lost(cell, message, "it has stopped")
                return
            if cell.droppable is not None:
                self.dropped_oldest += 1
                dropped = self._void_oldest(cell, cell.droppable)
            elif cell.mailbox.overflow is Overflow.DROP_NEWEST:
                self.dropped_newest += 1
                self._drop(cell, message, reply)
                return
            else:
                self.rejected += 1
                raise self._full(cell, message)
        cell.waiting += 1
        if reply is not None:
            reply.counted = True
        if cell.droppable is None:
            line.append((cell, message, reply, self.origin))
        else:
            entry = [cell, message, reply, self.origin]
            cell.droppable.append(entry)
            line.append(entry)
        if dropped is not None:
            # Last, since whoever is told of it may send to this actor in turn.
            self._drop(cell, dropped[1], dropped[2])

    def _void_oldest(self, cell: "Cell[Any]", droppable: deque[list[Any]]) -> list[Any]:
        """Void the oldest request that counts. It keeps its place in the line, empty: finding it would cost a scan."""
        while (reply := droppable[0][2]) is not None and not reply.counted:
            droppable.popleft()  # its asker has gone
        entry = droppable.popleft()
        cell.waiting -= 1
        if reply is not None:
            reply.counted = False
        was = list(entry)
        if cell.holding and cell.holding[0] is entry:
            cell.holding.popleft()
        else:
            entry[:] = (None,) * len(entry)
            if cell.holding and any(held is entry for held in cell.holding):
                _keep(cell.holding, _is_no_void)
            else:
                self._voids += 1
                if self._voids * 2 > len(self.entries):
                    _keep(self.entries, _is_no_void)
                    self._voids = 0
        return was

    def _drop(self, cell: "Cell[Any]", message: Any, reply: Reply[Any] | None) -> None:
        if reply is not None:
            reply.fail(self._full(cell, message))
        self._lost(cell, message, "its mailbox is full")

    @staticmethod
    def _full(cell: "Cell[Any]", message: object) -> MailboxFull:
        capacity = cell.mailbox.capacity
        return MailboxFull(
            f"{cell.path} has no room for {type(message).__name__}: {capacity} requests wait already. Send it later, "
            "or give the actor a larger mailbox"
        )


def _is_no_void(entry: Entry) -> bool:
    return entry[0] is not None


def _is_wanted(entry: Entry) -> bool:
    mark: object = entry[2]
    return not isinstance(mark, Reply) or mark.is_open


def _keep(line: deque[E], is_kept: Callable[[E], bool]) -> None:
    kept = [entry for entry in line if is_kept(entry)]
    line.clear()
    line.extend(kept)
