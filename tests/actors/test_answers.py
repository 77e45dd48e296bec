"""The answers that are kept for a pool key: which of them go when there are too many, or too much."""

import mcp_types as types
import pytest
from mcp.client import CacheEntry, CacheKey

from actors.answers import MOST_ANSWERS, MOST_BYTES, Answers


def key(uri: str) -> CacheKey:
    return CacheKey("resources/read", uri)


def answer(size: int = 0) -> CacheEntry:
    contents: list[types.TextResourceContents | types.BlobResourceContents] = [
        types.TextResourceContents(uri="a:b", text="x" * size)
    ]
    return CacheEntry(types.ReadResourceResult(contents=contents), "private", None)


@pytest.mark.holds("C10")
async def test_an_answer_is_kept_until_it_is_replaced_or_forgotten() -> None:
    answers = Answers()
    first, second = answer(10), answer(30)
    await answers.set(key("a"), first)
    size = answers.size
    assert await answers.get(key("a")) is first
    await answers.set(key("a"), second)
    assert await answers.get(key("a")) is second
    assert (len(answers), answers.size) == (1, size + 20)
    await answers.set(key("é"), second)
    assert answers.size == 2 * (size + 20) + 1, "bytes, not characters"
    await answers.delete(key("é"))
    await answers.set(key("b"), first)
    await answers.delete(key("a"))
    await answers.delete(key("a"))
    assert await answers.get(key("a")) is None
    assert (len(answers), answers.size) == (1, size)
    await answers.clear()
    assert await answers.get(key("b")) is None
    assert (len(answers), answers.size) == (0, 0)


@pytest.mark.holds("C10")
async def test_one_that_is_too_large_is_not_kept_nor_is_what_it_came_for_and_the_others_stay() -> None:
    answers = Answers()
    for uri in "ab":
        await answers.set(key(uri), answer())
    await answers.set(key("a"), answer(MOST_BYTES))
    assert await answers.get(key("a")) is None
    assert await answers.get(key("b")) is not None
    assert len(answers) == 1


@pytest.mark.holds("C10")
async def test_what_was_used_the_longest_ago_goes_where_they_are_too_much() -> None:
    answers = Answers()
    for uri in "abc":
        await answers.set(key(uri), answer(MOST_BYTES * 3 // 10))
    await answers.get(key("a"))
    await answers.set(key("d"), answer(MOST_BYTES * 4 // 10))
    assert [uri for uri in "abcd" if await answers.get(key(uri))] == ["a", "d"]
    assert answers.size <= MOST_BYTES


@pytest.mark.holds("C10")
async def test_what_was_used_the_longest_ago_goes_where_they_are_too_many() -> None:
    answers = Answers()
    for number in range(MOST_ANSWERS):
        await answers.set(key(str(number)), answer())
    await answers.get(key("0"))
    await answers.set(key("another"), answer())
    assert len(answers) == MOST_ANSWERS
    assert [uri for uri in ("0", "1", "2") if await answers.get(key(uri))] == ["0", "2"]
