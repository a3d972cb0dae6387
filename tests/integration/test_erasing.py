"""Erasing images of a real store: nothing of the patient is left on the disk, also when the process is killed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests import commands
from tests.conftest import HANG_S
from tests.filling import AT, assert_consistent, image, known_reader
from tests.integration.webui.night import Night, open_night, phantoms
from worker.commands.check import check_all, repair_all
from worker.config import ROOT
from worker.erasing import Eraser
from worker.errors import TransientFailure
from worker.ledger import review
from worker.ledger.findings import Finding, Statement
from worker.queue.dispatch import Dispatcher
from worker.queue.sweeper import Sweeper
from worker.renditions.area import RenditionArea
from worker.renditions.bounded import NoRendition, make_pack
from worker.renditions.maker import Maker
from worker.renditions.pack import Kind
from worker.store import Area, Store, open_store

pytestmark = pytest.mark.slow

PATIENT = "DOE^JANE"


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return phantoms(tmp_path_factory.mktemp("drawings"), [1, 2])


@pytest.fixture
def night(tmp_path: Path, ledger_url: str, drawings: list[Path]) -> Iterator[Night]:
    """Return two read images with packs of renditions; the names, the run and the note name the patient."""
    made = open_night(tmp_path / "data", database_url=ledger_url)
    made.accept(drawings, run=f"films of {PATIENT}", names=[f"{PATIENT} {n}.jpg" for n in (1, 2)])
    made.score({1: 0.9, 2: 0.8})
    reader_id = known_reader(made.ledger)
    with made.ledger.transaction() as session:
        for image_id in (1, 2):
            reading = review.decide(
                session,
                image_id,
                reader_id=reader_id,
                statement=Statement(Finding.SIGNS, note=f"{PATIENT}: left"),
                at=AT,
            )
            said = Statement(Finding.NO_SIGNS, other_finding=f"clip of {PATIENT}")
            review.amend(
                session, reading.id, reader_id=reader_id, statement=said, why=f"{PATIENT} called", at=AT
            )
    for image_id in (1, 2):
        keep_pack(made, image_id)
    yield made
    made.ledger.close()


def keep_pack(night: Night, image_id: int) -> None:
    """Keep something in the place of an image's renditions."""
    area = RenditionArea(open_store(night.settings).root)
    unfinished = area.unfinished()
    unfinished.write_bytes(b"a picture of the patient")
    area.keep(unfinished, hash_of(night, image_id))


def hash_of(night: Night, image_id: int) -> str:
    return image(night.ledger, image_id).sha256


def eraser_of(night: Night) -> Eraser:
    return Eraser(night.ledger, open_store(night.settings))


def erase(night: Night, *image_ids: int) -> list[int]:
    return eraser_of(night).erase(image_ids, who="os:1", why="asked for", all_run_names=True)


def files_with(night: Night, *contents: bytes) -> list[str]:
    """Return the files below the data folder in whose bytes, or name, one of the contents stands."""
    files = [path for path in night.settings.data.rglob("*") if path.is_file()]
    return [
        str(path)
        for path in files
        if any(content in path.read_bytes() or content in os.fsencode(path.name) for content in contents)
    ]


def wrong(night: Night) -> list[str]:
    """Return what `nightread db check` finds wrong."""
    return [result.summary for result in check_all(night.settings, read_bytes=True) if not result.ok]


def test_erased_patient_is_in_no_file(night: Night, drawings: list[Path]) -> None:
    sha256, original = hash_of(night, 1), drawings[0].read_bytes()
    copy = open_store(night.settings)._path_of(sha256, Area.REJECTED).with_name(f"{sha256}.1.part")
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(original[:100])
    assert files_with(night, original[:100], b"a picture of the patient", sha256.encode())
    assert erase(night, 1, 2) == [1, 2]
    night.ledger.close()
    stored = [path for path in open_store(night.settings).root.rglob("*") if path.is_file()]
    assert stored == []
    assert files_with(night, original[:100], b"a picture of the patient", PATIENT.encode()) == []
    assert assert_consistent(night.ledger).erased == 2
    assert wrong(night) == []


def test_other_image_keeps_everything(night: Night, drawings: list[Path]) -> None:
    assert erase(night, 1) == [1]
    store = open_store(night.settings)
    assert store.read(hash_of(night, 2)) == drawings[1].read_bytes()
    assert RenditionArea(store.root).holds(hash_of(night, 2))
    assert image(night.ledger, 2).original_name == f"{PATIENT} 2.jpg"
    assert wrong(night) == []


