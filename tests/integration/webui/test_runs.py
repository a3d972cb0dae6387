"""Runs: the books in a line, loudly red when they do not balance; and the strip on every page."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.integration.webui.night import RUN, Night, phantoms
from worker import DISCLAIMER
from worker.ledger import heartbeats
from worker.ledger.session import utc_now

BALANCED = "8 received = 0 duplicates + 8 scored + 0 rejected + 0 quarantined + 0 pending + 0 leased"


def lose_an_image(night: Night) -> None:
    """Do to the database what nothing in the program does."""
    with closing(sqlite3.connect(night.settings.data / "nightread.sqlite3")) as connection:
        connection.execute("DELETE FROM image WHERE id = 8")
        connection.commit()


def test_a_run_says_what_it_did(onlooker: FlaskClient) -> None:
    assert f'href="/runs/{RUN}"' in onlooker.get("/runs").text
    page = " ".join(onlooker.get(f"/runs/{RUN}").text.split())
    for said in (
        BALANCED,
        "The books balance.",
        "75.0 % of what was scored asks for a reader.",
        "Read the 6 that wait",
    ):
        assert said in page
    assert f'href="/review?run={RUN}"' in page


def test_books_that_do_not_balance_are_an_alarm_everywhere(client: FlaskClient, night: Night) -> None:
    lose_an_image(night)
    assert 'role="alert"' in client.get(f"/runs/{RUN}").text
    assert "THE BOOKS DO NOT BALANCE" in client.get(f"/runs/{RUN}").text
    assert "do not balance" in client.get("/runs").text
    assert "The books do not balance" in client.get("/status/strip").text
    assert client.get("/api/v1/status").get_json()["balanced"] is False


def test_turned_away_files_stand_with_their_reasons(
    client: FlaskClient, night: Night, tmp_path: Path
) -> None:
    path = tmp_path / "empty.jpg"
    path.write_bytes(b"")
    night.accept([path])
    page = client.get(f"/runs/{RUN}").text
    assert "empty.jpg" in page
    assert "The file is empty." in page


@pytest.mark.parametrize("name", ["a/b", "ä & <b>", "x?y#z", "100 %"])
def test_a_run_may_be_called_anything(client: FlaskClient, night: Night, drawn: Path, name: str) -> None:
    night.accept(phantoms(drawn, [700]), run=name)
    listing = client.get("/runs").text
    url = listing.split('<th scope="row"><a href="')[1].split('"')[0].replace("&amp;", "&")
    page = client.get(url)
    assert page.status_code == 200
    assert "1 received = " in page.text
    report = page.text.split('<a href="/api')[1].split('"')[0].replace("&amp;", "&")
    assert client.get(f"/api{report}").status_code == 200


@pytest.mark.parametrize(
    ("form", "content_type", "ending"),
    [
        ("json", "application/json", "json"),
        ("csv", "text/csv", "csv"),
        ("text", "text/plain", "txt"),
        ("html", "text/html", "html"),
    ],
)
def test_the_report_is_a_file_in_each_form(
    onlooker: FlaskClient, form: str, content_type: str, ending: str
) -> None:
    answer = onlooker.get(f"/api/v1/runs/{RUN}/report?format={form}")
    assert answer.mimetype == content_type
    assert answer.headers["Content-Disposition"] == f"attachment; filename=nightread-{RUN}.{ending}"
    assert DISCLAIMER in answer.text
    assert "phantom-000.jpg" in answer.text


def test_an_unknown_run_or_form_is_answered_in_words(onlooker: FlaskClient) -> None:
    assert onlooker.get("/runs/never").status_code == 404
    assert onlooker.get("/api/v1/runs/never/report").status_code == 404
    wrong = onlooker.get(f"/api/v1/runs/{RUN}/report?format=docx")
    assert (wrong.status_code, wrong.get_json()) == (400, {"error": "format is one of json, csv, text, html"})


def test_a_silent_process_is_a_calm_warning(client: FlaskClient, night: Night) -> None:
    with night.ledger.transaction() as session:
        heartbeats.record_heartbeat(session, "worker", period_s=5, at=utc_now() - timedelta(seconds=40))
        heartbeats.record_heartbeat(session, "watch", period_s=5, at=utc_now())
    strip = client.get("/status/strip").text
    assert re.search(r"worker silent for [4-6]\d s", strip), "some seconds may pass before it is asked"
    assert "watch silent" not in strip


def test_the_strip_counts_what_waits(app: Flask, night: Night, drawn: Path) -> None:
    night.accept(phantoms(drawn, [701, 702]))
    strip = app.test_client().get("/status/strip").text
    assert "<b>6</b> to read" in strip
    assert "<b>2</b> waiting" in strip
