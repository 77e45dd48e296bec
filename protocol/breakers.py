"""All breakers of a pool: one per endpoint, and one per credential on it, so that one user's never refuse another.

The rules
---------
- Failures to connect, to shake hands and of the transport count for the endpoint; refused credentials (401, 403) for
  the credential. Whoever refuses a credential has answered: for the endpoint that is a success.
- An attempt is made if neither refuses. Then it is the probe of whichever has cooled down. If one refuses, the other
  one's probe is not used up.
- Every attempt that was allowed ends with one of `opened`, `failed`, `refused_credential` and `abandoned`.
- A breaker that is as good as new is not kept. Of each kind at most `most` are: at the cap the one that has been filed
  the longest goes, of those that are closed first, though not the newest. What is not kept lets everybody try.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Final, Generic, Literal, TypeVar

from protocol.breaker import Breaker, BreakerRules, BreakerState
from protocol.errors import BreakerOpen
from protocol.message import message

E = TypeVar("E", bound=Hashable)
"""An endpoint. Its text is shown, so it must hold nothing secret."""
N = TypeVar("N", bound=Hashable)

MOST_BREAKERS: Final = 10_000


@message
class Attempt(Generic[E]):
    """An opening that was allowed. The numbers say which breakers it is the probe of.

    Attributes:
        endpoint: the server.
        identity: the credential, by its digest (`PoolKey.credential_name`).
    """

    endpoint: E
    identity: str
    endpoint_probe: int | None = None
    credential_probe: int | None = None

    @property
    def is_probe(self) -> bool:
        """Whether a breaker refuses everybody else until it is told what came of this."""
        return self.endpoint_probe is not None or self.credential_probe is not None


@message
class BreakerMoved:
    """A breaker changed its state. `name`: the endpoint, and the identity's first digits if it is a credential's."""

    name: str
    before: BreakerState
    after: BreakerState


class _Family(Generic[N]):
    """The breakers of one kind, by name: those that are not as good as new, up to a number."""

    __slots__ = ("_closed", "_most", "_open", "_rules")

    def __init__(self, rules: BreakerRules, most: int) -> None:
        self._rules = rules
        self._most = most
        self._closed: OrderedDict[N, Breaker] = OrderedDict()
        self._open: OrderedDict[N, Breaker] = OrderedDict()  # half-open ones, too

    def __iter__(self) -> Iterator[tuple[N, Breaker]]:
        yield from self._open.items()
        yield from self._closed.items()

    def __len__(self) -> int:
        return len(self._open) + len(self._closed)

    def find(self, name: N) -> Breaker:
        """The breaker of this name; a new one that is not kept, if it has none."""
        return self._open.get(name) or self._closed.get(name) or Breaker(self._rules)

    def file(self, name: N, breaker: Breaker) -> None:
        """Keep it where it belongs now, or not at all."""
        self._open.pop(name, None)
        self._closed.pop(name, None)
        if breaker.is_at_rest:
            return
        (self._closed if breaker.state is BreakerState.CLOSED else self._open)[name] = breaker
        if len(self) > self._most:
            # Were the new one dropped, those that are open could keep out all others.
            is_all_that_is_closed = next(iter(self._closed), name) == name
            (self._open if is_all_that_is_closed and self._open else self._closed).popitem(last=False)


class Breakers(Generic[E]):
    """The breakers of one pool.

    Args:
        threshold: how many failures in a row open one.
        backoff: how long it is open at first, in seconds.
        ceiling: the longest it is open by itself, in seconds.
        most: how many are kept of each kind.
    """

    __slots__ = ("_credentials", "_endpoints")

    def __init__(self, *, threshold: int, backoff: float, ceiling: float, most: int = MOST_BREAKERS) -> None:
        rules = BreakerRules(threshold, backoff, ceiling)
        self._endpoints = _Family[E](rules, most)
        self._credentials = _Family[tuple[E, str]](rules, most)

    def __len__(self) -> int:
        return len(self._endpoints) + len(self._credentials)

    def ask(self, endpoint: E, identity: str, *, now: float) -> tuple[Attempt[E] | BreakerOpen, list[BreakerMoved]]:
        """Whether a session may be opened at `now`: the attempt, or the error for whoever wanted one (not raised); and
        the breakers that moved.
        """
        of_endpoint = self._endpoints.find(endpoint)
        of_credential = self._credentials.find((endpoint, identity))
        wait = of_endpoint.refuses(now)
        if wait is not None:
            what = f"{endpoint} has failed {_times(of_endpoint.failures)}"
            return _refusal(what, "see to the server", of_endpoint, wait), []
        wait = of_credential.refuses(now)
        if wait is not None:
            name = _name(endpoint, identity)
            what = f"{name}: the credential was refused {_times(of_credential.failures)}"
            return _refusal(what, "bring another one", of_credential, wait), []
        moves: list[BreakerMoved] = []
        before = of_endpoint.state, of_credential.state
        attempt = Attempt(endpoint, identity, of_endpoint.begin(), of_credential.begin())
        self._file(endpoint, None, of_endpoint, before[0], moves)
        self._file(endpoint, identity, of_credential, before[1], moves)
        return attempt, moves

    def opened(self, attempt: Attempt[E]) -> list[BreakerMoved]:
        """The attempt succeeded: the endpoint is well, and took the credential. Answer the breakers that moved."""
        moves: list[BreakerMoved] = []
        self._succeeded(attempt.endpoint, None, moves)
        self._succeeded(attempt.endpoint, attempt.identity, moves)
        return moves

    def failed(
        self, attempt: Attempt[E], *, now: float, jitter: float, retry_after: float | None = None
    ) -> list[BreakerMoved]:
        """The attempt failed for a reason that says the endpoint is ill. Answer the breakers that moved."""
        moves: list[BreakerMoved] = []
        breaker = self._endpoints.find(attempt.endpoint)
        before = breaker.state
        breaker.failed(attempt.endpoint_probe, now=now, jitter=jitter, retry_after=retry_after)
        self._file(attempt.endpoint, None, breaker, before, moves)
        self._abandoned(attempt.endpoint, attempt.identity, attempt.credential_probe, moves)
        return moves

    def refused_credential(
        self, attempt: Attempt[E], *, now: float, jitter: float, retry_after: float | None = None
    ) -> list[BreakerMoved]:
        """The server refused the credential (401, 403). Answer the breakers that moved."""
        moves: list[BreakerMoved] = []
        self._succeeded(attempt.endpoint, None, moves)
        breaker = self._credentials.find((attempt.endpoint, attempt.identity))
        before = breaker.state
        breaker.failed(attempt.credential_probe, now=now, jitter=jitter, retry_after=retry_after)
        self._file(attempt.endpoint, attempt.identity, breaker, before, moves)
        return moves

    def abandoned(self, attempt: Attempt[E]) -> list[BreakerMoved]:
        """The attempt ended without saying anything: cancelled, or no fault of the server's. Answer what moved."""
        moves: list[BreakerMoved] = []
        self._abandoned(attempt.endpoint, None, attempt.endpoint_probe, moves)
        self._abandoned(attempt.endpoint, attempt.identity, attempt.credential_probe, moves)
        return moves

    def broke(self, endpoint: E, *, since: float, now: float, jitter: float) -> list[BreakerMoved]:
        """The transport of a session that was opened at `since` broke. Answer the breakers that moved."""
        moves: list[BreakerMoved] = []
        breaker = self._endpoints.find(endpoint)
        before = breaker.state
        breaker.failed(now=now, jitter=jitter, since=since)
        self._file(endpoint, None, breaker, before, moves)
        return moves

    def reset(self, endpoint: E | None = None) -> list[BreakerMoved]:
        """Close the breakers of this endpoint and of the credentials on it; of all, if None. Answer what moved."""
        moves: list[BreakerMoved] = []
        for name, breaker in list(self._endpoints):
            if endpoint is None or name == endpoint:
                self._reset(name, None, breaker, moves)
        for (name, identity), breaker in list(self._credentials):
            if endpoint is None or name == endpoint:
                self._reset(name, identity, breaker, moves)
        return moves

    def all(self) -> Iterator[tuple[Literal["endpoint", "credential"], str, Breaker]]:
        """Every breaker that is not as good as new: its kind, its name as it may be shown, and itself, to be read."""
        for name, breaker in self._endpoints:
            yield "endpoint", str(name), breaker
        for (name, identity), breaker in self._credentials:
            yield "credential", _name(name, identity), breaker

    def states(self) -> dict[str, BreakerState]:
        """The state of every breaker that is not as good as new, by the name that may be shown. Where two credentials
        have one name, the one that is worse.
        """
        shown = {str(name): breaker.state for name, breaker in self._endpoints}
        for (name, identity), breaker in self._credentials:
            shown.setdefault(_name(name, identity), breaker.state)  # closed ones come last
        return shown

    def _succeeded(self, endpoint: E, identity: str | None, moves: list[BreakerMoved]) -> None:
        breaker = self._find(endpoint, identity)
        before = breaker.state
        breaker.succeeded()
        self._file(endpoint, identity, breaker, before, moves)

    def _abandoned(self, endpoint: E, identity: str | None, probe: int | None, moves: list[BreakerMoved]) -> None:
        if probe is not None:
            breaker = self._find(endpoint, identity)
            before = breaker.state
            breaker.abandoned(probe)
            self._file(endpoint, identity, breaker, before, moves)

    def _reset(self, endpoint: E, identity: str | None, breaker: Breaker, moves: list[BreakerMoved]) -> None:
        before = breaker.state
        breaker.reset()
        self._file(endpoint, identity, breaker, before, moves)

    def _find(self, endpoint: E, identity: str | None) -> Breaker:
        return self._endpoints.find(endpoint) if identity is None else self._credentials.find((endpoint, identity))

    def _file(
        self, endpoint: E, identity: str | None, breaker: Breaker, before: BreakerState, moves: list[BreakerMoved]
    ) -> None:
        if identity is None:
            self._endpoints.file(endpoint, breaker)
        else:
            self._credentials.file((endpoint, identity), breaker)
        if breaker.state is not before:
            moves.append(BreakerMoved(_name(endpoint, identity), before, breaker.state))


def _name(endpoint: object, identity: str | None) -> str:
    if identity is None:
        return str(endpoint)
    if identity.startswith("user "):  # which no digest does
        return f"{endpoint}, {identity}"
    return f"{endpoint}, identity {identity[:8]}" if identity else f"{endpoint}, anonymous"


def _times(failures: int) -> str:
    return "once" if failures == 1 else f"{failures} times in a row"


def _refusal(what: str, advice: str, breaker: Breaker, wait: float) -> BreakerOpen:
    if breaker.state is BreakerState.HALF_OPEN:
        advice += ", or wait for the one attempt that is under way now"
    else:
        advice += f", or try again in {wait:.3g} seconds"
    return BreakerOpen(f"{what}, so it is not asked for now: {advice}", retry_after=wait)
