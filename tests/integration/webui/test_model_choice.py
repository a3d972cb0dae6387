"""The page Models: an administrator makes a model active or the candidate; two models are compared on read images."""

from __future__ import annotations

import csv
import io

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from tests.filling import known_reader, make_patients
from tests.integration.webui.night import MODEL_SHA256, Night
from tests.model_sites import CANDIDATE, bundle_of, candidate_bundle, read_images, run_worker, shadow_scores
from tests.signing_in import sign_in
from worker.ledger import active_models, models, review, shadows
from worker.ledger.comparison import compare
from worker.ledger.findings import Finding
from worker.ledger.roles import Role
from worker.ledger.session import ledger_time
from worker.ledger.tables import Model

SIGNS, NO_SIGNS = Finding.SIGNS, Finding.NO_SIGNS
COMPARED = f"/models/compare?a={MODEL_SHA256}&b={CANDIDATE}"


@pytest.fixture
def eve(app: Flask, night: Night) -> FlaskClient:
    return sign_in(app.test_client(), night.ledger, "Eve", {Role.ADMINISTRATOR, Role.READER})


def active_sha256(night: Night) -> str:
    with night.ledger.reading() as session:
        model = models.active_model(session)
    assert model is not None
    return model.sha256


def assert_proven(night: Night) -> None:
    with night.ledger.reading() as session:
        assert compare(session).mismatches == []


def test_administrator_makes_a_model_active_and_the_former_one_again(eve: FlaskClient, night: Night) -> None:
    run_worker(night.ledger, bundle_of(night.ledger, MODEL_SHA256), candidate_bundle())
    page = eve.get("/models").text
    assert "Nobody has made a model active here" in page
    assert CANDIDATE[:12] in page
    form = {"why": "better on <babies>"}
    answer = eve.post(f"/models/{CANDIDATE}/activate", data=form, follow_redirects=True)
    assert "nightread 0.3.0 is active." in answer.text
    assert "better on &lt;babies&gt;" in answer.text
    assert active_sha256(night) == CANDIDATE
    eve.post(f"/models/{MODEL_SHA256}/activate", data={"why": "not better"})
    assert active_sha256(night) == MODEL_SHA256
    with night.ledger.reading() as session:
        changes = active_models.history(session, limit=9)
    assert [change.why for change in changes] == ["not better", "better on <babies>"]
    assert all(change.set_by.startswith("user:") for change in changes)
    assert_proven(night)


def test_administrator_goes_back_to_the_setting_of_each_worker(eve: FlaskClient, night: Night) -> None:
    run_worker(night.ledger, bundle_of(night.ledger, MODEL_SHA256), candidate_bundle())
    assert "Let the setting decide" not in eve.get("/models").text
    assert eve.post("/models/default", data={"why": "x"}).status_code == 400
    eve.post(f"/models/{CANDIDATE}/activate", data={"why": "a trial"})
    page = eve.get("/models").text
    assert f"nightread 0.1.0 <code>{MODEL_SHA256[:12]}</code>" in page
    assert eve.post("/models/default", data={"why": " "}).status_code == 400
    answer = eve.post("/models/default", data={"why": "the trial is over"}, follow_redirects=True)
    assert (
        "Each worker scores with the model of its setting <code>NIGHTREAD_MODEL</code>, since" in answer.text
    )
    assert "the trial is over" in answer.text
    assert active_sha256(night) == MODEL_SHA256
    assert_proven(night)


def test_setting_that_no_worker_can_follow_is_refused(eve: FlaskClient, night: Night) -> None:
    run_worker(night.ledger, candidate_bundle())
    eve.post(f"/models/{CANDIDATE}/activate", data={"why": "a trial"})
    run_worker(night.ledger, candidate_bundle("no network", "d5" * 32), candidate_bundle(), host="ward-8")
    answer = eve.post("/models/default", data={"why": "x"})
    assert answer.status_code == 400
    assert "On ward-8, the model of the setting NIGHTREAD_MODEL cannot be used: no network" in answer.text
    assert "Not possible now: on ward-8" in eve.get("/models").text


@pytest.mark.parametrize(
    ("data", "sentence"),
    [({"why": " "}, "needs a reason"), ({"why": "x" * 1_001}, "too long"), ({}, "needs a reason")],
)
def test_change_without_a_good_reason_is_refused(
    eve: FlaskClient, night: Night, data: dict[str, str], sentence: str
) -> None:
    run_worker(night.ledger, candidate_bundle())
    answer = eve.post(f"/models/{CANDIDATE}/activate", data=data)
    assert answer.status_code == 400
    assert sentence in answer.text
    assert active_sha256(night) == MODEL_SHA256


