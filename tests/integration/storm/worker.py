"""A worker of the storm: a process that has calls made as it is told.

`python -m tests.integration.storm.worker BACKEND REDIS NAMESPACE SERVER` says who it is, and takes orders from its
standard input, one to a line as JSON, until that ends; then it leaves in good order. What came of each call it says on
its standard output, and so what its log says of faults.
"""

import json
import logging
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import anyio
from mcp import MCPError
from typing_extensions import override

from actors import ClusterSettings, Pool, PoolSettings, Upstream, open_pool
from benchmarks.soaking.server import OWNER
from protocol.errors import TroupeError

SETTINGS: Final = PoolSettings(
    identity_secret=b"a secret of this deployment alone",
    acquire_timeout=2.0,
    connect_timeout=2.0,
    call_timeout=3.0,
    close_timeout=1.0,
    settle_timeout=0.5,
)
LIFETIME: Final = 1.0
HOLDING: Final = 5.0


class Orders:
    """Those that are being carried out.

    Args:
        pool: where calls are made.
        server: the endpoint of the MCP server.
    """

    def __init__(self, pool: Pool, server: str) -> None:
        self._pool = pool
        self._upstream = Upstream(server, mode="legacy")
        self._calls: dict[str, anyio.CancelScope] = {}

    async def carry_out(self) -> None:
        """Take orders until there will be none any more, and what was begun has ended."""
        async with anyio.create_task_group() as tasks:
            async for line in anyio.wrap_file(sys.stdin):
                order = json.loads(line)
                if (call := order.get("cancel")) is None:
                    tasks.start_soon(self._call, order)
                elif (scope := self._calls.get(call)) is not None:
                    scope.cancel()

    async def _call(self, order: Mapping[str, Any]) -> None:
        call = order["call"]
        answer: dict[str, Any] = {"error": "Cancelled"}
        with anyio.CancelScope() as self._calls[call]:
            answer = await self._answer(order)
        del self._calls[call]
        say(call=call, **answer)

    async def _answer(self, order: Mapping[str, Any]) -> dict[str, Any]:
        conversation = order["conversation"]
        params = {"name": "run", "arguments": {"call": order["call"], "seconds": order["seconds"]}}
        try:
            result = await self._pool.call(
                self._upstream,
                "tools/call",
                params,
                headers={OWNER: conversation},
                user=order["user"],
                session_id=conversation,
                timeout=order["timeout"],
                idempotent=order["idempotent"],
            )
        except TroupeError as error:
            return {"error": type(error).__name__, "has_not_run": error.safe_to_retry, "text": str(error)}
        except MCPError as error:
            return {"error": f"MCPError {error.code}", "text": str(error)}
        except Exception as error:  # noqa: BLE001 - told as the fault that it is
            return {"error": f"unnamed {type(error).__name__}", "text": repr(error)}
        if result.get("isError"):
            return {"error": "an error of the tool", "text": str(result["content"])}
        return {"answer": result["structuredContent"]}


class _Faults(logging.Handler):
    @override
    def emit(self, record: logging.LogRecord) -> None:
        say(fault=f"logged by {record.name}: {self.format(record)}")


def say(**words: Any) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


async def main(redis: str, namespace: str, server: str) -> None:
    cluster = ClusterSettings(namespace=namespace, lifetime=LIFETIME, holding=HOLDING)
    async with open_pool(SETTINGS, cluster=redis, cluster_settings=cluster) as pool:
        say(worker=pool.worker)
        await Orders(pool, server).carry_out()
    stats = pool.stats()
    say(left={"sessions": stats.sessions(), "permits": stats.permits.given if stats.permits else 0})


if __name__ == "__main__":
    logging.getLogger("mcp").addHandler(logging.NullHandler())
    for name in ("actors", "asyncio", "trio"):
        logging.getLogger(name).addHandler(_Faults(logging.ERROR))
    anyio.run(partial(main, *sys.argv[2:5]), backend=sys.argv[1])
