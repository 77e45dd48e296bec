"""What docs/observability.md shows, run as it stands, and its tables against the code."""

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import anyio
import anyio.to_thread
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from actors import PoolSettings, open_pool
from actors.events import Events, EventStream
from actors.metrics import METRICS, Metered
from protocol import pool_events
from protocol.pool_events import BreakerMoved, KeyAdded, Retirement, SessionRetired
from tests.actors.fakes import ECHO, FakeServer
from tests.actors.figures import figures

PAGE = (Path(__file__).parents[2] / "docs" / "observability.md").read_text(encoding="utf-8")
BLOCKS: list[str] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def page() -> Any:
    made = ModuleType("page")
    exec("\n\n".join(BLOCKS), made.__dict__)  # noqa: S102 - the page is ours
    return made


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table beneath a heading."""
    lines = PAGE.partition(f"## {heading}")[2].partition("\n## ")[0].splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    return cells[2:]


async def test_the_report_tells_of_a_pool_with_waiters(page: Any, capsys: pytest.CaptureFixture[str]) -> None:
    async with open_pool(PoolSettings(max_size=1), connector=FakeServer()) as pool, anyio.create_task_group() as tasks:
        lease = await pool.acquire(ECHO)

        async def wait() -> None:
            (await pool.acquire(ECHO)).release()

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert json.loads(page.report(pool))["waiting"] == 1
        lease.release()
    assert "has 1 callers waiting, and no session more to open" in capsys.readouterr().out


def test_the_report_tells_of_slow_waits(page: Any, capsys: pytest.CaptureFixture[str]) -> None:
    class Slow:
        stats = staticmethod(figures)

    page.report(Slow())
    assert "one caller in a hundred waits for 60.0 s; 6 wait now" in capsys.readouterr().out


class Watched:
    """Stands for a pool, as far as its events go."""

    def __init__(self) -> None:
        self.hub = Events()

    def events(self, buffer: int) -> EventStream:
        return self.hub.subscribe(min(buffer, 3))


async def test_the_watcher_tells_of_what_happens_and_of_what_it_missed(
    page: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = Watched()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(page.watch, pool)
        await anyio.wait_all_tasks_blocked()
        for number in range(2):
            pool.hub.publish(KeyAdded(f"key {number}", 1.0))
        pool.hub.publish(SessionRetired("echo", 7, Retirement.ABANDONED_LEASE, 2.0))
        pool.hub.publish(BreakerMoved("http://127.0.0.1:1/mcp", "closed", "open", 3.0))
        pool.hub.end()
    assert capsys.readouterr().out.splitlines() == [
        "too slow for 1 events",
        "session 7 of echo is not lent again: abandoned_lease",
        "the breaker of http://127.0.0.1:1/mcp was closed and is open",
    ]


async def test_the_endpoint_exposes_a_pool(page: Any) -> None:
    async with open_pool(connector=FakeServer()) as pool:
        (await pool.acquire(ECHO)).release()
        text = await page.metrics(page.expose(pool))
    assert b"troupe_pool_sessions_opened_total 1.0" in text


@pytest.mark.backends("asyncio")  # trio's virtual clock does not wait for threads
@pytest.mark.holds("R6")
async def test_another_thread_scrapes_by_way_of_the_pools_own(page: Any) -> None:
    async with open_pool(connector=FakeServer()) as pool:
        (await pool.acquire(ECHO)).release()
        registry: CollectorRegistry = await page.expose_to_threads(pool)
        text = await anyio.to_thread.run_sync(generate_latest, registry)
    assert b"troupe_pool_sessions_opened_total 1.0" in text


def test_the_page_lists_every_metric_as_it_is() -> None:
    told = [(name.strip("`"), kind, labels, said) for name, kind, labels, said in rows("Metrics")]
    assert told == [
        (
            f"troupe_pool_{metric.name}_total" if metric.kind == "counter" else f"troupe_pool_{metric.name}",
            metric.kind,
            ", ".join(f"`{label}`" for label in metric.labels) or "none",
            metric.help,
        )
        if isinstance(metric, Metered)
        else (
            f"troupe_pool_{metric.name}",
            "gauge histogram" if metric.now else "histogram",
            "none",
            metric.help,
        )
        for metric in METRICS
    ]


def test_the_page_names_no_metric_that_there_is_not() -> None:
    named = set(re.findall(r"troupe_pool_\w+", PAGE))
    assert named == {name.strip("`") for name, *_ in rows("Metrics")}


def test_the_page_lists_every_event() -> None:
    told = {name for events, _ in rows("Events") for name in re.findall(r"`(\w+)`", events)}
    assert told == {kind.__name__ for kind in get_args(pool_events.PoolEvent)}


def test_the_page_names_only_figures_that_there_are() -> None:
    stats = figures()
    homes = [stats, stats.tally, stats.keys[0], stats.permits, stats.breakers[0], stats.cluster]
    for _, where in rows("Figures"):
        for code in re.findall(r"`([^`]+)`", where):
            path = code.removeprefix("len(").partition("(")[0].strip(".)")
            if path in {"Retirement", "ForwardFailure", "Refusal"}:
                continue
            *_, last = path.split(".")
            assert any(hasattr(home, last) for home in homes), code
