"""`nightread export --format browser` writes a complete folder or none. tests/browser/test_edge_page.py runs the page."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.bundles import with_distance, with_lungs
from training.export.browser import folder as module
from training.export.browser.folder import LOCK, RUNTIME
from worker.card.identity import NETWORK
from worker.card.loading import CARD
from worker.cli import nightread
from worker.config import ROOT

BUNDLE = ROOT / "models" / "nightread-0.2.0"


def export(out: Path, *options: str, bundle: Path = BUNDLE) -> Result:
    arguments = ["export", "--format", "browser", "--bundle", str(bundle), "--out", str(out), *options]
    return CliRunner().invoke(nightread, arguments)


def test_a_runtime_that_is_missing_or_another_one_is_refused(tmp_path: Path) -> None:
    packages = tmp_path / "node_modules"
    packages.mkdir()
    missing = export(tmp_path / "page", "--node-modules", str(packages))
    assert (missing.exit_code, "has no @litertjs/core/dist/index.js" in missing.output) == (2, True)
    for name in RUNTIME:
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text("another")
    other = export(tmp_path / "page", "--node-modules", str(packages))
    assert other.exit_code == 2
    assert "is not the file of LiteRT.js 2.5.3" in re.sub(r"\s+", " ", other.output)
    assert [path.name for path in tmp_path.iterdir()] == ["node_modules"]


def test_a_folder_with_content_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    result = export(tmp_path)
    assert (result.exit_code, "exists already" in result.output) == (2, True)
    assert (tmp_path / "kept.txt").read_text() == "kept"


def test_without_npm_the_command_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = export(tmp_path / "page")
    assert (result.exit_code, "npm is missing" in result.output) == (2, True)
    assert "--node-modules" in result.output


def test_a_model_of_another_preprocessing_is_refused(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(BUNDLE, bundle)
    card = json.loads((bundle / "card.json").read_text())
    card["input"]["preprocessing_version"] = "1"
    (bundle / "card.json").write_text(json.dumps(card))
    result = export(tmp_path / "page", bundle=bundle)
    assert (result.exit_code, "needs preprocessing 1" in re.sub(r"\s+", " ", result.output)) == (2, True)


@pytest.mark.parametrize("missing", ["lungs", "gate"])
def test_a_card_that_contradicts_itself_is_refused(tmp_path: Path, missing: str) -> None:
    bundle = with_lungs(tmp_path / "bundle")
    card = json.loads((bundle / CARD).read_text())
    del card[missing]
    (bundle / CARD).write_text(json.dumps(card))
    result = export(tmp_path / "page", bundle=bundle)
    assert (result.exit_code, f"section {missing}" in re.sub(r"\s+", " ", result.output)) == (2, True)
    assert not (tmp_path / "page").exists()


def test_a_distance_without_a_limit_is_refused(tmp_path: Path) -> None:
    bundle = with_distance(tmp_path / "bundle", limit=1.0)
    card = json.loads((bundle / CARD).read_text())
    del card["distance"]
    (bundle / CARD).write_text(json.dumps(card))
    result = export(tmp_path / "page", bundle=bundle)
    assert (result.exit_code, "a section distance, and the file" in re.sub(r"\s+", " ", result.output)) == (
        2,
        True,
    )


def test_a_network_without_the_features_of_its_distance_is_refused(tmp_path: Path) -> None:
    bundle = with_distance(tmp_path / "bundle", limit=1.0)
    card = json.loads((bundle / CARD).read_text())
    shutil.copyfile(BUNDLE / NETWORK, bundle / NETWORK)
    card["files"][NETWORK] = json.loads((BUNDLE / CARD).read_text())["files"][NETWORK]
    (bundle / CARD).write_text(json.dumps(card))
    result = export(tmp_path / "page", bundle=bundle)
    assert (result.exit_code, "does not give the features" in re.sub(r"\s+", " ", result.output)) == (2, True)
    assert not (tmp_path / "page").exists()


def test_only_the_page_takes_node_modules(tmp_path: Path) -> None:
    arguments = ["export", "--format", "onnx", "--bundle", str(BUNDLE), "--node-modules", str(tmp_path)]
    result = CliRunner().invoke(nightread, [*arguments, "--out", str(tmp_path / "model.onnx")])
    assert (result.exit_code, "Only --format browser takes --node-modules" in result.output) == (2, True)


def test_the_lock_pins_every_package_with_its_hash_and_licence() -> None:
    here = Path(module.__file__).parent
    package, lock = (json.loads((here / name).read_text()) for name in LOCK)
    packages = {path: entry for path, entry in lock["packages"].items() if path}
    assert set(packages) == {f"node_modules/{'/'.join(name.split('/')[:2])}" for name in RUNTIME}
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    assert {entry["license"] for entry in packages.values()} == {"Apache-2.0"}
    assert package["dependencies"] == {"@litertjs/core": packages["node_modules/@litertjs/core"]["version"]}
