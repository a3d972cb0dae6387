"""A model card for people: whatever is missing or malformed, the rest is shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cards import a_card
from worker.card.loading import parse_section
from worker.card.reading import (
    Dataset,
    Figure,
    Lowest,
    Spread,
    curves,
    datasets,
    figure_sets,
    files,
    lowest,
    operating_points,
    particulars,
    read_card,
    splits,
    spreads,
)
from worker.card.schema import ScoringCard
from worker.card.text import recipe_text
from worker.config import ROOT

READERS = (
    figure_sets, particulars, operating_points, spreads, curves, datasets, files, splits, lowest, recipe_text,
)  # fmt: skip
SECTIONS = ("metrics", "operating_points", "spread", "curves", "data", "files", "recipe", "splits", "gate")
POINT = {"threshold": 0.5, "band_low": 0.5, "band_high": 0.5}
STRANGE: tuple[Any, ...] = (None, 3, "text", [], [1, "two"], {"a": None}, {"a": {"b": "c"}}, {"n": "x"}, True)


def test_image_set_has_size_figures_and_subgroups() -> None:
    children, _, adults = figure_sets(read_card(a_card()))
    assert (children.name, children.n, children.patients, children.prevalence) == ("children", 900, 450, 0.5)
    given = a_card()["metrics"]["children"]
    assert children.figures["auc"] == Figure(given["auc"], *given["auc_ci"])
    assert "n" not in children.figures
    assert adults.turned_away == 2
    assert [group.name for group in adults.subgroups["sex"]] == ["F", "M"]
    few = adults.subgroups["age"][1]
    assert (few.n, few.figures) == (10, {})


def test_other_measurements_are_particulars() -> None:
    measurements = particulars(read_card(a_card()))
    assert list(measurements) == ["parity_with_reference", "gate"]
    assert ("images", "900") in measurements["parity_with_reference"]
    gate = {"gate": {"n": 5, "rate": 0.5, "rate_ci": [0.25, 0.75]}}
    for raw in (gate, {"metrics": gate}):
        assert figure_sets(read_card(raw)) == []
        assert particulars(read_card(raw)) == {
            "gate": [("n", "5"), ("rate", "0.5"), ("rate ci", "0.25 to 0.75")]
        }


def test_operating_points_are_ordered_by_threshold() -> None:
    points = operating_points(read_card(a_card()))
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
    (only,) = operating_points(read_card(bare))
    assert (only.name, only.sensitivity, only.flagged_share) == ("mine", None, None)


def test_spread_is_of_metrics_or_of_image_sets() -> None:
    assert spreads(read_card(a_card()))[0] == Spread("children, AUC", 0.995, 0.0004, [0.9946, 0.995, 0.9954])
    assert spreads(read_card({"spread": {"auc": {"mean": 1}}})) == [Spread("AUC", 1.0, None, [])]


def test_splits_have_sets_of_figures_by_condition() -> None:
    found = splits(read_card(a_card()))
    assert [split.name for split in found] == ["early_numbers", "shortcut_lies", "framing_lies"]
    given = a_card()["splits"]["held_out"]["shortcut_lies"]
    sets = found[1].sets
    assert [image_set.name for image_set in sets] == ["plain", "stressed", "restyled"]
    assert sets[2].figures["brier"] == Figure(given["restyled"]["brier"], *given["restyled"]["brier_ci"])
    assert splits(read_card({"splits": {"held_out": {"one": {"trained_on": 3}, "two": "x"}}})) == []


def test_lowest_figures_name_their_conditions() -> None:
    given = a_card()["splits"]["lowest"]["screen"]
    first = lowest(read_card(a_card()))[0]
    assert first == Lowest(
        "screen",
        given["sensitivity"],
        "shortcut_lies, restyled",
        given["specificity"],
        "children, stressed",
    )
    assert lowest(read_card({"splits": {"lowest": {"screen": {"sensitivity": 0.5}}}})) == []


def test_curves_are_pairs_of_numbers() -> None:
    given = a_card()["curves"]["adults"]
    adults = curves(read_card(a_card()))[2]
    assert adults.name == "adults"
    assert adults.roc[0] == pytest.approx(
        (1 - given["roc"]["specificity"][0], given["roc"]["sensitivity"][0])
    )
    assert adults.reliability == list(
        zip(given["reliability"]["score"], given["reliability"]["share"], strict=True)
    )


def test_role_has_one_data_set_or_a_list() -> None:
    one = {"data": {"trained_on": {"name": "A", "licence": "B"}}}
    assert datasets(read_card(one)) == [Dataset("trained on", "A", "", "B", "")]
    assert len(datasets(read_card(a_card()))) == 2


def test_figure_is_written_with_its_interval() -> None:
    assert str(Figure(0.9954, 0.99, 1.0)) == "0.995 [0.990, 1.000]"
    assert (str(Figure(0.5)), str(Figure(None, None, None))) == ("0.500", "–")  # noqa: RUF001


@pytest.mark.parametrize("strange", STRANGE, ids=repr)
def test_malformed_card_is_never_an_error(strange: Any) -> None:
    for section in SECTIONS:
        for read in READERS:
            read(read_card({section: strange}))
            read(read_card({section: {"x": strange}}))
            read(
                read_card(
                    {section: {"x": {"y": strange, "n": strange, "mean": strange, "threshold": strange}}}
                )
            )
    assert [read(read_card({})) for read in READERS] == [[], {}, [], [], [], [], [], [], [], ""]


def test_every_shipped_card_can_be_read() -> None:
    shipped = sorted((ROOT / "models").glob("*/card.json"))
    assert shipped
    for path in shipped:
        raw = json.loads(path.read_text())
        assert figure_sets(read_card(raw))
        assert operating_points(read_card(raw))
        assert datasets(read_card(raw))
        assert recipe_text(read_card(raw))
        assert {file.name for file in files(read_card(raw))} >= {"model.tflite", "model.keras"}


def test_values_of_the_wrong_type_count_as_missing() -> None:
    card = read_card(
        {"name": 5, "preliminary": "yes", "limits": [1, "One."], "calibration": {"temperature": True}}
    )
    assert (card.name, card.preliminary, card.limits, card.calibration.temperature) == (
        "",
        False,
        ["One."],
        None,
    )
    (point,) = operating_points(
        read_card({"operating_points": {"a": {"threshold": "0.5"}, "b": POINT | {"note": "kept"}}})
    )
    assert point.name == "b"
    for numbers in ([1, True], [1, "2"], "12", None):
        (spread,) = spreads(read_card({"spread": {"auc": {"mean": 1, "values": numbers}}}))
        assert spread.values == []


@pytest.mark.parametrize("raw", [None, [], "text", 3])
def test_card_that_is_not_an_object_is_empty(raw: Any) -> None:
    assert read_card(raw) == read_card({})


def test_every_shipped_card_has_what_scoring_needs() -> None:
    for path in sorted((ROOT / "models").glob("*/card.json")):
        assert parse_section(ScoringCard, json.loads(path.read_text()), path.parent).card_version == 1
