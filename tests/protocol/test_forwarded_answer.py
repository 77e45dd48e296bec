"""What comes back for a forwarded request: the asker's caller gets what a local call would have given."""

import math
import traceback
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol import errors
from protocol.bus import Holding
from protocol.errors import (
    BreakerOpen,
    BusUnavailable,
    CallFailed,
    CallInterrupted,
    ClusterError,
    ConnectFailed,
    EnvelopeRefused,
    OwnerFailed,
    PoolFull,
    Refusal,
    TroupeError,
    UpstreamRefused,
)
from protocol.fault import Fault, FaultKind
from protocol.forwarded_answer import (
    Absent,
    Note,
    Notification,
    Progress,
    ServerError,
    asked_for,
    pack_failure,
    pack_not_owner,
    pack_note,
    pack_result,
    unpack_failure,
    unpack_not_owner,
    unpack_note,
    unpack_result,
)
from protocol.json_text import from_json, to_json
from tests.protocol.answered import (
    ATTRIBUTES,
    FAULTS,
    KINDS,
    any_text,
    asked_of,
    bits_of,
    errors_of,
    json_objects,
    json_values,
    malformed,
    public,
    row_of,
    rowed,
    spoilt,
    told,
    tried,
    whole,
)
from tests.protocol.sealed import packed, values

FAULT = Fault(FaultKind.REFUSED, "tools/call", "HTTP 429", status=429, retry_after=2.5, at_connect=True)
DENIED = Holding("worker-2", "held-2", "9" * 64)


def crossed(failure: Exception | ServerError) -> Any:
    return unpack_failure(pack_failure(failure))


def failure(*kinds: object, **said: object) -> bytes:
    return rowed(kinds, to_json({"text": "no", **said}))


# --- results ----------------------------------------------------------------------------------------------------------


@pytest.mark.holds("C4")
@given(json_objects)
@example({"a": math.nan, "b": [math.inf, -math.inf, -0.0, 2**70, {"": "\ud800"}]})
def test_a_result_arrives_bit_for_bit(result: dict[str, Any]) -> None:
    assert bits_of(unpack_result(pack_result(result))) == bits_of(result)


@pytest.mark.holds("C4")
def test_a_result_as_deep_as_one_that_is_read_from_a_server_arrives() -> None:
    bottom: dict[str, Any] = {"a": 1}
    for _ in range(200):
        bottom = {"a": [bottom]}
    assert unpack_result(pack_result(bottom)) == bottom


@pytest.mark.holds("C8")
def test_what_is_no_object_is_no_result() -> None:
    for payload in (b"", b"null", b"[]", b"5", b"{", b"\xff", b'"s3cret"'):
        malformed(unpack_result, payload)
    with pytest.raises(EnvelopeRefused):
        pack_result({"a": {1}})
    spoilt(unpack_result, b'{"a":[1.5,"b"]}')


# --- errors of Troupe's -----------------------------------------------------------------------------------------------


def test_every_public_attribute_of_every_error_is_known_by_its_name() -> None:
    for name, kind in KINDS.items():
        error = kind("no", **dict.fromkeys(asked_of(kind)))
        assert not public(error).keys() - ATTRIBUTES.keys(), name


def test_what_an_error_cannot_be_made_without_is_read_off_its_class() -> None:
    asked = {name: asked_for(kind) for name, kind in KINDS.items()}
    assert {name: set(names) for name, names in asked.items() if names} == {
        "BreakerOpen": {"retry_after"},
        "ConnectFailed": {"step"},
        "UpstreamRefused": {"status"},
        "BusUnavailable": {"was_sent"},
        "EnvelopeRefused": {"reason"},
    }


@pytest.mark.holds("C4")
@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_every_error_crosses_with_its_class_its_text_and_all_that_it_tells(name: str, data: st.DataObject) -> None:
    error = data.draw(errors_of(KINDS[name]))
    assert told(crossed(error)) == told(error)


