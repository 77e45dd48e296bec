"""Bounded mailboxes: what happens to one request too many, and what always gets in. On both event loops."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import anyio
import pytest

from actors import (
    Actor,
    Answer,
    DeadLetter,
    Mailbox,
    Overflow,
    Ref,
    Request,
    Signal,
    Succeeded,
    System,
    Terminated,
    message,
    open_system,
)
from actors.cell import Cell
from protocol.errors import ActorStopped, InvalidSettings, MailboxFull


@message
class Fetch(Request[str]):
    text: str


@message
class Result(Answer):
    text: str


class Desk(Actor[Any]):
    """Notes what comes, answers `Fetch`, and does what can be called."""

    mailbox = Mailbox(2)

    def __init__(self) -> None:
        self.notes: list[Any] = []

    def receive(self, message: Any) -> None:
        if callable(message):
            message(self)
        elif isinstance(message, Fetch):
            self.notes.append(message.text)
            self.reply(message.text)
        else:
            self.notes.append(message)

    def signal(self, signal: Signal) -> None:
        self.notes.append(signal)


class LateDesk(Desk):
    """Starts when it may: until then all that comes has to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.may_start = anyio.Event()

    async def starting(self) -> None:
        await self.may_start.wait()


def in_a_turn(system: System, act: Callable[[], None]) -> None:
    """Do something while all that is sent has to wait."""

    def turn(_: Desk) -> None:
        act()

    actor: Ref[Any] = system.spawn(Desk())
    actor.tell(turn)
    assert actor.is_alive, "what was to be done in the turn raised"


def tell_all(ref: Ref[Any], messages: Iterable[object]) -> None:
    for each in messages:
        ref.tell(each)


def spawn(system: System, overflow: str, capacity: int = 2) -> tuple[Desk, Ref[Any]]:
    desk = Desk()
    return desk, system.spawn(desk, name="desk", mailbox=Mailbox(capacity, overflow))


async def test_nothing_is_unbounded_unless_it_says_so() -> None:
    assert Actor.mailbox == Mailbox(10_000, Overflow.REJECT)
    assert Mailbox(1, "drop_oldest").overflow is Overflow.DROP_OLDEST


@pytest.mark.parametrize("capacity", [0, -1, True, 1.0, math.nan, "1", None])
def test_a_capacity_that_is_no_whole_number_of_at_least_one_is_refused(capacity: Any) -> None:
    with pytest.raises(InvalidSettings, match=f"a capacity of at least 1 request, not {capacity!r}"):
        Mailbox(capacity)


def test_an_unknown_policy_is_refused_with_the_known_ones_named() -> None:
    with pytest.raises(InvalidSettings, match="'reject', 'drop_oldest', 'drop_newest', not by 'drop'"):
        Mailbox(1, "drop")


@pytest.mark.holds("R2")
async def test_a_full_mailbox_rejects_what_is_told_with_the_path_and_what_to_do() -> None:
    async with open_system() as system:
        desk, ref = spawn(system, "reject")

        def act(desk: Desk) -> None:
            tell_all(ref, ("first", "second"))
            assert system.tree()[0].waiting == 2, "what is being handled takes up no room"
            with pytest.raises(MailboxFull) as caught:
                ref.tell("third")
            assert str(caught.value) == (
                "/troupe/desk has no room for str: 2 requests wait already. Send it later, or give the actor a larger "
                "mailbox"
            )

        ref.tell(act)
        assert desk.notes == ["first", "second"]
        assert (system.statistics().rejected, system.dead_letters.count) == (1, 0), "its sender knows"
        ref.tell("fourth")
        assert desk.notes[-1] == "fourth", "there is room again"


@pytest.mark.holds("R2")
@pytest.mark.parametrize("overflow", ["reject", "drop_oldest", "drop_newest"])
async def test_an_ask_that_a_full_mailbox_has_no_room_for_fails_by_name(overflow: str) -> None:
    desk, texts, full = LateDesk(), ("first", "second", "third", "fourth"), list[str]()
    lost = texts[:2] if overflow == "drop_oldest" else texts[2:]
    async with open_system() as system, anyio.create_task_group() as tasks:
        ref: Ref[Any] = system.spawn(desk, name="desk", mailbox=Mailbox(2, overflow))

        async def ask(text: str) -> None:
            try:
                await ref.ask(Fetch(text))
            except MailboxFull as error:
                full.append(f"{text}: {str(error).partition(':')[0]}")

        for text in texts:
            tasks.start_soon(ask, text)
            await anyio.wait_all_tasks_blocked()
        assert full == [f"{text}: /troupe/desk has no room for Fetch" for text in lost], "and they learn it at once"
        desk.may_start.set()
    assert desk.notes == [text for text in texts if text not in lost]


@pytest.mark.parametrize(
    ("overflow", "kept", "lost"), [("drop_oldest", [2, 3], [0, 1]), ("drop_newest", [0, 1], [2, 3])]
)
async def test_what_is_dropped_is_counted_and_a_dead_letter_and_the_rest_stays_in_order(
    overflow: str, kept: list[int], lost: list[int]
) -> None:
    async with open_system() as system:
        desk, ref = spawn(system, overflow)
        in_a_turn(system, lambda: tell_all(ref, range(4)))
        assert desk.notes == kept
        assert list(system.dead_letters.latest) == [DeadLetter(ref, n, "its mailbox is full") for n in lost]
        statistics = system.statistics()
        counted = {"drop_oldest": statistics.dropped_oldest, "drop_newest": statistics.dropped_newest}
        assert counted.pop(overflow) == 2
        assert [*counted.values(), statistics.rejected] == [0, 0]


