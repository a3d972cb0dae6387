"""The page Scored again, and the same over the API: what an upgrade changed, until a person has seen it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator

from tests.filling import assert_consistent
from tests.integration.webui.conftest import Reader
from tests.integration.webui.night import Night, scored_night
from tests.signing_in import signed_in_client
from tests.unit.webui.test_openapi import DESCRIPTION
from webui import create_app
from webui.pages import rescored
from worker.ledger import rescores
from worker.ledger.rescores import CROPPED
from worker.ledger.session import utc_now

NEWER = "6e" * 32


def rescore(night: Night, *image_ids: int) -> None:
    """Let images lose their score; the prediction of image n has the id n."""
    with night.ledger.transaction() as session:
        ids = rescores.rescore(session, dict.fromkeys(image_ids, CROPPED), utc_now())
    assert ids == list(image_ids)


@pytest.fixture
def upgraded(night: Night) -> Night:
    """A ledger in which image 8 was clear and is flagged, image 7 is rejected, and image 6 is still pending."""
    rescore(night, 6, 7, 8)
    night.score({8: 0.91}, rejected=[7], model_sha256=NEWER)
    return night


def test_page_lists_verdicts_before_and_now(client: FlaskClient, upgraded: Night) -> None:
    page = client.get("/rescored").text
    rows = page.split("<li>")[1:]
    assert [f'href="/review/{number}"' in row for number, row in zip((6, 7, 8), rows, strict=True)] == [
        True
    ] * 3
    assert "uncertain" in rows[0]
    assert ">pending</span>" in rows[0]
    assert "The image is blank" in rows[1]
    assert rows[2].index("clear") < rows[2].index("0.01") < rows[2].index("flagged") < rows[2].index("0.91")
    assert "Now only the film is scored." in rows[2]
    assert 'action="/rescored/seen"' in page


def test_every_page_links_to_the_list_until_it_is_seen(
    client: FlaskClient, reader: Reader, upgraded: Night
) -> None:
    assert '<a class="warning long" href="/rescored">3 scored again</a>' in client.get("/review").text
    ada = reader("Ada")
    page = ada.get("/rescored").text
    chosen = page.split('name="rescores" value="')[1].split('"')[0]
    answer = ada.post("/rescored/seen", data={"rescores": chosen})
    assert (answer.status_code, answer.location) == (303, "/rescored")
    left = ada.get("/rescored").text
    assert "you have seen 2 images" in left
    assert left.count("<li>") == 1, "the pending image has no result yet"
    assert "These images are not scored yet." in left
    upgraded.score({6: 0.1}, model_sha256=NEWER)
    ada.post("/rescored/seen", data={"rescores": "1-3"})
    assert "No unseen images." in ada.get("/rescored").text
    fresh = signed_in_client(create_app(upgraded.settings))
    assert "scored again" not in fresh.get("/review").text
    assert assert_consistent(upgraded.ledger).balanced


def test_health_names_the_number_until_it_is_seen(client: FlaskClient, upgraded: Night) -> None:
    (told,) = [text for text in client.get("/healthz").get_json()["troubles"] if "scored again" in text]
    assert told.startswith("3 images were scored again after an upgrade.")


def test_seen_needs_valid_ids(reader: Reader, upgraded: Night) -> None:
    for wrong in ("x", "3-1", "1-9999999", "99999999999999999999"):
        assert reader("Ada").post("/rescored/seen", data={"rescores": wrong}).status_code == 400
    with upgraded.ledger.reading() as session:
        assert rescores.unseen_count(session) == 3


def test_long_list_has_pages(client: FlaskClient, upgraded: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescored, "PAGE_SIZE", 2)
    first = client.get("/rescored").text
    assert first.count("<li>") == 2
    second = client.get(first.split('rel="next" href="')[1].split('"')[0]).text
    assert second.count("<li>") == 1
    assert client.get("/rescored?after=x").status_code == 400


def test_queue_shows_the_flagged_image_as_unread(client: FlaskClient, upgraded: Night) -> None:
    page = client.get("/review?verdict=flagged").text
    (row,) = [row for row in page.split("<li>") if 'href="/review/8' in row]
    assert "unread" in row


def test_viewer_tells_the_earlier_verdict(reader: Reader, night: Night) -> None:
    ada = reader("Ada")
    ada.post("/review/8/decide", data={"finding": "signs_of_pneumonia"})
    rescore(night, 8)
    night.score({8: 0.91}, model_sha256=NEWER)
    page = ada.get("/review/8").text
    note = page.split('id="rescore-note"')[1].split("</p>")[0]
    assert "Scored again after an upgrade" in note
    assert "Before: clear, score 0.01." in note
    assert "before the image was scored again" in page.split('id="history-title"')[1].split("</ol>")[0]
    assert (
        page.count("<summary>Prediction</summary>")
        == page.count("<summary>Earlier prediction</summary>")
        == 1
    )


def test_rejected_image_shows_its_reason_instead_of_the_earlier_score(
    client: FlaskClient, upgraded: Night
) -> None:
    page = client.get("/review/7").text
    assert "The image is blank" in page
    assert '<h2 id="score-title">' not in page
    assert "<summary>Prediction</summary>" not in page
    assert client.get("/images/7/map.png").status_code == 404
    assert client.get("/api/v1/images/7").get_json()["map"] is None


def test_decision_on_the_earlier_score_is_refused(reader: Reader, night: Night) -> None:
    ada = reader("Ada")
    form = ada.get("/review/8").text.split('<form id="decide"')[1].split("</form>")[0]
    shown = form.split('name="prediction" value="')[1].split('"')[0]
    rescore(night, 8)
    night.score({8: 0.91}, model_sha256=NEWER)
    answer = ada.post("/review/8/decide", data={"finding": "signs_of_pneumonia", "prediction": shown})
    assert answer.location == "/review/8"
    assert "scored again in the meantime" in ada.get("/review/8").text
    programs = ada.post(
        "/api/v1/images/8/review", json={"finding": "signs_of_pneumonia", "prediction": int(shown)}
    )
    assert programs.status_code == 409
    document = ada.get("/api/v1/images/8").get_json()
    newest = document["predictions"][0]["prediction"]
    assert (
        ada.post(
            "/api/v1/images/8/review", json={"finding": "signs_of_pneumonia", "prediction": newest}
        ).status_code
        == 200
    )
    for wrong in ("8", -1, True, 1.5):
        answer = ada.post(
            "/api/v1/images/1/review", json={"finding": "signs_of_pneumonia", "prediction": wrong}
        )
        assert answer.status_code == 400
    assert (
        ada.post("/review/1/decide", data={"finding": "signs_of_pneumonia", "prediction": "x"}).status_code
        == 400
    )


def follows(schema: str, document: Any) -> None:
    Draft202012Validator({**DESCRIPTION, "$ref": f"#/components/schemas/{schema}"}).validate(document)


def test_api_lists_and_takes_what_was_seen(client: FlaskClient, upgraded: Night) -> None:
    answer = client.get("/api/v1/rescored").get_json()
    follows("Rescored", answer)
    assert (answer["total"], answer["next"]) == (3, 3)
    assert [(row["verdict_before"], row["state"]) for row in answer["images"]] == [
        ("uncertain", "pending"),
        ("clear", "rejected"),
        ("clear", "scored"),
    ]
    assert client.get("/api/v1/rescored?after=3").get_json()["images"] == []
    ids = [row["rescore"] for row in answer["images"]]
    named = client.post("/api/v1/rescored/seen", json={"rescores": ids})
    assert named.get_json() == {"seen": 2}
    assert client.get("/api/v1/rescored").get_json()["total"] == 1
    for wrong in ("1", [None], [True], [-1], [2**63], list(range(101)), None):
        refused = client.post("/api/v1/rescored/seen", json={"rescores": wrong})
        assert refused.status_code == 400


def test_empty_list_says_so(shared_client: FlaskClient) -> None:
    assert "No unseen images." in shared_client.get("/rescored").text
    assert shared_client.get("/api/v1/rescored").get_json()["images"] == []


def test_status_follows_its_schema(client: FlaskClient, upgraded: Night) -> None:
    document = client.get("/api/v1/status").get_json()
    follows("Status", document)
    assert document["rescored_unseen"] == 3


@pytest.mark.postgres
def test_list_works_on_postgresql(postgres_url: str, tmp_path: Path, phantom_folder: Path) -> None:
    night = scored_night(tmp_path / "data", [0.1, 0.2], phantom_folder, database_url=postgres_url)
    rescore(night, 1, 2)
    night.score({1: 0.9}, model_sha256=NEWER)
    client = signed_in_client(create_app(night.settings))
    assert client.get("/rescored").text.count("<li>") == 2
    seen = client.post("/api/v1/rescored/seen", json={"rescores": [1, 2]})
    assert seen.get_json() == {"seen": 1}
    assert_consistent(night.ledger)
    night.ledger.close()
