"""The examples, run as their readers would run them."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SHOWS = {
    "chat_room.py": ["ada hears eve: hello", "bob hears ada: boo!", "eve hears room: bob has crashed", "ada has left"],
    "gateway.py": ["{'result': 'milk, tea'}", "{'result': 'ink'}", "-32003", "-32004", "{'result': 'salt, then'}"],
    "rate_limiter.py": ["call 0 after 0.0", "call 7 after 0."],
    "worker_pool.py": ["13 /troupe/workers/worker-1 has stopped", "17 289"],
}


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_shows_what_it_says_in_less_than_sixty_lines(name: str) -> None:
    path = EXAMPLES / name
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60
    run = subprocess.run(  # noqa: S603 - our own example
        [sys.executable, "-W", "error", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    for line in SHOWS[name]:
        assert line in run.stdout
