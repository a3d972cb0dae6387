"""worker.report.workbench and two_phase: figures of a threshold with intervals, by the card and by the read cases."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from worker.card.loading import load_card
from worker.card.reading import read_card
from worker.config import Settings
from worker.ledger.read_cases import ScoredImage
from worker.report.missed import ReadCounts, missed
from worker.report.site_cases import SiteCases
from worker.report.two_phase import NO_SAMPLE
from worker.report.workbench import FIGURES, Figure, Trial, card_column, card_sets, site_column

TRIAL = Trial(0.5, 0.4, 0.6, 0.1, images_a_night=200, seconds_an_image=20, sample_share=0.05)


def image(
    score: float, has_signs: bool | None, *, cropped: bool = False, never_clear: bool = False
) -> ScoredImage:
    verdict = TRIAL.bounds.verdict(score, cropped=cropped, never_clear=never_clear)
    return ScoredImage("0" * 64, score, verdict, cropped, never_clear, has_signs)


# Six with signs and two without are flagged or uncertain; of ten clear ones, four are drawn, and one of these has signs.
SITE = [
    *[image(0.9, True)] * 5,
    image(0.45, True),
    image(0.8, False),
    image(0.45, False),
    image(0.3, True),
    *[image(0.1, False)] * 3,
    *[image(0.1, None)] * 6,
]


def test_clear_images_of_the_sample_stand_for_all_clear_ones() -> None:
    column = site_column(SiteCases.of(SITE), TRIAL)
    cases = column.cases
    assert (cases.shown, len(cases.clear), cases.sampled, cases.weight) == ((6, 2), 10, (1, 3), 2.5)
    assert {case.weight for found, case in cases.cases if found.is_clear} == {2.5}
    assert column.figures["sensitivity"].value == 5 / 8.5
    assert column.figures["specificity"].value == 8.5 / 9.5
    assert column.figures["found"].value == 6 / 8.5
    assert cases.signs_share == 8.5 / 18


def test_shares_are_of_all_images_read_or_not() -> None:
    column = site_column(SiteCases.of(SITE), TRIAL)
    assert column.figures["flagged"].value == 6 / 18
    assert column.figures["uncertain"].value == 2 / 18
    # 200 images a night: 8 of 18, and a twentieth of the others.
    to_read = 200 * (8 / 18 + 0.05 * 10 / 18)
    assert column.figures["images_to_read"].value == pytest.approx(to_read)
    assert column.figures["reading_s"].value == pytest.approx(20 * to_read)
    twice = site_column(SiteCases.of(SITE), replace(TRIAL, readers=2))
    assert twice.figures["reading_s"].value == pytest.approx(40 * to_read)


def test_sensitivity_of_the_reading_is_that_of_the_page_agreement() -> None:
    """The same estimate with the same interval, as long as the band is the one with which the images were read."""
    found = site_column(SiteCases.of(SITE), TRIAL).figures["found"]
    other = missed(ReadCounts(6, 2, 10, 1, 3)).sensitivity
    assert (found.value, found.low, found.high) == (other.value, other.low, other.high)


def test_lower_threshold_counts_clear_images_as_found() -> None:
    low = site_column(SiteCases.of(SITE), replace(TRIAL, threshold=0.2, band_low=0.2))
    assert low.figures["sensitivity"].value == 1.0
    assert low.figures["specificity"].value == 7.5 / 9.5
    # Nobody read the other clear images, so that all cases were found is not certain.
    assert low.figures["sensitivity"].low is not None
    assert low.figures["sensitivity"].low < 0.6


def test_without_a_sample_sensitivity_is_not_known() -> None:
    unread = [found._replace(has_signs=None) if found.is_clear else found for found in SITE]
    column = site_column(SiteCases.of(unread), TRIAL)
    for name in ("sensitivity", "specificity", "ppv", "npv", "found"):
        assert column.figures[name] == Figure(why_not=NO_SAMPLE)
    assert column.figures["flagged"].value == 6 / 18
    assert (column.cases.signs_share, column.curve.points) == (None, [])


def test_without_clear_images_everything_is_known() -> None:
    column = site_column(SiteCases.of([found for found in SITE if not found.is_clear]), TRIAL)
    assert column.figures["sensitivity"].value == 5 / 6
    assert column.figures["specificity"].value == 0.5


def test_without_images_every_figure_says_why_it_is_not_known() -> None:
    column = site_column(SiteCases.of([]), TRIAL)
    assert set(column.figures) == set(FIGURES)
    assert all(figure.value is None and figure.why_not for figure in column.figures.values())


def test_crop_and_population_decide_the_verdict_but_not_the_threshold() -> None:
    images = [image(0.1, True, cropped=True), image(0.1, False, never_clear=True)]
    column = site_column(SiteCases.of(images), TRIAL)
    assert column.figures["found"].value == 1.0
    assert column.figures["uncertain"].value == 1.0
    assert column.figures["sensitivity"].value == 0.0


def test_work_without_numbers_is_not_known() -> None:
    figures = site_column(SiteCases.of(SITE), replace(TRIAL, images_a_night=None)).figures
    assert figures["images_to_read"].value is None
    assert site_column(SiteCases.of(SITE), replace(TRIAL, seconds_an_image=None)).figures["reading_s"].why_not


def test_intervals_cover_the_truth_of_the_population() -> None:
    """Of 200 sites that draw one clear image in five, at least 95 % of the intervals hold the true rate."""
    rng, covered = random.Random(7), {"sensitivity": 0, "specificity": 0, "found": 0, "ppv": 0}
    # A score is the larger of two uniform numbers with signs, and the smaller of two without.
    truth = {"sensitivity": 1 - 0.5**2, "specificity": 1 - 0.5**2, "found": 1 - 0.4**2}
    truth["ppv"] = 0.1 * 0.75 / (0.1 * 0.75 + 0.9 * 0.25)
    for _ in range(200):
        images = []
        for _ in range(150):
            has_signs = rng.random() < 0.3
            ends = sorted((rng.random(), rng.random()))
            found = image(ends[1] if has_signs else ends[0], has_signs)
            is_read = not found.is_clear or rng.random() < 0.2
            images.append(found if is_read else found._replace(has_signs=None))
        figures = site_column(SiteCases.of(images), TRIAL).figures
        for name, true in truth.items():
            low, high = figures[name].low, figures[name].high
            covered[name] += low is None or high is None or low <= true <= high
    assert min(covered.values()) >= 0.95 * 200, covered


@pytest.fixture(scope="module")
def shipped() -> dict[str, object]:
    card: dict[str, object] = load_card(Settings().model)
    return card


@pytest.mark.parametrize("name", ["children", "children_restyled", "adults"])
@pytest.mark.parametrize(("figure", "metric"), [("sensitivity", "recall"), ("specificity", "specificity")])
def test_interval_of_the_card_is_like_the_bootstrap_over_its_patients(
    shipped: dict[str, object], name: str, figure: str, metric: str
) -> None:
    """At the default point the card has an interval of a bootstrap over whole patients. Both ends are at most 0.02 away."""
    card = read_card(shipped)
    measured = card.metrics[name]
    default = card.operating_points[card.default_operating_point]
    found = card_column(card, name, replace(TRIAL, threshold=default.threshold)).figures[figure]
    assert found.least is not None
    assert found.most is not None
    assert found.low is not None
    assert found.high is not None
    # The curves on a card have four decimals.
    assert found.low < found.least <= measured[metric] + 5e-5
    assert measured[metric] - 5e-5 <= found.most < found.high
    assert [found.low, found.high] == pytest.approx(measured[f"{metric}_ci"], abs=0.02)
    assert found.high - found.low > 0.9 * (measured[f"{metric}_ci"][1] - measured[f"{metric}_ci"][0])


def test_flagged_share_of_the_card_follows_the_prevalence(shipped: dict[str, object]) -> None:
    card = read_card(shipped)
    measured = card.operating_points["balanced"]
    # The card mixes both classes at two to one.
    threshold = measured.threshold
    at_the_set = replace(TRIAL, threshold=threshold, band_high=threshold, prevalence=2 / 3)
    flagged = card_column(card, "children", at_the_set).figures["flagged"]
    assert flagged.least == pytest.approx(measured.flagged_share, abs=0.02)
    nobody = card_column(card, "children", replace(at_the_set, prevalence=0.0)).figures["flagged"]
    assert nobody.most is not None
    assert nobody.most < 0.05


def test_without_a_band_no_image_is_uncertain_by_the_card(shipped: dict[str, object]) -> None:
    without = replace(TRIAL, threshold=0.55, band_low=0.55, band_high=0.55)
    assert card_column(read_card(shipped), "adults", without).figures["uncertain"] == Figure(0, 0, 0, 0)
    with_band = card_column(read_card(shipped), "adults", TRIAL).figures["uncertain"]
    assert with_band.low is not None
    assert with_band.low > 0.05


def test_card_without_numbers_has_no_interval() -> None:
    roc = {"threshold": [0.9, 0.1], "sensitivity": [0.2, 1.0], "specificity": [1.0, 0.1]}
    card = read_card({"curves": {"children": {"roc": roc}, "without": {"roc": {}}}})
    assert card_sets(card) == ["children"]
    column = card_column(card, "children", TRIAL)
    assert (column.n, column.independent) == (None, None)
    found = column.figures["sensitivity"]
    assert (found.least, found.most, found.low) == (0.2, 1.0, None)
    assert "does not say" in found.why_not
    assert column.figures["ppv"].low is column.figures["flagged"].low is None
