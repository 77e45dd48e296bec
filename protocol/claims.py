"""The sessions that a worker was asked about, and who has each: what the machine of ownership keeps, and how it claims.

The rules are told at `protocol.ownership`, which says what happens when.
"""

import heapq
from typing import Final, Generic, NamedTuple

from protocol.bus import Holding
from protocol.errors import (
    BusUnavailable,
    NotAlive,
    PrincipalMismatch,
    TroupeError,
)
from protocol.ownership_messages import (
    Acquired,
    Claim,
    Claimed,
    Lost,
    OwnershipEffect,
    Refreshed,
    Refuse,
    Release,
    T,
    TellOwner,
)
from protocol.tenure import HELD, LEFT, NEVER, Owned, Tenure, Turn

TAKEN: Final = "taken-"
"""What tokens begin with by which a session was taken over: should the answer to that get lost, and the holding be
found later, then it is known that what its server kept is lost.
"""
REFRESHES: Final = 3
"""How often a holding is refreshed within its time, at the least."""
BEATS: Final = 4
"""After so many times that a worker counts as living it refreshes what it holds, at the latest: so it finds out where
somebody else has it too, after a bus has lost the last of what it was told.
"""


class Terms(NamedTuple):
    """How long things hold, in seconds.

    Attributes:
        beat: for how long a worker counts as living after a beat; and how long a bus's run is young, since those who
            lived when it began have come back to it by then, or start nothing any more.
        holding: for how long a holding lasts without a refresh.
        memory: how long it is remembered that a session is another worker's, while nobody asks.
        checks_principal: whether a session is bound to the principal that claimed it.
    """

    beat: float
    holding: float
    memory: float
    checks_principal: bool = True

    @property
    def refreshing(self) -> float:
        """Seconds after which a holding is refreshed."""
        return min(self.holding / REFRESHES, self.beat * BEATS)


