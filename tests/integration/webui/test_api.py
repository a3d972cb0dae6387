"""The API: responses match openapi.json, and every error is a sentence with the right status."""

from __future__ import annotations

import io
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update
from werkzeug.test import TestResponse

from tests.conftest import free_port
from tests.integration.webui.night import RUN, Night, phantoms
from tests.signing_in import signed_in_client
from webui.access.identity import COOKIE
from webui.app import create_app
from worker import DISCLAIMER
from worker.config import Settings
from worker.ledger import audit, heartbeats, receiver_tallies
from worker.ledger.receiver_tallies import Kind
from worker.ledger.session import utc_now
from worker.ledger.status import status_document
from worker.ledger.tables import Run

DESCRIPTION: dict[str, Any] = json.loads(
    (files("webui") / "api" / "openapi.json").read_text(encoding="utf-8")
)


def checked_document(answer: TestResponse, path: str, method: str = "get") -> Any:
    """Return the response's document after checking it against the schema for its status."""
    response = DESCRIPTION["paths"][path][method]["responses"][str(answer.status_code)]
    schema = response["content"]["application/json"]["schema"]
    document = answer.get_json()
    Draft202012Validator(schema | {"components": DESCRIPTION["components"]}).validate(document)
    return document


def upload(client: FlaskClient, name: str, content: bytes) -> TestResponse:
    return client.post("/api/v1/images", data={"files": (io.BytesIO(content), name)})


class TestDocuments:
    def test_image(self, shared_client: FlaskClient) -> None:
        document = checked_document(shared_client.get("/api/v1/images/1"), "/api/v1/images/{image_id}")
        assert document["disclaimer"] == DISCLAIMER
        assert document["phantom"] is True
        assert document["predictions"][0]["p_pneumonia"] == 0.97
        assert document["receipts"][0]["outcome"] == "new"

    def test_image_is_found_by_hash(self, shared_client: FlaskClient) -> None:
        sha256 = shared_client.get("/api/v1/images/3").get_json()["sha256"]
        image = checked_document(
            shared_client.get(f"/api/v1/images?sha256={sha256.upper()}"), "/api/v1/images"
        )
        assert image["image"] == 3
        missing = shared_client.get(f"/api/v1/images?sha256={'0' * 64}")
        assert (missing.status_code, missing.get_json()) == (404, {"error": "There is no such image."})
        assert shared_client.get("/api/v1/images").status_code == 400

    def test_queue(self, shared_client: FlaskClient) -> None:
        document = checked_document(shared_client.get("/api/v1/queue?verdict=any"), "/api/v1/queue")
        assert (document["total"], document["next"]) == (8, None)
        assert document["disclaimer"] == DISCLAIMER

    def test_runs(self, shared_client: FlaskClient) -> None:
        document = checked_document(shared_client.get("/api/v1/runs"), "/api/v1/runs")
        assert [run["run"] for run in document["runs"]] == [RUN]
        next_page = checked_document(
            shared_client.get(f"/api/v1/runs?before={document['next']}"), "/api/v1/runs"
        )
        assert next_page == {"runs": [], "next": None}

    def test_status_is_the_document_of_the_command(self, client: FlaskClient, night: Night) -> None:
        document = checked_document(client.get("/api/v1/status"), "/api/v1/status")
        with night.ledger.reading() as session:
            expected = status_document(session, utc_now())
        assert document.keys() == expected.keys()
        assert {"received", "balanced", "images_per_s", "eta_s", "processes"} <= document.keys()
        assert document["scored"] == 8

    def test_health_and_readiness_list_problems(self, shared_client: FlaskClient) -> None:
        alive = checked_document(shared_client.get("/healthz"), "/healthz")
        ready = checked_document(shared_client.get("/readyz"), "/readyz")
        # Neither a broker nor a worker runs in these tests. Both problems are listed; neither is an error.
        assert (alive["ok"], ready["ready"], ready["broker"]) == (True, True, "out of reach")
        assert "No worker process is running." in alive["troubles"]
        assert ready["troubles"] == alive["troubles"]

    def test_metrics(self, client: FlaskClient, night: Night) -> None:
        with night.ledger.transaction() as session:
            heartbeats.record_heartbeat(session, "watch", period_s=5, trouble="no room", at=utc_now())
        answer = client.get("/metrics")
        assert answer.content_type.startswith("text/plain; version=")
        values = {
            (sample.name, sample.labels.get("name", sample.labels.get("state"))): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }
        with night.ledger.reading() as session:
            status = status_document(session, utc_now())
        assert values["nightread_images", "scored"] == status["scored"] == 8
        assert values["nightread_images", "rejected"] == status["rejected"]
        assert values["nightread_received", None] == status["received"]
        assert values["nightread_balanced", None] == values["nightread_database_up", None] == 1
        assert values["nightread_disk_free_bytes", None] > 0
        assert values["nightread_process_ok", "watch"] == 0
        assert values["nightread_troubles", None] == len(status["troubles"]) == 3

    def test_metrics_count_what_the_receiver_did_by_reason(self, client: FlaskClient, night: Night) -> None:
        with night.ledger.transaction() as session:
            receiver_tallies.add(session, {Kind.DUPLICATE: 3, Kind.ADDRESS: 2})
        text = client.get("/metrics").text
        assert 'nightread_dicom_objects_total{outcome="duplicate"} 3.0' in text
        assert 'nightread_dicom_objects_total{outcome="new"} 0.0' in text
        assert 'nightread_dicom_connections_refused_total{reason="address"} 2.0' in text

    def test_metric_of_a_failed_canary(self, client: FlaskClient, night: Night) -> None:
        assert "nightread_canary_ok" not in client.get("/metrics").text
        with night.ledger.transaction() as session:
            session.execute(update(Run).values(name="canary"))
        fresh = signed_in_client(create_app(night.settings))
        # The latest score, 0.01, is far from that of the first canary, 0.97.
        assert "nightread_canary_ok 0.0" in fresh.get("/metrics").text

    def test_nothing_personal_is_told_without_a_database(self, tmp_path: Path) -> None:
        url = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
        client = create_app(Settings(data=tmp_path, database_url=url)).test_client()
        client.set_cookie(COOKIE, "of a session that cannot be looked up")
        assert client.get("/healthz").get_json() == {"ok": True}
        for address in ("/metrics", "/readyz", "/review", "/api/v1/status"):
            assert client.get(address).status_code == 503

    def test_openapi_document_is_served(self, shared_client: FlaskClient) -> None:
        assert shared_client.get("/api/v1/openapi.json").get_json() == DESCRIPTION


