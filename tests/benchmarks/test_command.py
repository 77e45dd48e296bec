"""`python -m benchmarks`."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import WHEN_NAMED
from benchmarks.figure import Figure, table

TREE = Path(__file__).parents[2]


def benchmarks(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 - it runs this tree's own module
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=TREE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_quick_run_reaches_its_end_and_tells_figures_beside_targets() -> None:
    done = benchmarks("wakeup", "kill", "--quick", "--json", "--backend", "trio")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    figures = json.loads(done.stdout)["figures"]
    assert all(figure["value"] is not None for figure in figures)
    assert {figure["target"] for figure in figures if figure["met"] is not None} == {"T5", "T13"}


def test_a_table_is_printed_for_each_that_is_named() -> None:
    done = benchmarks("wakeup", "hit", "--quick", "--backend", "asyncio")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^(\w+) \(", done.stdout, re.MULTILINE) == ["wakeup", "hit"]


def test_a_soak_is_run_only_when_it_is_named_and_for_as_long_as_it_is_told() -> None:
    assert "soak" in WHEN_NAMED
    done = benchmarks("soak", "--seconds", "3", "--seed", "7", "--json", "--backend", "asyncio")
    assert done.returncode == 0, done.stderr
    figures = {figure["what"]: figure for figure in json.loads(done.stdout)["figures"]}
    assert figures["what must not be, asyncio"]["met"], done.stderr
    assert figures["permits that did not come home, asyncio"]["met"]
    assert figures["answers, asyncio"]["value"] > 0


def test_a_name_that_is_none_is_told_together_with_those_there_are() -> None:
    done = benchmarks("nothing")
    assert done.returncode == 2
    assert "there is no benchmark nothing: there are runtime, hit, keys, memory, " in done.stderr


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (Figure(target="T", what="a", value=6.0, at_most=6.0), True),
        (Figure(target="T", what="a", value=6.1, at_most=6.0), False),
        (Figure(target="T", what="a", value=0.9, at_least=1.0), False),
        (Figure(target="T", what="a", value=1.0, interval=(0.9, 1.1), at_most=1.05), True),
        (Figure(target="T", what="a", value=1.0, interval=(0.9, 1.1), at_most=1.05, by_bound=True), False),
        (Figure(target="T", what="a", value=1.0), None),
    ],
)
def test_a_target_is_met_by_the_value_or_by_the_upper_bound_as_it_says(figure: Figure, *, met: bool | None) -> None:
    assert figure.is_met is met


def test_the_table_puts_each_figure_beside_its_target() -> None:
    figure = Figure(target="T1", what="a hit", value=7.0, unit="µs", interval=(6.5, 7.5), at_most=6.0)
    assert rows([figure]) == [["T1", "a hit", "7 µs", "6.5 to 7.5", "<= 6 µs", "MISSED"]]


def test_large_figures_are_written_out() -> None:
    assert rows([Figure(target="T4", what="all", value=2_000, at_least=1_999.6, unit="/s")]) == [
        ["T4", "all", "2,000 /s", ">= 2,000 /s", "met"]
    ]


def rows(figures: list[Figure]) -> list[list[str]]:
    return [re.split("  +", line) for line in table(figures).splitlines()[1:]]