class Claims(Generic[T]):
    """See above.

    Args:
        worker: this worker's id.
        terms: how long things hold.
    """

    __slots__ = (
        "_alive_until",
        "_away",
        "_due",
        "_entries",
        "_has_stalled",
        "_has_wanted",
        "_is_leaving",
        "_mature_at",
        "_numbers",
        "_terms",
        "_wake_at",
        "_worker",
    )

    def __init__(self, worker: str, terms: Terms) -> None:
        self._worker = worker
        self._terms = terms
        self._entries: dict[str, Owned[T]] = {}
        self._away: BusUnavailable | None = BusUnavailable("the bus has not been joined yet", was_sent=False)
        self._mature_at = NEVER
        self._alive_until = -NEVER
        self._is_leaving = False
        self._has_stalled = False  # its time was over while the bus was not known to be away
        self._has_wanted = False
        self._due: list[tuple[float, int, Owned[T]]] = []
        self._numbers = 0
        self._wake_at = NEVER

    # --- what can be seen

    def __len__(self) -> int:
        """How many sessions something is known of."""
        return len(self._entries)

    def tenure(self, session_id: str) -> Tenure:
        """What is known of who owns it."""
        entry = self._entries.get(session_id)
        return Tenure.FREE if entry is None else entry.state

    def may_start(self, session_id: str, now: float) -> bool:
        """Whether something may be started for the session here and now."""
        entry = self._entries.get(session_id)
        if entry is None or self._is_leaving:
            return False
        return entry.state is Tenure.OURS and now < min(entry.until, self._alive_until)

    def token(self, session_id: str) -> str | None:
        """By which token it is held here; None if it is not."""
        entry = self._entries.get(session_id)
        return entry.holding.token if entry is not None and entry.state in HELD else None

    def holding(self, session_id: str) -> Holding | None:
        """How it is held here; None if it is not."""
        entry = self._entries.get(session_id)
        return entry.holding if entry is not None and entry.state in HELD else None

    def owned(self) -> list[str]:
        """The sessions that are held here."""
        return [session_id for session_id, entry in self._entries.items() if entry.state in HELD]

    def left(self) -> dict[str, Holding]:
        """What a worker that leaves has still to leave to somebody: the sessions that the bus holds for it, and how."""
        return {session_id: entry.holding for session_id, entry in self._entries.items() if entry.state in LEFT}

    # --- whoever wants to know

    def _tell(self, entry: Owned[T]) -> list[OwnershipEffect[T]]:
        """Tell all who wait whose it is."""
        waiting, entry.waiting = entry.waiting, {}
        return [self._told(entry, ticket, principal) for ticket, principal in waiting.items()]

    def _told(self, entry: Owned[T], ticket: T, principal: str) -> OwnershipEffect[T]:
        if self._terms.checks_principal and principal != entry.holding.principal:
            why = "this downstream session belongs to somebody else: initialise one of your own"
            return Refuse(ticket, PrincipalMismatch(why))
        return TellOwner(ticket, entry.holding, is_here=entry.state is Tenure.OURS)

    @staticmethod
    def _refuse(entry: Owned[T], error: TroupeError) -> list[OwnershipEffect[T]]:
        waiting, entry.waiting = entry.waiting, {}
        return [Refuse(ticket, error) for ticket in waiting]

    def _not_alive(self) -> NotAlive:
        return NotAlive(
            f"this worker has not reached the bus for {self._terms.beat:g} s, and others may own its sessions by now: "
            "try again once it has"
        )

    # --- claims

    def _claim(self, entry: Owned[T], now: float) -> list[OwnershipEffect[T]]:
        """Claim what is wanted, if that may be done already."""
        if self._away is not None or now < self._mature_at or now >= self._alive_until:
            self._has_wanted = True
            return []
        entry.move(Turn.ASKED)
        return [Claim(entry.session_id, entry.holding, entry.over)]

    def _claim_wanted(self, now: float) -> list[OwnershipEffect[T]]:
        if not self._has_wanted:
            return []
        self._has_wanted = False
        wanted = [entry for entry in self._entries.values() if entry.state is Tenure.WANTED]
        return [effect for entry in wanted for effect in self._claim(entry, now)]

    def _answered(self, event: Claimed | Refreshed, now: float) -> list[OwnershipEffect[T]]:
        """The bus says who holds it, or says nothing."""
        answer, entry = event.answer, self._entries.get(event.session_id)
        if entry is None:
            return self._unknown(event, answer, now)
        if entry.holding.token != event.token or entry.state not in (Tenure.CLAIMING, *HELD):
            return []
        if isinstance(answer, BusUnavailable):
            effects = self._refuse(entry, answer)
            return [*effects, *self._claim_failed(entry)] if entry.state is Tenure.CLAIMING else effects
        if answer is None:  # the bus has lost it, or its time was over there: nobody has it, and it is claimed anew
            return [Claim(entry.session_id, entry.holding, entry.over)]
        if answer.token == entry.holding.token:
            return self._won(entry, event.asked_at)
        if entry.state is Tenure.CLAIMING and answer.owner == self._worker:  # by a claim whose answer was lost
            entry.move(Turn.ASKED)
            entry.over = (answer.token,)
            entry.is_taken_over = entry.is_taken_over or answer.token.startswith(TAKEN)
            return [Claim(entry.session_id, entry.holding, entry.over)]
        return self._found(entry, answer, now)

    def _claim_failed(self, entry: Owned[T]) -> list[OwnershipEffect[T]]:
        """The bus could not be asked. What nobody else knows of a loss is kept, and claimed later. Of what another
        worker held the bus knows, and whether that is dead is to be found out again.
        """
        self._forget(entry, Turn.FAILED)
        if entry.is_owed and not entry.is_over and not self._is_leaving:
            again = self._entries[entry.session_id] = Owned(entry.session_id, entry.holding)
            again.over, again.is_taken_over = entry.over, True
            again.is_owed = self._has_wanted = True
        return []

    def _unknown(
        self, event: Claimed | Refreshed, answer: Holding | BusUnavailable | None, now: float
    ) -> list[OwnershipEffect[T]]:
        """The bus says who holds what nothing is known of: it was claimed for nobody any more, or it was found."""
        if not isinstance(answer, Holding) or answer.token != event.token:
            return []
        if isinstance(event, Claimed):
            return [Release(event.session_id, event.token)]
        if self._is_leaving or answer.owner != self._worker:
            return []
        entry = self._entries[event.session_id] = Owned(event.session_id, answer)
        entry.is_taken_over = answer.token.startswith(TAKEN)
        return self._claim(entry, now)

    def _won(self, entry: Owned[T], asked_at: float) -> list[OwnershipEffect[T]]:
        is_new = entry.state is Tenure.CLAIMING
        entry.move(Turn.WON)
        entry.until = asked_at + self._terms.holding
        entry.over = ()
        if self._is_leaving and entry.is_taken_over:
            return self._forget(entry, Turn.HANDED)  # it is left as by a worker that died: so whoever comes next knows
        if entry.is_over:
            return self._give_up(entry)
        if not is_new:
            return self._tell(entry)
        self._remind(entry, asked_at + self._terms.refreshing)
        return [Acquired(entry.session_id, entry.is_taken_over), *self._tell(entry)]

    def _found(self, entry: Owned[T], holding: Holding, now: float) -> list[OwnershipEffect[T]]:
        """Another worker has it."""
        lost = Lost(entry.session_id) if entry.state in HELD else None
        entry.move(Turn.FOUND)
        if (entry.is_over or self._is_leaving) and not entry.waiting:
            self._forget(entry, Turn.ENDED)
            return [] if lost is None else [lost]
        entry.is_over, entry.next = False, None
        entry.holding, entry.over, entry.until = holding, (), now + self._terms.memory
        self._remind(entry, entry.until)
        return [*([] if lost is None else [lost]), *self._tell(entry)]

    # --- other owners

    def _theirs(self, session_id: str, token: str) -> Owned[T] | None:
        entry = self._entries.get(session_id)
        if entry is None or entry.state is not Tenure.THEIRS or entry.holding.token != token:
            return None
        return entry

    def _owner_died(self, session_id: str, token: str, new: str, now: float) -> list[OwnershipEffect[T]]:
        entry = self._theirs(session_id, token)
        if entry is None:
            return []
        entry.move(Turn.DIED)
        return self._take_over(entry, new, now)

    def _take_over(self, entry: Owned[T], new: str, now: float) -> list[OwnershipEffect[T]]:
        """Claim from a worker that has gone, or goes, what it holds."""
        entry.over, entry.until, entry.is_taken_over = (entry.holding.token,), NEVER, True
        entry.is_owed = entry.holding.owner == self._worker
        entry.holding = Holding(self._worker, TAKEN + new, entry.holding.principal)
        return self._claim(entry, now)

    # --- ends and reminders

    def _give_up(self, entry: Owned[T]) -> list[OwnershipEffect[T]]:
        entry.move(Turn.ENDED)
        return [Release(entry.session_id, entry.holding.token)]

    def _forget(self, entry: Owned[T], turn: Turn) -> list[OwnershipEffect[T]]:
        entry.move(turn)
        del self._entries[entry.session_id]
        return []

    def _remind(self, entry: Owned[T], at: float) -> None:
        """Look at it again at that time; earlier reminders count no more."""
        self._numbers = entry.reminder = self._numbers + 1
        heapq.heappush(self._due, (at, self._numbers, entry))
