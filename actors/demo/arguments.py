"""What the user of `troupe demo` asked for, read from the command line."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from protocol.errors import InvalidSettings
from protocol.keys import check_headers


class DemoError(Exception):
    """The demo cannot go on, for a reason that its user can mend. The text is one line, and holds no secret."""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for.

    Attributes:
        url: the user's own server; None for servers of the demo's.
        tool: the tool to call; None leaves the choice to the demo.
        arguments: what to call it with; None leaves that to the demo too.
        headers: sent with every request.
        calls: how many calls are measured each way.
        concurrency: how many of them are under way at a time.
        backend: the event loop, `"trio"` or `"asyncio"`.
        json: whether one JSON object is wanted instead of text.
    """

    url: str | None
    tool: str | None
    arguments: dict[str, Any] | None
    headers: Mapping[str, str]
    calls: int
    concurrency: int
    backend: str
    json: bool


MOST_CALLS: Final = 100_000
MOST_AT_A_TIME: Final = 1_000
_HEADER_HINT: Final = "give it as 'Name: value'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `troupe demo`."""
    parser.add_argument("--url", help="an MCP server of your own, over Streamable HTTP (default: the demo starts some)")
    parser.add_argument("--tool", help="the tool to call (default: echo)")
    parser.add_argument("--args", metavar="JSON", help="""its arguments, such as '{"text": "hi"}'""")
    parser.add_argument(
        "--header", metavar="'NAME: VALUE'", action="append", default=[], help="sent with every request; repeatable"
    )
    parser.add_argument(
        "--calls", type=_number(MOST_CALLS), default=100, metavar="N", help="calls measured each way (default: 100)"
    )
    parser.add_argument(
        "--concurrency", type=_number(MOST_AT_A_TIME), default=4, metavar="N", help="calls at a time (default: 4)"
    )
    parser.add_argument("--backend", choices=("trio", "asyncio"), default="trio", help="the event loop (default: trio)")
    parser.add_argument("--json", action="store_true", help="print all figures as one JSON object, and nothing else")


def read_options(given: argparse.Namespace) -> Options:
    """The options, checked as far as that goes without asking the server.

    Raises:
        DemoError: an option cannot be used.
    """
    return Options(
        url=given.url,
        tool=given.tool,
        arguments=None if given.args is None else _read_arguments(given.args),
        headers=_read_headers(given.header),
        calls=given.calls,
        concurrency=min(given.concurrency, given.calls),
        backend=given.backend,
        json=given.json,
    )


class _number:  # noqa: N801 - argparse shows the callable's name where it has nothing better
    """A whole number from 1 to a limit, as argparse wants its types."""

    def __init__(self, most: int) -> None:
        self._most = most

    def __call__(self, text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = 0
        if not 1 <= number <= self._most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {self._most}")
        return number


def _read_arguments(text: str) -> dict[str, Any]:
    try:
        arguments: object = json.loads(text)
    except ValueError as error:
        raise DemoError(f"--args is not JSON: {error}") from None
    except RecursionError:
        raise DemoError("--args is not JSON that can be read: it is nested too deeply") from None
    if not isinstance(arguments, dict):
        raise DemoError('--args is not a JSON object: give the tool\'s arguments by name, such as \'{"text": "hi"}\'')
    return cast("dict[str, Any]", arguments)


def _read_headers(lines: Sequence[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        name, colon, value = line.partition(":")
        # What has no colon may be the secret itself, so it is not shown.
        if not colon or not name.strip():
            raise DemoError(f"--header number {number} has no name: {_HEADER_HINT}")
        name = name.strip()
        if name.lower() in {known.lower() for known in headers}:
            raise DemoError(f"--header {name} is given twice: give it once")
        headers[name] = value.strip()
    try:
        check_headers(headers)
    except InvalidSettings as error:
        raise DemoError(f"--header cannot be used: {error}") from None
    return headers
