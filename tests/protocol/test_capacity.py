"""The machine of capacity, rule by rule, and the life of a key, cell by cell."""

import gc
import tracemalloc
from dataclasses import replace

import pytest

from protocol.capacity import Capacity
from protocol.capacity_events import (
    TRANSITIONS,
    AddKey,
    AdmitKey,
    Busy,
    CapacityCounts,
    CapacityEffect,
    CapacityEvent,
    EvictKey,
    Idled,
    InUse,
    KeyEvent,
    KeyState,
    Leaves,
    MakeRoom,
    NoSpare,
    Permit,
    RefuseKey,
    RemoveKey,
    Reserve,
    ReserveSpare,
    Resized,
    Returned,
    Scope,
    Unreserve,
    Yielded,
)
from protocol.errors import IllegalTransition, InvalidSettings, PoolFull

S, E = KeyState, KeyEvent

ENDING = {S.EVICTING: S.EVICTING, S.LEAVING: S.LEAVING}
EXPECTED: dict[KeyEvent, dict[KeyState, KeyState]] = {
    E.RESERVED: {S.EMPTY: S.BUSY, S.BUSY: S.BUSY, S.IDLE: S.IDLE, S.ASKED: S.ASKED, **ENDING},
    E.IDLED: {S.BUSY: S.IDLE, S.IDLE: S.IDLE, S.ASKED: S.IDLE, **ENDING},
    E.ALL_ASKED: {S.IDLE: S.ASKED},
    E.BUSY: {S.EMPTY: S.EMPTY, S.BUSY: S.BUSY, S.IDLE: S.BUSY, S.ASKED: S.BUSY, **ENDING},
    E.SPENT: {S.BUSY: S.BUSY, S.IDLE: S.BUSY, S.ASKED: S.BUSY, **ENDING},
    E.EMPTIED: {S.EMPTY: S.EMPTY, S.BUSY: S.EMPTY, S.IDLE: S.EMPTY, S.ASKED: S.EMPTY, **ENDING},
    E.EVICTED: {S.EMPTY: S.EVICTING, S.IDLE: S.EVICTING},
    E.KEPT: {S.EVICTING: S.BUSY, S.LEAVING: S.LEAVING},
    E.LEFT: dict.fromkeys(S, S.LEAVING),
}


@pytest.mark.parametrize("event", KeyEvent)
@pytest.mark.parametrize("state", KeyState)
def test_every_cell_of_the_table_is_as_written(state: KeyState, event: KeyEvent) -> None:
    assert TRANSITIONS[state].get(event) is EXPECTED[event].get(state)


ADA, BOB = Scope("ada", "east", "ada"), Scope("bob", "east", "bob")
ADAS_TALK = Scope("ada", "east", "ada", is_sticky=True)
BOBS_TALK = Scope("bob", "east", "bob", is_sticky=True)


class Driven:
    """A machine with a clock that counts events."""

    def __init__(
        self, sessions: int = 2, keys: int = 100, *, per_user: int | None = None, per_gateway: int | None = None
    ) -> None:
        self.machine = Capacity[str](
            max_sessions=sessions, max_keys=keys, max_sessions_per_user=per_user, max_sessions_per_gateway=per_gateway
        )
        self.now = 0.0

    def __call__(self, event: CapacityEvent[str]) -> list[CapacityEffect[str]]:
        self.now += 1
        return self.machine.handle(event, now=self.now)

    def add(self, *keys: str, scope: Scope = ADA) -> None:
        for key in keys:
            assert self(AddKey(key, scope)) == [AdmitKey(key)]

    def idle(self, *keys: str, scope: Scope = ADA) -> None:
        """Admit each key and give it one session, which is idle."""
        for key in keys:
            self.add(key, scope=scope)
            assert self(Reserve(key)) == [Permit(key)]
            assert self(Idled(key)) == []


@pytest.mark.holds("L5")
def test_permits_are_given_up_to_the_cap_and_come_home() -> None:
    pool = Driven(sessions=2)
    pool.add("a", "b")
    assert pool(Reserve("a")) == [Permit("a")]
    assert pool(Reserve("b")) == [Permit("b")]
    assert not pool.machine.is_starved
    assert pool(Reserve("a")) == []
    assert pool.machine.is_starved
    assert pool(Returned("b")) == [Permit("a")]
    assert not pool.machine.is_starved
    assert pool.machine.counts().permits == 2


