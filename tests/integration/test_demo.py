"""`troupe demo`, run as its users run it."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

TIMEOUT = 60.0
"""Seconds that a run may take: many times what it needs, for machines that do much else."""
DEMO = (sys.executable, "-m", "actors", "demo")
FEW = ("--calls", "12", "--concurrency", "2")


def run(*arguments: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 - our own command
        [*DEMO, *arguments],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=False,
        text=True,
        timeout=TIMEOUT,
        env={**os.environ, **(env or {})},
    )


@contextmanager
def started(*arguments: str) -> "Generator[subprocess.Popen[str]]":
    with subprocess.Popen(  # noqa: S603 - our own command
        [*DEMO, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        watchdog = threading.Timer(TIMEOUT, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def read_until(process: "subprocess.Popen[str]", words: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return
    pytest.fail(f"the demo ended without saying {words!r}")


def living(chosen: Callable[[int, int], bool]) -> set[int]:
    """The processes chosen by their number and their parent's, without those that are dead and not yet buried."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, check=True, text=True)  # noqa: S607
    rows = (line.split() for line in listed.stdout.splitlines())
    return {int(pid) for pid, parent, state in rows if not state.startswith("Z") and chosen(int(pid), int(parent))}


def descendants(process: "subprocess.Popen[str]") -> set[int]:
    """Its servers and workers, and its Redis with whoever sees to the end of that."""
    found: set[int] = set()
    parents = {process.pid}
    while parents:
        parents = living(lambda _, parent, those=frozenset(parents): parent in those)
        found |= parents
    return found


def survivors(processes: set[int]) -> set[int]:
    return living(lambda pid, _: pid in processes)


def complaint(ended: "subprocess.CompletedProcess[str]") -> str:
    """The one line that a demo says on standard error when it can't be used."""
    assert ended.returncode == 2, ended
    assert ended.stderr.endswith("\n")
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert ended.stderr.startswith("troupe demo: ")
    return ended.stderr


