"""One worker that asks, several that own, a bus between them, and all that may go wrong there: what `protocol.forwards`
has to live with.

What comes in and what the bus answers take different ways, each in order, and each as long as it likes. Lines break on
one side before the other knows, alone or together, and are joined again; the bus restarts and forgets everything;
owners die, stand still, are cut off, or leave; and the world knows of each request whether it has begun, or may yet.
"""
# pyright: reportPrivateUsage=false

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

from protocol.errors import BusUnavailable
from protocol.forwards import Forwards
from protocol.forwards_messages import (
    Accepted,
    Answered,
    Cancel,
    Conclude,
    Echo,
    Echoed,
    Forward,
    ForwardsEffect,
    ForwardsEvent,
    Heard,
    Joined,
    Left,
    Look,
    Looked,
    Outcome,
    Parted,
    PeerDied,
    Posted,
    Probe,
    Probed,
    Refuse,
    Rejected,
    Send,
    Tick,
    TwinsSeen,
    Wake,
    Withdraw,
)
from protocol.peer import Terms

TERMS: Final = Terms(most=40, most_per_peer=15, beat=1.0, settle=0.2, look_after=0.3, look_every=0.3)
NEVER: Final = float("inf")
LONGEST: Final = 8.0
"""Seconds until the last of the deadlines."""
EPSILON: Final = 1e-9

Words = Accepted | Answered | Rejected | Left | Heard
"""What owners post to whoever asked."""


class Beat(NamedTuple):
    """An owner's beat: it lives from then on, for a while."""

    asked_at: float


class Owner:
    """Another worker: what it has, and what is under way between it and the bus."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.is_dead = self.is_paused = self.is_leaving = False
        self.is_listening = True  # as the bus has it, which may be wrong of the dead
        self.line = 0
        self.holding = 0  # what it owns by: another one, once its beats have lapsed
        self.alive_until = world.now + TERMS.beat
        self.inbox: deque[tuple[str, int, int]] = deque()  # which request, meant for which holding, on which line
        self.to_bus: deque[tuple[Words, int] | Beat] = deque()  # what it says, on which line; or that it beats, since
        self.from_bus: deque[tuple[str, bool] | Beat] = deque()  # whether an acceptance was taken; or when it beat
        self.running: list[str] = []
        self.cancelled: set[str] = set()
        self.absent_from = NEVER
        self.longest_absence = 0.0
        self.has_lapsed = False

    @property
    def is_at_work(self) -> bool:
        return not self.is_dead and not self.is_paused

    def say(self, words: Words) -> None:
        self.to_bus.append((words, self.line))

    def read(self) -> None:
        if not self.inbox or not self.is_at_work:
            return
        correlation, holding, line = self.inbox.popleft()
        is_refused = self.is_leaving or holding != self.holding or self.world.now >= self.alive_until
        if is_refused or self.world.random.random() < 0.05:
            self.say(Rejected(correlation))
        else:
            self.to_bus.append((Accepted(correlation), line))

    def take(self) -> None:
        """The bus does what it was asked for longest."""
        if not self.to_bus:
            return
        command = self.to_bus.popleft()
        if isinstance(command, Beat):
            self.world.records[self.name] = self.world.now + TERMS.beat
            self.from_bus.append(command)
            return
        words, line = command
        if isinstance(words, Accepted):
            is_taken = line == self.line and self.is_listening
            self.from_bus.append((words.correlation, is_taken))
            if not is_taken:
                return
        self.world.publish(words)

    def hear(self) -> None:
        """The bus's answer comes in."""
        if not self.from_bus or not self.is_at_work:
            return
        answer = self.from_bus.popleft()
        now = self.world.now
        if isinstance(answer, Beat):
            if now >= self.alive_until:
                self.holding += 1
            self.alive_until = max(self.alive_until, answer.asked_at + TERMS.beat)
            return
        correlation, is_taken = answer
        is_held = self.world.meant_for[correlation] == self.holding and now < self.alive_until
        if not (is_taken and is_held):
            self.say(Rejected(correlation))
        elif correlation not in self.cancelled:
            self.world.begin(correlation)
            self.running.append(correlation)

    def work(self) -> None:
        if self.running and self.is_at_work:
            self.say(Answered(self.running.pop(self.world.random.randrange(len(self.running)))))

    def beat(self) -> None:
        if self.is_at_work and self.is_listening and not self.is_leaving:
            self.to_bus.append(Beat(self.world.now))

    def stop_listening(self) -> None:
        if self.is_listening:
            self.is_listening = False
            self.absent_from = self.world.now

    def break_commands(self) -> None:
        """Some of what was under way is done, and none of it answered: what is not known to be taken is said again."""
        for _ in range(self.world.random.randint(0, len(self.to_bus))):
            command = self.to_bus[0]
            if not isinstance(command, Beat) and isinstance(command[0], Accepted):
                self.world.publish(command[0])
                self.to_bus.popleft()
                self.from_bus.append((command[0].correlation, False))
            else:
                self.take()
        pending, self.to_bus = self.to_bus, deque()
        for command in pending:
            if isinstance(command, Beat):
                continue
            words = command[0]
            if isinstance(words, Accepted):
                self.from_bus.append((words.correlation, False))
            else:
                self.to_bus.append(command)

    def rejoin(self) -> None:
        if not self.is_listening and self.is_at_work and not self.is_gone:
            self.longest_absence = max(self.longest_absence, self.absence)
            self.absent_from = NEVER
            self.is_listening = True
            self.line += 1

    @property
    def is_gone(self) -> bool:
        """Whether it leaves, and has said all that it has to say."""
        return self.is_leaving and not (self.running or self.to_bus or self.from_bus)

    @property
    def absence(self) -> float:
        """For how long it has not listened, since whoever asks believes what it is told of that."""
        return self.world.now - max(self.absent_from, self.world.believed_from)

    def is_rightly_dead(self) -> bool:
        absence = max(self.longest_absence, self.absence)
        return self.is_dead or self.is_gone or self.has_lapsed or absence >= TERMS.sighting_span - EPSILON


