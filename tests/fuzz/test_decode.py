"""Whether what `make fuzz` runs works, without what that takes besides."""

import pytest

from tests.fuzz import decode as module
from tests.fuzz.decode import decode, seeds


def test_what_can_be_read_is_read_and_cut_short_or_twice_it_does_no_harm() -> None:
    for seed in seeds():
        for end in range(len(seed) + 1):
            decode(seed[:end])
        decode(seed * 2)


@pytest.mark.parametrize("name", ["opened", "unpack_chunk", "unpack_credit"])
def test_an_error_that_is_no_refusal_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: bytes) -> None:
        raise RecursionError

    monkeypatch.setattr(module, name, fail)
    with pytest.raises(RecursionError):
        decode(b"")


@pytest.mark.parametrize("name", ["ANSWERS", "ForwardedRequest"])
def test_so_is_one_in_what_reads_a_payload(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        @staticmethod
        def unpack(_: bytes) -> None:
            raise KeyError

    monkeypatch.setattr(module, name, {Failing.unpack: repr} if name == "ANSWERS" else Failing)
    with pytest.raises(KeyError):
        decode(b"")
