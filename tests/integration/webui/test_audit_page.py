"""The page Audit: what happened and who saw what, filtered, exported, and itself on record."""

from __future__ import annotations

import csv
import io
import re
import threading
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from tests.conftest import wait_for
from tests.integration.webui.night import Night
from tests.signing_in import person, sign_in
from webui import verification
from worker.commands.verify import verify
from worker.ledger import actors, audit, trail
from worker.ledger.roles import Role
from worker.ledger.tables import AccessRecord


@pytest.fixture
def auditor(app: Flask, night: Night) -> FlaskClient:
    return sign_in(app.test_client(), night.ledger, "Aud", {Role.AUDITOR})


@pytest.fixture
def ada(app: Flask, night: Night) -> str:
    """Let Ada look at images 1 and 2, and return her actor."""
    client = sign_in(app.test_client(), night.ledger, "Ada", {Role.READER})
    client.get("/review/1")
    client.get("/review/2")
    return f"user:{person(night.ledger, 'Ada', {Role.READER})}"


def uses(night: Night) -> list[tuple[str, int | None]]:
    with night.ledger.reading() as session:
        rows = session.scalars(
            select(AccessRecord).where(AccessRecord.kind == "trail").order_by(AccessRecord.id)
        )
        return [(row.code, row.image_id) for row in rows]


@pytest.fixture
def usual_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a verification have the priority of other processes, so that it ends on a busy machine, too."""
    monkeypatch.setattr(verification, "_LOWEST_PRIORITY", 0)


@pytest.mark.usefixtures("usual_priority")
def test_auditor_verifies_the_trail(
    auditor: FlaskClient, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTREAD_DATA", str(night.settings.data))
    assert auditor.post("/audit/verify").location == "/audit"
    assert "A verification is running." in auditor.get("/audit").text
    auditor.post("/audit/verify")
    assert "A verification is already running." in auditor.get("/audit").text
    wait_for(lambda: "all is well." in auditor.get("/audit").text, "the result of the verification")
    with night.ledger.reading() as session:
        last = trail.last_verification(session)
    assert last is not None
    assert last.actor == actors.operating_system_user()
    assert last.asked_by == f"user:{person(night.ledger, 'Aud', {Role.AUDITOR})}"
    assert f"by {last.actor} for Aud" in auditor.get("/audit").text
    page = auditor.get("/audit?kind=trail_verification_started").text
    assert page.count("Verification of the audit trail started") == 2, "the filter and one event"
    assert "Aud" in page


@pytest.mark.usefixtures("usual_priority")
def test_two_requests_at_once_record_one_verification(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one comes while the first one records that it begins."""
    monkeypatch.setenv("NIGHTREAD_DATA", str(night.settings.data))
    one, recorded = verification.Verification(), [1]
    started: list[bool] = []

    def record_again() -> int:
        recorded.append(2)
        return 2

    second = threading.Thread(target=lambda: started.append(one.start(record_again)))

    def record() -> int:
        second.start()
        # It must wait, so it cannot end.
        second.join(1)
        return 1

    assert one.start(record)
    second.join()
    assert (recorded, started) == ([1], [False])
    wait_for(lambda: not one.is_running, "the end of the verification")


