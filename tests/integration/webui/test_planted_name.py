"""A name in every text attribute of a DICOM object stands in no file, page, report, metric or log, but in the original."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from pydicom import config

from tests.dicom_objects import as_file, grey_object, phantom_values
from tests.filling import assert_consistent
from tests.integration.webui.night import RUN, Night
from tests.integration.webui.test_related_images import SCHEMA
from tests.planting import NAME, NEEDED, files_with_the_name, plant
from worker.ledger.states import Outcome


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with an object that can be scored, and one that cannot, because the name stands everywhere."""
    monkeypatch.setattr(config.settings, "_writing_validation_mode", config.IGNORE)
    folder = tmp_path / "objects"
    folder.mkdir()
    for seed, but in ((1, NEEDED), (2, NEEDED - {"BodyPartExamined"})):
        made = grey_object(phantom_values(seed=seed))
        made.BodyPartExamined = "CHEST"
        plant(made, but)
        (folder / f"{seed}.dcm").write_bytes(as_file(made))
    return folder


@pytest.mark.slow
def test_name_in_every_attribute_leaves_only_in_the_original(
    client: FlaskClient, night: Night, planted: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    scored, refused = night.accept(sorted(planted.iterdir()))
    assert (scored.outcome, refused.outcome) == (Outcome.NEW, Outcome.REJECTED)
    assert "another value as the body part" in (refused.reason or "")
    night.score({scored.image_id: 0.9})
    pages = [
        f"/review/{scored.image_id}", f"/review/{refused.image_id}", f"/api/v1/images/{scored.image_id}",
        f"/api/v1/images/{refused.image_id}", "/api/v1/queue", "/api/v1/runs", "/runs", "/upload",
        f"/images/{scored.image_id}/picture", "/review", "/rejected", "/metrics", "/api/v1/status", "/audit",
        *(f"/api/v1/runs/{RUN}/report?format={form}" for form in ("json", "csv", "text", "html")),
        "/audit/export?format=csv", "/audit/export?format=fhir",
    ]  # fmt: skip
    answers = {page: client.get(page) for page in pages}
    assert {page: answer.status_code for page, answer in answers.items() if answer.status_code != 200} == {}
    assert [page for page, answer in answers.items() if NAME.encode() in answer.data] == []
    document = answers[f"/api/v1/images/{scored.image_id}"].get_json()
    Draft202012Validator(SCHEMA).validate(document)
    assert (document["manufacturer"], document["accession"]) == ("other", None)
    assert document["patient_key"]
    said = capfd.readouterr()
    assert NAME not in said.out + said.err
    assert_consistent(night.ledger)
    night.ledger.close()
    assert files_with_the_name(night.settings.data) == []
