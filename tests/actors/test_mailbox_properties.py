"""The queue of all mailboxes against a model made of lists.

What must hold, whatever comes in which order:

1. What waits for an actor is taken in the order in which it was accepted; what was held for its start comes first.
2. An actor's count of waiting requests is the model's, and never above its capacity.
3. What is no request is always accepted.
4. Every ask has exactly one end: it is taken, rejected, failed with `MailboxFull` when it is dropped, or given up with
   an actor that never started. Nobody is told that an actor that has stopped has no room.
5. The counters count, and what is dropped is told to the dead letters, once.
6. Memory is bounded by what waits: the line never has more than twice the places that were ever in use at once.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.cell import Cell
from actors.life import RUNNING, STARTING, STOPPED, Life
from actors.mailbox import ALWAYS, SIGNAL, Entry, Mark, Queue
from actors.reply import Reply
from protocol.errors import MailboxFull
from protocol.mailbox import Mailbox, Overflow
from protocol.message import Answer


@dataclass(slots=True, eq=False)
class Item:
    """A message that is told or asked, or a mark's."""

    serial: int
    receiver: "StandIn"


@dataclass(slots=True, eq=False)
class AnswerItem(Item, Answer):
    pass


@dataclass(slots=True, eq=False)
class Slot:
    """Stands in for the reply slot of an ask, and counts how often it is given an end."""

    ends: list[str] = field(default_factory=list[str])
    holder: object = None
    is_open: bool = True
    counted: bool = False

    def fail(self, error: Exception) -> None:
        assert isinstance(error, MailboxFull)
        self.ends.append("dropped")
        self.is_open = False

    def holder_stopped(self, reason: BaseException | None) -> None:
        self.ends.append("stopped")


@dataclass(eq=False)
class StandIn:
    """Stands in for an actor's cell, with all that a queue touches of one."""

    name: str
    mailbox: Mailbox
    life: Life = STARTING
    waiting: int = 0
    holding: deque[Entry] | None = None
    droppable: deque[list[Any]] | None = None
    reason: BaseException | None = None

    def __post_init__(self) -> None:
        if self.mailbox.overflow is Overflow.DROP_OLDEST:
            self.droppable = deque()

    @property
    def path(self) -> str:
        return f"/model/{self.name}"

    @property
    def has_turns(self) -> bool:
        return self.life is not STOPPED

    @property
    def held(self) -> deque[Entry]:
        if self.holding is None:
            self.holding = deque()
        return self.holding


Line = list[Item]
number = st.integers(min_value=0, max_value=5)