@pytest.mark.parametrize("overflow", ["reject", "drop_oldest", "drop_newest"])
async def test_answers_outcomes_timers_and_signals_get_in_also_when_it_is_full(overflow: str) -> None:
    class Busy(LateDesk):
        async def starting(self) -> None:
            self.start(self.work, then=lambda outcome: outcome)
            self.after(0.0, "timer")
            self.watch(gone)
            await super().starting()

        async def work(self) -> str:
            return "work"

    async with open_system() as system:
        gone = system.spawn(Desk())
        gone.stop()
        desk = Busy()
        ref: Ref[Any] = system.spawn(desk, mailbox=Mailbox(1, overflow))
        tell_all(ref, ("request", Result("answer"), Result("another")))
        await anyio.sleep(0.001)
        assert (system.queue.rejected, system.queue.dropped_oldest, system.queue.dropped_newest) == (0, 0, 0)
        desk.may_start.set()
        await anyio.wait_all_tasks_blocked()
        assert {"request", "timer"} == {note for note in desk.notes if isinstance(note, str)}
        assert [note for note in desk.notes if isinstance(note, Result)] == [Result("answer"), Result("another")]
        assert Succeeded("work") in desk.notes
        assert Terminated(gone, None) in desk.notes
        in_a_turn(system, lambda: tell_all(ref, ("another", Result("queued"))))
        assert desk.notes[-2:] == ["another", Result("queued")]


class Front(Desk):
    """Fills the desk at the back, and forwards what it got."""

    def __init__(self, back: Ref[Any]) -> None:
        super().__init__()
        self.back = back

    def receive(self, message: Any) -> None:
        tell_all(self.back, ("first", "second"))
        self.forward(self.back, message)


@pytest.mark.holds("R2")
@pytest.mark.parametrize("overflow", ["reject", "drop_oldest", "drop_newest"])
async def test_a_forward_to_a_full_mailbox_is_told_to_the_asker_and_not_to_the_forwarder(overflow: str) -> None:
    async with open_system() as system:
        desk, back = spawn(system, overflow)
        front = system.spawn(Front(back), name="front")
        if overflow == "drop_oldest":
            assert await front.ask(Fetch("forwarded")) == "forwarded"
        else:
            with pytest.raises(MailboxFull, match="/troupe/desk has no room for Fetch"):
                await front.ask(Fetch("forwarded"))
        assert front.is_alive
        assert desk.notes == (["second", "forwarded"] if overflow == "drop_oldest" else ["first", "second"])


async def test_what_drop_oldest_keeps_in_memory_is_bounded_however_much_comes_at_once() -> None:
    capacity, sizes = 10, list[int]()
    async with open_system() as system:
        desk, ref = spawn(system, "drop_oldest", capacity)

        def flood() -> None:
            for number in range(100_000):
                ref.tell(number)
                if number % 7 == 0:
                    sizes.append(len(system.queue.entries))

        in_a_turn(system, flood)
        assert max(sizes) <= 3 * capacity
        assert desk.notes == list(range(99_990, 100_000))
        assert system.statistics().dropped_oldest == system.dead_letters.count == 99_990


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
async def test_what_is_held_for_an_actor_that_starts_is_bounded_too(overflow: str) -> None:
    async with open_system() as system:
        desk = LateDesk()
        ref: Ref[Any] = system.spawn(desk, mailbox=Mailbox(2, overflow))
        tell_all(ref, range(1_000))
        assert isinstance(ref, Cell)
        assert len(ref.held) == 2
        desk.may_start.set()
        await anyio.wait_all_tasks_blocked()
        assert desk.notes == ([998, 999] if overflow == "drop_oldest" else [0, 1])


@pytest.mark.holds("R2")
@pytest.mark.parametrize("overflow", ["reject", "drop_oldest", "drop_newest"])
async def test_an_actor_that_was_stopped_while_it_started_has_no_mailbox_that_could_be_full(overflow: str) -> None:
    async with open_system() as system:
        ref: Ref[Any] = system.spawn(LateDesk(), mailbox=Mailbox(2, overflow))
        tell_all(ref, ("held 1", "held 2"))
        ref.stop()
        in_a_turn(system, lambda: ref.tell("late"))
        letters = [(letter.message, letter.reason) for letter in system.dead_letters.latest]
        assert letters == [(text, "it has stopped") for text in ("held 1", "held 2", "late")]
        with pytest.raises(ActorStopped):
            await ref.ask(Fetch("later still"))


async def test_what_waits_is_counted_right_when_an_answer_is_held_ahead_of_what_is_dropped() -> None:
    async with open_system() as system:
        desk = LateDesk()
        ref: Ref[Any] = system.spawn(desk, mailbox=Mailbox(1, "drop_oldest"))
        ref.tell(Result("held"))
        in_a_turn(system, lambda: tell_all(ref, ("dropped", "kept")))
        assert len(system.queue) == 0, "what is held does not wait for a turn yet"
        desk.may_start.set()
        await anyio.wait_all_tasks_blocked()
        assert desk.notes == [Result("held"), "kept"]
        assert len(system.queue) == 0


async def test_an_actor_that_hears_of_its_own_dropped_requests_never_has_more_than_fit() -> None:
    async with open_system() as system:
        desk, ref = spawn(system, "drop_oldest")
        system.dead_letters.subscribe(ref)
        waiting: list[int] = []

        def act() -> None:
            for number in range(10):
                ref.tell(number)
                waiting.append(system.tree()[0].waiting)

        in_a_turn(system, act)
        assert max(waiting) == 2
        assert len(desk.notes) == 2
