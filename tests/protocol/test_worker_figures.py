"""What a worker says of itself: it comes back as it was, and whatever else lies there is nothing."""

from typing import Any

import msgpack  # pyright: ignore[reportMissingTypeStubs]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.worker_figures import WorkerFigures

FIGURES = WorkerFigures("troupe", 12.5, 3, 4, 5, 6, 7, 8, 9, 10, 11)
_msgpack: Any = msgpack
ROW = (1, "troupe", 12.5, 3, 4, 5, 6, 7, 8, 9, 10, 11)


def packed(value: Any) -> bytes:
    return _msgpack.packb(value)


def test_figures_come_back_as_they_were() -> None:
    assert WorkerFigures.unpack(FIGURES.pack()) == FIGURES
    assert FIGURES.pack() == packed(ROW)


@pytest.mark.parametrize(("name", "shown"), [("über", "?ber"), ("x" * 99, "x" * 64), ("", None), ("a\nb", None)])
def test_a_name_is_said_as_far_as_it_can_be(name: str, shown: str | None) -> None:
    said = WorkerFigures(name, 0, *range(9)).pack()
    assert WorkerFigures.unpack(said) == WorkerFigures(shown, 0.0, *range(9))


def test_figures_that_nobody_would_take_are_not_said() -> None:
    assert WorkerFigures(None, -1.0, *range(9)).pack() == b""
    assert WorkerFigures(None, 1.0, -1, *range(8)).pack() == b""


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\xc1",
        b"well",
        packed(list(ROW[:-1])),
        packed([*ROW, 0]),
        packed([2, *ROW[1:]]),
        packed([True, *ROW[1:]]),
        packed([1, 5, *ROW[2:]]),
        packed([1, "a\x1b[2J", *ROW[2:]]),
        packed([1, None, float("nan"), *ROW[3:]]),
        packed([1, None, -1.0, *ROW[3:]]),
        packed([*ROW[:-1], -1]),
        packed([*ROW[:-1], 1.5]),
        packed([*ROW[:-1], {}]),
        packed([*ROW[:-1], [[[[]]]]]),
        packed({"version": 1}),
        FIGURES.pack() + b"\x00",
        FIGURES.pack() * 100,
    ],
)
def test_what_is_no_figures_is_nothing(said: bytes) -> None:
    assert WorkerFigures.unpack(said) is None


@given(st.binary() | st.recursive(st.none() | st.integers(-9, 2**64 - 1) | st.text(), st.lists).map(packed))
def test_whatever_lies_there_nothing_is_raised(said: bytes) -> None:
    figures = WorkerFigures.unpack(said)
    assert figures is None or WorkerFigures.unpack(figures.pack()) == figures