class TestActions:
    def test_upload_of_new_duplicate_and_rejected_files(
        self, client: FlaskClient, phantom_folder: Path
    ) -> None:
        fresh = phantoms(phantom_folder, [800])[0].read_bytes()
        new = checked_document(upload(client, "new.jpg", fresh), "/api/v1/images", "post")[0]
        assert (new["outcome"], new["state"], new["verdict"], new["queued"]) == (
            "new",
            "pending",
            None,
            False,
        )
        duplicate = checked_document(
            upload(client, "again.jpg", (phantom_folder / "phantom-000.jpg").read_bytes()),
            "/api/v1/images",
            "post",
        )[0]
        assert (duplicate["outcome"], duplicate["image"], duplicate["verdict"]) == ("duplicate", 1, "flagged")
        rejected = checked_document(upload(client, "bad.jpg", b""), "/api/v1/images", "post")[0]
        assert (rejected["outcome"], rejected["reason"]) == ("rejected", "The file is empty.")

    def test_reading_and_undo(self, client: FlaskClient, night: Night) -> None:
        reading = checked_document(
            client.post("/api/v1/images/1/review", json={"finding": "no_signs", "note": "rotated"}),
            "/api/v1/images/{image_id}/review",
            "post",
        )
        assert (reading["finding"], reading["note"], reading["reader"], reading["next"]) == (
            "no_signs",
            "rotated",
            "Somebody",
            2,
        )
        again = client.post("/api/v1/images/1/review", json={"finding": "signs_of_pneumonia"})
        assert checked_document(again, "/api/v1/images/{image_id}/review", "post") == {
            "error": "You have already read this image. You can change your reading."
        }
        undone = checked_document(client.post("/api/v1/undo"), "/api/v1/undo", "post")
        assert undone == {"image": 1, "review": reading["review"]}
        assert client.post("/api/v1/undo").status_code == 409
        with night.ledger.reading() as session:
            assert audit.verify(session).ok

    def test_reading_is_changed_and_taken_back_by_its_number(self, client: FlaskClient) -> None:
        url, path = "/api/v1/images/8/review", "/api/v1/images/{image_id}/review"
        seen = {"prediction": 8, "score_shown": True, "map_shown": False, "open_ms": 900}
        judged = {"finding": "cannot_be_judged", "reason": "wrong_view", "other_finding": "clip"}
        first = checked_document(client.post(url, json=judged | seen), path, "post")
        assert {name: first[name] for name in ("action", *judged)} == {"action": "read", **judged}
        assert {name: first[name] for name in seen} == seen
        for wrong in ({"why": ""}, {"why": "x", "finding": "cannot_be_judged"}):
            change = {"finding": "no_signs", "amends": first["review"], **wrong}
            assert client.post(url, json=change).status_code == 400
        change = {"finding": "no_signs", "amends": first["review"], "why": "looked again"}
        second = checked_document(client.post(url, json=change), path, "post")
        assert (second["action"], second["supersedes"], second["why"]) == (
            "amend", first["review"], "looked again"
        )  # fmt: skip
        rows = checked_document(
            client.get("/api/v1/queue?verdict=clear&reading=read"), "/api/v1/queue", "get"
        )
        (row,) = rows["images"]
        assert row["reading"] == {name: value for name, value in second.items() if name != "next"}
        taken = client.post("/api/v1/undo", json={"review": second["review"]})
        assert checked_document(taken, "/api/v1/undo", "post")["review"] == second["review"]
        image = checked_document(client.get("/api/v1/images/8"), "/api/v1/images/{image_id}", "get")
        assert image["finding"] == "cannot_be_judged"
        assert [row["action"] for row in image["reviews"]] == ["read", "amend", "undo"]

    def test_retry_needs_a_reason(self, client: FlaskClient, night: Night, tmp_path: Path) -> None:
        path = tmp_path / "empty.jpg"
        path.write_bytes(b"")
        image_id = night.accept([path])[0].image_id
        url, path_template = f"/api/v1/images/{image_id}/retry", "/api/v1/images/{image_id}/retry"
        without = client.post(url, json={"reason": " "})
        assert checked_document(without, path_template, "post") == {"error": "A retry needs a reason."}
        again = checked_document(client.post(url, json={"reason": "sent again"}), path_template, "post")
        assert again == {"image": image_id, "queued": False}
        assert client.post(url, json={"reason": "and again"}).status_code == 409