@pytest.mark.holds("L3", "L5")
def test_the_longest_idle_session_of_another_key_makes_room() -> None:
    pool = Driven(sessions=3)
    pool.idle("a", "b", "c")
    assert pool(Idled("a")) == []
    pool.add("d")
    assert pool(Reserve("d")) == [MakeRoom("b")]
    assert pool(Reserve("b")) == [MakeRoom("c")]
    assert pool(Returned("b")) == [Permit("d")]
    assert pool(Returned("c")) == [Permit("b")]


def test_a_key_does_not_make_room_for_itself() -> None:
    pool = Driven(sessions=1)
    pool.idle("a")
    assert pool(Reserve("a")) == []
    assert not pool.machine.yields_to_others("a", None)
    pool.add("b")
    assert pool(Reserve("b")) == [MakeRoom("a")]


@pytest.mark.holds("L3")
def test_when_the_one_that_was_asked_is_busy_the_next_is_asked_and_then_the_next_that_is_idle() -> None:
    pool = Driven(sessions=2)
    pool.idle("a", "b")
    pool.add("c")
    assert pool(Reserve("c")) == [MakeRoom("a")]
    assert pool(Busy("a")) == [MakeRoom("b")]
    assert pool(Busy("b")) == []
    assert pool(Idled("a")) == [MakeRoom("a")]
    assert pool(Idled("b")) == [], "one session was asked for already"
    assert pool(Returned("a")) == [Permit("c")]


@pytest.mark.holds("L3")
def test_one_session_is_asked_for_each_that_waits_also_several_of_one_key() -> None:
    pool = Driven(sessions=3)
    pool.add("a", "b")
    for _ in range(3):
        pool(Reserve("a"))
    pool(Idled("a"))
    assert [pool(Reserve("b")) for _ in range(4)] == [[MakeRoom("a")]] * 3 + [[]]
    assert pool(Idled("a")) == [], "all that it has are asked for"
    assert [pool(Returned("a")) for _ in range(3)] == [[Permit("b")]] * 3


def test_room_that_is_being_made_passes_to_the_next_when_its_reservation_was_served_otherwise() -> None:
    pool = Driven(sessions=2)
    pool.idle("a")
    pool.add("b", "c")
    pool(Reserve("b"))
    assert pool(Reserve("c")) == [MakeRoom("a")]
    assert pool(Returned("b")) == [Permit("c")]
    assert pool(Reserve("b")) == [], "a's session is on its way out, and is counted on"
    assert pool(Returned("a")) == [Permit("b")]


@pytest.mark.holds("L3", "L5")
def test_what_is_held_up_by_its_users_cap_holds_up_nobody_else() -> None:
    pool = Driven(sessions=3, per_user=1)
    pool.add("a", "a2")
    pool.add("b", scope=BOB)
    assert pool(Reserve("a")) == [Permit("a")]
    assert pool(Reserve("a2")) == []
    assert pool(Reserve("b")) == [Permit("b")]
    assert pool(Returned("b")) == []
    assert pool(Returned("a")) == [Permit("a2")]


@pytest.mark.holds("L5")
def test_for_a_users_cap_only_the_same_user_makes_room_and_for_a_gateways_only_the_same_gateway() -> None:
    pool = Driven(sessions=9, per_user=1)
    pool.idle("b", scope=BOB)
    pool.idle("a")
    pool.add("a2")
    assert pool(Reserve("a2")) == [MakeRoom("a")]
    pool = Driven(sessions=9, per_gateway=1)
    pool.idle("west", scope=Scope("ada", "west", "ada"))
    pool.idle("east")
    pool.add("b", scope=BOB)
    assert pool(Reserve("b")) == [MakeRoom("east")]


@pytest.mark.holds("L5")
def test_a_key_that_is_idle_again_is_the_last_to_make_room_at_each_of_its_caps() -> None:
    pool = Driven(sessions=6, per_user=2)
    pool.idle("a", "a2")
    pool.idle("b", scope=BOB)
    pool.idle("talk", "talk2", scope=replace(ADAS_TALK, user=None))
    pool.idle("c", scope=Scope("cy", None, "cy"))
    for key in ("a", "talk", "nobody's"):
        pool.now += 1
        assert not pool.machine.idled(key, pool.now)
    pool.add("a3")
    pool.add("d", scope=Scope("dee", None, "ada"))
    assert pool(Reserve("a3")) == [MakeRoom("a2")], "of ada's, all of whom her own cap holds up"
    assert [pool(Reserve("d")) for _ in range(5)] == [[MakeRoom(key)] for key in ("b", "talk2", "c", "a", "talk")]


