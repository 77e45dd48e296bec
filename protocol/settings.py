"""How a pool behaves: every setting, with a paragraph each. Checked when they are made, never later.

`docs/settings.md` has the same paragraphs, and how settings are loaded from files and the environment.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Final, Literal, Self

from protocol.errors import InvalidSettings
from protocol.headers import IDENTITY_HEADERS, canonical_names
from protocol.identity import USER_FIELDS
from protocol.setting import LONGEST, Count, Flag, Function, Seconds, Secret, Setting, Share, Words, shown
from protocol.upstream import MODES, TRANSPORTS, Mode, Sharing, Tls, Transport, Upstream

__all__ = [
    "LONGEST",
    "MODES",
    "PROBES",
    "SETTING_NAMES",
    "TRANSPORTS",
    "Mode",
    "PoolSettings",
    "Probe",
    "Sharing",
    "Tls",
    "Transport",
    "Upstream",
    "nearest",
    "read_settings",
]

Probe = Literal["ping", "list_tools", "list_prompts", "list_resources", "discover", "skip"]
PROBES: Final[tuple[Probe, ...]] = ("ping", "list_tools", "list_prompts", "list_resources", "discover", "skip")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """How a pool behaves. All durations are seconds.

    Raises:
        InvalidSettings: a value is of the wrong kind or out of its range, or two contradict each other; the message
            names the setting, or both.
    """

    max_size: int = 10
    """The most sessions that one pool key holds, those being opened and closed included. At least 1. Sticky sessions
    (`session_id`) have a key of their own each, with one session. `max_sessions` and the caps per user and gateway hold
    besides."""

    min_idle: int = 0
    """How many idle sessions a key that is in use keeps ready, opened in the background, so that bursts need not wait
    for handshakes. At most `max_size`, and at most each of the other caps; warm spares go without when `max_sessions`
    or a cap per user or gateway leaves no room. They are exempt from `max_idle`, and not from `max_lifetime`. Sticky
    keys have none."""

    shared_leases: int = 100
    """How many leases a session may have at once with a server that keeps no state in its sessions (2026-07-28 and
    later), unless its `Upstream.sharing` says otherwise. At least 1. Servers of the handshake era lend each session to
    one caller at a time."""

    max_waiting: int = 1_000
    """The most callers that may wait for one pool key; the next one is refused with `PoolFull`. 0 lets nobody wait:
    who finds neither an idle session nor room for a new one is refused at once."""

    max_sessions: int = 10_000
    """The most sessions of all keys together, in this process. At least 1. A hard cap, reserved before a session is
    opened. At the cap the session that has been idle the longest makes room, though never another tenant's sticky one;
    keys that got none are served in the order in which they asked."""

    max_keys: int = 10_000
    """The most pool keys, in this process. At least 1. At the cap the next key that ends anyhow is waited for, else
    the key that has been idle the longest makes room; if none is idle, the caller is refused with `PoolFull`. Each
    sticky session is a key."""

    max_sessions_per_user: int | None = None
    """The most sessions of one `user`, in all keys together, so that one user cannot fill the pool. At least 1. None
    sets no limit. At the cap only sessions of the same user make room. Callers without a user are not counted."""

    max_sessions_per_gateway: int | None = None
    """The most sessions of one `gateway_id`, in all keys together. At least 1. None sets no limit; otherwise as for
    users."""

    acquire_timeout: float = 30.0
    """How long `acquire` waits for a session, its opening included, before `AcquireTimeout`; a default for its
    `timeout`. An opening that goes on past it is not wasted: its session goes to the next waiter, or is idle."""

    connect_timeout: float = 10.0
    """How long opening one session may take, from the first packet to the end of the handshake, before
    `ConnectFailed`; a default for the argument of `acquire`. It counts as a failure for the breaker."""

    call_timeout: float = 300.0
    """How long one call on a session may take, before the SDK's `MCPError` with code -32001 (REQUEST_TIMEOUT); a
    default for the argument of `acquire`. The session is not closed for it."""

    close_timeout: float = 2.0
    """How long closing one session may take, its DELETE included. Sessions close at the same time, so it also bounds
    (with as much again for callers that are woken by it) how long leaving the pool takes."""

    settle_timeout: float = 5.0
    """How long a released session waits for calls that its borrower left under way before it is closed instead of
    lent. It counts towards `max_size` meanwhile."""

    max_lifetime: float | None = 3_600.0
    """The age at which a session is replaced: an idle one by a new one that is opened first, a lent one when it comes
    back. None keeps sessions for ever. `lifetime_jitter` spreads it."""

    lifetime_jitter: float = 0.1
    """By what share of itself `max_lifetime` is shortened at random, for each session anew, so that sessions opened
    together do not end together. From 0 to 1. Does nothing where `max_lifetime` is None."""

    max_idle: float | None = 600.0
    """How long a session may be idle before it is closed, unless it is one of `min_idle`. None lets it be idle for
    ever. A sticky session ends so, too, and its conversation is told (`SessionStateLost`) if it comes back."""

    key_idle: float = 600.0
    """How long a key without sessions is kept, with what it has learnt about its server, before it is forgotten.
    `max_keys` may end it earlier."""

    lost_memory: float = 86_400.0
    """How long a conversation whose state was lost is remembered, so that its next call can be told so
    (`SessionStateLost`). Each takes the place of one of `max_keys`."""

    health_interval: float | None = 60.0
    """How long a session is idle before it is checked in the background, and between two checks. None checks none.
    What was used within the interval is not checked. No caller waits for a check."""

    health_timeout: float = 5.0
    """How long one health probe may take before the next one of `health_probes` is tried."""

    health_probes: tuple[Probe, ...] = ("ping", "discover", "list_tools")
    """What a health check asks, in this order, until one succeeds (healthy) or fails with an error (dead): of `ping`,
    `list_tools`, `list_prompts`, `list_resources`, `discover` and `skip`, at least one, none of them twice. A probe
    that the server does not support, or that is not answered in time, moves on to the next. `skip` is healthy where the
    probe before it was not supported, so it cannot be the first. If none decides, the session is dead."""

    breaker_threshold: int = 5
    """After how many failures in a row (to connect, to shake hands, of the transport) the breaker of an endpoint opens;
    and after how many refused credentials (401, 403) that of a credential. At least 1. Tool errors and cancellations
    do not count."""

    breaker_backoff: float = 1.0
    """How long a breaker stays open at first; twice as long after each probe that fails, with jitter, and never longer
    than `breaker_ceiling`. A server's `Retry-After` is honoured where it is longer."""

    breaker_ceiling: float = 60.0
    """The longest that a breaker stays open. At least `breaker_backoff`."""

    warn_after: float | None = None
    """How long a lease may be held before a warning is logged that says where it was acquired, which has to be noted
    at every acquire. None never warns, and notes nothing. The lease stays valid."""

    check_principal: bool = True
    """Whether a downstream session is bound to the principal that first used it: another one that presents its id is
    refused with `PrincipalMismatch`. False keeps them apart without refusing either. A principal is what
    `identity_extractor` makes of the headers, else the user, else the `identity_headers`."""

    max_body: int = 32_000_000
    """The most bytes that a server may answer one request with, and that one event of a stream may have. At least 1.
    What is larger is cut off with `ResponseTooLarge`, and harms no other call."""

    identity_headers: tuple[str, ...] = IDENTITY_HEADERS
    """The headers that authenticate, at least one; neither case nor order matters. What they hold makes the identity
    that sessions are pooled under; a caller without any of them, and without a user, is anonymous and shares sessions
    with all such callers."""

    identity_extractor: Callable[[Mapping[str, str]], str | None] | None = field(default=None, repr=False)
    """Makes a stable identity of the headers, for tokens that rotate: called in the caller's frame, with the names in
    lower case, and only from code (text cannot hold it). One that fails or answers nothing is counted, and the
    `identity_headers` are used instead."""

    user_fields: tuple[str, ...] = USER_FIELDS
    """Which entry of a `user` that is given as a mapping says who it is: the first that is there, text or a whole
    number. At least one. So one user is the same whether given as text or as a mapping. Values of different fields must
    not name different users, so list only what is unique."""

    identity_secret: bytes | None = field(default=None, repr=False)
    """The key under which identities are hashed; 32 random bytes are enough. None makes one for this pool. Processes
    that are to agree on what one identity is must share it; keep it apart from other secrets, since changing it changes
    every identity."""

    def __post_init__(self) -> None:
        for name, setting in _SETTINGS.items():
            setting.check(name, getattr(self, name))
        for low, high, why in _ORDERED:
            lower, upper = getattr(self, low), getattr(self, high)
            if upper is not None and lower > upper:
                raise InvalidSettings(f"{low} ({shown(lower)}) must be at most {high} ({shown(upper)}): {why}")
        if self.health_probes[0] == "skip":
            raise InvalidSettings("health_probes must not begin with skip, which stands in for the probe before it")
        try:
            names = canonical_names(self.identity_headers)
        except InvalidSettings as error:
            raise InvalidSettings(f"identity_headers cannot be used: {error}") from None
        object.__setattr__(self, "identity_headers", names)

    def with_(self, **changes: Any) -> Self:
        """These settings, some of them changed.

        Raises:
            InvalidSettings: there is no setting of that name, or it cannot have that value.
        """
        for name in changes:
            _check_known(name)
        return replace(self, **changes)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object]) -> Self:
        """The settings that a mapping holds, by their names; those that it lacks have their defaults.

        Strict: what is no setting is refused. Values may be given as text, as `read_settings` says.

        Raises:
            InvalidSettings: a name is unknown, or a value cannot be used; the message names the setting.
        """
        return cls(**read_settings(mapping))


