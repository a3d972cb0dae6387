"""Each view, search, export and refusal is on record, as one row, before the answer is sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from tests.filling import assert_consistent
from tests.integration.webui.night import RUN, Night
from tests.signing_in import person, sign_in
from webui.access import on_record
from webui.access.on_record import Seldom
from worker.errors import DatabaseAway
from worker.ledger import accesses
from worker.ledger.audit_codes import MEANINGS
from worker.ledger.roles import Role
from worker.ledger.tables import AccessReason, AccessRecord

# Each rendition has a process of its own.
pytestmark = pytest.mark.slow

PREFETCH = {"Sec-Purpose": "prefetch"}
WHY = "Doe, John asks for a second opinion"
Row = tuple[str, str, int | None]


def rows(night: Night) -> Sequence[AccessRecord]:
    with night.ledger.reading() as session:
        return session.scalars(select(AccessRecord).order_by(AccessRecord.id)).all()


def on(night: Night) -> list[Row]:
    """Return kind, code and image of every access."""
    return [(row.kind, row.code, row.image_id) for row in rows(night)]


def test_page_and_its_picture_are_one_view(client: FlaskClient, night: Night) -> None:
    client.get("/review/1")
    client.get("/images/1/picture")
    client.get("/images/1/thumb.jpg")
    assert on(night) == [("view", "page", 1)]
    assert rows(night)[0].actor == f"user:{person(night.ledger, 'Somebody', list(Role))}"
    client.get("/review/1")
    assert on(night) == [("view", "page", 1)] * 2


def test_picture_without_its_page_is_one_view(
    client: FlaskClient, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.get("/images/1/picture")
    client.get("/images/1/preview.jpg")
    client.get("/images/2/preview.jpg")
    assert on(night) == [("view", "picture", 1), ("view", "preview", 2)]
    monkeypatch.setattr(on_record, "ONE_VIEW", timedelta(0))
    client.get("/images/1/picture")
    assert on(night)[2:] == [("view", "picture", 1)]


def test_view_of_one_person_does_not_hide_that_of_another(app: Flask, night: Night) -> None:
    for name in ("Ada", "Bob"):
        sign_in(app.test_client(), night.ledger, name, {Role.VIEWER}).get("/images/1/picture")
    assert len({row.actor for row in rows(night)}) == 2


def test_prefetch_is_recorded_and_is_a_view_when_shown(client: FlaskClient, night: Night) -> None:
    for _ in range(2):
        assert client.get("/images/1/picture", headers=PREFETCH).status_code == 200
    assert client.get("/review/1", headers=PREFETCH).data == b""
    assert on(night) == [("prefetch", "picture", 1)]
    client.get("/review/1")
    client.get("/images/1/picture")
    assert on(night) == [("prefetch", "picture", 1), ("view", "page", 1)]


def test_picture_that_a_page_fetches_ahead_is_a_prefetch(client: FlaskClient, night: Night) -> None:
    assert client.get("/images/1/picture?ahead=1", headers={"Sec-Fetch-Dest": "image"}).status_code == 200
    assert on(night) == [("prefetch", "picture", 1)]


def test_address_that_a_person_opens_is_a_view_although_it_says_ahead(
    client: FlaskClient, night: Night
) -> None:
    client.get("/images/1/picture?ahead=1", headers={"Sec-Fetch-Dest": "document"})
    assert on(night) == [("view", "picture", 1)]


def test_lists_documents_and_reports_are_on_record(client: FlaskClient, night: Night) -> None:
    sha256 = client.get("/api/v1/images/2").get_json()["sha256"]
    for address in (
        f"/api/v1/images?sha256={sha256}",
        f"/review?verdict=flagged&run={RUN}",
        "/api/v1/queue?reading=any",
        "/rejected",
        "/rescored",
        "/review/summary",
        "/api/v1/rescored",
        f"/runs/{RUN}",
        f"/api/v1/runs/{RUN}/report?format=csv",
        "/upload?receipts=1-3",
        "/upload/rows?receipts=1-3",
    ):
        assert client.get(address).status_code == 200, address
    assert on(night) == [
        ("view", "document", 2),
        ("view", "document", 2),
        ("search", "flagged/unread", None),
        ("search", "to-read/any", None),
        ("search", "rejected", None),
        ("search", "rescored", None),
        ("search", "summary", None),
        ("search", "rescored", None),
        ("search", "run", None),
        ("export", "csv", None),
        ("search", "uploads", None),
    ]
    assert [row.run_id for row in rows(night)] == [None, None, 1, None, None, None, None, None, 1, 1, None]
    assert not [row for row in rows(night) if MEANINGS[row.kind].event is None]


def test_what_is_not_sent_is_no_view(client: FlaskClient, night: Night) -> None:
    client.head("/review/1")
    client.head("/images/1/picture")
    client.get("/review/999")
    client.get("/api/v1/images/999")
    client.get("/images/1/picture?v=0000")
    assert on(night) == []


def test_original_needs_a_reason_which_stands_beside_the_record(client: FlaskClient, night: Night) -> None:
    for answer in (
        client.post("/images/1/original"),
        client.post("/images/1/original", data={"reason": " "}),
        client.post("/images/1/original?reason=x"),
        client.post("/images/1/original", data={"reason": "x" * 1001}),
    ):
        assert answer.status_code == 400
        assert b"reason" in answer.data or b"too long" in answer.data
    assert client.get("/images/1/original").status_code == 405
    assert on(night) == []
    assert client.post("/images/1/original", data={"reason": WHY}).status_code == 200
    assert on(night) == [("original", "jpeg", 1)]
    with night.ledger.reading() as session:
        assert session.scalars(select(AccessReason)).one().reason == WHY
    assert_consistent(night.ledger)


def test_viewer_offers_the_original_to_who_may_have_it(app: Flask, night: Night) -> None:
    reader = sign_in(app.test_client(), night.ledger, "Ada", {Role.READER})
    adjudicator = sign_in(app.test_client(), night.ledger, "Eve", {Role.ADJUDICATOR})
    assert "/images/1/original" not in reader.get("/review/1").text
    assert "/images/1/original" in adjudicator.get("/review/1").text


def test_nothing_is_sent_that_cannot_be_recorded(
    client: FlaskClient, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = ("/images/1/picture", "/review/1", "/review", "/api/v1/images/1", f"/api/v1/runs/{RUN}/report")

    def fail(*_: object) -> None:
        raise DatabaseAway("it is away")

    monkeypatch.setattr(accesses, "record", fail)
    answers = [*(client.get(page) for page in pages), client.post("/images/1/original", data={"reason": WHY})]
    assert [answer.status_code for answer in answers] == [503] * len(answers)
    assert not [
        answer for answer in answers if b"phantom-00" in answer.data or answer.mimetype == "image/png"
    ]


def test_refusal_is_on_record_with_its_image(app: Flask, night: Night) -> None:
    viewer = sign_in(app.test_client(), night.ledger, "Vera", {Role.VIEWER})
    assert viewer.post("/images/3/original", data={"reason": WHY}).status_code == 403
    assert viewer.get("/people").status_code == 403
    assert on(night) == [("refusal", "403:images.original", 3), ("refusal", "403:people.show", None)]


def test_refusal_of_a_wrong_token_is_on_record(
    app: Flask, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_record, "_REFUSALS", Seldom(3600))
    answer = app.test_client().get("/api/v1/images/2", headers={"Authorization": "Bearer nr_wrong"})
    assert answer.status_code == 401
    assert on(night) == [("refusal", "401:api_images.show", 2)]


def test_refusals_of_nobody_are_counted_and_seldom_recorded(
    app: Flask, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_record, "_REFUSALS", Seldom(3600))
    nobody = app.test_client()
    for _ in range(5):
        assert nobody.get("/api/v1/queue").status_code == 401
    assert [(row.actor, row.code) for row in rows(night)] == [("anonymous", "401:api_reading.queue")]


def test_row_of_many_equal_refusals_says_how_many() -> None:
    patient, hasty = Seldom(3600), Seldom(0)
    assert [patient.count("a"), patient.count("a"), patient.count("b")] == [1, 0, 1]
    assert [hasty.count("a"), hasty.count("a")] == [1, 1]
    patient._period_s = 0
    assert patient.count("a") == 2


def test_refusal_stands_without_the_ledger(app: Flask, night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer = sign_in(app.test_client(), night.ledger, "Vera", {Role.VIEWER})

    def fail(*_: object) -> None:
        raise DatabaseAway("it is away")

    monkeypatch.setattr(accesses, "record", fail)
    assert viewer.get("/people").status_code == 403


@pytest.mark.parametrize("format_name", ["json", "csv", "text", "html"])
def test_auditor_gets_reports_without_file_names(app: Flask, night: Night, format_name: str) -> None:
    address = f"/api/v1/runs/{RUN}/report?format={format_name}"
    auditor = sign_in(app.test_client(), night.ledger, "Aud", {Role.AUDITOR})
    viewer = sign_in(app.test_client(), night.ledger, "Vera", {Role.VIEWER})
    words = {"note": "left base of Doe", "other_finding": "Doe has a clip"}
    reader = sign_in(app.test_client(), night.ledger, "Rita Reader", {Role.READER})
    reader.post("/review/1/decide", data={"finding": "no_signs", **words})
    seen = viewer.get(address).text
    assert all(part in seen for part in ("phantom-00", "Rita Reader", *words.values()))
    without = auditor.get(address)
    assert not [part for part in ("Rita", "Doe") if part in without.text]
    assert "no_signs" in without.text
    assert without.status_code == 200
    assert "phantom-00" not in without.text
