from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import update

from tests.filling import (
    AT,
    arrival,
    fill,
    identity,
    known_model,
    known_reader,
    lease_images,
    receive,
    record,
    result,
    score,
)
from tests.ledgers import current_ledger
from worker import DISCLAIMER
from worker.cli import nightread
from worker.config import ROOT
from worker.ledger import erasures, heartbeats, reports, review
from worker.ledger.findings import Finding, NotJudged, Seen, Statement
from worker.ledger.predictions import RejectionRecord
from worker.ledger.reports import find_run
from worker.ledger.session import Ledger, utc_now
from worker.ledger.states import ImageState, ReviewState
from worker.ledger.studies import PATIENT_COLUMNS
from worker.ledger.tables import Image
from worker.report import content, html_page
from worker.report import text as text_format
from worker.report.content import READING_COLUMNS, read_report, report_of
from worker.report.csv_table import COLUMNS, NOT_LISTED, escape_formula
from worker.report.formats import FORMATS

NAMES = (
    "=HYPERLINK(A1).jpg",
    "<script>alert(1)</script>.jpg",
    "clear\x1b[2J screen.jpg",
    'a "quoted", name.jpg',
    "@SUM(1).jpg",
)


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Ledger]:
    """A run and files with hostile names: two flagged, one uncertain, one clear, one rejected."""
    ledger = current_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    with ledger.transaction() as session:
        rows = receive(session, *(arrival(n, name=name) for n, name in enumerate(NAMES)), run="=1+1<b>")
    ids = [row.image_id for row in rows if row]
    lease_images(ledger, ids)
    scores = [result(i, p) for i, p in zip(ids, (0.9, 0.8, 0.5, 0.1), strict=False)]
    refused = [RejectionRecord(ids[4], "blank", "The image shows nothing.")]
    record(ledger, known_model(ledger), scores, refused)
    yield ledger
    ledger.close()


def written(ledger: Ledger, form: str) -> str:
    with ledger.reading() as session:
        report = read_report(session, None)
    return FORMATS[form](report)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_has_the_disclaimer_and_the_file_count(night: Ledger, form: str) -> None:
    text = written(night, form)
    assert DISCLAIMER in text
    assert {
        "text": "All files are accounted for.",
        "html": "All files are accounted for.",
        "json": '"balanced": true',
        "csv": "disclaimer",
    }[form] in text


def test_document_holds_the_file_count_and_the_images(night: Ledger) -> None:
    document = json.loads(written(night, "json"))
    assert (document["received"], document["scored"], document["rejected"]) == (5, 4, 1)
    assert (document["flagged"], document["uncertain"], document["unread"]) == (3, 1, 3)
    assert [row["p_pneumonia"] for row in document["flagged_images"]] == [0.9, 0.8, 0.5]
    assert [row["file"] for row in document["flagged_images"]] == list(NAMES[:3])
    (away,) = document["turned_away_images"]
    assert (away["state"], away["code"], away["file"]) == ("rejected", "blank", NAMES[4])
    assert len(document["slowest"]) == 4


def beats(ledger: Ledger, name: str, *, trouble: str | None = None) -> None:
    with ledger.transaction() as session:
        heartbeats.record_heartbeat(session, name, period_s=5, trouble=trouble, at=utc_now())


@pytest.mark.parametrize("form", ["text", "html", "json"])
def test_report_lists_reasons_slowest_images_and_problems(night: Ledger, form: str) -> None:
    with night.transaction() as session:
        receive(session, arrival(100), arrival(101), run="=1+1<b>")
    for name in ("watch", "sweeper"):
        beats(night, name)
    beats(night, "worker", trouble="<no store>")
    text = html.unescape(written(night, form))
    order = [
        '"balanced": true' if form == "json" else "All files are accounted for.",
        '"blank": 1' if form == "json" else "Not scored: 1 rejected, 0 quarantined (1 blank)",
        "12.5" if form != "text" else "Slowest: image 4 (12 ms)",
        "Flagged or uncertain images to read: 3.",
        "Images that are pending or being scored: 2.",
        "is waiting: <no store>.",
    ]
    at = [text.index(part) for part in order]
    assert at == sorted(at)
    assert "Quarantined images" not in text, "no sentence without such images"


