"""How a pool that is to be opened becomes a member of a cluster: by what its user has given."""

from collections.abc import Callable
from random import Random

from actors.bus import Bus, Hub
from actors.membership import Membership
from protocol.cluster_settings import ClusterSettings
from protocol.errors import InvalidSettings
from protocol.namespace import Namespace
from protocol.settings import PoolSettings


def way_of(cluster: str | Hub, settings: ClusterSettings) -> Callable[[Random], Bus]:
    """How a bus is made for what a user has given.

    Raises:
        InvalidSettings: it is no address of a Redis, or one elsewhere without secrets; or redis-py is not installed.
    """
    if isinstance(cluster, Hub):
        return lambda _: cluster.bus()
    if not isinstance(cluster, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidSettings(
            f"cluster must be the address of a Redis, a MemoryHub or None, not {type(cluster).__name__}"
        )
    try:
        from actors.redis_address import RedisAddress  # noqa: PLC0415 - an extra
        from actors.redis_bus import RedisBus  # noqa: PLC0415
    except ImportError as error:
        raise InvalidSettings("a cluster over Redis needs redis-py: install mcp-troupe[redis]") from error
    address = RedisAddress(cluster)
    if not (settings.secrets or settings.insecure or address.is_local):
        raise InvalidSettings(
            f"cluster {address.shown} is not on this machine, and without `secrets` whoever reaches it could give "
            "orders to any worker: set secrets, or insecure=True"
        )
    return lambda random: RedisBus(address, Namespace(settings.namespace), random)


def member_of(cluster: str | Hub, settings: ClusterSettings, pool: PoolSettings) -> Membership:
    """The membership of a pool that is to be opened.

    Raises:
        InvalidSettings: what was given cannot be used.
    """
    if pool.identity_secret is None:
        raise InvalidSettings(
            "a cluster needs an identity_secret in the pool's settings, the same for all workers: whose a conversation "
            "is would look different on each of them"
        )
    return Membership(way_of(cluster, settings), settings, pool)
