"""`python -m benchmarks`."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS
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


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_quick_run_reaches_its_end_and_tells_figures_beside_targets(name: str) -> None:
    done = benchmarks(name, "--quick", "--json", "--backend", "trio")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    figures = json.loads(done.stdout)["figures"]
    assert all(figure["value"] is not None for figure in figures)
    assert any(figure["met"] is not None for figure in figures)


def test_a_name_that_is_none_is_told_together_with_those_there_are() -> None:
    done = benchmarks("nothing")
    assert done.returncode == 2
    assert "there is no benchmark nothing: there are runtime, hit, call" in done.stderr


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
    columns = re.split("  +", table([figure]).splitlines()[1])
    assert columns == ["T1", "a hit", "7 µs", "6.5 to 7.5", "<= 6 µs", "MISSED"]
