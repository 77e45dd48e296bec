"""The report for people: a progress bar and tables where there is a terminal, plain lines where there is none."""

import math
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from actors.demo.arguments import Options
from actors.demo.cluster import Workers
from actors.demo.comparison import Comparison
from actors.demo.crash import Crash
from actors.demo.report import Report
from actors.demo.subject import Subject
from actors.demo.takeover import Takeover
from actors.demo.users import TwoUsers

LABELS: Final = {
    "fresh": "fresh, SDK's way",
    "fresh_shared_tls": "fresh, shared TLS",
    "pooled": "pooled",
}
WITNESSES: Final = {"server": "as the server saw them", "client": "by the connections that the calls went out on"}
PLAIN_WIDTH: Final = 120


class Screen(Report):
    """Writes to standard output."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        # What is no terminal gets no control characters, whatever the environment says.
        self._console = (
            _Console() if self._is_terminal else _Console(force_terminal=False, color_system=None, width=PLAIN_WIDTH)
        )
        self._claims: list[tuple[str, str, bool]] = []
        self._kill = ""

    @override
    def starting(self, options: Options) -> None:
        what = "Starting two MCP servers" if options.url is None else "Asking the server for its tools"
        self._print(Text(f"{what} ..."))

    @override
    @contextmanager
    def comparing(self, subject: Subject, options: Options) -> Generator[Callable[[int], None]]:
        what = f"{_count(options.calls, 'call')} of {subject.tool} each way, {options.concurrency} at a time"
        self._print(Text(f"{what}, on {subject.upstream.address} ({options.backend})."))
        total = len(LABELS) * options.calls
        if not self._is_terminal:
            yield self._milestones(total)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        # Drawn after each batch only: a thread that draws would take its time from the calls.
        with Progress(*columns, console=self._console, transient=True, auto_refresh=False) as progress:
            task = progress.add_task("calling", total=total)

            def advance(calls: int) -> None:
                progress.update(task, advance=calls, refresh=True)

            yield advance

    def _milestones(self, total: int) -> Callable[[int], None]:
        done = 0

        def advance(calls: int) -> None:
            nonlocal done
            before, done = done * 4 // total, done + calls
            if done * 4 // total > before:
                self._print(Text(f"  {done} of {total} calls made"))

        return advance

    @override
    def compared(self, comparison: Comparison) -> None:
        table = Table("sessions", box=box.SIMPLE_HEAD, pad_edge=False, caption_justify="left")
        for heading in ("p50", "p99", "calls/s", "HTTP\nrequests", "hand-\nshakes", "errors"):
            table.add_column(heading, justify="right", no_wrap=True)
        for name, way in comparison.ways.items():
            table.add_row(
                LABELS[name],
                _duration(way.percentile(50)),
                _duration(way.percentile(99)),
                f"{way.calls_per_second:.0f}",
                str(way.http_requests),
                str(way.handshakes),
                str(way.errors),
                style="bold" if name == "pooled" else None,
            )
        self._print(table)
        self._print(Text("The pool's requests and handshakes include those of its warm-up.\n", "dim"))
        errors = sum(way.errors for way in comparison.ways.values())
        lower = (
            "no call was answered in one of the ways"
            if math.isnan(comparison.speedup)
            else f"p50 {comparison.speedup:.1f} times lower than the SDK's way"
        )
        self._claims.append(("pooled calls", f"{lower}, {_count(errors, 'error')}", errors == 0))

    @override
    def watching(self) -> None:
        self._print(Text("Two users call at the same time, through one pool."))

    @override
    def watched(self, users: TwoUsers) -> None:
        facts = [
            (user, f"{_count(users.calls[user], 'call')} answered, on {_count(sessions, 'session')}")
            for user, sessions in users.sessions.items()
        ]
        shared = f"{_count(users.shared, 'session')} in common"
        facts.append(("both", f"{shared}, {WITNESSES[users.witness]}"))
        self._tell(facts)
        self._print(Text())
        self._claims.append(("two users", f"{shared}, {_count(users.errors, 'error')}", users.is_fine))

    @override
    def killing(self) -> None:
        self._print(Text("A server is killed (SIGKILL) in the middle of a call."))

    @override
    def killed(self, crash: Crash) -> None:
        call = f"{crash.error} after {_duration(crash.error_seconds)}: {crash.message}" if crash.error else "no error"
        task = "goes on, and has its next call answered" if crash.task_went_on else "does not go on"
        others = f"{_count(crash.others_calls, 'call')} answered meanwhile, by another server"
        safe = "safe to retry" if crash.down_safe_to_retry else "not safe to retry"
        away = f"{crash.down_error} after {_duration(crash.down_seconds)}, {safe}" if crash.down_error else "no error"
        if crash.back_seconds is None:
            back = f"not served, at {_count(crash.back_tries, 'try', 'tries')}"
        else:
            back = f"served {_duration(crash.back_seconds)} after the server is back, at try {crash.back_tries}"
        self._tell(
            [
                ("that call", call),
                ("its task", task),
                ("others", f"{others}, {_count(crash.others_errors, 'error')}"),
                ("new calls", f"while it is away: {away}"),
                ("", back),
            ]
        )
        again = "not served again" if crash.back_seconds is None else "served again at once"
        self._claims.append(("killed server", f"{crash.error or 'no error'} for the one call, {again}", crash.is_fine))

    @override
    def starting_workers(self) -> None:
        self._print(Text("\nStarting three workers ..."))

    @override
    def taking_over(self, workers: Workers) -> None:
        how = (
            "processes that meet on a Redis"
            if workers.are_processes
            else "within this process: there is no redis-server, or no redis-py"
        )
        self._print(Text(f"Three workers are one pool ({how}). One conversation's calls land on all."))
        self._kill = "killed (SIGKILL)" if workers.are_processes else "cut off from the others"

    @override
    def taken_over(self, takeover: Takeover) -> None:
        sessions = _count(takeover.sessions, "upstream session")
        error = takeover.error or "no error"
        after = f" after {_duration(takeover.error_seconds)}: {takeover.message}" if takeover.error else ""
        lost = " and ".join(takeover.lost) or "no error"
        if takeover.lost == ["SessionStateLost"]:
            lost = f"SessionStateLost, once: {takeover.lost_message}"
        if takeover.back_seconds is None:
            back = "it does not go on"
        else:
            new = _count(takeover.sessions_after, "new upstream session")
            back = (
                f"goes on {_duration(takeover.back_seconds)} later, on the two that are left: "
                f"counted {_span(takeover.counted_on)}, on {new}"
            )
        self._tell([("its calls", f"counted {_span(takeover.counted)}, on {sessions}, at one owner")])
        self._print(Text(f"Its owner is {self._kill} in the middle of another worker's call."))
        self._tell([("that call", f"{error}{after}"), ("the next", lost), ("and then", back)])
        outcome = f"{sessions}; {error} for one call, {'goes on' if takeover.is_fine else 'not as it should be'}"
        self._claims.append(("three workers", outcome, takeover.is_fine))

    @override
    def not_killing(self) -> None:
        self._print(Text("No server is killed, and no worker: this server is not the demo's. Without --url both are."))

    @override
    def ended(self, faults: list[str]) -> None:
        table = Table("shown", "", "", box=box.SIMPLE_HEAD, pad_edge=False)
        for claim, outcome, is_fine in self._claims:
            table.add_row(claim, outcome, Text("ok", "green") if is_fine else Text("FAILED", "bold red"))
        self._print(table)

    def _tell(self, facts: list[tuple[str, str]]) -> None:
        grid = Table.grid(padding=(0, 2))
        for name, fact in facts:
            grid.add_row(Text(name, "cyan"), Text(fact))
        self._print(Padding(grid, (0, 0, 0, 2)))

    def _print(self, what: RenderableType) -> None:
        if self._is_terminal:
            self._console.print(what)
            return
        # rich fills every line up with spaces.
        with self._console.capture() as captured:
            self._console.print(what)
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
        sys.stdout.flush()


class _Console(Console):
    @override
    def on_broken_pipe(self) -> None:
        # rich would exit on the spot, out of the middle of whatever runs.
        raise BrokenPipeError


def _duration(seconds: float) -> str:
    if math.isnan(seconds):
        return "-"
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def _span(numbers: list[int]) -> str:
    return f"{numbers[0]} to {numbers[-1]}" if numbers else "nothing"


def _count(number: int, singular: str, plural: str | None = None) -> str:
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