def test_model_that_a_worker_cannot_use_is_refused_with_its_sentence(eve: FlaskClient, night: Night) -> None:
    run_worker(night.ledger, candidate_bundle("model.tflite is not the file that its card names."))
    page = eve.get(f"/models/{CANDIDATE}").text
    assert "It cannot be made active now: on ward-7, the model cannot be used: model.tflite is not" in page
    assert "Make it active" not in page
    answer = eve.post(f"/models/{CANDIDATE}/activate", data={"why": "x"})
    assert (answer.status_code, active_sha256(night)) == (400, MODEL_SHA256)


def test_page_refuses_while_no_worker_runs(eve: FlaskClient, night: Night) -> None:
    answer = eve.post(f"/models/{MODEL_SHA256}/activate", data={"why": "x"})
    assert answer.status_code == 400
    assert "No worker is running that could say which models it has" in answer.text


def test_unknown_model_is_refused(eve: FlaskClient, night: Night) -> None:
    run_worker(night.ledger, candidate_bundle())
    answer = eve.post(f"/models/{'0' * 64}/activate", data={"why": "x"})
    assert answer.status_code == 400
    assert "There is no model" in answer.text


def test_administrator_tries_a_model_in_the_background_and_stops(eve: FlaskClient, night: Night) -> None:
    run_worker(night.ledger, candidate_bundle())
    form = {"why": "a trial", "images": "12", "since": "2026-05-31"}
    answer = eve.post(f"/models/{CANDIDATE}/shadow", data=form, follow_redirects=True)
    assert "The candidate scores images while nothing waits." in answer.text
    with night.ledger.reading() as session:
        found = shadows.in_force(session)
    assert found is not None
    assert (found.model_sha256, found.images, f"{found.since:%Y-%m-%d}") == (CANDIDATE, 12, "2026-05-31")
    page = eve.get("/models").text
    assert "a trial" in page
    assert f'<strong>Candidate:</strong> <a href="/models/{CANDIDATE}">nightread 0.3.0</a>' in page
    assert active_sha256(night) == MODEL_SHA256
    eve.post("/models/shadow-off", data={"why": "enough"})
    with night.ledger.reading() as session:
        assert shadows.in_force(session) is None
    assert_proven(night)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"images": "many"}, "must be a whole number"),
        ({"images": "0"}, "from 1 to 20,000"),
        ({"since": "yesterday"}, "2026-05-31"),
        ({"since": "9999-12-31"}, "The day 9999-12-31 is in the future: no image has arrived since then."),
        ({"why": ""}, "needs a reason"),
    ],
)
def test_wrong_bounds_of_shadow_scoring_are_refused(
    eve: FlaskClient, night: Night, changes: dict[str, str], sentence: str
) -> None:
    run_worker(night.ledger, candidate_bundle())
    answer = eve.post(f"/models/{CANDIDATE}/shadow", data={"why": "a trial", "images": "9", **changes})
    assert answer.status_code == 400
    assert sentence in answer.text


def test_viewer_sees_no_form(app: Flask, night: Night) -> None:
    run_worker(night.ledger, candidate_bundle())
    viewer = sign_in(app.test_client(), night.ledger, "Vic", {Role.VIEWER})
    assert "Make it active" not in viewer.get(f"/models/{CANDIDATE}").text


@pytest.fixture
def compared(night: Night, phantom_folder: object) -> Night:
    """Return a run that is read to the end: six images with a verdict to read, and both clear ones, which were drawn.

    The candidate clears image 3, which has no signs, and finds image 8, which has. It rejects image 6.
    """
    make_patients(night.ledger)
    findings = dict.fromkeys((1, 2, 4, 8), SIGNS) | dict.fromkeys((3, 5, 6, 7), NO_SIGNS)
    read_images(night.ledger, findings, drawn=[7, 8])
    scores = {1: 0.9, 2: 0.9, 3: 0.1, 4: 0.9, 5: 0.9, 7: 0.1, 8: 0.9}
    shadow_scores(night.ledger, scores, rejected=[6])
    return night


def test_comparison_lists_the_images_on_which_the_models_differ(eve: FlaskClient, compared: Night) -> None:
    page = " ".join(eve.get(COMPARED).text.split())
    assert "7 images with a final reading and a score of both models" in page
    assert "Figures of fewer than 10 images are not shown" in page
    rows = page.split("<tbody>")[-1].split("</tbody>")[0].split("</tr>")
    assert [("Image 8" in row, "Image 3" in row) for row in rows[:2]] == [(True, False), (False, True)]
    assert "Image 1<" not in "".join(rows)
    assert "with signs" in rows[0]


