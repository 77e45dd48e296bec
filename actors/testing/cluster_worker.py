"""A worker of a simulated cluster: a pool on a node, and whoever calls it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
from mcp import MCPError

from actors.pool import Pool
from actors.testing.cluster_ledger import Asked, ClusterLedger
from actors.testing.node import Node
from protocol.errors import TroupeError
from protocol.upstream import Upstream


class Order:
    """A call that is to be made on a worker.

    Attributes:
        asked: the call.
        upstream, user, timeout: as of `Pool.call`.
        patience: seconds after which its caller goes away.
        has_ended: set when it has.
    """

    def __init__(self, asked: Asked, upstream: Upstream, user: str, timeout: float | None, patience: float) -> None:
        self.asked = asked
        self.upstream = upstream
        self.user = user
        self.timeout = timeout
        self.patience = patience
        self.has_ended = anyio.Event()


class Worker:
    """One life of a worker, from its pool's opening to its end.

    Attributes:
        node, pool: what it is.
        is_open: whether it takes orders.
    """

    def __init__(self, node: Node, pool: Pool, ledger: ClusterLedger) -> None:
        self.node = node
        self.pool = pool
        self.is_open = True
        self._ledger = ledger
        self._orders: list[Order] = []
        self._open: dict[Order, None] = {}
        self._more = anyio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Work, as a task of the node's own."""
        try:
            async with anyio.create_task_group() as tasks:
                async with self.pool:
                    tasks.start_soon(self._serve)
                    yield
                    self.is_open = False
                tasks.cancel_scope.cancel()
        finally:
            self.is_open = False
            for order in list(self._open):
                order.asked.was_cancelled = True
                self._ended(order)

    def take(self, order: Order) -> None:
        """Have a call made; its caller waits for `has_ended`."""
        self._orders.append(order)
        self._open[order] = None
        self._more.set()

    async def _serve(self) -> None:
        async with anyio.create_task_group() as tasks:
            while True:
                await self._more.wait()
                self._more = anyio.Event()
                orders, self._orders = self._orders, []
                for order in orders:
                    tasks.start_soon(self._call, order)

    async def _call(self, order: Order) -> None:
        asked = order.asked
        params = {"number": asked.number, "talk": asked.talk}
        with anyio.move_on_after(order.patience) as scope:
            try:
                asked.result = await self.pool.call(
                    order.upstream,
                    "tools/call",
                    params,
                    user=order.user,
                    session_id=asked.talk,
                    timeout=order.timeout,
                    idempotent=asked.idempotent,
                )
            except (TroupeError, MCPError) as error:
                asked.error = error
        if scope.cancelled_caught:
            asked.was_cancelled = True
        self._ended(order)

    def _ended(self, order: Order) -> None:
        if order in self._open:
            del self._open[order]
            self._ledger.ended(order.asked)
            order.has_ended.set()
