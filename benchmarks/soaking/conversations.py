"""Conversations of a soak: each a sticky session with a tool that counts. A count that starts anew has to be told."""

from typing import Final

import anyio
from typing_extensions import override

from actors import Lease, Upstream
from benchmarks.soaking.server import OWNER
from benchmarks.soaking.users import Guest, Soaked
from protocol.errors import AcquireTimeout, PrincipalMismatch, SessionStateLost

AT_ONCE: Final = 3


class Conversation(Guest):
    """A downstream session that goes on for as long as the soak does, or ends without a word and begins as another.

    What is known of its count: it is at least what was answered last, and at most the number of calls, since one that
    got no answer may have run.

    Args:
        soaked: what it is part of.
        name: its owner.
        upstream: a server that keeps state in its sessions.
        is_fleeting: whether it is given up now and then.
    """

    def __init__(self, soaked: Soaked, name: str, upstream: Upstream, *, is_fleeting: bool) -> None:
        super().__init__(soaked, name)
        self._upstream = upstream
        self._is_fleeting = is_fleeting
        self._losses = 0
        self._begin()

    def _begin(self) -> None:
        self._session_id = f"{self.name}-{next(self.numbers)}"
        self._least = self._most = 0
        self._may_have_state = False

    @override
    async def run(self) -> None:
        acts = [
            (20, self._count),
            (3, self._count_at_once),
            (2, self._give_up),
            (1, self._forget_the_lease),
            (2, self._be_intruded_on),
        ]
        if self._is_fleeting:
            acts.append((3, self._end))
        await self.live(acts, 0.15)

    async def _end(self) -> None:
        self._begin()

    async def _acquire(self, name: str | None = None) -> Lease:
        headers = {OWNER: self._session_id, **self.token(name or self.name)}
        return await self.pool.acquire(self._upstream, headers=headers, session_id=self._session_id)

    async def _acquire_mine(self) -> Lease:
        try:
            lease = await self._acquire()
        except SessionStateLost:
            self.census.done["lost states told"] += 1
            self._losses += 1
            raise
        except (AcquireTimeout, anyio.get_cancelled_exc_class()):
            self._may_have_state = True  # it may have been granted when nobody wanted it any more
            raise
        self._may_have_state = True
        return lease

    def _lost(self) -> None:
        self.census.check(self._may_have_state, f"{self.name} was told twice that its state was lost")
        self._least = self._most = 0
        self._may_have_state = False

    async def _counted(self) -> int:
        lease = await self._acquire_mine()
        try:
            self._most += 1
            answer = await self.call(lease, "count")
            return answer["result"]
        finally:
            lease.release()

    async def _count(self) -> None:
        try:
            answer = await self._counted()
        except SessionStateLost:
            self._lost()
            raise
        is_next = self._least < answer <= self._most
        self.census.check(is_next, f"{self.name} counted {answer}, with {self._least} told and {self._most} calls made")
        self._least = answer

    async def _count_at_once(self) -> None:
        """Calls that come at once share the session."""
        answers: list[int] = []
        losses = self._losses

        async def count() -> None:
            with self.census.errors_told(f"counting at once by {self.name}"):
                answers.append(await self._counted())

        async with anyio.create_task_group() as tasks:
            for _ in range(AT_ONCE):
                tasks.start_soon(count)
        if self._losses > losses:  # between which of the calls, nobody knows
            self._least, self._most = 0, AT_ONCE
            self._may_have_state = True
            return
        are_next = all(self._least < answer <= self._most for answer in answers)
        self.census.check(
            are_next and len(set(answers)) == len(answers),
            f"{self.name} counted {answers} at once, with {self._least} told and {self._most} calls made",
        )
        self._least = max([self._least, *answers])

    async def _give_up(self) -> None:
        with anyio.move_on_after(self.random.choice((0.0, 0.001, 0.01, 0.1))):
            await self._count()

    async def _forget_the_lease(self) -> None:
        try:
            await self._acquire_mine()
        except SessionStateLost:
            self._lost()
            raise

    async def _be_intruded_on(self) -> None:
        """Somebody else presents the id of this downstream session while it is in use."""
        try:
            lease = await self._acquire_mine()
        except SessionStateLost:
            self._lost()
            raise
        try:
            (await self._acquire("intruder")).release()
            self.census.fault(f"an intruder got the session of {self.name}")
        except PrincipalMismatch:
            self.census.errors["PrincipalMismatch"] += 1
        finally:
            lease.release()