# Erases image 1 and kills itself with SIGKILL at the named point.
DRIVER = """
import os, signal, sys
from worker.erasing import Eraser
from worker.ledger import erasures
from worker.ledger.session import Ledger
from worker.renditions.area import RenditionArea
from worker.store import Store
from pathlib import Path

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def die_after(function):
    def call_and_die(*args, **kwargs):
        function(*args, **kwargs)
        die()
    return call_and_die

point, url, root = sys.argv[1:]
if point == "before the commit":
    erasures.erase = die_after(erasures.erase)
elif point == "after the commit":
    Store.remove = die
elif point == "after the original is removed":
    Store.remove = die_after(Store.remove)
elif point == "after the renditions are removed":
    RenditionArea.remove = die_after(RenditionArea.remove)
elif point == "before the second commit":
    erasures.finish = die_after(erasures.finish)
eraser = Eraser(Ledger(url), Store(Path(root)))
eraser.erase([1], who="os:1", why="asked for", all_run_names=True)
"""
POINTS = [
    "before the commit",
    "after the commit",
    "after the original is removed",
    "after the renditions are removed",
    "before the second commit",
]


@pytest.mark.parametrize("point", POINTS)
def test_killed_erasure_shows_nothing_half_erased_and_is_finished_later(night: Night, point: str) -> None:
    settings = night.settings
    command = [sys.executable, "-c", DRIVER, point, settings.database, str(settings.store_path)]
    assert subprocess.run(command, cwd=ROOT, check=False, timeout=HANG_S).returncode == -signal.SIGKILL
    counts = assert_consistent(night.ledger)
    if point == "before the commit":
        assert counts.erased == 0
        assert image(night.ledger, 1).original_name == f"{PATIENT} 1.jpg"
        assert open_store(settings).has(hash_of(night, 1))
        assert wrong(night) == []
    else:
        assert counts.erased == 1
        assert image(night.ledger, 1).original_name == "(erased)"
        assert wrong(night) == ["1 erased images of which the image store holds something"]
    assert erase(night, 1) == ([1] if point == "before the commit" else [])
    assert not eraser_of(night).left()
    assert image(night.ledger, 1).bytes_removed_at is not None
    assert wrong(night) == []
    assert assert_consistent(night.ledger).erased == 1


