"""What docs/cluster.md shows and says, held against what there is. On both event loops."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from actors import ClusterStats, ForwardFailure
from protocol.bus import Claim, Holding
from protocol.cluster_settings import ClusterSettings
from protocol.errors import Refusal
from protocol.namespace import Namespace
from tests.integration.buses import redis_bus, workers
from tests.integration.servers import running_server
from tests.integration.test_readme import run
from tests.redis_server import running_redis

PAGE = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


async def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with running_redis() as redis, running_server() as server:
        example = EXAMPLE.replace("http://127.0.0.1:8000/mcp", server.url)
        await run(example.replace("rediss://redis.internal:6379/0", redis.url))
    _, told = capsys.readouterr().out.splitlines()
    owner, worker = told.split()
    assert owner == worker


def test_every_setting_is_in_the_table_with_its_default() -> None:
    (table,) = re.findall(r"^## Settings\n(.*)", PAGE, re.DOTALL | re.MULTILINE)
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.MULTILINE))
    assert list(rows) == [setting.name for setting in fields(ClusterSettings)]
    for setting in fields(ClusterSettings):
        shown = rows[setting.name].strip("`").removesuffix(" s").replace(",", "")
        assert shown == {"()": "none", "False": "no"}.get(str(setting.default), f"{setting.default}".removesuffix(".0"))


def test_every_figure_is_explained_and_no_other() -> None:
    (table,) = re.findall(r"^## What the figures say\n(.*?)^## ", PAGE, re.DOTALL | re.MULTILINE)
    rows = re.findall(r"^\| (`.*?`) \| (.*) \|$", table, re.MULTILINE)
    named = [name for names, _ in rows for name in re.findall(r"`(\w+)`", names)]
    said = {name for _, text in rows for name in re.findall(r"`(\w+)`", text)}
    assert len(set(named)) == len(named)
    stats = ClusterStats()
    assert all(hasattr(stats, name) for name in named)
    plain = {"worker", "joins", "hit_rate", "owned", "forwarded", "withdrawn", "served", "sent", "received"}
    assert {*stats.as_mapping()} - plain <= {*named, *said}
    assert {kind.value for kind in ForwardFailure} <= said
    assert said <= {
        *(kind.value for kind in ForwardFailure),
        *(reason.name.lower() for reason in Refusal),
        *(setting.name for setting in fields(ClusterSettings)),
        *stats.as_mapping(),
        "OutcomeUnknown",
    }


async def test_the_keys_are_called_what_the_page_says() -> None:
    names = Namespace("production")
    with running_redis() as redis:
        async with workers(lambda: redis_bus(redis.url, names), "ada") as (ada,):
            await ada.ask(Claim("talk-1", Holding("ada", "token", "principal"), 60))
            assert b"token" in redis.command("HGETALL", "troupe:production:owner:talk-1")
            assert f"troupe:production:{'run'}".encode() in redis.command("KEYS", "*")
    for shown in (names.owner("SESSION"), names.worker("ID"), names.workers, names.requests("ID"), names.replies("ID")):
        assert f"`…:{shown.removeprefix('troupe:production:')}`" in PAGE
