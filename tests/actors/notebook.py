"""An actor for the tests of the runtime: it notes what it is told, and answers in every way an actor can."""

from typing import assert_never

from actors import Actor, Reply, Request, Signal, message


@message
class Note:
    text: str


@message
class Boom:
    pass


@message
class Read(Request[list[str]]):
    pass


@message
class Keep(Request[str]):
    """Answered later, by `Answer`."""


@message
class Answer:
    value: str


@message
class Forget(Request[str]):
    """Never answered."""


NotebookMessage = Note | Boom | Read | Keep | Answer | Forget


class Notebook(Actor[NotebookMessage]):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.kept: list[Reply[str]] = []
        self.signals: list[Signal] = []
        self.ended: list[BaseException | None] = []

    def started(self) -> None:
        self.notes.append("started")

    def receive(self, message: NotebookMessage) -> None:
        match message:
            case Note(text):
                self.notes.append(text)
            case Boom():
                raise ValueError("boom")
            case Read():
                self.reply(list(self.notes))
            case Keep():
                self.kept.append(self.keep_reply())
            case Answer(value):
                self.kept.pop(0).answer(value)
            case Forget():
                pass
            case _:
                assert_never(message)

    def signal(self, signal: Signal) -> None:
        self.signals.append(signal)

    def stopped(self, reason: BaseException | None) -> None:
        self.ended.append(reason)