@pytest.mark.holds("C4")
def test_what_an_error_has_only_where_it_was_set_crosses_too() -> None:
    refused = FAULT.for_call("http://h/mcp", was_answered=False)
    failed = FAULT.for_connect("http://h/mcp")
    for error in (
        refused,
        failed,
        BreakerOpen("ill", retry_after=1.5),
        ConnectFailed("no", step="connect"),
        ConnectFailed("no", step="initialize", status=403, retry_after=7),
        UpstreamRefused("no", status=503),
        BusUnavailable("gone", was_sent=True),
        BusUnavailable("gone", was_sent=False),
        EnvelopeRefused("no", reason=Refusal.FORGED),
        OwnerFailed("no"),
    ):
        assert told(crossed(error)) == told(error)
    assert crossed(refused).fault == crossed(failed).fault == FAULT
    assert crossed(CallInterrupted("no")).fault is None


@pytest.mark.holds("C4")
@given(FAULTS)
def test_a_fault_crosses_without_its_cause(fault: Fault) -> None:
    error = CallFailed("no")
    error.fault = Fault(
        fault.kind,
        fault.step,
        fault.detail,
        fault.status,
        fault.retry_after,
        cause=ValueError("s3cret"),
        at_connect=fault.at_connect,
    )
    payload = pack_failure(error)
    came = unpack_failure(payload)
    assert isinstance(came, CallFailed)
    assert came.fault == fault
    assert b"s3cret" not in payload


@pytest.mark.holds("X1")
def test_tracebacks_causes_and_notes_stay_where_they_are() -> None:
    try:
        try:
            raise ValueError("s3cret")  # noqa: TRY301 - for the context
        except ValueError as cause:
            raise PoolFull("full") from cause
    except PoolFull as caught:
        caught.add_note("s3cret")
        error = caught
    came = crossed(error)
    assert (came.__traceback__, came.__cause__, came.__context__) == (None, None, None)
    assert "".join(traceback.format_exception(came)) == "protocol.errors.PoolFull: full\n"
    assert b"s3cret" not in pack_failure(error)


@pytest.mark.holds("C4", "X1")
@pytest.mark.parametrize("error", [ValueError("s3cret"), TimeoutError("s3cret"), ExceptionGroup("s3cret", [OSError()])])
def test_an_error_that_is_not_troupes_crosses_as_its_kind_and_nothing_else(error: Exception) -> None:
    came = crossed(error)
    kind = type(error).__name__
    assert type(came) is OwnerFailed
    assert str(came) == f"the owner of the session failed ({kind}), as its log tells: the request may have run"
    assert (came.http_status, came.code, came.safe_to_retry) == (502, -32603, False)
    assert b"s3cret" not in pack_failure(error)


class Own(UpstreamRefused):
    """A user's error."""


class PoolClosed(TroupeError):
    """A user's error that goes by the name of one of Troupe's."""

    http_status = 418


def test_an_error_of_a_users_becomes_the_nearest_of_troupes() -> None:
    own = Own("no", status=401)
    assert told(crossed(own)) == told(UpstreamRefused("no", status=401))
    came = crossed(PoolClosed("no"))
    assert (type(came), came.http_status) == (TroupeError, 418)


def test_an_error_always_crosses_and_leaves_behind_what_no_error_of_troupes_tells() -> None:
    for name, value in (
        ("http_status", 2**70),
        ("http_status", -1),
        ("http_status", True),
        ("code", 2**70),
        ("code", -(2**63)),
        ("code", -32000.0),
        ("safe_to_retry", 1),
        ("retry_after", "soon"),
        ("retry_after", 2**63),
        ("fault", "s3cret"),
        ("fault", {"kind": "REFUSED"}),
        ("more", "s3cret"),
        ("text", "s3cret"),
    ):
        error = PoolFull("full")
        setattr(error, name, value)
        if name == "fault":
            assert crossed(error).__dict__.get("fault") is None
        else:
            assert told(crossed(error)) == told(PoolFull("full"))
        assert b"s3cret" not in pack_failure(error)


def test_an_error_that_lacks_what_its_class_asks_for_becomes_its_nearest_relative() -> None:
    error = BusUnavailable("gone", was_sent=True)
    del error.was_sent
    assert type(crossed(error)) is ClusterError
    assert type(unpack_failure(failure("BreakerOpen", "TroupeError", retry_after=None))) is TroupeError


