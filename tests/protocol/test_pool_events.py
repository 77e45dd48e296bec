"""The events of a pool, as messages."""

import re
from dataclasses import fields
from typing import get_args

import pytest

from protocol.pool_events import KeyEviction, Missed, PoolEvent, PoolHappening, Released, Retirement


def test_every_event_says_when_it_came_about_and_can_be_compared_and_kept_in_a_set() -> None:
    for kind in get_args(PoolEvent):
        assert fields(kind)[-1].name == "at"
        assert kind.__doc__
    assert {Released("k", 1, 2, 0.5, 9.0), Released("k", 1, 2, 0.5, 9.0)} == {Released("k", 1, 2, 0.5, 9.0)}


def test_what_is_missed_is_said_to_readers_and_never_published() -> None:
    assert set(get_args(PoolEvent)) == {*get_args(PoolHappening), Missed}


@pytest.mark.parametrize("reasons", [Retirement, KeyEviction])
def test_reasons_can_be_labels_and_say_what_they_mean(reasons: type[Retirement | KeyEviction]) -> None:
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", reason.value) for reason in reasons)
    assert all(reason.value == reason.name.lower() for reason in reasons)