class TestErrors:
    @pytest.mark.parametrize(
        ("method", "url", "status"),
        [
            ("get", "/api/v1/images/99", 404),
            ("get", "/api/v1/nothing", 404),
            ("get", f"/api/v1/images/{10**40}", 404),
            ("delete", "/api/v1/images/1", 405),
            ("get", "/api/v1/undo", 405),
            ("get", "/api/v1/queue?verdict=cancer", 400),
            ("get", "/api/v1/queue?after=1", 400),
            ("get", "/api/v1/runs?before=x", 400),
            ("post", "/api/v1/images", 400),
            ("post", "/api/v1/images/1/review", 400),
            ("post", "/api/v1/images/1/retry", 400),
        ],
    )
    def test_error_is_a_sentence(
        self, shared_client: FlaskClient, method: str, url: str, status: int
    ) -> None:
        answer = shared_client.open(url, method=method.upper())
        assert answer.status_code == status
        assert answer.get_json()["error"].endswith(".") or "one of" in answer.get_json()["error"]
        assert list(answer.get_json()) == ["error"]

    @pytest.mark.parametrize(
        "document",
        [
            "",
            "[]",
            '"no_signs"',
            "{}",
            '{"finding": 3}',
            '{"finding": "no_signs", "map_shown": "yes"}',
            '{"finding": "no_signs", "open_ms": -1}',
            '{"finding": "no_signs", "reason": "wrong_view"}',
            '{"finding": "signs_of_pneumonia", "note": 1}',
            "{",
            '{"action": "confirm"}',
        ],
    )
    def test_invalid_body_is_refused(self, shared_client: FlaskClient, document: str) -> None:
        answer = shared_client.post("/api/v1/images/1/review", data=document, content_type="application/json")
        assert answer.status_code == 400
        assert shared_client.get("/api/v1/images/1").get_json()["reviews"] == []
