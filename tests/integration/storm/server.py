"""The MCP server of the storm: that of the soak, with a tool that says of each execution what it is."""

import json
import time
from typing import Any

import anyio
from mcp.server.mcpserver import Context, MCPServer

from benchmarks.soaking.server import OWNER
from benchmarks.soaking.server import make as make_soaked
from tests.integration.mcp_server import main, say


def make() -> MCPServer:
    server = make_soaked()
    counts: dict[str, int] = {}

    @server.tool()
    async def run(call: str, seconds: float, context: Context) -> dict[str, Any]:
        headers = context.headers or {}
        session, conversation = headers.get("mcp-session-id", ""), headers.get(OWNER, "")
        count = counts[session] = counts.get(session, 0) + 1
        say(json.dumps([time.monotonic(), conversation, session, call, count]))
        await anyio.sleep(seconds)
        return {"session": session, "call": call, "count": count}

    return server


if __name__ == "__main__":
    main(make())
