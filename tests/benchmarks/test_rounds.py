"""Rounds, and the statistics over them."""

import math
import random

from benchmarks.rounds import alternate, median_interval, median_ratio, merge


async def test_sides_take_turns_and_the_order_is_reversed_every_other_round() -> None:
    order: list[str] = []

    async def measured(name: str) -> float:
        order.append(name)
        return float(len(order))

    samples = await alternate({"a": lambda: measured("a"), "b": lambda: measured("b")}, rounds=3)
    assert samples == {"a": [1.0, 4.0, 5.0], "b": [2.0, 3.0, 6.0]}
    assert "".join(order) == "abbaab"


def test_a_drift_that_meets_both_sides_leaves_their_ratio_alone() -> None:
    assert median_ratio([2.0, 4.0, 20.0], [1.0, 2.0, 10.0]) == (2.0, (2.0, 2.0))


def test_merged_samples_are_those_of_all_parts_in_order() -> None:
    assert merge([{"a": [1.0]}, {"a": [2.0, 3.0], "b": [4.0]}]) == {"a": [1.0, 2.0, 3.0], "b": [4.0]}


def test_the_interval_has_the_ranks_that_the_binomial_tables_give() -> None:
    assert median_interval([float(rank) for rank in range(1, 41)]) == (14.0, 27.0)
    assert median_interval([float(rank) for rank in range(1, 7)]) == (1.0, 6.0)
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)


def test_the_interval_holds_the_true_median_at_least_as_often_as_it_says() -> None:
    chance = random.Random(0)
    intervals = [median_interval([chance.expovariate(1.0) for _ in range(40)]) for _ in range(1_000)]
    truth = math.log(2)
    assert sum(low <= truth <= high for low, high in intervals) >= 950
