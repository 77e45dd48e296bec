"""What the pool's arguments may be, where no type of their own checks them."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from actors.acquire import Terms
from actors.seconds import check_seconds
from protocol.errors import InvalidSettings
from protocol.settings import PoolSettings, Upstream

_FIXED: Final = (
    *("identity_secret", "identity_headers", "identity_extractor", "user_fields"),
    *("breaker_threshold", "breaker_backoff", "breaker_ceiling"),
)


def check_kind(name: str, value: object, kind: type) -> None:
    """Refuse what is given and of another kind.

    Raises:
        InvalidSettings: so it is.
    """
    if value is not None and not isinstance(value, kind):
        raise InvalidSettings(f"{name} must be of {kind.__name__} or None, not {type(value).__name__}")


def check_upstream(upstream: object) -> None:
    """Refuse what is no upstream.

    Raises:
        InvalidSettings: so it is.
    """
    if not isinstance(upstream, Upstream):
        raise InvalidSettings(f"upstream must be an Upstream, not {type(upstream).__name__}")


def terms_of(
    connect_timeout: float | None, call_timeout: float | None, http_client: Callable[..., object] | None
) -> Terms:
    """The terms of one acquire.

    Raises:
        InvalidSettings: one of them cannot be used.
    """
    for name, value in (("connect_timeout", connect_timeout), ("call_timeout", call_timeout)):
        if value is not None:
            check_seconds(name, value)
    if http_client is not None and not callable(http_client):
        raise InvalidSettings(f"http_client must be a function that makes a client, not {type(http_client).__name__}")
    return Terms(connect_timeout, call_timeout, http_client)


def resized(before: PoolSettings, changed: Mapping[str, Any]) -> PoolSettings:
    """The settings of an open pool after a change.

    Raises:
        InvalidSettings: a setting is unknown, out of its range, or cannot be changed while a pool is open.
    """
    if fixed := [name for name in changed if name in _FIXED]:
        raise InvalidSettings(f"{', '.join(fixed)} cannot be changed while the pool is open: open another one")
    after = before.with_(**changed)
    for cap in ("max_sessions_per_user", "max_sessions_per_gateway"):
        if (getattr(before, cap) is None) != (getattr(after, cap) is None):
            raise InvalidSettings(f"{cap} cannot be set or taken away while the pool is open, only changed")
    return after