@pytest.mark.holds("L3", "L5")
def test_a_key_that_becomes_idle_is_asked_at_once_where_somebody_waits_however_it_is_said() -> None:
    pool = Driven(sessions=1)
    pool.add("a", "b")
    pool(Reserve("a"))
    pool(Reserve("b"))
    assert pool.machine.idled("a", 9.0) == [MakeRoom("a")]
    assert pool.machine.idled("a", 9.5) == []
    assert pool(Returned("a")) == [Permit("b")]


def test_since_when_a_key_is_idle_counts_also_where_it_was_said_the_short_way() -> None:
    pool = Driven(sessions=2)
    pool.add("talk", scope=ADAS_TALK)
    pool.add("plain", "a")
    for key in ("talk", "plain"):
        pool(Reserve(key))
    assert pool.machine.idled("plain", 8.0) == []
    assert pool.machine.idled("talk", 9.0) == []
    assert pool(Reserve("a")) == [MakeRoom("plain")]


@pytest.mark.holds("L5")
def test_a_sticky_session_makes_room_for_its_own_tenant_only() -> None:
    pool = Driven(sessions=1)
    pool.idle("talk", scope=ADAS_TALK)
    pool.add("b", scope=BOB)
    pool.add("a")
    assert pool(Reserve("b")) == []
    assert not pool.machine.yields_to_others("talk", None)
    assert pool(Reserve("a")) == [MakeRoom("talk")]
    assert pool(Returned("talk")) == [Permit("a")], "the older one of another tenant does not get it"
    assert pool(Returned("a")) == [Permit("b")]


def test_a_sticky_session_that_becomes_idle_is_asked_for_by_its_tenant_alone() -> None:
    pool = Driven(sessions=1)
    pool.add("talk", scope=BOBS_TALK)
    pool.add("a")
    pool.add("b", scope=BOB)
    pool(Reserve("talk"))
    pool(Reserve("a"))
    assert pool(Idled("talk")) == []
    assert pool(Reserve("b")) == [MakeRoom("talk")]


@pytest.mark.holds("L3")
def test_a_busy_key_yields_to_whoever_has_waited_longer_than_its_own() -> None:
    pool = Driven(sessions=2)
    pool.add("a", "b", "c")
    pool(Reserve("a"))
    pool(Reserve("a"))
    pool(Reserve("b"))
    since = pool.now
    assert pool.machine.yields_to_others("a", None)
    assert pool.machine.yields_to_others("a", since + 1)
    assert not pool.machine.yields_to_others("a", since)
    assert not pool.machine.yields_to_others("unknown", None)
    assert pool(Yielded("a")) == []
    assert not pool.machine.yields_to_others("a", None), "one session is on its way out for it already"
    pool(Reserve("c"))
    assert pool.machine.yields_to_others("a", None)
    assert pool(Returned("a")) == [Permit("b")]
    assert not pool.machine.yields_to_others("b", 0.0)
    assert pool(Returned("a")) == [Permit("c")]
    assert not pool.machine.yields_to_others("a", None)


def test_a_key_that_yields_what_it_has_not_changes_nothing() -> None:
    pool = Driven(sessions=1)
    pool.add("a", "b")
    pool(Reserve("b"))
    pool(Reserve("b"))
    assert pool(Yielded("a")) == []
    assert pool.machine.counts().rooms == 0


def test_a_spare_takes_only_what_is_free() -> None:
    pool = Driven(sessions=2)
    pool.idle("a")
    pool.add("b")
    assert pool(ReserveSpare("b")) == [Permit("b")]
    assert pool(ReserveSpare("b")) == [NoSpare("b")]
    assert not pool.machine.is_starved


@pytest.mark.holds("L2")
def test_whoever_unreserves_gives_up_the_newest_of_its_reservations_and_no_permit() -> None:
    pool = Driven(sessions=1)
    pool.add("a", "b", "c")
    pool(Reserve("a"))
    for key in "bcb":
        assert pool(Reserve(key)) == []
    assert pool(Unreserve("b")) == []
    assert pool(Returned("a")) == [Permit("b")]
    assert pool(Unreserve("b")) == []
    assert pool(Returned("b")) == [Permit("c")]
    assert pool(Unreserve("a")) == []


