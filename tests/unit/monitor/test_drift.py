"""The population stability index and its test, against values computed by hand and by SciPy."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest

from worker.monitor.counts import BINS, Bins, bins_of
from worker.monitor.drift import Drift, drift, drift_from_shares, expected_shares, psi


def bins(*images: int) -> Bins:
    return (*images, *(0,) * (BINS - len(images)))


def drawn(chooser: random.Random, shares: Sequence[float], images: int) -> Bins:
    return bins_of((place + 0.5) / BINS for place in chooser.choices(range(BINS), shares, k=images))


def test_the_index_is_the_sum_of_its_terms() -> None:
    by_hand = (0.3 - 0.2) * math.log(0.3 / 0.2) + (0.7 - 0.8) * math.log(0.7 / 0.8)
    assert psi([30, 70], [0.2, 0.8]) == pytest.approx(by_hand)
    assert psi([20, 80], [0.2, 0.8]) == 0


def test_the_index_of_an_empty_bin_is_finite() -> None:
    assert psi([100, 0], [0.9, 0.1]) == pytest.approx(0.1 * math.log(1 / 0.9) - 0.095 * math.log(0.005 / 0.1))
    assert 0 < psi([50, 50], [1.0, 0.0]) < 10


def test_the_two_sample_test_is_pearsons() -> None:
    """SciPy 1.16: chi2_contingency([[30, 20, 50], [60, 30, 40]], correction=False)."""
    found = drift(bins(30, 20, 50), bins(60, 30, 40))
    assert found.p == pytest.approx(0.00929171181719134)
    assert (found.n, found.expected_n, found.bins) == (100, 130, 3)
    assert found.by_chance == pytest.approx(2 * (1 / 100 + 1 / 130))


def test_the_test_against_shares_is_pearsons() -> None:
    """SciPy 1.16: chisquare([30, 20, 50], [25, 25, 50])."""
    found = drift_from_shares(bins(30, 20, 50), [0.25, 0.25, 0.5, *(0.0,) * 17])
    assert found.p == pytest.approx(0.36787944117144233)
    assert found.psi == pytest.approx(0.05 * math.log(0.3 / 0.25) - 0.05 * math.log(0.2 / 0.25))


def test_sparse_bins_are_merged() -> None:
    found = drift(bins(40, 2, 1, 1, 56), bins(400, 20, 10, 10, 560))
    assert found.bins == 2
    assert found.psi == pytest.approx(0, abs=1e-12)


def test_few_images_are_not_compared() -> None:
    found = drift(bins(49), bins(1000))
    assert (found.psi, found.p) == (None, None)
    assert "too few" in found.why_not
    assert drift_from_shares(bins(49), [1.0] * BINS).psi is None


def test_shares_must_be_one_for_each_bin() -> None:
    with pytest.raises(ValueError, match="share"):
        drift_from_shares(bins(60), [0.5, 0.5])
    with pytest.raises(ValueError, match="share"):
        drift_from_shares(bins(60), [0.0] * BINS)


def test_the_test_rejects_as_often_as_it_claims() -> None:
    """Of 400 pairs without a difference, 5 % within three standard errors; the index is near what chance gives."""
    chooser = random.Random(5)
    shares = [math.exp(-place / 3) for place in range(BINS)]
    found: list[Drift] = [drift(drawn(chooser, shares, 300), drawn(chooser, shares, 900)) for _ in range(400)]
    rejected = sum(one.p is not None and one.p < 0.05 for one in found) / len(found)
    assert rejected == pytest.approx(0.05, abs=0.033)
    mean = sum(one.psi or 0 for one in found) / len(found)
    assert mean == pytest.approx(sum(one.by_chance or 0 for one in found) / len(found), rel=0.1)


def test_a_shift_is_seen() -> None:
    chooser = random.Random(6)
    shares = [math.exp(-place / 3) for place in range(BINS)]
    found = drift(drawn(chooser, [0.0, *shares[:-1]], 300), drawn(chooser, shares, 900))
    assert found.p is not None
    assert found.p < 1e-6
    assert (found.psi or 0) > 0.25


def test_a_roc_curve_gives_the_expected_scores() -> None:
    """With signs, 80 % score 0.5 or more; without, 10 %; evenly spread on each side."""
    shares = expected_shares([0.5], [0.8], [0.9], 0.25)
    assert sum(shares) == pytest.approx(1)
    upper = 0.25 * 0.8 + 0.75 * 0.1
    assert shares[:10] == pytest.approx([(1 - upper) / 10] * 10)
    assert shares[10:] == pytest.approx([upper / 10] * 10)
