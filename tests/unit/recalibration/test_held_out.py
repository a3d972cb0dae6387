"""A recalibration is measured on images that it was not fitted on, and offered only if it does no harm."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from bench.site_calibrations import INTERCEPT, SLOPE, main, simulated
from worker.recalibration import logistic
from worker.recalibration.held_out import (
    FOLDS,
    CannotFit,
    Change,
    Fit,
    Interval,
    LabelledScore,
    Verdict,
    digest,
    fit_site,
)


def test_miscalibrated_scores_get_better() -> None:
    fit = fit_site(*simulated(900))
    figures = fit.held_out
    assert figures.verdict is Verdict.BETTER
    assert fit.is_offered
    assert figures.brier.difference.high < 0
    assert figures.log_loss.difference.high < 0
    assert figures.intercept.before.high < 0
    assert abs(figures.intercept.after.value) < 0.2
    assert figures.intercept.after.low < 0 < figures.intercept.after.high
    assert figures.slope.before.value < figures.slope.after.value


def test_nothing_is_claimed_where_scores_are_right_already() -> None:
    verdicts = [fit_site(*simulated(700, seed, intercept=0, slope=1)).held_out.verdict for seed in range(15)]
    assert verdicts.count(Verdict.BETTER) <= 2


def test_simulated_hospitals_have_their_numbers_in_the_intervals() -> None:
    """The long form: `python -m bench.site_calibrations`."""
    fits = [fit_site(*simulated(900, seed)) for seed in range(20)]
    for name, truth in (("intercept", INTERCEPT), ("slope", SLOPE)):
        intervals = [getattr(fit, name) for fit in fits]
        assert sum(one.low <= truth <= one.high for one in intervals) >= 16, name
        assert np.mean([one.value for one in intervals]) == pytest.approx(truth, abs=0.1)


def test_difference_on_held_out_images_is_that_of_new_images() -> None:
    """Held-out figures neither flatter nor belittle: on average, new images of the site show the same difference."""
    claimed, new = [], []
    unseen, _ = simulated(20_000, 999, drawn=1.0)
    scores, signs = (
        np.array([float(getattr(case, name)) for case in unseen]) for name in ("score", "has_signs")
    )
    for seed in range(15):
        fit = fit_site(*simulated(600, seed))
        after = np.array([fit.recalibration.probability(score) for score in scores])
        claimed.append(fit.held_out.brier.difference.value)
        new.append(float(((after - signs) ** 2).mean() - ((scores - signs) ** 2).mean()))
    assert np.mean(claimed) == pytest.approx(np.mean(new), abs=0.008)


def test_same_readings_give_the_same_figures() -> None:
    cases, clear = simulated(500)
    assert fit_site(cases, clear) == fit_site(cases[::-1], clear)
    assert digest(cases) == digest(cases[::-1])
    changed = [cases[0]._replace(has_signs=not cases[0].has_signs), *cases[1:]]
    assert digest(changed) != digest(cases)


def test_figures_survive_json() -> None:
    fit = fit_site(*simulated(500))
    assert Fit.parse(fit.recalibration, json.loads(json.dumps(fit.document))) == fit


def test_numbers_have_as_many_digits_as_the_trail_proves() -> None:
    fit = fit_site(*simulated(500))
    for number in (fit.recalibration.intercept, fit.recalibration.slope, fit.prevalence):
        assert number == round(number, 6)


def test_images_of_one_patient_stay_together(monkeypatch: pytest.MonkeyPatch) -> None:
    cases, clear = simulated(600)
    of_patients = [case._replace(patient=f"p{place // 4}") for place, case in enumerate(cases)]
    seen: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = []
    real = logistic.fit

    def watched(scores: logistic.Floats, signs: logistic.Floats, weights: logistic.Floats) -> logistic.Floats:
        seen.append(weights)
        return real(scores, signs, weights)

    monkeypatch.setattr(logistic, "fit", watched)
    fit = fit_site(of_patients, clear)
    folds = next(weights for weights in seen if len(weights) == FOLDS)
    for first in range(0, len(cases) - 3, 4):
        left_out = (folds[:, first : first + 4] == 0).sum(axis=0)
        # Each image is left out once, in the fold of its patient.
        assert (left_out == 1).all()
        assert len({int(np.argmin(folds[:, place])) for place in range(first, first + 4)}) == 1
    assert fit.held_out.groups == -(-len(cases) // 4)
    assert fit.held_out.of_patients == len(cases)


def test_images_of_one_patient_widen_the_intervals() -> None:
    """The same images twice are no new evidence if they are of the same patients."""
    cases, clear = simulated(500)
    once = [case._replace(patient=case.sha256) for case in cases]
    twice = [*once, *(case._replace(sha256=f"f{case.sha256[1:]}") for case in once)]
    one, two = (fit_site(given, clear).held_out.brier.difference for given in (once, twice))
    assert two.high - two.low == pytest.approx(one.high - one.low, rel=0.15)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda cases: [case for case in cases if not case.is_drawn], "No clear image of a random sample was read"),
        (lambda cases: [case for case in cases if not case.has_signs], "Only 0 read images with signs count"),
        (lambda cases: [case for case in cases if case.has_signs], "read images without signs count"),
    ],
)  # fmt: skip
def test_too_little_is_refused_with_a_sentence(change: object, sentence: str) -> None:
    cases, clear = simulated(1_000, drawn=1.0)
    assert callable(change)
    with pytest.raises(CannotFit, match=sentence):
        fit_site(change(cases), clear)


def test_few_drawn_images_are_refused() -> None:
    cases, clear = simulated(1_000)
    drawn = [case for case in cases if case.is_drawn]
    with pytest.raises(
        CannotFit, match="Only 19 clear images of a random sample were read, and 20 are needed"
    ):
        fit_site([case for case in cases if case not in drawn[19:]], clear)


def test_site_without_clear_images_needs_no_sample() -> None:
    cases = [case for case in simulated(400)[0] if not case.is_drawn]
    assert fit_site(cases, 0).held_out.images == len(cases)


def test_scores_that_do_not_follow_the_readings_are_refused() -> None:
    cases, clear = simulated(2_000, intercept=0, slope=-0.5)
    with pytest.raises(CannotFit, match="The slope would be"):
        fit_site(cases, clear)


def test_worse_figures_are_not_offered() -> None:
    fit = fit_site(*simulated(500))
    worse = Interval(0.01, 0.001, 0.02)
    change = Change(Interval(0.1, 0.09, 0.11), Interval(0.11, 0.1, 0.12), worse)
    harmful = replace(fit, held_out=replace(fit.held_out, brier=change))
    assert harmful.held_out.verdict is Verdict.WORSE
    assert not harmful.is_offered


def test_bins_hold_all_images_in_order() -> None:
    cases, clear = simulated(800)
    bins = fit_site(cases, clear).held_out.bins
    assert sum(one.images for one in bins) == len(cases)
    assert len(bins) == min(10, len(cases) // 40)
    for lower, upper in itertools.pairwise(bins):
        assert lower.high < upper.low
    assert all(one.share.low <= one.share.value <= one.share.high for one in bins)


def test_equal_scores_are_one_bin() -> None:
    cases = [LabelledScore(f"{place:064x}", 0.5, place % 2 == 0, 1.0) for place in range(200)]
    (only,) = fit_site(cases, 0).held_out.bins
    assert (only.images, only.share.value) == (200, 0.5)


def test_measurement_says_how_often_intervals_hold_the_truth() -> None:
    lines = CliRunner().invoke(main, ["1"]).output.splitlines()
    assert len(lines) == 6
    assert lines[2].startswith("intercept -1.2, slope 0.7, 1200 images: Measured(fitted=1, intercept=")
