"""What a user may decide about a pool, and what is refused."""

import ast
import dataclasses
import inspect
import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import settings as module
from protocol.errors import InvalidSettings
from protocol.settings import LONGEST, PROBES, SETTING_NAMES, PoolSettings, nearest, read_settings

FIELDS = {field.name: field for field in dataclasses.fields(PoolSettings)}
DEFAULTS = PoolSettings()
WRONG: list[Any] = ["text", math.nan, -1, [], 1.5j, (), ("a", "a"), ("a", 5), ("",)]
OPTIONAL = tuple(name for name in FIELDS if "None" in str(FIELDS[name].type))


def extract(_: Mapping[str, str]) -> str:
    return "ada"


# --- kinds and ranges -------------------------------------------------------------------------------------------------


def test_every_field_has_a_kind() -> None:
    assert set(SETTING_NAMES) == set(FIELDS)


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in FIELDS for value in WRONG]
    + [(name, True) for name in FIELDS if name != "check_principal"]
    + [(name, None) for name in FIELDS if name not in OPTIONAL]
    + [
        pytest.param("call_timeout", 10**5_000, id="call_timeout-huge"),
        ("close_timeout", math.inf),
        ("max_size", 2.0),
        ("max_body", 0),
    ]
    + [("acquire_timeout", 0), ("lifetime_jitter", 1.1), ("check_principal", 1), ("warn_after", 0)],
)
def test_a_setting_of_the_wrong_kind_or_size_is_refused_by_its_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidSettings, match=f"^{name} must be"):
        PoolSettings(**{name: value})


def test_the_edges_of_each_range_are_allowed() -> None:
    assert PoolSettings(max_waiting=0, min_idle=10, lifetime_jitter=0, max_sessions_per_user=10).max_waiting == 0
    assert PoolSettings(lifetime_jitter=1, call_timeout=LONGEST, breaker_backoff=60.0).lifetime_jitter == 1
    nones: dict[str, Any] = dict.fromkeys(OPTIONAL)
    assert PoolSettings(**nones).max_idle is None
    with pytest.raises(InvalidSettings, match="max_size must be a whole number of at least 1, not 0"):
        PoolSettings(max_size=0)
    with pytest.raises(InvalidSettings, match="identity_secret must be bytes, at least one, or None, not empty bytes"):
        PoolSettings(identity_secret=b"")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"min_idle": 11}, r"min_idle \(11\) must be at most max_size \(10\)"),
        ({"min_idle": 5, "max_sessions": 4}, r"min_idle \(5\) must be at most max_sessions \(4\)"),
        ({"min_idle": 2, "max_sessions_per_user": 1}, r"min_idle \(2\) must be at most max_sessions_per_user \(1\)"),
        ({"min_idle": 2, "max_sessions_per_gateway": 1}, r"min_idle \(2\) must be at most max_sessions_per_gateway"),
        ({"breaker_backoff": 61}, r"breaker_backoff \(61\) must be at most breaker_ceiling \(60.0\)"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_with_both_names(changes: Any, why: str) -> None:
    with pytest.raises(InvalidSettings, match=why):
        PoolSettings(**changes)


@pytest.mark.parametrize(
    ("probes", "why"),
    [
        ((), "health_probes must be a tuple of texts out of ping, .*, at least one, none of them twice"),
        (("pong",), r"health_probes must be .* not \('pong',\)"),
        (("ping", "ping"), "none of them twice"),
        (["ping"], "health_probes must be a tuple"),
        ("ping", "health_probes must be a tuple"),
        (("skip",), "^health_probes must not begin with skip, which stands in for the probe before it$"),
        (("skip", "ping"), "must not begin with skip"),
    ],
)
def test_probes_that_are_none_or_check_nothing_are_refused(probes: Any, why: str) -> None:
    with pytest.raises(InvalidSettings, match=why):
        PoolSettings(health_probes=probes)


@pytest.mark.holds("L1")
def test_neither_case_nor_order_of_the_identity_headers_makes_other_settings() -> None:
    assert PoolSettings(identity_headers=("X-B", "Cookie")) == PoolSettings(identity_headers=("cookie", "x-b"))
    for wrong in (("a b",), ("Cookie", "cookie")):
        with pytest.raises(InvalidSettings, match=r"^identity_headers"):
            PoolSettings(identity_headers=wrong)


def test_settings_are_changed_by_making_others() -> None:
    assert DEFAULTS.with_(max_size=20) == dataclasses.replace(DEFAULTS, max_size=20) == PoolSettings(max_size=20)
    with pytest.raises(InvalidSettings, match="there is no setting 'max_sise': did you mean max_size"):
        DEFAULTS.with_(max_sise=20)
    with pytest.raises(InvalidSettings, match="min_idle"):
        DEFAULTS.with_(min_idle=20)


@pytest.mark.holds("X1")
def test_settings_are_shown_without_their_secret() -> None:
    assert "s3cret" not in repr(PoolSettings(identity_secret=b"s3cret"))


# --- from a mapping ---------------------------------------------------------------------------------------------------


def written(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(cast("tuple[str, ...]", value))
    return value.decode() if isinstance(value, bytes) else str(value)


counts = st.integers(1, 10**6)
seconds = st.floats(0, LONGEST, exclude_min=True) | st.integers(1, 10**9)
words = st.text("abcxyz", min_size=1, max_size=5)
kinds: dict[Any, st.SearchStrategy[Any]] = {
    int: counts,
    int | None: counts | st.none(),
    float: seconds,
    float | None: seconds | st.none(),
    bool: st.booleans(),
    tuple[str, ...]: st.lists(words, min_size=1, max_size=4, unique=True).map(tuple),
    bytes | None: st.none() | words.filter(lambda text: text != "none").map(str.encode),
}
special: dict[str, st.SearchStrategy[Any]] = {
    "min_idle": st.just(0),
    "lifetime_jitter": st.floats(0, 1),
    "breaker_backoff": st.floats(0.1, 1),
    "breaker_ceiling": st.floats(1, 100),
    "health_probes": st.lists(st.sampled_from(PROBES[:-1]), min_size=1, unique=True).map(tuple),
    "identity_extractor": st.none(),
}
WORDY = ("health_probes", "identity_headers", "user_fields")
mappings = st.fixed_dictionaries(
    {}, optional={name: special[name] if name in special else kinds[FIELDS[name].type] for name in FIELDS}
)


@given(mappings)
def test_settings_come_back_from_a_mapping_of_values_and_from_one_of_texts(values: dict[str, Any]) -> None:
    settings = PoolSettings(**values)
    assert PoolSettings.from_mapping(values) == settings
    assert PoolSettings.from_mapping({name: written(value) for name, value in values.items()}) == settings
    lists = {name: [*value] if name in WORDY else value for name, value in values.items()}
    assert PoolSettings.from_mapping(lists) == settings
    everything = {name: getattr(settings, name) for name in FIELDS}
    assert PoolSettings.from_mapping(everything) == settings


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("max_size", " 12 ", 12),
        ("max_idle", "None", None),
        ("max_idle", "none", None),
        ("call_timeout", "1e2", 100.0),
        ("check_principal", "Off", False),
        ("check_principal", "1", True),
        ("health_probes", "ping, skip", ("ping", "skip")),
        ("identity_secret", "s3crét", "s3crét".encode()),
    ],
)
def test_text_is_read_as_the_environment_writes_it(name: str, text: str, value: object) -> None:
    assert read_settings({name: text}) == {name: value}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("max_size", ""),
        ("max_size", "ten"),
        ("max_size", "1.0"),
        ("max_size", "none"),
        ("max_size", "9" * 5_000),
        ("acquire_timeout", "30s"),
        ("acquire_timeout", "nan"),
        ("acquire_timeout", "inf"),
        ("check_principal", "maybe"),
        ("health_probes", ""),
        ("health_probes", "ping,,skip"),
        ("user_fields", ["a", 5]),
        ("max_size", ["5"]),
        ("max_size", {"a": 5}),
    ],
)
def test_text_that_stands_for_no_value_is_refused_and_never_guessed_at(name: str, text: object) -> None:
    with pytest.raises(InvalidSettings, match=f"^{name} must be") as caught:
        PoolSettings.from_mapping({name: text})
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("max_sizes", "max_size"),
        ("max-size", "max_size"),
        ("MAX_SIZE", "max_size"),
        ("ky-ilde", "key_idle"),
        ("acquire_time_out", "acquire_timeout"),
        ("breaker", None),
        ("s" * 500, None),
    ],
)
def test_a_name_that_is_unknown_is_refused_with_the_nearest_one(name: str, meant: str | None) -> None:
    assert nearest(name) == meant
    with pytest.raises(InvalidSettings, match="there is no setting") as caught:
        PoolSettings.from_mapping({name: 5})
    hint = f": did you mean {meant}?" if meant else ""
    assert str(caught.value) == f"there is no setting {name[:60]!r}{hint}"
    assert len(str(caught.value)) < 250


