"""A name that a person types, or that a file brings, is in no address, log, metric or payload of the audit trail."""

from __future__ import annotations

import io
import logging
import re
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from tests.filling import AT
from tests.integration.webui.night import RUN, Night, copies, phantoms
from tests.signing_in import signed_in_client
from worker.erasing import Eraser
from worker.errors import TransientFailure
from worker.ledger import rescores
from worker.ledger.roles import Role
from worker.ledger.runs import run_named
from worker.ledger.session import Ledger, utc_now
from worker.ledger.tables import AuditEvent, Image
from worker.store import open_store

pytestmark = pytest.mark.slow

# One word, so that an address that escapes it is found, too.
PATIENT = "Doejane"
_URLS = re.compile(r'(?:href|src|action|formaction|data-[a-z-]+|hx-[a-z]+|srcset|poster)="([^"]*)"')


_PATHS = re.compile(r'"(/[^"]*)"')
_NOT_FETCHED = ("/models", "/api/v1/openapi.json", "/people", "/account")


@pytest.fixture
def named(app: Flask, night: Night, tmp_path: Path) -> FlaskClient:
    """A client of a night in which the patient's name is in every place where a person or a file can bring one."""
    client = signed_in_client(app, "Ada")
    files = copies(tmp_path, 6)
    for number, path in enumerate(files[:4]):
        form = {
            "files": (io.BytesIO(path.read_bytes()), f"{PATIENT} {number}.jpg"),
            "run": f"films of {PATIENT}",
        }
        assert client.post(("/upload", "/api/v1/images")[number % 2], data=form).status_code in {200, 303}
    again = {"files": (io.BytesIO(files[0].read_bytes()), f"copy of {PATIENT}.jpg")}
    assert client.post("/api/v1/images", data=again).status_code == 200
    night.accept(files[4:], run=f"more of {PATIENT}", names=[f"{PATIENT}/{n}.jpg" for n in (4, 5)])
    night.score({9: 0.99, 10: 0.5, 13: 0.98}, rejected=[11])
    night.quarantine(14)
    assert (
        client.post(
            "/review/9/decide",
            data={
                "finding": "signs_of_pneumonia",
                "note": f"{PATIENT}: left",
                "other_finding": f"clip of {PATIENT}",
            },
        ).status_code
        == 303
    )
    assert client.post("/rejected/11/retry", data={"reason": f"{PATIENT} again"}).status_code == 303
    night.score({}, rejected=[11])
    with night.ledger.transaction() as session:
        rescores.rescore(session, {prediction_of(night.ledger, 10): rescores.CROPPED}, AT)
    Eraser(night.ledger, open_store(night.settings)).erase([13], who="os:1", why=f"{PATIENT} asked")
    return client


def prediction_of(ledger: Ledger, image_id: int) -> int:
    with ledger.reading() as session:
        return session.get_one(Image, image_id).predictions[0].id


def crawl(client: FlaskClient) -> tuple[set[str], str]:
    """Follow the links of the pages, each path once. Return all addresses, and all texts together."""
    waiting = ["/", "/review?verdict=any&reading=any", "/api/v1/runs", "/api/v1/queue?reading=any"]
    waiting += ["/upload?receipts=1-99", "/rescored", "/rejected", "/runs"]
    waiting += [f"/{kind}/{image}" for kind in ("review", "api/v1/images") for image in range(9, 15)]
    seen, fetched, texts = set(waiting), set(_NOT_FETCHED), []
    while waiting:
        address = waiting.pop()
        path = urlsplit(address).path
        if path in fetched or path.startswith(
            ("/images/", "/static/", "/models/", "/review/1?", "/review/2?")
        ):
            continue
        fetched.add(path)
        answer = client.get(address)
        text = answer.text
        texts.append(text)
        found = _URLS.findall(text) if answer.mimetype == "text/html" else _PATHS.findall(text)
        links = {
            urljoin(address, unescape(url)) for url in [*found, answer.headers.get("Location", "")] if url
        }
        waiting += [url for url in sorted(links - seen) if not urlsplit(url).netloc]
        seen |= links
    return seen, "".join(texts)