@pytest.fixture(scope="module")
def own_server() -> Iterator[str]:
    """A server that the demo does not know for one of its own."""
    with subprocess.Popen(
        [sys.executable, "-m", "actors.demo.server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/mcp"
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(TIMEOUT) == 0


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nothing listens on, and nothing else can take meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


# --- what it shows


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_its_figures_as_json_hold_what_it_claims(backend: str) -> None:
    ended = run("--json", "--backend", backend, *FEW)
    assert (ended.returncode, ended.stderr) == (0, ""), ended
    figures: dict[str, Any] = json.loads(ended.stdout)
    assert (figures["ok"], figures["faults"], figures["backend"]) == (True, [], backend)

    fresh, shared_tls, pooled = (figures["comparison"][way] for way in ("fresh", "fresh_shared_tls", "pooled"))
    for way in (fresh, shared_tls, pooled):
        assert way["errors"] == 0
        assert 0 < way["p50_ms"] <= way["p99_ms"]
        assert way["calls_per_second"] > 0
    assert pooled["p50_ms"] < fresh["p50_ms"]
    assert figures["speedup_p50"] == pytest.approx(fresh["p50_ms"] / pooled["p50_ms"], rel=0.01)
    assert fresh["handshakes"] == shared_tls["handshakes"] == 12
    assert 1 <= pooled["handshakes"] <= 2
    assert fresh["http_requests"] >= 2 * 12
    assert 12 <= pooled["http_requests"] < fresh["http_requests"]

    users = figures["two_users"]
    assert users["witness"] == "server"
    assert users["calls"] == {"alice": 20, "bob": 20}
    assert all(sessions >= 1 for sessions in users["sessions"].values())
    assert users["shared"] == users["mixed_up"] == users["errors"] == 0

    crash = figures["killed_server"]
    assert crash["error"] == "CallInterrupted"
    assert crash["error_ms"] < 5000
    assert crash["task_went_on"]
    assert crash["others_calls"] > 0
    assert crash["others_errors"] == 0
    assert (crash["down_error"], crash["down_safe_to_retry"]) == ("UpstreamUnreachable", True)
    assert crash["back_ms"] < 5000

    held_on_three_workers(figures, are_processes=True)


def held_on_three_workers(figures: dict[str, Any], *, are_processes: bool) -> None:
    takeover = figures["three_workers"]
    assert (takeover["are_processes"], takeover["workers"]) == (are_processes, 3)
    assert (takeover["counted"], takeover["sessions"], takeover["owners"]) == (list(range(1, 10)), 1, 1)
    assert takeover["error"] == "OutcomeUnknown"
    assert takeover["error_ms"] < 5000
    assert takeover["lost"] == ["SessionStateLost"]
    assert (takeover["counted_on"], takeover["sessions_after"]) == (list(range(1, 7)), 1)
    assert takeover["owner_after"]
    assert takeover["first_error"] is None


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_without_a_redis_its_workers_are_pools_of_its_own_process(backend: str) -> None:
    arguments = ["demo", "--json", "--backend", backend, *FEW]
    without_redis = (
        f"import sys; sys.modules['redis'] = None; from actors.__main__ import main; sys.exit(main({arguments}))"
    )
    ended = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", without_redis], capture_output=True, check=False, text=True, timeout=TIMEOUT
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended
    held_on_three_workers(json.loads(ended.stdout), are_processes=False)


def test_without_a_terminal_it_prints_plain_lines_even_where_colours_are_asked_for() -> None:
    ended = run(*FEW, env={"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1", "CLICOLOR_FORCE": "1"})
    assert (ended.returncode, ended.stderr) == (0, ""), ended
    assert all(character.isprintable() for character in ended.stdout if character != "\n")
    lines = ended.stdout.splitlines()
    assert "  36 of 36 calls made" in lines
    assert [line.split()[-1] for line in lines if line.startswith((" fresh", " pooled  "))] == ["0", "0", "0"]
    assert any("CallInterrupted after" in line for line in lines)
    assert any("OutcomeUnknown after" in line for line in lines)
    assert any("SessionStateLost, once" in line for line in lines)
    assert sum(line.endswith(" ok") for line in lines) == 4


def test_on_a_terminal_it_draws_a_progress_bar_and_leaves_the_cursor_visible(own_server: str) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(  # noqa: S603 - our own command
        [*DEMO, "--url", own_server, *FEW],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        env={**os.environ, "TERM": "xterm-256color"},
    ) as process:
        os.close(theirs)
        watchdog = threading.Timer(TIMEOUT, process.kill)
        watchdog.start()
        written = b""
        try:
            while part := os.read(ours, 65_536):
                written += part
        except OSError:
            pass  # how a pseudo-terminal on Linux says that nobody writes to it any more
        finally:
            watchdog.cancel()
            os.close(ours)
    assert process.returncode == 0
    assert b"36/36" in written
    assert written.rindex(b"\x1b[?25h") > written.rindex(b"\x1b[?25l")


def test_a_server_of_the_users_own_is_called_and_not_killed(own_server: str) -> None:
    ended = run("--url", own_server, "--tool", "echo", "--args", '{"text": "mine"}', "--header", "X-Mine: yes", *FEW)
    assert (ended.returncode, ended.stderr) == (0, ""), ended
    assert "No server is killed" in ended.stdout
    assert "0 sessions in common" in ended.stdout
    assert sum(line.endswith(" ok") for line in ended.stdout.splitlines()) == 2


# --- what it refuses


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--args", "{text: hi}"], "--args is not JSON"),
        (["--args", '["hi"]'], "--args is not a JSON object"),
        (["--header", "hush hush"], "--header number 1 has no name"),
        (["--header", "X-One: hush\r\nX-Two: hush"], "header X-One"),
        (["--header", "X-One: hush", "--header", "x-one: hush"], "--header x-one is given twice"),
        (["--heder", "Authorization: hush"], "unknown argument --heder"),
        (["--heder=hush"], "unknown argument --heder"),
        (["--calls", "0"], "--calls"),
        (["--url", "ftp://127.0.0.1/mcp"], "upstream url must be absolute"),
        (["--url", "http://me:hush@127.0.0.1/mcp"], "bears credentials"),
    ],
)
def test_options_that_cannot_be_used_are_refused_in_one_line_without_secrets(arguments: list[str], said: str) -> None:
    ended = run(*arguments)
    assert said in complaint(ended)
    assert "hush" not in ended.stderr + ended.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tool", "nope"], "no tool 'nope': it has echo, sleep, sleepers, count, whoami"),
        (["--tool", "sleep"], "seconds (number)"),
        (["--args", '{"text": 5}'], "text: 5 is not of type 'string'"),
        (["--args", "{}"], "'text' is a required property"),
    ],
)
def test_a_tool_or_arguments_that_the_server_has_no_use_for_are_refused_in_one_line(
    own_server: str, arguments: list[str], said: str
) -> None:
    assert said in complaint(run("--url", own_server, *arguments))


