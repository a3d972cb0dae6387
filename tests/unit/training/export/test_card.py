"""The model card: card.json for programs, README.md for people, and the points of its curves."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bundles import SHIPPED
from tests.cards import THRESHOLDS, a_card
from training.evaluation.metrics import LabelledScores, measure
from training.export import card
from training.export.card_page import render
from training.fit.history import PLOT, plot_history
from training.recipe import Recipe, load_recipe
from worker import DISCLAIMER
from worker.card.reading import read_card
from worker.card.text import recipe_text
from worker.config import ROOT
from worker.inference.bundle import load_bundle
from worker.inference.triage import OperatingPoint

FILES = ("model.tflite", "model.keras")


def scored(count: int = 5000, seed: int = 1) -> LabelledScores:
    rng = np.random.default_rng(seed)
    pneumonia = rng.random(count) < 0.7
    p = 1 / (1 + np.exp(-(3 * (pneumonia - 0.5) + rng.logistic(0, 0.8, count))))
    kinds = pneumonia.astype(np.int64)
    return LabelledScores(pneumonia, p, kinds, kinds, np.arange(count))


def described(recipe_name: str = "nightread", **sections: Any) -> dict[str, Any]:
    recipe = load_recipe(recipe_name)
    points = {name: OperatingPoint(name, at, 0.3, 0.62, 0.9, 0.8, 0.5) for name, at in THRESHOLDS.items()}
    given = a_card()
    return card.describe(
        recipe,
        points=points,
        temperature=0.9,
        metrics=given["metrics"],
        training=given["training"],
        preliminary=False,
        data=given["data"],
        sections={"curves": given["curves"], **sections},
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Write the card of a release into a folder with placeholder networks."""
    for name in FILES:
        (tmp_path / name).write_bytes(name.encode())
    card.write_card(tmp_path, described(), FILES)
    return tmp_path


def test_worker_reads_the_written_card(bundle: Path) -> None:
    loaded = load_bundle(bundle, "tensorflow")
    recipe = load_recipe("nightread")
    assert (loaded.name, loaded.version, loaded.side) == (
        recipe.model.name, recipe.model.version, recipe.network.side,
    )  # fmt: skip
    assert loaded.temperature == 0.9
    assert set(loaded.operating_points) == {"screen", "balanced", "rule-in"}
    assert loaded.operating_point.name == recipe.calibrate.default
    assert card.limits(card.places(recipe), loaded.card["metrics"]) == loaded.card["limits"]


def test_card_states_the_population_of_the_recipe(bundle: Path) -> None:
    ages = load_bundle(bundle).ages
    assert str(ages) == "1 to 5 years"
    assert "The figures hold for patients of 1 to 5 years." in (bundle / "README.md").read_text()


def test_card_texts_have_no_open_placeholders(bundle: Path) -> None:
    found = json.loads((bundle / "card.json").read_text())
    for text in (
        found["operating_point_rule"],
        found["calibration"]["rule"],
        *found["limits"],
        *found["not_for"],
    ):
        assert "{" not in text
        assert text.endswith(".")


def test_card_of_a_recipe_with_splits_states_the_rule_of_the_worst() -> None:
    plain = described()
    found = described("lungs")
    assert "the worst of these conditions decides" in found["operating_point_rule"]
    assert "the largest of the negative log-likelihoods" in found["calibration"]["rule"]
    for text in (found["operating_point_rule"], found["calibration"]["rule"]):
        assert "{" not in text
    assert "worst" not in plain["operating_point_rule"] + plain["calibration"]["rule"]


def test_page_depends_on_the_card_alone(bundle: Path) -> None:
    assert (bundle / "README.md").read_text() == render(json.loads((bundle / "card.json").read_text()))
    written = load_bundle(bundle).card
    assert {key: written[key] for key in described()} == described()


def test_lists_of_numbers_are_on_one_line(tmp_path: Path) -> None:
    strange = {"a": [1, 2.5, None, -3e-7], "b": ["x, y", "[\n1\n]"], "c": {"d": []}, "e": [[1, 2], [3, 4]]}
    card.write_card(tmp_path, strange, ())
    text = (tmp_path / "card.json").read_text()
    assert json.loads(text) == {**strange, "files": {}}
    assert '"a": [1, 2.5, null, -3e-07]' in text


