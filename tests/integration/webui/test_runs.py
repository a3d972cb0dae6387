"""Runs: file counts, figures and reports; and the status strip of every page."""

from __future__ import annotations

import copy
import re
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update

from tests.cards import a_card
from tests.integration.webui.night import MODEL_SHA256, POINT, RUN, Night, copies, phantoms
from tests.signing_in import signed_in_client
from worker import DISCLAIMER
from worker.ledger import heartbeats
from worker.ledger.session import utc_now
from worker.ledger.tables import Model

EQUATION = "8 received = 0 duplicates + 8 scored + 0 rejected + 0 quarantined + 0 pending + 0 being scored"


def lose_an_image(night: Night) -> None:
    """Delete an image from the database, as no code of the program does."""
    with closing(sqlite3.connect(night.settings.data / "nightread.sqlite3")) as connection:
        connection.execute("DELETE FROM image WHERE id = 8")
        connection.commit()


def test_run_shows_file_count_and_figures(shared_client: FlaskClient) -> None:
    assert 'href="/runs/1"' in shared_client.get("/runs").text
    page = " ".join(shared_client.get("/runs/1").text.split())
    for text in (
        EQUATION,
        "All files are accounted for.",
        "75.0 % of the scored images are flagged or uncertain.",
        "Read 6 unread",
    ):
        assert text in page
    assert 'href="/review?run=1"' in page


def test_name_of_a_night_is_an_address_of_its_run(shared_client: FlaskClient) -> None:
    for address in ("/runs/{}", "/review?run={}", "/api/v1/queue?run={}"):
        by_name, by_number = (shared_client.get(address.format(run)) for run in (RUN, "1"))
        assert by_name.status_code == by_number.status_code == 200
    assert shared_client.get(f"/api/v1/queue?run={RUN}").get_json()["total"] == 6
    assert shared_client.get("/api/v1/queue?run=2").get_json()["total"] == 0
    assert shared_client.get("/api/v1/runs").get_json()["runs"][0]["run_id"] == 1


def test_unaccounted_files_raise_an_alarm_on_every_page(client: FlaskClient, night: Night) -> None:
    lose_an_image(night)
    assert 'role="alert"' in client.get(f"/runs/{RUN}").text
    assert "FILES ARE UNACCOUNTED FOR" in client.get(f"/runs/{RUN}").text
    assert "files unaccounted for" in client.get("/runs").text
    assert "Files are unaccounted for" in client.get("/status/strip").text
    assert client.get("/api/v1/status").get_json()["balanced"] is False


def test_run_lists_rejected_images_with_reasons(client: FlaskClient, night: Night, tmp_path: Path) -> None:
    path = tmp_path / "empty.jpg"
    path.write_bytes(b"")
    night.accept([path])
    page = client.get(f"/runs/{RUN}").text
    assert "empty.jpg" in page
    assert "The file is empty." in page


@pytest.mark.parametrize("name", ["a/b", "ä & <b>", "x?y#z", "100 %", "..", "1"])
def test_run_may_have_any_name(client: FlaskClient, night: Night, phantom_folder: Path, name: str) -> None:
    night.accept(phantoms(phantom_folder, [700]), run=name)
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
def test_report_downloads_in_each_format(
    shared_client: FlaskClient, form: str, content_type: str, ending: str
) -> None:
    answer = shared_client.get(f"/api/v1/runs/{RUN}/report?format={form}")
    assert answer.mimetype == content_type
    assert answer.headers["Content-Disposition"] == f"attachment; filename=nightread-{RUN}.{ending}"
    assert DISCLAIMER in answer.text
    assert "phantom-000.jpg" in answer.text


def test_unknown_run_or_format_is_an_error(shared_client: FlaskClient) -> None:
    assert shared_client.get("/runs/never").status_code == 404
    assert shared_client.get("/api/v1/runs/never/report").status_code == 404
    unknown = shared_client.get(f"/api/v1/runs/{RUN}/report?format=docx")
    assert (unknown.status_code, unknown.get_json()) == (
        400,
        {"error": "`format` must be one of json, csv, text, html"},
    )


def test_strip_warns_about_missing_heartbeats(client: FlaskClient, night: Night) -> None:
    with night.ledger.transaction() as session:
        heartbeats.record_heartbeat(session, "worker", period_s=5, at=utc_now() - timedelta(seconds=40))
        heartbeats.record_heartbeat(session, "watch", period_s=5, at=utc_now())
    strip = client.get("/status/strip").text
    assert re.search(r"worker: no heartbeat for [4-6]\d s", strip), "a few seconds may pass first"
    assert "watch: no heartbeat" not in strip


def test_strip_counts_unread_and_pending_images(app: Flask, night: Night, phantom_folder: Path) -> None:
    night.accept(phantoms(phantom_folder, [701, 702]))
    strip = signed_in_client(app).get("/status/strip").text
    assert "<b>6</b> to read" in strip
    assert "<b>2</b> pending" in strip


def test_list_and_run_show_the_same_counts(client: FlaskClient) -> None:
    """Compare the counts of a run on the two pages by their names."""
    listing, run = client.get("/runs").text, client.get("/runs/1").text
    told = dict(re.findall(r'data-label="(Scored|Flagged|Uncertain|Rejected|Quarantined)">(\d+)', listing))
    assert told == {"Scored": "8", "Flagged": "4", "Uncertain": "2", "Rejected": "0", "Quarantined": "0"}
    for label, count in told.items():
        assert f"<dt>{label.lower()}</dt><dd>{count}</dd>" in run


def test_run_says_that_its_share_is_not_what_the_card_expects(
    client: FlaskClient, night: Night, tmp_path: Path
) -> None:
    assert 'id="unexpected"' not in client.get("/runs/1").text, "eight images say nothing"
    accepted = night.accept(copies(tmp_path, 40), run="quiet")
    night.score({item.image_id: 0.1 for item in accepted})
    card = copy.deepcopy(a_card(MODEL_SHA256))
    card["operating_points"]["balanced"] |= {"band_high": POINT.band_high, "flagged_share": 0.5}
    with night.ledger.transaction() as session:
        session.execute(update(Model).values(card=card))
    page = client.get("/runs/2").text
    assert "0 of 40 scored images are flagged (0%). The model card expects 50% with the patients" in page
    card["operating_points"]["balanced"]["band_high"] = 0.9
    with night.ledger.transaction() as session:
        session.execute(update(Model).values(card=card))
    assert 'id="unexpected"' not in client.get("/runs/2").text, "the card says nothing of this band"
