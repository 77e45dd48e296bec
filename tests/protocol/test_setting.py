"""The kinds of setting: what each accepts, what it makes of text, and what it says of the rest."""

from math import inf, nan
from typing import Any

import pytest

from protocol.errors import InvalidSettings
from protocol.setting import LONGEST, Count, Flag, Function, Seconds, Secret, Setting, Share, Words, shown

PROBES = Words(of=("ping", "skip"))


class Unshown:
    def __repr__(self) -> str:
        raise RuntimeError("s3cret")


@pytest.mark.parametrize(
    ("setting", "accepted"),
    [
        (Count(), [1, 2, 10**9]),
        (Count(at_least=0), [0, 1]),
        (Seconds(), [1e-9, 1, 0.5, LONGEST, int(LONGEST)]),
        (Share(), [0, 0.0, 0.5, 1, 1.0]),
        (Flag(), [True, False]),
        (Words(), [("a",), ("a", "b")]),
        (PROBES, [("ping",), ("skip", "ping")]),
        (Secret(), [b"a", b"\0"]),
        (Function(), [len, str.lower, Unshown]),
    ],
)
def test_a_kind_takes_what_is_of_it_as_it_is(setting: Setting, accepted: list[Any]) -> None:
    for value in accepted:
        setting.check("knob", value)
        assert setting.take("knob", value) is value


@pytest.mark.parametrize(
    ("setting", "expected", "refused"),
    [
        (Count(), "a whole number of at least 1", [0, -1, True, 1.0, None, b"1"]),
        (Count(at_least=0), "a whole number of at least 0", [-1, False]),
        (Count(at_least=5, or_none=True), "a whole number of at least 5 or None", [4]),
        (Seconds(), "a number of seconds above 0 and at most 1e+09", [0, -1.0, 1e9 + 1, nan, inf, -inf, True, 1j]),
        (Seconds(or_none=True), "a number of seconds above 0 and at most 1e+09 or None", [0]),
        (Share(), "a number from 0 to 1", [-0.001, 1.001, nan, True, False, None, 0j]),
        (Flag(), "True or False (as text: true or false, yes or no, on or off, 1 or 0)", [0, 1, None]),
        (Words(), "a tuple of texts, at least one, none of them twice", [(), ("a", "a"), ("a", 5), ("a", ""), None]),
        (
            PROBES,
            "a tuple of texts out of ping, skip, at least one, none of them twice",
            [(), ("ping", "ping"), ("pong",), ("ping", "pong"), ("ping", 5), {"ping": 1}],
        ),
    ],
)
def test_a_kind_refuses_the_rest_by_the_settings_name_and_says_what_it_would_take(
    setting: Setting, expected: str, refused: list[Any]
) -> None:
    for value in refused:
        for refuse in (setting.check, setting.take):
            with pytest.raises(InvalidSettings) as caught:
                refuse("knob", value)
            assert str(caught.value) == f"knob must be {expected}, not {value!r}"


def test_none_is_taken_where_it_is_allowed_and_only_there() -> None:
    for kind in (Count, Seconds, Share, Flag, Words, Secret, Function):
        kind(or_none=True).check("knob", None)
        for none in (None, "none", " None ", "NONE"):
            assert kind(or_none=True).take("knob", none) is None
        with pytest.raises(InvalidSettings, match="knob must be"):
            kind().check("knob", None)
    for kind in (Count, Seconds, Share, Flag, Function):
        with pytest.raises(InvalidSettings, match="knob must be"):
            kind().take("knob", "none")
    assert Secret().take("knob", "none") == b"none"
    assert Words().take("knob", "none") == ("none",)


@pytest.mark.parametrize(
    ("setting", "texts"),
    [
        (Count(), {"7": 7, " 7 ": 7, "+7": 7}),
        (Seconds(), {"1.5": 1.5, "1e2": 100.0, " 7": 7.0}),
        (Share(), {"0": 0.0, "0.25": 0.25}),
        (Flag(), {"true": True, "Yes": True, " on ": True, "1": True}),
        (Flag(), {"false": False, "NO": False, "off": False, "0": False}),
        (Words(), {"a": ("a",), "a,b": ("a", "b"), " a , b c ": ("a", "b c")}),
        (Secret(), {"s3crét ": "s3crét ".encode()}),
    ],
)
def test_text_stands_for_a_value_of_the_kind(setting: Setting, texts: dict[str, Any]) -> None:
    for text, value in texts.items():
        taken = setting.take("knob", text)
        assert taken == value
        assert type(taken) is type(value)


@pytest.mark.parametrize(
    ("setting", "texts"),
    [
        (Count(), ["", "ten", "0", "1.0"]),
        (Seconds(), ["", "5s", "nan", "inf", "0"]),
        (Share(), ["", "half", "1.5", "nan"]),
        (Flag(), ["", "maybe", "t", "2"]),
        (Words(), ["", "a,", "a,,b", "a,a"]),
        (PROBES, ["ping;skip", "pong"]),
    ],
)
def test_text_that_stands_for_none_is_refused_and_shown(setting: Setting, texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(InvalidSettings, match=r"^knob must be .*, not ") as caught:
            setting.take("knob", text)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_list_stands_for_a_tuple_and_is_not_what_a_setting_holds() -> None:
    assert Words().take("knob", ["a", "b"]) == ("a", "b")
    with pytest.raises(InvalidSettings, match="knob must be a tuple"):
        Words().check("knob", ["a", "b"])
    with pytest.raises(InvalidSettings, match=r"not \(1,\)"):
        Count().take("knob", [1])


@pytest.mark.holds("X1")
@pytest.mark.parametrize(
    ("value", "told"),
    [(b"", "empty bytes"), ("", "empty str"), ("s3cret", "str"), (5, "int"), (["s3cret"], "list")],
)
def test_a_secret_that_is_refused_is_told_by_its_kind(value: Any, told: str) -> None:
    setting = Secret(or_none=True)
    with pytest.raises(InvalidSettings) as caught:
        setting.check("knob", value)
    assert str(caught.value) == f"knob must be bytes, at least one, or None, not {told}"
    with pytest.raises(InvalidSettings, match=r"not str$"):
        setting.take("knob", "\ud800")


def test_what_is_no_function_is_told_by_its_kind() -> None:
    for value, told in (("os.system", "text"), (5, "int")):
        with pytest.raises(InvalidSettings) as caught:
            Function(or_none=True).take("knob", value)
        assert str(caught.value) == f"knob must be a function, given in code, or None, not {told}"


def test_a_value_is_shown_on_one_line_whatever_its_repr_does() -> None:
    assert shown("a" * 58) == repr("a" * 58)
    assert shown("a" * 59) == "'" + "a" * 59 + "…"
    assert shown(Unshown()) == "a Unshown that cannot be shown"
    assert shown(10**5_000) == "a int that cannot be shown"
