"""Serving: what other workers ask of the downstream sessions that are owned here. A part of the cluster actor.

A request is accepted before it begins, and begins when the bus has taken that: so whoever asked, and hears nothing of
an acceptance before this worker dies, knows that it has not begun. Nor is it accepted by a worker whose own line to the
bus was broken then, whom others may have found dead. It begins only while the session is owned here, by the holding
that it was meant for. Those of one session begin in the order in which they came.

What is said of a request before it is answered, its progress above all, goes to whoever asked on the same way, before
the answer.
"""

from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

import anyio

from actors.effect import Effect, Failed, Outcome, Succeeded
from actors.errand import told_of
from actors.mail import Mail
from actors.outlet import Outlet
from protocol.bus import Holding
from protocol.errors import BusUnavailable, EnvelopeRefused, InvalidSettings, SessionStateLost, TooManyForwards
from protocol.forwarded import ForwardedRequest
from protocol.forwarded_answer import Note, pack_failure, pack_not_owner, pack_note, pack_result
from protocol.message import Answer, message
from protocol.namespace import Namespace
from protocol.remote_lease import Held
from protocol.wire import Envelope, Kind

Serve = Callable[[ForwardedRequest, Callable[[], None]], Coroutine[Any, Any, dict[str, Any]]]
"""Does what is asked, as a local call. Calls the second argument once it has begun."""

Errand = tuple[str, bytes]
"""The worker that asked, and its id for the request."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Whoever asks for something that has to do with a lease.

    Attributes:
        worker: its id.
        begun: to be called once what it asks for has begun.
        note: tells it something before it is answered. What cannot be said, or finds no room, is left out; so it is by
            the next.
        say: tells it something of a lease that it holds, by its name for it, at any time.
        hang_up: nothing more is to be said of a lease.
    """

    worker: str
    begun: Callable[[], None]
    note: Callable[[Note], None]
    say: Callable[[str, Note], None]
    hang_up: Callable[[str], None]


class Lender(Protocol):
    """What holds leases for other workers."""

    def serve(self, request: ForwardedRequest, asker: Asker, /) -> Coroutine[Any, Any, dict[str, Any]]:
        """Do what is asked of a lease, or for one."""
        ...

    def held(self, worker: str, held: Held, /) -> None:
        """A worker says which leases it holds. In a turn."""

    def beat(self) -> None:
        """Some time has passed. In a turn."""


MOST_TOLD: Final = 1_000
BEATS_TOLD: Final = 16
"""Losses of which it is not known whether they were heard are kept at the most, and for so many beats."""
MOST: Final = 10_000
"""Requests of others that are served at once."""


@message
class AcceptanceOut(Answer):
    """The bus has taken what accepts an errand, or could not. `receivers`: how many listened."""

    errand: Errand
    receivers: int | BusUnavailable


@message
class Served(Answer):
    """An errand has ended."""

    errand: Errand
    outcome: Outcome[dict[str, Any]]


@message
class NoteMade(Answer):
    """There is something to be said of an errand, or of a lease that `is_of_lease`."""

    errand: Errand
    note: Note
    is_of_lease: bool = False


@message
class NoteOut(Answer):
    """The bus has taken a note of an errand, or has not."""

    errand: Errand


@message
class HungUp(Answer):
    """Nothing more is to be said about this."""

    errand: Errand


ServingNews = AcceptanceOut | Served | NoteMade | NoteOut | HungUp
"""What comes back to the cluster of what it serves."""


class _Job:
    """An errand that was accepted."""

    __slots__ = ("after", "begun", "effect", "is_cancelled", "request")

    def __init__(self, request: ForwardedRequest, after: anyio.Event | None) -> None:
        self.request = request
        self.after = after
        self.begun = anyio.Event()
        self.effect: Effect | None = None
        self.is_cancelled = False


