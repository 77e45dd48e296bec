"""Probes: what a test asks of what its actors have said."""

import anyio
import pytest

from actors import Actor, Ref, Request, message, open_system
from actors.testing import Probe, ProbeFailed, Simulation, simulate


@message
class Said:
    what: str


@message
class Sung:
    what: str


@message
class Question(Request[str]):
    what: str


class Nobody(Actor[Said]):
    def receive(self, message: Said) -> None:
        raise ValueError(message.what)


async def test_a_probe_expects_a_message_a_type_or_a_predicate() -> None:
    async with open_system() as system:
        probe = Probe.spawn(system, name="probe")
        for what in ("a", "b", "c"):
            probe.ref.tell(Said(what))
        assert await probe.expect(Said("a")) == Said("a")
        assert (await probe.expect(Said)).what == "b"
        assert await probe.expect(lambda message: message.what == "c") == Said("c")
        assert probe.messages == ()
        assert probe.ref.path == "/troupe/probe"


async def test_a_probe_that_is_sent_something_else_says_what() -> None:
    async with open_system() as system:
        probe = Probe.spawn(system, name="probe")
        probe.ref.tell(Sung("la"))
        probe.ref.tell(Said("so"))
        with pytest.raises(ProbeFailed, match=r"/troupe/probe expected Said; what came is Sung\(what='la'\), Said"):
            await probe.expect(Said)
        assert await probe.expect(Said, skipping=True) == Said("so")
        assert probe.messages == (Sung("la"),)


async def test_a_probe_that_is_sent_nothing_says_so() -> None:
    async with open_system() as system:
        probe = Probe.spawn(system, name="probe")
        with pytest.raises(ProbeFailed, match=r"expected Said within 0.01 s; what came is nothing"):
            await probe.expect(Said, within=0.01)


async def test_a_probe_waits_for_what_comes_later() -> None:
    async with open_system() as system, anyio.create_task_group() as group:
        probe = Probe.spawn(system)

        async def say() -> None:
            await anyio.sleep(0.01)
            probe.ref.tell(Said("late"))

        group.start_soon(say)
        assert await probe.expect(Said("late")) == Said("late")


async def test_a_probe_can_expect_silence() -> None:
    async with open_system() as system:
        probe = Probe.spawn(system, name="probe")
        await probe.expect_none(for_=0.01)
        probe.ref.tell(Said("a"))
        with pytest.raises(ProbeFailed, match=r"expected nothing for 0.01 s; what came is Said"):
            await probe.expect_none(for_=0.01)


async def test_a_probe_answers_the_request_that_was_expected_last() -> None:
    async with open_system() as system, anyio.create_task_group() as group:
        probe = Probe.spawn(system)
        answers: dict[str, str] = {}

        async def ask(what: str) -> None:
            answers[what] = await probe.ref.ask(Question(what))

        with pytest.raises(LookupError, match="has no request to answer"):
            probe.reply("nothing")
        group.start_soon(ask, "a")
        await probe.expect(Question("a"))
        group.start_soon(ask, "b")
        await probe.expect(Question("b"))
        probe.ref.tell(Said("in between"))
        await probe.expect(Said)
        probe.reply("of b")
        group.start_soon(ask, "c")
        await anyio.wait_all_tasks_blocked()
        probe.reply("of c")
        assert probe.messages == (Question("c"),)
        await anyio.wait_all_tasks_blocked()
        assert answers == {"b": "of b", "c": "of c"}
        group.cancel_scope.cancel()


async def test_a_probe_fails_a_request() -> None:
    async with open_system() as system, anyio.create_task_group() as group:
        probe = Probe.spawn(system)

        async def ask() -> None:
            with pytest.raises(KeyError):
                await probe.ref.ask(Question("a"))

        group.start_soon(ask)
        await probe.expect(Question)
        probe.fail(KeyError("a"))


async def test_a_probe_sees_an_actor_end() -> None:
    async with open_system() as system:
        probe = Probe.spawn(system, name="probe")
        nobody: Ref[Said] = system.spawn(Nobody(), name="nobody")
        probe.watch(nobody)
        with pytest.raises(ProbeFailed, match=r"expected the end of /troupe/nobody within 0.01 s; it is alive"):
            await probe.expect_terminated(nobody, within=0.01)
        nobody.tell(Said("boom"))
        assert isinstance((await probe.expect_terminated(nobody)).reason, ValueError)
        assert isinstance((await probe.expect_terminated(nobody)).reason, ValueError)
        gone = system.spawn(Nobody())
        gone.stop()
        assert (await probe.expect_terminated(gone)).reason is None


def test_a_probe_in_a_simulation_waits_in_virtual_time() -> None:
    async def wait(simulation: Simulation) -> None:
        async with simulation.open_system() as system:
            probe = simulation.probe(system, "probe")
            await probe.expect_none(for_=1000)
            assert simulation.now() == 1000
            with pytest.raises(ProbeFailed):
                await probe.expect(Said, within=500)
            assert simulation.now() == 1500

    simulate(wait, seed=1)


def test_a_probes_failure_is_an_assertions() -> None:
    async def expect(simulation: Simulation) -> None:
        async with simulation.open_system() as system:
            await simulation.probe(system, "probe").expect(Said)

    with pytest.raises(AssertionError, match="/troupe/probe expected Said within 3 s; what came is nothing") as caught:
        simulate(expect, seed=1)
    assert "at 3.000000 s of virtual time" in caught.value.__notes__[0]
