"""The servers of the soak: a factory as in `tests.integration.mcp_server`, with tools that tell whose a session is.

Each request says in a header whose it is. A tool notes it with the session that the request came on, and fails when
another owner comes on the same one: so the server itself sees what would be lent to the wrong user.
"""

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from tests.integration.mcp_server import main

OWNER = "x-soak-owner"


def make() -> MCPServer:
    """A server with the tools `echo`, `count` and `hang`."""
    server = MCPServer("soak", log_level="CRITICAL")
    owners: dict[str, str] = {}
    counts: dict[str, int] = {}

    def session_of(context: Context) -> tuple[str, str]:
        headers = context.headers or {}
        session, owner = headers.get("mcp-session-id", ""), headers.get(OWNER, "")
        if session and owners.setdefault(session, owner) != owner:
            raise ToolError(f"the session of {owners[session]} was used by {owner}")
        return session, owner

    @server.tool()
    async def echo(text: str, context: Context) -> dict[str, str]:
        return {"text": text, "owner": session_of(context)[1]}

    @server.tool()
    async def count(context: Context) -> int:
        session, _ = session_of(context)
        counts[session] = counts.get(session, 0) + 1
        return counts[session]

    @server.tool()
    async def hang(context: Context) -> None:
        session_of(context)
        await anyio.sleep(60)

    return server


if __name__ == "__main__":
    main(make())