def test_a_server_that_cannot_be_reached_is_named_in_one_line(closed_port: int) -> None:
    ended = run("--json", "--url", f"http://127.0.0.1:{closed_port}/mcp?token=hush")
    line = complaint(ended)
    assert f"http://127.0.0.1:{closed_port}/mcp" in line
    assert "refused" in line
    assert "hush" not in line
    assert ended.stdout == ""


def test_a_server_that_refuses_the_credentials_is_quoted_in_one_line() -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(401)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            ended = run("--url", f"http://127.0.0.1:{server.server_port}/mcp", "--header", "Authorization: Bearer hush")
        finally:
            server.shutdown()
            thread.join()
    assert "401" in complaint(ended)
    assert "hush" not in ended.stderr + ended.stdout


def test_without_rich_it_says_how_to_get_it() -> None:
    without_rich = "import sys; sys.modules['rich'] = None; from actors.__main__ import main; sys.exit(main(['demo']))"
    ended = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", without_rich], capture_output=True, check=False, text=True, timeout=TIMEOUT
    )
    assert "pip install 'mcp-troupe[demo]'" in complaint(ended)


# --- how it ends


@pytest.mark.parametrize(
    ("number", "status", "words", "backend"),
    [
        (signal.SIGINT, 130, "each way", "trio"),
        (signal.SIGINT, 130, "calls made", "asyncio"),
        (signal.SIGINT, 130, "A server is killed", "trio"),
        (signal.SIGTERM, 143, "A server is killed", "asyncio"),
        (signal.SIGINT, 130, "Starting three workers", "asyncio"),
        (signal.SIGINT, 130, "Three workers are one pool", "trio"),
        (signal.SIGTERM, 143, "Three workers are one pool", "asyncio"),
    ],
)
def test_it_can_be_ended_at_any_time_and_leaves_no_server(
    number: signal.Signals, status: int, words: str, backend: str
) -> None:
    with started("--calls", "12", "--backend", backend) as process:
        read_until(process, words)
        theirs = descendants(process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=TIMEOUT)
    assert theirs
    assert (process.returncode, errors) == (status, "")
    assert survivors(theirs) == set()


@pytest.mark.parametrize(("words", "number"), [("each way", 2), ("Three workers are one pool", 2 + 3 + 2)])
def test_its_processes_end_with_it_even_when_it_is_killed(words: str, number: int) -> None:
    with started("--calls", "12") as process:
        read_until(process, words)
        theirs = descendants(process)
        process.kill()
        process.wait(TIMEOUT)
        deadline = time.monotonic() + TIMEOUT
        while left := survivors(theirs):
            assert time.monotonic() < deadline, left
    assert len(theirs) == number


def test_a_reader_that_leaves_early_gets_no_traceback(own_server: str) -> None:
    with started("--url", own_server, *FEW) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(TIMEOUT) == 1
