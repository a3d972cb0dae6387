"""Counts add up in any order, and come back from JSON as they were."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.monitor.counts import BINS, Counts, FindingCounts, Judged, Sample, bin_of, bins_of, total

numbers = st.integers(0, 500)
# Four bins suffice: all are treated alike.
bins = st.lists(numbers, min_size=4, max_size=4).map(lambda some: (*some[:2], *(0,) * (BINS - 4), *some[2:]))
findings = st.builds(FindingCounts, numbers, numbers, numbers)
judged = st.builds(Judged, bins, bins)
samples = st.builds(
    lambda read, unread, rest, by_score: Sample(read.read + unread + rest, read, unread, by_score),
    findings,
    numbers,
    numbers,
    judged,
)
counts = st.builds(
    Counts,
    scored=bins,
    flagged=numbers,
    uncertain=numbers,
    clear=numbers,
    rejected=st.dictionaries(st.sampled_from(["not_a_chest", "on_a_page", "damaged"]), st.integers(1, 9)),
    flagged_read=findings,
    uncertain_read=findings,
    to_read_unread=numbers,
    to_read_by_score=judged,
    samples=st.dictionaries(st.sampled_from(["0", "0.05", "0.2"]), samples),
    clear_read_undrawn=findings,
    measured=numbers,
    far=numbers,
)


@given(counts, counts, counts)
def test_counts_add_in_any_order(first: Counts, second: Counts, third: Counts) -> None:
    assert first + second == second + first
    assert (first + second) + third == first + (second + third) == total([third, first, second])


@given(counts)
def test_nothing_adds_nothing(some: Counts) -> None:
    assert some + Counts.none() == some == Counts.none() + some


@given(counts, counts)
def test_every_derived_number_adds_up(first: Counts, second: Counts) -> None:
    both = first + second
    for name in ("images", "turned_away", "overridden", "contradictable"):
        assert getattr(both, name) == getattr(first, name) + getattr(second, name)
    assert both.to_read == first.to_read + second.to_read
    assert both.clear_read == first.clear_read + second.clear_read


@given(counts)
def test_counts_come_back_from_json(some: Counts) -> None:
    assert Counts.from_json(json.loads(json.dumps(some.to_json()))) == some


def test_a_document_without_images_is_empty() -> None:
    assert Counts.none().to_json() == {}
    assert Counts.from_json({}) == Counts.none()


def test_an_unknown_key_of_a_document_is_refused() -> None:
    with pytest.raises(TypeError):
        Counts.from_json({"flaged": 3})


def test_a_sample_is_a_part_of_the_clear_images() -> None:
    with pytest.raises(ValueError, match="part"):
        Sample(clear=3, read=FindingCounts(1, 2, 0), unread=1)


@pytest.mark.parametrize(("score", "place"), [(0.0, 0), (0.0499, 0), (0.05, 1), (0.999, 19), (1.0, 19)])
def test_scores_are_counted_by_twentieths(score: float, place: int) -> None:
    assert bin_of(score) == place
    assert bins_of([score, score])[place] == 2


def test_overrides_are_readings_that_contradict_the_verdict() -> None:
    some = Counts(
        flagged_read=FindingCounts(10, 3, 1),
        uncertain_read=FindingCounts(4, 5),
        samples={"0.05": Sample(100, FindingCounts(2, 6, 1))},
        clear_read_undrawn=FindingCounts(1, 2),
    )
    assert some.overridden == 3 + 2 + 1
    assert some.contradictable == 13 + 8 + 3
