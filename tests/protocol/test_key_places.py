"""The places of keys: who waits for one, and whose victim is whose."""

from protocol.capacity_events import Scope
from protocol.key_places import KeyPlaces

ADA, BOB = Scope("ada", None, "ada"), Scope("bob", None, "bob")


def waited(*keys: str) -> KeyPlaces[str]:
    """Keys that wait, each with a victim of its own."""
    places = KeyPlaces[str](5)
    for key in keys:
        places.wait(key, ADA)
        assert not places.claim(key), "there is no victim yet"
        places.evict(f"victim of {key}", key)
    return places


def test_whoever_waits_the_longest_is_the_oldest_until_it_leaves() -> None:
    places = waited("a", "b")
    assert places.max_keys == 5
    assert (places.pending, places.evicting, places.oldest()) == (2, 2, "a")
    assert "a" in places
    assert places.leave("a") is ADA
    assert "a" not in places
    assert (places.pending, places.oldest()) == (1, "b")
    assert places.leave("b") is ADA
    assert (places.pending, places.oldest()) == (0, None)


def test_whoever_does_not_wait_has_nothing_to_leave() -> None:
    places = waited("a")
    assert places.leave("b") is None
    assert places.leave("b", "a") is None
    assert (places.pending, places.evicting) == (1, 1)


def test_a_victim_that_has_ended_names_whom_it_ended_for_who_has_none_now() -> None:
    places = waited("a", "b")
    assert places.settle("victim of a") == ("a", ADA)
    assert places.settle("victim of a") is None
    assert (places.pending, places.evicting) == (2, 1)
    assert places.leave("a", "b") is ADA
    assert places.settle("victim of b") == ("b", ADA), "a had no victim any more that it could leave to it"


def test_one_that_was_no_victim_names_nobody() -> None:
    assert waited("a").settle("another") is None


def test_a_victim_passes_to_the_heir_of_whoever_found_a_place_otherwise() -> None:
    places = waited("a", "b")
    assert places.settle("victim of b") == ("b", ADA)
    assert places.leave("a", "b") is ADA
    assert places.evicting == 1
    assert places.settle("victim of a") == ("b", ADA)


def test_a_victim_without_an_heir_is_for_the_next_one_that_waits() -> None:
    places = waited("a")
    assert places.leave("a") is ADA
    assert places.evicting == 1
    places.wait("b", BOB)
    assert places.claim("b")
    places.wait("c", BOB)
    assert not places.claim("c"), "it is taken"
    assert places.settle("victim of a") == ("b", BOB)


def test_a_victim_of_nobody_in_particular_is_for_the_next_one_unless_it_has_ended() -> None:
    places = waited()
    places.evict("x", None)
    places.evict("y", None)
    assert places.evicting == 2
    assert places.settle("x") is None
    assert places.evicting == 1
    places.wait("a", ADA)
    assert places.claim("a")
    assert places.settle("y") == ("a", ADA)
    places.wait("b", ADA)
    assert not places.claim("b"), "both have ended"


def test_a_key_that_ends_by_itself_is_for_the_next_one_unless_it_is_somebodys_already() -> None:
    places = waited("a")
    places.expect("victim of a")
    places.wait("b", BOB)
    assert not places.claim("b")
    places.expect("x")
    places.expect("x")
    assert places.evicting == 2
    assert places.claim("b")
    places.expect("x")
    places.wait("c", BOB)
    assert not places.claim("c")
    assert places.settle("x") == ("b", BOB)
    assert places.settle("victim of a") == ("a", ADA)
