"""The summary after the last image: what the reader read, agreement with the model, time, and what remains."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import event

from tests.filling import assert_consistent
from tests.integration.webui.conftest import Reader
from tests.integration.webui.night import RUN, Night, phantoms
from tests.signing_in import person, sign_in
from worker.ledger import review, sitting
from worker.ledger.findings import Finding, NotJudged, Seen, Statement
from worker.ledger.roles import Role
from worker.ledger.session import utc_now
from worker.ledger.tables import Image

SIGNS, NO_SIGNS = {"finding": "signs_of_pneumonia"}, {"finding": "no_signs"}


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.split("<main", 1)[-1]).split())


def part(page: str, element_id: str) -> str:
    """Return the text of the element with this id, up to the end of the first list or paragraph."""
    return text_of("<main" + re.split(r"</dl>|</p>|</ul>", page.split(f'id="{element_id}"', 1)[1])[0])


def read(night: Night, image_id: int, finding: Finding, at: datetime, open_ms: int | None = None) -> int:
    """Let Ada read an image at a time. Return the id of the reading."""
    reason = NotJudged.WRONG_VIEW if finding is Finding.NOT_JUDGED else None
    said, seen = Statement(finding, reason), Seen(score_shown=False, open_ms=open_ms)
    ada = person(night.ledger, "Ada", [Role.READER])
    with night.ledger.transaction() as session:
        return review.decide(session, image_id, reader_id=ada, statement=said, at=at, seen=seen).id


def summary_of(client: FlaskClient) -> str:
    return client.get("/review/summary").text


def test_last_image_leads_to_the_summary(reader: Reader, night: Night) -> None:
    client = reader("Ada")
    answers = [client.post(f"/review/{n}/decide", data={**SIGNS, "open_ms": 1_000 * n}) for n in range(1, 7)]
    assert [answer.location for answer in answers[:-1]] == [f"/review/{n}" for n in range(2, 7)]
    assert answers[-1].location == "/review/summary"
    page = summary_of(client)
    assert "Recorded: signs of pneumonia, phantom-005.jpg." in page
    assert part(page, "findings").endswith("images read 6 signs of pneumonia 6")
    assert "You agreed with the verdict of 4 of 4 images" in part(page, "agreement")
    assert part(page, "apart").endswith("uncertain, you said signs 2")
    assert "images open, together 21 s" in text_of(page)
    assert "for one reading, median 4 s" in text_of(page)
    assert "How long an image was open is known" not in page
    assert_consistent(night.ledger)


def test_last_image_of_a_filtered_list_leads_to_the_summary_and_back(reader: Reader) -> None:
    client = reader("Ada")
    assert client.post("/review/7/decide?verdict=clear", data=NO_SIGNS).location == "/review/8?verdict=clear"
    last = client.post("/review/8/decide?verdict=clear", data=NO_SIGNS).location
    assert last == "/review/summary?verdict=clear"
    page = client.get(last).text
    assert 'href="/review?verdict=clear"' in page
    assert "You agreed with the verdict of 2 of 2 images" in page


def test_every_reading_counts_once_and_disagreements_are_links(reader: Reader, night: Night) -> None:
    client, now = reader("Ada"), utc_now()
    read(night, 1, Finding.SIGNS, now - timedelta(minutes=30), 4_000)
    read(night, 2, Finding.NO_SIGNS, now - timedelta(minutes=29), 6_000)
    read(night, 3, Finding.NOT_JUDGED, now - timedelta(minutes=28))
    read(night, 5, Finding.NO_SIGNS, now - timedelta(minutes=27), 20_000)
    read(night, 6, Finding.SECOND_OPINION, now - timedelta(minutes=26))
    read(night, 7, Finding.SIGNS, now - timedelta(minutes=25))
    read(night, 8, Finding.NO_SIGNS, now - timedelta(minutes=15))
    page = summary_of(client)
    assert part(page, "findings").endswith(
        "images read 7 signs of pneumonia 2 no signs 3 cannot be judged 1 second opinion wanted 1"
    )
    assert "You agreed with the verdict of 2 of 4 images" in part(page, "agreement")
    listed = page.split("You disagreed about 2:")[1].split("</ul>")[0]
    assert re.findall(r'href="/review/(\d+)"', listed) == ["2", "7"]
    assert "flagged 0.93 You: no signs" in text_of("<main" + listed)
    assert part(page, "apart").endswith(
        "uncertain, you said no signs 1 cannot be judged, or second opinion wanted 2"
    )
    text = text_of(page)
    assert "from the first to the last reading 15 min" in text
    assert "images open, together 30 s for one reading, median 6 s" in text
    assert "How long an image was open is known of 3 of 7 readings." in text
    assert 'id="shown"' not in page, "no score was shown"


def test_changes_and_undos_count_as_what_they_are(night: Night, reader: Reader) -> None:
    client, now = reader("Ada"), utc_now()
    first = read(night, 1, Finding.NO_SIGNS, now - timedelta(minutes=3))
    read(night, 2, Finding.SIGNS, now - timedelta(minutes=2))
    client.post("/review/1/decide", data={**SIGNS, "amends": first, "why": "a second look", "score_shown": 1})
    client.post("/review/undo")
    page = summary_of(client)
    assert "Readings of yours that you changed: 0. Readings that you took back: 1." in page
    assert part(page, "findings").endswith("images read 2 signs of pneumonia 1 no signs 1")
    client.post("/review/1/decide", data={**SIGNS, "amends": first, "why": "a third look", "score_shown": 1})
    page = summary_of(client)
    assert "Readings of yours that you changed: 1. Readings that you took back: 1." in page
    assert part(page, "findings").endswith("images read 2 signs of pneumonia 2")
    assert "With 1 of these readings, the score was shown." in page
    assert "known of 0 of 4 readings, changes included." in text_of(page)


def test_reading_that_was_taken_back_is_no_reading(reader: Reader) -> None:
    client = reader("Ada")
    client.post("/review/1/decide", data=SIGNS)
    client.post("/review/undo")
    page = summary_of(client)
    assert "No reading of this time is left." in page
    assert "Readings that you took back: 1." in page
    assert 'id="agreement"' not in page


def test_a_pause_of_more_than_an_hour_begins_a_sitting(reader: Reader, night: Night) -> None:
    client, now = reader("Ada"), utc_now()
    read(night, 1, Finding.SIGNS, now - timedelta(minutes=190))
    read(night, 2, Finding.SIGNS, now - timedelta(minutes=120))
    assert part(summary_of(client), "findings").endswith("image read 1 signs of pneumonia 1")
    read(night, 3, Finding.SIGNS, now - timedelta(minutes=60))
    read(night, 4, Finding.SIGNS, now - timedelta(minutes=1))
    assert part(summary_of(client), "findings").endswith("images read 3 signs of pneumonia 3")


def test_a_sitting_is_cut_after_its_longest_length(
    reader: Reader, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sitting, "LONGEST", 2)
    client, now = reader("Ada"), utc_now()
    for image_id in (1, 2):
        read(night, image_id, Finding.SIGNS, now - timedelta(minutes=10 - image_id))
    assert "no more than your last" not in summary_of(client)
    read(night, 3, Finding.SIGNS, now)
    page = summary_of(client)
    assert "and no more than your last 2 readings, changes and undos" in text_of(page)
    assert part(page, "findings").endswith("images read 2 signs of pneumonia 2")


def test_an_image_without_a_score_is_counted_apart(
    reader: Reader, night: Night, phantom_folder: Path
) -> None:
    (refused,) = night.accept(phantoms(phantom_folder, [620]))
    night.score({}, rejected=[refused.image_id])
    client = reader("Ada")
    client.post(f"/review/{refused.image_id}/decide", data=SIGNS)
    page = summary_of(client)
    assert part(page, "apart").endswith("read without a score 1")
    assert "No reading here can agree or disagree with a verdict." in page


def test_what_remains_is_counted_and_linked(reader: Reader, night: Night, phantom_folder: Path) -> None:
    refused, failed, _ = night.accept(phantoms(phantom_folder, [621, 622, 623]))
    night.score({}, rejected=[refused.image_id])
    night.quarantine(failed.image_id)
    client, bob = reader("Ada"), reader("Bob")
    client.post("/review/1/decide", data={"finding": "second_opinion"})
    client.post("/review/2/claim")
    bob.post("/review/3/claim")
    page = summary_of(client)
    assert part(page, "remaining").endswith(
        "to read, read by nobody 5 for a second reader 0 for an adjudicator 0 second opinion wanted 1 clear, read by nobody 2"
        " rejected, read by nobody 1 quarantined, read by nobody 1 pending or being scored 1"
    )
    assert "Of the flagged or uncertain images, other readers have claimed 1 now." in page
    assert "other readers have claimed 1 now" in summary_of(bob), "each reader's own claim does not count"
    with night.ledger.transaction() as session:
        session.get_one(Image, 3).claimed_until = utc_now() - timedelta(seconds=1)
    assert 'id="claimed"' not in summary_of(client), "a claim whose time is over"
    lists = re.findall(r'href="(/review[^"]*)"', page.split('id="remaining"')[1].split("</dl>")[0])
    numbers = []
    for address in lists:
        heading = text_of("<main" + client.get(address.replace("&amp;", "&")).text.split('id="heading"')[1])
        numbers.append(int(re.findall(r"Queue (\d+)", heading)[0]))
    assert numbers == [5, 1, 2, 1, 1, 1], "each list has as many images as its link says"


def test_reports_of_the_runs_that_were_read_are_linked(
    reader: Reader, night: Night, phantom_folder: Path
) -> None:
    (other,) = night.accept(phantoms(phantom_folder, [624]), run="ward <b>3</b>")
    night.score({other.image_id: 0.9})
    client = reader("Ada")
    client.post("/review/1/decide", data=SIGNS)
    page = summary_of(client)
    assert "/api/v1/runs/1/report?format=html" in page
    assert "/runs/2" not in page
    client.post(f"/review/{other.image_id}/decide", data=SIGNS)
    reports = summary_of(client).split('id="reports"')[1]
    assert re.findall(r'href="/runs/(\d+)"', reports) == ["2", "1"]
    assert "ward &lt;b&gt;3&lt;/b&gt;" in reports
    assert client.get("/api/v1/runs/2/report?format=html").status_code == 200


def test_without_a_reading_a_sentence_says_so(shared_client: FlaskClient, reader: Reader) -> None:
    page = summary_of(shared_client)
    assert "You have not read any image yet." in page
    assert "What remains" in page
    other = reader("Bob")
    other.post("/review/1/decide", data=SIGNS)
    assert "You have not read any image yet." in summary_of(reader("Ada"))


def test_queue_and_home_lead_to_the_summary(reader: Reader, night: Night) -> None:
    client = reader("Ada")
    assert 'id="see-summary" href="/review/summary?verdict=any"' in client.get("/review?verdict=any").text
    assert 'id="see-summary" href="/review/summary"' in client.get("/").text
    looks = sign_in(client.application.test_client(), night.ledger, "Vera", {Role.VIEWER})
    assert 'id="see-summary"' not in looks.get("/review").text + looks.get("/").text


def test_the_number_of_queries_does_not_depend_on_what_was_read(night: Night) -> None:
    statements: list[str] = []
    event.listen(night.ledger.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    ada, numbers = person(night.ledger, "Ada", [Role.READER]), []
    for image_id in (1, 2, 3):
        read(night, image_id, Finding.SIGNS, utc_now())
        with night.ledger.reading() as session:
            statements.clear()
            found = sitting.latest_sitting(session, ada)
            assert found is not None
            assert len(found.readings) == image_id
            assert [reading.original_name for reading in found.agreed][
                -1
            ] == f"phantom-{image_id - 1:03d}.jpg"
            assert sitting.names_of_runs(session, found.runs) == {1: RUN}
        numbers.append(len([statement for statement in statements if statement.startswith("SELECT")]))
    assert numbers == [2, 2, 2]


def test_claims_are_found_by_their_own_index(night: Night) -> None:
    """Not by that of the queue, which would look at every image to read."""
    statements: list[tuple[str, Any]] = []
    event.listen(
        night.ledger.engine, "before_cursor_execute", lambda *given: statements.append((given[2], given[3]))
    )
    with night.ledger.reading() as session:
        sitting.remaining(session, 1, utc_now())
    (claims,) = [given for given in statements if "FROM image" in given[0].replace("image_tally", "")]
    with night.ledger.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {claims[0]}", claims[1]).all()
    assert [row[-1] for row in plan] == ["SEARCH image USING INDEX ix_image_claimed_by_id (claimed_by_id>?)"]
