"""Caps and the lines that wait at them: who is under which, and where a line stands."""

import pytest

from protocol.capacity_events import KeyState, Scope
from protocol.caps import Cap, Caps, Entry, Line, Reservation, Room
from protocol.errors import InvalidSettings
from protocol.order import Place


def caps_of(per_user: int | None = 2, per_gateway: int | None = 3) -> Caps[str]:
    return Caps[str](sessions=9, per_user=per_user, per_gateway=per_gateway)


def scope(user: str | None, gateway: str | None = None) -> Scope:
    return Scope(user, gateway, user or "")


def limits(line: Line[str]) -> list[int]:
    return [cap.limit for cap in line.caps]


def reservation(number: int, line: Line[str]) -> Reservation[str]:
    return Reservation(number, Entry("key", line, "ada", None, 0.0), 0.0)


@pytest.mark.holds("L5")
def test_a_cap_is_full_when_as_many_are_given_as_it_has() -> None:
    cap = Cap[str](2)
    assert (cap.given, cap.lines, cap.surplus, cap.is_full) == (0, 0, {}, False)
    cap.given = 1
    assert not cap.is_full
    for cap.given in (2, 3):
        assert cap.is_full


@pytest.mark.holds("L5")
def test_a_key_is_under_its_users_cap_its_gateways_and_that_of_all_the_narrowest_first() -> None:
    caps = caps_of()
    assert limits(caps.enter(scope("ada", "east"))) == [2, 3, 9]
    assert limits(caps.enter(scope("ada"))) == [2, 9]
    assert limits(caps.enter(scope(None, "east"))) == [3, 9]
    assert limits(caps.enter(scope(None))) == [9]
    assert limits(caps_of(None).enter(scope("ada", "east"))) == [3, 9]
    assert limits(caps_of(None, None).enter(scope("ada", "east"))) == [9]


@pytest.mark.holds("L5")
def test_keys_under_the_same_caps_have_one_line_and_lines_share_the_caps_that_they_have_in_common() -> None:
    caps = caps_of()
    east, again, west = (caps.enter(scope("ada", gateway)) for gateway in ("east", "east", "west"))
    bob = caps.enter(scope("bob", "east"))
    assert east is again
    assert east.keys == 2
    assert east.caps[0] is west.caps[0]
    assert east.caps[0].lines == 2
    assert east.caps[1] is bob.caps[1] is not west.caps[1]
    assert east.caps[2] is west.caps[2] is bob.caps[2] is caps.all
    assert bob.caps[0] is not east.caps[0]
    assert list(caps) == [east.caps[0], bob.caps[0], east.caps[1], west.caps[1], caps.all]


def test_whom_no_cap_tells_apart_wait_in_one_line() -> None:
    caps = caps_of(None, None)
    assert caps.enter(scope("ada", "east")) is caps.enter(scope("bob", "west"))
    caps = caps_of(None)
    assert caps.enter(scope("ada", "east")) is caps.enter(scope("bob", "east"))
    assert caps.enter(scope("ada", "east")) is not caps.enter(scope("ada", "west"))


@pytest.mark.holds("L5")
def test_a_line_ends_with_its_last_key_and_a_cap_with_its_last_line() -> None:
    caps = caps_of()
    east, _, west = (caps.enter(scope("ada", gateway)) for gateway in ("east", "east", "west"))
    caps.leave(east)
    assert east.keys == 1
    assert caps.enter(scope("ada", "east")) is east
    caps.leave(east)
    caps.leave(east)
    assert list(caps) == [west.caps[0], west.caps[1], caps.all]
    assert caps.enter(scope("ada", "east")).caps[0] is east.caps[0], "another line is under it still"
    assert caps.enter(scope("ada", "east")).caps[1] is not east.caps[1]
    for line in (caps.enter(scope("bob")), caps.enter(scope(None))):
        caps.leave(line)
    assert all(cap.lines for cap in list(caps)[:-1])
    assert len(list(caps)) == 4


def test_limits_that_change_hold_for_the_caps_that_are_there_and_for_those_to_come() -> None:
    caps = caps_of()
    line = caps.enter(scope("ada", "east"))
    caps.resize(sessions=8, per_user=4, per_gateway=5)
    assert limits(line) == limits(caps.enter(scope("bob", "west"))) == [4, 5, 8]


