"""Home: what needs doing now, for each role, at a cost that does not depend on the number of images."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, update

from tests.integration.webui.night import Night, open_night, phantoms
from tests.signing_in import sign_in, signed_in_client
from webui import create_app
from webui.dependencies import EXTENSION
from worker.ledger import heartbeats
from worker.ledger.roles import Role
from worker.ledger.session import utc_now
from worker.ledger.tables import ImageTally

TO_READ, WITHOUT_SCORE, RUN_TILE = 'id="to-read"', 'id="without-score"', "The latest run"
TROUBLES, PROCESSES, ALL_IMAGES = 'id="troubles"', 'id="processes"', "All images"
TILES = {TO_READ, WITHOUT_SCORE, RUN_TILE, TROUBLES, PROCESSES, ALL_IMAGES}


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.split("<main", 1)[-1]).split())


def test_home_says_what_needs_doing(app: Flask, night: Night, phantom_folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"")
    night.accept([broken, *phantoms(phantom_folder, [600, 601])])
    night.quarantine(10)
    with night.ledger.transaction() as session:
        heartbeats.record_heartbeat(session, "worker", period_s=3600, at=utc_now(), trouble="no broker")
    page = signed_in_client(app).get("/").text
    text = text_of(page)
    assert "To read 6 flagged, uncertain, or a random sample" in text
    assert "Without a score 2 1 rejected, 1 quarantined." in text
    assert "is waiting: no broker." in text
    assert "No watch process is running." in text
    assert "received 11 scored 8 flagged 4 uncertain 2 unread 6 pending or being scored 1" in text
    for address in ("/review", "/rejected", "/runs/1"):
        assert f'href="{address}"' in page


@pytest.mark.parametrize(
    ("role", "tiles"),
    [
        (Role.VIEWER, {TO_READ, WITHOUT_SCORE, RUN_TILE}),
        (Role.READER, {TO_READ, WITHOUT_SCORE, RUN_TILE, TROUBLES, PROCESSES}),
        (Role.ADJUDICATOR, {TO_READ, WITHOUT_SCORE, RUN_TILE, TROUBLES, PROCESSES}),
        (Role.ADMINISTRATOR, {ALL_IMAGES, TROUBLES, PROCESSES}),
        (Role.AUDITOR, {ALL_IMAGES, TROUBLES, PROCESSES}),
    ],
)
def test_role_sees_what_it_may(app: Flask, night: Night, role: Role, tiles: set[str]) -> None:
    client = sign_in(app.test_client(), night.ledger, f"A {role}", {role})
    page = client.get("/").text
    assert {tile for tile in TILES if tile in page} == tiles
    # Every link leads to a page that the role may open.
    for address in re.findall(r'<a [^>]*href="(/[^"]*)"', page):
        assert client.get(address).status_code == 200, address
    assert text_of(client.get("/now").text).startswith(("To read", "Troubles"))


def test_viewer_is_not_told_to_read(app: Flask, night: Night) -> None:
    viewer = sign_in(app.test_client(), night.ledger, "Vera", {Role.VIEWER})
    assert "Start reading" not in viewer.get("/").text
    assert "Start reading" in signed_in_client(app).get("/").text


def test_first_start_says_how_files_arrive(tmp_path: Path) -> None:
    night = open_night(tmp_path / "data")
    app = create_app(night.settings)
    assert "No file has arrived yet." in signed_in_client(app).get("/").text
    app.extensions[EXTENSION].ledger.close()
    night.ledger.close()


def test_home_counts_no_rows_of_large_tables(app: Flask, client: FlaskClient, night: Night) -> None:
    """The numbers come from the tallies: a tally that says a million is believed."""
    with night.ledger.transaction() as session:
        session.execute(update(ImageTally).where(ImageTally.verdict == "flagged").values(total=1_000_000))
    statements: list[str] = []
    event.listen(
        app.extensions[EXTENSION].ledger.engine,
        "before_cursor_execute",
        lambda *arguments: statements.append(arguments[2]),
    )
    text = text_of(client.get("/").text)
    assert "To read 1,000,002" in text
    assert [sql for sql in statements if re.search(r"count\(.*FROM (image|receipt)\b", sql, re.DOTALL)] == []
