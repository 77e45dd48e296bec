"""Workers under a supervisor: jobs go round, and a job that crashes its worker costs only what that worker had."""

from itertools import cycle

import anyio

from actors import Actor, ActorStopped, ChildSpec, Outcome, Reply, Request, Succeeded, Supervisor, message, open_system

WORKERS = ["worker-1", "worker-2", "worker-3"]


@message
class Square(Request[int]):
    """Asked for the square of a number, which takes a while."""

    number: int


@message
class Computed:
    """A thread has ended, for whoever waits there."""

    reply: Reply[int]
    outcome: Outcome[int]


class Worker(Actor[Square | Computed]):
    def receive(self, message: Square | Computed) -> None:
        match message:
            case Square(13):
                raise ValueError("13 is bad luck")
            case Square(number):
                reply = self.keep_reply()  # answered when the thread is done
                self.start_in_thread(lambda: number * number, then=lambda outcome: Computed(reply, outcome))
            case Computed(reply, Succeeded(value)):
                reply.answer(value)
            case Computed(reply, outcome):
                reply.fail(ArithmeticError(str(outcome)))


async def main() -> None:
    async with open_system() as system, anyio.create_task_group() as asking:
        specs = [ChildSpec(name, Worker) for name in WORKERS]
        await system.start(Supervisor(specs, intensity=3), name="workers")

        async def ask(worker: str, number: int) -> None:
            try:  # by name, which a worker that is restarted keeps
                print(number, await system.named(f"workers/{worker}").ask(Square(number), timeout=5))
            except ActorStopped as error:
                print(number, error)

        for worker, number in zip(cycle(WORKERS), range(10, 18), strict=False):
            asking.start_soon(ask, worker, number)


if __name__ == "__main__":
    anyio.run(main, backend="trio")
