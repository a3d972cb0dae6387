"""Upload: every file gets an outcome in words, whatever its name and content."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.test import TestResponse

from tests.hostile_objects import hostile_objects
from tests.integration.webui.conftest import Reader
from tests.integration.webui.night import RUN, Night, copies, open_night, phantoms
from tests.signing_in import signed_in_client
from webui import create_app
from webui.uploads import MAX_FILES
from worker.ledger.file_counts import file_counts
from worker.ledger.states import Lane
from worker.ledger.tables import Image, Receipt

File = tuple[str, bytes]


def upload(client: FlaskClient, files: Sequence[File], url: str = "/upload", **fields: str) -> TestResponse:
    """Post files as a form of a browser does (names as in the HTML standard, 4.10.21.8, step 1)."""
    data = {"files": [(io.BytesIO(content), _in_header(name)) for name, content in files], **fields}
    return client.post(url, data=data, content_type="multipart/form-data")


def _in_header(name: str) -> str:
    return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")


@pytest.fixture
def fresh(phantom_folder: Path) -> list[File]:
    """Two phantoms that have not arrived before."""
    return [(path.name, path.read_bytes()) for path in phantoms(phantom_folder, [501, 502])]


def test_form_leads_to_a_page_with_the_state_of_each_file(
    reader: Reader, night: Night, fresh: list[File]
) -> None:
    ada = reader("Ada")
    answer = upload(ada, fresh)
    assert (answer.status_code, answer.location) == (303, "/upload?receipts=9-10")
    page = ada.get(answer.location).text
    assert page.count('class="arrival"') == page.count("data-waiting=") == 2
    assert '<noscript><meta http-equiv="refresh"' in page
    night.score({9: 0.8, 10: 0.1})
    rows = ada.get("/upload/rows?receipts=9-10").text
    assert "data-waiting" not in rows
    assert [rows.count(word) for word in ("flagged", "clear", "PHANTOM", "0.80")][2:] == [2, 1]
    assert re.search(r"flagged</span>", rows)
    assert re.search(r"clear</span>", rows)


def test_receipt_has_source_reader_and_run(reader: Reader, night: Night, fresh: list[File]) -> None:
    ada = reader("Ada")
    upload(ada, fresh, run="a run")
    with night.ledger.reading() as session:
        receipt, image = session.get_one(Receipt, 9), session.get_one(Image, 9)
        assert (receipt.source, receipt.received_by, receipt.run.name) == ("upload", "user:1", "a run")
        assert image.lane == Lane.URGENT
    assert ", by Ada</dd>" in ada.get("/review/9").text
    assert ada.get("/api/v1/images/9").get_json()["receipts"][0]["received_by"] == "Ada"
    assert list(night.settings.incoming.iterdir()) == []


def test_upload_without_a_broker_says_that_images_are_stored(reader: Reader, fresh: list[File]) -> None:
    ada = reader("Ada")
    page = upload(ada, fresh).location
    assert page is not None
    assert "The images are stored. Nightread will queue them later, automatically." in ada.get(page).text


def test_duplicate_shows_the_existing_verdict(reader: Reader, phantom_folder: Path) -> None:
    content = (phantom_folder / "phantom-000.jpg").read_bytes()
    ada = reader("Ada")
    location = upload(ada, [("again.jpg", content)]).location
    assert location is not None
    page = " ".join(ada.get(location).text.split())
    assert "Duplicate: this file arrived before as phantom-000.jpg." in page
    assert "flagged</span>" in page
    assert 'href="/review/1?verdict=any"' in page


def test_rejected_file_shows_its_reason(reader: Reader, night: Night, phantom_folder: Path) -> None:
    whole = (phantom_folder / "phantom-000.jpg").read_bytes()
    bad = [
        ("empty.jpg", b""),
        ("notes.txt", b"hello"),
        ("page.html", b"<script>alert(1)</script>"),
        ("film.gif", b"GIF89a" + bytes(40)),
        ("chest.dcm", bytes(128) + b"DICM" + bytes(40)),
        ("bomb.png", whole[:100] + bytes(1000)),
    ]
    ada = reader("Ada")
    location = upload(ada, bad).location
    assert location == "/upload?receipts=9-14"
    page = ada.get(location).text
    assert page.count(">rejected</span>") == len(bad)
    for text in (
        "The file is empty.",
        "not an image that Nightread can read",
        "Nightread does not read GIF files",
        "The DICOM object is damaged",
    ):
        assert text in page
    with night.ledger.reading() as session:
        assert file_counts(session).balanced
        assert file_counts(session).rejected == len(bad)


def test_too_large_file_is_rejected_with_a_receipt(tmp_path: Path) -> None:
    night = open_night(tmp_path / "small", max_bytes=2_000)
    client = signed_in_client(create_app(night.settings))
    answer = upload(client, [("large.jpg", b"\xff\xd8\xff" + bytes(5_000))], "/api/v1/images")
    assert answer.get_json()[0]["outcome"] == "rejected"
    assert "the limit is 2000" in answer.get_json()[0]["reason"]
    with night.ledger.reading() as session:
        assert session.get_one(Receipt, 1).bytes == 2_001
    assert list(night.settings.incoming.iterdir()) == []
    night.ledger.close()


def test_full_disk_refuses_the_upload_before_reading_it(tmp_path: Path) -> None:
    night = open_night(tmp_path / "full", min_free_bytes=10**18)
    client = signed_in_client(create_app(night.settings))
    answer = upload(client, [("a.jpg", bytes(500))], "/api/v1/images")
    assert answer.status_code == 507
    assert "less than 1,000,000,000,000 MB: no file is accepted" in answer.get_json()["error"]
    assert "Retry-After" in answer.headers
    assert not any(night.settings.incoming.glob("*"))
    with night.ledger.reading() as session:
        assert file_counts(session).received == 0
    night.ledger.close()


def test_too_large_request_is_refused(tmp_path: Path) -> None:
    night = open_night(tmp_path / "small", max_bytes=2_000)
    client = signed_in_client(create_app(night.settings))
    answer = upload(client, [("huge.jpg", bytes(20_000))], "/api/v1/images")
    assert answer.status_code == 413
    assert answer.get_json() == {
        "error": "The request is too large, has too many parts, or has too long a field. Send at most 1,000 files at once."
    }
    assert not any(night.settings.incoming.glob("*"))
    night.ledger.close()


def test_files_sent_to_another_page_are_not_stored(reader: Reader, night: Night, fresh: list[File]) -> None:
    answer = upload(reader("Ada"), fresh, "/review/1/decide", finding="signs_of_pneumonia")
    assert answer.status_code in {303, 413}
    assert not any(night.settings.incoming.glob("*"))


HOSTILE_NAMES = [
    "<script>alert(1)</script>.jpg",
    '"><img src=x onerror=alert(1)>.jpg',
    "{{ 7 * 7 }}.jpg",
    "two\nlines.jpg",
    "x\u202egpj.exe",
    "n" * 296 + ".jpg",
    "../../etc/passwd",
    "C:\\Users\\me\\chest.jpg",
    "nul\x00byte.jpg",
]


def check_pages(client: FlaskClient, *urls: str) -> None:
    """Check that the pages show the hostile names as text only."""
    for url in urls:
        page = client.get(url)
        assert page.status_code == 200
        for raw in ("<script>alert", "<img src=x", "49.jpg", "\u202e", "\x00"):
            assert raw not in page.text, url


def test_hostile_names_are_escaped(
    reader: Reader, night: Night, phantom_folder: Path, tmp_path: Path
) -> None:
    ada = reader("Ada")
    files = copies(phantom_folder, len(HOSTILE_NAMES))
    for number, (name, path) in enumerate(zip(HOSTILE_NAMES, files, strict=True), 9):
        answer = upload(ada, [(name, path.read_bytes())], "/api/v1/images", run=RUN)
        assert answer.get_json()[0]["outcome"] == "new"
        assert not {"/", "\\"} & set(answer.get_json()[0]["file"])
        check_pages(ada, f"/upload?receipts={number}", f"/review/{number}", f"/runs/{RUN}")
        night.score({number: 0.9})
        check_pages(ada, f"/upload?receipts={number}", f"/review/{number}", "/review?verdict=any&reading=any")
    bad = tmp_path / "bad"
    for number, name in enumerate(HOSTILE_NAMES):
        bad.write_bytes(b"no image %d" % number)
        night.accept([bad], names=[name])
    check_pages(ada, "/rejected")


def test_largest_upload_leads_to_a_page_with_all_of_it(reader: Reader) -> None:
    ada = reader("Ada")
    files = [(f"{number}.jpg", b"no image") for number in range(MAX_FILES)]
    answer = upload(ada, files, run="large", patient="4711", age_years="3", sex="F", view="PA")
    assert answer.status_code == 303
    assert ada.get(answer.location).text.count('class="arrival"') == MAX_FILES
    one_more = upload(ada, [*files, ("one.jpg", b"more")])
    assert (one_more.status_code, "Send at most 1,000 files at once." in one_more.text) == (413, True)


def test_upload_without_files_says_so(reader: Reader) -> None:
    answer = reader("Ada").post("/upload", data={}, follow_redirects=True)
    assert "No file was selected." in answer.text


def test_each_hostile_object_gets_an_answer(client: FlaskClient, night: Night) -> None:
    objects = hostile_objects(width=160)
    for number, data in enumerate(objects.values()):
        assert upload(client, [(f"{number}.dcm", data)]).status_code == 303
    with night.ledger.reading() as session:
        counts = file_counts(session)
        outcomes = Counter(session.scalars(select(Receipt.outcome).where(Receipt.source == "upload")))
    assert counts.balanced
    assert outcomes["new"] + outcomes["rejected"] == len(objects)
    assert outcomes["rejected"] > len(objects) // 3
