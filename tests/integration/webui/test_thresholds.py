"""The page of the operating points: what is in force, what a choice would change, and how it is put in force."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.filling import assert_consistent, follow, give_age, image
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


def with_ages(night: Night) -> None:
    """Images 7 and 8, which are clear, show an adult and a child; nobody knows the ages of the others."""
    give_age(night.ledger, 7, 44)
    give_age(night.ledger, 8, 4)


ADULTS = {"for": "age", "age_from": "18", "age_to": "64"}


def test_group_of_ages_gets_a_point_of_its_own(eve: FlaskClient, ada: FlaskClient, night: Night) -> None:
    with_ages(night)
    page = eve.get("/thresholds", query_string=OURS | ADULTS).text
    assert "For the ages 18 to 64: <strong>ours</strong>" in page
    assert "Of 1 unread images, <strong>1</strong> would get another verdict" in page
    assert 'name="age_from" value="18"' in page
    answer = eve.post(
        "/thresholds", data={**OURS, **ADULTS, "why": WHY, "retriage": "1"}, follow_redirects=True
    )
    assert "The operating point ours is in force for the ages 18 to 64." in answer.text
    assert "In force for all images that are in no group below: balanced" in answer.text
    assert "Where the age of a patient is not known, no age group applies" in answer.text
    assert (image(night.ledger, 7).verdict, image(night.ledger, 5).verdict) == ("uncertain", "uncertain")
    viewer = ada.get("/review/7").text
    assert "follows the operating point ours for the ages 18 to 64 since" in viewer
    assert "These limits are the operating point ours, which is for the ages 18 to 64." in viewer
    viewer = ada.get("/review/1").text
    assert (
        "These limits are the general operating point balanced. The age of the patient is not known" in viewer
    )
    assert "is not known, so no age group" not in ada.get("/review/8").text
    document = ada.get("/api/v1/images/7").get_json()
    assert document["operating_point"]["group"] == "age=18-64"
    assert document["predictions"][0]["operating_point"]["group"] is None
    assert_consistent(night.ledger)


def test_point_of_a_group_is_taken_away(eve: FlaskClient, night: Night) -> None:
    with_ages(night)
    eve.post("/thresholds", data={**OURS, **ADULTS, "why": WHY, "retriage": "1"})
    none = {"point": ":none", **ADULTS}
    page = eve.get("/thresholds", query_string=none).text
    assert "The group with the <strong>ages 18 to 64</strong> would have no point of its own" in page
    answer = eve.post("/thresholds", data={**none, "why": "enough", "retriage": "1"}, follow_redirects=True)
    assert "has no operating point of its own any more" in answer.text
    assert image(night.ledger, 7).verdict == "clear"
    assert_consistent(night.ledger)


def test_source_gets_a_point_of_its_own(eve: FlaskClient, night: Night) -> None:
    answer = eve.post(
        "/thresholds",
        data={**OURS, "for": "source=import", "why": WHY, "retriage": "1"},
        follow_redirects=True,
    )
    assert "2 of 8 unread images have another verdict" in answer.text
    assert "in force for the source import" in answer.text
    assert "no age group applies" not in answer.text
    assert_consistent(night.ledger)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"for": "age", "age_from": "18"}, "must be whole numbers"),
        ({"for": "age", "age_from": "64", "age_to": "18"}, "the lower one first"),
        ({"for": "age", "age_from": "30", "age_to": "31"}, "has 5 years or more"),
        ({"for": "age", "age_from": "60", "age_to": "80"}, "Ages 60 to 80 overlap ages 18 to 64"),
        ({"for": "source=fax"}, "no group of this source"),
        ({"for": "everybody"}, "written as age=18-64"),
    ],
)
def test_group_that_cannot_be_is_refused(eve: FlaskClient, wrong: dict[str, str], sentence: str) -> None:
    eve.post("/thresholds", data={**OURS, **ADULTS, "why": WHY})
    answer = eve.post("/thresholds", data={**OURS, **wrong, "why": WHY})
    assert answer.status_code == 400
    assert sentence in answer.text


def test_workbench_names_the_groups(eve: FlaskClient) -> None:
    assert "Groups of images have" not in eve.get("/thresholds/workbench").text
    eve.post("/thresholds", data={**OURS, **ADULTS, "why": WHY})
    page = eve.get("/thresholds/workbench").text
    assert "Groups of images have" in page
    assert "ages 18 to 64 (ours)" in page