def test_pages_show_names_and_no_address_holds_one(named: FlaskClient) -> None:
    addresses, texts = crawl(named)
    for name in (
        f"{PATIENT} 0.jpg",
        f"films of {PATIENT}",
        f"{PATIENT}: left",
        f"clip of {PATIENT}",
        f"{PATIENT} again",
        f"{PATIENT} asked",
    ):
        assert name in texts
    assert {"/runs/2", "/runs/3", "/api/v1/runs/2/report?format=csv", "/review/9"} <= addresses
    assert [address for address in addresses if PATIENT in unquote(address)] == []


def test_title_of_a_page_names_nobody(named: FlaskClient) -> None:
    """A browser keeps titles in its history, which no erasure reaches."""
    for address in ("/review/9", "/runs/2", "/review?run=2", "/rejected", "/upload?receipts=9-10"):
        title = re.search(r"<title>(.*?)</title>", named.get(address).text)
        assert title is not None
        assert PATIENT not in title[1]


def test_no_log_holds_a_name(
    named: FlaskClient,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with caplog.at_level(logging.DEBUG):
        crawl(named)
        monkeypatch.setattr("webui.pages.queue.reading_queue.queue", fail)
        monkeypatch.setattr("webui.pages.viewer.reading_queue.open_image", fail)
        for path in (
            f"/review?run={PATIENT}",
            f"/runs/{PATIENT}",
            f"/api/v1/images?sha256={PATIENT}",
            f"/{PATIENT}",
        ):
            named.get(path)
        assert named.get(f"/review/9?x={PATIENT}").status_code == 503
    captured = capfd.readouterr()
    assert PATIENT not in caplog.text + captured.out + captured.err


def fail(*_: object, **__: object) -> None:
    raise TransientFailure("the image store is out of reach")


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz", "/api/v1/status", "/status/strip"])
def test_no_metric_and_no_trouble_holds_a_name(named: FlaskClient, path: str) -> None:
    answer = named.get(path)
    assert answer.status_code in {200, 503}
    assert PATIENT not in answer.text


def test_audit_trail_holds_no_name(named: FlaskClient, night: Night) -> None:
    with night.ledger.reading() as session:
        events = session.execute(
            select(AuditEvent.kind, AuditEvent.actor, AuditEvent.subject, AuditEvent.payload)
        ).all()
    assert {"received", "scored", "rejected", "retried", "read", "rescored", "erased"} <= {
        row.kind for row in events
    }
    assert [row for row in events if PATIENT in "".join(row)] == []
    assert PATIENT in named.get("/review?verdict=any&reading=any").text


@pytest.mark.parametrize("address", ["/runs/{}", "/api/v1/runs/{}/report"])
def test_name_that_a_person_typed_is_no_address(client: FlaskClient, night: Night, address: str) -> None:
    with night.ledger.transaction() as session:
        run = run_named(session, "films", utc_now())
    assert client.get(address.format("films")).status_code == 404
    assert client.get(address.format(run.id)).status_code == 200


def test_report_for_an_auditor_names_nobody(app: Flask, night: Night, phantom_folder: Path) -> None:
    night.accept(phantoms(phantom_folder, [700]), run="films of DOE^JANE", names=["DOE^JANE.jpg"])
    night.score({9: 0.9})
    auditor = signed_in_client(app, "Audrey", {Role.AUDITOR})
    viewer = signed_in_client(app, "Vera", {Role.VIEWER})
    for form in ("json", "csv", "text", "html"):
        address = f"/api/v1/runs/2/report?format={form}"
        report = auditor.get(address)
        assert report.status_code == 200
        assert "DOE^JANE" not in report.text + str(report.headers)
        assert "image 9" in report.text
        assert "run 2" in report.text
        assert viewer.get(address).text.count("DOE^JANE") >= 2
    assert auditor.get("/api/v1/runs/1/report").get_json()["run"] == RUN
