"""Every route answers hostile values with a sentence, on every database: no 500, no traceback."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from tests.files import jpeg
from tests.integration.webui.night import MODEL_SHA256, scored_night
from tests.signing_in import signed_in_client
from webui import create_app
from webui.dependencies import EXTENSION, Dependencies
from worker.intake.stated import FIELDS

pytestmark = pytest.mark.slow

VALUES = (
    "",
    "\0",
    "a\0b",
    ".",
    "..",
    "/lead",
    "a//b",
    "x" * 5_000,
    "\N{RIGHT-TO-LEFT OVERRIDE}1",
    "a\nb",
    "'; DROP TABLE run; --",
    "-1",
    "9" * 30,
    "1e999_1",
    "nan_1",
    "\N{ARABIC-INDIC DIGIT ONE}",
    "\U0001f480",
)
NAMES = (
    "verdict",
    "reading",
    "run",
    "after",
    "before",
    "sha256",
    "format",
    "receipts",
    "prevalence",
    "v",
    "next",
    "finding",
    "note",
    "other_finding",
    "why",
    "amends",
    "review",
    "prediction",
    "score_shown",
    "map_shown",
    "open_ms",
    "reason",
    "name",
)
# What stands in an address for a text, and exists or is refused without a look at the ledger.
EXISTING = {"filename": "nightread.css", "sha256": MODEL_SHA256, "key": "1"}
BODIES = (
    b"{",
    b"[]",
    b'{"finding":' + b"[" * 30_000 + b"}",
    b'{"finding":' + b"9" * 60_000 + b"}",
    b'{"finding":NaN}',
    rb'{"finding":"signs_of_pneumonia","note":"\ud800"}',
    rb'{"finding":"signs_of_pneumonia","note":"a\u0000b","reason":"a\u0000b"}',
    b"\xff\xfe",
)


@pytest.fixture
def app(tmp_path: Path, ledger_url: str) -> Iterator[Flask]:
    """The application on a ledger with two images."""
    night = scored_night(tmp_path / "data", (0.9, 0.1), tmp_path, width=96, database_url=ledger_url)
    made = create_app(night.settings)
    yield made
    dependencies: Dependencies = made.extensions[EXTENSION]
    dependencies.ledger.close()
    night.ledger.close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client that is signed in with every role."""
    return signed_in_client(app)


@pytest.fixture(autouse=True)
def _no_traceback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert [record for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info] == []


def filled(rule: Rule, texts: Mapping[str, str]) -> str:
    """Return the rule's address with one of the texts in each place for a text, and 1 in each place for a number."""
    path = rule.rule
    for argument in rule.arguments:
        for number in ("id:", "run:"):
            path = path.replace(f"<{number}{argument}>", "1")
        for word in (f"<{argument}>", f"<path:{argument}>"):
            if word in path:
                path = path.replace(word, texts[argument])
    return path


def paths(rule: Rule) -> set[str]:
    """Return the rule's address with each hostile value in each of its places for a text."""
    return {filled(rule, dict.fromkeys(rule.arguments, quote(value, safe=""))) for value in VALUES}


def routes(app: Flask) -> Iterator[tuple[str, str, Rule]]:
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield method, filled(rule, EXISTING), rule


def existing(app: Flask, method: str) -> list[str]:
    """Return one address of each rule, of something that exists: only such a page reads the rest of the request."""
    return sorted({path for taken, path, _ in routes(app) if taken == method})


def check(client: FlaskClient, method: str, path: str, **options: object) -> int:
    """Return the status of the answer, which is none of a defect."""
    status = client.open(path, method=method, **options).status_code  # type: ignore[arg-type]
    assert status < 500, (method, path[:200], str(options)[:200])
    return status


def test_routes_are_walked(app: Flask) -> None:
    walked = set().union(*(paths(rule) for _, _, rule in routes(app)))
    assert {"/runs/1", "/models/%00", "/api/v1/runs/1/report", "/review/1", "/healthz"} <= walked
    existing_ones = {*existing(app, "GET"), *existing(app, "POST")}
    assert {f"/models/{MODEL_SHA256}", f"/models/{MODEL_SHA256}/activate", "/healthz"} <= existing_ones
    assert not [path for path in {*walked, *existing_ones} if "<" in path]


def test_path_holds_any_value(app: Flask, client: FlaskClient) -> None:
    for method, _, rule in routes(app):
        for path in sorted(paths(rule)):
            check(client, method, path)


def test_query_holds_any_value(app: Flask, client: FlaskClient) -> None:
    names = {value or "x": "1" for value in VALUES}
    refused = {name: names.pop(name) for name in list(names) if "\0" in name}
    for path in existing(app, "GET"):
        # All at once: they change no answer, so none hides the next one.
        assert check(client, "GET", path, query_string=names) == check(client, "GET", path), path
        for name in refused:
            check(client, "GET", path, query_string={name: "1"})
        for value in VALUES:
            check(client, "GET", path, query_string=dict.fromkeys(NAMES, value))
        for name in NAMES:
            check(client, "GET", path, query_string={name: "\0"})


