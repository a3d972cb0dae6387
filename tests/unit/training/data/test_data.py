"""training.data.radiographs: patients, labels and folds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import TEST_DATA
from training.data.radiographs import (
    BACTERIAL,
    NORMAL,
    VIRAL,
    Radiograph,
    fold_of_each,
    list_folders,
    list_table,
    load,
    patient_of,
    subtype_of,
    targets,
)
from training.errors import WrongInput
from worker.inference.preprocess import to_model_input
from worker.phantom import write_phantom

CHILDREN = TEST_DATA / "pediatric" / "train"


def kaggle_names() -> list[Radiograph]:
    """Return the names of the data set if it exists here, otherwise names of the same kinds."""
    if CHILDREN.is_dir():
        return list_folders(CHILDREN)
    rng = np.random.default_rng(0)
    normal = [f"IM-{n:04}-{k:04}.jpeg" for n in range(400) for k in range(rng.integers(1, 4))]
    normal += [f"NORMAL2-IM-{n:04}-0001.jpeg" for n in range(300, 700)]
    kinds = [("bacteria", n) for n in range(900)] + [("virus", n) for n in range(600, 1200)]
    sick = [f"person{n}_{kind}_{k}.jpeg" for kind, n in kinds for k in range(rng.integers(1, 5))]
    return [Radiograph(Path(name), False, NORMAL, patient_of(Path(name))) for name in normal] + [
        Radiograph(Path(name), True, subtype_of(Path(name), pneumonia=True), patient_of(Path(name)))
        for name in sick
    ]


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("person1000_bacteria_2931.jpeg", "person1000"),
        ("person1000_virus_1681.jpeg", "person1000"),
        ("IM-0115-0001.jpeg", "im-0115"),
        ("NORMAL2-IM-0115-0001-0002.jpeg", "im-0115"),
        ("something else.png", "something else"),
    ],
)
def test_the_patient_is_read_from_the_name(name: str, patient: str) -> None:
    assert patient_of(Path(name)) == patient


@pytest.mark.parametrize(
    ("name", "pneumonia", "subtype"),
    [
        ("person1_bacteria_1.jpeg", True, BACTERIAL),
        ("person1_virus_1.jpeg", True, VIRAL),
        ("person1.jpeg", True, None),
        ("IM-0001.jpeg", False, NORMAL),
    ],
)
def test_the_subtype_is_read_from_the_name(name: str, pneumonia: bool, subtype: int | None) -> None:
    assert subtype_of(Path(name), pneumonia=pneumonia) == subtype


def test_folds_separate_patients_and_are_stratified() -> None:
    radiographs = kaggle_names()
    share = Counter(radiograph.subtype for radiograph in radiographs)
    seen = np.zeros(len(radiographs), dtype=int)
    for fold in range(5):
        mask = fold_of_each(radiographs, 5, seed=3) == fold
        seen += mask
        sides = [
            {each.patient for each, held in zip(radiographs, mask, strict=True) if held == side}
            for side in (False, True)
        ]
        assert not sides[0] & sides[1]
        held = Counter(each.subtype for each, held in zip(radiographs, mask, strict=True) if held)
        for subtype in (NORMAL, BACTERIAL, VIRAL):
            assert held[subtype] / share[subtype] == pytest.approx(0.2, abs=0.03)
    assert np.all(seen == 1)


def test_the_split_depends_on_the_seed_alone() -> None:
    radiographs = kaggle_names()
    assert np.array_equal(fold_of_each(radiographs, 5, 1), fold_of_each(radiographs, 5, 1))
    assert not np.array_equal(fold_of_each(radiographs, 5, 1), fold_of_each(radiographs, 5, 2))


def test_unreadable_images_are_rejected_and_others_kept(tmp_path: Path) -> None:
    good, cut, blank = tmp_path / "a.jpg", tmp_path / "b.jpg", tmp_path / "c.jpg"
    write_phantom(good, 1, width=200)
    cut.write_bytes(good.read_bytes()[:3000])
    blank.write_bytes(b"")
    loaded = load(
        [Radiograph(path, False, NORMAL, path.stem) for path in (cut, good, blank)], 64, to_model_input
    )
    assert [radiograph.path for radiograph in loaded.radiographs] == [good]
    assert loaded.pixels.shape == (1, 64, 64)
    assert [(each.path, code) for each, code in loaded.rejected] == [(cut, "truncated"), (blank, "empty")]


def test_unknown_pneumonia_is_half_of_each_kind() -> None:
    known = [Radiograph(Path("x"), True, kind, "x") for kind in (NORMAL, BACTERIAL, VIRAL, None)]
    assert targets(known).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0.5, 0.5]]


def test_table_paths_are_relative_to_the_table(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "b.jpg"):
        write_phantom(tmp_path / "images" / name, 1, width=100)
    table = tmp_path / "t.csv"
    table.write_text(
        "file,label,patient_id,age_years,sex,view\nimages/a.jpg,pneumonia,7,40,M,\nimages/b.jpg,Viral,,,,PA\n"
    )
    first, second = list_table(table)
    assert (first.pneumonia, first.subtype, first.patient) == (True, None, "7")
    assert first.traits == {"age_years": "40", "sex": "M"}
    assert (second.pneumonia, second.subtype, second.patient) == (True, VIRAL, "b")
    assert second.path.is_file()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "needs the columns"),
        ("file,kind\na.jpg,normal\n", "needs the columns"),
        ("file,label\na.jpg,fine\n", "has the label 'fine'"),
        ("file,label\nmissing.jpg,normal\n", "names missing.jpg, which does not exist"),
    ],
)
def test_invalid_table_is_an_error(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(WrongInput, match=sentence):
        list_table(tmp_path / "t.csv")


def test_folder_without_both_classes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="no folder NORMAL"):
        list_folders(tmp_path)
    (tmp_path / "NORMAL").mkdir()
    with pytest.raises(WrongInput, match="holds no JPEG or PNG"):
        list_folders(tmp_path)
