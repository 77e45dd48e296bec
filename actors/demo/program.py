"""`troupe demo` itself: what happens in which order, and how it ends."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Final

import anyio
from anyio.abc import TaskStatus

from actors.demo.arguments import DemoError, Options, read_options
from actors.demo.cluster import running_workers
from actors.demo.comparison import Comparison, compare
from actors.demo.crash import Crash, kill_a_server
from actors.demo.process import DemoServer, running_servers
from actors.demo.report import JsonReport, Report
from actors.demo.subject import describe, find_subject
from actors.demo.takeover import Takeover, kill_the_owner
from actors.demo.users import TwoUsers, seen_by_the_client, seen_by_the_server
from protocol.errors import TroupeError

FAILED: Final = 1
UNUSABLE: Final = 2
SIGNALLED: Final = 128
"""Added to a signal's number, this is the status of what it ended."""


def run(given: argparse.Namespace) -> int:
    """Run the demo, and answer with its exit status: 0, `FAILED`, `UNUSABLE`, or that of the signal that ended it."""
    # What the libraries log of a failure comes on top of the one line that tells it.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        options = read_options(given)
        return anyio.run(_until_signalled, options, _report(options), backend=options.backend)
    except DemoError as error:
        complain(str(error))
        return UNUSABLE


def complain(text: str) -> None:
    """Say on standard error, in one line, why the demo ends."""
    sys.stderr.write(f"troupe demo: {text}\n")


def _report(options: Options) -> Report:
    if options.json:
        return JsonReport()
    try:
        from actors.demo.screen import Screen  # noqa: PLC0415 - rich is an extra
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "rich":
            raise
        raise DemoError("this needs rich: pip install 'mcp-troupe[demo]' (or use --json)") from None
    return Screen()


async def _until_signalled(options: Options, report: Report) -> int:
    """Show everything, unless Ctrl-C or a request to end comes first: then all is undone in good order."""
    status = 0
    async with anyio.create_task_group() as tasks:

        async def await_signal(*, task_status: TaskStatus[None]) -> None:
            nonlocal status
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                task_status.started()
                async for number in signals:
                    status = SIGNALLED + number
                    tasks.cancel_scope.cancel()

        await tasks.start(await_signal)
        outcome = await _to_the_end(options, report)
        status = status or outcome
        tasks.cancel_scope.cancel()
    return status


async def _to_the_end(options: Options, report: Report) -> int:
    try:
        report.starting(options)
        if options.url is None:
            async with running_servers(2) as servers:
                faults = await _show(options, report, servers)
        else:
            faults = await _show(options, report, ())
        report.ended(faults)
        sys.stdout.flush()
    except (DemoError, TroupeError) as error:
        complain(describe(error))
        return UNUSABLE
    except BrokenPipeError:
        # Whoever read the output has gone. Python would complain when it flushes the rest at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    if faults:
        complain("; ".join(faults))
        return FAILED
    return 0


async def _show(options: Options, report: Report, servers: Sequence[DemoServer]) -> list[str]:
    """Show one thing after another, and answer with what was not as it should be."""
    subject = await find_subject(options, servers[0].url if servers else options.url or "", own=bool(servers))
    with report.comparing(subject, options) as advance:
        comparison = await compare(subject, calls=options.calls, concurrency=options.concurrency, advance=advance)
    report.compared(comparison)

    report.watching()
    users = await (seen_by_the_server(servers[0].url) if servers else seen_by_the_client(subject))
    report.watched(users)

    if not servers:
        report.not_killing()
        return [*_faults_in(comparison), *_faults_among(users)]
    report.killing()
    crash = await kill_a_server(*servers)
    report.killed(crash)

    report.starting_workers()
    async with running_workers(servers[0].url, options.backend) as workers:
        report.taking_over(workers)
        takeover = await kill_the_owner(workers, servers[0])
    report.taken_over(takeover)
    return [*_faults_in(comparison), *_faults_among(users), *_faults_after(crash), *_faults_of(takeover)]


def _faults_in(comparison: Comparison) -> Iterator[str]:
    for name, way in comparison.ways.items():
        if way.errors:
            yield f"{way.errors} calls failed ({name}), the first with: {way.first_error}"


def _faults_among(users: TwoUsers) -> Iterator[str]:
    if users.errors:
        yield f"{users.errors} calls of two users failed, the first with: {users.first_error}"
    if users.shared or users.mixed_up:
        yield f"two users shared {users.shared} sessions, and {users.mixed_up} calls came in under the other's name"


def _faults_after(crash: Crash) -> Iterator[str]:
    if not crash.is_fine:
        yield "a killed server cost more than a clear error of one call"


def _faults_of(takeover: Takeover) -> Iterator[str]:
    if not takeover.is_fine:
        also = f", and a call failed with {takeover.first_error}" if takeover.first_error else ""
        yield f"a conversation on three workers did not go on as it should{also}"
