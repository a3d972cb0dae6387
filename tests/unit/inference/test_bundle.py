"""worker.inference.bundle: each fault of a bundle has its own sentence."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bundles import SHIPPED
from worker.config import Settings
from worker.errors import ModelUnusable
from worker.inference.bundle import LABELS, Bundle, load_bundle
from worker.inference.triage import triage

# The operating points were chosen on these sets, with equal weight.
CHOSEN_ON = ("children", "children_stressed", "children_restyled")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(Settings().model, tmp_path / "bundle"))


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        card = json.loads((folder / "card.json").read_text())
        change(card)
        (folder / "card.json").write_text(json.dumps(card))

    return edit


def flipped(name: str) -> Callable[[Path], None]:
    def flip(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return flip


BROKEN: dict[str, Callable[[Path], object]] = {
    "There is no model folder": shutil.rmtree,
    "has no card.json": lambda folder: (folder / "card.json").unlink(),
    "is not JSON: Expecting": lambda folder: (folder / "card.json").write_text("{"),
    "is not JSON: .*utf-8": lambda folder: (folder / "card.json").write_bytes(b'{"name": "\xff\xfe"}'),
    "is not a JSON object": lambda folder: (folder / "card.json").write_text("[]"),
    "wrong at labels: Field required": edited(lambda card: card.pop("labels")),
    "wrong at card_version": edited(lambda card: card.update(card_version=2)),
    "wrong at calibration.temperature": edited(lambda card: card["calibration"].update(temperature=0)),
    "wrong at population.age_years.min": edited(lambda card: card["population"].update(age_years={"max": 5})),
    "wrong at population.age_years: .*min must not exceed max": edited(
        lambda card: card["population"].update(age_years={"min": 6, "max": 5})
    ),
    "wrong at input.side": edited(lambda card: card["input"].update(side="128")),
    "wrong at files.model.tflite.sha256": edited(
        lambda card: card["files"]["model.tflite"].update(sha256="")
    ),
    "has the outputs normal, viral, bacterial": edited(
        lambda card: card.update(labels=["normal", "viral", "bacterial"])
    ),
    "needs preprocessing 0": edited(lambda card: card["input"].update(preprocessing_version="0")),
    "'sharpest' of the model in .* is not one": edited(
        lambda card: card.update(default_operating_point="sharpest")
    ),
    "'balanced': 0 <= band_low": edited(
        lambda card: card["operating_points"]["balanced"].update(band_low=0.99999, band_high=1.0)
    ),
    "wrong second look: 0 <= low < high <= 1": edited(
        lambda card: card.update(second_look={"low": 0.6, "high": 0.5, "views": ["mirrored", "enlarged"]})
    ),
    "has the views turned; this program can make mirrored, enlarged": edited(
        lambda card: card.update(second_look={"low": 0.4, "high": 0.5, "views": ["turned"]})
    ),
    "does not name model.tflite": edited(lambda card: card["files"].pop("model.tflite")),
    "'../x', which is not a file in that folder": edited(
        lambda card: card["files"].update({"../x": card["files"]["model.tflite"]})
    ),
    "has no model.keras, which its card names": lambda folder: (folder / "model.keras").unlink(),
    "model.tflite in .* is not the file that its card names": flipped("model.tflite"),
    "model.keras in .* is not the file that its card names": flipped("model.keras"),
}


@pytest.mark.parametrize("sentence", BROKEN)
def test_each_fault_has_its_sentence(folder: Path, sentence: str) -> None:
    BROKEN[sentence](folder)
    with pytest.raises(ModelUnusable, match=sentence) as caught:
        load_bundle(folder)
    message = str(caught.value)
    assert str(folder) in message
    assert message.endswith(".")
    assert "\n" not in message
    assert [other for other in BROKEN if re.search(other, message)] == [sentence]


def test_a_runtime_needs_its_file(folder: Path) -> None:
    edited(lambda card: card["files"].pop("model.keras"))(folder)
    assert load_bundle(folder, "litert")
    with pytest.raises(ModelUnusable, match=r"does not name model\.keras"):
        load_bundle(folder, "tensorflow")


def test_an_unknown_runtime_is_refused(folder: Path) -> None:
    with pytest.raises(ModelUnusable, match="no runtime 'abacus'"):
        load_bundle(folder, "abacus")


@pytest.fixture(params=SHIPPED, ids=lambda path: path.name)
def shipped(request: pytest.FixtureRequest) -> Bundle:
    """A shipped bundle."""
    return load_bundle(request.param)


def test_the_shipped_bundle_is_described(shipped: Bundle) -> None:
    bundle = shipped
    assert (f"{bundle.name}-{bundle.version}", bundle.labels) == (bundle.folder.name, LABELS)
    assert bundle.network_sha256 == bundle.card["files"]["model.tflite"]["sha256"]
    assert set(bundle.operating_points) == {"screen", "balanced", "rule-in"}
    assert bundle.operating_point.name == bundle.default_operating_point == "balanced"
    assert bundle.file("tensorflow").name == "model.keras"


def test_each_shipped_point_gives_other_verdicts(shipped: Bundle) -> None:
    points = [shipped.operating_points[name] for name in ("screen", "balanced", "rule-in")]
    scores = np.linspace(0, 1, 1001).tolist()
    for sensitive, specific in pairwise(points):
        assert [triage(p, sensitive) for p in scores] != [triage(p, specific) for p in scores]
        assert sensitive.band_high == sensitive.threshold == specific.band_low
        for figure in ("flagged_share", "sensitivity"):
            assert getattr(sensitive, figure) > getattr(specific, figure)
        assert sensitive.specificity < specific.specificity  # type: ignore[operator]


def test_shipped_points_agree_with_the_curves_on_the_card(shipped: Bundle) -> None:
    bundle = shipped
    curves = [bundle.card["curves"][name]["roc"] for name in CHOSEN_ON]

    def expected(figure: str, threshold: float) -> float:
        rising = slice(None, None, -1)
        return float(
            np.mean([np.interp(threshold, roc["threshold"][rising], roc[figure][rising]) for roc in curves])
        )

    for point in bundle.operating_points.values():
        assert point.sensitivity == pytest.approx(expected("sensitivity", point.threshold), abs=0.001)
        assert point.specificity == pytest.approx(expected("specificity", point.threshold), abs=0.001)
    rule = bundle.card["recipe"]["calibrate"]
    cleared_above = expected("sensitivity", bundle.operating_points["screen"].band_low)
    if "splits" in bundle.card:
        # The worst condition decides, and is none of these sets.
        assert cleared_above >= rule["screen_clear_sensitivity"] - 0.001
    else:
        assert cleared_above == pytest.approx(rule["screen_clear_sensitivity"], abs=0.001)


def test_the_shipped_bundle_is_small_and_states_its_use(shipped: Bundle) -> None:
    card, files = shipped.card, {path.name: path.stat().st_size for path in shipped.folder.iterdir()}
    plots = {"roc.png", "reliability.png", "history.png", "history.csv", "samples.png"}
    plots |= {f"{Path(name).stem}.svg" for name in card["files"] if name.endswith(".tflite")}
    assert {"model.tflite", "model.keras", "gate.tflite"} <= card["files"].keys()
    assert set(files) == {*card["files"], "card.json", "README.md"} | plots
    assert sum(files.values()) < 1e7
    assert all(size < 2e6 for name, size in files.items() if name.endswith(".tflite"))
    assert not card["preliminary"]
    assert "never a diagnosis" in card["intended_use"]
    assert card["data"]["trained_on"][0]["licence"] == "CC BY 4.0"
    assert {"children", "children_stressed", "children_restyled", "adults"} <= card["metrics"].keys()


def test_quantisation_cost_the_shipped_bundle_almost_nothing(shipped: Bundle) -> None:
    quantisation = shipped.card["metrics"]["quantisation"]
    assert quantisation["auc_float"] - quantisation["auc_int8"] <= 0.001
    assert quantisation["same_side"] > 0.99


def test_the_card_holds_no_path_of_a_machine(shipped: Bundle) -> None:
    text = (shipped.folder / "card.json").read_text()
    assert not re.search(r"/(home|work|tmp|root|Users)/", text)


def test_pinned_model_is_the_only_one_that_loads(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert load_bundle(folder, pinned=bundle.sha256).sha256 == bundle.sha256
    with pytest.raises(ModelUnusable, match="NIGHTREAD_MODEL_SHA256 allows only 000"):
        load_bundle(folder, pinned="0" * 64)


def test_bundle_that_is_not_shipped_is_not_verified(folder: Path) -> None:
    assert load_bundle(Settings().model).verified
    edit = edited(lambda card: card["operating_points"]["balanced"].update(band_low=0.01))
    edit(folder)
    assert not load_bundle(folder).verified
