"""Reading: order and pages of the queue, claims, readings, undo, and their audit trail."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from tests.integration.webui.conftest import PROBABILITIES, Reader
from tests.integration.webui.night import RUN, Night, copies, phantoms, scored_night
from tests.signing_in import signed_in_client
from webui import create_app
from webui.dependencies import EXTENSION
from worker.ledger import audit, reading_queue, review
from worker.ledger.states import ReviewState
from worker.ledger.tables import AuditEvent, Image, Review

JSON = dict[str, Any]


def ids_on(page: str) -> list[int]:
    """Return the image ids on a queue page, from top to bottom."""
    return [int(number) for number in re.findall(r'class="row" href="/review/(\d+)', page)]


def image(night: Night, image_id: int) -> Image:
    with night.ledger.reading() as session:
        row = reading_queue.open_image(session, image_id)
    assert row is not None
    return row


def standing(night: Night, image_id: int) -> Review | None:
    with night.ledger.reading() as session:
        return review.standing_reviews(session, [image(night, image_id)]).get(image_id)


def audit_trail_is_intact(night: Night) -> bool:
    with night.ledger.reading() as session:
        return audit.verify(session).ok


def audit_events(night: Night, subject: str) -> list[str]:
    with night.ledger.reading() as session:
        events = session.scalars(
            select(AuditEvent).where(AuditEvent.subject == subject).order_by(AuditEvent.seq)
        )
        return [event.kind for event in events]


class TestQueue:
    def test_highest_score_comes_first_then_order_of_arrival(self, shared_client: FlaskClient) -> None:
        assert ids_on(shared_client.get("/review").text) == [1, 2, 3, 4, 5, 6]

    def test_paging_shows_every_image_once(self, client: FlaskClient, night: Night, tmp_path: Path) -> None:
        # More than two pages with the same score: only the id orders them.
        accepted = night.accept(copies(tmp_path / "copies", 110))
        night.score({item.image_id: 0.93 for item in accepted})
        seen: list[int] = []
        url = "/review"
        while url:
            page = client.get(url).text
            seen += ids_on(page)
            next_link = re.search(r'rel="next" href="([^"]+)"', page)
            url = next_link[1].replace("&amp;", "&") if next_link else ""
        all_ids = [1, 2, 3, *(item.image_id for item in accepted), 4, 5, 6]
        assert seen == all_ids

    def test_api_pages_show_every_image_once(self, client: FlaskClient, night: Night, tmp_path: Path) -> None:
        accepted = night.accept(copies(tmp_path / "copies", 60))
        night.score({item.image_id: 0.5 for item in accepted})
        first: JSON = client.get("/api/v1/queue").get_json()
        second: JSON = client.get("/api/v1/queue", query_string={"after": first["next"]}).get_json()
        ids = [row["image"] for row in first["images"] + second["images"]]
        assert len(ids) == len(set(ids)) == first["total"] == 66
        assert second["next"] is None

    def test_url_filters_the_queue(self, client: FlaskClient, reader: Reader, night: Night) -> None:
        accepted = night.accept(phantoms(night.settings.data / "more", [300], 96), run="other & <run>")
        night.score({accepted[0].image_id: 0.8})
        reader("Ada").post("/review/4/decide", data={"action": "confirm"})
        assert ids_on(client.get("/review?verdict=uncertain").text) == [5, 6]
        assert ids_on(client.get("/review?verdict=clear").text) == [7, 8]
        assert ids_on(client.get("/review?reading=read").text) == [4]
        assert ids_on(client.get("/review?verdict=any&reading=any").text) == [1, 2, 3, 9, 4, 5, 6, 7, 8]
        assert ids_on(client.get("/review?run=2").text) == [9]
        assert ids_on(client.get(f"/review?run={RUN}&verdict=flagged").text) == [1, 2, 3]

    def test_row_shows_file_verdict_score_and_run(self, client: FlaskClient) -> None:
        row = client.get("/review").text.split("<li>")[1]
        for text in (
            "phantom-000.jpg",
            "flagged",
            "PHANTOM",
            "0.97",
            RUN,
            "unread",
            "/images/1/thumb.jpg?v=",
        ):
            assert text in row

    def test_empty_queue_shows_counts(self, client: FlaskClient, reader: Reader) -> None:
        ada = reader("Ada")
        for image_id in range(1, 7):
            ada.post(f"/review/{image_id}/decide", data={"action": "confirm"})
        page = client.get("/review").text
        assert "No images to read." in page
        assert "8 scored, 6 of them flagged or uncertain" in " ".join(page.split())


class TestDeciding:
    def test_reading_opens_the_next_image_and_undo_returns(self, reader: Reader, night: Night) -> None:
        ada = reader("Ada")
        confirmed = ada.post("/review/1/decide", data={"action": "confirm", "note": "left base\r\n"})
        assert confirmed.status_code == 303
        assert confirmed.location == "/review/2"
        assert "Confirmed: signs of pneumonia in phantom-000.jpg." in ada.get("/review/2").text

        overridden = ada.post("/review/2/decide", data={"action": "override"})
        assert overridden.location == "/review/3"
        readings = [standing(night, image_id) for image_id in (1, 2)]
        assert [(row.action, row.finding, row.note, row.user.name) for row in readings if row] == [
            ("confirm", "signs_of_pneumonia", "left base", "Ada"),
            ("override", "no_signs", "", "Ada"),
        ]

        undone = ada.post("/review/undo")
        assert undone.location == "/review/2"
        assert image(night, 2).review_state == ReviewState.UNREAD
        assert image(night, 1).review_state == ReviewState.READ
        assert ada.post("/review/undo").location == "/review/1"
        assert "nothing to undo" in ada.post("/review/undo", follow_redirects=True).text
        assert audit_events(night, "image:2") == ["received", "scored", "read", "read_undone"]
        assert audit_trail_is_intact(night)

    def test_next_image_is_of_the_readers_list(self, reader: Reader) -> None:
        ada = reader("Ada")
        query = "?verdict=uncertain&run=night-2026-11-22"
        assert (
            ada.post(f"/review/5/decide{query}", data={"action": "confirm"}).location == f"/review/6{query}"
        )
        assert ada.post(f"/review/6/decide{query}", data={"action": "confirm"}).location == f"/review{query}"

    def test_clear_image_can_be_read(self, reader: Reader, night: Night) -> None:
        ada = reader("Ada")
        page = ada.get("/review/8?verdict=clear").text
        assert re.search(r'id="confirm".*<b>no signs</b>', page)
        assert re.search(r'id="override".*<b>signs of pneumonia</b>', page)
        ada.post("/review/8/decide", data={"action": "override"})
        reading = standing(night, 8)
        assert reading is not None
        assert reading.finding == "signs_of_pneumonia"

    def test_image_is_read_once(self, reader: Reader, night: Night) -> None:
        ada = reader("Ada")
        ada.post("/review/1/decide", data={"action": "confirm"})
        again = ada.post("/review/1/decide", data={"action": "override"}, follow_redirects=True)
        assert "This image has already been read." in again.text
        assert [reading.action for reading in image(night, 1).reviews] == ["confirm"]

    @pytest.mark.parametrize("action", ["delete", "undo", ""])
    def test_unknown_action_is_refused(self, reader: Reader, night: Night, action: str) -> None:
        assert reader("Ada").post("/review/1/decide", data={"action": action}).status_code == 400
        assert image(night, 1).review_state == ReviewState.UNREAD

    def test_too_long_note_is_refused(self, reader: Reader, night: Night) -> None:
        answer = reader("Ada").post("/review/1/decide", data={"action": "confirm", "note": "x" * 2001})
        assert answer.status_code == 400
        assert "2,000 characters" in answer.text
        assert image(night, 1).reviews == []

    def test_decision_without_a_name_leads_to_the_name_form(self, unnamed: FlaskClient, night: Night) -> None:
        answer = unnamed.post(
            "/review/1/decide",
            data={"action": "confirm"},
            headers={"Referer": "http://localhost/review/1?verdict=any"},
        )
        assert answer.location == "/account?next=/review/1?verdict%3Dany"
        assert image(night, 1).review_state == ReviewState.UNREAD

    def test_links_lead_to_previous_and_next_image(self, shared_client: FlaskClient) -> None:
        page = shared_client.get("/review/3").text
        assert re.search(r'id="previous" href="/review/2"', page)
        assert re.search(r'id="next" href="/review/4"', page)
        assert 'id="previous"' not in shared_client.get("/review/1").text
        assert 'id="next"' not in shared_client.get("/review/6").text


class TestClaims:
    def test_page_claims_its_image_and_others_see_that(self, reader: Reader, night: Night) -> None:
        ada, bob = reader("Ada"), reader("Bob")
        assert 'data-claim="/review/1/claim"' in ada.get("/review/1").text
        assert ada.post("/review/1/claim").status_code == 204
        page_of_bob = bob.get("/review/1").text
        assert re.search(r"<strong>Ada</strong>\s+has claimed this image until", page_of_bob)
        assert 'id="decide"' not in page_of_bob
        refused = bob.post("/review/1/decide", data={"action": "override"}, follow_redirects=True)
        assert "Another reader has claimed this image." in refused.text
        assert image(night, 1).reviews == []
        assert 'id="decide"' in ada.get("/review/1").text
        assert "claimed by Ada" in bob.get("/review").text
        assert "claimed by you" in ada.get("/review").text

    def test_slower_reader_of_the_same_page_is_told(self, reader: Reader) -> None:
        ada, bob = reader("Ada"), reader("Bob")
        assert [browser.get("/review/1").text.count('id="decide"') for browser in (ada, bob)] == [1, 1]
        assert ada.post("/review/1/claim").status_code == 204
        slower = bob.post("/review/1/claim")
        assert (slower.status_code, slower.mimetype) == (200, "text/plain")
        assert re.fullmatch(
            r"Ada has claimed this image until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\.", slower.text
        )
        ada.post("/review/1/decide", data={"action": "confirm"})
        assert bob.post("/review/1/claim").text == "This image has already been read."
        assert bob.post("/review/99/claim").status_code == 404

    def test_claim_releases_the_readers_earlier_one(self, reader: Reader, night: Night) -> None:
        ada = reader("Ada")
        for image_id in (1, 2):
            ada.post(f"/review/{image_id}/claim")
        assert [image(night, image_id).claimed_by is None for image_id in (1, 2)] == [True, False]

    def test_next_image_is_not_claimed_by_others(self, reader: Reader) -> None:
        ada, bob = reader("Ada"), reader("Bob")
        bob.post("/review/2/claim")
        assert ada.post("/review/1/decide", data={"action": "confirm"}).location == "/review/3"

    def test_decision_and_undo_claim_the_image_that_they_open(self, reader: Reader, night: Night) -> None:
        ada = reader("Ada")
        for url, opened in (("/review/1/decide", 2), ("/review/undo", 1)):
            assert ada.post(url, data={"action": "confirm"}).location == f"/review/{opened}"
            holder = image(night, opened).claimed_by
            assert holder is not None
            assert holder.name == "Ada"

    def test_prefetched_page_is_asked_for_again(self, reader: Reader) -> None:
        assert reader("Ada").get("/review/1", headers={"Sec-Purpose": "prefetch"}).status_code == 204

    def test_page_without_a_name_claims_nothing(self, unnamed: FlaskClient) -> None:
        page = unnamed.get("/review/1")
        assert page.status_code == 200
        assert "data-claim" not in page.text


class TestViewer:
    def test_viewer_shows_prediction_and_provenance(self, shared_client: FlaskClient) -> None:
        page = shared_client.get("/review/4").text
        for text in (
            "phantom-003.jpg",
            "PHANTOM",
            "0.71",
            "bacterial pattern",
            "0.50",  # p_bacterial = 0.7 * 0.71
            "0.21",
            "nightread 0.1.0",
            "5f5f5f5f5f5f",
            "balanced: threshold 0.50, band 0.40 to 0.65",
            "preprocessing 1",
            "It does not show where disease is.",
            "/images/4/map.png",
            "import",
        ):
            assert text in page, text
        assert "diagnosis" not in page.replace("never a diagnosis", "")

    def test_unknown_image_is_not_found(self, shared_client: FlaskClient) -> None:
        assert shared_client.get("/review/99").status_code == 404
        assert shared_client.get(f"/review/{10**30}").status_code == 404

    def test_scores_are_stored_without_rounding(self, shared_client: FlaskClient) -> None:
        rows: list[JSON] = shared_client.get("/api/v1/queue?verdict=any").get_json()["images"]
        assert [row["p_pneumonia"] for row in rows] == sorted(PROBABILITIES, reverse=True)


@pytest.mark.postgres
def test_reading_works_on_postgresql(postgres_url: str, tmp_path: Path, phantom_folder: Path) -> None:
    night = scored_night(tmp_path / "data", PROBABILITIES, phantom_folder, database_url=postgres_url)
    app = create_app(night.settings)
    ada = signed_in_client(app)
    assert ids_on(ada.get("/review").text) == [1, 2, 3, 4, 5, 6]
    first: JSON = ada.get("/api/v1/queue").get_json()["images"][1]
    next_page = ada.get("/review", query_string={"after": f"{first['p_pneumonia']!r}_{first['image']}"})
    assert ids_on(next_page.text) == [3, 4, 5, 6]
    assert 'id="previous" href="/review/2"' in ada.get("/review/3").text
    assert ada.post("/review/3/decide", data={"action": "confirm"}).location == "/review/4"
    assert ada.post("/review/undo").location == "/review/3"
    for url in ("/runs", f"/runs/{RUN}", "/rejected", "/upload?receipts=1-8", "/api/v1/runs", "/readyz"):
        assert ada.get(url).status_code == 200
    assert ada.get("/review?run=%00").status_code == 400
    assert audit_trail_is_intact(night)
    app.extensions[EXTENSION].ledger.close()
    night.ledger.close()