def test_a_newer_workers_error_becomes_its_nearest_relative_and_keeps_what_it_tells() -> None:
    said = {"http_status": 507, "code": -32050, "safe_to_retry": True, "retry_after": 3, "status": 507, "fault": None}
    came = unpack_failure(failure("DiskFull", "UpstreamRefused", "CallFailed", "TroupeError", **said, disk="sda"))
    assert type(came) is UpstreamRefused
    assert public(came) == said
    assert type(unpack_failure(failure("DiskFull"))) is TroupeError
    assert type(unpack_failure(failure("DiskFull", "ValueError", "Exception", "Refusal", "__init__"))) is TroupeError
    odd = unpack_failure(failure("EnvelopeRefused", "ClusterError", reason="BORING"))
    assert type(odd) is ClusterError
    fault = {"kind": "BORED", "step": "a", "detail": "b", "status": None, "retry_after": None, "at_connect": False}
    interrupted = unpack_failure(failure("CallInterrupted", fault=fault))
    assert isinstance(interrupted, CallInterrupted)
    assert interrupted.fault is None


# --- the server's own errors ------------------------------------------------------------------------------------------


@pytest.mark.holds("C4")
@given(whole, any_text, json_values | st.just(Absent.DATA))
def test_the_servers_own_error_arrives_untouched(code: int, text: str, data: Any) -> None:
    came = crossed(ServerError(code, text, data))
    assert isinstance(came, ServerError)
    assert (came.code, came.message, bits_of(came.data)) == (code, text, bits_of(data))


@pytest.mark.holds("C4")
def test_no_data_is_told_apart_from_null() -> None:
    assert crossed(ServerError(-32042, "no")).data is Absent.DATA
    assert crossed(ServerError(-32042, "no", None)).data is None


@pytest.mark.holds("X1")
def test_what_the_server_said_is_not_shown() -> None:
    error = ServerError(-32042, "s3cret", {"token": "s3cret"})
    for shown in (repr(error), repr(crossed(error))):
        assert shown == "ServerError(code=-32042)"


@pytest.mark.holds("C8", "X1")
def test_what_json_cannot_say_of_the_servers_error_is_refused() -> None:
    for error in (
        ServerError(1, "no", {1, 2}),
        ServerError(1, 5),  # pyright: ignore[reportArgumentType]
        ServerError(True, "no"),
        ServerError(1.0, "no"),  # pyright: ignore[reportArgumentType]
    ):
        with pytest.raises(EnvelopeRefused):
            pack_failure(error)


# --- what is no failure -----------------------------------------------------------------------------------------------

POOL_FULL = "PoolFull"
BROKEN: list[bytes] = [
    b"",
    rowed(),
    rowed(()),
    rowed(None, b"{}"),
    rowed("PoolFull", b"{}"),
    rowed([1], b'{"text":""}'),
    rowed([""], b'{"text":""}'),
    rowed(["a\n"], b'{"text":""}'),
    rowed([POOL_FULL] * 17, b'{"text":""}'),
    rowed([POOL_FULL], '{"text":""}'),
    rowed([POOL_FULL], b""),
    rowed([POOL_FULL], b"[]"),
    rowed([POOL_FULL], b"{}"),
    rowed([POOL_FULL], b'{"text":null}'),
    rowed([POOL_FULL], b'{"text":5}'),
    rowed([], b'{"code":1}'),
    rowed([], b'{"message":"no"}'),
    rowed([], b'{"code":"1","message":"no"}'),
    rowed([], b'{"code":true,"message":"no"}'),
    rowed([], b'{"code":1.0,"message":"no"}'),
    rowed([], b'{"code":1,"message":null}'),
    failure(POOL_FULL, http_status="503"),
    failure(POOL_FULL, http_status=-1),
    failure(POOL_FULL, code=None),
    failure(POOL_FULL, code=2**63),
    failure(POOL_FULL, safe_to_retry=1),
    failure(POOL_FULL, retry_after="s3cret"),
    failure(POOL_FULL, retry_after=True),
    failure("ConnectFailed", step=None),
    failure("ConnectFailed", step="a", status="500"),
    failure("BusUnavailable", was_sent=None),
    failure("ActorStopped", waited=None),
    failure("EnvelopeRefused", reason=5),
    failure("CallFailed", fault=[]),
    failure("CallFailed", fault={}),
    failure("CallFailed", fault={"kind": "REFUSED", "step": "a", "detail": "b"}),
]


@pytest.mark.holds("C8", "X1")
@pytest.mark.parametrize("payload", BROKEN)
def test_what_is_no_failure_is_refused(payload: bytes) -> None:
    malformed(unpack_failure, payload)


