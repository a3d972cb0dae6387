"""`make release-model`: a bundle becomes the default model, or nothing is changed."""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from tests.bundles import recalibrated
from tests.release_model import CONFIG, IDENTITY, PAGES, TRAINING, release
from worker.card.identity import SHIPPED
from worker.card.loading import CARD, load_card
from worker.config import ROOT, Settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the files that a release changes. The recipe of its next model is `lungs`, with the version 9.0.0."""
    copy = tmp_path / "repository"
    for name in (IDENTITY, CONFIG, TRAINING, *PAGES):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    shutil.copytree(ROOT / "training" / "recipes", copy / "training" / "recipes")
    recipe = copy / "training" / "recipes" / "lungs.toml"
    recipe.write_text(recipe.read_text().replace('version = "0.3.0"', 'version = "9.0.0"'))
    (copy / "models").mkdir()
    return copy


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The bundle of another model."""
    recalibrated(tmp_path / "runs" / "next")
    return tmp_path / "runs" / "next"


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_released_bundle_is_the_default_and_known(root: Path, source: Path) -> None:
    folder = release(source, root)
    assert folder == root / "models" / "nightread-9.0.0"
    assert {"model.svg", "gate.svg", "samples.png"} <= {path.name for path in folder.iterdir()}
    assert 'ROOT / "models" / "nightread-9.0.0"' in (root / CONFIG).read_text()
    assert 'default="lungs"' in (root / TRAINING).read_text()
    identity, card = runpy.run_path(str(root / IDENTITY)), load_card(folder)
    assert identity["is_shipped"](identity["model_sha256"](card), card)
    assert SHIPPED.items() < identity["SHIPPED"].items()
    former = Settings().model.name
    for page in PAGES:
        before, after = ((each / page).read_text() for each in (ROOT, root))
        assert after == before.replace(f"models/{former}", "models/nightread-9.0.0")
        assert after != before


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(source: Path) -> None:
        card = json.loads((source / CARD).read_text())
        change(card)
        (source / CARD).write_text(json.dumps(card))

    return edit


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (edited(lambda card: card.update(preliminary=True)), "comes from a trial run"),
        (edited(lambda card: card["files"].pop("gate.tflite")), "has no gate"),
        (edited(lambda card: card["files"].pop("model.keras")), r"does not name model\.keras"),
        (edited(lambda card: card.update(version="9.0.1")), r"No recipe .* nightread 9\.0\.1"),
        (lambda source: (source / "model.tflite").write_bytes(b""), "is not the file that its card names"),
    ],
)
def test_bundle_that_cannot_be_shipped_changes_nothing(
    root: Path, source: Path, harm: Callable[[Path], object], sentence: str
) -> None:
    harm(source)
    before = contents(root)
    with pytest.raises(click.UsageError, match=sentence):
        release(source, root)
    assert contents(root) == before


def test_released_model_is_never_replaced(root: Path, source: Path) -> None:
    release(source, root)
    before = contents(root)
    with pytest.raises(click.UsageError, match="exists already"):
        release(source, root)
    assert contents(root) == before
