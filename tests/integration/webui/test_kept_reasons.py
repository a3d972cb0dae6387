"""A form that asks for a reason and cannot be followed: the page that says why keeps what the person typed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

import webui
from tests.integration.webui.night import MODEL_SHA256, Night
from tests.signing_in import sign_in
from worker.ledger.roles import Role

TEMPLATES = Path(webui.__file__).parent / "templates"
FORM = re.compile(r"<form[^>]*method=\"post\".*?</form>", re.DOTALL)
HAS_REASON = re.compile(r"name=\"(why|reason)\"")
ENDPOINT = re.compile(r"url_for\('([a-z_.]+)'")
# Longer than any reason may be, so that every form refuses it.
TOO_LONG = "the <detector> & cassette were replaced " * 30
CHANGE = f"/models/{MODEL_SHA256}"
# Each form with a reason: its address, the field of the reason, and the other fields.
FORMS = {
    "thresholds.change": ("/thresholds", "why", {"point": "screen", "days": "7"}),
    "calibration.fit": ("/thresholds/calibration", "why", {"digest": "0"}),
    "calibration.revoke": ("/thresholds/calibration/revoke", "why", {}),
    "protocol.change": ("/protocol", "why", {"score": "first", "sample_per_cent": "5"}),
    "models.activate": (f"{CHANGE}/activate", "why", {}),
    "models.activate_default": ("/models/default", "why", {}),
    "models.shadow": (f"{CHANGE}/shadow", "why", {"images": "70", "since": "2026-05-31"}),
    "models.shadow_off": ("/models/shadow-off", "why", {}),
    "images.original": ("/images/1/original", "reason", {}),
    "rejected.retry": ("/rejected/1/retry", "reason", {}),
    "rejected.retry_all": ("/rejected/retry", "reason", {"images": "1", "code": ""}),
    "erasures.erase": ("/erase", "reason", {"images": "1"}),
    "viewer.decide": ("/review/1/decide", "why", {"finding": "no_signs", "amends": "1", "note": "left"}),
}


@pytest.fixture
def everybody(app: Flask, night: Night) -> FlaskClient:
    return sign_in(app.test_client(), night.ledger, "Eve", set(Role))


def test_every_form_with_a_reason_is_tested_here() -> None:
    forms = [form for path in TEMPLATES.glob("*.html") for form in FORM.findall(path.read_text())]
    asking = [form for form in forms if HAS_REASON.search(form)]
    named = {found[1] if (found := ENDPOINT.search(form)) else "viewer.decide" for form in asking}
    assert named == set(FORMS)


@pytest.mark.parametrize("endpoint", FORMS)
def test_reason_and_other_fields_are_kept(app: Flask, everybody: FlaskClient, endpoint: str) -> None:
    address, field, others = FORMS[endpoint]
    with app.test_request_context():
        adapter = app.url_map.bind("localhost")
        assert adapter.match(address, method="POST")[0] == endpoint
    answer = everybody.post(address, data={**others, field: TOO_LONG})
    assert answer.status_code == 400
    assert "too long: the limit is 1,000 characters" in answer.text
    escaped = TOO_LONG.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert f'<textarea name="{field}" rows="3">\n{escaped}</textarea>' in answer.text
    assert f'method="post" action="{address}"' in answer.text
    for name, text in others.items():
        kept = f">\n{text}</textarea>" if name == "note" else f'name="{name}" value="{text}"'
        assert kept in answer.text


def test_kept_form_can_be_corrected_and_sent(everybody: FlaskClient) -> None:
    wrong = {"point": ":new", "name": "ours", "threshold": "0.5", "band_low": "0.7", "band_high": "0.6"}
    answer = everybody.post("/thresholds", data={**wrong, "why": "a trial"})
    assert 'name="band_low" value="0.7"' in answer.text
    kept = dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', answer.text))
    assert kept["point"] == ":new"
    right = {**wrong, **kept, "band_low": "0.4", "why": "a trial"}
    assert everybody.post("/thresholds", data=right).status_code == 303


@pytest.mark.parametrize("fields", [{}, {"why": "  "}])
def test_form_without_a_reason_is_not_repeated(everybody: FlaskClient, fields: dict[str, str]) -> None:
    answer = everybody.post("/thresholds", data={"point": "screen", **fields})
    assert answer.status_code == 400
    assert 'id="kept"' not in answer.text


def test_refused_form_of_another_site_is_not_repeated(everybody: FlaskClient) -> None:
    answer = everybody.post(
        "/thresholds", data={"point": "screen", "why": "x"}, headers={"Origin": "https://elsewhere.example"}
    )
    assert answer.status_code == 403
    assert 'id="kept"' not in answer.text


def test_damaged_form_is_refused_and_not_repeated(everybody: FlaskClient) -> None:
    answer = everybody.post("/thresholds", data=b"{", content_type="multipart/form-data")
    assert answer.status_code == 400
    assert 'id="kept"' not in answer.text
