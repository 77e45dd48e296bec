"""Who owns a downstream session: one worker's view of it, for all the sessions that it was asked about.

The rules
---------
- A worker owns a session while the bus holds it for the worker's own token, which was drawn at random for this holding.
  It is claimed before anything is done for it; of many workers that claim it at once, one has it, and all hear which.
- What is granted is counted from before it was asked for, on the worker's own clock, which runs through suspends: so
  the worker's time is over before the bus's is. Where a refresh finds that somebody else has the session, or its time
  is over, the session is lost: nothing is started for it from then on.
- A worker lives by its beats, which all of its holdings depend on. One whose last beat is over starts nothing, since
  others may take over from it; so may they from one whom the bus did not reach for a while. Once it is back it claims
  each of its holdings anew before it uses it, by another token: what was meant for a dead owner meets nobody then.
- A bus that has lost all its records is young. While it is, the living claim anew what they hold; and nobody claims
  what they do not hold, nor takes over from anybody.
- An owner that is dead is taken over from by its token: of many that do so, one has it. What is held under this
  worker's id and not by a token that it knows is what became of a claim whose answer was lost, and is taken over
  likewise.
- Whoever lost a session because its time was over takes it over from itself: what its server kept is as lost as if this
  worker had died.
- Whoever stood still beyond its time, and finds that the bus has lost its records since, takes over from itself too:
  somebody else may have had what it held. Who knew that the bus was away takes it that it was away for all.
- A session is bound to the principal that claimed it; another one is refused.
- A worker that leaves starts nothing more, and hands what it holds over by name: whoever is to go on with a session
  claims it over the token of the one that leaves, as if that had died. What nobody was there to take is given up.

The machine knows what it was asked for: an entry for each session that is owned here, is being claimed, or was found to
be somebody else's a short time ago.
"""

import heapq
from collections.abc import Sequence
from typing import assert_never

from protocol.bus import Holding
from protocol.claims import Claims
from protocol.errors import (
    BusUnavailable,
    ConversationEnded,
    NotAlive,
)
from protocol.ownership_messages import (
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
    OwnerDenied,
    OwnerDied,
    OwnershipEffect,
    OwnershipEvent,
    Parted,
    Refresh,
    Refreshed,
    Refuse,
    Release,
    Released,
    T,
    Tick,
    Wake,
    Want,
    Withdraw,
)
from protocol.tenure import HELD, LEFT, NEVER, Owned, Tenure, Turn


