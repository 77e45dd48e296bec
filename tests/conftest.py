"""How the tests run: a coroutine test runs on both event loops, under a deadline.

- `async def test_…` runs on trio and on asyncio; `@pytest.mark.backends("trio")` keeps it to one.
- Under `tests/actors` trio's clock is virtual: it jumps ahead when nothing can run, so a deadlock fails at once. So is
  asyncio's in a module that is marked `virtual_time`.
- Each such test must end within `TIME_LIMIT` seconds of its clock.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, cast

import anyio
import pytest
import trio.testing

from tests.virtual_loop import VirtualLoop

BACKENDS = ("trio", "asyncio")
TIME_LIMIT = 60.0


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "backends(*names): the event loops that a coroutine test runs on; both if not given"
    )
    config.addinivalue_line("markers", "virtual_time: asyncio's clock, too, jumps ahead when nothing can run")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if inspect.iscoroutinefunction(metafunc.function):
        marker = metafunc.definition.get_closest_marker("backends")
        metafunc.fixturenames.insert(0, "backend")
        metafunc.parametrize("backend", marker.args if marker else BACKENDS, scope="function")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    test: Callable[..., Awaitable[None]] = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None
    values: dict[str, Any] = pyfuncitem.funcargs
    arguments = {name: values[name] for name in inspect.signature(test).parameters}
    backend = cast("str", pyfuncitem.callspec.params["backend"])
    options: dict[str, Any] = {}
    if backend == "trio" and "actors" in pyfuncitem.path.parts[-2:]:
        options["clock"] = trio.testing.MockClock(autojump_threshold=0)
    elif backend == "asyncio" and pyfuncitem.get_closest_marker("virtual_time"):
        options["loop_factory"] = VirtualLoop

    async def bounded() -> None:
        with anyio.fail_after(TIME_LIMIT):
            await test(**arguments)

    anyio.run(bounded, backend=backend, backend_options=options)
    return True
