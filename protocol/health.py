"""What a health check asks a session, in which order, and what the answers mean.

The rules
---------
- The probes are tried in the order that was configured. One that succeeds: healthy. One that fails with any other error
  than the two below: dead.
- A probe that the server does not support, or that is not answered in time, moves on to the next.
- `skip` asks nothing. It is healthy where all probes before it, one at least, were not supported: a server that has
  none of them is as good as it can be known to be. If any was not answered in time it moves on, so a silent server is
  never healthy by being skipped.
- Past the last probe: dead.
"""

from enum import Enum, auto
from typing import Final

from protocol.errors import IllegalTransition
from protocol.settings import Probe


class ProbeResult(Enum):
    """How a probe ended."""

    __hash__ = object.__hash__  # members are singletons, and Enum's own is Python code

    HEALTHY = auto()
    """It was answered."""
    UNSUPPORTED = auto()
    """The server does not know it."""
    SILENT = auto()
    """There was no answer in time."""
    DEAD = auto()
    """It failed in any other way."""


class Verdict(Enum):
    """What a check came to."""

    __hash__ = object.__hash__

    HEALTHY = auto()
    """The session can be lent."""
    DEAD = auto()
    """The session is never to be lent again."""


VERDICTS: Final[dict[ProbeResult, Verdict | None]] = {
    ProbeResult.HEALTHY: Verdict.HEALTHY,
    ProbeResult.UNSUPPORTED: None,
    ProbeResult.SILENT: None,
    ProbeResult.DEAD: Verdict.DEAD,
}
"""What a result decides; None moves on to the next probe."""


class HealthCheck:
    """One check of one session: `first`, then `next` with the result of each probe, until a verdict is answered."""

    __slots__ = ("_at", "_probes", "_unsupported", "_was_silent")

    def __init__(self, probes: tuple[Probe, ...]) -> None:
        self._probes = probes
        self._at = -1
        self._unsupported = False
        self._was_silent = False

    def first(self) -> Probe | Verdict:
        """Begin: the first probe to send, never `skip`; or the verdict, if there is nothing to send."""
        if self._at >= 0:
            raise IllegalTransition("a health check that has begun cannot begin again: make another one")
        return self._advance()

    def next(self, result: ProbeResult) -> Probe | Verdict:
        """The probe that was sent ended so. Answer the next one to send, or the verdict.

        Raises:
            IllegalTransition: no probe is under way.
        """
        if not 0 <= self._at < len(self._probes):
            raise IllegalTransition(f"a health check without a probe under way was told {result.name}")
        verdict = VERDICTS[result]
        if verdict is not None:
            return self._decide(verdict)
        if result is ProbeResult.SILENT:
            self._was_silent = True
        else:
            self._unsupported = True
        return self._advance()

    def _advance(self) -> Probe | Verdict:
        self._at += 1
        while self._at < len(self._probes):
            probe = self._probes[self._at]
            if probe != "skip":
                return probe
            if self._unsupported and not self._was_silent:
                return self._decide(Verdict.HEALTHY)
            self._at += 1
        return self._decide(Verdict.DEAD)

    def _decide(self, verdict: Verdict) -> Verdict:
        self._at = len(self._probes)
        return verdict
