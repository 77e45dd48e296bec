"""Servers that tell: of their progress, in log messages, and of a call that was cancelled. A factory as the others."""

import anyio
from mcp.server.mcpserver import Context, MCPServer

from tests.integration.mcp_server import main, say


def make() -> MCPServer:
    """A server with the tools `steps`, `announce`, `count` and `hang`."""
    server = MCPServer("telling", log_level="CRITICAL")
    counts: dict[str, int] = {}

    @server.tool()
    async def steps(number: int, context: Context) -> int:
        for step in range(1, number + 1):
            await context.report_progress(step, number, f"step {step}")
            await anyio.sleep(0.02)
        return number

    @server.tool()
    async def announce(text: str, context: Context) -> str:
        await context.info(text)  # pyright: ignore[reportDeprecated]
        return text

    @server.tool()
    async def count(context: Context) -> int:
        session = (context.headers or {}).get("mcp-session-id", "")
        counts[session] = counts.get(session, 0) + 1
        return counts[session]

    @server.tool()
    async def hang() -> None:
        say("began hang")
        try:
            await anyio.sleep(60)
        except BaseException:
            say("began to stop")
            raise

    del steps, announce, count, hang
    return server


if __name__ == "__main__":
    main(make())
