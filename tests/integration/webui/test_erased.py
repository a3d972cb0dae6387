"""An erased image: its page says so, and its name, note and picture are nowhere."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator

from tests.filling import AT, known_reader
from tests.integration.webui.night import RUN, Night
from tests.unit.webui.test_openapi import DESCRIPTION
from worker.erasing import Eraser
from worker.ledger import retention, review
from worker.ledger.findings import Finding, Statement
from worker.store import open_store

NOTE = "DOE^JANE: left base"


@pytest.fixture
def erased(night: Night) -> Night:
    """The night after image 1, which was read with a note, and image 2 were erased."""
    reader_id = known_reader(night.ledger)
    with night.ledger.transaction() as session:
        review.decide(session, 1, reader_id=reader_id, statement=Statement(Finding.SIGNS, note=NOTE), at=AT)
    Eraser(night.ledger, open_store(night.settings)).erase([1, 2], who="os:1", why="asked for by letter")
    return night


@pytest.mark.usefixtures("erased")
def test_page_of_an_erased_image_says_so(client: FlaskClient) -> None:
    page = client.get("/review/1")
    assert page.status_code == 200
    assert "This image was erased" in page.text
    assert "asked for by letter" in page.text
    assert "phantom-000.jpg" not in page.text
    assert NOTE not in page.text
    assert "/images/1/" not in page.text


@pytest.mark.usefixtures("erased")
@pytest.mark.parametrize(
    "kind",
    ["picture", "values.png", "grey.json", "thumb.jpg", "preview.jpg", "original", "map.png", "outline.svg"],
)
def test_no_picture_of_an_erased_image_is_sent(client: FlaskClient, kind: str) -> None:
    method = "POST" if kind == "original" else "GET"
    answer = client.open(f"/images/1/{kind}", method=method, data={"reason": "second opinion"})
    assert answer.status_code == 410
    assert "Image 1 was erased." in answer.text


@pytest.mark.usefixtures("erased")
@pytest.mark.parametrize(
    "path",
    ["/review?verdict=any&reading=any", "/review", "/rejected", "/rescored", "/api/v1/queue?reading=any"],
)
def test_lists_leave_an_erased_image_out(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert "phantom-000.jpg" not in answer.text
    assert "/review/1?" not in answer.text
    assert '"image":1,' not in answer.text.replace(" ", "")


@pytest.mark.usefixtures("erased")
def test_api_describes_an_erased_image(client: FlaskClient) -> None:
    document = client.get("/api/v1/images/1").get_json()
    schema = {"$ref": "#/components/schemas/Image", "components": DESCRIPTION["components"]}
    Draft202012Validator(schema).validate(document)
    assert (document["state"], document["file"], document["verdict"]) == ("erased", "(erased)", None)
    assert (document["erased_why"], document["map"]) == ("asked for by letter", None)
    assert document["erased_at"]
    assert [reading["note"] for reading in document["reviews"]] == [""]
    assert [receipt["file"] for receipt in document["receipts"]] == ["(erased)"]


def test_page_of_an_image_whose_time_is_over_says_so(client: FlaskClient, night: Night) -> None:
    with night.ledger.transaction() as session:
        retention.bytes_removed(session, [3], AT)
    page = client.get("/review/3")
    assert "is not kept any more" in page.text
    assert "/images/3/" not in page.text
    assert "phantom-002.jpg" in page.text
    for kind in ("picture", "thumb.jpg", "map.png"):
        assert client.get(f"/images/3/{kind}").status_code == 410


@pytest.mark.usefixtures("erased")
@pytest.mark.parametrize("form", ["text", "html", "csv", "json"])
def test_report_counts_erased_images_and_names_none(client: FlaskClient, form: str) -> None:
    report = client.get(f"/api/v1/runs/{RUN}/report?format={form}")
    assert report.status_code == 200
    assert "phantom-000.jpg" not in report.text
    assert {"text": "+ 2 erased", "html": "+ 2 erased", "csv": "yes", "json": '"erased": 2'}[
        form
    ] in report.text


@pytest.mark.usefixtures("erased")
def test_status_and_metrics_count_erased_images(client: FlaskClient) -> None:
    status = client.get("/api/v1/status").get_json()
    assert (status["erased"], status["scored"], status["balanced"]) == (2, 6, True)
    assert 'nightread_images{state="erased"} 2.0' in client.get("/metrics").text