@pytest.mark.usefixtures("usual_priority")
def test_verification_without_an_answer_is_named(
    auditor: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTREAD_DATA", str(tmp_path))
    monkeypatch.setenv("NIGHTREAD_NO_SUCH_SETTING", "1")
    auditor.post("/audit/verify")
    wait_for(lambda: "could not be finished" in auditor.get("/audit").text, "the sentence")


def test_page_shows_who_saw_what_by_name_and_no_file_name(auditor: FlaskClient, ada: str) -> None:
    page = auditor.get("/audit").text
    for text in (
        "Image viewed",
        "Ada",
        ada,
        "image 1",
        "Signed in",
        "Nobody has verified the audit trail yet",
    ):
        assert text in page
    assert "phantom-00" not in page


def test_filters_choose_person_image_kind_and_day(auditor: FlaskClient, ada: str) -> None:
    assert auditor.get(f"/audit?actor={ada}&kind=view").text.count("<tr>") == 1 + 2
    story = auditor.get("/audit?image=1").text
    assert "of image 1" in story
    for words in ("File received", "Image scored", "Image viewed"):
        assert f">{words}</td>" in story
    assert ">image 2<" not in story
    assert "Nothing on record" in auditor.get("/audit?until=2020-01-01").text
    assert "Nothing on record" in auditor.get("/audit?since=2990-01-01").text


@pytest.mark.parametrize(
    "query", ["since=0001-01-01", "until=9999-12-31", "since=9999-12-31", "until=0001-01-01"]
)
def test_any_day_of_the_calendar_can_be_asked_for(auditor: FlaskClient, query: str) -> None:
    for address in ("/audit", "/audit/export"):
        assert auditor.get(f"{address}?{query}").status_code == 200


@pytest.mark.parametrize(
    "query", ["image=x", "since=yesterday", "until=2026-13-01", "below=1", "kind=%00", "actor=%C3%A9"]
)
def test_wrong_filter_is_refused_with_a_sentence(auditor: FlaskClient, query: str) -> None:
    assert auditor.get(f"/audit?{query}").status_code == 400


def test_pages_lead_to_the_first_event(auditor: FlaskClient, app: Flask, night: Night) -> None:
    viewer = sign_in(app.test_client(), night.ledger, "Vera", {Role.VIEWER})
    for _ in range(60):
        viewer.get("/rejected")
    page, seen = auditor.get("/audit?kind=search").text, 0
    while 'rel="next"' in page:
        seen += page.count(">Images listed</td>")
        address = page.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
        page = auditor.get(address).text
    assert seen + page.count(">Images listed</td>") == 60


@pytest.mark.parametrize(("format_name", "kind"), [("csv", "text/csv"), ("fhir", "application/fhir+json")])
def test_export_sends_what_the_filter_lets_through(
    auditor: FlaskClient, ada: str, format_name: str, kind: str
) -> None:
    answer = auditor.get(f"/audit/export?format={format_name}&actor={ada}&kind=view")
    assert (answer.status_code, answer.mimetype) == (200, kind)
    assert answer.headers["Cache-Control"] == "no-store"
    if format_name == "csv":
        assert [row["image"] for row in csv.DictReader(io.StringIO(answer.text))] == ["2", "1"]
    else:
        assert [entry["resource"]["resourceType"] for entry in answer.get_json(force=True)["entry"]] == [
            "AuditEvent"
        ] * 2
    assert "Ada" not in answer.text
    assert "phantom-00" not in answer.text
    assert auditor.get("/audit/export?format=pdf").status_code == 400


def test_failed_sign_in_says_how_and_why(auditor: FlaskClient, app: Flask, night: Night) -> None:
    browser = app.test_client()
    browser.get("/sign-in/wrong")
    browser.post("/sign-in", data={"name": "Nobody", "passphrase": "seven brown cows sing"})
    with night.ledger.transaction() as session:
        audit.append(session, [audit.Event("sign_in_failed", actors.ANONYMOUS, "user:1", {})])
    page = auditor.get("/audit?kind=sign_in_failed").text
    details = re.findall(r'data-label="Details"[^>]*>event \d+([^<]*)<', page)
    assert details == ["", ", passphrase: unknown name", ", link: wrong link"]
    exported = auditor.get("/audit/export?kind=sign_in_failed").text
    codes = [row["code"] for row in csv.DictReader(io.StringIO(exported))]
    assert codes == ["", "passphrase:unknown_name", "link:wrong_link"]
    whole = csv.DictReader(io.StringIO(auditor.get("/audit/export").text))
    others = [row for row in whole if row["source"] == "event" and row["kind"] != "sign_in_failed"]
    assert "signed_in" in {row["kind"] for row in others}
    assert {row["code"] for row in others} == {""}, "other events keep their details"


def test_each_use_of_the_trail_is_on_record(auditor: FlaskClient, night: Night) -> None:
    auditor.get("/audit")
    auditor.get("/audit?image=3")
    auditor.get("/audit/export?format=fhir&image=3")
    assert uses(night) == [("page", None), ("page", 3), ("export:fhir", 3)]


def test_page_says_when_the_trail_was_verified_and_by_whom(
    auditor: FlaskClient, night: Night, tmp_path: Path
) -> None:
    assert verify(night.settings, night.ledger).ok
    page = auditor.get("/audit").text
    assert "Last verified" in page
    assert "os:" in page
    assert "all is well" in page
