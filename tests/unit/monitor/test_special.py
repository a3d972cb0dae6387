"""Beta and chi-square, against values of SciPy 1.16 (`beta.ppf`, `beta.cdf`, `chi2.sf`)."""

from __future__ import annotations

import pytest

from worker.monitor.special import beta_cdf, beta_quantile, chi_square_tail, normal_two_sided
from worker.proportions import clopper_pearson

QUANTILES = {
    (0.025, 0.5, 0.5): 0.00154133313344,
    (0.025, 3, 7.25): 0.0726453162414,
    (0.025, 260, 14): 0.91994645052,
    (0.025, 0.4, 9000): 8.14285400885e-09,
    (0.025, 8260.5, 99): 0.985729832082,
    (0.025, 1, 1): 0.025,
    (0.5, 0.5, 0.5): 0.5,
    (0.5, 3, 7.25): 0.278781198659,
    (0.5, 260, 14): 0.949994862301,
    (0.5, 0.4, 9000): 1.61202009208e-05,
    (0.5, 8260.5, 99): 0.988196096063,
    (0.5, 1, 1): 0.5,
    (0.975, 0.5, 0.5): 0.998458666867,
    (0.975, 3, 7.25): 0.588505717338,
    (0.975, 260, 14): 0.971683492608,
    (0.975, 0.4, 9000): 0.000247168371794,
    (0.975, 8260.5, 99): 0.990363456951,
    (0.975, 1, 1): 0.975,
}
TAILS = {
    (0.5, 1): 0.479500122187,
    (3.841458820694124, 1): 0.05,
    (10, 4): 0.0404276819945,
    (30, 19): 0.051798458893,
    (200, 19): 3.40476513931e-32,
    (5, 30): 0.999999930847,
    (1000, 300): 3.72932048557e-76,
    (0.001, 7): 1,
}


@pytest.mark.parametrize("place", QUANTILES, ids=str)
def test_beta_quantiles_are_those_of_scipy(place: tuple[float, float, float]) -> None:
    probability, first, second = place
    share = beta_quantile(probability, first, second)
    assert share == pytest.approx(QUANTILES[place], rel=1e-8, abs=1e-14)
    assert beta_cdf(share, first, second) == pytest.approx(probability, abs=1e-8)


@pytest.mark.parametrize("place", TAILS, ids=str)
def test_chi_square_tails_are_those_of_scipy(place: tuple[float, int]) -> None:
    assert chi_square_tail(*place) == pytest.approx(TAILS[place], rel=1e-8, abs=1e-13)


def test_a_beta_without_a_side_lies_at_its_end() -> None:
    assert beta_quantile(0.025, 0, 5) == 0
    assert beta_quantile(0.975, 5, 0) == 1
    assert (beta_cdf(0, 2, 3), beta_cdf(1, 2, 3)) == (0, 1)


def test_beta_quantiles_are_clopper_and_pearsons_limits() -> None:
    low, high = clopper_pearson(4, 90)
    assert beta_quantile(0.025, 4, 87) == pytest.approx(low)
    assert beta_quantile(0.975, 5, 86) == pytest.approx(high)


def test_the_normal_tail_has_its_known_value() -> None:
    assert normal_two_sided(1.959963984540054) == pytest.approx(0.05)
    assert normal_two_sided(-1.959963984540054) == pytest.approx(0.05)
