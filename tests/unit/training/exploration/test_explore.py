"""`nightread explore`: every planted fault is found, and nothing else."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from training.exploration.explore import Exploration, document, explore
from training.exploration.findings import alarms, notes
from training.exploration.inventory import take_inventory
from training.exploration.report import report
from worker.cli import nightread
from worker.phantom import draw_phantom, write_phantom

WIDTH = 200


def draw(path: Path, seed: int, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_phantom(path, seed, width=WIDTH, **options)


def kaggle(root: Path) -> Path:
    """Write three splits without a fault: 10, 4 and 6 of each class, one image a patient."""
    number = 0
    for split, count in (("train", 10), ("val", 4), ("test", 6)):
        for _ in range(count):
            number += 1
            kind = "bacteria" if number % 2 else "virus"
            draw(root / split / "NORMAL" / f"IM-{number:04}-0001.jpeg", number)
            draw(root / split / "PNEUMONIA" / f"person{number}_{kind}_1.jpeg", 1000 + number)
    return root


def explored(data: Path | None, table: Path | None = None) -> Exploration:
    return explore(take_inventory(data, table), lambda _: None)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kaggle(tmp_path_factory.mktemp("clean"))


@pytest.fixture(scope="module")
def faulty(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the clean set and plant one fault of each kind."""
    root = tmp_path_factory.mktemp("faulty") / "chest_xray"
    shutil.copytree(clean, root)
    train, val, test = (root / split for split in ("train", "val", "test"))
    # The same file in two splits, under two names.
    shutil.copy(train / "NORMAL/IM-0001-0001.jpeg", test / "NORMAL/IM-0901-0001.jpeg")
    # The same image in two splits, recompressed and smaller.
    with Image.open(train / "PNEUMONIA/person2_virus_1.jpeg") as image:
        half = image.resize((WIDTH // 2, WIDTH // 2))
        half.save(val / "PNEUMONIA/person902_virus_1.jpeg", quality=60)
    # The same file under another label.
    shutil.copy(train / "PNEUMONIA/person3_bacteria_1.jpeg", train / "NORMAL/IM-0903-0001.jpeg")
    # A truncated file, a file that is not an image, and a file with another suffix.
    whole = (train / "NORMAL/IM-0004-0001.jpeg").read_bytes()
    (train / "NORMAL/IM-0904-0001.jpeg").write_bytes(whole[: len(whole) // 2])
    (train / "NORMAL/IM-0905-0001.jpeg").write_bytes(b"no image at all")
    (train / "NORMAL/notes.txt").write_text("x")
    # A patient with another image in another split.
    draw(test / "PNEUMONIA/person5_bacteria_2.jpeg", 5000)
    return root


@pytest.fixture(scope="module")
def found(faulty: Path) -> dict[str, Any]:
    return document(explored(faulty))


def test_clean_set_gets_no_warning(clean: Path) -> None:
    exploration = explored(clean)
    assert alarms(exploration) == []
    said = " ".join(notes(exploration))
    assert "No image exists twice." in said
    assert "No image is in two of the splits train, val and test." in said
    assert "no patient is in two splits" in said
    assert "The split val has 8 images: too few" in said
    assert "no patient has two images" in said


def test_identical_files_across_labels_and_splits_are_found(found: dict[str, Any]) -> None:
    contradictory, across = found["identical"]
    assert contradictory["files"] == [
        "train/NORMAL/IM-0903-0001.jpeg",
        "train/PNEUMONIA/person3_bacteria_1.jpeg",
    ]
    assert contradictory["contradictory"]
    assert contradictory["kinds"] == ["normal", "bacterial"]
    assert across["files"] == ["train/NORMAL/IM-0001-0001.jpeg", "test/NORMAL/IM-0901-0001.jpeg"]
    assert across["splits"] == ["test", "train"]
    assert not across["contradictory"]


def test_image_stored_again_is_found(found: dict[str, Any]) -> None:
    (again,) = found["stored_again"]
    assert again["files"] == ["train/PNEUMONIA/person2_virus_1.jpeg", "val/PNEUMONIA/person902_virus_1.jpeg"]
    assert again["splits"] == ["train", "val"]
    assert again["patients"] == ["person2", "person902"]
    assert 0.9 <= again["likeness"] < 1


def test_patient_in_two_splits_is_found(found: dict[str, Any]) -> None:
    assert found["patients_across_splits"] == {
        "person5": ["train/PNEUMONIA/person5_bacteria_1.jpeg", "test/PNEUMONIA/person5_bacteria_2.jpeg"]
    }


def test_unusable_and_ignored_files_are_listed(found: dict[str, Any]) -> None:
    assert [(item["file"], item["code"]) for item in found["turned_away"]] == [
        ("train/NORMAL/IM-0904-0001.jpeg", "truncated"),
        ("train/NORMAL/IM-0905-0001.jpeg", "undecodable"),
    ]
    assert [item["file"] for item in found["ignored"]] == ["train/NORMAL/notes.txt"]


def test_all_images_are_counted(found: dict[str, Any]) -> None:
    assert found["splits"] == {
        "train": {"normal": 13, "bacterial": 5, "viral": 5},
        "val": {"normal": 4, "bacterial": 2, "viral": 3},
        "test": {"normal": 7, "bacterial": 4, "viral": 3},
    }
    assert found["images"] == 46
    # 40 patients have one image each; five of the six added files belong to new patients.
    assert found["patients"] == 45
    assert found["images_per_patient"]["most"] == 2
    assert not any(item["telling"] for item in found["short_cuts"])


def test_worst_warning_comes_first(faulty: Path) -> None:
    said = alarms(explored(faulty))
    wanted = [
        r"^1 image has labels that cannot both be true: train/NORMAL/IM-0903-0001.jpeg is labelled normal",
        r"^1 image is in more than one split \(test and train\), byte for byte",
        r"^1 image is in more than one split \(train and val\), stored again",
        r"^1 patient has images in more than one split \(test and train\)",
        r"^3 images are stored under more than one patient",
        r"^2 of 46 images cannot be used: 1 truncated and 1 undecodable\.$",
    ]
    assert len(said) == len(wanted)
    for sentence, pattern in zip(said, wanted, strict=True):
        assert re.search(pattern, sentence)


def test_unknown_pneumonia_contradicts_no_kind(tmp_path: Path) -> None:
    for kind in ("NORMAL/IM-1", "PNEUMONIA/person1_virus_1", "PNEUMONIA/person2"):
        draw(tmp_path / f"{kind}.jpeg", len(kind))
    shutil.copy(tmp_path / "PNEUMONIA/person1_virus_1.jpeg", tmp_path / "PNEUMONIA/person1_bacteria_1.jpeg")
    shutil.copy(tmp_path / "PNEUMONIA/person2.jpeg", tmp_path / "PNEUMONIA/person2_virus_9.jpeg")
    kinds = {tuple(group.kinds): group.contradictory for group in explored(tmp_path).same}
    assert kinds == {("bacterial", "viral"): True, ("viral", "pneumonia"): False}


def test_different_exposure_of_a_class_is_a_shortcut(tmp_path: Path) -> None:
    for seed in range(30):
        draw(tmp_path / "NORMAL" / f"IM-{seed}.jpeg", seed, opacity=False)
        brighter = draw_phantom(100 + seed, width=WIDTH, opacity=False).point(lambda grey: grey * 0.6 + 100)
        path = tmp_path / "PNEUMONIA" / f"person{seed}_virus_1.jpeg"
        path.parent.mkdir(exist_ok=True)
        brighter.save(path, quality=90)
    exploration = explored(tmp_path)
    cuts = {shortcut.name: shortcut for shortcut in exploration.shortcuts}
    assert cuts["brightness"].auc > 0.99
    assert cuts["brightness"].evened_auc is not None
    assert abs(cuts["brightness"].evened_auc - 0.5) < 0.3
    first, second = alarms(exploration)
    assert "the mean grey value (AUC 1.00, higher in pneumonia)" in first
    assert "Five numbers about exposure alone reach AUC 1.00" in second


def test_different_storage_of_a_class_is_a_shortcut(tmp_path: Path) -> None:
    for seed in range(30):
        draw(tmp_path / "NORMAL" / f"IM-{seed}.jpeg", seed, quality=75)
        draw(tmp_path / "PNEUMONIA" / f"person{seed}_virus_1.jpeg", 100 + seed, quality=70)
    exploration = explored(tmp_path)
    (said,) = alarms(exploration)
    assert "how coarsely the JPEG is quantised (AUC 1.00, higher in pneumonia)" in said
    assert next(model.auc for model in exploration.together if model.name == "file") > 0.99
    assert next(model.auc for model in exploration.together if model.name == "exposure") < 0.75


def table(folder: Path, rows: list[dict[str, str]]) -> Path:
    for number, row in enumerate(rows):
        draw(folder / row["file"], 300 + number)
    path = folder / "adults.csv"
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, ("file", "label", "patient_id", "age_years", "sex", "view"))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def adults(tmp_path: Path) -> Path:
    """Write a table: pneumonia is always AP and normal always PA; one patient is 148 years old."""
    return table(
        tmp_path / "adults",
        [
            {
                "file": f"images/{number}.jpeg",
                "label": "pneumonia" if number % 2 else "normal",
                "patient_id": f"a{number // 2}",
                "age_years": "148" if number == 3 else str(20 + number),
                "sex": "FM"[number // 20],
                "view": "AP" if number % 2 else "PA",
            }
            for number in range(40)
        ],
    )


def test_table_adds_age_sex_and_view(adults: Path) -> None:
    exploration = explored(None, adults)
    cuts = {shortcut.name: shortcut for shortcut in exploration.shortcuts}
    assert (cuts["view"].auc, cuts["view"].normal, cuts["view"].pneumonia) == (1, 0, 1)
    assert cuts["sex"].auc == 0.5
    assert any(
        "the view being AP (AUC 1.00, more often in pneumonia)" in said for said in alarms(exploration)
    )
    said = " ".join(notes(exploration))
    assert "1 image has an impossible age." in said
    assert "20 patients have both normal and pneumonia images." in said
    page = report(exploration)
    assert "Age, sex and view" in page
    assert "Ages by class" in page


def test_table_and_folder_are_compared(clean: Path, adults: Path) -> None:
    shutil.copy(clean / "train/NORMAL/IM-0001-0001.jpeg", adults.parent / "images/0.jpeg")
    exploration = explored(clean, adults)
    assert exploration.splits == ["train", "val", "test", "adults"]
    (same,) = exploration.same
    assert [file.name for file in same.files] == ["train/NORMAL/IM-0001-0001.jpeg", "images/0.jpeg"]


def test_page_shows_copies_but_no_test_only_images(faulty: Path) -> None:
    page = report(explored(faulty)).replace("<wbr>", "")
    assert (
        page.index("Labelled normal and bacterial")
        < page.index("In test and train")
        < page.index("In train and val")
    )
    assert page.index('id="copies"') < page.index('id="classes"')
    for name in ("IM-0903-0001.jpeg", "IM-0901-0001.jpeg", "person902_virus_1.jpeg"):
        assert re.search(rf"<figcaption>{name}", page)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    only_in_test = [f"IM-00{number}" for number in range(15, 21)] + [
        f"person{number}_" for number in range(15, 21)
    ]
    assert not [caption for caption in captions if any(name in caption for name in only_in_test)]
    assert "The file ends before the image is complete." in page
    assert str(faulty) not in page


def test_test_split_alone_is_compared_but_not_shown(clean: Path, tmp_path: Path) -> None:
    shutil.copytree(clean / "test", tmp_path / "test")
    exploration = explored(tmp_path)
    page = report(exploration)
    assert exploration.shortcuts == []
    assert "Appearance" not in page
    assert "Classes" in page


def test_command_writes_a_page_and_prints_warnings(faulty: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    ran = CliRunner().invoke(nightread, ["explore", str(faulty), "--out", str(out)])
    assert ran.exit_code == 0
    assert ran.stdout == ""
    assert "Reading: 46 of 46" in ran.stderr
    assert "Warning: 1 image has labels that cannot both be true" in ran.stderr
    page = out.read_text(encoding="utf-8")
    assert "For research and education only. Never a diagnosis." in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)


def test_command_prints_one_document(faulty: Path, found: dict[str, Any]) -> None:
    ran = CliRunner().invoke(nightread, ["explore", str(faulty), "--json"])
    assert json.loads(ran.stdout) == found
    assert not Path("explore.html").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "Give a folder that holds NORMAL and PNEUMONIA"),
        (("empty",), "has no folder NORMAL"),
        (("broken",), "None of 2 images can be read: NORMAL/a.jpeg: The image cannot be decoded"),
        (("empty", "--out", "nowhere/page.html"), "There is no folder nowhere"),
    ],
)
def test_wrong_use_is_explained(options: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for kind in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "broken" / kind).mkdir(parents=True)
        (tmp_path / "broken" / kind / "a.jpeg").write_bytes(b"x")
    ran = CliRunner().invoke(nightread, ["explore", *options])
    assert ran.exit_code == 2
    assert sentence in " ".join(ran.stderr.split())