def test_figures_need_enough_images_and_are_the_same_as_csv(
    eve: FlaskClient, compared: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.report.model_comparison.SMALLEST", 7)
    page = " ".join(eve.get(COMPARED).text.split())
    answer = eve.get(COMPARED.replace("compare?", "compare.csv?"))
    assert answer.mimetype == "text/csv"
    lines = {(line["figure"], line["model"]): line for line in csv.DictReader(io.StringIO(answer.text))}
    sensitivity = lines["sensitivity", MODEL_SHA256]
    # Of six images to read, five were scored by both; both clear ones were read.
    assert float(sensitivity["value"]) == pytest.approx(6 * 3 / 5 / (6 * 3 / 5 + 1), abs=1e-6)
    assert float(lines["sensitivity", CANDIDATE]["value"]) == 1.0
    assert f"{100 * float(sensitivity['value']):.1f} %" in page
    difference = lines["sensitivity", "difference b - a"]
    assert float(difference["low"]) < float(difference["value"]) < float(difference["high"])
    assert (difference["only_a_right"], difference["only_b_right"]) == ("0", "1")


def test_comparison_uses_the_point_of_the_site(eve: FlaskClient, compared: Night) -> None:
    numbers = {"threshold": "0.97", "band_low": "0.95", "band_high": "0.99"}
    answer = eve.post("/thresholds", data={"point": ":new", "name": "strict", **numbers, "why": "a trial"})
    assert answer.status_code == 303
    page = " ".join(eve.get(COMPARED).text.split())
    assert "strict (in force here): flagged from 0.990, clear below 0.950" in page
    # Only the candidate, whose point is that of its card, has people read image 2 now.
    rows = page.split("<tbody>")[-1].split("</tbody>")[0]
    assert "Image 2<" in rows


def test_comparison_shows_scores_on_their_side_of_each_limit(eve: FlaskClient, night: Night) -> None:
    make_patients(night.ledger)
    read_images(night.ledger, dict.fromkeys(range(1, 9), SIGNS), drawn=[7, 8])
    shadow_scores(night.ledger, {1: 0.29996, 2: 0.2971})
    page = " ".join(eve.get(COMPARED).text.split())
    assert "clear below 0.30000" in page
    assert [f'data-label="Score of b">{score}<' in page for score in ("0.29996", "0.29710")] == [True, True]


def test_comparison_follows_each_new_score_and_reading(eve: FlaskClient, night: Night) -> None:
    make_patients(night.ledger)
    read_images(night.ledger, dict.fromkeys(range(1, 9), SIGNS), drawn=[7, 8])
    shadow_scores(night.ledger, dict.fromkeys(range(1, 6), 0.9))
    first = " ".join(eve.get(COMPARED).text.split())
    assert "5 images with a final reading and a score of both models" in first
    shadow_scores(night.ledger, {7: 0.1, 8: 0.9})
    second = " ".join(eve.get(COMPARED).text.split())
    assert "7 images with a final reading and a score of both models" in second
    assert "without signs" not in second.split("<tbody>")[-1]
    reader_id = known_reader(night.ledger)
    with night.ledger.transaction() as session:
        review.undo(session, reader_id=reader_id, at=ledger_time(session))
    read_images(night.ledger, {8: NO_SIGNS})
    assert "without signs" in " ".join(eve.get(COMPARED).text.split()).split("<tbody>")[-1]


def test_model_without_points_on_its_card_has_the_one_that_it_scored_with(
    eve: FlaskClient, compared: Night
) -> None:
    with compared.ledger.transaction() as session:
        for model in session.scalars(select(Model)):
            model.card = {}
    answer = eve.get(COMPARED)
    assert answer.status_code == 400
    assert "card of nightread 0.3.0 has no operating point, so it has no verdicts" in answer.text


def test_image_that_is_not_read_to_the_end_is_not_compared(eve: FlaskClient, night: Night) -> None:
    make_patients(night.ledger)
    read_images(night.ledger, {1: SIGNS})
    shadow_scores(night.ledger, {1: 0.1, 2: 0.1})
    page = " ".join(eve.get(COMPARED).text.split())
    assert "0 images with a final reading" in page
    assert "There are none." in page


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/models/compare", 200),
        (f"/models/compare?a={MODEL_SHA256}&b={MODEL_SHA256}", 400),
        (f"/models/compare?a={MODEL_SHA256}&b={'0' * 64}", 404),
        ("/models/compare.csv", 400),
    ],
)
def test_wrong_choice_of_models_is_refused(eve: FlaskClient, night: Night, address: str, status: int) -> None:
    assert eve.get(address).status_code == status
