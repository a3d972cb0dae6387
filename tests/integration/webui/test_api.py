"""The API: every answer is as the description says, every failure a sentence with the right status."""

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
from webui.app import create_app
from worker import DISCLAIMER
from worker.config import Settings
from worker.ledger import audit, heartbeats, reports
from worker.ledger.session import utc_now
from worker.ledger.tables import Run

DESCRIPTION: dict[str, Any] = json.loads(
    (files("webui") / "api" / "openapi.json").read_text(encoding="utf-8")
)
ADA = {"X-Nightread-Reader": "Ada"}


def as_described(answer: TestResponse, path: str, method: str = "get") -> Any:
    """The answer's document, checked against the description's schema for its status."""
    described = DESCRIPTION["paths"][path][method]["responses"][str(answer.status_code)]
    schema = described["content"]["application/json"]["schema"]
    document = answer.get_json()
    Draft202012Validator(schema | {"components": DESCRIPTION["components"]}).validate(document)
    return document


def send(client: FlaskClient, name: str, content: bytes) -> TestResponse:
    return client.post("/api/v1/images", data={"files": (io.BytesIO(content), name)}, headers=ADA)


class TestDocuments:
    def test_an_image(self, onlooker: FlaskClient) -> None:
        document = as_described(onlooker.get("/api/v1/images/1"), "/api/v1/images/{image_id}")
        assert document["disclaimer"] == DISCLAIMER
        assert document["phantom"] is True
        assert document["predictions"][0]["p_pneumonia"] == 0.97
        assert document["receipts"][0]["outcome"] == "new"

    def test_an_image_by_its_hash(self, onlooker: FlaskClient) -> None:
        sha256 = onlooker.get("/api/v1/images/3").get_json()["sha256"]
        found = as_described(onlooker.get(f"/api/v1/images?sha256={sha256.upper()}"), "/api/v1/images")
        assert found["image"] == 3
        missing = onlooker.get(f"/api/v1/images?sha256={'0' * 64}")
        assert (missing.status_code, missing.get_json()) == (404, {"error": "There is no such image."})
        assert onlooker.get("/api/v1/images").status_code == 400

    def test_the_queue(self, onlooker: FlaskClient) -> None:
        document = as_described(onlooker.get("/api/v1/queue?verdict=any"), "/api/v1/queue")
        assert (document["total"], document["next"]) == (8, None)
        assert document["disclaimer"] == DISCLAIMER

    def test_the_runs(self, onlooker: FlaskClient) -> None:
        document = as_described(onlooker.get("/api/v1/runs"), "/api/v1/runs")
        assert [run["run"] for run in document["runs"]] == [RUN]
        below = as_described(onlooker.get(f"/api/v1/runs?before={document['next']}"), "/api/v1/runs")
        assert below == {"runs": [], "next": None}

    def test_the_status_is_that_of_the_command(self, client: FlaskClient, night: Night) -> None:
        document = as_described(client.get("/api/v1/status"), "/api/v1/status")
        with night.ledger.reading() as session:
            expected = reports.status_document(session, utc_now())
        assert document.keys() == expected.keys()
        assert {"received", "balanced", "images_per_s", "eta_s", "processes"} <= document.keys()
        assert document["scored"] == 8

    def test_health_and_readiness(self, onlooker: FlaskClient) -> None:
        alive = as_described(onlooker.get("/healthz"), "/healthz")
        ready = as_described(onlooker.get("/readyz"), "/readyz")
        # No broker listens in these tests, and nobody works: told, and no reason to fail.
        assert (alive["ok"], ready["ready"], ready["broker"]) == (True, True, "out of reach")
        assert "No worker is running." in alive["troubles"]
        assert ready["troubles"] == alive["troubles"]

    def test_the_figures_for_prometheus(self, client: FlaskClient, night: Night) -> None:
        with night.ledger.transaction() as session:
            heartbeats.record_heartbeat(session, "watch", period_s=5, trouble="no room", at=utc_now())
        answer = client.get("/metrics")
        assert answer.content_type.startswith("text/plain; version=")
        found = {
            (sample.name, sample.labels.get("name", sample.labels.get("state"))): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }
        with night.ledger.reading() as session:
            status = reports.status_document(session, utc_now())
        assert found["nightread_images", "scored"] == status["scored"] == 8
        assert found["nightread_images", "rejected"] == status["rejected"]
        assert found["nightread_received", None] == status["received"]
        assert found["nightread_books_balanced", None] == found["nightread_database_up", None] == 1
        assert found["nightread_disk_free_bytes", None] > 0
        assert found["nightread_process_ok", "watch"] == 0
        assert found["nightread_troubles", None] == len(status["troubles"]) == 3

    def test_the_canarys_figure(self, client: FlaskClient, night: Night) -> None:
        assert "nightread_canary_ok" not in client.get("/metrics").text
        with night.ledger.transaction() as session:
            session.execute(update(Run).values(name="canary"))
        fresh = create_app(night.settings).test_client()
        assert "nightread_canary_ok 0.0" in fresh.get("/metrics").text, (
            "0.01 is far from the first one's 0.97"
        )

    def test_the_figures_without_a_database(self, tmp_path: Path) -> None:
        url = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
        client = create_app(Settings(data=tmp_path, database_url=url)).test_client()
        text = client.get("/metrics").text
        assert "nightread_database_up 0.0" in text
        assert "nightread_images" not in text
        assert client.get("/healthz").get_json() == {
            "ok": True,
            "troubles": ["The database cannot be reached."],
        }

    def test_the_description_itself(self, onlooker: FlaskClient) -> None:
        assert onlooker.get("/api/v1/openapi.json").get_json() == DESCRIPTION


