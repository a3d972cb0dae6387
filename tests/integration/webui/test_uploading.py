"""Upload: each file has its outcome in words, whatever it is called and whatever it is."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.integration.webui.conftest import Reader
from tests.integration.webui.night import RUN, Night, begin, phantoms
from webui import create_app
from worker.ledger.reports import file_counts
from worker.ledger.states import Lane
from worker.ledger.tables import Image, Receipt

File = tuple[str, bytes]
BESIDE = {"X-Nightread-Reader": "Ada"}


def send(client: FlaskClient, files: Sequence[File], url: str = "/upload", **fields: str) -> TestResponse:
    """Post files as a browser's plain form does (names as in HTML, 4.10.21.8, step 1)."""
    data = {"files": [(io.BytesIO(content), _in_header(name)) for name, content in files], **fields}
    headers = BESIDE if url.startswith("/api") else None
    return client.post(url, data=data, content_type="multipart/form-data", headers=headers)


def _in_header(name: str) -> str:
    return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")


@pytest.fixture
def fresh(drawn: Path) -> list[File]:
    """Two phantoms that the ledger does not know."""
    return [(path.name, path.read_bytes()) for path in phantoms(drawn, [501, 502])]


def test_a_plain_form_leads_to_a_page_with_each_files_state(
    reader: Reader, night: Night, fresh: list[File]
) -> None:
    ada = reader("Ada")
    sent = send(ada, fresh)
    assert (sent.status_code, sent.location) == (303, "/upload?receipts=9-10")
    page = ada.get(sent.location).text
    assert page.count('class="arrival"') == page.count("data-waiting=") == 2
    assert '<noscript><meta http-equiv="refresh"' in page
    night.score({9: 0.8, 10: 0.1})
    rows = ada.get("/upload/rows?receipts=9-10").text
    assert "data-waiting" not in rows
    assert [rows.count(word) for word in ("flagged", "clear", "PHANTOM", "0.80")][2:] == [2, 1]
    assert re.search(r"flagged</span>", rows)
    assert re.search(r"clear</span>", rows)


def test_an_upload_is_recorded_as_one_under_its_readers_name(
    reader: Reader, night: Night, fresh: list[File]
) -> None:
    send(reader("Ada"), fresh, run="a run")
    with night.ledger.reading() as session:
        receipt, image = session.get_one(Receipt, 9), session.get_one(Image, 9)
        assert (receipt.source, receipt.received_by, receipt.run.name) == ("upload", "Ada", "a run")
        assert image.lane == Lane.URGENT
    assert list(night.settings.incoming.iterdir()) == []


def test_without_the_broker_the_images_are_kept_and_it_says_so(reader: Reader, fresh: list[File]) -> None:
    ada = reader("Ada")
    page = send(ada, fresh).location
    assert page is not None
    assert "What arrived is kept and will be queued by itself." in ada.get(page).text


def test_a_duplicate_shows_the_verdict_that_is_known(reader: Reader, drawn: Path) -> None:
    known = (drawn / "phantom-000.jpg").read_bytes()
    ada = reader("Ada")
    location = send(ada, [("again.jpg", known)]).location
    assert location is not None
    page = " ".join(ada.get(location).text.split())
    assert "The same picture is known already, as phantom-000.jpg; it is not counted twice." in page
    assert "flagged</span>" in page
    assert 'href="/review/1?verdict=any"' in page


def test_a_bad_file_is_answered_in_a_sentence(reader: Reader, night: Night, drawn: Path) -> None:
    whole = (drawn / "phantom-000.jpg").read_bytes()
    bad = [
        ("empty.jpg", b""),
        ("notes.txt", b"hello"),
        ("page.html", b"<script>alert(1)</script>"),
        ("film.gif", b"GIF89a" + bytes(40)),
        ("chest.dcm", bytes(128) + b"DICM" + bytes(40)),
        ("bomb.png", whole[:100] + bytes(1000)),
    ]
    ada = reader("Ada")
    location = send(ada, bad).location
    assert location == "/upload?receipts=9-14"
    page = ada.get(location).text
    assert page.count("turned away") >= len(bad)
    for said in (
        "The file is empty.",
        "not an image that Nightread can read",
        "Nightread does not read GIF files",
        "Nightread cannot read DICOM files",
    ):
        assert said in page
    with night.ledger.reading() as session:
        assert file_counts(session).balanced
        assert file_counts(session).rejected == len(bad)


