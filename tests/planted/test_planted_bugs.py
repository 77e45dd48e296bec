"""Whether the suite would find a bug: each of those in `bugs.py` is planted in a copy of the sources."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.planted.bugs import POOL, RUNTIME, SUPERVISION, Bug
from tests.planted.cluster_bugs import CLUSTER

ROOT = Path(__file__).parents[2]
HERE = shutil.ignore_patterns("__pycache__", "planted", "integration")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for folder in ("actors", "protocol", "tests", "benchmarks", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=HERE)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize("bug", [*RUNTIME, *SUPERVISION, *POOL, *CLUSTER], ids=lambda bug: bug.name)
def test_the_suite_finds(bug: Bug, copy: Path) -> None:
    bug.plant(copy)
    other = "asyncio" if bug.backend == "trio" else "trio"
    options = ["-q", "-x", "-k", f"not {other}", "-p", "no:cacheprovider"]
    run = subprocess.run(  # noqa: S603 - our own tests
        [sys.executable, "-m", "pytest", *options, *bug.found_by.split()],
        cwd=copy,
        capture_output=True,
        text=True,
        env={**os.environ, "TROUPE_ALL_STEPS": "", "TROUPE_CLUSTER_SEEDS": "200"},
        timeout=300,
        check=False,
    )
    assert run.returncode == 1, f"no test failed:\n{run.stdout}\n{run.stderr}"
    assert " failed" in run.stdout.splitlines()[-1], run.stdout