def test_quarantined_image_is_open_work(night: Ledger) -> None:
    with night.transaction() as session:
        session.execute(update(Image).where(Image.state == "rejected").values(state="quarantined"))
    document = json.loads(written(night, "json"))
    assert document["look_at"] == [
        "Flagged or uncertain images to read: 3.",
        "Quarantined images: 1. Scoring failed on every attempt. Check the reason, then retry the images.",
    ]


def test_csv_says_whether_files_are_accounted_for(night: Ledger) -> None:
    def said() -> set[str]:
        return {row["balanced"] for row in csv.DictReader(io.StringIO(written(night, "csv")))}

    assert said() == {"yes"}
    with night.transaction() as session:
        session.execute(update(Image).where(Image.id == 1).values(state="lost"))
    assert said() == {"NO"}


def test_csv_runs_no_formula_in_a_spreadsheet(night: Ledger) -> None:
    rows = list(csv.DictReader(io.StringIO(written(night, "csv"))))
    assert [row["file"] for row in rows] == [f"'{NAMES[0]}", *NAMES[1:4], f"'{NAMES[4]}"]
    assert [row["state"] for row in rows] == [*["scored"] * 4, "rejected"]
    for row in rows:
        assert not [cell for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_html_escapes_the_names_of_files_and_runs(night: Ledger) -> None:
    page = written(night, "html")
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page
    open_tags: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 - the parser's own
            open_tags.extend([tag] if tag not in {"meta", "br"} else [])

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Parser().feed(page)
    assert open_tags == []


def test_text_has_no_control_characters(night: Ledger) -> None:
    text = written(night, "text")
    assert "\x1b" not in text
    assert "clear?[2J screen.jpg" in text
    assert "Flagged or uncertain: 3 (1 uncertain), 3 unread." in text
    assert all(line.isprintable() for line in text.splitlines())


def test_report_is_of_the_named_or_the_latest_run(night: Ledger) -> None:
    with night.reading() as session:
        assert read_report(session, "=1+1<b>")
        with pytest.raises(LookupError, match="There is no run named 'x'"):
            read_report(session, "x")


def test_report_without_a_run_is_an_error(tmp_path: Path) -> None:
    ledger = current_ledger(f"sqlite:///{tmp_path / 'empty.sqlite3'}")
    with ledger.reading() as session, pytest.raises(LookupError, match="There is no run yet"):
        read_report(session, None)
    ledger.close()


@pytest.mark.parametrize(
    "start",
    [
        "=",
        "+",
        "-",
        "@",
        "\t",
        "\uff1d",
        "\uff0b",
        "\uff0d",
        "\uff20",
        "\ufe66",
        "\ufe62",
        "\ufe63",
        "\u2212",
        " =",
        "\u3000=",
    ],
)
def test_csv_escapes_lookalikes_of_a_formula(start: str) -> None:
    assert escape_formula(f"{start}cmd|' /C calc'!A0").startswith("'")


@pytest.mark.parametrize("name", ["phantom-001.jpg", "A&E 3", "\u03b1.png", "(=1).jpg", ""])
def test_csv_leaves_other_names_as_they_are(name: str) -> None:
    assert escape_formula(name) == name


@pytest.fixture
def mixed(tmp_path: Path) -> Iterator[Ledger]:
    """A run with two patients outside the population, three of unknown age, and one inside."""
    ledger = current_ledger(f"sqlite:///{tmp_path / 'mixed.sqlite3'}")
    for number, population in enumerate(["outside"] * 2 + ["unknown"] * 3 + ["inside"]):
        score(ledger, fill(ledger, number), p_pneumonia=0.1 + number / 10, population=population)
    yield ledger
    ledger.close()


@pytest.mark.parametrize("form", ["text", "html"])
def test_report_counts_other_patients_once(mixed: Ledger, form: str) -> None:
    text = html.unescape(written(mixed, form))
    assert "Patients of the 6 scored images: 2 outside the model's population, 3 of unknown age." in text
    assert text.count("unknown") == 1, "a site without ages would see it in every row"


@pytest.mark.parametrize("form", ["text", "html"])
def test_report_without_other_patients_says_nothing_of_them(night: Ledger, form: str) -> None:
    assert "Patients of the" not in written(night, form)


def test_documents_hold_the_population_of_each_image(mixed: Ledger) -> None:
    document = json.loads(written(mixed, "json"))
    assert (document["inside_population"], document["outside_population"], document["unknown_age"]) == (
        1,
        2,
        3,
    )
    listed = {row["image"]: row["population"] for row in document["flagged_images"]}
    assert listed == {1: "outside", 2: "outside", 4: "unknown", 5: "unknown", 6: "inside"}
    rows = list(csv.DictReader(io.StringIO(written(mixed, "csv"))))
    assert {int(row["image"]): row["population"] for row in rows} == listed | {3: "unknown"}
    assert {(row["outside_population"], row["unknown_age"]) for row in rows} == {("2", "3")}


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Ledger]:
    """A run with two images far from the training data, and two near it."""
    ledger = current_ledger(f"sqlite:///{tmp_path / 'far.sqlite3'}")
    for number, distance in enumerate((1.2, 0.8, 3.0, 0.9)):
        score(ledger, fill(ledger, number), distance=distance)
    yield ledger
    ledger.close()