def half_erase(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """Erase image 1 while the image store cannot delete."""
    with monkeypatch.context() as patched:
        patched.setattr(Store, "remove", _cannot_delete)
        with pytest.raises(TransientFailure, match=r"image 1 is erased, but .* cannot delete its bytes"):
            erase(night, 1)


def _cannot_delete(_store: Store, _sha256: str) -> None:
    raise PermissionError(13, "Permission denied")


def test_sweeper_finishes_an_erasure(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    half_erase(night, monkeypatch)
    store = open_store(night.settings)
    Sweeper(night.settings, night.ledger, store, Dispatcher(night.settings, night.ledger)).clean()
    assert wrong(night) == []
    assert not store.has(hash_of(night, 1))


def test_repair_finishes_an_erasure_and_removes_bytes_that_came_back(
    night: Night, monkeypatch: pytest.MonkeyPatch, drawings: list[Path]
) -> None:
    half_erase(night, monkeypatch)
    assert repair_all(night.settings) == ["what was left of 1 erased images removed from the image store"]
    assert wrong(night) == []
    # As after an older backup of the image store was restored.
    with drawings[0].open("rb") as file:
        open_store(night.settings).put(file, hash_of(night, 1), Area.IMAGES)
    assert wrong(night) == ["1 erased images of which the image store holds something"]
    assert repair_all(night.settings)
    assert wrong(night) == []
    assert repair_all(night.settings) == []


def test_renditions_that_are_being_made_are_removed(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = hash_of(night, 1)
    store = open_store(night.settings)
    RenditionArea(store.root).remove(sha256)

    def make_and_erase(*arguments: Any) -> None:
        make_pack(*arguments)
        erase(night, 1)

    monkeypatch.setattr("worker.renditions.maker.make_pack", make_and_erase)
    Maker(night.settings, store).make(sha256, Kind.FULL, wall_s=HANG_S)
    assert not RenditionArea(store.root).holds(sha256)
    with pytest.raises(NoRendition):
        Maker(night.settings, store).make(sha256, Kind.FULL, wall_s=HANG_S)
    assert wrong(night) == []


def test_file_that_arrives_again_is_not_kept(night: Night, drawings: list[Path]) -> None:
    erase(night, 1)
    (again,) = night.accept(drawings[:1], names=[f"{PATIENT} again.jpg"])
    assert (again.image_id, again.outcome.value) == (1, "duplicate")
    assert "was erased" in (again.reason or "")
    assert not open_store(night.settings).has(hash_of(night, 1))
    assert image(night.ledger, 1).bytes_removed_at is not None
    assert wrong(night) == []
    night.ledger.close()
    assert files_with(night, f"{PATIENT} again".encode()) == []
    assert assert_consistent(night.ledger).duplicates == 1


def test_file_that_arrives_again_is_removed_later_if_the_store_fails(
    night: Night, drawings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    erase(night, 1)
    with monkeypatch.context() as patched:
        patched.setattr(Store, "remove", _cannot_delete)
        night.accept(drawings[:1])
    assert wrong(night) == ["1 erased images of which the image store holds something"]
    assert eraser_of(night).finish() == 1
    assert wrong(night) == []


def test_two_erasures_at_once_erase_once(night: Night) -> None:
    erased: list[int] = []
    threads = [threading.Thread(target=lambda: erased.extend(erase(night, 1, 2))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_S)
    assert sorted(erased) == [1, 2]
    assert assert_consistent(night.ledger).erased == 2
    assert wrong(night) == []


def nightread(night: Night, *arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    environment = {
        "NIGHTREAD_DATA": str(night.settings.data),
        "NIGHTREAD_DATABASE_URL": night.settings.database,
    }
    completed = commands.run(*arguments, environment=environment, stdin=answer.encode(), seconds=HANG_S)
    assert "Traceback" not in completed.stderr, completed.stderr
    assert PATIENT not in completed.stdout + completed.stderr
    return completed


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
def test_command_says_what_goes_asks_and_erases(night: Night) -> None:
    dry = nightread(night, "erase", "1", "--why", "asked for", "--dry-run", "--json")
    plan = json.loads(dry.stdout)
    assert (plan["dry_run"], plan["erased"], plan["runs_without_name"], plan["runs_with_name"]) == (
        True,
        [],
        [],
        [1],
    )
    size = image(night.ledger, 1).bytes
    assert plan["images"] == [
        {"image_id": 1, "state": "scored", "bytes": size, "names": 1, "notes": 2, "maps": 1, "identity": []}
    ]
    assert "run 1 keeps its name" in dry.stderr
    assert "identity: none" in dry.stderr
    refused = nightread(night, "erase", "1", "--why", "asked for", answer="n\n")
    assert refused.returncode == 1
    assert "Erase 1 images for ever?" in refused.stderr
    assert image(night.ledger, 1).state == "scored"
    done = nightread(night, "erase", "1", "--why", "asked for", answer="y\n")
    assert (done.returncode, done.stdout) == (0, "")
    assert image(night.ledger, 1).state == "erased"
    both = nightread(night, "erase", "1", "2", "--why", "asked for", "--yes", "--json")
    assert json.loads(both.stdout)["erased"] == [2]
    assert "image 1: erased before" in both.stderr
    with night.ledger.reading() as session:
        actors = session.scalars(text("SELECT actor FROM audit_event WHERE kind = 'erased'")).all()
    assert actors == [f"os:{os.getuid()}"] * 2
    assert wrong(night) == []


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("1", "99", "--why", "x", "--yes"), 1, "There is no image 99. Nothing was erased."),
        (("1", "--yes"), 2, "Missing option '--why'"),
        (("1", "--why", "  ", "--yes"), 1, "An erasure needs a reason."),
        (("1", "--why", "x", "--json"), 2, "--json needs --yes or --dry-run."),
        (("1", "--why", "x"), 1, "Aborted"),
        (("--why", "x"), 2, "Missing argument"),
    ],
)
def test_command_that_cannot_be_followed_erases_nothing(
    night: Night, arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    completed = nightread(night, "erase", *arguments)
    assert completed.returncode == status
    assert sentence in completed.stderr
    assert image(night.ledger, 1).state == "scored"


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
def test_replay_of_an_erased_image_says_so(night: Night) -> None:
    erase(night, 1)
    completed = nightread(night, "replay", "1")
    assert completed.returncode == 1
    assert completed.stderr.endswith("Image 1 was erased, so its prediction cannot be computed again.\n")


def test_bytes_of_an_erased_image_are_known_by_their_hash_only(night: Night, drawings: list[Path]) -> None:
    erase(night, 1)
    assert hash_of(night, 1) == hashlib.sha256(drawings[0].read_bytes()).hexdigest()
