"""Histograms against what they stand for: the list of all that was recorded."""

from math import inf, isinf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import InvalidSettings
from protocol.histogram import AGES, LATENCIES, USES, Histogram, HistogramSnapshot

BOUNDS = st.lists(st.floats(0, 1e6), min_size=1, max_size=8, unique=True).map(sorted)
FIGURES = st.lists(st.floats(0, 2e6), max_size=40)


def snapshot(bounds: list[float], figures: list[float]) -> HistogramSnapshot:
    return HistogramSnapshot.of(figures, bounds)


@given(BOUNDS, FIGURES)
def test_a_bucket_holds_all_that_is_at_most_its_bound(bounds: list[float], figures: list[float]) -> None:
    made = snapshot(bounds, figures)
    assert made.buckets == tuple(
        (bound, sum(figure <= bound for figure in figures)) for bound in (*map(float, bounds), inf)
    )
    assert made.count == len(figures)
    assert made.sum == pytest.approx(sum(figures))


@given(BOUNDS, FIGURES, st.floats(0, 1), st.floats(0, 1))
def test_a_quantile_lies_in_the_bucket_of_the_figure_it_stands_for_and_grows_with_its_share(
    bounds: list[float], figures: list[float], one: float, other: float
) -> None:
    made = snapshot(bounds, figures)
    if not figures:
        assert made.quantile(one) is None
        return
    low, high = made.quantile(min(one, other)), made.quantile(max(one, other))
    assert low is not None
    assert high is not None
    assert low <= high
    exact = sorted(figures)[max(0, min(len(figures) - 1, round(max(one, other) * len(figures) + 0.5) - 1))]
    edges = [0.0, *bounds, inf]
    number = next(number for number, edge in enumerate(edges[1:]) if exact <= edge)
    # A share that falls between two figures may be taken for the lower one.
    below = [figure for figure in figures if figure <= edges[number]]
    lowest = min(edges[number], *below) if below else edges[number]
    assert (0.0 if below else min(lowest, bounds[-1])) <= high
    assert high <= (bounds[-1] if isinf(edges[number + 1]) else edges[number + 1])


def test_a_quantile_is_where_an_even_spread_over_the_bucket_puts_it() -> None:
    made = snapshot([1, 2, 4], [1.5, 1.5, 3, 3])
    assert [made.quantile(share) for share in (0.25, 0.5, 0.75, 1)] == [1.5, 2, 3, 4]
    assert snapshot([1, 2, 4, 8], [0.5, 7]).quantile(0.5) == 1, "not the next bucket that holds something"
    assert snapshot([1, 8], [0.5]).quantile(1) == 1
    assert snapshot([1, 2], [5, 5]).quantile(0.5) == 2, "nothing better is known than the last bound"
    assert snapshot([1, 2], [5, 5]).quantile(0) == 2
    assert made.mean == 2.25
    assert snapshot([1], []).mean is None


@pytest.mark.parametrize("share", [-0.1, 1.1, nan])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(InvalidSettings, match="from 0 to 1"):
        snapshot([1], [1]).quantile(share)


@given(BOUNDS, FIGURES, st.lists(FIGURES, max_size=3))
def test_histograms_merged_are_the_histogram_of_all(
    bounds: list[float], one: list[float], others: list[list[float]]
) -> None:
    merged = snapshot(bounds, one).merge(*(snapshot(bounds, other) for other in others))
    together = snapshot(bounds, one + [figure for other in others for figure in other])
    assert merged.counts == together.counts
    assert merged.sum == pytest.approx(together.sum)


def test_histograms_with_different_bounds_are_not_merged() -> None:
    with pytest.raises(InvalidSettings) as caught:
        snapshot([1], []).merge(snapshot([1], []), snapshot([2], []))
    assert str(caught.value) == "histograms with different bounds cannot be merged: give all of them the same"


def test_a_histogram_that_lacks_a_bucket_is_not_merged_as_if_it_had_nothing_there() -> None:
    with pytest.raises(ValueError, match="shorter"):
        snapshot([1], [5]).merge(HistogramSnapshot((1.0,), (1,)))


def test_a_histogram_merged_with_another_has_its_bounds_and_both_sums() -> None:
    merged = snapshot([1, 2], [0.5]).merge(snapshot([1, 2], [1.5, 4]))
    assert merged == HistogramSnapshot((1, 2), (1, 1, 1), 6.0)
    assert merged.merge() == merged
    assert HistogramSnapshot((1.0,), (0, 0)).sum == 0.0


@pytest.mark.parametrize("figure", [-1.0, nan, -inf])
def test_what_is_no_figure_is_recorded_as_zero(figure: float) -> None:
    made = snapshot([0, 1], [figure])
    assert (made.counts, made.sum) == ((1, 0, 0), 0.0)


@pytest.mark.parametrize("bounds", [[], [2, 1], [1, 1], [-1, 1], [1, inf], [nan], [1, nan]])
def test_bounds_that_are_none_are_refused(bounds: list[float]) -> None:
    with pytest.raises(InvalidSettings) as caught:
        Histogram(bounds)
    assert str(caught.value) == ("a histogram's bounds must be finite, not negative, ascending, and at least one")


def test_a_snapshot_does_not_change_with_its_histogram() -> None:
    histogram = Histogram([1])
    before = histogram.snapshot()
    histogram.record(0.5)
    assert before == snapshot([1], [])
    assert histogram.snapshot() == snapshot([1], [0.5])


def test_the_usual_bounds_stay_those_that_dashboards_know() -> None:
    milliseconds = [0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000]
    assert [bound * 1_000 for bound in LATENCIES] == pytest.approx(milliseconds)
    assert AGES == (0.1, 1, 5, 15, 60, 300, 900, 3_600)
    assert USES == (0, 1, 2, 5, 10, 20, 50, 100, 1_000, 10_000)
    for bounds in (LATENCIES, AGES, USES):
        assert Histogram(bounds).snapshot().count == 0
