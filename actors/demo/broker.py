"""A Redis of the demo's own, beside a process that sees to its end: `python -m actors.demo.broker PROGRAM`.

It listens on a socket in a temporary folder and nowhere else, and keeps nothing. Its address is the one line on its
standard output. It ends when its standard input does, so that it never outlives whoever started it.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Final

PROGRAMS: Final = ("redis-server", "valkey-server")
_FOLDERS: Final = ("/usr/local/bin", "/opt/homebrew/bin", "/usr/sbin", "/usr/bin")
_START_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.01


def find_program() -> str | None:
    """A Redis server's program on this machine, if there is one, and if what it takes to speak to it is installed."""
    if find_spec("redis") is None or find_spec("trio_asyncio") is None:
        return None
    folders = os.pathsep.join((os.environ.get("PATH", ""), str(Path(sys.executable).parent), *_FOLDERS))
    return next((found for program in PROGRAMS if (found := shutil.which(program, path=folders))), None)


def main() -> None:
    """Run the server until standard input ends."""
    program = sys.argv[1]
    with tempfile.TemporaryDirectory(prefix="troupe-demo-") as folder:
        path = Path(folder) / "redis.sock"
        command = [program, "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"]
        command += ["--dir", folder, "--save", "", "--appendonly", "no", "--daemonize", "no"]
        with subprocess.Popen(  # noqa: S603 - the program was found by name, and no shell reads the command
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            asked_to_end = Thread(target=sys.stdin.buffer.read, daemon=True)
            asked_to_end.start()
            try:
                if _answers(process, path, asked_to_end):
                    sys.stdout.write(f"unix://{path}\n")
                    sys.stdout.flush()
                    asked_to_end.join()
            finally:
                process.kill()


def _answers(process: "subprocess.Popen[bytes]", path: Path, asked_to_end: Thread) -> bool:
    """Wait until it does. False if it has ended, or takes too long, or nobody wants to know any more."""
    until = time.monotonic() + _START_SECONDS
    while process.poll() is None and asked_to_end.is_alive() and time.monotonic() < until:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_START_SECONDS)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        time.sleep(_POLL_SECONDS)
    return False


if __name__ == "__main__":
    main()