def test_a_file_over_the_limit_is_turned_away_on_record(tmp_path: Path) -> None:
    night = begin(tmp_path / "small", max_bytes=2_000)
    client = create_app(night.settings).test_client()
    answer = send(client, [("large.jpg", b"\xff\xd8\xff" + bytes(5_000))], "/api/v1/images")
    assert answer.get_json()[0]["outcome"] == "rejected"
    assert "the limit is 2000" in answer.get_json()[0]["reason"]
    with night.ledger.reading() as session:
        assert session.get_one(Receipt, 1).bytes == 2_001
    assert list(night.settings.incoming.iterdir()) == []
    night.ledger.close()


def test_a_nearly_full_disk_is_said_before_anything_is_read(tmp_path: Path) -> None:
    night = begin(tmp_path / "full", min_free_bytes=10**18)
    client = create_app(night.settings).test_client()
    answer = send(client, [("a.jpg", bytes(500))], "/api/v1/images")
    assert answer.status_code == 507
    assert "less than 1,000,000,000,000 MB: no file is accepted" in answer.get_json()["error"]
    assert "Retry-After" in answer.headers
    assert not any(night.settings.incoming.glob("*"))
    with night.ledger.reading() as session:
        assert file_counts(session).received == 0
    night.ledger.close()


def test_more_than_a_request_may_hold_is_refused_at_once(tmp_path: Path) -> None:
    night = begin(tmp_path / "small", max_bytes=2_000)
    client = create_app(night.settings).test_client()
    answer = send(client, [("huge.jpg", bytes(20_000))], "/api/v1/images")
    assert answer.status_code == 413
    assert answer.get_json() == {"error": "More was sent at once than is taken. Send fewer files together."}
    assert not any(night.settings.incoming.glob("*"))
    night.ledger.close()


def test_files_sent_to_another_address_are_not_kept(reader: Reader, night: Night, fresh: list[File]) -> None:
    answer = send(reader("Ada"), fresh, "/review/1/decide", action="confirm")
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


PAGES = ("/upload?receipts=9", "/review/9", "/review?verdict=any&reading=any", "/rejected", f"/runs/{RUN}")


def look_everywhere(client: FlaskClient) -> None:
    """No page may show any part of these names but as text."""
    for url in PAGES:
        page = client.get(url)
        assert page.status_code == 200
        for raw in ("<script>alert", "<img src=x", "49.jpg", "\u202e", "\x00"):
            assert raw not in page.text


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_name_is_only_a_name(reader: Reader, night: Night, fresh: list[File], name: str) -> None:
    ada = reader("Ada")
    answer = send(ada, [(name, fresh[0][1])], "/api/v1/images", run=RUN)
    assert answer.get_json()[0]["outcome"] == "new"
    assert not {"/", "\\"} & set(answer.get_json()[0]["file"])
    look_everywhere(ada)
    night.score({9: 0.9})
    look_everywhere(ada)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_nor_is_one_that_came_by_the_folder(reader: Reader, night: Night, tmp_path: Path, name: str) -> None:
    path = tmp_path / "bad"
    path.write_bytes(b"no image")
    night.accept([path], names=[name])
    look_everywhere(reader("Ada"))


def test_no_file_chosen_is_said(reader: Reader) -> None:
    answer = reader("Ada").post("/upload", data={}, follow_redirects=True)
    assert "No file was chosen." in answer.text


def test_uploading_needs_a_name(client: FlaskClient, fresh: list[File]) -> None:
    answer = send(client, fresh)
    assert (answer.status_code, answer.location) == (303, "/reader?next=/review")
    assert "Uploads are recorded under a name." in client.get("/upload").text
