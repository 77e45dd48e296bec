"""Those whom a bus calls back: once each, whatever the others do."""

from itertools import count
from typing import Final

import anyio
import pytest

from protocol.bus import Claim, Find, Holding, Joined, Post
from protocol.errors import BusUnavailable
from protocol.namespace import Namespace
from tests.integration.buses import MakeBus, maker, workers
from tests.redis_server import RedisServer

_numbers = count()


SENSITIVE: Final = "a secret"


def fail(answer: object) -> None:
    raise RuntimeError(SENSITIVE)


@pytest.mark.holds("X1")
async def test_one_who_fails_when_called_back_keeps_nobody_else_from_it(
    make: MakeBus, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[object] = []
    async with workers(make, "ada") as (ada,):
        for then in (fail, answers.append, fail, answers.append):
            ada.bus.send(Find("talk"), then)
        assert await ada.ask(Find("talk")) is None
        assert answers == [None, None]
        for then in (fail, answers.append, fail, answers.append):
            ada.bus.send(Find("talk"), then)
    assert len(answers) == 4
    assert sum("RuntimeError" in record.getMessage() for record in caplog.records) == 4
    assert SENSITIVE not in caplog.text


async def test_one_who_fails_when_told_news_is_told_more(make: MakeBus) -> None:
    told: list[object] = []

    def tell(news: object) -> None:
        told.append(news)
        fail(news)

    async with workers(make, "ada") as (ada,), anyio.create_task_group() as tasks:
        tasks.start_soon(make().run, ("channel",), tell)
        with anyio.fail_after(5):
            while await ada.ask(Post("channel", b"!")) == 0 or len(told) < 3:  # noqa: ASYNC110 - it has no event
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()


async def test_one_who_asks_again_whenever_it_is_answered_does_not_hold_the_event_loop(make: MakeBus) -> None:
    async with workers(make, "ada") as (ada,):

        def again(answer: object) -> None:
            if not isinstance(answer, BusUnavailable):
                ada.bus.send(Find("talk"), again)

        again(None)
        with anyio.fail_after(5):
            for _ in range(5):
                await anyio.lowlevel.checkpoint()


async def test_what_is_said_at_once_is_heard_in_order_however_much_it_is(make: MakeBus) -> None:
    """Twice: the first of it goes out alone where little was said before, and waits for company where much was."""
    envelopes = [b"%d" % number * 200 for number in range(2_000)]
    async with workers(make, "ada", "bob") as (ada, bob):
        for times in (1, 2):
            answers: list[object] = []
            for envelope in envelopes:
                ada.bus.send(Post(bob.channel, envelope), answers.append)
            await bob.until(lambda times=times: len(bob.envelopes) == times * len(envelopes))
            await ada.ask(Find("talk"))
            assert bob.envelopes == envelopes * times
            assert answers == [1] * len(envelopes)


async def test_more_than_redis_takes_at_once_waits_and_is_lost_by_name(
    redis: RedisServer, namespace: Namespace
) -> None:
    megabytes, answers = 40, list[object]()
    async with workers(maker("redis", redis.url, namespace), "ada") as (ada,):
        redis.freeze()
        try:
            for _ in range(megabytes):
                ada.bus.send(Post("channel", bytes(1_000_000)), answers.append)
                await anyio.sleep(0.002)
            ada.bus.send(Find("talk"), answers.append)
            await ada.parted()
        finally:
            redis.thaw()
        errors = [answer for answer in answers if isinstance(answer, BusUnavailable)]
        assert len(errors) == megabytes + 1
        assert errors[0].was_sent
        assert not errors[-1].was_sent
        await ada.joined(times=2)
        assert await ada.ask(Post("channel", b"again")) == 0


async def test_a_command_that_cannot_be_said_is_refused_to_its_sender_and_harms_no_other(
    redis: RedisServer, namespace: Namespace
) -> None:
    answers: list[object] = []
    async with workers(maker("redis", redis.url, namespace), "ada") as (ada,):
        ada.bus.send(Find("talk"), answers.append)
        with pytest.raises(ValueError, match="surrogates"):
            ada.bus.send(Find("\udc80"), answers.append)
        assert await ada.ask(Find("talk")) is None
        assert len(answers) == 1
        assert [type(news) for news in ada.news] == [Joined]


@pytest.mark.holds("C6")
async def test_thousands_of_commands_at_once_are_each_answered_once(redis: RedisServer, namespace: Namespace) -> None:
    answers: list[object] = []
    async with workers(maker("redis", redis.url, namespace), "ada") as (ada,):
        for number in range(10_000):
            holding = Holding("ada", f"token-{number}", "p" * 100)
            ada.bus.send(Claim(f"talk-{number % 50}", holding, 60), answers.append)
        assert await ada.ask(Find("talk-1")) == Holding("ada", "token-1", "p" * 100)
        assert len(answers) == 10_000
