"""A script gets the page of the next image with the answer to a decision; a page fetches the next picture ahead."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.integration.webui.conftest import Reader
from tests.integration.webui.night import Night
from tests.integration.webui.test_sending_again import SCRIPT
from tests.signing_in import sign_in
from worker.ledger.roles import Role
from worker.ledger.tables import Image

SIGNS = {"finding": "signs_of_pneumonia", "prediction": "1", "go_on": "1"}


@pytest.fixture
def ada(reader: Reader) -> FlaskClient:
    """A reader."""
    return reader("Ada")


def decided(client: FlaskClient, address: str, **fields: str) -> dict[str, Any]:
    answer = client.post(address, data=SIGNS | fields, headers=SCRIPT)
    assert answer.status_code == 200
    document: dict[str, Any] = answer.get_json()
    return document


def test_answer_to_a_decision_holds_the_next_image(ada: FlaskClient) -> None:
    answer = decided(ada, "/review/1/decide?verdict=any")
    assert answer["open"] == "/review/2?verdict=any"
    assert "<title>Image 2" in answer["page"]
    assert "Recorded: signs of pneumonia" in answer["page"]
    assert "Recorded" not in ada.get("/review/2").text


def test_answer_to_an_undone_reading_holds_its_image(ada: FlaskClient) -> None:
    decided(ada, "/review/1/decide")
    answer = ada.post("/review/undo", data={"go_on": "1"}, headers=SCRIPT).get_json()
    assert answer["open"] == "/review/1"
    assert "Taken back: signs of pneumonia" in answer["page"]


def test_script_opens_the_summary_after_the_last_image(ada: FlaskClient) -> None:
    answer = decided(ada, "/review/1/decide?run=77")
    assert answer["open"] == "/review/summary?run=77"
    assert "page" not in answer


def test_reading_that_is_sent_late_opens_nothing(ada: FlaskClient) -> None:
    assert "page" not in decided(ada, "/review/1/decide", go_on="0")


def test_page_fetches_the_picture_ahead_that_a_decision_would_open(
    ada: FlaskClient, reader: Reader, night: Night
) -> None:
    def ahead(image_id: int) -> bool:
        with night.ledger.reading() as session:
            sha256 = session.get_one(Image, image_id).sha256
        address = f'data-ahead="/images/{image_id}/picture?v={sha256[:16]}"'
        return address in ada.get("/review/1").text

    assert ahead(2)
    reader("Bob").post("/review/2/claim")
    assert ahead(3)


def test_page_of_a_viewer_fetches_nothing_ahead(app: Flask, night: Night) -> None:
    viewer = sign_in(app.test_client(), night.ledger, "Vera", {Role.VIEWER})
    assert "data-ahead" not in viewer.get("/review/1").text
