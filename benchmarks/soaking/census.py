"""The census of a soak: what was done, which errors were seen, what should not have been, and what is left."""

import asyncio
import gc
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio
from mcp import MCPError
from typing_extensions import override

from actors import PoolStats
from protocol.errors import (
    AcquireTimeout,
    BreakerOpen,
    CallFailed,
    ConnectFailed,
    PoolFull,
    SessionStateLost,
    TroupeError,
)
from protocol.pool_events import KeyEviction

NAMED: Final = (AcquireTimeout, BreakerOpen, CallFailed, ConnectFailed, PoolFull, SessionStateLost, MCPError)
"""What a user may see of a pool whose servers come and go. Everything else is a fault."""

SECRET: Final = "secret-"  # noqa: S105 - it is no secret of anybody's
"""What every token has in it, and no text that the pool makes may have."""

PROCESS: Final = Path("/proc/self")
SETTLING: Final = 3.0
"""Seconds that what has been closed may take to be gone: connections and processes end after they are told to."""


@dataclass(slots=True)
class Census:
    """What came of a soak.

    Attributes:
        done: what was done, by name, and how often.
        errors: those that are allowed, by name.
        faults: what must not be, in words.
        times: how long ends took, in seconds.
        memory: resident kilobytes, each with the seconds since the beginning.
        stats: the pool's figures once it was closed.
    """

    done: Counter[str] = field(default_factory=Counter[str])
    errors: Counter[str] = field(default_factory=Counter[str])
    faults: list[str] = field(default_factory=list[str])
    times: dict[str, float] = field(default_factory=dict[str, float])
    memory: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    stats: PoolStats = field(default_factory=PoolStats)

    def fault(self, text: str) -> None:
        """Note what must not be."""
        self.faults.append(text[:2_000])

    def check(self, holds: bool, text: str) -> None:  # noqa: FBT001 - as `assert` does
        """Note it unless it holds."""
        if not holds:
            self.fault(text)

    def check_secrets(self, text: str, where: str) -> None:
        """Note it if a token is in the text."""
        self.check(SECRET not in text, f"a token was shown in {where}")

    @contextmanager
    def errors_told(self, during: str, *also: type[TroupeError]) -> Generator[None]:
        """Take note of errors, and go on: those with names are counted, all others are faults."""
        try:
            yield
        except (*NAMED, *also) as error:
            name = type(error).__name__
            self.errors[f"{name} {error.code}" if isinstance(error, MCPError) else name] += 1
            self.check_secrets(str(error), f"a {name} during {during}")
        except Exception as error:  # noqa: BLE001 - the soak goes on, to see what else there is
            self.fault(f"{during} raised {type(error).__name__}: {error!r}")

    def growth(self) -> float:
        """Kilobytes by which memory grew in the second half, by the straight line that fits its samples best."""
        half = self.memory[len(self.memory) // 2 :]
        if len(half) < 2:
            return 0.0
        mean_at = sum(at for at, _ in half) / len(half)
        mean = sum(size for _, size in half) / len(half)
        spread = sum((at - mean_at) ** 2 for at, _ in half)
        slope = sum((at - mean_at) * (size - mean) for at, size in half) / spread
        return slope * (half[-1][0] - half[0][0])

    def check_stats(self, stats: PoolStats, where: str) -> None:
        """What holds for a pool's figures at any time."""
        self.check_secrets(json.dumps(stats.as_mapping()), f"the figures {where}")
        self.check(not stats.tally.keys_evicted[KeyEviction.CRASHED], f"{where}: a supervisor has crashed")

    @contextmanager
    def logs_watched(self) -> Generator[None]:
        """Take errors that are logged meanwhile for faults, and those that could be raised nowhere."""
        handler = _Watcher(self)
        watched = [logging.getLogger(name) for name in ("actors", "asyncio")]
        hook = sys.unraisablehook

        def unraisable(raised: Any) -> None:
            self.fault(f"raised where nobody could catch it: {raised.exc_value!r} in {raised.object!r}")

        sys.unraisablehook = unraisable
        for logger in watched:
            logger.addHandler(handler)
        try:
            yield
        finally:
            for logger in watched:
                logger.removeHandler(handler)
            sys.unraisablehook = hook


class _Watcher(logging.Handler):
    def __init__(self, census: Census) -> None:
        super().__init__()
        self._census = census

    @override
    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        self._census.check_secrets(text, "a log")
        if record.levelno >= logging.ERROR:
            self._census.fault(f"logged by {record.name}: {text}")


# --- what is left -----------------------------------------------------------------------------------------------------


def held() -> dict[str, set[str]]:
    """What this process has now, by kind: open files and sockets, child processes, tasks and timers."""
    return {"files": _files(), "processes": _processes(), "tasks": _tasks(), "timers": _timers()}


async def left_over(before: dict[str, set[str]]) -> dict[str, set[str]]:
    """What there is besides what was held before, once what has been closed had time to be gone."""
    until = time.monotonic() + SETTLING
    while True:  # no scope with a deadline, which would be a timer
        gc.collect()
        await anyio.sleep(0.05)
        now = held()
        left = {kind: now[kind] - before[kind] for kind in now}
        if not any(left.values()) or time.monotonic() > until:
            return left


def _files() -> set[str]:
    names: set[str] = set()
    if (folder := PROCESS / "fd").exists():
        for file in folder.iterdir():
            try:
                names.add(f"{file.name} {file.readlink()}")
            except FileNotFoundError:  # it was the listing's own
                continue
    return names


def _processes() -> set[str]:
    return {child for listing in PROCESS.glob("task/*/children") for child in listing.read_text("ascii").split()}


def _tasks() -> set[str]:
    return {f"{task.id} {task.name}" for task in anyio.get_running_tasks()}


def _timers() -> set[str]:
    try:
        loop: Any = asyncio.get_running_loop()
    except RuntimeError:
        return set()  # on trio each belongs to a task
    return {repr(timer) for timer in loop._scheduled if not timer.cancelled()}
