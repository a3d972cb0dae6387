"""worker.card.confusion: sensitivity and specificity of labelled scores with weights."""

from __future__ import annotations

import random
from functools import reduce
from operator import add

import pytest

from worker.card.confusion import Case, confusion, positive_predictive_value

CASES = [Case(0.9, True), Case(0.5, True, 3.5), Case(0.4, True), Case(0.7, False), Case(0.2, False, 3.5)]


def test_weights_count_on_both_sides_of_the_threshold() -> None:
    counted = confusion(CASES, 0.5)
    assert (counted.true_positive, counted.false_negative) == (4.5, 1.0)
    assert (counted.false_positive, counted.true_negative) == (1.0, 3.5)
    assert (counted.sick, counted.well) == (5.5, 4.5)
    assert (counted.sensitivity, counted.specificity) == (4.5 / 5.5, 3.5 / 4.5)
    assert (counted.ppv, counted.accuracy) == (4.5 / 5.5, 0.8)


def test_figure_of_nobody_is_none() -> None:
    counted = confusion([Case(0.9, True)], 0.95)
    assert (counted.sensitivity, counted.specificity, counted.ppv) == (0.0, None, None)
    assert confusion([], 0.5).accuracy is None


def test_order_of_the_cases_changes_no_digit() -> None:
    rng = random.Random(3)
    cases = [
        Case(rng.random(), rng.random() < 0.4, 17 / 3 if rng.random() < 0.2 else 1.0) for _ in range(500)
    ]
    shuffled = rng.sample(cases, len(cases))
    assert confusion(cases, 0.3) == confusion(shuffled, 0.3)
    # From Python 3.12 on, sum() rounds less than this.
    plain, other = (reduce(add, (case.weight for case in order)) for order in (cases, shuffled))
    assert plain != other, "a plain sum does"


def test_predictive_value_follows_bayes() -> None:
    assert positive_predictive_value(0.9, 0.2, 0.1) == pytest.approx(0.09 / 0.27)
    assert positive_predictive_value(0.0, 0.0, 0.1) is None
