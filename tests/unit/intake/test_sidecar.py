"""worker.intake.sidecar: `identity.csv` beside images: its lines, and when it is complete."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.dicom.patients import patient_key
from worker.imagefile.identity import AgeSource, Identity
from worker.intake.problems import Problems
from worker.intake.sidecar import Sidecar, is_sidecar, parse
from worker.intake.stated import FIELDS
from worker.intake.watcher import sidecars_below

KEY = b"k" * 32
HEADER = "file,patient,age_years,sex,view\n"


def read(text: str) -> Sidecar:
    return parse(text.encode(), lambda: KEY)


def test_each_line_states_the_patient_of_one_file() -> None:
    found = read(HEADER + "a.jpg,4711,3,F,PA\nb.jpg,,40,,\nc.jpg,,,,\n")
    assert (found.problem, found.wrong_lines) == (None, ())
    assert found.of("a.jpg") == Identity(
        patient_key=patient_key(None, "4711", KEY),
        age_years=3,
        age_source=AgeSource.SIDECAR,
        sex="F",
        view="PA",
    )
    assert found.of("b.jpg") == Identity(age_years=40, age_source=AgeSource.SIDECAR)
    assert found.of("c.jpg") is None
    assert [found.has(name) for name in ("a.jpg", "c.jpg", "d.jpg")] == [True, True, False]


@pytest.mark.parametrize(
    "text",
    [
        "file,age_years\na.jpg,3\n",
        "FILE;Age_Years\r\na.jpg;3\r\n",
        "age_years\tfile\n3\ta.jpg\n\n",
        "\ufefffile,age_years\na.jpg,3",
        'file,"age_years"\n"a.jpg","3"\n',
        "file , age_years\n a.jpg , 3 \n",
    ],
)
def test_spreadsheets_write_it_in_many_ways(text: str) -> None:
    found = read(text)
    assert found.problem is None
    assert found.of("a.jpg") == Identity(age_years=3, age_source=AgeSource.SIDECAR)


@pytest.mark.parametrize(
    "line",
    [
        "a.jpg,4711,300,F,PA",
        "a.jpg,4711,3,X,PA",
        "a.jpg,4711,3,F",
        "a.jpg,4711,3,F,PA,DOE",
        ",4711,3,F,PA",
        "sub/a.jpg,4711,3,F,PA",
        "sub\\a.jpg,4711,3,F,PA",
        '"DOE, JOHN.jpg"x,4711,3',
    ],
)
def test_wrong_line_is_named_by_its_number_alone(line: str) -> None:
    found = read(f"{HEADER}b.jpg,4712,4,M,AP\n{line}\n")
    assert "line 3" in (found.problem or "")
    for value in ("4711", "DOE", "a.jpg", "300"):
        assert value not in (found.problem or "")
    assert found.of("a.jpg") is None
    assert found.has("b.jpg") == (found.fault is None), "the other lines count"


def test_file_with_two_lines_has_none() -> None:
    found = read(HEADER + "a.jpg,,3,,\nb.jpg,,3,,\na.jpg,,40,,\n")
    assert found.wrong_lines == (2, 4)
    assert [found.has(name) for name in ("a.jpg", "b.jpg")] == [False, True]


def test_many_wrong_lines_are_counted() -> None:
    found = read(HEADER + "a.jpg,,300,,\n" * 40)
    assert found.problem == "lines 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 30 more"


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "line 1 must name"),
        (b"file,age\na.jpg,3\n", "line 1 must name"),
        (b"file,age_years,name\na.jpg,3,DOE\n", "line 1 must name"),
        (b"file,age_years,age_years\na.jpg,3,3\n", "line 1 must name"),
        (b"a.jpg,4711,3,F,PA\n", "line 1 must name"),
        ("file,age_years\nD\u00d6E.jpg,3\n".encode("latin-1"), "not UTF-8"),
        ("file,age_years\na.jpg,3\n".encode("utf-16"), "not UTF-8"),
        (b'file,age_years\na.jpg,3\n"b.jpg,4\n', "line 3 is not CSV"),
        (b"file,age_years\n" + b"x" * 200_000, "line 2 is not CSV"),
        (b"file,age_years\n" + b"\n" * 5_000_000, "more than"),
    ],
)
def test_sidecar_that_cannot_be_read_says_why(data: bytes, fault: str) -> None:
    found = parse(data, lambda: KEY)
    assert fault in (found.problem or "")
    assert not found.identities


def test_names_are_compared_whatever_system_wrote_them() -> None:
    """macOS writes letters and their accents apart."""
    assert read("file,age_years\nMu\u0308ller.jpg,3\n").has("M\u00fcller.jpg")


@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer(data: bytes) -> None:
    for content in (data, HEADER.encode() + data):
        found = parse(content, lambda: KEY)
        assert found.fault is None or not found.identities


@settings(max_examples=50)
@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8)), max_size=5))
def test_any_cells_are_an_answer(rows: list[tuple[str, str, str]]) -> None:
    text = "".join(f"{','.join(row)}\n" for row in rows)
    found = parse(f"file,patient,age_years\n{text}".encode("utf-8", "replace"), lambda: KEY)
    assert all(0 <= i.age_years <= 120 for i in found.identities.values() if i and i.age_years is not None)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("identity.csv", True),
        ("a/b/Identity.CSV", True),
        ("identity.csv.part", False),
        ("my-identity.csv", False),
        ("identity.csv/a.jpg", False),
    ],
)
def test_only_the_name_makes_a_sidecar(path: str, expected: bool) -> None:
    assert is_sidecar(path) is expected


def test_each_folder_has_its_own_sidecar(tmp_path: Path) -> None:
    (tmp_path / "sub" / "empty").mkdir(parents=True)
    (tmp_path / "identity.csv").write_text("file,age_years\na.jpg,3\n")
    (tmp_path / "sub" / "IDENTITY.CSV").write_text("file,age_years\na.jpg,40\n")
    sidecars = sidecars_below(tmp_path, "", lambda: KEY)
    ages = [
        sidecar and (found := sidecar.of("a.jpg")) and found.age_years
        for sidecar in map(sidecars.beside, ("a.jpg", "sub/a.jpg", "sub/empty/a.jpg"))
    ]
    assert ages == [3, 40, None]


def test_link_is_no_sidecar(tmp_path: Path) -> None:
    """Whoever may write to the inbox could have any file read."""
    (tmp_path / "secret.txt").write_text("file,age_years\na.jpg,3\n")
    folder = tmp_path / "inbox"
    folder.mkdir()
    (folder / "identity.csv").symlink_to(tmp_path / "secret.txt")
    assert sidecars_below(folder, "", lambda: KEY).beside("a.jpg") is None


def test_problem_tells_lines_and_no_content(tmp_path: Path) -> None:
    (tmp_path / "DOE JOHN").mkdir()
    (tmp_path / "DOE JOHN" / "identity.csv").write_text(HEADER + "DOE.jpg,4711,300,F,PA\n")
    problems = Problems()
    sidecars_below(tmp_path, "", lambda: KEY).report(problems)
    assert problems.text() == "1 identity.csv that must be corrected (line 2)"


def test_fields_are_the_columns() -> None:
    assert HEADER.strip().split(",") == ["file", *FIELDS]
