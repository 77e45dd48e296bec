"""Several workers, one bus, and all that may go wrong between them: what `protocol.ownership` has to live with.

Each worker's clock is off by some years, and runs on while the worker stands still. Commands and answers take their
time, in order. Lines break and are joined again, the bus restarts and forgets everything, and workers die.
"""

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Final

from protocol import bus
from protocol.bus_records import BusRecords
from protocol.claims import Terms
from protocol.errors import BusUnavailable
from protocol.ownership import Ownership
from protocol.ownership_messages import (
    Acquired,
    Beaten,
    Claim,
    Claimed,
    End,
    GiveUp,
    HandedOver,
    Inherit,
    Joined,
    Leave,
    Lost,
    Named,
    OwnerDied,
    OwnershipEffect,
    OwnershipEvent,
    Parted,
    Refresh,
    Refreshed,
    Refuse,
    Release,
    Released,
    TellOwner,
    Tick,
    Wake,
    Want,
    Withdraw,
)
from protocol.tenure import Tenure

TERMS: Final = Terms(beat=5.0, holding=30.0, memory=20.0)
SESSIONS: Final = ("talk", "chat", "words")
GONE: Final = BusUnavailable("the bus is gone", was_sent=True)
NOTHING: Final = Withdraw(-1, "talk")
NEVER: Final = float("inf")
EPSILON: Final = 1e-6
"""Seconds that adding and subtracting offsets may make of difference."""


