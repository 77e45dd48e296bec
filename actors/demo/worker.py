"""One of several workers that are one pool, in a process: `python -m actors.demo.worker CLUSTER URL BACKEND`.

It says its id once it is one, and then makes the call that each line of its standard input asks for, as a call of the
one conversation, many at a time. It leaves when there are no more lines.
"""

import json
import logging
import sys
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

import anyio
import anyio.to_thread

from actors import ClusterSettings, Pool, PoolSettings, Upstream, open_pool
from actors.demo.subject import CALL_TIMEOUT, describe
from protocol.errors import TroupeError

CONVERSATION: Final = "conversation-1"
USER: Final = "alice"
SETTINGS: Final = PoolSettings(identity_secret=b"the demo's workers have this in common", call_timeout=2 * CALL_TIMEOUT)
CLUSTER: Final = ClusterSettings(namespace="demo", secrets=("and this they sign with",), lifetime=1.5)
"""A new Redis is believed once `lifetime` is over, and nobody wants to wait long for a demo."""


@dataclass(frozen=True, slots=True)
class Came:
    """What a call came to.

    Attributes:
        answer: the tool's; None if the call has failed.
        owner: the worker that owned the conversation then.
        error: the kind of error.
        message: what that said.
    """

    answer: dict[str, Any] | None = None
    owner: str | None = None
    error: str | None = None
    message: str = ""


async def converse(pool: Pool, url: str, tool: str, arguments: dict[str, Any]) -> Came:
    """Make a call of the conversation, wherever that is owned."""
    upstream = Upstream(url, mode="legacy")  # of the era in which servers keep state in sessions
    params = {"name": tool, "arguments": arguments}
    try:
        result = await pool.call(upstream, "tools/call", params, user=USER, session_id=CONVERSATION)
        return Came(cast("dict[str, Any]", result.get("structuredContent", {})), await pool.owner(CONVERSATION))
    except TroupeError as error:
        return Came(error=type(error).__name__, message=describe(error))


async def _serve(cluster: str, url: str) -> None:
    async with (
        open_pool(SETTINGS, cluster=cluster, cluster_settings=CLUSTER) as pool,
        anyio.create_task_group() as tasks,
    ):

        async def call(number: int, tool: str, arguments: dict[str, Any]) -> None:
            came = await converse(pool, url, tool, arguments)
            _say(json.dumps([number, asdict(came)]))

        _say(str(pool.worker))
        while line := await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            tasks.start_soon(call, *json.loads(line))
        tasks.cancel_scope.cancel()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until standard input ends."""
    logging.disable()
    anyio.run(_serve, sys.argv[1], sys.argv[2], backend=sys.argv[3])


if __name__ == "__main__":
    main()