def test_every_format_counts_far_images(far: Ledger) -> None:
    for form in ("text", "html"):
        text = html.unescape(written(far, form))
        assert "Far from the training data: 2 of 4 scored images (50.0 %)." in text
        assert "may not hold" not in text, "two images are no sign of anything"
    document = json.loads(written(far, "json"))
    assert (document["distance_known"], document["far_from_training_data"]) == (4, 2)
    rows = list(csv.DictReader(io.StringIO(written(far, "csv"))))
    assert {(row["distance_known"], row["far_from_training_data"]) for row in rows} == {("4", "2")}


def test_report_says_if_many_images_are_far(far: Ledger) -> None:
    score(far, fill(far, 5, 6, 7), distance=1.1)
    for form in ("text", "html"):
        text = html.unescape(written(far, form))
        assert "5 of 7 scored images (71.4 %). The model has learnt from few images like these" in text


@pytest.mark.parametrize("form", ["text", "html"])
def test_report_of_a_model_without_distance_says_nothing_of_it(night: Ledger, form: str) -> None:
    assert "training data" not in written(night, form)


@pytest.fixture
def described(tmp_path: Path) -> Iterator[Ledger]:
    """A flagged and a rejected image of patients of whom all is known, and a flagged one of whom nothing is."""
    ledger = current_ledger(f"sqlite:///{tmp_path / 'described.sqlite3'}")
    first, second = replace(arrival(1), identity=identity(1)), replace(arrival(2), identity=identity(2))
    with ledger.transaction() as session:
        rows = receive(session, first, second, arrival(3))
    ids = [row.image_id for row in rows if row]
    lease_images(ledger, ids)
    refused = [RejectionRecord(ids[1], "blank", "The image shows nothing.")]
    record(ledger, known_model(ledger), [result(ids[0], 0.9), result(ids[2], 0.8)], refused)
    yield ledger
    ledger.close()


