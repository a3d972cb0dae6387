"""worker.catalogue: where bundles are found, and which one scores."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.bundles import SHIPPED, identity, recalibrated
from tests.conftest import make_settings
from tests.ledgers import current_ledger
from worker import processes
from worker.card.loading import CARD
from worker.catalogue import BundleReport, active_sha256, find_bundles, open_active, open_bundle
from worker.config import Settings
from worker.errors import ModelUnusable
from worker.ledger import active_models, bundles
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.tables import Bundle

# The default bundle, and the other ones that Nightread ships.
DEFAULT = identity(Settings().model)
OTHERS = [identity(folder) for folder in SHIPPED if folder != Settings().model]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path / "data")


@pytest.fixture
def opened(settings: Settings) -> Ledger:
    return current_ledger(settings.database)


def activate(settings: Settings, ledger: Ledger, sha256: str) -> None:
    (found,) = [one for one in find_bundles(settings) if one.sha256 == sha256]
    with ledger.transaction() as session:
        at = ledger_time(session)
        model = bundles.register(session, found, at)
        active_models.activate(session, model, who="os:0", why="a test", at=at)


def test_bundles_of_all_places_are_found_once(settings: Settings) -> None:
    other = recalibrated(settings.models_path / "other")
    found = find_bundles(settings)
    assert [one.sha256 for one in found] == [DEFAULT, other, *OTHERS]
    assert all(one.problem is None for one in found)


def test_folder_of_the_setting_is_found_wherever_it_is(tmp_path: Path) -> None:
    other = recalibrated(tmp_path / "elsewhere")
    found = find_bundles(make_settings(tmp_path / "data", model=tmp_path / "elsewhere"))
    assert [one.sha256 for one in found] == [other, *map(identity, SHIPPED)]


def test_bundle_that_cannot_be_used_says_why(settings: Settings) -> None:
    for name in ("no-network", "no-card"):
        recalibrated(settings.models_path / name, temperature=3.0)
    (settings.models_path / "no-network" / "model.tflite").unlink()
    (settings.models_path / "no-card" / CARD).write_text("{")
    problems = {Path(one.folder).name: one.problem or "" for one in find_bundles(settings)}
    assert "has no model.tflite" in problems["no-network"]
    assert "is not JSON" in problems["no-card"]
    assert problems[Settings().model.name] == ""


def test_pinned_model_and_missing_operating_point_are_problems(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "data", model_sha256=DEFAULT, operating_point="screen")
    other = settings.models_path / "other"
    recalibrated(other)
    shutil.copytree(other, settings.models_path / "another")
    card = json.loads((settings.models_path / "another" / CARD).read_text())
    del card["operating_points"]["screen"]
    (settings.models_path / "another" / CARD).write_text(json.dumps(card))
    unpinned = make_settings(tmp_path / "data", operating_point="screen")
    problems = {Path(one.folder).name: one.problem or "" for one in find_bundles(settings)}
    assert "NIGHTREAD_MODEL_SHA256 allows only" in problems["other"]
    problems = {Path(one.folder).name: one.problem or "" for one in find_bundles(unpinned)}
    assert problems["other"] == ""
    assert "has no operating point 'screen'" in problems["another"]


def test_choice_of_the_site_goes_before_the_setting(settings: Settings, opened: Ledger) -> None:
    assert active_sha256(opened) is None
    assert open_active(settings, opened).sha256 == DEFAULT
    other = recalibrated(settings.models_path / "other")
    activate(settings, opened, other)
    assert open_active(settings, opened).sha256 == other


def test_worker_without_a_choice_of_the_site_does_not_start_with_a_missing_bundle(
    tmp_path: Path, opened: Ledger
) -> None:
    with pytest.raises(ModelUnusable, match="There is no model folder /nowhere"):
        processes.work(make_settings(tmp_path / "data", model="/nowhere"))


def test_sound_copy_of_a_broken_bundle_is_used(settings: Settings) -> None:
    other = recalibrated(settings.models_path / "a")
    shutil.copytree(settings.models_path / "a", settings.models_path / "b")
    (settings.models_path / "a" / "model.tflite").write_bytes(b"")
    assert open_bundle(settings, other).folder == settings.models_path / "b"
    shutil.rmtree(settings.models_path / "b")
    with pytest.raises(ModelUnusable, match="is not the file that its card names"):
        open_bundle(settings, other)
    shutil.rmtree(settings.models_path / "a")
    with pytest.raises(ModelUnusable, match="This machine does not have the model"):
        open_bundle(settings, other)


def test_pinned_machine_refuses_another_active_model(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "data", model_sha256=DEFAULT)
    other = recalibrated(settings.models_path / "other")
    with pytest.raises(ModelUnusable, match="NIGHTREAD_MODEL_SHA256 allows only"):
        open_bundle(settings, other)


def reported(ledger: Ledger) -> list[str | None]:
    with ledger.reading() as session:
        return [row.sha256 for row in session.query(Bundle).order_by(Bundle.id)]


def test_report_follows_the_folders_and_is_not_written_each_time(settings: Settings, opened: Ledger) -> None:
    report = BundleReport(settings, opened, nullcontext())
    report.run()
    assert reported(opened) == [DEFAULT, *OTHERS]
    with opened.transaction() as session:
        session.query(Bundle).delete()
    report.run()
    assert reported(opened) == []
    other = recalibrated(settings.models_path / "other")
    report.run()
    assert reported(opened) == [DEFAULT, other, *OTHERS]