def test_limits_state_the_auc_of_each_population() -> None:
    first, *others = card.limits(128 // card.STRIDE, a_card()["metrics"])
    assert re.search(r"AUC is 0\.\d+ \[.*\] on children, 0\.\d+ \[.*\] on adults\.", first)
    assert "stressed" not in first
    assert any("8 x 8 places" in other for other in others)
    assert card.limits(128 // card.STRIDE, {"children": a_card()["metrics"]["children"]}) == others


def test_curve_points_are_few_and_on_the_curve() -> None:
    given = scored()
    roc = card.curve_points({"children": given}, most=200)["children"]["roc"]
    assert 150 < len(roc["threshold"]) <= 200
    assert (roc["sensitivity"][0], roc["specificity"][0]) == (0.0, 1.0)
    assert (roc["sensitivity"][-1], roc["specificity"][-1]) == (1.0, 0.0)
    assert roc["threshold"] == sorted(roc["threshold"], reverse=True)
    area = np.trapezoid(roc["sensitivity"], 1 - np.array(roc["specificity"]))
    assert area == pytest.approx(measure(given, 0.5)["auc"], abs=0.002)
    for threshold, sensitivity, specificity in list(zip(*roc.values(), strict=True))[1:-1:20]:
        called = given.p >= threshold
        assert sensitivity == pytest.approx(called[given.pneumonia].mean(), abs=2e-3)
        assert specificity == pytest.approx(1 - called[~given.pneumonia].mean(), abs=2e-3)


def test_reliability_has_bins_of_equal_mass() -> None:
    given = scored(1501)
    found = card.curve_points({"children": given})["children"]["reliability"]
    assert sum(found["n"]) == 1501
    assert set(found["n"]) == {100, 101}
    assert found["score"] == sorted(found["score"])
    mean = np.average(found["share"], weights=found["n"])
    assert mean == pytest.approx(given.pneumonia.mean(), abs=1e-3)


def test_set_with_one_class_has_no_curve() -> None:
    given = scored(40)
    sick = given.at(given.pneumonia)
    assert list(card.curve_points({"sick": sick, "all": given})) == ["all"]


def test_page_has_all_sections_in_order() -> None:
    page = render(a_card())
    headings = re.findall(r"^## (.+)$", page, re.MULTILINE)
    assert headings == [
        "Intended use", "Out of scope", "Population", "Limits", "Figures", "Spread over seeds and folds",
        "Splits that hurt", "Operating points", "Calibration", "Served network against its reference", "Gate", "Data", "Training",
        "Files", "Citation",
    ]  # fmt: skip
    for said in (
        DISCLAIMER,
        "| AUC | 0.99",
        "| 75+ | 10 | too few images |",
        "| Shortcut lies, restyled | 200 | 0.",
        "wrong on them. Early numbers: the lowest patient numbers of each file family; shortcut lies: the",
        "| shortcut lies, restyled |",
        "| `balanced` (default) | 0.5000 |",
        "CC BY 4.0",
        "| Seeds | 17, 4242 |",
        "### Ablations",
        "[teacher.network]\nside = 128",
        "stressed: each image",
        "5f" * 32,
    ):
        assert said in page
    assert "preliminary" not in page.lower()
    assert "| History" not in page
    assert "**Preliminary**" in render({**a_card(), "preliminary": True})


def test_page_tables_are_rectangular() -> None:
    page = render({**a_card(), "gate": {"a | b": "c | d"}})
    assert "a \\| b" in page.lower()
    tables = [block.splitlines() for block in page.split("\n\n") if block.startswith("|")]
    assert len(tables) > 6
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1, table[0]


@pytest.mark.parametrize("missing", sorted(a_card()))
def test_card_without_a_section_has_a_page(missing: str) -> None:
    page = render({key: value for key, value in a_card().items() if key != missing})
    assert "None" not in page
    assert "\n\n\n" not in page


def test_page_shows_only_the_cards_plots() -> None:
    assert re.findall(r"!\[.*\]\((.*)\)", render(a_card())) == list(card.PLOTS)
    assert "](" not in render({"name": "old"})


def test_shipped_cards_have_a_page() -> None:
    for path in (ROOT / "models").glob("*/card.json"):
        page = render(json.loads(path.read_text()))
        assert "## Figures" in page
        assert "## Operating points" in page


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda path: path.name)
def test_the_shipped_card_has_a_shipped_recipe(folder: Path) -> None:
    shipped = load_bundle(folder).card
    recipes = [load_recipe(name) for name in ("nightread", "lungs")]
    (recipe,) = [
        one for one in recipes if (one.model.name, one.model.version) == (shipped["name"], shipped["version"])
    ]
    assert Recipe.model_validate(shipped["recipe"]) == recipe


def test_recipe_text_is_toml_of_the_recipe() -> None:
    shipped = load_recipe("nightread").model_dump(mode="json", exclude_none=True)
    assert tomllib.loads(recipe_text(read_card({"recipe": shipped}))) == shipped
    assert "\n  { blocks = 1, kernel = 3, " in recipe_text(read_card({"recipe": shipped}))


def test_plots_are_reproducible(tmp_path: Path) -> None:
    sets = card.curve_points({"children": scored(200), "adults": scored(200, 2)})
    points = {"balanced": OperatingPoint("balanced", 0.5, 0.5, 0.5, 0.9, 0.8)}
    for name in ("a", "b"):
        card.plot_roc(tmp_path / f"{name}-roc.png", sets, points)
        card.plot_reliability(tmp_path / f"{name}-reliability.png", sets)
        plot_history(
            tmp_path / f"{name}-{PLOT}", [{"loss": 1.0, "accuracy": 0.5}, {"loss": 0.5, "accuracy": 0.8}]
        )
    for plot in card.PLOTS:
        first, second = ((tmp_path / f"{name}-{plot}").read_bytes() for name in ("a", "b"))
        assert first == second
        assert first.startswith(b"\x89PNG")