def test_form_and_json_hold_any_value(app: Flask, client: FlaskClient) -> None:
    for path in existing(app, "POST"):
        for value in VALUES:
            check(client, "POST", path, data=dict.fromkeys(NAMES, value))
            check(client, "POST", path, data={**dict.fromkeys(NAMES, value), "finding": "signs_of_pneumonia"})
            check(client, "POST", path, json=dict.fromkeys(NAMES, value))
            check(
                client,
                "POST",
                path,
                data=json.dumps({"finding": "signs_of_pneumonia", "note": value, "reason": value}),
            )
        for body in BODIES:
            check(client, "POST", path, data=body, content_type="application/json")
            check(client, "POST", path, data=body, content_type="multipart/form-data")


def test_headers_hold_any_value(client: FlaskClient) -> None:
    for value in VALUES:
        header = value.replace("\n", " ").encode().decode("latin-1")
        for path in ("/api/v1/undo", "/api/v1/images/1/review", "/api/v1/images/1/retry"):
            check(
                client,
                "POST",
                path,
                json={"finding": "signs_of_pneumonia", "reason": "x"},
                headers={"User-Agent": header},
            )
        check(client, "GET", "/review/1", headers={"Cookie": header, "Referer": header, "Origin": header})
        files = {"files": (io.BytesIO(jpeg()), value), "run": "night"}
        check(client, "POST", "/api/v1/images", data=files, headers={"Referer": header})


def test_upload_holds_any_value(client: FlaskClient) -> None:
    for value in VALUES:
        for name in (value, "a.jpg"):
            check(client, "POST", "/api/v1/images", data={"files": (io.BytesIO(jpeg()), name), "run": value})
            check(client, "POST", "/upload", data={"files": (io.BytesIO(jpeg()), name), "run": value})
        for field in FIELDS:
            check(
                client, "POST", "/api/v1/images", data={"files": (io.BytesIO(jpeg()), "a.jpg"), field: value}
            )


@pytest.mark.parametrize(
    "run",
    [
        "canary",
        "Canary",
        "\uff43anary",
        "x" * 101,
        "a\tb\x1b",
    ],
)
def test_run_that_is_ours_or_cannot_be_read_is_refused(client: FlaskClient, run: str) -> None:
    answer = client.post("/api/v1/images", data={"files": (io.BytesIO(jpeg()), "a.jpg"), "run": run})
    assert answer.status_code == 400
    assert "run" in answer.get_json()["error"]
    assert client.get("/api/v1/status").get_json()["received"] == 2


@pytest.mark.parametrize("run", ["survey 3", "A&E/ward 2", "n\u00e4cht", ".hidden", "..", "/lead", "a//b"])
def test_other_runs_can_be_opened(client: FlaskClient, run: str) -> None:
    answer = client.post("/api/v1/images", data={"files": (io.BytesIO(jpeg()), "a.jpg"), "run": run})
    assert answer.status_code == 200
    assert client.get("/runs/2").status_code == 200
    assert client.get("/api/v1/runs/2/report").get_json()["run"] == run


@pytest.mark.parametrize("field", ["image", "file", "files[]"])
def test_file_in_another_field_is_never_dropped(client: FlaskClient, field: str) -> None:
    both = {"files": (io.BytesIO(jpeg()), "a.jpg"), field: (io.BytesIO(jpeg(1)), "b.jpg")}
    for data in (both, {field: (io.BytesIO(jpeg(1)), "b.jpg")}):
        answer = client.post("/api/v1/images", data=data)
        assert answer.status_code == 400
        assert field in answer.get_json()["error"]


def test_damaged_form_is_named(client: FlaskClient) -> None:
    part = b'--B\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n' + jpeg()
    for body, kind in ((part, "multipart/form-data; boundary=B"), (part, "multipart/form-data")):
        answer = client.post("/api/v1/images", data=body, content_type=kind)
        assert answer.status_code == 400
        assert "at least one file" not in answer.get_json()["error"]


def test_text_in_place_of_a_file_is_named(client: FlaskClient) -> None:
    answer = client.post("/api/v1/images", data={"files": "hello"}, content_type="multipart/form-data")
    assert answer.status_code == 400
    assert "no file" in answer.get_json()["error"]


def test_file_without_a_name_is_accepted(client: FlaskClient) -> None:
    body = (
        b'--B\r\nContent-Disposition: form-data; name="files"; filename=""\r\n\r\n'
        + jpeg(5)
        + b"\r\n--B--\r\n"
    )
    answer = client.post("/api/v1/images", data=body, content_type="multipart/form-data; boundary=B")
    assert [item["outcome"] for item in answer.get_json()] == ["new"]
