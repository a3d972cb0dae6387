"""A model's card is read with patience: whatever is missing or strange, what is there can be shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cards import a_card
from training.recipe import load_recipe
from worker import card
from worker.card_text import label, recipe_text, rows_of, tables_of, title
from worker.config import ROOT
from worker.loose_json import numbers

READERS = (
    card.figure_sets, card.particulars, card.operating_points, card.spreads, card.curves, card.datasets,
    card.files, recipe_text,
)  # fmt: skip
SECTIONS = ("metrics", "operating_points", "spread", "curves", "data", "files", "recipe", "gate")
STRANGE: tuple[Any, ...] = (None, 3, "text", [], [1, "two"], {"a": None}, {"a": {"b": "c"}}, {"n": "x"}, True)


def test_a_set_has_its_size_its_figures_and_its_groups() -> None:
    children, _, adults = card.figure_sets(a_card())
    assert (children.name, children.n, children.patients, children.prevalence) == ("children", 900, 450, 0.5)
    given = a_card()["metrics"]["children"]
    assert children.figures["auc"] == card.Figure(given["auc"], *given["auc_ci"])
    assert "n" not in children.figures
    assert adults.turned_away == 2
    assert [group.name for group in adults.subgroups["sex"]] == ["F", "M"]
    few = adults.subgroups["age"][1]
    assert (few.n, few.figures) == (10, {})


def test_what_is_no_set_of_images_is_a_particular() -> None:
    found = card.particulars(a_card())
    assert list(found) == ["parity_with_reference", "gate"]
    assert ("images", "900") in found["parity_with_reference"]
    gate = {"gate": {"n": 5, "rate": 0.5, "rate_ci": [0.25, 0.75]}}
    for each in (gate, {"metrics": gate}):
        assert card.figure_sets(each) == []
        assert card.particulars(each) == {"gate": [("n", "5"), ("rate", "0.5"), ("rate ci", "0.25 to 0.75")]}


def test_points_come_by_threshold_and_one_is_the_default() -> None:
    points = card.operating_points(a_card())
    assert [(point.name, point.is_default) for point in points] == [
        ("screen", False),
        ("balanced", True),
        ("rule-in", False),
    ]
    bare = {
        "operating_points": {
            "mine": {"threshold": 0.5, "band_low": 0.5, "band_high": 0.5},
            "half": {"threshold": 1},
        }
    }
    (only,) = card.operating_points(bare)
    assert (only.name, only.sensitivity, only.flagged_share) == ("mine", None, None)


def test_a_spread_may_be_of_metrics_or_of_sets() -> None:
    assert card.spreads(a_card())[0] == card.Spread("children, AUC", 0.995, 0.0004, [0.9946, 0.995, 0.9954])
    assert card.spreads({"spread": {"auc": {"mean": 1}}}) == [card.Spread("AUC", 1.0, None, [])]


def test_curves_are_pairs_to_draw() -> None:
    given = a_card()["curves"]["adults"]
    found = card.curves(a_card())[2]
    assert found.name == "adults"
    assert found.roc[0] == pytest.approx((1 - given["roc"]["specificity"][0], given["roc"]["sensitivity"][0]))
    assert found.reliability == list(
        zip(given["reliability"]["score"], given["reliability"]["share"], strict=True)
    )


def test_a_data_set_may_stand_alone_or_in_a_list() -> None:
    one = {"data": {"trained_on": {"name": "A", "licence": "B"}}}
    assert card.datasets(one) == [card.Dataset("trained on", "A", "", "B", "")]
    assert len(card.datasets(a_card())) == 2


def test_an_interval_is_written_beside_its_figure() -> None:
    assert str(card.Figure(0.9954, 0.99, 1.0)) == "0.995 [0.990, 1.000]"
    assert (str(card.Figure(0.5)), str(card.Figure(None, None, None))) == ("0.500", "–")  # noqa: RUF001


@pytest.mark.parametrize("strange", STRANGE, ids=repr)
def test_nothing_in_a_strange_card_is_an_error(strange: Any) -> None:
    for section in SECTIONS:
        for read in READERS:
            read({section: strange})
            read({section: {"x": strange}})
            read({section: {"x": {"y": strange, "n": strange, "mean": strange, "threshold": strange}}})
    assert [read({}) for read in READERS] == [[], {}, [], [], [], [], [], ""]


def test_every_shipped_card_can_be_read() -> None:
    shipped = sorted((ROOT / "models").glob("*/card.json"))
    assert shipped
    for path in shipped:
        found = json.loads(path.read_text())
        assert card.figure_sets(found)
        assert card.operating_points(found)
        assert card.datasets(found)
        assert recipe_text(found)
        assert {file.name for file in card.files(found)} >= {"model.tflite", "model.keras"}


def test_what_is_not_known_by_name_is_said_by_its_own() -> None:
    assert (label("recall"), label("half_life"), title("auc"), title("half_life")) == (
        "sensitivity", "half life", "AUC", "Half life",
    )  # fmt: skip


def test_rows_say_values_as_people_write_them() -> None:
    found = {
        "seeds": [17, 4242],
        "count": 4242,
        "range": [0.5, 1.5],
        "on": True,
        "in": {"it": 0.00012},
        "no": None,
    }
    assert rows_of(found, but=("count",)) == [
        ("seeds", "17, 4242"), ("range", "0.5 to 1.5"), ("on", "yes"), ("in it", "0.00012"),
    ]  # fmt: skip
    assert rows_of({"count": 4242}) == [("count", "4,242")]
    assert tables_of({"steps": [{"a": 1}, {"a": 2, "b": "x"}], "none": [], "list": [1]}) == {
        "steps": [["A", "B"], ["1", ""], ["2", "x"]]
    }


def test_the_recipe_is_the_toml_that_it_was() -> None:
    import tomllib

    recipe = a_card()["recipe"]
    assert tomllib.loads(recipe_text(a_card())) == recipe
    shipped = load_recipe("nightread").model_dump(mode="json", exclude_none=True)
    assert tomllib.loads(recipe_text({"recipe": shipped})) == shipped
    assert "\n  { blocks = 1, kernel = 3, " in recipe_text({"recipe": shipped})


def test_numbers_are_all_numbers_or_none() -> None:
    assert numbers([1, 2.5]) == [1.0, 2.5]
    assert numbers([1, True]) == numbers([1, "2"]) == numbers("12") == numbers(None) == []
