"""How a worker meets others: every setting of a cluster, with a paragraph each. Checked when they are made.

`docs/cluster.md` says what comes of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from protocol.errors import InvalidSettings
from protocol.keyring import SHORTEST_SECRET, Keyring
from protocol.namespace import Namespace
from protocol.setting import Count, Flag, Seconds, Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """How a worker meets others. All durations are seconds. All workers of a deployment are to have the same ones.

    Raises:
        InvalidSettings: a value is of the wrong kind or out of its range, or two contradict each other; the message
            names the setting, or both.
    """

    namespace: str = "default"
    """What the deployment's keys and channels in Redis begin with, after `troupe:`. Deployments that share a Redis have
    one each, and never meet. Letters, digits, `_` and `-`, 64 at the most."""

    secrets: tuple[str, ...] = field(default=(), repr=False)
    """What envelopes between workers are signed with: the first one signs, and all are accepted, so that a secret can
    be replaced without a stop (add the new one behind the old one everywhere, then put it first, then leave the old one
    out). At least 16 bytes each, of good randomness: whoever can read Redis could try out weak ones. Without any, only
    a Redis on this machine is accepted, unless `insecure` says otherwise."""

    insecure: bool = False
    """Whether a Redis elsewhere is accepted without `secrets`. Then whoever reaches that Redis can make any worker do
    anything that a forwarded request can."""

    lifetime: float = 5.0
    """How long a worker counts as living after it was last heard of by Redis. A worker that was killed is noticed in
    milliseconds, since nobody listens to its channel; this is for one that stands still, or is cut off. It starts
    nothing for its conversations once that time is over, since others may take them over then; so this is also how long
    conversations go on here while Redis is away, and how long after a restart in which Redis lost everything nobody
    claims what a worker that has not come back may hold. It beats four times in that time."""

    holding: float = 3600.0
    """How long Redis remembers whose a conversation is, unless the owner says so again, which it does after four times
    `lifetime`, and at least three times in that time. Not less than `lifetime`. When a worker was killed its keys are
    gone from Redis after this; a conversation of its that nobody has gone on with until then begins anew without being
    told what it lost (`SessionStateLost`). So it is about as long as a client comes back to one."""

    skew: float = 30.0
    """By how much the wall clocks of two workers may differ, and how long an envelope may be on its way. What is older,
    or from the future, is refused, so that nothing that was recorded can be sent again later."""

    max_message: int = 1_000_000
    """How many bytes workers send each other at once, at the most: a request with its headers, or its result. More is
    refused by name, on the side that would have sent it. At least 10,000."""

    def __post_init__(self) -> None:
        for name, setting in _SETTINGS.items():
            setting.check(name, getattr(self, name))
        Namespace(self.namespace)
        if not isinstance(self.secrets, tuple) or not all(map(_is_text, self.secrets)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidSettings("secrets must be a tuple of texts")
        if any(len(secret.encode()) < SHORTEST_SECRET for secret in self.secrets):
            raise InvalidSettings(f"each of secrets must have at least {SHORTEST_SECRET} bytes")
        if self.holding < self.lifetime:
            raise InvalidSettings(
                f"holding ({self.holding:g}) must not be below lifetime ({self.lifetime:g}): Redis would forget whose "
                "a conversation is while its owner lives"
            )

    @property
    def keyring(self) -> Keyring:
        """What envelopes are signed with."""
        return Keyring.of(*self.secrets) if self.secrets else Keyring.public()


def _is_text(value: object) -> bool:
    return isinstance(value, str)


_SETTINGS: Final[Mapping[str, Setting]] = {
    "insecure": Flag(),
    "lifetime": Seconds(),
    "holding": Seconds(),
    "skew": Seconds(),
    "max_message": Count(at_least=10_000),
}

BEATS: Final = 4
"""How often a worker beats within its `lifetime`."""