class Ownership(Claims[T]):
    """See above.

    Args:
        worker: this worker's id.
        terms: how long things hold.
    """

    __slots__ = ()

    # --- events

    def handle(self, event: OwnershipEvent[T], *, now: float) -> Sequence[OwnershipEffect[T]]:  # noqa: C901, PLR0912 - a row per event
        """Take in what happened at `now`, in seconds of a clock that runs through suspends; answer what is to be done.

        Raises:
            IllegalTransition: a session cannot have come to this; the machine is not to be used any more.
        """
        if self._away is None and now >= self._alive_until:
            self._has_stalled = True
        match event:
            case Want():
                effects = self._want(event, now)
            case Withdraw(ticket, session_id):
                if (entry := self._entries.get(session_id)) is not None:
                    entry.waiting.pop(ticket, None)
                effects = []
            case Claimed() | Refreshed():
                effects = self._answered(event, now)
            case Released(session_id, token):
                effects = self._released(session_id, token, now)
            case OwnerDied(session_id, token, new):
                effects = self._owner_died(session_id, token, new, now)
            case OwnerDenied(session_id, token):
                entry = self._theirs(session_id, token)
                effects = [] if entry is None else self._forget(entry, Turn.EXPIRED)
            case End(session_id, is_asked):
                effects = self._end(session_id, is_asked=is_asked)
            case Joined(age, token):
                effects = self._joined(age, token, now)
            case Parted(error):
                effects = self._parted(error)
            case Beaten(asked_at, token):
                effects = self._beaten(asked_at, token, now)
            case Tick():
                effects = self._tick(now)
            case Leave():
                effects = self._leave()
            case HandedOver(session_id, token):
                effects = self._handed_over(session_id, token)
            case GiveUp():
                effects = self._give_all_up(now)
            case Named(session_id, held, new):
                effects = self._named(session_id, held, new, now)
            case Inherit(session_id, held, new):
                effects = self._inherit(session_id, held, new, now)
            case _:
                assert_never(event)
        return [*effects, *self._wake(now)]

    # --- who wants to know

    def _want(self, want: Want[T], now: float) -> list[OwnershipEffect[T]]:
        entry = self._entries.get(want.session_id)
        if self._is_leaving:
            return [Refuse(want.ticket, NotAlive("this worker leaves the cluster: ask another one"))]
        if entry is None:
            if self._away is not None:
                return [Refuse(want.ticket, self._away)]
            holding = Holding(self._worker, want.token, want.principal)
            entry = self._entries[want.session_id] = Owned(want.session_id, holding)
            entry.waiting[want.ticket] = want.principal
            return self._claim(entry, now)
        if entry.state is Tenure.OURS and now >= min(entry.until, self._alive_until):
            return [Refuse(want.ticket, self._not_alive())]
        if entry.state in (Tenure.LAPSED, Tenure.WANTED) and self._away is not None:
            return [Refuse(want.ticket, self._away)]
        entry.waiting[want.ticket] = want.principal
        if entry.state is Tenure.LAPSED:
            entry.move(Turn.DIED)
            return self._take_over(entry, want.token, now)
        if entry.state is Tenure.THEIRS:
            entry.until = now + self._terms.memory
        elif (entry.state is Tenure.RELEASING or entry.is_over) and entry.next is None:
            entry.next = Holding(self._worker, want.token, want.principal)
        return self._tell(entry) if entry.state in (Tenure.OURS, Tenure.THEIRS) else []

    # --- ends

    def _end(self, session_id: str, *, is_asked: bool) -> list[OwnershipEffect[T]]:
        entry = self._entries.get(session_id)
        if entry is None or entry.state is Tenure.RELEASING:
            return []
        is_claimed_over = entry.is_taken_over and entry.state in (Tenure.WANTED, Tenure.CLAIMING)
        if (is_claimed_over or entry.state is Tenure.LAPSED) and not is_asked:
            return []  # that is what went before: what is left of it is to be told
        ended = ConversationEnded("this downstream session was ended while its caller waited")
        effects = self._refuse(entry, ended)
        if entry.state in HELD:
            return effects + self._give_up(entry)
        if entry.state is Tenure.CLAIMING:
            entry.is_over, entry.next = True, None
            return effects
        return effects + self._forget(entry, Turn.ENDED)

    def _released(self, session_id: str, token: str, now: float) -> list[OwnershipEffect[T]]:
        entry = self._entries.get(session_id)
        if entry is None or entry.state is not Tenure.RELEASING or entry.holding.token != token:
            return []
        self._forget(entry, Turn.RELEASED)
        if entry.next is None or not entry.waiting:
            return []
        again = self._entries[session_id] = Owned(session_id, entry.next)
        again.waiting = entry.waiting
        return self._claim(again, now)

    # --- the bus, and time

    def _joined(self, age: float, token: str, now: float) -> list[OwnershipEffect[T]]:
        self._away = None
        self._mature_at = now + max(0.0, self._terms.beat - age)
        was_taken = self._has_stalled and now - age >= self._alive_until
        doubts = self._lapse(token, now) if was_taken else self._doubt(token)
        return [*doubts, *self._claim_wanted(now)]

    def _lapse(self, token: str, now: float) -> list[OwnershipEffect[T]]:
        """All that is held here may have been another's, and the bus has forgotten that: it is claimed as from that."""
        effects: list[OwnershipEffect[T]] = []
        for entry in [entry for entry in self._entries.values() if entry.state in HELD]:
            entry.move(Turn.EXPIRED)
            entry.move(Turn.DIED)
            effects += [Lost(entry.session_id), *self._take_over(entry, token, now)]
        return effects

    def _doubt(self, token: str) -> list[OwnershipEffect[T]]:
        """Claim anew all that is held here."""
        effects: list[OwnershipEffect[T]] = []
        for entry in self._entries.values():
            if entry.state in HELD:
                entry.move(Turn.DOUBTED)
                entry.over = (*entry.over, entry.holding.token)
                entry.holding = Holding(self._worker, token, entry.holding.principal)
                effects.append(Claim(entry.session_id, entry.holding, entry.over))
        return effects

    def _parted(self, error: BusUnavailable) -> list[OwnershipEffect[T]]:
        self._away = error
        effects: list[OwnershipEffect[T]] = []
        for entry in [entry for entry in self._entries.values() if entry.state is Tenure.WANTED]:
            effects += self._refuse(entry, error)
            if not entry.is_owed:
                self._forget(entry, Turn.FAILED)
        self._has_wanted = any(entry.state is Tenure.WANTED for entry in self._entries.values())
        return effects

    def _beaten(self, asked_at: float, token: str, now: float) -> list[OwnershipEffect[T]]:
        was_presumed_dead = now >= self._alive_until
        self._alive_until = max(self._alive_until, asked_at + self._terms.beat)
        self._has_stalled = False
        effects = self._doubt(token) if was_presumed_dead and self._away is None else []
        return [*effects, *self._claim_wanted(now)]

    def _leave(self) -> list[OwnershipEffect[T]]:
        self._is_leaving = True
        leaving = NotAlive("this worker leaves the cluster: ask another one")
        effects: list[OwnershipEffect[T]] = []
        for entry in list(self._entries.values()):
            effects += self._refuse(entry, leaving)
            if entry.state is Tenure.CLAIMING:
                entry.is_over = True
            elif entry.state is not Tenure.RELEASING and entry.state not in LEFT:
                self._forget(entry, Turn.ENDED)
        return effects

    def _handed_over(self, session_id: str, token: str) -> list[OwnershipEffect[T]]:
        entry = self._entries.get(session_id)
        if entry is None or entry.state not in LEFT or entry.holding.token != token:
            return []
        lost = [Lost(session_id)] if entry.state in HELD else []
        return [*lost, *self._forget(entry, Turn.HANDED)]

    def _give_all_up(self, now: float) -> list[OwnershipEffect[T]]:
        """Nobody is there to take it; unless others may have yet to come back to the bus, and are to know then."""
        effects: list[OwnershipEffect[T]] = []
        for entry in [entry for entry in self._entries.values() if entry.state in LEFT]:
            if self._away is not None or now < self._mature_at:
                self._forget(entry, Turn.HANDED)
            elif entry.state in HELD:
                effects += self._give_up(entry)
            else:
                effects.append(Release(entry.session_id, entry.holding.token))
                self._forget(entry, Turn.ENDED)
        return effects

    def _named(self, session_id: str, held: Holding, new: str, now: float) -> list[OwnershipEffect[T]]:
        """Held under this worker's id, and not by a token that it knows: if the bus says so too, it is to be so."""
        entry = self._entries.get(session_id)
        if self._is_leaving or self._away is not None or held.owner != self._worker:
            return []
        if entry is None:
            return [Refresh(session_id, held.token)]
        if entry.state is Tenure.LAPSED and entry.holding.token == held.token:
            entry.move(Turn.DIED)
            return self._take_over(entry, new, now)
        return []

    def _inherit(self, session_id: str, held: Holding, new: str, now: float) -> list[OwnershipEffect[T]]:
        entry = self._entries.get(session_id)
        if self._is_leaving or self._away is not None:
            return []  # then its owner leaves it behind, and is found to have gone
        if entry is None:
            entry = self._entries[session_id] = Owned(session_id, held)
            return self._take_over(entry, new, now)
        return self._owner_died(session_id, held.token, new, now)

    # --- time

    def _tick(self, now: float) -> list[OwnershipEffect[T]]:
        self._wake_at = NEVER
        effects = self._claim_wanted(now)
        while self._due and self._due[0][0] <= now:
            _, number, entry = heapq.heappop(self._due)
            if entry.reminder == number and self._entries.get(entry.session_id) is entry:
                effects += self._look_at(entry, now)
        return effects

    def _look_at(self, entry: Owned[T], now: float) -> list[OwnershipEffect[T]]:
        if entry.state in HELD:
            session_id, token = entry.session_id, entry.holding.token
            if entry.until <= now:
                effects = self._refuse(entry, self._not_alive())
                entry.move(Turn.EXPIRED)
                entry.until = now + self._terms.holding
                self._remind(entry, entry.until)
                return [*effects, Lost(session_id)]
            self._remind(entry, min(entry.until, now + self._terms.refreshing))
            is_due = entry.state is Tenure.OURS and self._away is None
            return [Refresh(session_id, token)] if is_due else []
        if entry.state in (Tenure.THEIRS, Tenure.LAPSED):
            if entry.until <= now:
                return self._forget(entry, Turn.EXPIRED)
            self._remind(entry, entry.until)
        return []

    def _wake(self, now: float) -> list[OwnershipEffect[T]]:
        due = self._due[0][0] if self._due else NEVER
        if self._has_wanted and self._away is None and now < self._mature_at:
            due = min(due, self._mature_at)
        if self._wake_at <= max(due, now):
            return []
        self._wake_at = max(due, now)
        return [Wake(self._wake_at)]
