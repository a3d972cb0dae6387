"""The fields of the upload form and the API that say whose image a file is."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.test import TestResponse

from tests.integration.webui.night import Night, phantoms
from worker.ledger.tables import Instance, Study

PATIENT = "MRN-4711-DOE"


@pytest.fixture
def files(phantom_folder: Path) -> list[tuple[str, bytes]]:
    return [(path.name, path.read_bytes()) for path in phantoms(phantom_folder, [503, 504])]


def identities(night: Night) -> list[tuple[str | None, float | None, str | None, str | None]]:
    with night.ledger.reading() as session:
        columns = Study.patient_key, Study.age_years, Study.sex, Instance.view
        rows = session.execute(select(*columns).join(Instance, Instance.study_id == Study.id)).all()
    return [(key, age, sex, view) for key, age, sex, view in rows]


def send(client: FlaskClient, url: str, files: Sequence[tuple[str, bytes]], **fields: object) -> TestResponse:
    data = {"files": [(io.BytesIO(content), name) for name, content in files], **fields}
    return client.post(url, data=data, content_type="multipart/form-data")


@pytest.mark.parametrize("url", ["/upload", "/api/v1/images"])
def test_all_files_of_a_request_show_the_stated_patient(
    client: FlaskClient, night: Night, files: list[tuple[str, bytes]], url: str
) -> None:
    answer = send(client, url, files, patient=PATIENT, age_years="40", sex="F", view="PA")
    assert answer.status_code in {200, 303}
    rows = identities(night)
    assert len(rows) == 2
    assert {row[1:] for row in rows} == {(40, "F", "PA")}
    assert len({row[0] for row in rows}) == 1
    assert re.fullmatch("[0-9a-f]{64}", rows[0][0] or "")


@pytest.mark.parametrize("url", ["/upload", "/api/v1/images"])
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"age_years": "300"}, "`age_years` must be a number of years from 0 to 120"),
        ({"sex": "X"}, "`sex` must be M, F or O"),
        ({"view": "KNEE"}, "`view` must be PA, AP"),
        ({"patient": PATIENT * 10}, "`patient` must have at most 64 characters"),
        ({"sex": ["F", "M"]}, "send the field `sex` once"),
    ],
)
def test_wrong_value_is_refused_with_a_sentence(
    client: FlaskClient,
    night: Night,
    files: list[tuple[str, bytes]],
    url: str,
    fields: dict[str, object],
    words: str,
) -> None:
    answer = send(client, url, files, **fields)
    assert answer.status_code == 400
    assert words.lower() in answer.text.lower()
    for value in ("300", "KNEE", PATIENT):
        assert value not in answer.text
    assert identities(night) == []
    assert list(night.settings.incoming.iterdir()) == []


def test_empty_fields_of_the_form_state_nothing(
    client: FlaskClient, night: Night, files: list[tuple[str, bytes]]
) -> None:
    assert send(client, "/upload", files, patient="", age_years="", sex="", view="").status_code == 303
    assert identities(night) == []


def test_typed_patient_is_in_no_file(
    client: FlaskClient, night: Night, files: list[tuple[str, bytes]], capfd: pytest.CaptureFixture[str]
) -> None:
    send(client, "/upload", files, patient=PATIENT, age_years="40")
    send(client, "/upload", files, patient=PATIENT, age_years="300")
    shown = client.get("/review/9").text + client.get("/api/v1/images/9").text + client.get("/audit").text
    output = capfd.readouterr()
    assert PATIENT not in shown + output.out + output.err
    held = [path for path in night.settings.data.rglob("*") if path.is_file()]
    assert held
    assert [path.name for path in held if PATIENT.encode() in path.read_bytes()] == []


def test_form_has_the_fields_without_javascript(client: FlaskClient) -> None:
    page = client.get("/upload").text
    assert [name for name in ("patient", "age_years", "sex", "view") if f'name="{name}"' not in page] == []
