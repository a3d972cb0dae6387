"""The page of the operating points: what is in force, what a choice would change, and how it is put in force."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.filling import assert_consistent, follow, image
from tests.integration.webui.night import Night, open_night, phantoms
from tests.signing_in import sign_in
from webui import create_app
from worker.config import Settings
from worker.ledger.protocols import Protocol
from worker.ledger.roles import Role

# Of the images 1 to 8 it flags number 5 and makes number 7 uncertain.
OURS = {"point": ":new", "name": "ours", "threshold": "0.5", "band_low": "0,15", "band_high": "0.5"}
WHY = "two cases were missed in May"


@pytest.fixture
def eve(app: Flask, night: Night) -> FlaskClient:
    follow(night.ledger, Protocol(sample_share=0))
    return sign_in(app.test_client(), night.ledger, "Eve", {Role.ADMINISTRATOR})


@pytest.fixture
def ada(app: Flask, night: Night) -> FlaskClient:
    return sign_in(app.test_client(), night.ledger, "Ada", {Role.READER})


def test_page_shows_the_points_of_the_card(ada: FlaskClient) -> None:
    page = ada.get("/thresholds").text
    for words in (
        "In force: balanced",
        "default of the model's card",
        "screen",
        "96.7 %",
        "Nobody has changed",
    ):
        assert words in page
    assert "Reason for the change" not in ada.get("/thresholds", query_string=OURS).text


def test_page_without_a_model_says_so(tmp_path: Path) -> None:
    night = open_night(tmp_path / "empty")
    client = sign_in(create_app(night.settings).test_client(), night.ledger, "Eve", {Role.ADMINISTRATOR})
    assert "No models yet" in client.get("/thresholds").text
    assert client.post("/thresholds", data={**OURS, "why": WHY}).status_code == 409


def test_choice_is_counted_before_it_is_sent_and_changes_nothing(eve: FlaskClient, night: Night) -> None:
    page = eve.get("/thresholds", query_string=OURS).text
    assert "Of 8 unread images, <strong>2</strong> would get another verdict. 1 more would wait" in page
    assert 'name="band_low" value="0,15"' in page
    assert "PPV at 10 %" in page
    assert "no confidence intervals" in page
    assert (image(night.ledger, 5).verdict, image(night.ledger, 7).verdict) == ("uncertain", "clear")
    assert "In force: balanced" in eve.get("/thresholds").text


def test_administrator_puts_a_point_in_force_with_a_reason(
    eve: FlaskClient, ada: FlaskClient, night: Night
) -> None:
    assert ada.post("/thresholds", data={**OURS, "why": WHY}).status_code == 403
    assert eve.post("/thresholds", data=OURS).status_code == 400
    assert eve.post("/thresholds", data={**OURS, "why": WHY}).status_code == 303
    page = ada.get("/thresholds").text
    for words in ("In force: ours", "set by Eve", WHY, '<td data-label="Of">site</td>'):
        assert words in page
    assert image(night.ledger, 5).verdict == "uncertain"
    assert eve.post("/thresholds", data={**OURS, "why": "again"}).status_code == 400
    assert_consistent(night.ledger)


def test_retriage_changes_queue_viewer_and_api(eve: FlaskClient, ada: FlaskClient, night: Night) -> None:
    assert ada.get("/api/v1/queue").get_json()["total"] == 6
    answer = eve.post("/thresholds", data={**OURS, "why": WHY, "retriage": "1"}, follow_redirects=True)
    assert "2 of 8 unread images have another verdict" in answer.text
    assert ada.get("/api/v1/queue").get_json()["total"] == 7
    page = ada.get("/review/7").text
    assert "The verdict follows the operating point ours" in page
    assert "clear below 0.15" in page
    document = ada.get("/api/v1/images/7").get_json()
    assert document["verdict"] == "uncertain"
    assert document["operating_point"]["name"] == "ours"
    assert document["predictions"][0]["verdict"] == "clear"
    assert_consistent(night.ledger)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"point": "paranoid"}, "no operating point paranoid"),
        ({**OURS, "name": "Our point"}, "lower-case letters"),
        ({**OURS, "band_low": "0.7"}, "in this order"),
        ({**OURS, "threshold": "much"}, "must be numbers"),
        ({**OURS, "threshold": "nan"}, "in this order"),
        ({**OURS, "name": "screen"}, "choose another name"),
        ({**OURS, "days": "-1"}, "number of days"),
    ],
)
def test_choice_that_cannot_work_is_refused(eve: FlaskClient, wrong: dict[str, str], sentence: str) -> None:
    answer = eve.post("/thresholds", data={**wrong, "why": WHY})
    assert answer.status_code == 400
    assert sentence in answer.text


def test_site_goes_back_to_the_point_of_the_card(eve: FlaskClient, night: Night) -> None:
    eve.post("/thresholds", data={**OURS, "why": WHY, "retriage": "1"})
    answer = eve.post("/thresholds", data={"point": ":none", "why": "enough", "retriage": "1"})
    assert answer.status_code == 303
    assert "In force: balanced" in eve.get("/thresholds").text
    assert image(night.ledger, 7).verdict == "clear"
    assert_consistent(night.ledger)


def test_setting_names_the_point_while_the_site_has_none(night: Night) -> None:
    settings = Settings(
        data=night.settings.data, broker_url=night.settings.broker_url, operating_point="screen"
    )
    client = create_app(settings).test_client()
    sign_in(client, night.ledger, "Ada", {Role.READER})
    page = client.get("/thresholds").text
    assert "In force: screen" in page
    assert "NIGHTREAD_OPERATING_POINT" in page


def test_point_of_another_model_is_a_trouble(eve: FlaskClient, night: Night, phantom_folder: Path) -> None:
    eve.post("/thresholds", data={**OURS, "why": WHY})
    (accepted,) = night.accept(phantoms(phantom_folder, [977]))
    night.score({accepted.image_id: 0.3}, model_sha256="6e" * 32)
    told = "The operating point ours was set for another model (5f5f5f5f5f5f)"
    assert told in eve.get("/thresholds").text
    assert any(told in sentence for sentence in eve.get("/api/v1/status").get_json()["troubles"])
    assert "In force: balanced" in eve.get("/thresholds").text
