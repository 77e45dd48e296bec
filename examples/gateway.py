"""A gateway in small: JSON-RPC in, JSON-RPC out, and a session of its own for each conversation."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
from mcp import Client, MCPError
from mcp.server import MCPServer

from actors import Connection, Opening, Pool, TroupeError, Upstream, open_pool

NOTES = Upstream("http://notes.example/mcp")


def make_server() -> MCPServer:
    server = MCPServer("notes", log_level="CRITICAL")
    notes = list[str]()  # what this server keeps in a session

    @server.tool()
    def note(text: str) -> str:
        notes.append(text)
        return ", ".join(notes)

    return server


@asynccontextmanager
async def in_process(opening: Opening) -> AsyncGenerator[Connection]:  # without it, sessions are opened over HTTP
    async with Client(make_server(), mode="legacy") as client:
        yield Connection(opening.upstream.address, client)


async def answer(pool: Pool, request: dict[str, str], *, user: str, session_id: str) -> dict[str, object]:
    response: dict[str, object] = {"jsonrpc": "2.0", "id": request["id"]}
    try:
        async with pool.session(NOTES, user=user, session_id=session_id) as session:
            result = await session.call_tool("note", {"text": request["params"]})
        response["result"] = result.structured_content
    except MCPError as error:  # the server's own answer
        response["error"] = {"code": error.code, "message": error.message}
    except TroupeError as error:  # why there is none; over HTTP `error.http_status` and `error.retry_after` go with it
        response["error"] = {"code": error.code, "message": str(error)}
    return response


async def main() -> None:
    async with open_pool(connector=in_process) as pool:
        for user, session_id, text in ("ada", "1", "milk"), ("ada", "1", "tea"), ("bob", "2", "ink"), ("bob", "1", "?"):
            print(await answer(pool, {"id": text, "params": text}, user=user, session_id=session_id))
        pool.retire(NOTES)  # as after a deployment of that server: what it kept is gone, and each conversation is told
        for text in ("salt", "salt, then"):
            print(await answer(pool, {"id": text, "params": text}, user="ada", session_id="1"))


if __name__ == "__main__":
    anyio.run(main, backend="trio")
