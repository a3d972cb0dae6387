"""Commands after a night: status, report, replay, retry, backup, check, import."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.conftest import Stack, stack_factory
from tests.files import distinct
from tests.filling import assert_consistent
from worker import DISCLAIMER
from worker.config import Settings
from worker.ledger import actors
from worker.ledger.accesses import AccessKind
from worker.ledger.session import Ledger
from worker.ledger.tables import AccessRecord, Image
from worker.store import open_store

pytestmark = pytest.mark.stack

COPIES = 6


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory, phantoms: list[Path]) -> Iterator[Stack]:
    """A running Nightread that has imported and scored six images and rejected a letter."""
    folder = tmp_path_factory.mktemp("night")
    originals = folder / "originals"
    originals.mkdir()
    for number in range(COPIES):
        (originals / f"{number}.jpg").write_bytes(distinct(phantoms[number].read_bytes(), 0))
    (originals / "letter.jpg").write_text("Dear colleague")
    with stack_factory(folder) as make:
        stack = make()
        stack.start()
        completed = stack.run("import", str(originals), "--run", "survey", "--wait")
        assert completed.returncode == 0, completed.stderr
        assert f"{COPIES} new, 0 duplicates, 1 rejected." in completed.stderr
        assert completed.stdout == ""
        # The command returned only when every file had its outcome.
        assert stack.file_counts().scored == COPIES
        assert len(list(originals.iterdir())) == COPIES + 1
        yield stack


def images(stack: Stack) -> list[Image]:
    with stack.ledger.reading() as session:
        return list(session.scalars(select(Image).order_by(Image.id)))


def test_status_prints_one_document_with_its_published_keys(night: Stack) -> None:
    completed = night.run("status", "--json")
    document = json.loads(completed.stdout)
    assert completed.returncode == 0
    assert set(document) >= {
        "received", "duplicates", "images", "scored", "rejected", "quarantined", "pending", "leased",
        "flagged", "balanced", "images_per_s", "eta_s", "processes",
    }  # fmt: skip
    assert (document["received"], document["scored"], document["rejected"]) == (COPIES + 1, COPIES, 1)
    assert {p["name"] for p in document["processes"]} >= {"watch", "sweeper", "worker", "web"}
    assert all(p["ok"] for p in document["processes"])
    assert "All files are accounted for." in night.run("status").stdout


def test_report_has_four_formats(night: Stack) -> None:
    outputs = {
        form: night.run("report", "--run", "survey", "--format", form) for form in ("text", "html", "csv")
    }
    document = json.loads(night.run("report", "--json").stdout)
    assert all(completed.returncode == 0 for completed in outputs.values())
    assert all(DISCLAIMER in completed.stdout for completed in outputs.values())
    assert document["run"] == "survey"
    flagged = [row for row in images(night) if row.verdict in {"flagged", "uncertain"}]
    assert [row["image"] for row in document["flagged_images"]] == [
        row.id for row in sorted(flagged, key=lambda row: -(row.p_pneumonia or 0))
    ]
    assert len(list(csv.DictReader(io.StringIO(outputs["csv"].stdout)))) == len(images(night))
    assert outputs["html"].stdout.startswith("<!doctype html>")


def test_replay_computes_the_same_prediction(night: Stack) -> None:
    scored = next(row for row in images(night) if row.state == "scored")
    completed = night.run("replay", str(scored.id), "--json")
    document = json.loads(completed.stdout)
    assert completed.returncode == 0
    assert document["same"] is True
    assert document["recorded"] == document["computed"]
    assert document["recorded"]["p_pneumonia"] == pytest.approx(scored.p_pneumonia, abs=1e-6)
    assert "The numbers are the same." in night.run("replay", str(scored.id)).stdout
    with night.ledger.reading() as session:
        views = session.scalars(select(AccessRecord).where(AccessRecord.code == "replay")).all()
        assert [(view.kind, view.image_id) for view in views] == [(AccessKind.VIEW, scored.id)] * 2
        assert {view.actor for view in views} == {actors.operating_system_user()}


def test_replay_finds_an_altered_prediction(night: Stack, tmp_path: Path) -> None:
    scored = next(row for row in images(night) if row.state == "scored")
    shutil.copytree(night.settings.data, tmp_path / "data", ignore=shutil.ignore_patterns("broker", "inbox"))
    ledger = Ledger(f"sqlite:///{tmp_path / 'data' / 'nightread.sqlite3'}")
    with ledger.transaction() as session:
        session.get_one(Image, scored.id).predictions[0].p_viral += 0.001
    ledger.close()
    copy = Stack(
        night.settings, night.ledger, night.log, environment={"NIGHTREAD_DATA": str(tmp_path / "data")}
    )
    completed = copy.run("replay", str(scored.id))
    assert completed.returncode == 1
    assert "THE NUMBERS DIFFER" in completed.stdout
    stored = open_store(Settings(data=tmp_path / "data")).path(scored.sha256)
    changed = stored.read_bytes() + b"x"
    stored.unlink()
    stored.write_bytes(changed)
    completed = copy.run("replay", str(scored.id))
    assert (completed.returncode, completed.stdout) == (1, "")
    assert "The stored bytes have changed since the file arrived." in completed.stderr


def test_retried_letter_is_rejected_again(night: Stack) -> None:
    letter = next(row for row in images(night) if row.state == "rejected")
    assert night.run("retry", str(letter.id), "--why", "a second look").returncode == 0
    assert night.wait_until_done(COPIES + 1).rejected == 1
    again = next(row for row in images(night) if row.id == letter.id)
    assert (again.state, again.reason_code, again.retry_reason) == (
        "rejected",
        "not_an_image",
        "a second look",
    )
    scored = next(row for row in images(night) if row.state == "scored")
    completed = night.run("retry", str(scored.id), "--why", "again")
    assert completed.returncode == 1
    assert "Only rejected and quarantined images" in completed.stderr


def test_backup_of_a_database_in_use_is_complete(night: Stack, tmp_path: Path) -> None:
    assert night.run("db", "backup", str(tmp_path / "copy.sqlite3")).returncode == 0
    copy = Ledger(f"sqlite:///{tmp_path / 'copy.sqlite3'}")
    assert assert_consistent(copy) == night.file_counts()
    copy.close()


def test_check_finds_a_file_missing_from_the_store(night: Stack) -> None:
    assert night.run("db", "check").returncode == 0
    path = open_store(night.settings).path(images(night)[0].sha256)
    data = path.read_bytes()
    path.unlink()
    try:
        completed = night.run("db", "check")
    finally:
        path.write_bytes(data)
    assert completed.returncode == 1
    lines = completed.stdout.splitlines()
    assert (
        lines[lines.index("WRONG  1 images whose bytes are missing in the image store") + 1]
        == "         image 1"
    )
    assert night.run("db", "check").returncode == 0


def test_repair_says_what_it_did(night: Stack) -> None:
    stored = open_store(night.settings).path(images(night)[0].sha256)
    half = stored.with_name(f"{stored.name}.x.part")
    half.write_bytes(b"half")
    os.utime(half, (0, 0))
    completed = night.run("db", "check", "--bytes")
    assert (completed.returncode, "ok     1 unfinished copies in the image store" in completed.stdout) == (
        0,
        True,
    )
    assert "ok     0 images whose stored bytes have changed" in completed.stdout.splitlines()
    completed = night.run("db", "check", "--repair")
    assert (completed.returncode, completed.stdout.splitlines()[0]) == (
        0,
        "done   1 unfinished copies removed",
    )
    assert not half.exists()


def test_second_import_of_a_folder_is_all_duplicates(night: Stack) -> None:
    before = night.file_counts()
    originals = night.settings.data.parent / "originals"
    completed = night.run("import", str(originals), "--run", "again", "--wait")
    assert f"0 new, {COPIES + 1} duplicates, 0 rejected." in completed.stderr
    assert night.file_counts().images == before.images
    assert json.loads(night.run("report", "--run", "again", "--json").stdout)["balanced"] is True
    assert_consistent(night.ledger)
