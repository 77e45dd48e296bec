"""How tests run here under `make mutants`, where many a change makes something go on for ever.

- Hypothesis tries the same examples every time, and makes none smaller once it failed.
- A test that is not driven at random ends after `PROCESSOR_TIME`: mutmut would wait for several times what all tests of
  the changed function take together.
"""

import signal
from collections.abc import Generator
from typing import Any, Final

import pytest
from hypothesis import Phase, is_hypothesis_test, settings

settings.register_profile("mutants", parent=settings.get_profile("ci"), phases=[Phase.explicit, Phase.generate])

PROCESSOR_TIME: Final = 4.0
"""Seconds; the slowest takes one."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    is_stateful = getattr(item, "cls", None) is not None
    is_random = is_stateful or is_hypothesis_test(getattr(item, "obj", None)) or item.path.stem.endswith("_properties")
    if is_random or item.config.getoption("--hypothesis-profile") != "mutants":
        return (yield)
    before = signal.signal(signal.SIGPROF, _give_up)
    signal.setitimer(signal.ITIMER_PROF, PROCESSOR_TIME)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _give_up(_signal: int, _frame: object) -> None:
    pytest.fail("it goes on for ever")
