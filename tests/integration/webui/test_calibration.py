"""The calibration of the site: fitted, put in force and revoked on its page, and shown beside scores."""

from __future__ import annotations

import csv
import io
import re
import shutil
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.filling import assert_consistent, drawn, fill, follow, image, known_model
from tests.integration.webui.night import Night, open_night
from tests.signing_in import sign_in
from tests.site_readings import read_site
from webui import create_app
from worker.ledger import calibrations
from worker.ledger.protocols import Protocol, Shown
from worker.ledger.roles import Role

PAGE = "/thresholds/calibration"
WHY = "the first read images"
CARD: dict[str, object] = {
    "name": "nightread",
    "operating_points": {"balanced": {"threshold": 0.667, "band_low": 0.53, "band_high": 0.667}},
    "default_operating_point": "balanced",
}


@pytest.fixture(scope="module")
def read_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with enough readings, two images of each patient, to copy."""
    data = tmp_path_factory.mktemp("read") / "site"
    night = open_night(data)
    read_site(night.ledger, patients=True, card=CARD)
    night.ledger.close()
    return data


@pytest.fixture
def site(tmp_path: Path, read_data: Path) -> Night:
    """A site with enough readings."""
    shutil.copytree(read_data, tmp_path / "site")
    return open_night(tmp_path / "site")


@pytest.fixture
def eve(site: Night) -> FlaskClient:
    return sign_in(create_app(site.settings).test_client(), site.ledger, "Eve", {Role.ADMINISTRATOR})


@pytest.fixture
def ada(site: Night) -> FlaskClient:
    return sign_in(create_app(site.settings).test_client(), site.ledger, "Ada", {Role.READER})


def digest_on(page: str) -> str:
    found = re.search(r'name="digest" value="([0-9a-f]{64})"', page)
    assert found, page
    return found[1]


def put_in_force(eve: FlaskClient) -> str:
    """Put what a fit gives now in force, and return the page."""
    digest = digest_on(eve.get(f"{PAGE}?try=1").text)
    answer = eve.post(PAGE, data={"digest": digest, "why": WHY}, follow_redirects=True)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_fit_is_shown_before_it_is_put_in_force(eve: FlaskClient, site: Night) -> None:
    page = eve.get(f"{PAGE}?try=1").text
    assert (
        "On held-out images, the recalibrated probabilities are better than the scores, beyond chance."
        in page
    )
    assert "groups by patient" in page
    assert 'id="tried-held-out"' in page
    assert "No calibration of this model is in force" in page
    with site.ledger.reading() as session:
        assert calibrations.every(session) == {}


def test_calibration_is_put_in_force_with_who_and_why(eve: FlaskClient, site: Night) -> None:
    page = put_in_force(eve)
    assert "Calibration 1 is in force. Scores and verdicts stay as they are." in page
    assert "<strong>In force: calibration 1</strong>" in page
    assert f"set by Eve: <q>{WHY}</q>" in page
    assert "Try it in the workbench" in page
    assert "name=calibrated-1" in page
    assert_consistent(site.ledger)


def test_fit_of_other_readings_than_shown_is_refused(eve: FlaskClient, site: Night) -> None:
    answer = eve.post(PAGE, data={"digest": "0" * 64, "why": WHY})
    assert answer.status_code == 400
    assert "The readings have changed since the fit was shown" in answer.text
    assert "in force: calibration" not in eve.get(PAGE).text


def test_change_needs_a_reason(eve: FlaskClient) -> None:
    digest = digest_on(eve.get(f"{PAGE}?try=1").text)
    assert eve.post(PAGE, data={"digest": digest, "why": " "}).status_code == 400
    put_in_force(eve)
    assert eve.post(f"{PAGE}/revoke", data={"why": ""}).status_code == 400


def test_revoked_calibration_is_history(eve: FlaskClient, site: Night) -> None:
    put_in_force(eve)
    page = eve.post(f"{PAGE}/revoke", data={"why": "another scanner"}, follow_redirects=True).text
    assert "Calibration 1 is revoked" in page
    assert "No calibration of this model is in force" in page
    assert "Calibration 1 revoked" in page
    assert "another scanner" in page
    assert eve.post(f"{PAGE}/revoke", data={"why": "again"}).status_code == 400
    assert_consistent(site.ledger)


def test_reader_sees_figures_and_changes_nothing(eve: FlaskClient, ada: FlaskClient) -> None:
    put_in_force(eve)
    page = ada.get(f"{PAGE}?try=1").text
    assert 'id="layer-bins"' in page
    assert "Reason for" not in page
    assert "See what a fit gives" not in page
    assert ada.post(PAGE, data={"why": WHY}).status_code == 403
    assert ada.post(f"{PAGE}/revoke", data={"why": WHY}).status_code == 403


def test_proposed_point_has_the_prevalence_at_its_threshold(eve: FlaskClient, site: Night) -> None:
    put_in_force(eve)
    (model,) = eve.get("/api/v1/models").get_json()["models"]
    said = eve.get(f"/api/v1/models/{model['sha256']}/calibration").get_json()["in_force"]
    with site.ledger.reading() as session:
        (layer,) = calibrations.every(session).values()
    point = said["proposed_point"]
    assert layer.recalibration.probability(point["threshold"]) == pytest.approx(layer.prevalence, abs=1e-4)
    assert point["band_low"] < point["threshold"] == point["band_high"]
    # The odds of the band against the neutral ones stay as on the card.
    odds = [
        p / (1 - p)
        for p in (0.53, 0.667, layer.recalibration.probability(point["band_low"]), layer.prevalence)
    ]
    assert odds[2] / odds[3] == pytest.approx(odds[0] / odds[1], rel=1e-3)
    assert (
        'value="calibrated-1"'
        in eve.get(
            "/thresholds", query_string={"point": ":new", **point, "threshold": point["threshold"]}
        ).text
    )


def test_probability_stands_beside_the_score(eve: FlaskClient, ada: FlaskClient, site: Night) -> None:
    flagged = next(one for one in range(1, 200) if image(site.ledger, one).verdict == "flagged")
    before = ada.get(f"/api/v1/images/{flagged}").get_json()
    assert before["predictions"][0]["site_probability"] is None
    assert "At this site" not in ada.get(f"/review/{flagged}").text
    put_in_force(eve)
    with site.ledger.reading() as session:
        (layer,) = calibrations.every(session).values()
    after = ada.get(f"/api/v1/images/{flagged}").get_json()
    expected = layer.recalibration.probability(after["p_pneumonia"])
    assert after["predictions"][0]["site_probability"] == pytest.approx(expected)
    assert after["predictions"][0]["site_calibration"] == 1
    assert (after["p_pneumonia"], after["verdict"]) == (before["p_pneumonia"], before["verdict"])
    page = ada.get(f"/review/{flagged}").text
    assert f"At this site: <strong>{round(100 * expected)} %</strong>" in page
    assert ">calibration 1</a>" in page


def test_reports_have_the_probability_of_each_scored_image(eve: FlaskClient, ada: FlaskClient) -> None:
    address = "/api/v1/runs/1/report?format="
    assert "site_probability" not in ada.get(f"{address}text").text
    put_in_force(eve)
    rows = list(csv.DictReader(io.StringIO(ada.get(f"{address}csv").text)))
    assert {row["site_calibration"] for row in rows} == {"1"}
    by_score = sorted(rows, key=lambda row: float(row["p_pneumonia"]))
    probabilities = [float(row["site_probability"]) for row in by_score]
    assert probabilities == sorted(probabilities)
    for form in ("text", "html"):
        assert "site_probability" in ada.get(f"{address}{form}").text
    listed = ada.get(f"{address}json").get_json()["flagged_images"]
    assert listed[0]["site_calibration"] == 1


def test_hidden_score_hides_its_probability(eve: FlaskClient, ada: FlaskClient, site: Night) -> None:
    put_in_force(eve)
    follow(site.ledger, Protocol(score=Shown.AFTER_DECISION, sample_share=1))
    hidden = fill(site.ledger, 900, 901)
    drawn(site.ledger, *hidden)
    document = ada.get(f"/api/v1/images/{hidden[1]}").get_json()
    assert document["score_hidden"]
    assert document["predictions"] == []
    assert "At this site" not in ada.get(f"/review/{hidden[1]}").text
    rows = list(csv.DictReader(io.StringIO(ada.get("/api/v1/runs/1/report?format=csv").text)))
    (row,) = (row for row in rows if row["image"] == str(hidden[1]))
    assert (row["p_pneumonia"], row["site_probability"], row["site_calibration"]) == ("", "", "")


def test_another_model_has_no_calibration(eve: FlaskClient, ada: FlaskClient, site: Night) -> None:
    put_in_force(eve)
    known_model(site.ledger, "n" * 64, card=CARD)
    assert "No calibration of this model is in force" in eve.get(f"{PAGE}?model={'n' * 64}").text
    assert "In force: calibration 1" in eve.get(f"{PAGE}?model={'m' * 64}").text
    assert eve.get(f"{PAGE}?model={'0' * 64}").status_code == 404


def test_csv_has_figures_and_bins_with_all_digits(eve: FlaskClient, ada: FlaskClient, site: Night) -> None:
    header = ada.get(f"{PAGE}.csv").text.splitlines()
    assert len(header) == 1
    put_in_force(eve)
    rows = list(csv.DictReader(io.StringIO(ada.get(f"{PAGE}.csv").text)))
    figures = {row["figure"]: row for row in rows}
    assert float(figures["brier"]["difference_high"]) < 0
    assert float(figures["map_slope"]["after_low"]) < float(figures["map_slope"]["after"])
    with site.ledger.reading() as session:
        (layer,) = calibrations.every(session).values()
    assert figures["prevalence"]["after"] == repr(layer.prevalence)
    assert sum(row["figure"] == "share_with_signs" for row in rows) == len(
        layer.figures["fit"]["held_out"]["bins"]
    )
    assert eve.get(f"{PAGE}.csv").status_code == 403


def test_too_few_readings_are_refused_with_a_sentence(app: Flask, night: Night) -> None:
    client = sign_in(app.test_client(), night.ledger, "Eve", {Role.ADMINISTRATOR})
    page = client.get(f"{PAGE}?try=1").text
    assert "No run is read to the end with images that this model scored." in page
    answer = client.post(PAGE, data={"digest": digest_of_nothing(), "why": WHY})
    assert answer.status_code == 400
    assert "No run is read to the end" in answer.text


def digest_of_nothing() -> str:
    return "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_without_a_model_nothing_is_known(tmp_path: Path) -> None:
    night = open_night(tmp_path / "empty")
    client = sign_in(create_app(night.settings).test_client(), night.ledger, "Eve", {Role.ADMINISTRATOR})
    assert "No models yet" in client.get(PAGE).text
    assert client.post(PAGE, data={"why": WHY}).status_code == 409
    assert client.post(f"{PAGE}/revoke", data={"why": WHY}).status_code == 409
    night.ledger.close()


def test_page_says_that_unread_images_only_warn(eve: FlaskClient, site: Night) -> None:
    page = eve.get(PAGE).text
    assert "Nothing is adapted to them, because that did harm when it was tried." in page
    assert "The card has no curve to compare with." in page