@pytest.mark.holds("C8", "X1")
@pytest.mark.parametrize(
    ("part", "value"),
    [("kind", 5), ("step", None), ("detail", None), ("status", "5"), ("retry_after", "5"), ("at_connect", 1), ("x", 1)],
)
def test_a_fault_with_other_fields_than_it_has_is_refused(part: str, value: object) -> None:
    fault = {"kind": "REFUSED", "step": "a", "detail": "b", "status": None, "retry_after": None, "at_connect": False}
    assert isinstance(unpack_failure(failure("CallFailed", fault=fault)), CallFailed)
    malformed(unpack_failure, failure("CallFailed", fault={**fault, part: value}))


def test_a_refusal_says_what_is_wrong_with_an_answer() -> None:
    for read, payload, why in (
        (unpack_failure, failure(POOL_FULL, code=None), "has an error with no code of the kind that it must have"),
        (unpack_failure, rowed([POOL_FULL], b"{}"), "has an error without a text"),
        (unpack_failure, rowed([], b"{}"), "has an error of the server's without a code or a message"),
        (unpack_note, rowed(1, b"{}"), "has a note with other fields than it must have"),
    ):
        assert malformed(read, payload) == f"a forwarded request's answer {why}"
    assert malformed(unpack_failure, rowed(1)) == "a failure has 1 values in place of 2"
    assert malformed(unpack_not_owner, rowed(1, 2)) == "a denial has 2 values in place of 1"
    assert malformed(unpack_note, rowed(1)) == "a note has 1 values in place of 2"
    assert malformed(unpack_failure, rowed(1, b"")).startswith("a failure has no kinds of")
    assert malformed(unpack_failure, rowed([], 1)).startswith("a failure has no error of")
    assert malformed(unpack_not_owner, rowed(1)).startswith("a denial has no holding of")
    assert malformed(unpack_note, rowed(0, b"")).startswith("a note has no kind of")
    assert malformed(unpack_note, rowed(1, 0)).startswith("a note has no said of")


# --- not the owner ----------------------------------------------------------------------------------------------------


@pytest.mark.holds("C3")
def test_who_is_not_the_owner_says_who_is_as_far_as_it_knows() -> None:
    for held in (None, DENIED, Holding("w", "t", "")):
        assert unpack_not_owner(pack_not_owner(held)) == held


NOBODYS: list[Any] = [
    *("worker", {}, (), ("w", "t"), ("w", "t", "p", "q"), ("", "t", "p"), ("w", "", "p"), ("w", "t", None)),
    *((5, "t", "p"), ("w", 5, "p"), ("w", "t", 5), ("w" * 129, "t", "p"), ("é", "t", "p"), ("w", "t\n", "p")),
    ("w", "t", "p\n"),
]


@pytest.mark.holds("C8")
@pytest.mark.parametrize("held", NOBODYS)
def test_who_holds_a_session_is_three_texts_or_nobody(held: object) -> None:
    malformed(unpack_not_owner, rowed(held))


@pytest.mark.holds("C8")
def test_a_holding_that_nobody_would_take_is_not_packed() -> None:
    with pytest.raises(EnvelopeRefused):
        pack_not_owner(Holding("", "t", "p"))


# --- notes ------------------------------------------------------------------------------------------------------------

METHODS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
QUANTITIES = st.floats() | st.integers(-(2**63) + 1, 2**63 - 1)
NOTES: st.SearchStrategy[Note] = st.builds(
    Progress, QUANTITIES, st.none() | QUANTITIES, st.none() | any_text
) | st.builds(Notification, METHODS, st.none() | st.dictionaries(any_text, json_values, max_size=3))


def fields_of(note: Note) -> tuple[object, ...]:
    if isinstance(note, Progress):
        return Progress, bits_of(note.progress), bits_of(note.total), note.message
    return Notification, note.method, bits_of(note.params)


@pytest.mark.holds("N2")
@given(NOTES)
def test_progress_and_notifications_arrive_as_they_were(note: Note) -> None:
    assert fields_of(unpack_note(pack_note(note))) == fields_of(note)


