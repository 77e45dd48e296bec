"""What the demo calls: a tool on a server, with arguments that fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for
from mcp import MCPError
from mcp_types import CallToolResult, TextContent, Tool
from referencing import Registry

from actors import Lease, PoolSettings, Upstream, open_pool
from actors.connection import innermost
from actors.demo.arguments import DemoError, Options
from protocol.errors import TroupeError

CALL_TIMEOUT: Final = 60.0
"""Seconds that one call may take."""
DEFAULT_TOOL: Final = "echo"
DEFAULT_TEXT: Final = "hi"
_LONGEST: Final = 300
"""The most characters of a text of somebody else's that are shown."""
_SHOWN: Final = 20
"""The most tools or arguments that an error lists."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A tool on a server.

    Attributes:
        upstream: the server.
        headers: sent with every request.
        tool: the tool's name.
        arguments: what it is called with.
        echoes: whether it is known to answer with its argument `text`. Then each call has another text, which shows
            that the answer is the answer to this call.
    """

    upstream: Upstream
    headers: Mapping[str, str]
    tool: str
    arguments: dict[str, Any]
    echoes: bool

    def arguments_of(self, call: int) -> dict[str, Any]:
        """What the call of this number passes."""
        if not self.echoes:
            return self.arguments
        return {**self.arguments, "text": f"{self.arguments['text']} {call}"}

    def fault_in(self, call: int, result: CallToolResult) -> str | None:
        """What is wrong with the answer to the call of this number; None if nothing is."""
        said = text_of(result)
        if result.is_error:
            return f"the tool {self.tool} answered with an error: {shorten(said)}"
        if self.echoes and said != self.arguments_of(call)["text"]:
            return f"the tool {self.tool} answered with another text than it was given"
        return None


def text_of(result: CallToolResult) -> str:
    """The text in a tool's answer."""
    return "".join(part.text for part in result.content if isinstance(part, TextContent))


def shorten(text: str) -> str:
    """The beginning of a text of somebody else's, as one line."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def describe(error: BaseException) -> str:
    """An error as one line. Of one that is neither Troupe's nor MCP's only the kind: it may quote what was sent."""
    inner = innermost(error)
    if isinstance(inner, TroupeError | DemoError):
        return shorten(str(inner))
    if isinstance(inner, MCPError):
        return shorten(f"{inner.message} (code {inner.code})")
    return type(inner).__name__


async def find_subject(options: Options, url: str, *, own: bool) -> Subject:
    """Look for the tool on the server, see that the arguments fit it, and make one call.

    Args:
        options: what was asked for.
        url: the server's address.
        own: whether the server is one of the demo's own.

    Raises:
        DemoError: the server, the tool or the arguments do not do; the text says why.
    """
    try:
        upstream = Upstream(url)
        async with (
            open_pool(PoolSettings(max_size=1, call_timeout=CALL_TIMEOUT)) as pool,
            pool.session(upstream, headers=options.headers) as session,
        ):
            tool = _choose(await _tools(session), options.tool, upstream.address)
            arguments = _derive(tool) if options.arguments is None else options.arguments
            _check(tool, arguments)
            echoes = own and tool.name == DEFAULT_TOOL
            subject = Subject(upstream, options.headers, tool.name, arguments, echoes=echoes)
            fault = subject.fault_in(0, await session.call_tool(tool.name, subject.arguments_of(0)))
    except (TroupeError, MCPError) as error:
        raise DemoError(describe(error)) from error
    if fault is not None:
        raise DemoError(fault)
    return subject


async def _tools(session: Lease) -> list[Tool]:
    page = await session.list_tools()
    tools = list(page.tools)
    while page.next_cursor is not None:
        page = await session.list_tools(cursor=page.next_cursor)
        tools += page.tools
    return tools


def _choose(tools: Sequence[Tool], name: str | None, address: str) -> Tool:
    for tool in tools:
        if tool.name == (name or DEFAULT_TOOL):
            return tool
    has = f"it has {_listed([tool.name for tool in tools])}" if tools else "it has none"
    if name is None:
        raise DemoError(f"{address} has no tool {DEFAULT_TOOL!r}: name another one with --tool; {has}")
    raise DemoError(f"{address} has no tool {shorten(name)!r}: {has}")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return shorten(", ".join(names[:_SHOWN])) + more


def _derive(tool: Tool) -> dict[str, Any]:
    """Arguments for a tool that is easily pleased: it requires nothing, or one text."""
    required = cast("list[str]", tool.input_schema.get("required", []))
    properties = cast("dict[str, dict[str, Any]]", tool.input_schema.get("properties", {}))
    kinds = {name: properties.get(name, {}).get("type", "any") for name in required}
    if not kinds:
        return {}
    if list(kinds.values()) == ["string"]:
        return dict.fromkeys(kinds, DEFAULT_TEXT)
    wanted = _listed([f"{name} ({kind})" for name, kind in kinds.items()])
    raise DemoError(f"the tool {tool.name} needs arguments: give them with --args, as a JSON object with {wanted}")


def _check(tool: Tool, arguments: dict[str, Any]) -> None:
    """Refuse arguments that do not fit the tool's input schema. One that is unsound itself is the server's affair."""
    schema = tool.input_schema
    # An empty registry: a schema must not make the demo fetch addresses that it names.
    validator = validator_for(schema, default=Draft202012Validator)(schema, registry=Registry())
    try:
        errors = list(validator.iter_errors(arguments))
    except Exception:  # noqa: BLE001 - the schema is somebody else's, and can be unsound in any way
        return
    if errors:
        error = min(errors, key=lambda error: len(error.absolute_path))
        field = ".".join(str(step) for step in error.absolute_path)
        where = f"{shorten(field)}: " if field else ""
        raise DemoError(f"--args do not fit the tool {tool.name}: {where}{shorten(error.message)}")
