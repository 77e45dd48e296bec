"""The users of a soak: each a task that borrows sessions, and uses them well and badly, until it is to end."""

import random
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import anyio
from typing_extensions import override

from actors import Lease, Pool, Upstream
from benchmarks.soaking.census import SECRET, Census
from benchmarks.soaking.server import OWNER
from protocol.errors import LeaseReleased, TroupeError

PATIENCE: Final = 25.0
"""Seconds after which something that a user does counts as never ending. The settings' timeouts end it long before."""

NAMES: Final = 4
"""So many names are used by all users, and so their keys."""
GATEWAYS: Final = ("east", None)


def who_bears(headers: Mapping[str, str]) -> str | None:
    """The identity extractor: tokens are `Bearer secret-NAME.NUMBER`, and the number rotates."""
    token = headers.get("authorization", "")
    return token.removeprefix(f"Bearer {SECRET}").rpartition(".")[0] or None


@dataclass(frozen=True, slots=True)
class Soaked:
    """What all users have in common.

    Attributes:
        pool: where they borrow.
        upstreams: the servers.
        census: takes note.
        seed: of all that is random.
        is_over: whether they are to end.
    """

    pool: Pool
    upstreams: Sequence[Upstream]
    census: Census
    seed: int
    is_over: anyio.Event


class Guest:
    """What users and conversations have in common: a name, a dice of their own, and a life."""

    def __init__(self, soaked: Soaked, name: str) -> None:
        self.pool, self.census, self.soaked = soaked.pool, soaked.census, soaked
        self.name = name
        self.random = random.Random(f"{soaked.seed} {name}")
        self.numbers = count()

    async def run(self) -> None:
        """Live until it is over."""
        raise NotImplementedError

    async def live(self, acts: Sequence[tuple[int, Callable[[], Awaitable[None]]]], pause: float) -> None:
        """Do something of these, by their weights, again and again."""
        weights = [weight for weight, _ in acts]
        while not self.soaked.is_over.is_set():
            (_, act) = self.random.choices(acts, weights)[0]
            name = getattr(act, "__name__", "act").strip("_")
            with anyio.move_on_after(PATIENCE) as scope, self.census.errors_told(f"{name} by {self.name}"):
                await act()
            self.census.check(not scope.cancelled_caught, f"{name} by {self.name} did not end in {PATIENCE} s")
            self.census.done[name] += 1
            await anyio.sleep(self.random.expovariate(1 / pause))
        self.census.done["users home"] += 1

    def token(self, name: str) -> dict[str, str]:
        """A header with this name's token as it is now."""
        return {"Authorization": f"Bearer {SECRET}{name}.{next(self.numbers)}"}

    async def call(self, session: Lease, tool: str, arguments: dict[str, Any] | None = None) -> Any:
        """What a tool answers."""
        self.census.done["calls"] += 1
        result = await session.call_tool(tool, arguments)
        self.census.check(not result.is_error, f"{tool} for {self.name} failed: {result.content}")
        self.census.done["answers"] += 1
        return result.structured_content


