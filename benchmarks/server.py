"""An MCP server for the benchmarks, in a process of its own: the SDK's, under uvicorn, on a free port of the loopback.

`python -m benchmarks.server` prints its address and serves until its standard input ends, so it outlives nobody.
"""

import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from mcp.server import MCPServer

TOOL = "echo"


@contextmanager
def running_server() -> Generator[str]:
    """The address of a server that runs meanwhile."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.server"],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            if not address:
                raise RuntimeError(f"the benchmark's server ended with status {process.wait()} before it served")
            yield address
        finally:
            process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def main() -> None:
    """Serve until standard input ends."""
    server = MCPServer("benchmark", log_level="WARNING")

    @server.tool(name=TOOL)
    def echo(text: str) -> str:
        """Answer with what was sent."""
        return text

    config = uvicorn.Config(server.streamable_http_app(), log_level="warning", timeout_graceful_shutdown=1)
    serving = uvicorn.Server(config)

    def end_with_input() -> None:
        sys.stdin.read()
        serving.should_exit = True

    threading.Thread(target=end_with_input, daemon=True).start()
    # The protocol is named, since asyncio turns Nagle's algorithm off only where it is. Else an answer of two writes
    # takes 40 ms more.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1_024)
        # From here on whoever knows the address can connect, and is served once uvicorn has started.
        print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
        serving.run(sockets=[listener])


if __name__ == "__main__":
    main()
