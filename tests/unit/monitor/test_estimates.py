"""Figures from readings: known values, "not known" without a basis, and intervals that hold the truth as often as they claim."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.hospital import ESTIMATES, Mix, coverage, draw, truths
from worker.monitor.counts import BINS, NO_BINS, Counts, FindingCounts, Judged, Sample
from worker.monitor.estimates import (
    Estimate,
    calibration,
    is_small,
    npv,
    override_rate,
    ppv,
    prevalence,
    sensitivity,
    share_flagged,
    share_rejected,
    specificity,
)
from worker.proportions import clopper_pearson, wilson
from worker.report.missed import ReadCounts, missed

# 100 images were found, and 50 false alarms; of 2,000 clear images, 100 were drawn, and 2 of them have signs.
SAMPLED = Counts(
    scored=(2000, *NO_BINS[2:], 150),
    flagged=140,
    uncertain=10,
    clear=2000,
    flagged_read=FindingCounts(95, 45),
    uncertain_read=FindingCounts(5, 5),
    samples={"0.05": Sample(2000, FindingCounts(2, 98))},
)
UNSAMPLED = replace(SAMPLED, samples={"0": Sample(2000)})


def limits(estimate: Estimate) -> tuple[float, float]:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high


def test_each_drawn_image_counts_for_those_it_stands_for() -> None:
    assert sensitivity(SAMPLED).value == pytest.approx(100 / (100 + 40))
    assert specificity(SAMPLED).value == pytest.approx(1960 / (1960 + 50))
    assert npv(SAMPLED).value == pytest.approx(0.98)
    assert prevalence(SAMPLED).value == pytest.approx(140 / 2150)
    assert ppv(SAMPLED).value == pytest.approx(100 / 150)
    assert all(one(SAMPLED).sampled for one in (sensitivity, specificity, npv, prevalence))
    assert not ppv(SAMPLED).sampled


def test_sensitivity_from_what_was_read_alone_would_be_wrong() -> None:
    """Of the images with signs that somebody has read, 100 of 102 are flagged or uncertain."""
    _, high = limits(sensitivity(SAMPLED))
    assert high < 100 / 102


def test_sensitivity_is_that_of_the_page_agreement_and_no_less_sure() -> None:
    here = sensitivity(SAMPLED)
    there = missed(ReadCounts(100, 50, 2000, 2, 98)).sensitivity
    assert here.value == there.value
    assert there.low is not None
    assert there.high is not None
    low, high = limits(here)
    assert there.low <= low < high <= there.high


def test_without_a_sample_nothing_is_known_of_the_clear_images() -> None:
    for figure in (sensitivity, specificity, npv, prevalence):
        found = figure(UNSAMPLED)
        assert (found.value, found.low, found.high) == (None, None, None)
        assert "nobody knows what was missed" in found.why_not
        assert figure(replace(SAMPLED, samples={})).value is None
    assert ppv(UNSAMPLED).value is not None
    assert all(one.share.value is None for one in calibration(UNSAMPLED))


def test_a_time_without_a_sample_makes_the_whole_unknown() -> None:
    both = replace(SAMPLED, samples={**SAMPLED.samples, "0": Sample(500)}, clear=2500)
    assert sensitivity(both).value is None
    assert "From 500 of 2,500 clear images none was drawn" in sensitivity(both).why_not
    hardly_any = replace(SAMPLED, samples={**SAMPLED.samples, "0": Sample(20)}, clear=2020)
    assert sensitivity(hardly_any).value is not None


def test_two_shares_of_drawn_images_have_two_weights() -> None:
    samples = {"0.05": Sample(1000, FindingCounts(1, 49)), "0.2": Sample(1000, FindingCounts(3, 197))}
    both = replace(SAMPLED, samples=samples)
    assert sensitivity(both).value == pytest.approx(100 / (100 + 1 * 20 + 3 * 5))
    assert npv(both).value == pytest.approx(1 - 35 / 2000)


def test_unread_images_make_a_figure_unknown_or_wider() -> None:
    for figure in (sensitivity, specificity, ppv, prevalence):
        many = figure(replace(SAMPLED, to_read_unread=10))
        assert many.value is None
        assert "nobody has read: 10" in many.why_not
        few = figure(replace(SAMPLED, to_read_unread=5))
        low, high = limits(few)
        whole_low, whole_high = limits(figure(SAMPLED))
        assert low <= whole_low
        assert high >= whole_high
        assert high - low > whole_high - whole_low


def test_nothing_read_is_not_known() -> None:
    for figure in (
        share_flagged,
        share_rejected,
        override_rate,
        ppv,
        npv,
        sensitivity,
        specificity,
        prevalence,
    ):
        found = figure(Counts.none())
        assert (found.value, found.n) == (None, 0)
        assert found.why_not


def test_shares_have_exact_limits_or_wilsons() -> None:
    few = Counts(scored=(30, *NO_BINS[1:]), flagged=4, clear=26)
    assert limits(share_flagged(few)) == pytest.approx(clopper_pearson(4, 30))
    many = Counts(scored=(3000, *NO_BINS[1:]), flagged=400, clear=2600)
    assert limits(share_flagged(many)) == pytest.approx(wilson(400, 3000))


def test_rejected_images_are_counted_by_reason() -> None:
    some = Counts(scored=(90, *NO_BINS[1:]), clear=90, rejected={"not_a_chest": 8, "on_a_page": 2})
    assert share_rejected(some).value == 0.1
    assert share_rejected(some, "not_a_chest").value == 0.08
    assert share_rejected(some, "damaged").value == 0


def test_calibration_weighs_drawn_images() -> None:
    """Between 0.3 and 0.35, 10 uncertain images were read, and 5 of 100 clear ones were drawn."""
    one = [0] * BINS
    one[6] = 1
    by_score = Judged(tuple(4 * n for n in one), tuple(6 * n for n in one))
    of_sample = Judged(tuple(1 * n for n in one), tuple(4 * n for n in one))
    some = Counts(
        uncertain=10,
        clear=100,
        uncertain_read=FindingCounts(4, 6),
        to_read_by_score=by_score,
        samples={"0.05": Sample(100, FindingCounts(1, 4), by_score=of_sample)},
    )
    found = calibration(some)
    assert found[6].share.value == pytest.approx((4 + 20) / 110)
    assert (found[6].low, found[6].high, found[6].share.n) == (0.3, 0.35, 15)
    assert found[5].share.value is None


def test_groups_below_ten_images_are_small() -> None:
    assert is_small(Counts(scored=(9, *NO_BINS[1:])))
    assert not is_small(Counts(scored=(9, *NO_BINS[1:]), rejected={"damaged": 1}))
    assert not is_small(Counts.none())


MIXES = (
    Mix("small", 200),
    Mix("a day", 2_740),
    Mix("another share", 20_000, drawn=(0.02, 0.1)),
    Mix("some unread", 5_000, unread=0.03),
    Mix("misses much", 20_000, sensitivity=0.6),
    Mix("readers err", 20_000, readers_err=0.01),
)


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.name)
def test_intervals_hold_the_truth_as_often_as_they_claim(mix: Mix) -> None:
    """The long form is `python -m bench.hospital`. 300 repetitions; three standard errors are 3.8 %."""
    (found,) = coverage(np.random.default_rng(7), 300, [mix])
    for name in ESTIMATES:
        assert found[name]["known"] > 0.9, name
        assert found[name]["coverage"] >= 0.95 - 0.038, name


def test_intervals_shrink_with_more_images() -> None:
    widths = []
    for images in (300, 3_000, 30_000, 300_000):
        low, high = limits(sensitivity(draw(np.random.default_rng(8), Mix("any", images))))
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.05


def test_figures_lie_around_the_truth() -> None:
    mix = Mix("large", 1_000_000)
    counts = draw(np.random.default_rng(9), mix)
    for name, truth in truths(mix).items():
        assert ESTIMATES[name](counts).value == pytest.approx(truth, abs=0.02), name