@pytest.mark.parametrize(
    ("per_user", "per_gateway", "name"),
    [(None, 3, "max_sessions_per_user"), (2, None, "max_sessions_per_gateway"), (None, None, "max_sessions_per_user")],
)
def test_a_limit_that_is_set_or_taken_away_later_is_refused_and_changes_none(
    per_user: int | None, per_gateway: int | None, name: str
) -> None:
    caps = caps_of()
    line = caps.enter(scope("ada", "east"))
    with pytest.raises(InvalidSettings, match=f"^{name} can be changed where it is set, but not set or taken away"):
        caps.resize(sessions=1, per_user=per_user, per_gateway=per_gateway)
    assert limits(line) == [2, 3, 9]
    with pytest.raises(InvalidSettings, match=r"^max_sessions_per_user can be changed where it is set"):
        caps_of(None, None).resize(sessions=1, per_user=1, per_gateway=None)


@pytest.mark.holds("L3")
def test_a_line_is_blocked_by_the_narrowest_of_its_caps_that_is_full() -> None:
    line = caps_of().enter(scope("ada", "east"))
    user, gateway, everybody = line.caps
    assert line.blocked() is None
    for cap in (everybody, gateway, user):
        cap.given = cap.limit
        assert line.blocked() is cap
        cap.given += 1
        assert line.blocked() is cap


@pytest.mark.holds("L3")
def test_a_line_stands_at_one_cap_by_its_oldest_and_by_its_oldest_that_lacks_room() -> None:
    line = caps_of().enter(scope("ada"))
    user, everybody = line.caps
    assert (line.parked, user.waiting.first, len(line.queue), len(line.lacking)) == (None, None, 0, 0)
    for number in (4, 7):
        line.queue.add(number, reservation(number, line))
    line.lacking.add(7, line.queue.lowest)
    line.park(user)
    assert line.parked is user
    assert (user.waiting.first, user.waiting.lowest) == (4, line)
    assert (user.lacking.first, user.lacking.lowest) == (7, line)
    line.park(everybody)
    assert line.parked is everybody
    assert (len(user.waiting), len(user.lacking)) == (0, 0)
    assert (everybody.waiting.first, everybody.lacking.first) == (4, 7)


@pytest.mark.holds("L3")
def test_a_line_moves_within_its_cap_as_its_queue_does_and_leaves_with_the_last() -> None:
    line = caps_of().enter(scope("ada"))
    user = line.caps[0]
    for number in (4, 7):
        line.queue.add(number, reservation(number, line))
        line.lacking.add(number, reservation(number, line))
    line.park(user)
    line.lacking.discard(4)
    line.park(user)
    assert (list(user.waiting), list(user.lacking)) == ([line], [line])
    assert (user.waiting.first, user.lacking.first) == (4, 7)
    line.queue.discard(4)
    line.lacking.discard(7)
    line.park(user)
    assert (user.waiting.first, len(user.waiting), len(user.lacking)) == (7, 1, 0)
    for number in (8, 9):
        line.queue.add(number, reservation(number, line))
    line.lacking.add(9, reservation(9, line))
    line.park(user)
    line.queue.discard(7)
    line.park(user)
    assert (user.waiting.first, user.lacking.first) == (8, 9), "only its oldest has changed"
    line.queue.discard(8)
    line.queue.discard(9)
    line.lacking.discard(9)
    line.park(user)
    assert line.parked is None
    assert len(user.waiting) == 0


def test_a_key_begins_without_a_permit_and_with_a_place_at_each_of_its_caps() -> None:
    line = caps_of().enter(scope("ada", "east"))
    entry = Entry("key", line, "ada", "talk", 3.0)
    assert (entry.key, entry.line, entry.tenant, entry.name) == ("key", line, "ada", "talk")
    assert (entry.permits, entry.idle_since, entry.state) == (0, 3.0, KeyState.EMPTY)
    assert [place.key for place in entry.seats] == ["key", "key"], "that of all is the key itself"
    assert isinstance(entry, Place)
    waiting = Reservation(5, entry, 2.0)
    assert (waiting.number, waiting.entry, waiting.since) == (5, entry, 2.0)
    assert (waiting.is_queued, waiting.room) == (True, None)
    room = Room(entry)
    assert (room.entry, room.reservation) == (entry, None)