@pytest.mark.holds("L5")
def test_a_key_that_ended_gives_back_all_it_had_and_wanted() -> None:
    pool = Driven(sessions=2)
    pool.add("a", "b", "c")
    pool(Reserve("a"))
    pool(Reserve("a"))
    pool(Reserve("a"))
    pool(Reserve("b"))
    pool(Reserve("c"))
    assert pool(RemoveKey("a")) == [Permit("b"), Permit("c")]
    assert pool(Returned("a")) == []
    assert pool.machine.counts().permits == 2


@pytest.mark.holds("L5")
def test_the_caps_of_a_user_end_with_its_last_key() -> None:
    pool = Driven(sessions=9, per_user=1)
    pool.idle("a")
    pool.add("a2")
    assert pool(Reserve("a2")) == [MakeRoom("a")]
    assert pool(RemoveKey("a")) == [Permit("a2")]
    assert pool(RemoveKey("a2")) == []
    pool.idle("a")


def test_when_one_that_was_asked_ended_otherwise_another_is_asked() -> None:
    pool = Driven(sessions=2, per_user=1)
    pool.idle("a")
    pool.idle("b", scope=BOB)
    pool.add("c", scope=Scope("cy", None, "cy"))
    pool.add("d", scope=Scope("dan", None, "dan"))
    assert pool(Reserve("d")) == [MakeRoom("a")]
    assert pool(Reserve("c")) == [MakeRoom("b")]
    assert pool(Returned("b")) == [Permit("d")], "whoever came first has what is free first"
    assert pool(RemoveKey("a")) == [Permit("c")]


@pytest.mark.holds("L5")
def test_at_max_keys_the_key_without_sessions_ends_first_then_the_longest_idle_one() -> None:
    pool = Driven(sessions=9, keys=3)
    pool.idle("a", "b")
    pool.add("c")
    assert pool(AddKey("d", ADA)) == [EvictKey("c")]
    assert pool(AddKey("e", ADA)) == [EvictKey("a")]
    assert pool(RemoveKey("c")) == [AdmitKey("d")]
    assert pool(RemoveKey("a")) == [AdmitKey("e")]
    assert pool.machine.counts().keys == 3


def test_a_key_that_finds_none_to_evict_is_refused_at_once() -> None:
    pool = Driven(keys=1)
    pool.add("a")
    pool(Reserve("a"))
    (refused,) = pool(AddKey("b", ADA))
    assert isinstance(refused, RefuseKey)
    assert refused.key == "b"
    assert isinstance(refused.error, PoolFull)
    assert "max_keys (1)" in str(refused.error)
    assert pool(Idled("a")) == []


def test_a_key_that_could_not_end_is_passed_over_until_it_says_idle() -> None:
    pool = Driven(keys=2)
    pool.add("a", "b")
    assert pool(AddKey("c", ADA)) == [EvictKey("a")]
    assert pool(InUse("a")) == [EvictKey("b")]
    (refused,) = pool(InUse("b"))
    assert isinstance(refused, RefuseKey)
    assert pool(Idled("b")) == []
    assert pool(AddKey("d", ADA)) == [EvictKey("b")]


def test_no_sticky_key_of_another_tenant_ends_and_that_of_the_same_is_for_whom_it_ended() -> None:
    pool = Driven(keys=2)
    pool.add("talk", scope=BOBS_TALK)
    pool.add("a")
    assert pool(AddKey("c", ADA)) == [EvictKey("a")]
    assert isinstance(pool(AddKey("d", ADA))[0], RefuseKey)
    assert pool(AddKey("b", BOB)) == [EvictKey("talk")]
    assert pool(RemoveKey("talk")) == [AdmitKey("b")]
    assert pool(RemoveKey("a")) == [AdmitKey("c")]


def test_places_go_to_whoever_waits_the_longest_and_a_victim_to_whoever_lost_its_own() -> None:
    pool = Driven(keys=2)
    pool.add("a", "b")
    assert pool(AddKey("c", ADA)) == [EvictKey("a")]
    assert pool(AddKey("d", ADA)) == [EvictKey("b")]
    assert pool(RemoveKey("b")) == [AdmitKey("c")]
    assert pool(RemoveKey("a")) == [AdmitKey("d")]