def read_settings(mapping: Mapping[str, object]) -> dict[str, Any]:
    """The values of the settings in a mapping, each checked by itself.

    They may be given as text, as the environment does: numbers, durations in seconds, `true` or `false`, `none` for
    None, tuples parted by commas, and secrets. Lists stand for tuples. A function cannot come from text.

    Raises:
        InvalidSettings: a name is unknown, or a value cannot be used; the message names the setting.
    """
    values: dict[str, Any] = {}
    for name, value in mapping.items():
        _check_known(name)
        values[name] = _SETTINGS[name].take(name, value)
    return values


def nearest(name: str) -> str | None:
    """The setting that was meant by a name that is none, if there is one like it."""
    return next(iter(get_close_matches(name.lower().replace("-", "_"), _SETTINGS, cutoff=0.75)), None)


def _check_known(name: object) -> None:
    if not isinstance(name, str):
        raise InvalidSettings(f"a setting's name must be text, not {type(name).__name__}")
    if name not in _SETTINGS:
        meant = nearest(name)
        hint = f": did you mean {meant}?" if meant else ""
        raise InvalidSettings(f"there is no setting {name[:_SHOWN]!r}{hint}")


_SETTINGS: Final[Mapping[str, Setting]] = {
    "max_size": Count(),
    "min_idle": Count(at_least=0),
    "shared_leases": Count(),
    "max_waiting": Count(at_least=0),
    "max_sessions": Count(),
    "max_keys": Count(),
    "max_sessions_per_user": Count(or_none=True),
    "max_sessions_per_gateway": Count(or_none=True),
    "acquire_timeout": Seconds(),
    "connect_timeout": Seconds(),
    "call_timeout": Seconds(),
    "close_timeout": Seconds(),
    "settle_timeout": Seconds(),
    "max_lifetime": Seconds(or_none=True),
    "lifetime_jitter": Share(),
    "max_idle": Seconds(or_none=True),
    "key_idle": Seconds(),
    "lost_memory": Seconds(),
    "health_interval": Seconds(or_none=True),
    "health_timeout": Seconds(),
    "health_probes": Words(of=PROBES),
    "breaker_threshold": Count(),
    "breaker_backoff": Seconds(),
    "breaker_ceiling": Seconds(),
    "warn_after": Seconds(or_none=True),
    "check_principal": Flag(),
    "max_body": Count(),
    "identity_headers": Words(),
    "identity_extractor": Function(or_none=True),
    "user_fields": Words(),
    "identity_secret": Secret(or_none=True),
}

SETTING_NAMES: Final = tuple(_SETTINGS)
"""The names of all settings."""

_ORDERED: Final = (
    ("min_idle", "max_size", "a key would keep more sessions than it may hold"),
    ("min_idle", "max_sessions", "a key would keep more sessions than all may hold"),
    ("min_idle", "max_sessions_per_user", "a user's key would keep more sessions than its user may have"),
    ("min_idle", "max_sessions_per_gateway", "a gateway's key would keep more sessions than its gateway may have"),
    ("breaker_backoff", "breaker_ceiling", "a breaker would be open for longer than the longest"),
)
"""Which settings must not be above which others, and why."""

_SHOWN: Final = 60