def test_every_format_says_age_with_its_source_sex_and_view(described: Ledger) -> None:
    known = identity(1)
    document = json.loads(written(described, "json"))
    first, second = document["flagged_images"]
    expected = {name: getattr(known, name) for name in PATIENT_COLUMNS}
    assert {name: first[name] for name in PATIENT_COLUMNS} == expected
    assert {second[name] for name in PATIENT_COLUMNS} == {None}
    assert [row["age_years"] for row in document["turned_away_images"]] == [4.0]
    rows = list(csv.DictReader(io.StringIO(written(described, "csv"))))
    told = {name: str(value) for name, value in expected.items()} | {"age_years": "4"}
    assert [{name: row[name] for name in PATIENT_COLUMNS} for row in rows] == [
        told, dict.fromkeys(PATIENT_COLUMNS, ""), told
    ]  # fmt: skip
    for form in ("text", "html"):
        text = written(described, form)
        assert all(name in text for name in PATIENT_COLUMNS)
        assert str(known.age_source) in text


def test_report_for_who_may_not_see_images_says_nothing_of_patients(described: Ledger) -> None:
    with described.reading() as session:
        run = find_run(session, None)
        assert run is not None
        report = report_of(session, run, names=False)
    assert str(identity(1).age_source) not in "".join(write(report) for write in FORMATS.values())


NOTE, OTHER, WHY = "=left base\nDoe", "old fracture", "Doe called"
WORDS = (NOTE, OTHER, WHY)


@pytest.fixture
def read_night(night: Ledger) -> Ledger:
    """The night, with readings of a flagged, the clear and the rejected image."""
    ada, ben = known_reader(night, "Ada"), known_reader(night, "=Ben")
    with night.transaction() as session:
        seen = Seen(1, score_shown=True, map_shown=False, open_ms=4_321)
        first = review.decide(session, 1, reader_id=ada, statement=Statement(Finding.SIGNS), at=AT)
        said = Statement(Finding.NOT_JUDGED, NotJudged.WRONG_VIEW, NOTE, OTHER)
        review.amend(session, first.id, reader_id=ada, statement=said, why=WHY, at=AT, seen=seen)
        review.decide(session, 4, reader_id=ben, statement=Statement(Finding.NO_SIGNS), at=AT)
        wanted = Statement(Finding.SECOND_OPINION)
        review.decide(session, 5, reader_id=ben, statement=wanted, at=AT, seen=Seen(0, score_shown=False))
    return night


def rows_of(text: str) -> dict[str, dict[str, str]]:
    return {row["image"]: row for row in csv.DictReader(io.StringIO(text))}


def test_csv_has_the_reading_of_each_image(read_night: Ledger) -> None:
    rows = rows_of(written(read_night, "csv"))
    assert list(rows) == ["1", "2", "3", "4", "5"]
    assert {name: rows["1"][name] for name in READING_COLUMNS} == {
        "finding": "cannot_be_judged",
        "finding_reason": "wrong_view",
        "other_finding": OTHER,
        "note": f"'{NOTE}",
        "reader": "Ada",
        "reader_id": "1",
        "read_at": "2026-03-01T22:00:00.000+00:00",
        "reading": "2",
        "amended": "yes",
        "amended_why": WHY,
        "score_shown": "yes",
        "map_shown": "no",
        "open_ms": "4321",
    }
    assert {rows["2"][name] for name in READING_COLUMNS} == {""}
    assert (rows["4"]["verdict"], rows["4"]["finding"], rows["4"]["reader"]) == ("clear", "no_signs", "'=Ben")
    assert (rows["5"]["p_pneumonia"], rows["5"]["finding"], rows["5"]["score_shown"]) == (
        "", "second_opinion", "no"
    )  # fmt: skip
    assert rows["4"]["open_ms"] == rows["4"]["score_shown"] == ""


def test_documents_have_the_reading_of_each_image(read_night: Ledger) -> None:
    document = json.loads(written(read_night, "json"))
    flagged, clear = document["flagged_images"][0], document["clear_images"][0]
    assert (flagged["finding_reason"], flagged["note"], flagged["score_shown"]) == ("wrong_view", NOTE, True)
    assert (clear["finding"], clear["reader"], clear["open_ms"]) == ("no_signs", "=Ben", None)
    assert document["turned_away_images"][0]["finding"] == "second_opinion"
    assert "Images for which a second opinion is wanted: 1." in document["look_at"]


