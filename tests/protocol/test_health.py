"""What a health check asks next and what it comes to, over all short orders of probes and all results."""

from itertools import product

import pytest

from protocol.errors import IllegalTransition
from protocol.health import VERDICTS, HealthCheck, ProbeResult, Verdict
from protocol.settings import Probe

R, V = ProbeResult, Verdict


@pytest.mark.parametrize(
    ("result", "verdict"), [(R.HEALTHY, V.HEALTHY), (R.UNSUPPORTED, None), (R.SILENT, None), (R.DEAD, V.DEAD)]
)
def test_every_cell_of_the_table_is_as_written(result: ProbeResult, verdict: Verdict | None) -> None:
    assert VERDICTS[result] is verdict


def expected(probes: tuple[Probe, ...], results: tuple[ProbeResult, ...]) -> list[Probe | Verdict]:
    """All answers of a check, from the rules as S6 has them: read backwards from what was sent."""
    answers: list[Probe | Verdict] = []
    before: list[ProbeResult] = []
    for probe in probes:
        if probe == "skip":
            if before and set(before) == {R.UNSUPPORTED}:
                return [*answers, V.HEALTHY]
            continue
        answers.append(probe)
        result = results[len(before)]
        before.append(result)
        if result in (R.HEALTHY, R.DEAD):
            return [*answers, V.HEALTHY if result is R.HEALTHY else V.DEAD]
    return [*answers, V.DEAD]


KINDS: tuple[Probe, ...] = ("ping", "list_tools", "skip")


@pytest.mark.holds("S6")
@pytest.mark.parametrize("length", range(5))
def test_every_short_sequence_is_asked_in_order_and_comes_to_what_the_rules_say(length: int) -> None:
    for probes in product(KINDS, repeat=length):
        for results in product(ProbeResult, repeat=length):
            check = HealthCheck(probes)
            answers = [check.first()]
            for result in results:
                if isinstance(answers[-1], Verdict):
                    break
                answers.append(check.next(result))
            assert answers == expected(probes, results)


@pytest.mark.holds("S6")
def test_a_silent_server_is_not_healthy_by_being_skipped() -> None:
    check = HealthCheck(("ping", "list_tools", "skip"))
    assert check.first() == "ping"
    assert check.next(R.SILENT) == "list_tools"
    assert check.next(R.UNSUPPORTED) is V.DEAD


@pytest.mark.holds("S6")
def test_a_server_that_has_none_of_the_probes_is_healthy_by_being_skipped() -> None:
    check = HealthCheck(("ping", "skip", "list_tools"))
    assert check.first() == "ping"
    assert check.next(R.UNSUPPORTED) is V.HEALTHY


@pytest.mark.holds("S6")
def test_skipping_alone_is_not_health() -> None:
    assert HealthCheck(("skip",)).first() is V.DEAD


def test_a_result_without_a_probe_and_a_second_beginning_are_errors() -> None:
    check = HealthCheck(("ping",))
    with pytest.raises(IllegalTransition, match="without a probe under way was told SILENT"):
        check.next(R.SILENT)
    check.first()
    with pytest.raises(
        IllegalTransition, match=r"^a health check that has begun cannot begin again: make another one$"
    ):
        check.first()
    check.next(R.HEALTHY)
    with pytest.raises(IllegalTransition, match="without a probe under way was told DEAD"):
        check.next(R.DEAD)
