"""Whatever may happen to one key's pool, one thing at a time, drawn by a `Random`.

Each act of `PoolLife` does one thing, or nothing where there is nothing to do it to. `PoolAccount` checks what comes of
it. `some_settings` makes settings with durations so short that upkeep matters, and `live` a whole life.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from random import Random
from typing import Final

from protocol.errors import ConnectFailed, SessionStateLost
from protocol.loan import Loan
from protocol.pool_messages import (
    Abandoned,
    Acquire,
    CallsEnded,
    CallsOverdue,
    Close,
    Drain,
    Evict,
    Leaving,
    MakeRoom,
    Occupied,
    PermitGranted,
    PermitRefused,
    PoolEvent,
    Refuse,
    Release,
    Resize,
    SessionBroke,
    SessionChecked,
    SessionGone,
    SessionOpened,
    Shut,
    Tick,
    Told,
    Untold,
    Withdraw,
)
from protocol.session import Retirement
from protocol.settings import PoolSettings
from tests.protocol.pool_account import NEVER, Known, PoolAccount


def some_settings(random: Random) -> PoolSettings:
    max_size = random.randint(1, 4)
    return PoolSettings(
        max_size=max_size,
        min_idle=min(max_size, random.choice((0, 0, 1, 2))),
        shared_leases=random.randint(1, 3),
        max_waiting=random.choice((0, 3, 100, 100)),
        max_lifetime=random.choice((None, 6.0, 25.0)),
        lifetime_jitter=random.choice((0.1, 0.9)),
        max_idle=random.choice((None, 2.0, 9.0)),
        key_idle=random.choice((3.0, 12.0)),
        lost_memory=random.choice((5.0, 40.0)),
        health_interval=random.choice((None, 1.5, 4.0)),
        warn_after=random.choice((None, 2.0)),
        connect_timeout=2.0,
        breaker_ceiling=5.0,
    )


class PoolLife(PoolAccount):
    """One key's pool, and what may happen to it."""

    # --- callers

    def acquire(self, random: Random) -> None:
        if len(self.waiting) > 12:
            return
        self.tickets += 1
        expires_at = NEVER if random.random() < 0.7 else self.now + random.choice((0.0, 1.0, 3.0, 10.0, 30.0))
        self.waiting[self.tickets] = expires_at
        loan = self.machine.lend(self.now, expires_at)
        if loan is not None:
            self.last_expiry = expires_at
            self.granted(self.tickets, self.sessions[loan.session.number], loan)
            self.check()
            return
        if self.is_sticky:
            self.end_what_has_expired(self.sessions.values())
        was_owed = self.is_owed and not self.is_presumed and not self.is_ending and expires_at > self.now
        if not self.is_ending and expires_at > self.now and not was_owed:
            self.last_expiry = expires_at
        effects = self.send(Acquire(self.tickets, expires_at))
        if was_owed:  # L9: told at once
            assert any(isinstance(effect, Refuse) and isinstance(effect.error, SessionStateLost) for effect in effects)

    def end_what_has_expired(self, sessions: Iterable[Known]) -> None:
        for known in sessions:
            if known.is_open and known.ends_at <= self.now:
                self.doom(known)

    def withdraw(self, random: Random) -> None:
        if self.waiting:
            ticket = random.choice(list(self.waiting))
            del self.waiting[ticket]
            self.send(Withdraw(ticket))

    def not_hear_of_a_loss(self, random: Random) -> None:
        if not self.told:
            return
        self.told -= 1
        if self.is_ending:
            assert not self.send(Untold())
            return
        self.is_owed = True
        was_waiting = bool(self.waiting)
        self.is_unheard = not was_waiting
        self.send(Untold())
        assert self.is_owed is not was_waiting, "the oldest waiter is told, or else whoever comes next"

    def hear_of_a_loss_after_all(self, random: Random) -> None:
        if self.is_unheard:
            self.is_owed = self.is_unheard = False
        self.send(Told())

    def release(self, random: Random) -> None:
        if not self.held:
            return
        loan = random.choice(list(self.held))
        known = self.held.pop(loan)
        if random.random() < 0.3:
            self.settling[loan] = known
            self.send(Release(loan, busy=True))
        else:
            self.loan_ends(loan, known)
            self.send(Release(loan, busy=False))

    def settle(self, random: Random) -> None:
        if not self.settling:
            return
        loan = random.choice(list(self.settling))
        known = self.settling.pop(loan)
        is_overdue = random.random() < 0.3
        self.loan_ends(loan, known, dooms=is_overdue)
        self.send(CallsOverdue(loan) if is_overdue else CallsEnded(loan))

    def abandon(self, random: Random) -> None:
        if self.held:
            loan = random.choice(list(self.held))
            self.loan_ends(loan, self.held.pop(loan), dooms=True)
            self.send(Abandoned(loan))

    def loan_ends(self, loan: Loan, known: Known, *, dooms: bool = False) -> None:
        known.loans.remove(loan)
        known.used_at = self.now
        self.over.append(loan)
        if dooms:
            self.doom(known)
        self.end_what_has_expired([known])

    def say_what_changes_nothing(self, random: Random) -> None:
        """L4: of a lease that is over, or that is not where the message takes it to be."""
        said: list[PoolEvent[int]] = []
        if self.over:
            loan = self.over[random.randrange(len(self.over))]
            said += [Release(loan, busy=True), Release(loan, busy=False), CallsEnded(loan), CallsOverdue(loan)]
            said.append(Abandoned(loan))
        if self.settling:
            loan = random.choice(list(self.settling))
            said += [Release(loan, busy=True), Release(loan, busy=False), Abandoned(loan)]
        if self.held:
            loan = random.choice(list(self.held))
            said += [CallsEnded(loan), CallsOverdue(loan)]
        if said:
            assert not self.send(random.choice(said))

    # --- sessions

    def session_opens(self, random: Random) -> None:
        if not (able := [known for known in self.sessions.values() if not known.is_open]):
            return
        known = random.choice(able)  # one that is on its way out may have opened just before
        known.is_open = True
        known.is_stateful = random.random() < 0.5
        known.places = self.fixed_places or (1 if known.is_stateful else self.settings.shared_leases)
        known.used_at = known.checked_at = self.now
        self.known_places = known.places
        if self.is_presumed and not known.is_closing:
            self.is_presumed, self.is_owed = False, known.is_stateful
        jitter = random.random()
        if self.settings.max_lifetime is not None and not (self.is_sticky and known.is_stateful):
            lifetime = self.settings.max_lifetime * (1 - self.settings.lifetime_jitter * jitter)
            known.lifetime_ends = self.now + lifetime
        self.send(SessionOpened(known.number, is_stateful=known.is_stateful, jitter=jitter))

    def session_breaks(self, random: Random) -> None:
        if self.sessions:
            known = random.choice(list(self.sessions.values()))
            self.doom(known)
            self.failed_for = known.ticket
            self.send(SessionBroke(known.number, random.random() < 0.3))

    def session_is_checked(self, random: Random) -> None:
        if not (asked := [known for known in self.sessions.values() if known.checks]):
            return
        known = random.choice(asked)
        known.checks -= 1
        known.checked_at = self.now
        is_healthy = random.random() < 0.7
        if not is_healthy:
            self.doom(known)
        self.send(SessionChecked(known.number, is_healthy=is_healthy))

    def session_ends(self, random: Random) -> None:
        if closing := [known for known in self.sessions.values() if known.is_closing]:
            self.end(random.choice(closing))

    def session_ends_by_itself(self, random: Random) -> None:
        if self.sessions:
            self.end(random.choice(list(self.sessions.values())))

    def end(self, known: Known) -> None:
        self.doom(known)
        for loan in known.loans:
            self.held.pop(loan, None)
            self.settling.pop(loan, None)
            self.over.append(loan)
        del self.sessions[known.number]
        self.failed_for = known.ticket
        error = None if known.is_open else ConnectFailed("nothing listens there", step="connect")
        self.send(SessionGone(known.number, error))

    # --- permits

    def permit_is_granted(self, random: Random) -> None:
        if self.queued:
            self.queued.pop(0)
            self.permits += 1
            self.answers.append(PermitGranted())

    def permit_is_refused(self, random: Random) -> None:
        if self.queued:
            ticket = self.queued.pop(random.randrange(len(self.queued)))
            why = ConnectFailed("the breaker is open", step="connect") if random.random() < 0.5 else None
            self.answers.append(PermitRefused(why, ticket))

    def answer_arrives(self, random: Random) -> None:
        if self.answers:
            answer = self.answers.pop(random.randrange(len(self.answers)))
            if isinstance(answer, PermitGranted):
                del self.asked[:1]
            else:
                self.failed_for = answer.ticket
                if answer.ticket in self.asked:
                    self.asked.remove(self.failed_for)
                else:
                    del self.asked[-1:]
            self.send(answer)

    # --- the pool as a whole

    def others_want(self, random: Random) -> None:
        self.wants.is_starved = random.random() < 0.2
        self.wants.since = self.now - random.choice((0.0, 1.0, 10.0))

    def make_room(self, random: Random) -> None:
        idle = self.idle()
        effects = self.send(MakeRoom())
        if not idle:
            assert effects == [Occupied()]
            return
        (close,) = effects
        assert isinstance(close, Close)
        assert close.reason is Retirement.EVICTED
        oldest = min(known.used_at for known in idle)
        assert self.sessions[close.session].used_at == oldest

    def evict(self, random: Random) -> None:
        known = self.sessions.values()
        has_state = self.is_sticky and (self.is_owed or any(one.is_stateful for one in known))
        is_opening = any(one.is_opening for one in known)
        is_used = has_state or self.held or self.settling or self.waiting or is_opening
        was_ending = self.is_ending
        effects = list(self.send(Evict()))
        if was_ending:
            assert effects == [], "its end is what was asked for"
        else:
            assert effects == [Occupied(was_to_end=True)] if is_used else effects[0] == Leaving()

    def drain(self, random: Random) -> None:
        for known in self.sessions.values():
            self.doom(known)
        self.send(Drain())

    def resize(self, random: Random) -> None:
        self.settings = some_settings(random)
        self.send(Resize(self.settings))

    def shut(self, random: Random) -> None:
        self.is_shut = True
        self.send(Shut())

    # --- time

    def wait(self, random: Random) -> None:
        """Some time goes by, with the ticks that were asked for in their time; or late, where nobody had time."""
        until = self.now + random.choice((0.0, 0.01, 0.1, 0.3, 0.5, 1.0, 3.0, 12.0))
        if random.random() < 0.8:
            while self.tick_at <= until:
                self.now = max(self.now, self.tick_at)
                self.tick()
        self.now = until

    def tick(self) -> None:
        self.tick_at = NEVER
        self.send(Tick())
        self.nothing_is_due()
        assert self.tick_at > self.now, "no second tick at the same moment"

    def finish(self, random: Random) -> None:
        """All of it ends, and nothing is left."""
        if not self.is_ending:
            self.shut(random)
        while self.sessions:
            self.session_ends(random)
        while self.answers:
            self.answer_arrives(random)
        assert self.is_over
        assert self.permits == 0
        assert not self.machine.handle(Tick(), now=self.now + 1e6)