def test_a_victim_that_nobody_needs_any_more_is_there_for_the_next() -> None:
    pool = Driven(keys=1)
    pool.add("a")
    assert pool(AddKey("b", ADA)) == [EvictKey("a")]
    assert pool(RemoveKey("b")) == []
    assert pool(AddKey("c", ADA)) == []
    assert pool(RemoveKey("a")) == [AdmitKey("c")]


@pytest.mark.holds("L3", "L5")
@pytest.mark.parametrize("state", ["without sessions", "busy", "idle", "asked for its session"])
def test_a_key_that_ends_by_itself_is_waited_for_by_one_newcomer_before_any_is_evicted(state: str) -> None:
    pool = Driven(sessions=3, keys=3)
    pool.add("talk", scope=BOBS_TALK)
    if state != "without sessions":
        pool(Reserve("talk"))
    if state == "idle":
        pool(Idled("talk"))
    pool.add("empty")
    pool.idle("idle")
    if state == "asked for its session":
        pool(Yielded("talk"))
    assert pool(Leaves("talk")) == []
    assert pool.machine.counts().evicting == 1
    assert pool(AddKey("a", ADA)) == [], "also of another tenant: it ends anyhow"
    assert pool(AddKey("b", ADA)) == [EvictKey("empty")], "one waits for it already"
    assert pool(RemoveKey("talk")) == [AdmitKey("a")]
    assert pool(RemoveKey("empty")) == [AdmitKey("b")]
    assert pool.machine.counts() == CapacityCounts(permits=1, queued=0, rooms=0, keys=3, pending=0, evicting=0)


@pytest.mark.holds("L5")
def test_a_key_that_ends_by_itself_is_not_asked_for_room_nor_counted_among_those_too_many() -> None:
    pool = Driven(sessions=2, keys=3)
    pool.idle("leaving", "idle")
    pool.add("c")
    pool(Leaves("leaving"))
    for event in (Idled("leaving"), Busy("leaving"), Unreserve("leaving"), InUse("leaving")):
        assert pool(event) == []
    assert pool(Resized(1, 2)) == [MakeRoom("idle")]
    assert pool(Reserve("c")) == [], "which is to be c's"
    assert pool(RemoveKey("leaving")) == []
    assert pool(Returned("idle")) == [Permit("c")]


@pytest.mark.holds("L3")
def test_a_key_that_was_asked_to_end_and_then_ends_for_certain_stays_whose_it_is() -> None:
    pool = Driven(keys=2)
    pool.idle("a")
    pool.add("busy")
    pool(Reserve("busy"))
    assert pool(AddKey("b", ADA)) == [EvictKey("a")]
    assert pool(Leaves("a")) == []
    assert pool(InUse("a")) == [], "which it said before"
    assert [type(effect) for effect in pool(AddKey("c", ADA))] == [RefuseKey]
    assert pool(Leaves("a")) == []
    assert pool(RemoveKey("a")) == [AdmitKey("b")]


@pytest.mark.holds("L3")
def test_whose_victim_could_not_end_waits_for_a_key_that_ends_by_itself() -> None:
    pool = Driven(sessions=3, keys=3)
    pool.idle("a", "b", "c")
    assert pool(AddKey("d", ADA)) == [EvictKey("a")]
    pool(Leaves("b"))
    assert pool(InUse("a")) == []
    assert pool(RemoveKey("b")) == [AdmitKey("d")]


@pytest.mark.holds("L3")
def test_who_stops_waiting_for_a_key_that_ends_by_itself_leaves_it_to_the_next() -> None:
    pool = Driven(keys=1)
    pool.idle("a")
    pool(Leaves("a"))
    assert pool(AddKey("b", ADA)) == []
    assert pool(RemoveKey("b")) == []
    assert pool(AddKey("c", ADA)) == []
    assert pool(RemoveKey("a")) == [AdmitKey("c")]


@pytest.mark.holds("L3")
@pytest.mark.parametrize("scope", [ADA, BOB])
def test_the_place_of_a_conversation_is_its_tenants_if_that_waits_for_it_else_the_oldests(scope: Scope) -> None:
    pool = Driven(keys=2)
    pool.add("plain")
    pool.add("talk", scope=BOBS_TALK)
    assert pool(AddKey("older", ADA)) == [EvictKey("plain")]
    pool(Leaves("talk"))
    assert pool(AddKey("newer", scope)) == []
    first, second = ("newer", "older") if scope is BOB else ("older", "newer")
    assert pool(RemoveKey("talk")) == [AdmitKey(first)]
    assert pool(RemoveKey("plain")) == [AdmitKey(second)]


