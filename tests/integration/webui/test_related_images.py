"""The viewer and the API show whose image it is, without a name, and the images that belong with it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime

import pytest
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from sqlalchemy import update

from tests.filling import AT, arrival, identity
from tests.integration.webui.night import Night
from tests.signing_in import sign_in
from tests.unit.webui.test_openapi import DESCRIPTION
from webui.app import create_app
from worker.imagefile.identity import AgeSource, Identity
from worker.ledger import receipts
from worker.ledger.roles import Role
from worker.ledger.session import utc_now
from worker.ledger.states import Lane
from worker.ledger.studies import PATIENT_COLUMNS
from worker.ledger.tables import Image

SCHEMA = {"$ref": "#/components/schemas/Image", "components": DESCRIPTION["components"]}
UIDS = "1.2.826.0.1"


def identify(night: Night, image_id: int, known: Identity, at: datetime = AT) -> None:
    """Record what is known of an image: its file arrives again, with a header this time."""
    with night.ledger.transaction() as session:
        again = replace(arrival(1), sha256=session.get_one(Image, image_id).sha256, identity=known)
        receipts.record(session, [again], run="again", lane=Lane.OVERNIGHT, at=at)


@pytest.fixture
def patient(night: Night) -> Night:
    """The night after images 1, 2, 3 were known as a patient's: 1 of an earlier study, 2 and 3 of one study."""
    identify(night, 1, identity(1))
    for image_id in (2, 3):
        identify(night, image_id, replace(identity(2), study_uid=UIDS, laterality=None))
    identify(night, 4, identity(4, patient=9))
    return night


@pytest.mark.usefixtures("patient")
def test_viewer_shows_age_sex_view_and_device(client: FlaskClient) -> None:
    page = client.get("/review/1").text
    assert "4 years" in page
    assert "as stated by the device" in page
    assert "female" in page
    assert "PA, laterality: unpaired" in page
    assert "Agfa, CR" in page


@pytest.mark.usefixtures("patient")
def test_viewer_links_the_images_that_belong_with_it(client: FlaskClient) -> None:
    page = client.get("/review/3").text
    of_study = page.partition('id="study"')[2].partition("</dd>")[0]
    earlier = page.partition('id="earlier"')[2].partition("</dd>")[0]
    assert 'href="/review/2"' in of_study
    assert 'href="/review/1"' in earlier
    assert not [number for number in (2, 3, 4) if f'href="/review/{number}"' in earlier]


@pytest.mark.usefixtures("patient")
def test_list_of_earlier_images_says_nothing_that_leads_the_reader(client: FlaskClient) -> None:
    """Only when it arrived, its view, and whether it was read: no score, no verdict, no finding."""
    answer = client.post("/review/1/decide", data={"finding": "signs_of_pneumonia", "prediction": "1"})
    assert answer.status_code == 303
    page = client.get("/review/3").text
    lists = re.findall(r'<option value="/images/1/picture.*?</option>|id="earlier".*?</dd>', page, re.DOTALL)
    assert len(lists) == 2
    for text in lists:
        assert ", PA, read" in text
        assert not re.search(r"flagged|uncertain|clear|signs|0\.\d", text)
    assert ", PA, not read" in page.partition('id="study"')[2].partition("</dd>")[0]


@pytest.mark.usefixtures("patient")
def test_earlier_image_without_a_picture_is_not_offered_beside(client: FlaskClient, night: Night) -> None:
    assert 'id="beside"' in client.get("/review/3").text
    with night.ledger.transaction() as session:
        session.execute(update(Image).where(Image.id == 1).values(bytes_removed_at=AT))
    page = client.get("/review/3").text
    assert 'id="beside"' not in page
    assert 'href="/review/1"' in page.partition('id="earlier"')[2].partition("</dd>")[0]


@pytest.mark.usefixtures("patient")
def test_viewer_says_that_no_image_is_earlier(client: FlaskClient) -> None:
    assert "none of this patient" in client.get("/review/1").text


def test_study_is_complete_when_nothing_arrived_for_a_while(night: Night, client: FlaskClient) -> None:
    identify(night, 1, identity(1))
    for at, words in (
        (utc_now(), "images may still arrive"),
        (AT, "complete: nothing has arrived for 10 minutes"),
    ):
        with night.ledger.transaction() as session:
            session.execute(update(Image).where(Image.id == 1).values(received_at=at))
        assert words in client.get("/review/1").text


def test_viewer_of_a_file_without_identity_has_no_such_part(night: Night, client: FlaskClient) -> None:
    assert 'id="patient"' not in client.get("/review/1").text


def test_age_of_a_form_is_shown_without_a_study(night: Night, client: FlaskClient) -> None:
    identify(night, 1, Identity(age_years=1.5, age_source=AgeSource.FORM), at=utc_now())
    page = client.get("/review/1").text
    assert "18 months" in page
    assert "as given with the upload" in page
    assert 'id="study"' not in page


@pytest.mark.usefixtures("patient")
def test_document_has_the_identity_and_fits_its_description(client: FlaskClient) -> None:
    document = client.get("/api/v1/images/3").get_json()
    Draft202012Validator(SCHEMA).validate(document)
    assert (document["age_years"], document["age_source"], document["sex"]) == (4.0, "patient_age", "F")
    assert (document["view"], document["laterality"], document["study_uid"]) == ("PA", None, UIDS)
    assert (document["study_images"], document["earlier_images"]) == ([2], [1])


def test_document_of_a_file_without_identity_has_the_same_keys(night: Night, client: FlaskClient) -> None:
    document = client.get("/api/v1/images/1").get_json()
    Draft202012Validator(SCHEMA).validate(document)
    assert (document["study"], document["patient_key"], document["study_complete"]) == (None, None, None)


@pytest.mark.usefixtures("patient")
def test_queue_says_age_sex_and_view_like_a_report(client: FlaskClient) -> None:
    rows = {
        row["image"]: row for row in client.get("/api/v1/queue?verdict=any&reading=any").get_json()["images"]
    }
    assert {name: rows[3][name] for name in PATIENT_COLUMNS} == {
        "age_years": 4.0,
        "age_source": "patient_age",
        "sex": "F",
        "view": "PA",
    }
    assert {name: rows[5][name] for name in PATIENT_COLUMNS} == dict.fromkeys(PATIENT_COLUMNS)


@pytest.mark.usefixtures("patient")
def test_queue_is_closed_to_who_sees_no_patients(client: FlaskClient, night: Night) -> None:
    auditor = sign_in(create_app(night.settings).test_client(), night.ledger, "Olga", {Role.AUDITOR})
    assert auditor.get("/api/v1/queue").status_code == 403


@pytest.mark.usefixtures("patient")
def test_uid_is_in_no_list(client: FlaskClient) -> None:
    for path in (
        "/review",
        "/review?verdict=any&reading=any",
        "/runs",
        "/api/v1/queue?reading=any",
        "/metrics",
    ):
        assert UIDS not in client.get(path).text