class TestActs:
    def test_sending_a_new_a_known_and_a_bad_file(self, client: FlaskClient, drawn: Path) -> None:
        fresh = phantoms(drawn, [800])[0].read_bytes()
        new = as_described(send(client, "new.jpg", fresh), "/api/v1/images", "post")[0]
        assert (new["outcome"], new["state"], new["verdict"], new["queued"]) == (
            "new",
            "pending",
            None,
            False,
        )
        known = as_described(
            send(client, "again.jpg", (drawn / "phantom-000.jpg").read_bytes()), "/api/v1/images", "post"
        )[0]
        assert (known["outcome"], known["image"], known["verdict"]) == ("duplicate", 1, "flagged")
        bad = as_described(send(client, "bad.jpg", b""), "/api/v1/images", "post")[0]
        assert (bad["outcome"], bad["reason"]) == ("rejected", "The file is empty.")

    def test_reading_and_undoing(self, client: FlaskClient, night: Night) -> None:
        act = as_described(
            client.post(
                "/api/v1/images/1/review", json={"action": "override", "note": "rotated"}, headers=ADA
            ),
            "/api/v1/images/{image_id}/review",
            "post",
        )
        assert (act["finding"], act["note"], act["reader"], act["next"]) == ("no_signs", "rotated", "Ada", 2)
        again = client.post("/api/v1/images/1/review", json={"action": "confirm"}, headers=ADA)
        assert as_described(again, "/api/v1/images/{image_id}/review", "post") == {
            "error": "This image has been read already."
        }
        undone = as_described(client.post("/api/v1/undo", headers=ADA), "/api/v1/undo", "post")
        assert undone == {"image": 1}
        assert client.post("/api/v1/undo", headers=ADA).status_code == 409
        with night.ledger.reading() as session:
            assert audit.verify(session).ok

    def test_trying_again(self, client: FlaskClient, night: Night, tmp_path: Path) -> None:
        path = tmp_path / "empty.jpg"
        path.write_bytes(b"")
        image_id = night.accept([path])[0].image_id
        url, described = f"/api/v1/images/{image_id}/retry", "/api/v1/images/{image_id}/retry"
        without = client.post(url, json={"reason": " "}, headers=ADA)
        assert as_described(without, described, "post") == {"error": "A retry needs a reason."}
        again = as_described(client.post(url, json={"reason": "sent again"}, headers=ADA), described, "post")
        assert again == {"image": image_id, "queued": False}
        assert client.post(url, json={"reason": "and again"}, headers=ADA).status_code == 409

    def test_a_name_in_utf_8_is_the_same_name_as_on_the_page(self, client: FlaskClient) -> None:
        header = {"X-Nightread-Reader": "Zoë".encode().decode("latin-1")}
        act = client.post("/api/v1/images/1/review", json={"action": "confirm"}, headers=header).get_json()
        assert act["reader"] == "Zoë"


class TestFailures:
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
    def test_every_failure_is_a_sentence(
        self, onlooker: FlaskClient, method: str, url: str, status: int
    ) -> None:
        answer = onlooker.open(url, method=method.upper(), headers=ADA)
        assert answer.status_code == status
        assert answer.get_json()["error"].endswith(".") or "one of" in answer.get_json()["error"]
        assert list(answer.get_json()) == ["error"]

    @pytest.mark.parametrize(
        "document",
        [
            "",
            "[]",
            '"confirm"',
            "{}",
            '{"action": 3}',
            '{"action": "confirm", "note": 1}',
            "{",
            '{"action": "undo"}',
        ],
    )
    def test_a_body_that_makes_no_sense_is_refused(self, onlooker: FlaskClient, document: str) -> None:
        answer = onlooker.post(
            "/api/v1/images/1/review", data=document, content_type="application/json", headers=ADA
        )
        assert answer.status_code == 400
        assert onlooker.get("/api/v1/images/1").get_json()["reviews"] == []

    @pytest.mark.parametrize(
        "url", ["/api/v1/images", "/api/v1/images/1/review", "/api/v1/images/1/retry", "/api/v1/undo"]
    )
    def test_an_act_needs_its_readers_name(self, onlooker: FlaskClient, url: str) -> None:
        body = {"action": "confirm", "reason": "x"}
        answer = onlooker.post(url, json=body)
        assert (answer.status_code, answer.get_json()) == (
            400,
            {"error": "Say who reads, in the header X-Nightread-Reader."},
        )

    def test_a_name_too_long_is_refused(self, onlooker: FlaskClient) -> None:
        answer = onlooker.post("/api/v1/undo", headers={"X-Nightread-Reader": "x" * 101})
        assert (answer.status_code, answer.get_json()) == (
            400,
            {"error": "A name of 1 to 100 characters is needed."},
        )
