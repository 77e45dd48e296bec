"""The pool machine under any order of events, beside a second account of the same pool (`tests.protocol.pool_account`).

Hypothesis looks for short counterexamples, and shrinks them. Plain seeds bring the number: more than two million steps
with TROUPE_ALL_STEPS=1, which take about a minute, and a few seconds' worth otherwise. `live(seed, acts)` replays one.
"""

import os
from collections import Counter
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from protocol.session import Retirement
from tests.protocol.pool_life import ACTS, PoolLife, live, some_settings

IS_LONG = bool(os.environ.get("TROUPE_ALL_STEPS"))
ACTS_PER_SEED = 2_000
SEEDS = range(4_000 if IS_LONG else 100)
BATCHES = [SEEDS[first : first + len(SEEDS) // 10] for first in range(0, len(SEEDS), len(SEEDS) // 10)]
STEPS: Counter[str] = Counter()
"""The steps that the tests of this module have taken."""

randoms = st.randoms(use_true_random=False)


class AnyLife(RuleBasedStateMachine):
    """`PoolLife`, with its acts as rules."""

    life: PoolLife

    @initialize(
        random=randoms, places=st.sampled_from([None, 1, 3]), is_sticky=st.booleans(), is_presumed=st.booleans()
    )
    def make(self, random: Random, places: int | None, *, is_sticky: bool, is_presumed: bool) -> None:
        self.life = PoolLife(
            some_settings(random), places=places, is_sticky=is_sticky, is_presumed=is_sticky and is_presumed
        )

    @rule(random=randoms)
    def acquire(self, random: Random) -> None:
        self.life.acquire(random)

    @precondition(lambda self: self.life.waiting)
    @rule(random=randoms)
    def withdraw(self, random: Random) -> None:
        self.life.withdraw(random)

    @precondition(lambda self: self.life.told)
    @rule(random=randoms)
    def not_hear_of_a_loss(self, random: Random) -> None:
        self.life.not_hear_of_a_loss(random)

    @rule(random=randoms)
    def hear_of_a_loss_after_all(self, random: Random) -> None:
        self.life.hear_of_a_loss_after_all(random)

    @precondition(lambda self: self.life.held)
    @rule(random=randoms)
    def release(self, random: Random) -> None:
        self.life.release(random)

    @precondition(lambda self: self.life.settling)
    @rule(random=randoms)
    def settle(self, random: Random) -> None:
        self.life.settle(random)

    @precondition(lambda self: self.life.held)
    @rule(random=randoms)
    def abandon(self, random: Random) -> None:
        self.life.abandon(random)

    @precondition(lambda self: self.life.over or self.life.held)
    @rule(random=randoms)
    def say_what_changes_nothing(self, random: Random) -> None:
        self.life.say_what_changes_nothing(random)

    @precondition(lambda self: self.life.sessions)
    @rule(random=randoms)
    def session_opens(self, random: Random) -> None:
        self.life.session_opens(random)

    @precondition(lambda self: self.life.sessions)
    @rule(random=randoms)
    def session_breaks(self, random: Random) -> None:
        self.life.session_breaks(random)

    @precondition(lambda self: self.life.sessions)
    @rule(random=randoms)
    def session_is_checked(self, random: Random) -> None:
        self.life.session_is_checked(random)

    @precondition(lambda self: self.life.sessions)
    @rule(random=randoms)
    def session_ends(self, random: Random) -> None:
        self.life.session_ends(random)

    @precondition(lambda self: self.life.sessions)
    @rule(random=randoms)
    def session_ends_by_itself(self, random: Random) -> None:
        self.life.session_ends_by_itself(random)

    @precondition(lambda self: self.life.queued)
    @rule(random=randoms)
    def permit_is_granted(self, random: Random) -> None:
        self.life.permit_is_granted(random)

    @precondition(lambda self: self.life.queued)
    @rule(random=randoms)
    def permit_is_refused(self, random: Random) -> None:
        self.life.permit_is_refused(random)

    @precondition(lambda self: self.life.answers)
    @rule(random=randoms)
    def answer_arrives(self, random: Random) -> None:
        self.life.answer_arrives(random)

    @rule(random=randoms)
    def others_want(self, random: Random) -> None:
        self.life.others_want(random)

    @rule(random=randoms)
    def make_room(self, random: Random) -> None:
        self.life.make_room(random)

    @rule(random=randoms)
    def evict(self, random: Random) -> None:
        self.life.evict(random)

    @rule(random=randoms)
    def drain(self, random: Random) -> None:
        self.life.drain(random)

    @rule(random=randoms)
    def resize(self, random: Random) -> None:
        self.life.resize(random)

    @rule(random=randoms)
    def wait(self, random: Random) -> None:
        self.life.wait(random)

    @rule(random=randoms)
    def shut(self, random: Random) -> None:
        if self.life.tickets > 10:
            self.life.shut(random)

    def teardown(self) -> None:
        if hasattr(self, "life"):
            self.life.finish(Random(0))
            STEPS["hypothesis"] += self.life.steps


INVARIANTS = pytest.mark.holds("L1", "L2", "L3", "L4", "L5", "L6", "L8", "L9", "S2", "S7", "S8")


@INVARIANTS
def test_no_short_order_of_events_breaks_an_invariant() -> None:
    run_state_machine_as_test(
        AnyLife,
        settings=settings(
            max_examples=1_000 if IS_LONG else 150,
            stateful_step_count=60,
            deadline=None,
            suppress_health_check=[HealthCheck.filter_too_much],
        ),
    )


@INVARIANTS
@pytest.mark.parametrize("seeds", BATCHES, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_whatever_happens_to_a_pool_it_is_as_the_second_account_says(seeds: range) -> None:
    for seed in seeds:
        try:
            STEPS["seeds"] += live(seed, ACTS_PER_SEED)
        except Exception as error:
            error.add_note(f"live({seed}, {ACTS_PER_SEED}) replays this")
            raise


def test_hypothesis_knows_every_act_that_the_seeds_draw_from() -> None:
    acts = {act.__name__ for act in ACTS}
    assert acts < set(vars(AnyLife))


def test_a_life_has_everything_in_it_that_may_happen() -> None:
    seen = Counter[str]()
    for seed in range(200):
        live(seed, 1_000, seen)
    assert {name: seen[name] for name in EFFECTS if seen[name] < 5} == {}
    assert {reason for reason in Retirement if seen[reason.name] < 5} == set()


EFFECTS = {
    *("Grant", "Refuse", "AwaitCalls", "Reserve", "Unreserve", "Return", "Open", "Check", "Close", "Occupied"),
    *("HeldLong", "Wake", "Leaving", "Finished", "PoolFull", "PoolClosed", "SessionStateLost", "ConnectFailed"),
}


@pytest.mark.skipif(not IS_LONG, reason="TROUPE_ALL_STEPS=1 runs the million")
def test_at_least_a_million_steps_were_taken() -> None:
    print(f"steps: {dict(STEPS)}")  # noqa: T201 - CI shows the figure
    assert STEPS.total() >= 1_000_000