@pytest.mark.holds("L5")
def test_caps_that_are_raised_serve_who_waits_and_lowered_ones_ask_for_what_is_idle() -> None:
    pool = Driven(sessions=1, keys=1)
    pool.add("a")
    pool(Reserve("a"))
    assert pool(Reserve("a")) == []
    assert pool(Resized(2, 2)) == [Permit("a")]
    pool.add("b")
    pool(Idled("a"))
    assert pool(Resized(1, 1)) == [MakeRoom("a"), EvictKey("b")]
    assert pool(Reserve("b")) == [], "room is being made already"
    assert pool(Returned("a")) == [MakeRoom("a")], "there was one too many"
    assert pool(Returned("a")) == [Permit("b")]


@pytest.mark.holds("L3")
def test_of_those_held_up_by_different_caps_the_oldest_that_can_be_served_is_first() -> None:
    pool = Driven(sessions=2, per_user=1)
    pool.add("a", "a2")
    pool.add("b", scope=BOB)
    pool.add("c", scope=Scope("cy", None, "cy"))
    pool(Reserve("a"))
    pool(Reserve("b"))
    assert pool(Reserve("c")) == []
    assert pool(Reserve("a2")) == []
    assert pool(Returned("a")) == [Permit("c")]
    assert pool(Returned("b")) == [Permit("a2")]


@pytest.mark.holds("L3")
def test_what_comes_to_be_held_up_by_another_cap_has_room_made_there() -> None:
    pool = Driven(sessions=3, per_user=1)
    pool.add("a", "a2")
    pool.add("c", scope=Scope("cy", None, "cy"))
    pool.idle("b", scope=BOB)
    pool.idle("d", scope=Scope("dan", None, "dan"))
    pool(Reserve("a"))
    assert pool(Reserve("c")) == [MakeRoom("b")]
    assert pool(Reserve("a2")) == []
    assert pool(Returned("a")) == [Permit("c")]
    assert pool(Busy("b")) == [MakeRoom("d")], "what waited for its user's cap waits for that of all now"


@pytest.mark.holds("L3")
def test_a_key_that_is_idle_is_asked_once_for_each_that_waits() -> None:
    pool = Driven(sessions=3)
    pool.add("a", "b")
    for key in "aaabb":
        pool(Reserve(key))
    assert pool(Idled("a")) == [MakeRoom("a"), MakeRoom("a")]


def test_a_sticky_session_is_not_asked_for_what_another_cap_holds_up() -> None:
    pool = Driven(sessions=9, per_user=1)
    pool.add("a", "a2", scope=Scope("ada", None, "both"))
    pool.add("talk", scope=Scope("bob", None, "both", is_sticky=True))
    for key in ("a", "a2", "talk"):
        pool(Reserve(key))
    assert pool(Idled("talk")) == []


def test_of_a_sticky_and_another_session_the_longer_idle_one_makes_room() -> None:
    for first, second in (("talk", "plain"), ("plain", "talk")):
        pool = Driven(sessions=2)
        for key in (first, second):
            pool.idle(key, scope=ADAS_TALK if key == "talk" else ADA)
        pool.add("a")
        assert pool(Reserve("a")) == [MakeRoom(first)]


@pytest.mark.holds("L3")
def test_one_that_yields_does_so_for_the_oldest_under_any_of_its_caps() -> None:
    pool = Driven(sessions=2, per_user=1)
    pool.add("a", "a2")
    pool.add("b", scope=BOB)
    pool.add("c", scope=Scope("cy", None, "cy"))
    for key in "ab":
        pool(Reserve(key))
    pool(Reserve("c"))
    since = pool.now
    pool(Reserve("a2"))
    assert pool.machine.yields_to_others("a", since + 0.5)
    assert not pool.machine.yields_to_others("a", since)


