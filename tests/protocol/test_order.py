"""Orders: who has been there the longest and who came first, step by step and against lists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.order import Orders, Place, Ranked


def ring(*keys: str) -> tuple[Orders[str], dict[str, Place[str]]]:
    orders, places = Orders[str](), {key: Place(key) for key in keys}
    for place in places.values():
        orders.append("ring", place)
    return orders, places


def test_whoever_came_first_is_the_oldest_until_it_leaves() -> None:
    orders, places = ring("a", "b", "c")
    for expected in ("a", "b", "c"):
        assert orders
        assert orders.oldest("ring") == expected
        orders.remove("ring", places[expected])
    assert orders.oldest("ring") is None
    assert not orders


def test_one_that_leaves_from_the_middle_or_the_end_leaves_the_others_in_their_order() -> None:
    for left, remaining in (("b", ["a", "c"]), ("c", ["a", "b"])):
        orders, places = ring("a", "b", "c")
        orders.remove("ring", places[left])
        for expected in remaining:
            assert orders.oldest("ring") == expected
            orders.remove("ring", places[expected])
        assert orders.oldest("ring") is None


def test_one_that_left_and_comes_again_is_the_newest() -> None:
    orders, places = ring("a", "b")
    orders.remove("ring", places["a"])
    orders.append("ring", places["a"])
    assert orders.oldest("ring") == "b"
    assert orders.oldest("ring", besides="b") == "a"
    assert orders.oldest("ring", besides="a") == "b"


@pytest.mark.parametrize("renewed", ["a", "b", "c", "d"])
def test_one_that_is_renewed_is_the_newest_and_the_others_keep_their_order(renewed: str) -> None:
    orders, places = ring("a", "b", "c", "d")
    orders.renew("ring", places[renewed])
    for expected in [*(key for key in places if key != renewed), renewed]:
        assert orders.oldest("ring") == expected
        orders.remove("ring", places[expected])
    assert not orders


def test_one_that_is_alone_is_not_the_oldest_besides_itself() -> None:
    orders, _ = ring("a")
    assert orders.oldest("ring", besides="a") is None
    assert orders.oldest("ring", besides="b") == "a"
    assert orders.oldest("another") is None
    assert orders.oldest("another", besides="a") is None


def test_a_place_that_left_holds_none_of_those_that_it_stood_between() -> None:
    orders, places = ring("a", "b", "c")
    for place in places.values():
        orders.remove("ring", place)
        assert place.before is place.after is place


def test_rings_of_different_names_know_nothing_of_each_other() -> None:
    orders, places = ring("a")
    orders.append("another", Place("b"))
    orders.remove("ring", places["a"])
    assert orders.oldest("ring") is None
    assert orders.oldest("another") == "b"


def ranked_of(*numbers: int) -> Ranked[str]:
    ranked = Ranked[str]()
    for number in numbers:
        ranked.add(number, str(number))
    return ranked


def test_the_lowest_number_comes_first_in_whatever_order_they_came() -> None:
    ranked = ranked_of(3, 5, 1, 4, 2)
    assert list(ranked) == ["1", "2", "3", "4", "5"]
    assert (ranked.first, ranked.lowest, len(ranked)) == (1, "1", 5)


def test_what_is_taken_out_is_there_no_more_wherever_it_stood() -> None:
    for taken in range(1, 6):
        ranked = ranked_of(1, 2, 3, 4, 5)
        ranked.discard(taken)
        assert list(ranked) == [str(number) for number in range(1, 6) if number != taken]
        assert ranked.first == (2 if taken == 1 else 1)


@pytest.mark.parametrize("absent", [None, 0, 1, 4, 9])
def test_taking_out_what_is_not_there_changes_nothing(absent: int | None) -> None:
    ranked = ranked_of(1, 2, 3, 5, 6, 7, 8)
    ranked.discard(1)
    ranked.discard(absent)
    assert list(ranked) == ["2", "3", "5", "6", "7", "8"]


def test_a_number_lower_than_all_that_were_taken_is_first() -> None:
    ranked = ranked_of(5, 6, 7, 8, 9)
    ranked.discard(5)
    ranked.add(1, "1")
    assert (ranked.first, ranked.lowest, len(ranked)) == (1, "1", 5)
    ranked.add(5, "5")
    assert list(ranked) == ["1", "5", "6", "7", "8", "9"]


def test_nothing_is_first_where_nothing_is_left() -> None:
    ranked = ranked_of(1, 2)
    ranked.discard(1)
    ranked.discard(2)
    assert ranked.first is None
    assert not ranked
    assert list(ranked) == []


def test_what_was_served_from_the_front_is_let_go_once_it_is_half_of_all() -> None:
    ranked = ranked_of(*range(100))
    for number in range(100):
        ranked.discard(number)
        kept = ranked._ranked  # pyright: ignore[reportPrivateUsage]
        assert len(kept) < 2 * len(ranked) or not kept
        assert (len(kept) == 100) is (number < 49), "not at every step, each of which would move all the others"


@given(st.lists(st.tuples(st.sampled_from(["enter", "leave", "again", "renew"]), st.integers(0, 5)), max_size=40))
def test_orders_are_lists(steps: list[tuple[str, int]]) -> None:
    orders = Orders[int]()
    places = {key: Place(key) for key in range(6)}
    model: dict[int, list[int]] = {0: [], 1: []}
    for step, key in steps:
        mine = model[key % 2]
        if key in mine and step == "renew":
            mine.remove(key)
            mine.append(key)
            orders.renew(key % 2, places[key])
        elif key in mine and step != "enter":
            mine.remove(key)
            orders.remove(key % 2, places[key])
        if key not in mine and step not in {"leave", "renew"}:
            mine.append(key)
            orders.append(key % 2, places[key])
        for name, expected in model.items():
            assert orders.oldest(name) == next(iter(expected), None)
            for besides in range(6):
                assert orders.oldest(name, besides=besides) == next((k for k in expected if k != besides), None)
        assert bool(orders) == any(model.values())


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=80))
def test_ranked_things_are_a_sorted_list(steps: list[tuple[bool, int]]) -> None:
    ranked, model = Ranked[str](), dict[int, str]()
    for is_added, number in steps:
        if is_added and number not in model:
            model[number] = str(number)
            ranked.add(number, str(number))
        elif not is_added:
            ranked.discard(number)
            model.pop(number, None)
        assert list(ranked) == [model[known] for known in sorted(model)]
        assert len(ranked) == len(model)
        assert ranked.first == min(model, default=None)
        assert not model or ranked.lowest == model[min(model)]
    ranked.discard(None)
    assert len(ranked) == len(model)
