"""The census of a soak: what it lets pass, and what it does not."""

import logging
import os

import anyio
import pytest
from mcp import MCPError

from benchmarks.soaking.census import Census, held, left_over
from benchmarks.soaking.users import who_bears
from protocol.errors import AcquireTimeout, ActorStopped, PrincipalMismatch


def test_errors_with_names_are_counted_and_those_of_servers_by_their_codes() -> None:
    census = Census()
    for error in (AcquireTimeout("late"), AcquireTimeout("late"), MCPError(-32001, "late")):
        with census.errors_told("a call"):
            raise error
    assert census.errors == {"AcquireTimeout": 2, "MCPError -32001": 1}
    assert not census.faults


@pytest.mark.parametrize("error", [ActorStopped("inside"), PrincipalMismatch("not here"), KeyError("x")])
def test_every_other_error_is_a_fault(error: Exception) -> None:
    census = Census()
    with census.errors_told("a call"):
        raise error
    assert [fault.startswith(f"a call raised {type(error).__name__}") for fault in census.faults] == [True]


def test_a_token_in_an_error_is_a_fault() -> None:
    census = Census()
    with census.errors_told("a call"):
        raise AcquireTimeout("for secret-ada.7")
    assert census.faults == ["a token was shown in a AcquireTimeout during a call"]


def test_an_error_that_is_logged_is_a_fault() -> None:
    census = Census()
    with census.logs_watched():
        logging.getLogger("actors.soaked").error("lost %s", "it")
        logging.getLogger("actors.soaked").warning("nearly")
    logging.getLogger("actors.soaked").error("after it")
    assert census.faults == ["logged by actors.soaked: lost it"]


def test_growth_is_that_of_the_second_half_and_does_not_mind_a_peak_in_the_first() -> None:
    flat = Census(memory=[(0.0, 10.0), (1.0, 90.0), (2.0, 50.0), (3.0, 50.0)])
    assert flat.growth() == 0
    steady = Census(memory=[(float(at), 100.0 + at) for at in range(10)])
    assert steady.growth() == pytest.approx(4)


async def test_what_is_left_is_told_by_kind() -> None:
    before = held()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.sleep_forever, name="left")
        file = os.open(os.devnull, os.O_RDONLY)
        left = await left_over(before)
        os.close(file)
        tasks.cancel_scope.cancel()
        assert [name.endswith(" left") for name in left["tasks"]] == [True]
        assert left["files"] == {f"{file} {os.devnull}"}
    assert not any((await left_over(before)).values())


def test_a_token_rotates_and_its_bearer_does_not() -> None:
    assert who_bears({"authorization": "Bearer secret-ada.1"}) == who_bears({"authorization": "Bearer secret-ada.2"})
    assert who_bears({}) is None