def test_one_that_lost_its_victim_and_has_no_place_yet_has_another_evicted() -> None:
    pool = Driven(keys=2)
    pool.add("a", "b")
    assert pool(AddKey("c", ADA)) == [EvictKey("a")]
    assert pool(Resized(2, 1)) == []
    assert pool(RemoveKey("a")) == [EvictKey("b")]
    assert pool(RemoveKey("b")) == [AdmitKey("c")]


def test_a_cap_cannot_be_set_where_there_was_none() -> None:
    pool = Driven(per_user=1)
    with pytest.raises(InvalidSettings, match="max_sessions_per_gateway can be changed where it is set"):
        pool(Resized(1, 1, 1, 1))
    with pytest.raises(InvalidSettings, match="max_sessions_per_user can be changed where it is set"):
        pool(Resized(1, 1))
    assert pool(Resized(5, 5, 3)) == []


@pytest.mark.holds("L5")
def test_the_figures_tell_what_is_given_what_waits_and_what_is_on_its_way_out() -> None:
    pool = Driven(sessions=2, keys=3)
    assert pool.machine.counts() == CapacityCounts(permits=0, queued=0, rooms=0, keys=0, pending=0, evicting=0)
    pool.add("a", "b", "c")
    for key in "aabbb":
        pool(Reserve(key))
    pool(Idled("a"))
    assert pool(AddKey("d", ADA)) == [EvictKey("c")]
    assert pool.machine.counts() == CapacityCounts(permits=2, queued=3, rooms=2, keys=3, pending=1, evicting=1)


def test_nobody_is_starved_at_first_and_a_key_that_is_not_there_has_nothing_to_give_back() -> None:
    pool = Driven()
    assert pool.machine.is_starved is False
    assert pool(RemoveKey("a")) == []
    assert pool(Returned("a")) == []


def test_a_key_stands_where_it_said_idle_last_also_one_without_sessions_and_not_where_it_wanted_one() -> None:
    pool = Driven(keys=2)
    pool.add("a", "b")
    assert pool(Idled("a")) == []
    assert pool(AddKey("c", ADA)) == [EvictKey("b")]
    pool = Driven(sessions=3, keys=2)
    pool.idle("a", "b")
    assert pool(Reserve("a")) == [Permit("a")]
    assert pool(AddKey("c", ADA)) == [EvictKey("a")]


@pytest.mark.holds("L2")
def test_each_that_unreserves_waits_no_more_the_newest_first() -> None:
    pool = Driven(sessions=1)
    pool.add("a", "b", "c")
    for key in "abbbc":
        pool(Reserve(key))
    for left in (3, 2, 1):
        pool(Unreserve("b"))
        assert pool.machine.counts().queued == left
        assert pool.machine.is_starved
        assert pool.machine.yields_to_others("a", 6.0) is (left > 1), "the oldest of them is the last to go"
    pool(Unreserve("c"))
    assert not pool.machine.is_starved
    assert pool(Unreserve("c")) == []
    assert pool(Returned("a")) == []


@pytest.mark.holds("L5")
@pytest.mark.parametrize("event", [Idled("talk"), Yielded("talk")])
def test_a_sticky_session_that_comes_free_is_for_its_tenant_also_where_another_waits_for_longer(
    event: CapacityEvent[str],
) -> None:
    pool = Driven(sessions=1)
    pool.add("talk", scope=ADAS_TALK)
    pool.add("b", scope=BOB)
    pool.add("a")
    for key in ("talk", "b", "a"):
        pool(Reserve(key))
    assert pool(event) == ([MakeRoom("talk")] if event == Idled("talk") else [])
    assert pool(Returned("talk")) == [Permit("a")]


@pytest.mark.holds("L3", "L5")
def test_what_comes_to_be_held_up_by_another_cap_may_have_room_made_by_one_that_helped_nobody_there() -> None:
    pool = Driven(sessions=2, per_user=1)
    pool.idle("talk", scope=Scope("dan", None, "ada", is_sticky=True))
    pool.add("a", "a2")
    pool.add("c", scope=Scope("cy", None, "cy"))
    assert pool(Reserve("a")) == [Permit("a")]
    assert pool(Reserve("c")) == []
    assert pool(Reserve("a2")) == [], "it is held up by its user's cap, which the conversation is not under"
    assert pool(Returned("a")) == [Permit("c"), MakeRoom("talk")]


