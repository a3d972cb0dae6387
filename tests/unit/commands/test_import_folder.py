from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import pytest
from sqlalchemy import select

from tests.conftest import free_port, make_settings
from tests.files import jpeg
from tests.filling import assert_consistent
from tests.ledgers import current_ledger
from worker.commands.import_folder import import_folder
from worker.intake.watcher import files_below
from worker.ledger.tables import Image, Instance, Study


def test_files_below_lists_only_finished_files_in_order(tmp_path: Path) -> None:
    for name in ("b/2.jpg", "b/1.jpg", "a.jpg", ".git/x.jpg", "c.jpg.part", "d~", ".e.jpg", "f.tmp/g.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    (tmp_path / "linked").symlink_to("b")
    (tmp_path / "dangling.jpg").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert [file.name for file in files_below(tmp_path)] == [
        "a.jpg",
        "b/1.jpg",
        "b/2.jpg",
    ]


@pytest.mark.parametrize("folder", ["data", "data/inbox", "data/store/images", "data/incoming", "."])
def test_own_folders_are_never_imported(tmp_path: Path, folder: str) -> None:
    settings = make_settings(tmp_path / "data")
    ledger = current_ledger(settings.database)
    source = tmp_path / folder
    source.mkdir(parents=True, exist_ok=True)
    (source / "a.jpg").write_bytes(jpeg())
    with pytest.raises(click.BadParameter, match="Nothing was imported"):
        import_folder(settings, source, None, wait=False)
    assert assert_consistent(ledger).received == 0
    ledger.close()


def test_import_without_a_broker_accepts_all_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = make_settings(tmp_path / "data", broker_url=f"redis://127.0.0.1:{free_port()}/0")
    ledger = current_ledger(settings.database)
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    for number in range(66):
        (folder / f"{number}.jpg").write_bytes(jpeg() + bytes([number]))
    (folder / "deep" / "again.jpg").write_bytes(jpeg() + b"\x00")
    (folder / "letter.jpg").write_bytes(b"Dear colleague")
    before = sorted(folder.rglob("*"))
    import_folder(settings, folder, "survey", wait=False)
    messages = capsys.readouterr().err
    assert "66 new, 1 duplicates, 1 rejected." in messages
    assert "The broker cannot be reached" in messages
    assert sorted(folder.rglob("*")) == before
    counts = assert_consistent(ledger)
    assert (counts.received, counts.pending, counts.duplicates, counts.rejected) == (68, 66, 1, 1)
    ledger.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who writes")
def test_import_says_why_a_file_was_not_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = make_settings(tmp_path / "data", broker_url=f"redis://127.0.0.1:{free_port()}/0")
    current_ledger(settings.database).close()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(jpeg())
    with (folder / "a.jpg").open("r+b"):
        import_folder(settings, folder, None, wait=False)
    assert "1 files were not accepted: 1 that wait (another program still has" in capsys.readouterr().err


def test_import_takes_identities_from_sidecars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = make_settings(tmp_path / "data", broker_url=f"redis://127.0.0.1:{free_port()}/0")
    ledger = current_ledger(settings.database)
    folder = tmp_path / "folder"
    (folder / "ward").mkdir(parents=True)
    for number, name in enumerate(("a.jpg", "b.jpg", "ward/a.jpg")):
        (folder / name).write_bytes(jpeg(number))
    (folder / "identity.csv").write_text("file,patient,age_years\na.jpg,4711,3\nb.jpg,DOE,300\n")
    (folder / "ward" / "identity.csv").write_text("file,age_years\na.jpg,40\n")
    import_folder(settings, folder, None, wait=False)
    messages = capsys.readouterr().err
    assert "3 new, 0 duplicates, 0 rejected." in messages
    assert "1 identity.csv that must be corrected (line 3)" in messages
    assert "DOE" not in messages
    with ledger.reading() as session:
        ages = dict(
            session.execute(
                select(Image.original_name, Study.age_years)
                .outerjoin(Image.instance)
                .outerjoin(Instance.study)
            ).all()
        )
    assert ages == {"a.jpg": 3, "b.jpg": None, "ward/a.jpg": 40}
    ledger.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who writes")
def test_import_leaves_images_whose_sidecar_is_being_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = make_settings(tmp_path / "data", broker_url=f"redis://127.0.0.1:{free_port()}/0")
    current_ledger(settings.database).close()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(jpeg())
    with (folder / "identity.csv").open("w"):
        import_folder(settings, folder, None, wait=False)
    assert "1 files were not accepted: 1 that wait" in capsys.readouterr().err