@pytest.mark.holds("N2")
def test_progress_needs_no_more_than_itself_and_a_notification_may_say_nothing() -> None:
    assert unpack_note(pack_note(Progress(1))) == Progress(1, None, None)
    assert unpack_note(pack_note(Notification("a/b"))) == Notification("a/b", None)


@pytest.mark.holds("X1")
def test_what_a_note_says_is_not_shown() -> None:
    assert repr(Progress(1, 2, "s3cret")) == "Progress(progress=1, total=2)"
    assert repr(Notification("a/b", {"token": "s3cret"})) == "Notification(method='a/b')"


PROGRESS = {"progress": 1, "total": None, "message": None}
SAID = {"method": "a/b", "params": None}


WRONG: dict[tuple[int, str], list[Any]] = {
    (1, "progress"): [None, "1", True, 2**63, -(2**63)],
    (1, "total"): ["1", True, []],
    (1, "message"): [1, ["s3cret"]],
    (2, "method"): [None, "", "ü", "a\nb", 5, [], {}],
    (2, "params"): [5, ["s3cret"], "s3cret", True],
    (1, "more"): [1],
    (2, "more"): [1],
}
NO_OBJECTS: list[Any] = [None, [], "s3cret", {}]
NO_NOTES: list[Any] = [
    *((kind, PROGRESS) for kind in (0, 2, 3, True, 1.0, None, "1", -1)),
    *((kind, SAID) for kind in (0, 1, 3, 2.0, None)),
    *((kind, {**(PROGRESS, SAID)[kind - 1], name: value}) for (kind, name), each in WRONG.items() for value in each),
    *((kind, said) for kind in (1, 2) for said in NO_OBJECTS),
]


@pytest.mark.holds("C8", "X1")
@pytest.mark.parametrize(("kind", "said"), NO_NOTES)
def test_what_is_no_note_is_refused(kind: object, said: object) -> None:
    malformed(unpack_note, rowed(kind, to_json(said)))


def test_the_numbers_of_notes_are_on_the_wire() -> None:
    assert row_of(pack_note(Progress(1)))[0] == 1
    assert row_of(pack_note(Notification("a/b")))[0] == 2
    assert from_json(row_of(pack_note(Progress(1)))[1]) == PROGRESS


@pytest.mark.holds("C8")
def test_a_note_that_nobody_would_take_is_not_packed() -> None:
    for note in (Notification(""), Notification("a", {"b": {1}}), Progress("1")):  # pyright: ignore[reportArgumentType]
        with pytest.raises(EnvelopeRefused):
            pack_note(note)


# --- whatever the bytes are -------------------------------------------------------------------------------------------

READERS = (unpack_result, unpack_failure, unpack_not_owner, unpack_note)


@pytest.mark.holds("C8")
def test_cut_short_or_with_a_flipped_bit_it_is_refused_or_something_else() -> None:
    spoilt(unpack_failure, pack_failure(EnvelopeRefused("no", reason=Refusal.FORGED)))
    spoilt(unpack_failure, pack_failure(FAULT.for_connect("h")))
    spoilt(unpack_failure, pack_failure(ServerError(-32042, "no", [1])))
    spoilt(unpack_not_owner, pack_not_owner(DENIED))
    spoilt(unpack_note, pack_note(Progress(1, 2.5, "a")))
    spoilt(unpack_note, pack_note(Notification("a/b", {"c": ["d"]})))


@pytest.mark.holds("C8")
@given(st.binary(max_size=80) | values.map(packed) | st.tuples(values, values).map(packed))
def test_whatever_the_bytes_are_nothing_else_is_raised(payload: bytes) -> None:
    for read in READERS:
        tried(read, payload)


@pytest.mark.holds("C8")
@given(
    st.lists(st.sampled_from([*KINDS, "Exception", "Newer"]), max_size=4),
    st.dictionaries(st.sampled_from([*ATTRIBUTES, "text", "message", "data", "args", "__class__"]), json_values),
)
def test_whatever_an_error_is_said_to_be_nothing_else_is_raised(kinds: list[str], said: dict[str, Any]) -> None:
    tried(unpack_failure, rowed(kinds, to_json(said)))
    tried(unpack_failure, rowed(kinds, to_json({**said, "text": "no"})))


def test_there_are_errors_to_try() -> None:
    assert KINDS["TroupeError"] is errors.TroupeError
    assert len(KINDS) > 40