class QueueLife(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.lost: list[tuple[object, object, str]] = []
        self.queue = Queue(lambda cell, message, reason: self.lost.append((cell, message, reason)))
        self.cells: list[StandIn] = []
        self.line: Line = []
        self.held: dict[StandIn, Line] = {}
        self.slots: dict[Item, Slot] = {}
        self.marks: dict[Item, Mark] = {}
        self.gone: set[Item] = set()
        self.expected_losses: list[tuple[Item, str]] = []
        self.dropped: list[object] = []
        self.rejected = 0
        self.most = 0
        self.serial = 0

    @initialize(starting=st.lists(st.booleans(), min_size=6, max_size=6))
    def begin(self, starting: list[bool]) -> None:
        bounds = [(policy, capacity) for policy in Overflow for capacity in (1, 3)]
        for (policy, capacity), starts in zip(bounds, starting, strict=True):
            cell = StandIn(f"{policy.value}-{capacity}", Mailbox(capacity, policy), STARTING if starts else RUNNING)
            self.cells.append(cell)
            self.held[cell] = []

    # --- the model

    def requests(self, cell: StandIn) -> Line:
        """The requests that wait for an actor, oldest first. One whose asker has gone waits for nothing."""
        others = {*self.marks, *self.gone}
        return [item for item in self.held[cell] + self.line if item.receiver is cell and item not in others]

    def make(self, cell: StandIn, kind: type[Item] = Item) -> Item:
        self.serial += 1
        return kind(self.serial, cell)

    def is_accepted(self, item: Item) -> bool:
        """Make room for a request as its policy says; whether it gets in without an error."""
        cell = item.receiver
        waiting = self.requests(cell)
        if len(waiting) < cell.mailbox.capacity:
            return True
        if cell.life is STOPPED:
            self.expected_losses.append((item, "it has stopped"))
            return False
        if cell.mailbox.overflow is Overflow.REJECT:
            self.rejected += 1
            return False
        dropped = waiting[0] if cell.mailbox.overflow is Overflow.DROP_OLDEST else item
        if dropped is not item:
            (self.held[cell] if dropped in self.held[cell] else self.line).remove(dropped)
        self.dropped.append(cell.mailbox.overflow)
        self.expected_losses.append((dropped, "its mailbox is full"))
        return dropped is not item

    def put_aside(self) -> None:
        """What is due for an actor that has yet to start is held."""
        while self.line and self.line[0].receiver.life is STARTING:
            item = self.line.pop(0)
            self.held[item.receiver].append(item)

    # --- what happens to the queue

    def send(self, item: Item, line: Line, *, asked: bool, straight: bool) -> None:
        if asked:
            self.slots[item] = Slot()
        was_rejected = self.rejected
        if self.is_accepted(item):
            line.append(item)
        send = self.queue.hold if straight else self.queue.put
        try:
            send(cast("Cell[Any]", item.receiver), item, cast("Reply[Any] | None", self.slots.get(item)))
        except MailboxFull:
            was_rejected += 1
            if asked:
                self.slots[item].ends.append("rejected")
        assert self.rejected == was_rejected

    @rule(which=number, asked=st.booleans())
    def put(self, which: int, asked: bool) -> None:  # noqa: FBT001 - drawn
        self.send(self.make(self.cells[which]), self.line, asked=asked, straight=False)

    @rule(which=number, count=st.integers(min_value=2, max_value=8))
    def put_many(self, which: int, count: int) -> None:
        for _ in range(count):
            self.put(which, asked=False)

    @rule(which=number)
    def put_answer(self, which: int) -> None:
        item = self.make(self.cells[which], AnswerItem)
        self.marks[item] = ALWAYS
        self.line.append(item)
        self.queue.put(cast("Cell[Any]", item.receiver), item, None)

    @rule(which=number, mark=st.sampled_from(Mark))
    def put_marked(self, which: int, mark: Mark) -> None:
        item = self.make(self.cells[which])
        self.marks[item] = mark
        self.line.append(item)
        self.queue.put_marked(cast("Cell[Any]", item.receiver), item, mark)

    @precondition(lambda self: not self.line)  # only then does a message come straight to its receiver
    @rule(which=number, asked=st.booleans(), is_answer=st.booleans())
    def hold(self, which: int, asked: bool, is_answer: bool) -> None:  # noqa: FBT001 - drawn
        cell = self.cells[which]
        if cell.life is not STARTING:
            return
        if is_answer:
            item = self.make(cell, AnswerItem)
            self.marks[item] = ALWAYS
            self.held[cell].append(item)
            self.queue.hold(cast("Cell[Any]", cell), item, None)
        else:
            self.send(self.make(cell), self.held[cell], asked=asked, straight=True)

    @rule()
    def take(self) -> None:
        self.put_aside()
        entry = self.queue.take()
        if not self.line:
            assert entry is None
            return
        item = self.line.pop(0)
        self.check(entry, item)
        if item in self.slots and item not in self.gone:
            self.slots[item].ends.append("taken")

    @rule(which=number)
    def an_asker_gives_up(self, which: int) -> None:
        asked = [item for item in self.requests(self.cells[which]) if item in self.slots]
        if asked:
            item = asked[len(asked) // 2]
            slot = self.slots[item]
            slot.ends.append("gone")
            slot.is_open = slot.counted = False
            item.receiver.waiting -= 1  # as `Reply` does
            self.gone.add(item)

    @rule()
    def take_and_put_back(self) -> None:
        self.put_aside()
        entry = self.queue.take()
        if entry is not None:
            self.check(entry, self.line[0])
            self.queue.put_back(entry)

    def check(self, entry: Entry | None, item: Item) -> None:
        assert entry is not None
        assert (entry[0], entry[1]) == (item.receiver, item)
        assert entry[2] is self.marks.get(item, self.slots.get(item))

    @rule(which=number)
    def end_the_start(self, which: int) -> None:
        cell = self.cells[which]
        if cell.life is STARTING:
            cell.life = RUNNING
            self.line[:0] = self.held[cell]
            self.held[cell] = []
            self.queue.release(cast("Cell[Any]", cell))

    @rule(which=number)
    def stop(self, which: int) -> None:
        cell = self.cells[which]
        cell.life = STOPPED
        given_up = [item for item in self.held[cell] if self.marks.get(item) is not SIGNAL and item not in self.gone]
        self.held[cell] = []
        assert self.queue.discard_held(cast("Cell[Any]", cell)) == [(item, self.slots.get(item)) for item in given_up]
        for item in given_up:
            if item in self.slots:
                self.slots[item].ends.append("stopped")

    # --- what must hold

    @invariant()
    def the_queue_is_as_the_model_says(self) -> None:
        for cell in self.cells:
            assert cell.waiting == len(self.requests(cell)) <= cell.mailbox.capacity
            assert [entry[1] for entry in cell.holding or ()] == self.held[cell]
            if cell.droppable is not None:
                waiting = [entry[1] for entry in cell.droppable if entry[1] not in self.gone]
                assert waiting == self.requests(cell)
        assert len(self.queue) == len(self.line)
        self.most = max(self.most, len(self.line))
        assert len(self.queue.entries) <= 2 * self.most

    @invariant()
    def the_counters_count(self) -> None:
        assert self.lost == [(item.receiver, item, reason) for item, reason in self.expected_losses]
        assert self.queue.rejected == self.rejected
        assert self.queue.dropped_oldest == self.dropped.count(Overflow.DROP_OLDEST)
        assert self.queue.dropped_newest == self.dropped.count(Overflow.DROP_NEWEST)

    @invariant()
    def no_ask_ends_twice_and_those_that_wait_have_not_ended(self) -> None:
        waiting = {item for cell in self.cells for item in self.requests(cell)}
        for item, slot in self.slots.items():
            assert len(slot.ends) == (0 if item in waiting else 1)

    def teardown(self) -> None:
        for which in range(len(self.cells)):
            self.end_the_start(which)
        while self.line:
            self.take()
        assert self.queue.take() is None
        assert all(len(slot.ends) == 1 for slot in self.slots.values())
        assert not self.queue.entries


QueueLife.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)


@pytest.mark.holds("R1", "R2")
class TestQueueLife(QueueLife.TestCase):
    pass