class Member:
    """A worker: its machine, its clock, and what is under way between it and the bus."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.offset = float(world.random.randint(-10_000, 10_000))
        self.machine = Ownership[int](name, TERMS)
        self.is_joined = self.is_paused = False
        self.to_bus: deque[tuple[bus.Command[Any], Callable[[Any], OwnershipEvent[int]]]] = deque()
        self.from_bus: deque[OwnershipEvent[int]] = deque()
        self.unanswered: deque[Callable[[Any], OwnershipEvent[int]]] = deque()
        self.wake_at = NEVER
        self.waiting: dict[int, str] = {}
        self.holdings: set[str] = set()  # as it was told: `Acquired` and `Lost`
        self.beat_at = -NEVER

    @property
    def now(self) -> float:
        return self.world.now + self.offset

    def may_start(self, session_id: str) -> bool:
        return self.machine.may_start(session_id, self.now)

    def send(self, event: OwnershipEvent[int]) -> None:
        for effect in self.machine.handle(event, now=self.now):
            self.perform(effect)

    def perform(self, effect: OwnershipEffect[int]) -> None:
        world, asked_at = self.world, self.now
        match effect:
            case TellOwner(ticket, holding, is_here):
                session_id = self.waiting.pop(ticket)  # C1: known to wait, so told once
                assert is_here is (holding.owner == self.name)
                assert not is_here or session_id in self.holdings
                world.seen["told: here" if is_here else "told: there"] += 1
            case Refuse(ticket, error):
                del self.waiting[ticket]
                world.seen[f"refused: {type(error).__name__}"] += 1
            case Claim(session_id, holding, over):
                assert holding.owner == self.name
                if session_id in self.holdings:
                    world.held_before.add(holding.token)
                command = bus.Claim(session_id, holding, TERMS.holding, over)
                token = holding.token
                self.ask(command, lambda answer: Claimed(session_id, token, answer, asked_at))
            case Refresh(session_id, token):
                refresh = bus.Refresh(session_id, token, TERMS.holding)
                self.ask(refresh, lambda answer: Refreshed(session_id, token, answer, asked_at))
            case Release(session_id, token):
                self.holdings.discard(session_id)
                self.ask(bus.Release(session_id, token), lambda _: Released(session_id, token))
            case Acquired(session_id, is_taken_over):
                assert session_id not in self.holdings
                self.holdings.add(session_id)
                world.seen["taken over" if is_taken_over else "acquired"] += 1
            case Lost(session_id):
                self.holdings.remove(session_id)
                world.seen["lost"] += 1
            case Wake(at):
                assert self.now <= at < self.wake_at
                self.wake_at = at

    def ask(self, command: bus.Command[Any], then: Callable[[Any], OwnershipEvent[int]]) -> None:
        if self.is_joined:
            self.to_bus.append((command, then))
            self.unanswered.append(then)
        else:
            self.from_bus.append(then(BusUnavailable("not joined", was_sent=False)))

    def tick(self) -> None:
        if self.wake_at <= self.now and not self.is_paused:
            self.wake_at = NEVER
            self.send(Tick())


class World:
    """All of them. `seen` counts what came about."""

    def __init__(self, random: Random, workers: int) -> None:
        self.random = random
        self.now = 1_000.0
        self.records = BusRecords()
        self.began = self.now - random.choice((0.0, 100.0))
        self.tickets = self.tokens = self.names = 0
        self.seen: dict[str, int] = Seen()
        self.held_before = set[str]()  # the tokens of claims of what was held when they were made
        self.members = [self.another() for _ in range(workers)]

    def another(self) -> Member:
        self.names += 1
        return Member(self, f"worker-{self.names}")

    def token(self) -> str:
        self.tokens += 1
        return f"token-{self.tokens}"

    def some(self) -> Member:
        return self.random.choice(self.members)

    # --- what may happen

    def want(self) -> None:
        member = self.some()
        if member.is_paused:
            return
        self.tickets += 1
        session_id = self.random.choice(SESSIONS)
        member.waiting[self.tickets] = session_id
        member.send(Want(self.tickets, session_id, "principal", self.token()))

    def withdraw(self) -> None:
        member = self.some()
        if member.waiting and not member.is_paused:
            ticket = self.random.choice(list(member.waiting))
            member.send(Withdraw(ticket, member.waiting.pop(ticket)))

    def end(self) -> None:
        member = self.some()
        if not member.is_paused:
            member.send(End(self.random.choice(SESSIONS)))

    def bus_takes(self) -> None:
        member = self.some()
        if member.to_bus:
            self.take(member)

    def take(self, member: Member) -> None:
        """The bus does what a worker has asked for longest."""
        command, then = member.to_bus.popleft()
        member.unanswered.popleft()
        if isinstance(command, bus.Claim) and command.holding.token not in self.held_before:
            assert self.now >= self.began + TERMS.beat - EPSILON, "a young bus may have lost what the living hold"
        member.from_bus.append(then(self.records.do(command, now=self.now)))

    def bus_answers(self) -> None:
        member = self.some()
        if member.from_bus and not member.is_paused:
            member.send(member.from_bus.popleft())

    def beat(self) -> None:
        member = self.some()
        if member.is_joined and not member.is_paused:
            asked_at = member.now
            member.ask(
                bus.Beat(member.name, TERMS.beat, b""),
                lambda answer: NOTHING if isinstance(answer, BusUnavailable) else Beaten(asked_at, self.token()),
            )

    def join(self) -> None:
        member = self.some()
        if not member.is_joined and not member.is_paused:
            while member.from_bus:
                member.send(member.from_bus.popleft())
            member.is_joined = True
            member.send(Joined(self.now - self.began, self.token()))
            self.seen["joined"] += 1

    def part(self, member: Member | None = None) -> None:
        member = member or self.some()
        if member.is_joined:
            member.is_joined = False
            member.to_bus.clear()
            member.from_bus.extend(then(GONE) for then in member.unanswered)
            member.unanswered.clear()
            member.from_bus.append(Parted(GONE))

    def bus_restarts(self) -> None:
        for member in self.members:
            self.part(member)
        self.records.restarted()
        self.began = self.now
        self.seen["restarts"] += 1

    def pause(self) -> None:
        member = self.some()
        member.is_paused = not member.is_paused

    def crash(self) -> None:
        member = self.some()
        self.members[self.members.index(member)] = self.another()

    def depart(self) -> None:
        """A worker leaves what it holds to another one, and another comes in its place."""
        member = self.some()
        if member.is_paused or not member.is_joined or self.now < self.began + TERMS.beat:
            return
        member.send(Leave())
        assert not any(member.may_start(session_id) for session_id in SESSIONS)
        heirs = [heir for heir in self.members if heir is not member and heir.is_joined and not heir.is_paused]
        heir = self.random.choice(heirs) if heirs else None
        for session_id, held in member.machine.left().items():
            if heir is not None:
                heir.send(Inherit(session_id, held, self.token()))
                member.send(HandedOver(session_id, held.token))
                member.holdings.discard(session_id)
                self.seen["handed over"] += 1
        member.send(GiveUp())
        while member.to_bus:
            self.take(member)
        self.members[self.members.index(member)] = self.another()

    def name_some(self) -> None:
        """Somebody takes a worker for the owner, as the bus says, where it does not say so itself."""
        member, session_id = self.some(), self.random.choice(SESSIONS)
        holding = self.records.do(bus.Find(session_id), now=self.now)
        if holding is None or member.is_paused or holding.owner != member.name:
            return
        if member.machine.holding(session_id) is None:
            member.send(Named(session_id, holding, self.token()))
            self.seen["named"] += 1

    def judge_some(self) -> None:
        self.judge(self.some(), self.random.choice(SESSIONS))

    def judge(self, member: Member, session_id: str) -> None:
        """Somebody finds that an owner is dead: it does not beat any more, and the bus is not young."""
        if member.is_paused or not member.is_joined or self.now < self.began + TERMS.beat:
            return
        if member.machine.tenure(session_id) is not Tenure.THEIRS:
            return
        holding = self.records.do(bus.Find(session_id), now=self.now)
        if holding is not None and self.records.do(bus.Look(holding.owner), now=self.now) is None:
            member.send(OwnerDied(session_id, holding.token, self.token()))

    def wait(self) -> None:
        until = self.now + self.random.choice((0.001, 0.1, 1.0, 1.0, 4.0, 12.0))
        while True:
            due = [at for member in self.members if (at := member.wake_at - member.offset) <= until]
            due = [at for at in due if at > self.now]
            if not due or self.random.random() < 0.1:
                break
            self.now = min(due)
            self.ticks()
        self.now = until
        self.ticks()

    def ticks(self) -> None:
        for member in self.members:
            member.tick()

    # --- what must hold

    def check(self) -> None:
        for session_id in SESSIONS:
            starters = [member.name for member in self.members if member.may_start(session_id)]
            assert len(starters) <= 1, f"{' and '.join(starters)} may both start something for {session_id}"  # C1
        for member in self.members:
            assert len(member.machine) <= len(SESSIONS)  # C10
            assert member.holdings == set(member.machine.owned())

    def settle(self) -> None:
        """All is well for a while: everybody who wants to know is told, and all are told the same."""
        for member in self.members:
            member.is_paused = False
        for _ in range(60):
            for member in self.members:
                while member.from_bus:
                    member.send(member.from_bus.popleft())
                if not member.is_joined:
                    member.is_joined = True
                    member.send(Joined(self.now - self.began, self.token()))
                asked_at = member.now
                member.ask(bus.Beat(member.name, TERMS.beat, b""), lambda _, at=asked_at: Beaten(at, self.token()))
            self.flush()
            self.now += 1.0
            self.ticks()
            self.flush()
            for member in self.members:
                for session_id in SESSIONS:
                    self.judge(member, session_id)
            self.flush()
            self.check()
        for member in self.members:
            assert not member.waiting, "everybody is told"
        held = [session_id for member in self.members for session_id in member.holdings]
        assert len(held) == len(set(held))
        for member in self.members:
            for session_id in member.holdings:
                holding = self.records.do(bus.Find(session_id), now=self.now)
                assert holding is not None
                assert (holding.owner, holding.token) == (member.name, member.machine.token(session_id))

    def leave(self) -> None:
        """All leave in good order, and nothing is left on the bus."""
        for member in self.members:
            member.send(Leave())
            member.send(GiveUp())
        self.flush()
        for member in self.members:
            assert not member.machine.owned()
            assert not member.holdings
        live = {member.name for member in self.members}
        for session_id in SESSIONS:
            holding = self.records.do(bus.Find(session_id), now=self.now)
            assert holding is None or holding.owner not in live  # R4

    def flush(self) -> None:
        """Nothing is under way any more."""
        while any(member.to_bus or member.from_bus for member in self.members):
            for member in self.members:
                while member.to_bus:
                    self.take(member)
                while member.from_bus:
                    member.send(member.from_bus.popleft())


class Seen(dict[str, int]):
    """Counts."""

    def __missing__(self, key: str) -> int:
        return 0


ACTS: Final[dict[Callable[[World], None], int]] = {
    World.want: 20,
    World.withdraw: 2,
    World.end: 3,
    World.bus_takes: 50,
    World.bus_answers: 50,
    World.beat: 20,
    World.join: 20,
    World.part: 2,
    World.bus_restarts: 1,
    World.pause: 2,
    World.crash: 1,
    World.depart: 1,
    World.name_some: 4,
    World.judge_some: 6,
    World.wait: 12,
}
_WEIGHED: Final = [act for act, weight in ACTS.items() for _ in range(weight)]


def live(seed: int, acts: int = 400) -> dict[str, int]:
    """One world's life. Answers what was seen in it."""
    random = Random(seed)
    world = World(random, workers=random.randint(2, 5))
    for _ in range(acts):
        random.choice(_WEIGHED)(world)
        world.check()
    world.settle()
    world.leave()
    return world.seen