@pytest.mark.holds("L5")
def test_a_key_returns_no_more_than_it_was_given() -> None:
    pool = Driven(sessions=5)
    pool.add("a", "b")
    for key in "aab":
        pool(Reserve(key))
    for given in (2, 1):
        assert pool(Returned("a")) == []
        assert pool.machine.counts().permits == given
    with pytest.raises(IllegalTransition, match="has no permit"):
        pool(Returned("a"))
    assert pool.machine.counts().permits == 1


@pytest.mark.holds("L5")
def test_a_key_that_waits_for_a_permit_and_has_none_is_not_evicted() -> None:
    pool = Driven(sessions=1, keys=2)
    pool.add("a", "b")
    for key in "aba":
        pool(Reserve(key))
    assert pool(Returned("a")) == [Permit("b")]
    assert [type(effect) for effect in pool(AddKey("c", ADA))] == [RefuseKey]


@pytest.mark.parametrize("first", ["talk", "plain"])
@pytest.mark.parametrize("were_used", [False, True])
def test_of_a_sticky_and_another_key_without_sessions_the_one_that_has_had_none_for_longer_ends(
    first: str, *, were_used: bool
) -> None:
    pool = Driven(keys=2)
    order = sorted(("plain", "talk"), key=lambda key: key != first)
    for key in reversed(order) if were_used else order:
        pool.add(key, scope=ADAS_TALK if key == "talk" else ADA)
        if were_used:
            pool(Reserve(key))
    for key in order if were_used else ():
        pool(Returned(key))
    assert pool(AddKey("c", ADA)) == [EvictKey(first)]


@pytest.mark.parametrize("by_resizing", [False, True])
def test_a_key_that_had_to_wait_for_its_place_stands_where_it_was_admitted(*, by_resizing: bool) -> None:
    pool = Driven(keys=1)
    pool.add("a")
    assert pool(AddKey("plain", ADA)) == [EvictKey("a")]
    if by_resizing:
        assert pool(Resized(2, 2)) == [AdmitKey("plain")]
        assert pool(RemoveKey("a")) == []
    else:
        assert pool(RemoveKey("a")) == [AdmitKey("plain")]
        assert pool(Resized(2, 2)) == []
    pool.add("talk", scope=ADAS_TALK)
    assert pool(AddKey("c", ADA)) == [EvictKey("plain")]


def test_a_key_that_was_refused_a_place_does_not_wait_for_one_and_may_ask_again() -> None:
    pool = Driven(keys=1)
    pool.add("a")
    pool(Reserve("a"))
    for _ in range(2):
        assert [type(effect) for effect in pool(AddKey("b", ADA))] == [RefuseKey]
        assert pool.machine.counts().pending == 0
    assert pool(RemoveKey("a")) == []


def test_a_victim_that_does_not_end_is_replaced_for_whoever_inherited_it() -> None:
    pool = Driven(keys=2)
    pool.add("a", "b")
    assert pool(AddKey("c", ADA)) == [EvictKey("a")]
    assert pool(AddKey("d", ADA)) == [EvictKey("b")]
    assert pool.machine.counts().evicting == 2
    assert pool(RemoveKey("b")) == [AdmitKey("c")]
    assert pool(InUse("a")) == [EvictKey("c")]
    assert pool(RemoveKey("c")) == [AdmitKey("d")]


def test_what_cannot_be_is_an_error() -> None:
    pool = Driven(keys=1)
    pool.add("a")
    pool(AddKey("b", ADA))
    for key in "ab":
        with pytest.raises(IllegalTransition, match=r"^a key that is admitted, or waits for that, cannot be added$"):
            pool(AddKey(key, ADA))
    with pytest.raises(IllegalTransition, match=r"^a key that has no permit cannot return one$"):
        pool(Returned("a"))
    pool(RemoveKey("a"))
    with pytest.raises(IllegalTransition, match="a key that is EMPTY cannot be KEPT"):
        pool(InUse("b"))


def test_an_idle_key_costs_at_most_200_bytes() -> None:
    keys, scope = [f"key {number}" for number in range(1_300)], ADA
    clock = [float(number) for number in range(len(keys))]
    gc.collect()
    tracemalloc.start()
    pool = Capacity[str](max_sessions=10**6, max_keys=10**6)
    for key, now in zip(keys, clock, strict=True):
        for event in (AddKey(key, scope), Reserve(key), Idled(key)):
            pool.handle(event, now=now * 1.5)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert pool.counts().permits == len(keys)
    assert taken / len(keys) <= 200