class User(Guest):
    """Borrows sessions under many names."""

    @override
    async def run(self) -> None:
        acts = (
            (40, self._talk),
            (6, self._talk_at_once),
            (6, self._give_up_a_call),
            (4, self._let_a_call_time_out),
            (4, self._leave_a_call),
            (4, self._forget),
            (6, self._misuse),
            (6, self._be_impatient),
            (6, self._give_up_waiting),
            (3, self._raise),
        )
        await self.live(acts, 0.05)

    def _whom(self) -> dict[str, Any]:
        """The arguments of an acquire, for somebody."""
        dice = self.random
        name = f"name-{dice.randrange(NAMES)}" if dice.random() < 0.95 else f"{self.name}-{next(self.numbers)}"
        gateway = dice.choice(GATEWAYS)
        arguments: dict[str, Any] = {
            "upstream": dice.choice(self.soaked.upstreams),
            "headers": {OWNER: f"{name} at {gateway}", **self.token(name)},
            "gateway_id": gateway,
        }
        if dice.random() < 0.5:
            arguments["user"] = name
            arguments["headers"][OWNER] += ", named"
        if dice.random() < 0.1:
            arguments["expires_in"] = dice.uniform(0.5, 5)
        return arguments

    async def _echo(self, session: Lease, owner: str) -> None:
        text = f"{self.name} says {next(self.numbers)}"
        answer = await self.call(session, "echo", {"text": text})
        expected = {"text": text, "owner": owner}
        self.census.check(answer == expected, f"{self.name} was answered {answer} instead of {expected}")

    async def _hang(self, session: Lease, *also: type[TroupeError]) -> None:
        with self.census.errors_told(f"a call that hangs, by {self.name}", *also):
            await self.call(session, "hang")

    async def _talk(self) -> None:
        whom = self._whom()
        async with self.pool.session(**whom) as session:
            for _ in range(self.random.randint(1, 3)):
                await self._echo(session, whom["headers"][OWNER])

    async def _talk_at_once(self) -> None:
        whom = self._whom()
        failed = f"one of many calls by {self.name}"

        async def echo() -> None:
            with self.census.errors_told(failed):
                await self._echo(session, whom["headers"][OWNER])

        async with self.pool.session(**whom) as session, anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(echo)

    async def _give_up_a_call(self) -> None:
        whom = self._whom()
        async with self.pool.session(**whom) as session:
            with anyio.move_on_after(self.random.uniform(0, 0.3)):
                await self._hang(session)
            if self.random.random() < 0.5:
                await self._echo(session, whom["headers"][OWNER])

    async def _let_a_call_time_out(self) -> None:
        async with self.pool.session(**self._whom(), call_timeout=self.random.uniform(0.01, 0.5)) as session:
            await self._hang(session)

    async def _leave_a_call(self) -> None:
        session = await self.pool.acquire(**self._whom())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._hang, session, LeaseReleased)  # the release may come first
            await anyio.sleep(self.random.uniform(0, 0.05))
            session.release()
            await anyio.sleep(self.random.uniform(0, 1.5))
            tasks.cancel_scope.cancel()

    async def _forget(self) -> None:
        whom = self._whom()
        lease = await self.pool.acquire(**whom)
        if self.random.random() < 0.5:
            with self.census.errors_told(f"a call before a lease was forgotten by {self.name}"):
                await self._echo(lease, whom["headers"][OWNER])
        if self.random.random() < 0.5:
            found_by_the_collector: list[Any] = [lease]
            found_by_the_collector.append(found_by_the_collector)

    async def _misuse(self) -> None:
        session = await self.pool.acquire(**self._whom())
        client = session.client
        session.release()
        with self._refused("a second release"):
            session.release()
        with self._refused("a call after the release"):
            await session.call_tool("echo", {"text": "late"})
        with self._refused("a call of the client after the release"):
            await client.call_tool("echo", {"text": "late"})

    @contextmanager
    def _refused(self, what: str) -> Generator[None]:
        try:
            yield
        except LeaseReleased:
            self.census.errors["LeaseReleased"] += 1
        else:
            self.census.fault(f"{what} by {self.name} was not refused")

    async def _be_impatient(self) -> None:
        whom = self._whom()
        timeout = self.random.choice((0.0, 0.001, 0.02, 0.2))
        async with self.pool.session(**whom, timeout=timeout) as session:
            await self._echo(session, whom["headers"][OWNER])

    async def _give_up_waiting(self) -> None:
        with anyio.move_on_after(self.random.uniform(0, 0.05)):
            async with self.pool.session(**self._whom()):
                await anyio.sleep(self.random.uniform(0, 0.05))

    async def _raise(self) -> None:
        mine = ValueError("the user's own")
        try:
            async with self.pool.session(**self._whom()):
                raise mine
        except ValueError as error:
            self.census.check(error is mine, f"another ValueError came out: {error!r}")
