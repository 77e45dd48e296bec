"""What the demo tells its user, and how: as one JSON object, or on the screen."""

import json
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from typing import Any

from typing_extensions import override

from actors.demo.arguments import Options
from actors.demo.cluster import Workers
from actors.demo.comparison import Comparison, Measured
from actors.demo.crash import Crash
from actors.demo.subject import Subject
from actors.demo.takeover import Takeover
from actors.demo.users import TwoUsers


class Report(ABC):
    """Told of everything as it happens, in this order."""

    @abstractmethod
    def starting(self, options: Options) -> None:
        """Servers are being started, or the user's own is being asked."""

    @abstractmethod
    def comparing(self, subject: Subject, options: Options) -> AbstractContextManager[Callable[[int], None]]:
        """Calls are being made; what this yields is told how many, batch by batch."""

    @abstractmethod
    def compared(self, comparison: Comparison) -> None:
        """The comparison is over."""

    @abstractmethod
    def watching(self) -> None:
        """The scene of the two users begins."""

    @abstractmethod
    def watched(self, users: TwoUsers) -> None:
        """The scene of the two users is over."""

    @abstractmethod
    def killing(self) -> None:
        """The scene of the killed server begins."""

    @abstractmethod
    def killed(self, crash: Crash) -> None:
        """The scene of the killed server is over."""

    @abstractmethod
    def starting_workers(self) -> None:
        """Three workers are being started."""

    @abstractmethod
    def taking_over(self, workers: Workers) -> None:
        """The scene of the three workers begins."""

    @abstractmethod
    def taken_over(self, takeover: Takeover) -> None:
        """The scene of the three workers is over."""

    @abstractmethod
    def not_killing(self) -> None:
        """Both of these scenes are left out, since the server is not the demo's to kill."""

    @abstractmethod
    def ended(self, faults: list[str]) -> None:
        """All is over, with these faults."""


class JsonReport(Report):
    """Says nothing until the end, and then everything in one JSON object. Durations are milliseconds."""

    def __init__(self) -> None:
        self._said: dict[str, Any] = {}

    @override
    def starting(self, options: Options) -> None:
        self._said["backend"] = options.backend

    @override
    @contextmanager
    def comparing(self, subject: Subject, options: Options) -> Generator[Callable[[int], None]]:
        self._said |= {
            "url": subject.upstream.address,
            "tool": subject.tool,
            "calls": options.calls,
            "concurrency": options.concurrency,
        }
        yield lambda _: None

    @override
    def compared(self, comparison: Comparison) -> None:
        self._said["comparison"] = {name: _figures(way) for name, way in comparison.ways.items()}
        self._said["speedup_p50"] = _finite(comparison.speedup, 2)

    @override
    def watching(self) -> None:
        pass

    @override
    def watched(self, users: TwoUsers) -> None:
        self._said["two_users"] = asdict(users)

    @override
    def killing(self) -> None:
        pass

    @override
    def killed(self, crash: Crash) -> None:
        self._said["killed_server"] = _seen(asdict(crash))

    @override
    def starting_workers(self) -> None:
        pass

    @override
    def taking_over(self, workers: Workers) -> None:
        pass

    @override
    def taken_over(self, takeover: Takeover) -> None:
        self._said["three_workers"] = _seen(asdict(takeover))

    @override
    def not_killing(self) -> None:
        self._said |= {"killed_server": None, "three_workers": None}

    @override
    def ended(self, faults: list[str]) -> None:
        self._said |= {"faults": faults, "ok": not faults}
        sys.stdout.write(json.dumps(self._said, indent=2) + "\n")


def _seen(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        name.replace("_seconds", "_ms"): _milliseconds(value) if name.endswith("_seconds") else value
        for name, value in facts.items()
    }


def _figures(way: Measured) -> dict[str, Any]:
    return {
        "p50_ms": _milliseconds(way.percentile(50)),
        "p99_ms": _milliseconds(way.percentile(99)),
        "calls_per_second": _finite(way.calls_per_second, 1),
        "http_requests": way.http_requests,
        "handshakes": way.handshakes,
        "errors": way.errors,
        "first_error": way.first_error,
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else _finite(seconds * 1000, 3)


def _finite(number: float, digits: int) -> float | None:
    """JSON has no word for what is not a number."""
    return round(number, digits) if math.isfinite(number) else None