ACTS: Final[dict[Callable[[PoolLife, Random], None], int]] = {
    PoolLife.acquire: 36,
    PoolLife.withdraw: 4,
    PoolLife.not_hear_of_a_loss: 2,
    PoolLife.hear_of_a_loss_after_all: 1,
    PoolLife.release: 30,
    PoolLife.settle: 12,
    PoolLife.abandon: 2,
    PoolLife.say_what_changes_nothing: 2,
    PoolLife.session_opens: 36,
    PoolLife.session_breaks: 1,
    PoolLife.session_is_checked: 12,
    PoolLife.session_ends: 20,
    PoolLife.session_ends_by_itself: 1,
    PoolLife.permit_is_granted: 36,
    PoolLife.permit_is_refused: 3,
    PoolLife.answer_arrives: 36,
    PoolLife.others_want: 1,
    PoolLife.make_room: 1,
    PoolLife.evict: 1,
    PoolLife.drain: 1,
    PoolLife.resize: 2,
    PoolLife.wait: 24,
}
"""What may happen, and how often beside the others. `PoolLife.shut` is left to the end of a life."""

_WEIGHED: Final = [act for act, weight in ACTS.items() for _ in range(weight)]


def live(seed: int, acts: int, seen: Counter[str] | None = None) -> int:
    """Live so many acts, in one life after the other. Answers how many steps of their machines that took.

    Args:
        seed: replays them.
        acts: how many there are in all. A life has three hundred at the most, if it does not end before.
        seen: is told what was seen (`PoolAccount.seen`).
    """
    random = Random(seed)
    steps = 0
    while acts > 0:
        places = random.choice((None, None, 1, 3))
        is_sticky = random.random() < 0.3
        is_presumed = is_sticky and random.random() < 0.3
        life = PoolLife(some_settings(random), places=places, is_sticky=is_sticky, is_presumed=is_presumed)
        calm = random.choice((0.0, 0.0, 0.5, 0.9))  # in how many of its moments nobody comes
        for _ in range(min(acts, 300)):
            acts -= 1
            act = random.choice(_WEIGHED)
            if act is not PoolLife.acquire or random.random() >= calm:
                act(life, random)
            if life.is_over:
                break
        life.finish(random)
        steps += life.steps
        if seen is not None:
            seen.update(life.seen)
    return steps
