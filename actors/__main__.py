"""The `troupe` command."""

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final, NoReturn

from actors.demo.arguments import add_arguments

UNUSABLE: Final = 2
INTERRUPTED: Final = 128 + signal.SIGINT


class _Parser(argparse.ArgumentParser):
    """Reports what it cannot use in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(UNUSABLE, f"{self.prog}: {' '.join(message.split())} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and answer with its exit status.

    Args:
        arguments: those of the command line; None means the process's own.
    """
    parser = _Parser(prog="troupe", description="Live sessions with MCP servers, pooled.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"troupe {version('mcp-troupe')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    demo = commands.add_parser(
        "demo",
        help="show pooling at work on real MCP servers",
        description="Show pooling at work: pooled calls against fresh sessions, two users kept apart, a server killed.",
        allow_abbrev=False,
    )
    add_arguments(demo)
    demo.set_defaults(run=_demo)
    try:
        given, unknown = parser.parse_known_args(arguments)
        if unknown:
            # Only the option's name: what follows it may be a credential under a misspelt name.
            option = unknown[0].partition("=")[0] if unknown[0].startswith("-") else "without an option"
            demo.error(f"unknown argument {option}")
        return given.run(given)
    except KeyboardInterrupt:
        return INTERRUPTED


def _demo(given: argparse.Namespace) -> int:
    from actors.demo.program import run  # noqa: PLC0415 - a second's worth of imports, which --help need not wait for

    return run(given)


if __name__ == "__main__":
    sys.exit(main())