@pytest.mark.parametrize("form", ["text", "html"])
def test_people_read_findings_readers_and_words(read_night: Ledger, form: str) -> None:
    text = html.unescape(written(read_night, form))
    assert "Images that were read: 3" in text
    for part in (
        "cannot_be_judged",
        "wrong_view",
        "Ada",
        "=Ben",
        OTHER,
        WHY,
        "left base",
        "4321",
        "Clear: 1",
    ):
        assert part in text


def test_every_image_of_the_run_has_a_row(read_night: Ledger) -> None:
    with read_night.transaction() as session:
        receive(session, arrival(100), run="=1+1<b>")
        erasures.erase(session, [2], who="os:1", why="asked", at=AT)
    rows = rows_of(written(read_night, "csv"))
    assert [(row["image"], row["state"]) for row in rows.values() if row["state"] not in {"scored", "rejected"}] == [
        ("2", "erased"), ("6", "pending")
    ]  # fmt: skip
    assert len(rows) == 6


def test_report_without_names_has_findings_and_no_words(read_night: Ledger) -> None:
    with read_night.reading() as session:
        run = find_run(session, None)
        assert run is not None
        report = report_of(session, run, names=False)
    texts = {form: write(report) for form, write in FORMATS.items()}
    for text in texts.values():
        assert not [word for word in ("Ada", "Ben", "Doe", "left base", OTHER) if word in text]
    rows = rows_of(texts["csv"])
    assert (rows["1"]["finding"], rows["1"]["reader"], rows["1"]["reader_id"]) == (
        "cannot_be_judged", "reader 1", "1"
    )  # fmt: skip


def test_erasure_removes_the_words_of_readers_from_reports(read_night: Ledger) -> None:
    with read_night.transaction() as session:
        erasures.erase(session, [1], who="os:1", why="asked", at=AT)
    for form in FORMATS:
        text = written(read_night, form)
        assert not [word for word in WORDS if word.split("\n")[0].lstrip("=") in text]


def test_lists_for_people_say_that_they_are_cut(night: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (content, text_format, html_page):
        monkeypatch.setattr(module, "SHOWN", 2)
    for form in ("text", "html"):
        with night.reading() as session:
            report = read_report(session, None, whole=False)
        assert len(report.figures.flagged) == 2
        assert "Only the first 2 of 3 flagged or uncertain images are listed." in FORMATS[form](report)


def test_whole_lists_say_how_many_images_are_missing(
    night: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert written(night, "csv").count("not_listed") == 0
    monkeypatch.setattr(reports, "LISTED", 2)
    sentence = "Only the first 2 of 3 flagged or uncertain images are listed. Missing: 1."
    rows = list(csv.DictReader(io.StringIO(written(night, "csv"))))
    assert [(row["image"], row["state"], row["reason"]) for row in rows if row["state"] == "not_listed"] == [
        ("", "not_listed", sentence)
    ]
    assert len(rows) == 2 + 1 + 1 + 1, "flagged, clear, rejected, and the row that says so"
    assert json.loads(written(night, "json"))["look_at"][0] == sentence
    monkeypatch.setenv("NIGHTREAD_DATA", str(tmp_path))
    monkeypatch.setenv("NIGHTREAD_DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    done = CliRunner().invoke(nightread, ["report", "--format", "csv"])
    assert (done.exit_code, done.stderr.splitlines()[-1:]) == (0, [sentence]), done.output


def test_data_dictionary_names_each_column_and_code() -> None:
    page = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(COLUMNS)
    for code in (*Finding, *NotJudged, *ReviewState, *ImageState, NOT_LISTED):
        assert f"`{code}`" in page
