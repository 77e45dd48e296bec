"""The ledger of fake servers: who had which session when, and what of it must not have been."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from protocol.settings import PoolSettings

if TYPE_CHECKING:
    from actors.testing.fake_session import FakeSession

ATTEMPT_HEADER: Final = "X-Attempt"
"""The header by which a server tells which attempt it opens a session for."""


class Entry(NamedTuple):
    """One thing that happened: when, what, to which session, for which attempt (0: for none)."""

    at: float
    what: str
    session: str
    attempt: int


@dataclass(slots=True, eq=False)
class Attempt:
    """One acquire, from the call to the end of its lease.

    Attributes:
        number: counts from 1.
        url: the server's.
        user, identity, gateway, conversation: who asks. Nothing of one is ever another's.
        began_at: when it was made.
        queued_at: since when it is known to wait for its key's sessions.
        expires_at: when the credentials end.
        session: the one that was lent.
        calls: how many calls under its lease are under way.
        is_held: whether its lease was not returned yet.
    """

    number: int
    url: str
    user: str | None
    identity: str
    gateway: str | None
    conversation: str | None
    expires_at: float = math.inf
    session: "FakeSession | None" = None
    calls: int = 0
    is_held: bool = False
    began_at: float = 0.0
    queued_at: float = math.inf

    @property
    def key(self) -> tuple[str | None, ...]:
        """What must be equal for two attempts to share a session."""
        return self.url, self.user, self.identity, self.gateway, self.conversation


class Ledger:
    """Takes down what happens, and what must not have happened: `violations`, by the numbers of the invariants.

    What it sees from the servers' side:

    - L1: a session has at most its mode's number of leases, and all of one user, identity, gateway and conversation.
    - L3: callers for one key are served first come, first served.
    - L4: a session with calls of an earlier lease under way is not lent to more than that.
    - L5: no session is opened beyond `max_size`, `max_sessions` and the caps per user and gateway.
    - L6: a conversation has one session at a time.
    - L8: no session is lent after the end of the credentials that it was last used with.
    - L9: a conversation whose stateful session was lost is told so before it gets another one.
    - S2: no session is lent after it broke, or was lost, and the pool was told; nor while it is closed, nor after.

    Args:
        now: the time, in seconds.
        settings: the pool's; None checks no caps.
        record: told of each entry too, as text.
    """

    def __init__(
        self,
        now: Callable[[], float],
        settings: PoolSettings | None = None,
        record: Callable[[str, str], None] | None = None,
    ) -> None:
        self.now = now
        self.entries: list[Entry] = []
        self.violations: list[str] = []
        self.live: dict[FakeSession, None] = {}
        self.attempts: dict[int, Attempt] = {}
        self.waiting: dict[Attempt, None] = {}
        self.settings = settings
        self._record = record
        self._overtaken: dict[Attempt, Attempt] = {}
        self._before = settings
        self._resized_at = -math.inf
        self._conversations: dict[tuple[str | None, ...], FakeSession] = {}

    @property
    def leases(self) -> int:
        """How many leases are held, or have calls under way."""
        return sum(len(session.leases) for session in self.live)

    def resized(self, settings: PoolSettings) -> None:
        """From now on these settings hold, and at this very moment those before still do."""
        self._before, self.settings, self._resized_at = self.settings, settings, self.now()

    # --- callers

    def begin(self, url: str, who: tuple[str | None, str, str | None], conversation: str | None) -> Attempt:
        """An acquire begins. `who`: user, identity, gateway."""
        attempt = Attempt(len(self.attempts) + 1, url, *who, conversation, began_at=self.now())
        self.attempts[attempt.number] = attempt
        self.waiting[attempt] = None
        return attempt

    def failed(self, attempt: Attempt, why: str, *, is_told: bool = False) -> None:
        """It has ended without a lease. `is_told`: that the conversation's state was lost."""
        del self.waiting[attempt]
        self._note(why, None, attempt)
        if is_told:
            self._conversations.pop(attempt.key, None)
        elif attempt.expires_at != math.inf:  # its lease may have been granted when nobody was there any more
            for session in self.live:
                if session.attempt is not None and session.attempt.key == attempt.key:
                    session.credentials_end = max(session.credentials_end, attempt.expires_at)

    def lent(self, attempt: Attempt, session: "FakeSession") -> None:
        """It has ended with a lease of this session."""
        del self.waiting[attempt]
        self._note("lent", session, attempt)
        now = self.now()
        for other in self.waiting:
            if other.key == attempt.key and other.queued_at < attempt.began_at:
                self._overtaken[other] = attempt
        opener = session.attempt
        if opener is not None and opener.key != attempt.key:
            self._violated("L1", f"{session} was opened for {opener.key} and lent to {attempt.key}", attempt)
        if len(session.leases) >= session.places:
            held = ", ".join(f"attempt {other.number}" for other in session.leases)
            self._violated("L1", f"{session} has {held}, and at most {session.places} leases", attempt)
        for what, since in (("told to be sick", session.reported_at), ("being closed", session.closing_at)):
            if since < now:
                self._violated("S2", f"{session} was {what} since {since:g} s", attempt)
        if session.ended_at < now:
            self._violated("S2", f"{session} had ended at {session.ended_at:g} s", attempt)
        if session.credentials_end <= now:
            self._violated("L8", f"the credentials of {session} ended at {session.credentials_end:g} s", attempt)
        if attempt.expires_at != math.inf:
            session.credentials_end = attempt.expires_at
        if attempt.conversation is not None:
            before = self._conversations.get(attempt.key)
            if before is not None and before is not session and before.is_stateful and not self._is_forgotten(before):
                self._violated("L9", f"{session} took the place of {before}, and the caller was not told", attempt)
            self._conversations[attempt.key] = session
        attempt.session = session
        attempt.is_held = True
        session.leases[attempt] = None

    def all_wait(self, queued: Iterable[int]) -> None:
        """Nothing can run at this moment: who was to have something by now has it.

        Args:
            queued: the attempts that wait for sessions of their keys. Those that wait for a place for the key itself
                are not among them: they come to it in any order.
        """
        for attempt, by in self._overtaken.items():
            if attempt in self.waiting and attempt.expires_at > self.now():
                self._violated("L3", f"attempt {by.number}, which came later, was served before", attempt)
        self._overtaken.clear()
        for number in queued:
            attempt = self.attempts[number]
            attempt.queued_at = min(attempt.queued_at, self.now())

    def _is_forgotten(self, session: "FakeSession") -> bool:
        """Whether a conversation that was lost with this session need not be told so any more."""
        lost_at = min(session.closing_at, session.ended_at)
        return self.settings is not None and lost_at + self.settings.lost_memory <= self.now()

    def returned(self, attempt: Attempt) -> None:
        """Its lease is released at this moment. It counts until its last call has ended."""
        attempt.is_held = False
        self._note("returned", attempt.session, attempt)
        self._forget_if_over(attempt)

    def forgotten(self, attempt: Attempt) -> None:
        """Its lease is dropped without a release. It counts for ever, since nobody else may have its place."""
        self._note("forgotten", attempt.session, attempt)

    def call_begins(self, attempt: Attempt) -> None:
        """A call under its lease begins."""
        attempt.calls += 1

    def call_ends(self, attempt: Attempt) -> None:
        """And ends."""
        attempt.calls -= 1
        if not attempt.is_held:
            self._forget_if_over(attempt)

    def _forget_if_over(self, attempt: Attempt) -> None:
        if attempt.calls == 0 and attempt.session is not None:
            attempt.session.leases.pop(attempt, None)

    # --- servers

    def opens(self, session: "FakeSession") -> None:
        """A session is being opened."""
        number = session.opening.headers.get(ATTEMPT_HEADER)
        attempt = session.attempt = None if number is None else self.attempts.get(int(number))
        self.live[session] = None
        self._note("opens", session, attempt)
        if attempt is not None:
            session.credentials_end = attempt.expires_at
        if self.settings is not None:
            self._check_caps(session, self.settings)
            session.places = self._places(session, self.settings)

    def struck(self, session: "FakeSession", what: str) -> None:
        """Something befell a session."""
        self._note(what, session, session.attempt)

    def ended(self, session: "FakeSession") -> None:
        """A session has ended."""
        self.live.pop(session, None)
        self._note("ended", session, session.attempt)

    def _check_caps(self, opened: "FakeSession", settings: PoolSettings) -> None:
        before = settings if self._before is None or self._resized_at < self.now() else self._before
        self._check_cap("max_sessions", len(self.live), settings, before, opened)
        attempt = opened.attempt
        if attempt is None:
            return
        of_others = [other.attempt for other in self.live if other.attempt is not None]
        if attempt.user is not None:
            count = sum(other.user == attempt.user for other in of_others)
            self._check_cap("max_sessions_per_user", count, settings, before, opened)
        if attempt.gateway is not None:
            count = sum(other.gateway == attempt.gateway for other in of_others)
            self._check_cap("max_sessions_per_gateway", count, settings, before, opened)
        # A key that was forgotten while its last session was being closed may be back.
        of_key = [other for other in self.live if other.attempt is not None and other.attempt.key == attempt.key]
        count = sum(other.closing_at == math.inf for other in of_key)
        if attempt.conversation is None:
            self._check_cap("max_size", count, settings, before, opened)
        elif count > 1:
            self._violated("L6", f"the conversation has {', '.join(map(str, of_key))}", attempt)

    def _check_cap(
        self, name: str, count: int, settings: PoolSettings, before: PoolSettings, opened: "FakeSession"
    ) -> None:
        caps = [cap for cap in (getattr(settings, name), getattr(before, name)) if cap is not None]
        if caps and count > max(caps):
            self._violated("L5", f"{opened} is number {count}, and {name} is {max(caps)}", opened.attempt)

    @staticmethod
    def _places(session: "FakeSession", settings: PoolSettings) -> float:
        if session.attempt is not None and session.attempt.conversation is not None:
            return math.inf
        sharing = session.opening.upstream.sharing
        if sharing is not None:
            return 1 if sharing == "exclusive" else sharing
        return 1 if session.is_stateful else settings.shared_leases

    # --- what is noted

    def violated(self, number: str, what: str) -> None:
        """Something must not have been."""
        self._violated(number, what, None)

    def _violated(self, number: str, what: str, attempt: Attempt | None) -> None:
        whose = "" if attempt is None else f" (attempt {attempt.number})"
        self.violations.append(f"{number}, at {self.now():g} s: {what}{whose}")

    def _note(self, what: str, session: "FakeSession | None", attempt: Attempt | None) -> None:
        entry = Entry(self.now(), what, str(session or "-"), attempt.number if attempt is not None else 0)
        self.entries.append(entry)
        if self._record is not None:
            self._record(what, f"{entry.session}, attempt {entry.attempt}")