class World:
    """All of them. `seen` counts what came about."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.now = 1_000.0
        self.began = self.now - random.choice((0.0, 100.0))
        self.records: dict[str, float] = {}
        self.seen: dict[str, int] = Seen()
        self.names = self.count = 0
        self.owners: dict[str, Owner] = {}
        for _ in range(random.randint(1, 4)):
            self.another()
        self.machine = Forwards[int](TERMS)
        self.wake_at = NEVER
        self.pending: dict[int, str] = {}  # who waits, and for whom
        self.meant_for: dict[str, int] = {}  # each request, and by what its owner owned then
        self.begun = set[str]()
        self.spared = set[str]()  # what must never begin
        self.probes = set[str]()
        self.looks = set[str]()
        self.is_joined = self.is_subscribed = self.is_broken = self.is_deaf = False
        self.believed_from = NEVER
        self.arrivals: deque[Words | Echoed | Parted] = deque()
        self.to_bus: deque[Send[int] | Cancel | Probe | Look | Echo] = deque()
        self.asked_at: dict[str, float] = {}
        self.from_bus: deque[ForwardsEvent[int]] = deque()

    def another(self) -> None:
        self.names += 1
        owner = Owner(self, f"owner-{self.names}")
        self.owners[owner.name] = owner
        self.records[owner.name] = self.now + TERMS.beat

    def some(self) -> Owner:
        return self.random.choice(list(self.owners.values()))

    # --- the worker that asks

    def send(self, event: ForwardsEvent[int]) -> None:
        for effect in self.machine.handle(event, now=self.now):
            self.perform(effect)

    def perform(self, effect: ForwardsEffect[int]) -> None:
        match effect:
            case Send() | Cancel() | Echo():
                self.ask(effect)
            case Probe(peer):
                assert peer in self.pending.values(), "a peer of whom nothing is wanted is not counted"
                assert peer not in self.probes, "one at a time"
                self.probes.add(peer)
                self.asked_at[peer] = self.now
                self.ask(effect)
            case Look(peer):
                assert peer in self.pending.values()
                assert peer not in self.looks
                self.looks.add(peer)
                self.ask(effect)
            case Refuse(ticket, error):
                del self.pending[ticket]
                self.seen[f"refused: {type(error).__name__}"] += 1
            case Conclude(ticket, outcome):
                del self.pending[ticket]  # C3: known to wait, so told once
                self.seen[outcome.name] += 1
                if outcome is not Outcome.UNKNOWN:
                    assert str(ticket) not in self.begun, "what has begun is not safe to run elsewhere"  # C3
                    self.spared.add(str(ticket))
            case PeerDied(peer):
                assert self.owners[peer].is_rightly_dead(), "the living are not found dead"  # C5
                self.seen["died" if self.owners[peer].is_dead else "presumed dead"] += 1
            case TwinsSeen():
                raise AssertionError("there are none")
            case Wake(at):
                assert self.now <= at < self.wake_at
                self.wake_at = at

    def ask(self, command: Send[int] | Cancel | Probe | Look | Echo) -> None:
        if self.is_joined and not self.is_broken:
            self.to_bus.append(command)
        else:
            self.answer(command, BusUnavailable("gone", was_sent=self.random.random() < 0.5))

    def answer(self, command: Send[int] | Cancel | Probe | Look | Echo, answer: int | BusUnavailable) -> None:
        match command:
            case Send(_, correlation, _):
                self.from_bus.append(Posted(correlation, answer))
            case Probe(peer):
                self.from_bus.append(Probed(peer, answer, self.asked_at[peer]))
            case Look(peer):
                self.from_bus.append(Looked(peer, answer if isinstance(answer, BusUnavailable) else bool(answer)))
            case _:
                pass

    def do(self, command: Send[int] | Cancel | Probe | Look | Echo) -> int:
        match command:
            case Send(_, correlation, peer):
                owner = self.owners[peer]
                if owner.is_listening:
                    owner.inbox.append((correlation, self.meant_for[correlation], owner.line))
                return int(owner.is_listening)
            case Cancel(peer, correlation):
                if self.owners[peer].is_listening:
                    self.owners[peer].cancelled.add(correlation)
                return 0
            case Probe(peer):
                return int(self.owners[peer].is_listening)
            case Look(peer):
                return int(self.records.get(peer, -NEVER) > self.now)
            case Echo(peer, asked_at):
                self.publish(Echoed(peer, asked_at))
                return 0

    def take(self) -> None:
        """The bus does what it was asked for longest."""
        if self.to_bus:
            command = self.to_bus.popleft()
            self.answer(command, self.do(command))

    def publish(self, words: Words | Echoed) -> None:
        if self.is_subscribed:
            self.arrivals.append(words)

    def arrive(self) -> None:
        if not self.arrivals or self.is_deaf:
            return
        words = self.arrivals.popleft()
        if isinstance(words, Parted):
            self.break_commands()
            self.is_joined = self.is_broken = False
        if isinstance(words, Answered) and self.pending.pop(int(words.correlation), None) is not None:
            self.seen["answered"] += 1
        self.send(words)

    def hear(self) -> None:
        if self.from_bus:
            answer = self.from_bus.popleft()
            if isinstance(answer, Probed):
                self.probes.remove(answer.peer)
            elif isinstance(answer, Looked):
                self.looks.remove(answer.peer)
            self.send(answer)

    def begin(self, correlation: str) -> None:
        assert correlation not in self.spared, "what was said to be safe to run elsewhere begins"  # C3
        assert correlation not in self.begun
        self.begun.add(correlation)

    # --- what may happen

    def forward(self) -> None:
        owner = self.some()
        self.count += 1
        self.pending[self.count] = owner.name
        self.meant_for[str(self.count)] = owner.holding
        deadline = self.now + self.random.choice((0.0, 0.05, 1.0, 3.0, LONGEST))
        self.send(Forward(self.count, str(self.count), owner.name, deadline))

    def withdraw(self) -> None:
        if self.pending:
            ticket = self.random.choice(list(self.pending))
            del self.pending[ticket]
            self.send(Withdraw(str(ticket)))

    def break_line(self) -> None:
        """The bus loses it. Whoever asks knows it once it has read what came in before, if that is not lost too."""
        if not self.is_subscribed:
            return
        self.is_subscribed = False
        for _ in range(self.random.choice((0, 0, 1, 3))):
            if self.arrivals:
                self.arrivals.pop()
        self.arrivals.append(Parted(BusUnavailable("gone", was_sent=True)))
        if self.random.random() < 0.5:
            self.break_commands()

    def break_commands(self) -> None:
        """Some of what was under way is done, and none of it answered."""
        self.is_broken = True
        done = self.random.randint(0, len(self.to_bus))
        for index, command in enumerate(self.to_bus):
            if index < done:
                self.do(command)
            self.answer(command, BusUnavailable("gone", was_sent=True))
        self.to_bus.clear()

    def join(self) -> None:
        if not self.is_joined:
            self.is_joined = self.is_subscribed = True
            self.believed_from = max(self.began + TERMS.beat, self.now + TERMS.settle)
            for owner in self.owners.values():
                owner.longest_absence, owner.has_lapsed = 0.0, False
            self.send(Joined(self.now - self.began))
            self.seen["joined"] += 1

    def bus_restarts(self) -> None:
        self.break_line()
        if self.is_joined and not self.is_broken:
            self.break_commands()
        for owner in self.owners.values():
            owner.stop_listening()
            owner.break_commands()
        self.records.clear()
        self.began = self.now
        self.seen["restarts"] += 1

    def die(self) -> None:
        owner = self.some()
        if not owner.is_dead:
            owner.is_dead = True
            self.another()

    def die_at_work(self) -> None:
        """Just when it has begun something, while its words may still be on their way."""
        at_work = [owner for owner in self.owners.values() if owner.running and not owner.is_dead]
        if at_work:
            self.random.choice(at_work).is_dead = True
            self.another()

    def falls_deaf(self) -> None:
        """What comes in lies about unread, or is read again."""
        self.is_deaf = not self.is_deaf

    def bus_notices(self) -> None:
        for owner in self.owners.values():
            if owner.is_dead or owner.is_gone:
                owner.stop_listening()

    def leave(self) -> None:
        owner = self.some()
        if owner.is_at_work and not owner.is_leaving:
            owner.is_leaving = True
            owner.say(Left(owner.name))
            self.another()

    def owner_breaks(self) -> None:
        owner = self.some()
        owner.stop_listening()
        if self.random.random() < 0.5:
            owner.break_commands()

    def owner_pauses(self) -> None:
        owner = self.some()
        owner.is_paused = not owner.is_paused

    def owner_speaks(self) -> None:
        owner = self.some()
        if owner.is_at_work:
            owner.say(Heard(owner.name))

    def wait(self) -> None:
        self.wait_for(self.random.choice((0.0001, 0.0003, 0.001, 0.001, 0.003, 0.003, 0.006, 0.02, 0.3)))

    def wait_for(self, seconds: float) -> None:
        until = self.now + seconds
        while self.wake_at <= until and self.random.random() < 0.9:
            self.now = max(self.now, self.wake_at)
            self.tick()
        self.now = until
        self.tick()
        if self.now >= self.began + TERMS.beat:
            for owner in self.owners.values():
                owner.has_lapsed = owner.has_lapsed or self.records.get(owner.name, -NEVER) <= self.now

    def tick(self) -> None:
        if self.wake_at <= self.now:
            self.wake_at = NEVER
            self.send(Tick())

    # --- what must hold

    def check(self) -> None:
        assert len(self.machine) == len(self.pending)
        waited_for: dict[str, int] = {}
        for name in self.pending.values():
            waited_for[name] = waited_for.get(name, 0) + 1
        assert self.machine.peers() == waited_for  # C10
        reminders = self.machine._due
        assert len(reminders) <= 64 + 2 * (len(self.pending) + len(waited_for))  # C10

    def settle(self) -> None:
        """All is well for a while: everybody is told, and those who wait for the dead are told soon."""
        self.is_deaf = False
        for owner in self.owners.values():
            owner.is_paused = False
        began_at, is_late = self.now, False
        while self.now < began_at + LONGEST + 0.1 and self.pending:
            self.flush()
            self.wait_for(min(0.05, max(0.0, self.wake_at - self.now)))
            is_late = self.now > began_at + TERMS.beat + TERMS.settle + 0.1
            dead = {owner.name for owner in self.owners.values() if owner.is_dead}
            assert not is_late or not dead & set(self.pending.values()), "who waits for the dead is told soon"  # C5
        self.flush()
        self.check()
        assert not self.pending, "everybody is told"
        assert not self.machine.peers()
        assert not self.probes
        assert not self.looks

    def flush(self) -> None:
        """Nothing is under way any more."""
        while self.arrivals or self.from_bus or self.to_bus:
            self.act_all()
        self.join()
        for _ in range(4):
            self.bus_notices()
            self.act_all()

    def act_all(self) -> None:
        self.take()
        self.hear()
        self.arrive()
        for owner in self.owners.values():
            owner.rejoin()
            if not owner.is_dead and owner.alive_until < self.now + TERMS.beat / 2:
                owner.beat()
            for act in (Owner.read, Owner.take, Owner.hear, Owner.work, Owner.take):
                act(owner)


class Seen(dict[str, int]):
    """Counts."""

    def __missing__(self, key: str) -> int:
        return 0


ACTS: Final[dict[Callable[[World], None], int]] = {
    World.forward: 15,
    World.withdraw: 1,
    World.take: 40,
    World.hear: 40,
    World.arrive: 60,
    (lambda world: world.some().read()): 40,
    (lambda world: world.some().take()): 80,
    (lambda world: world.some().hear()): 60,
    (lambda world: world.some().work()): 20,
    (lambda world: world.some().beat()): 10,
    (lambda world: world.some().rejoin()): 8,
    World.join: 10,
    World.bus_notices: 10,
    World.wait: 25,
    World.owner_speaks: 3,
}
FAULTS: Final[dict[Callable[[World], None], int]] = {
    World.owner_breaks: 6,
    World.owner_pauses: 6,
    World.break_line: 6,
    World.bus_restarts: 2,
    World.die: 3,
    World.die_at_work: 8,
    World.falls_deaf: 10,
    World.leave: 3,
}


def _weighed(acts: dict[Callable[[World], None], int]) -> list[Callable[[World], None]]:
    return [act for act, weight in acts.items() for _ in range(weight)]


_ACTS: Final = _weighed(ACTS)
_FAULTS: Final = _weighed(FAULTS)


def live(seed: int, acts: int = 800) -> dict[str, int]:
    """One world's life, in calm or in storm. Answers what was seen in it."""
    random = Random(seed)
    world = World(random)
    faults = random.choice((0.003, 0.01, 0.05))
    for _ in range(acts):
        random.choice(_FAULTS if random.random() < faults else _ACTS)(world)
        world.check()
    world.settle()
    return world.seen