class Serving:
    """See above.

    Args:
        mail: to other workers.
        names: of channels.
        worker: this one's id.
        identity_headers: those that identify callers, as the pool has them.
        holding: how a session is held here, where something may be started for it; None if it is not.
        named: is told what others believe of who holds a session, where that is not so.
        start: starts an errand as an effect of the cluster's, whose outcome comes back as `Served`.
        tell: tells the cluster.
        serve: does what is asked.
        heard: is told of a request whose caller has heard that the state of its session is lost.
        lender: does what is asked of leases; None where none are lent.

    Attributes:
        served: how many were begun.
        denied: how many were for another owner.
        unsaid: how many notes found no room, or could not be said.
    """

    def __init__(
        self,
        mail: Mail,
        names: Namespace,
        worker: str,
        *,
        identity_headers: Collection[str],
        holding: Callable[[str], Holding | None],
        named: Callable[[str, Holding], None],
        start: Callable[[Errand, Callable[[], Coroutine[Any, Any, dict[str, Any]]]], Effect],
        tell: Callable[[ServingNews], None],
        serve: Serve,
        heard: Callable[[ForwardedRequest], None],
        lender: Lender | None = None,
    ) -> None:
        self._mail = mail
        self._names = names
        self._own = names.requests(worker)
        self._identity_headers = identity_headers
        self._holding = holding
        self._named = named
        self._worker = worker
        self._start = start
        self._tell = tell
        self._serve = serve
        self._heard = heard
        self._telling: dict[Errand, tuple[ForwardedRequest, int]] = {}
        self._beats = 0
        self._lender = lender
        self._outlets: dict[Errand, Outlet] = {}
        self._jobs: dict[Errand, _Job] = {}
        self._last: dict[str, _Job] = {}  # of each session that has some
        self.served = self.denied = self.unsaid = 0

    def __len__(self) -> int:
        """How many errands are under way."""
        return len(self._jobs)

    # --- what comes in

    def asked(self, envelope: Envelope) -> None:
        """A request has come."""
        errand = envelope.sender, envelope.correlation
        if errand in self._jobs:
            return
        try:
            request = ForwardedRequest.unpack(envelope.payload, identity_headers=self._identity_headers)
        except EnvelopeRefused as refusal:
            self._answer(errand, Kind.REJECTED, pack_failure(refusal))
            return
        if not self._is_for_us(request):
            self._deny(errand, request)
        elif len(self._jobs) >= MOST:
            full = TooManyForwards(f"the owner of this session serves {MOST} requests of others already: try again")
            self._answer(errand, Kind.REJECTED, pack_failure(full))
        else:
            previous = self._last.get(request.session_id)
            job = _Job(request, None if previous is None else previous.begun)
            self._jobs[errand] = self._last[request.session_id] = job
            self._mail.post(
                self._names.replies(envelope.sender),
                Kind.ACCEPTED,
                envelope.correlation,
                b"",
                while_heard=self._own,
                then=lambda receivers: self._tell(AcceptanceOut(errand, receivers)),
            )

    def cancelled(self, envelope: Envelope) -> None:
        """Nobody waits for a request any more."""
        job = self._jobs.get((envelope.sender, envelope.correlation))
        if job is not None:
            job.is_cancelled = True
            if job.effect is not None:
                job.effect.cancel()

    # --- what becomes of it

    def acceptance_out(self, out: AcceptanceOut) -> None:
        """The request begins, if somebody has heard that it does."""
        job = self._jobs.get(out.errand)
        if job is None:
            return
        if job.is_cancelled or not out.receivers or isinstance(out.receivers, BusUnavailable):
            self._over(out.errand)
        elif not self._is_for_us(job.request):
            self._over(out.errand)
            self._deny(out.errand, job.request)
        else:
            self.served += 1
            job.effect = self._start(out.errand, partial(self._run, out.errand, job))

    async def _run(self, errand: Errand, job: _Job) -> dict[str, Any]:
        try:
            if job.after is not None:
                await job.after.wait()
            if job.request.lease is None:
                return await self._serve(job.request, job.begun.set)
            if self._lender is None:
                raise InvalidSettings("this worker lends no sessions to others")
            return await self._lender.serve(job.request, self._asker(errand, job))
        finally:
            job.begun.set()

    # --- what is said meanwhile

    def _asker(self, errand: Errand, job: _Job) -> Asker:
        tell, worker = self._tell, errand[0]
        return Asker(
            worker,
            job.begun.set,
            note=lambda note: tell(NoteMade(errand, note)),
            say=lambda name, note: tell(NoteMade((worker, bytes.fromhex(name)), note, is_of_lease=True)),
            hang_up=lambda name: tell(HungUp((worker, bytes.fromhex(name)))),
        )

    def noted(self, made: NoteMade) -> None:
        """There is something to be said."""
        errand = made.errand
        if errand not in self._jobs and not made.is_of_lease:
            return
        try:
            note = pack_note(made.note)
        except EnvelopeRefused:
            self.unsaid += 1
            return
        if (outlet := self._outlets.get(errand)) is None:
            outlet = self._outlets[errand] = Outlet(partial(self._post_note, errand))
        outlet.put(note)

    def note_out(self, out: NoteOut) -> None:
        """The bus has taken a note, or has not."""
        if (outlet := self._outlets.get(out.errand)) is not None:
            outlet.taken()

    def hung_up(self, errand: Errand) -> None:
        """Nothing more is to be said: what waits is said now."""
        if (outlet := self._outlets.pop(errand, None)) is not None:
            outlet.flush()
            self.unsaid += outlet.dropped

    def _post_note(self, errand: Errand, note: bytes) -> None:
        sender, correlation = errand
        channel = self._names.replies(sender)
        try:
            self._mail.post(channel, Kind.NOTE, correlation, note, then=lambda _: self._tell(NoteOut(errand)))
        except EnvelopeRefused:
            self.unsaid += 1
            self._tell(NoteOut(errand))

    # --- whoever holds a lease

    def held(self, envelope: Envelope) -> None:
        """A worker says which leases it holds."""
        if self._lender is None:
            return
        try:
            self._lender.held(envelope.sender, Held.unpack(envelope.payload))
        except EnvelopeRefused as refusal:
            self._mail.refuse(refusal)

    def beat(self) -> None:
        """Some time has passed."""
        self._beats += 1
        for errand in [errand for errand, (_, at) in self._telling.items() if at < self._beats - BEATS_TOLD]:
            del self._telling[errand]
        if self._lender is not None:
            self._lender.beat()

    # --- how it ends

    def ended(self, served: Served) -> None:
        """An errand has ended: whoever asked is told how."""
        request = self._over(served.errand)
        self.hung_up(served.errand)
        match served.outcome:
            case Succeeded(result):
                self._conclude(served.errand, Kind.RESULT, lambda: pack_result(result))
            case Failed(error):
                if isinstance(error, SessionStateLost):
                    self._tell_loss(served.errand, request)
                self._conclude(served.errand, Kind.FAILURE, lambda: pack_failure(told_of(error)))
            case _:
                pass

    def _conclude(self, errand: Errand, kind: Kind, pack: Callable[[], bytes]) -> None:
        """Say what came of it; or that this cannot be said: it is too large, or JSON has no words for it."""
        try:
            self._answer(errand, kind, pack())
        except EnvelopeRefused as refusal:
            self._answer(errand, Kind.FAILURE, pack_failure(refusal))

    def _tell_loss(self, errand: Errand, request: ForwardedRequest) -> None:
        """Who asked is told of a loss, and is to say that they have heard: what they say is taken for a while."""
        self._telling[errand] = request, self._beats
        if len(self._telling) > MOST_TOLD:
            del self._telling[next(iter(self._telling))]

    def heard(self, envelope: Envelope) -> None:
        """Another worker's caller has heard of a loss, if that is what it says."""
        if (told := self._telling.pop((envelope.sender, envelope.correlation), None)) is not None:
            self._heard(told[0])

    def _over(self, errand: Errand) -> ForwardedRequest:
        job = self._jobs.pop(errand)
        job.begun.set()
        if self._last.get(job.request.session_id) is job:
            del self._last[job.request.session_id]
        return job.request

    # --- answers

    def _is_for_us(self, request: ForwardedRequest) -> bool:
        held = self._holding(request.session_id)
        return held is not None and held.token == request.token

    def _deny(self, errand: Errand, request: ForwardedRequest) -> None:
        self.denied += 1
        self._named(request.session_id, Holding(self._worker, request.token, request.principal))
        self._answer(errand, Kind.NOT_OWNER, pack_not_owner(self._holding(request.session_id)))

    def _answer(self, errand: Errand, kind: Kind, payload: bytes) -> None:
        sender, correlation = errand
        self._mail.post(self._names.replies(sender), kind, correlation, payload)
