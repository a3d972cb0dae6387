"""The figures of the robustness table, from answers that are made by hand."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tests.unit.training.robustness.answers import CLEAR, FLAGGED, MARKED, REJECTED, measured
from training.robustness.plot import plot
from training.robustness.table import LIMIT, table
from training.robustness.text import as_markdown, as_text, points

NORMALS, SICK = 20, 20
UNTOUCHED = [CLEAR] * NORMALS + [FLAGGED] * SICK


def cell(answers: list[Any], **more: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", table(measured(UNTOUCHED, {"one": answers}, **more))["cells"][0])


def test_a_change_is_the_difference_of_the_same_images() -> None:
    result = cell([FLAGGED] * 3 + [CLEAR] * 17 + [CLEAR] * 1 + [FLAGGED] * 19)
    assert result["specificity_change"] == pytest.approx(-3 / 20)
    assert result["sensitivity_change"] == pytest.approx(-1 / 20)
    low, high = result["specificity_change_ci"]
    assert -0.35 < low < -3 / 20 < high <= 0
    assert result["became_clear"] == {"count": 1, "of": 20}
    assert (result["rejected"], result["marked"]) == (0, 0)


def test_rejected_images_are_in_no_change() -> None:
    result = cell([REJECTED] * 10 + [FLAGGED] * 2 + [CLEAR] * 8 + [FLAGGED] * 20)
    assert result["specificity_change"] == pytest.approx(-2 / 10)
    assert result["unmarked_specificity_change"] == pytest.approx(-2 / 20)
    assert result["rejected"] == pytest.approx(10 / 40)
    assert result["rejected_reasons"] == {"on_a_page": 10}


def test_a_class_that_is_wholly_rejected_has_no_change() -> None:
    result = cell([REJECTED] * 20 + [FLAGGED] * 20)
    assert result["specificity_change"] is None
    assert result["specificity_change_ci"] == [None, None]
    assert result["unmarked_specificity_change"] == 0


@pytest.mark.parametrize(("wrong", "worse"), [(1, False), (2, True)])
def test_only_a_loss_above_the_limit_is_worse(wrong: int, worse: bool) -> None:
    result = cell([FLAGGED] * wrong + [CLEAR] * (20 - wrong) + [FLAGGED] * 20)
    assert (wrong / 20 > LIMIT) == worse
    assert result["worse_without_mark"] == worse


def test_a_mark_excuses_its_image_alone() -> None:
    wrong_and_marked = MARKED | {"p": 0.9}
    marked = cell([wrong_and_marked] * 5 + [CLEAR] * 15 + [FLAGGED] * 20)
    assert marked["specificity_change"] == pytest.approx(-5 / 20)
    assert not marked["worse_without_mark"]
    assert (marked["marked"], marked["marks"]) == (5 / 40, {"cropped": 5})
    some = cell([wrong_and_marked] * 5 + [FLAGGED] * 2 + [CLEAR] * 13 + [FLAGGED] * 20)
    assert some["worse_without_mark"]


def test_an_unchanged_cell_has_the_exact_interval_of_none() -> None:
    result = cell(UNTOUCHED)
    most = 1 - 0.025 ** (1 / 20)
    assert result["specificity_change"] == 0
    assert result["specificity_change_ci"] == pytest.approx([-most, most])
    lost = cell([FLAGGED] * 40)
    assert lost["specificity_change"] == -1
    assert lost["specificity_change_ci"] == pytest.approx([-1, most - 1])


def test_the_interval_counts_patients_and_not_images() -> None:
    answers = [FLAGGED] * 10 + [CLEAR] * 10 + [FLAGGED] * 20
    apart = cell(answers)["specificity_change_ci"]
    together = cell(answers, patients=["a"] * 10 + ["b"] * 10 + [str(n) for n in range(20)])
    low, high = together["specificity_change_ci"]
    assert high - low > 2 * (apart[1] - apart[0])


def test_what_must_be_caught_is_named_if_it_is_not() -> None:
    def document(answers: list[Any]) -> dict[str, Any]:
        return table(measured(UNTOUCHED, {"inverted": answers}, must_be_caught=True))

    assert document([REJECTED] * 39 + [MARKED])["not_caught"] == []
    missed = document([REJECTED] * 39 + [FLAGGED])
    assert missed["not_caught"] == ["inverted"]
    assert "Not caught in every image: inverted." in as_text(missed)


def test_the_texts_name_every_cell_and_those_that_are_worse() -> None:
    wrong = [FLAGGED] * 4 + [CLEAR] * 16 + [FLAGGED] * 20
    document = table(measured(UNTOUCHED, {"good": UNTOUCHED, "bad": wrong}))
    assert document["worse_without_mark"] == ["bad"]
    text = as_text(document)
    assert "Worse by more than 5 points without a mark: 1 of 2 cells: bad." in text
    assert next(line for line in text.splitlines() if line.startswith("bad ")).endswith("worse")
    assert "-20.0 [" in text
    markdown = as_markdown(document)
    assert markdown.count("\n| **bad** |") == 2
    assert markdown.count("\n| good |") == 2
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert {line.count(" | ") for line in rows[:1] + rows[2:4]} == {7}
    assert "0 rejected" in text


def test_rejected_untouched_images_are_listed() -> None:
    document = table(measured(UNTOUCHED, {"one": UNTOUCHED}, rejected=["lost.jpeg"]))
    assert document["rejected_untouched"] == [{"file": "lost.jpeg", "reason": "on_a_page"}]
    assert "1 rejected (lost.jpeg: on_a_page)" in as_text(document)


def test_points_have_one_sign() -> None:
    assert [points(value) for value in (None, 0.0, -0.0001, 0.0004, 0.012, -0.05)] == [
        "-", "0.0", "0.0", "0.0", "+1.2", "-5.0",
    ]  # fmt: skip


def test_the_plot_shows_each_series_and_is_repeatable() -> None:
    document = table(measured(UNTOUCHED, {"one": UNTOUCHED, "two": [REJECTED] * 40}))
    picture = plot(document)
    assert picture.content.startswith(b"<?xml")
    assert picture.content == plot(document).content
    assert "2 changes" in picture.alt
