"""A server that speaks Redis's protocol, and says what a test makes it say: for what no real one can be brought to."""

import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import BinaryIO

Answer = Callable[[list[bytes]], bytes | None]
"""What is answered to a command, as it goes out; nothing and the end of the connection if it is None."""


class FakeRedis:
    """See above.

    Attributes:
        port: where it listens, on loopback.
        accepted: how many connections there have been.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port: int = self._server.getsockname()[1]
        self.accepted = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def run(self) -> None:
        threads: list[threading.Thread] = []
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                break
            self.accepted += 1
            self._open.append(connection)
            threads.append(threading.Thread(target=self._serve, args=(connection,)))
            threads[-1].start()
        for thread in threads:
            thread.join()

    def end(self) -> None:
        for connection in (self._server, *self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._server.close()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as said:
            try:
                while (words := _command(said)) is not None:
                    answer = self._answer(words)
                    if answer is None:
                        return
                    connection.sendall(answer)
            except OSError:
                return


def _command(said: BinaryIO) -> list[bytes] | None:
    line = said.readline()
    if not line:
        return None
    words: list[bytes] = []
    for _ in range(int(line[1:])):
        length = int(said.readline()[1:])
        words.append(said.read(length + 2)[:-2])
    return words


def bulk(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def well(words: list[bytes]) -> bytes:
    """What a Redis that is well answers to what a bus says as it joins, and to signs of life."""
    match words:
        case [b"SUBSCRIBE", *channels]:
            return b"".join(
                b"*3\r\n$9\r\nsubscribe\r\n$%d\r\n%s\r\n:%d\r\n" % (len(channel), channel, number)
                for number, channel in enumerate(channels, start=1)
            )
        case [b"EVAL", _, b"1", key] if key.endswith(b":run"):
            return bulk(b"1000.5", b"1010", b"750000")
        case _:
            return b"+PONG\r\n"


@contextmanager
def fake_redis(answer: Answer = well) -> Generator[FakeRedis]:
    """Start one, and end it with all its connections at the exit."""
    fake = FakeRedis(answer)
    thread = threading.Thread(target=fake.run)
    thread.start()
    try:
        yield fake
    finally:
        fake.end()
        thread.join()
