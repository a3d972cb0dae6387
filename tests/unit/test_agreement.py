"""Agreement of readers and missed cases, against published examples, and by how often the intervals hold the truth."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest

from worker.proportions import (
    binomial_tail,
    clopper_pearson,
    hypergeometric_tail,
    number_in_a_finite_set,
    wilson,
)
from worker.report.agreement import Estimate, agreement, cohens_kappa, gwets_ac1, table_of_pairs
from worker.report.missed import ReadCounts, missed

# The vignette "overview" of the R package irrCAC prints the figures of this table, cont3x3abstractors.
ABSTRACTORS = [[13, 0, 0], [0, 20, 7], [0, 4, 56]]
# The SAS manual, PROC FREQ, "Computing Measures of Agreement": two dermatologists.
DERMATOLOGISTS = [[10, 4, 1, 0], [5, 10, 12, 2], [2, 4, 12, 5], [0, 2, 6, 13]]
# A SAS printout in statsmodels, tests/test_inter_rater.py.
SMALL = [[0, 4, 1], [0, 8, 0], [0, 1, 5]]
# K. L. Gwet (2008), the example in which almost all of 125 subjects have the same finding.
HIGH_AGREEMENT = [[118, 5], [2, 0]]


def rounded(estimate: Estimate, digits: int) -> list[float]:
    known = (estimate.value, estimate.standard_error, estimate.low, estimate.high)
    return [round(number, digits) for number in known if number is not None]


def test_kappa_is_that_of_published_examples() -> None:
    assert rounded(cohens_kappa(SMALL), 4) == [0.4842, 0.1380, 0.2137, 0.7547]
    assert rounded(cohens_kappa(DERMATOLOGISTS), 4) == [0.3449, 0.0724, 0.2030, 0.4868]
    kappa = cohens_kappa(ABSTRACTORS)
    assert kappa.value == pytest.approx(0.7964094, abs=5e-8)
    assert kappa.standard_error == pytest.approx(0.05891072, abs=5e-9)
    assert round(cohens_kappa(HIGH_AGREEMENT).value or 0, 4) == -0.0234


def test_ac1_is_that_of_published_examples() -> None:
    ac1 = gwets_ac1(ABSTRACTORS)
    assert ac1.value == pytest.approx(0.8493305, abs=5e-8)
    assert ac1.standard_error == pytest.approx(0.04321747, abs=5e-9)
    assert round(gwets_ac1(HIGH_AGREEMENT).value or 0, 4) == 0.9408


def test_intervals_of_proportions_are_those_of_a_published_table() -> None:
    """R. G. Newcombe (1998), table I."""
    printed = {
        (81, 263): (0.2553, 0.3662, 0.2527, 0.3676),
        (15, 148): (0.0624, 0.1605, 0.0578, 0.1617),
        (0, 20): (0.0000, 0.1611, 0.0000, 0.1684),
        (1, 29): (0.0061, 0.1718, 0.0009, 0.1776),
    }
    assert {
        case: tuple(round(limit, 4) for limit in (*wilson(*case), *clopper_pearson(*case)))
        for case in printed
    } == printed
    assert clopper_pearson(20, 20) == pytest.approx((1 - 0.16843, 1), abs=1e-5)


def test_the_order_of_readers_and_categories_does_not_matter() -> None:
    turned = [list(row) for row in zip(*ABSTRACTORS, strict=True)]
    backwards = [row[::-1] for row in ABSTRACTORS[::-1]]
    figures = agreement(ABSTRACTORS)
    for other in (agreement(turned), agreement(backwards)):
        for name in ("raw", "kappa", "ac1"):
            assert rounded(getattr(other, name), 12) == rounded(getattr(figures, name), 12)


def test_a_table_is_made_of_pairs() -> None:
    pairs = [("yes", "yes"), ("yes", "no"), ("no", "no"), ("no", "no")]
    assert table_of_pairs(pairs, ["yes", "no", "never used"]) == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    with pytest.raises(ValueError, match="among the categories"):
        table_of_pairs([("yes", "perhaps")], ["yes", "no"])
    with pytest.raises(ValueError, match="square"):
        agreement([[1, 2], [3]])
    with pytest.raises(ValueError, match="0 or more"):
        agreement([[1, -2], [3, 1]])


def test_what_cannot_be_said_is_none_with_a_reason() -> None:
    nothing = agreement([[0, 0], [0, 0]])
    assert nothing.pairs == 0
    for figure in (nothing.raw, nothing.kappa, nothing.ac1):
        assert (figure.value, figure.low, figure.high) == (None, None, None)
        assert figure.why_not == "No image was read by both readers."
    assert agreement([]).kappa.why_not == "No image was read by both readers."
    single = agreement([[7]])
    assert (single.raw.value, single.kappa.value, single.ac1.value) == (1, None, None)
    assert "single finding" in single.ac1.why_not
    same = agreement([[9, 0], [0, 0]])
    assert (same.kappa.value, same.ac1.value) == (None, 1)
    assert "the same finding" in same.kappa.why_not
    assert (same.ac1.low, same.ac1.high) == (None, None), "nine readings alike do not prove that all are"
    assert "does not hold" in same.ac1.why_not


def test_full_agreement_has_no_large_sample_interval_but_one_of_wilson() -> None:
    figures = agreement([[3, 0], [0, 4]])
    assert (figures.kappa.value, figures.kappa.low, figures.kappa.high) == (1, None, None)
    assert (figures.raw.value, figures.raw.high) == (1, 1)
    assert (figures.raw.low or 0) == pytest.approx(0.6457, abs=5e-5)


def test_full_disagreement_is_a_figure_too() -> None:
    figures = agreement([[0, 5], [5, 0]])
    assert (figures.raw.value, figures.kappa.value) == (0, -1)
    assert figures.raw.low == 0


@pytest.mark.parametrize(
    "table", [[[a, b], [c, d]] for a in range(4) for b in range(3) for c in range(3) for d in range(3)]
)
def test_no_small_table_gives_a_number_out_of_range(table: list[list[int]]) -> None:
    figures = agreement(table)
    for figure, least in ((figures.raw, 0), (figures.kappa, -1), (figures.ac1, -1)):
        for number in (figure.value, figure.low, figure.high):
            assert number is None or least - 1e-12 <= number <= 1 + 1e-12
        assert (figure.value is None or figure.low is None) == bool(figure.why_not)
        if figure.value is not None and figure.low is not None and figure.high is not None:
            assert figure.low <= figure.value + 1e-12
            assert figure.value <= figure.high + 1e-12


def test_intervals_of_agreement_hold_the_truth_in_95_of_100_samples() -> None:
    truth = [[0.35, 0.06, 0.02], [0.08, 0.30, 0.03], [0.03, 0.03, 0.10]]
    whole = [[round(1e6 * share) for share in row] for row in truth]
    true = {name: getattr(agreement(whole), name).value for name in ("raw", "kappa", "ac1")}
    cells = [(row, column) for row in range(3) for column in range(3)]
    weights = [truth[row][column] for row, column in cells]
    chance, rounds = random.Random(20), 1_000
    held = dict.fromkeys(true, 0)
    for _ in range(rounds):
        figures = agreement(table_of_pairs(chance.choices(cells, weights, k=150), range(3)))
        for name, value in true.items():
            figure = getattr(figures, name)
            held[name] += figure.low <= value <= figure.high
    # Three standard errors of a share of 0.95 in 1,000 rounds are 0.021.
    assert all(0.93 <= count / rounds <= 0.97 for count in held.values()), held


def test_an_exact_interval_covers_every_share_at_least_as_often_as_it_says() -> None:
    """Not by chance: the probabilities of all samples are summed."""
    total = 12
    limits = [clopper_pearson(count, total) for count in range(total + 1)]
    for share in (0.01, 0.1, 0.37, 0.5, 0.93):
        covered = [count for count, (low, high) in enumerate(limits) if low <= share <= high]
        assert sum(math.comb(total, n) * share**n * (1 - share) ** (total - n) for n in covered) >= 0.95
    assert all(low < later for (low, _), (later, _) in pairwise(limits))


def test_tails_are_sums_of_probabilities() -> None:
    for count in range(8):
        by_hand = sum(math.comb(6, n) * 0.3**n * 0.7 ** (6 - n) for n in range(count, 7))
        assert binomial_tail(count, 6, 0.3) == pytest.approx(by_hand, abs=1e-12)
        by_hand = sum(math.comb(5, n) * math.comb(15, 8 - n) for n in range(count, 6)) / math.comb(20, 8)
        assert hypergeometric_tail(count, 8, 5, 20) == pytest.approx(by_hand, abs=1e-12)
    assert (binomial_tail(3, 5, 0), binomial_tail(3, 5, 1), binomial_tail(6, 5, 0.5)) == (0, 1, 0)


def test_limits_of_a_finite_set_hold_for_every_truth() -> None:
    """Not by chance: for every number of the kind, the probabilities of all samples are summed."""
    size, sampled = 30, 9
    limits = [number_in_a_finite_set(found, sampled, size) for found in range(sampled + 1)]
    for number in range(size + 1):
        ways = [math.comb(number, n) * math.comb(size - number, sampled - n) for n in range(sampled + 1)]
        covered = sum(way for way, (low, high) in zip(ways, limits, strict=True) if low <= number <= high)
        assert covered >= 0.95 * math.comb(size, sampled)
    assert number_in_a_finite_set(3, 30, 30) == (3, 3), "everything was looked at"
    with pytest.raises(ValueError, match="larger"):
        number_in_a_finite_set(0, 31, 30)
    with pytest.raises(ValueError, match="no proportion"):
        number_in_a_finite_set(0, 0, 30)


def test_no_miss_in_a_sample_does_not_mean_that_none_was_missed() -> None:
    """The rule of three: with no event in n, up to about 3 / n may be; 3.7 / n with both tails of 95 %."""
    found = missed(
        ReadCounts(found=40, false_alarms=10, clear=100_000, sample_with_signs=0, sample_without_signs=300)
    )
    assert (found.cases.value, found.cases.low) == (0, 0)
    assert found.cases.high == pytest.approx(100_000 * (1 - 0.025 ** (1 / 300)), rel=0.01)
    assert found.sensitivity.value == 1
    assert (found.sensitivity.low or 1) < 0.05, "a sample of 300 says little about 100,000"
    assert found.sensitivity.high == 1


def test_missed_cases_and_sensitivity_are_scaled_from_the_sample() -> None:
    found = missed(
        ReadCounts(found=90, false_alarms=60, clear=1_000, sample_with_signs=2, sample_without_signs=198)
    )
    assert found.cases.value == 10
    assert found.sensitivity.value == pytest.approx(0.9)
    assert found.cases.low is not None
    assert found.cases.low <= 10 <= (found.cases.high or 0)
    assert 0 < (found.sensitivity.low or 0) < 0.9 < (found.sensitivity.high or 0) < 1


def test_a_sensitivity_that_is_not_known_is_none() -> None:
    unread = missed(
        ReadCounts(found=3, false_alarms=1, clear=50, sample_with_signs=0, sample_without_signs=0)
    )
    assert (unread.cases.value, unread.sensitivity.value) == (None, None)
    assert "random sample" in unread.sensitivity.why_not
    no_case = missed(
        ReadCounts(found=0, false_alarms=4, clear=50, sample_with_signs=0, sample_without_signs=5)
    )
    assert (no_case.cases.value, no_case.sensitivity.value) == (0, None)
    assert "No image with signs" in no_case.sensitivity.why_not
    waiting = missed(
        ReadCounts(found=3, false_alarms=1, unread=7, clear=50, sample_with_signs=1, sample_without_signs=5)
    )
    assert waiting.cases.value == pytest.approx(50 / 6)
    assert (waiting.sensitivity.value, "nobody has read: 7." in waiting.sensitivity.why_not) == (None, True)


def test_without_clear_images_nothing_was_missed() -> None:
    found = missed(ReadCounts(found=3, false_alarms=1, clear=0, sample_with_signs=0, sample_without_signs=0))
    assert (found.cases.value, found.cases.low, found.cases.high) == (0, 0, 0)
    assert (found.sensitivity.value, found.sensitivity.high) == (1, 1)
    assert (found.sensitivity.low or 1) < 0.5, "three cases say little about the next ones"


def test_only_misses_are_a_sensitivity_of_0() -> None:
    found = missed(
        ReadCounts(found=0, false_alarms=4, clear=50, sample_with_signs=1, sample_without_signs=49)
    )
    assert (found.sensitivity.value, found.sensitivity.low) == (0, 0)
    assert 0.9 < (found.sensitivity.high or 0) < 1


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="part of the clear images"):
        ReadCounts(found=0, false_alarms=0, clear=3, sample_with_signs=2, sample_without_signs=2)
    with pytest.raises(ValueError, match="0 or more"):
        ReadCounts(found=-1, false_alarms=0, clear=3, sample_with_signs=0, sample_without_signs=2)


def test_the_interval_of_sensitivity_holds_the_truth_at_least_95_times_in_100() -> None:
    """Nights of 400 images: each with signs with probability 0.1, found with probability 0.85; 10 % of clear ones read."""
    chance, sensitivity, rounds, held, known = random.Random(14), 0.85, 300, 0, 0
    for _ in range(rounds):
        positives = sum(chance.random() < 0.1 for _ in range(400))
        found = sum(chance.random() < sensitivity for _ in range(positives))
        clear = [True] * (positives - found) + [False] * (400 - positives - 60)
        sample = chance.sample(clear, len(clear) // 10)
        counts = ReadCounts(found, 60, len(clear), sum(sample), len(sample) - sum(sample))
        figure = missed(counts).sensitivity
        assert figure.low is not None
        assert figure.high is not None
        known += 1
        held += figure.low <= sensitivity <= figure.high
    assert known == rounds
    assert held / rounds >= 0.95