def test_names_must_be_text() -> None:
    with pytest.raises(InvalidSettings, match="a setting's name must be text, not int"):
        PoolSettings.from_mapping({5: 5})  # type: ignore[dict-item]


@pytest.mark.holds("X1")
@pytest.mark.parametrize("value", ["", 5, ["s3cret"], b"", ("s3cret",)])
def test_a_secret_that_cannot_be_used_is_not_shown(value: Any) -> None:
    with pytest.raises(InvalidSettings, match="identity_secret must be bytes, at least one, or None") as caught:
        PoolSettings.from_mapping({"identity_secret": value})
    with pytest.raises(InvalidSettings, match="identity_secret must be bytes, at least one, or None") as caught_too:
        PoolSettings(identity_secret=value)
    assert "s3cret" not in f"{caught.value}{caught_too.value}"


def test_a_function_comes_from_code_and_never_from_text() -> None:
    assert PoolSettings.from_mapping({"identity_extractor": extract}).identity_extractor is extract
    assert PoolSettings.from_mapping({"identity_extractor": "none"}).identity_extractor is None
    with pytest.raises(
        InvalidSettings, match="identity_extractor must be a function, given in code, or None, not text"
    ):
        PoolSettings.from_mapping({"identity_extractor": "os.system"})


# --- the documentation ------------------------------------------------------------------------------------------------

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


def paragraphs() -> dict[str, str]:
    """Each setting's docstring, out of the source."""
    tree = ast.parse(inspect.getsource(module))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "PoolSettings")
    found: dict[str, str] = {}
    for node, after in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(after, ast.Expr):
            found[node.target.id] = inspect.cleandoc(ast.literal_eval(after.value))
    return found


def documented(name: str) -> str:
    """A setting's section, as the documentation must have it."""
    value: Any = getattr(DEFAULTS, name)
    source = "only from code" if name == "identity_extractor" else f"`TROUPE_{name.upper()}`"
    return f"### {name}\n`{written(value)}` · {source}\n\n{paragraphs()[name]}\n"


def test_every_setting_is_documented_with_its_default_and_its_paragraph_and_nothing_else_is() -> None:
    text = DOCUMENT.read_text()
    headings = [line.removeprefix("### ") for line in text.splitlines() if line.startswith("### ")]
    assert sorted(headings) == sorted(FIELDS)
    for name in FIELDS:
        section = f"### {name}\n" + text.partition(f"### {name}\n")[2].partition("\n#")[0].rstrip() + "\n"
        assert section.split() == documented(name).split()
