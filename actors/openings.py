"""Openings: what it takes to open a session of one key, put together for whoever wants it."""

from collections.abc import Mapping
from functools import partial

from actors.acquire import Terms
from actors.backstage import Backstage
from actors.connection import Learnt, Opening
from actors.session import Plan
from protocol.keys import PoolKey
from protocol.settings import Upstream


def plan_of(
    backstage: Backstage,
    key: PoolKey,
    *,
    upstream: Upstream,
    headers: Mapping[str, str],
    terms: Terms,
    learnt: Learnt,
) -> Plan:
    """How to open a session under `key` with these headers, on these terms."""
    settings = backstage.settings
    opening = Opening(
        upstream=upstream,
        headers=headers,
        settings=settings,
        learnt=learnt,
        connect_timeout=terms.connect_timeout or settings.connect_timeout,
        call_timeout=settings.call_timeout,
        http_client=terms.http_client,
        overheard=partial(backstage.overheard, key) if key.is_sticky and backstage.overheard is not None else None,
    )
    make_handler = backstage.handlers and partial(backstage.handlers, key.url, key.gateway_id or key.url)
    return Plan(opening, backstage.connector, make_handler)
