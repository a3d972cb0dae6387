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
from webui.formatting import CHOICES
from worker.ledger import audit, reading_queue, review
from worker.ledger.states import ReviewState
from worker.ledger.tables import AuditEvent, Image, Review

JSON = dict[str, Any]


def ids_on(page: str) -> list[int]:
    """Return the image ids on a queue page, from top to bottom."""
    return [int(number) for number in re.findall(r'class="row" href="/review/(\d+)', page)]


def undo_on(page: str) -> str | None:
    """Return the id of the reading that the page of an image offers to take back."""
    steps = page.split('class="steps"')[1]
    found = re.search(r'name="review" value="(\d+)"', steps)
    return found[1] if found else None


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
        reader("Ada").post("/review/4/decide", data={"finding": "signs_of_pneumonia"})
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
            ada.post(f"/review/{image_id}/decide", data={"finding": "signs_of_pneumonia"})
        page = client.get("/review").text
        assert "No images to read." in page
        assert "8 scored, 6 of them flagged or uncertain" in " ".join(page.split())


class TestDeciding:
    def test_reading_opens_the_next_image_and_undo_returns(self, reader: Reader, night: Night) -> None:
        ada = reader("Ada")
        words = {"note": "left base\r\n", "other_finding": "old fracture"}
        first = ada.post("/review/1/decide", data={"finding": "signs_of_pneumonia", **words})
        assert first.status_code == 303
        assert first.location == "/review/2"
        assert "Recorded: signs of pneumonia, phantom-000.jpg." in ada.get("/review/2").text

        second = ada.post("/review/2/decide", data={"finding": "no_signs"})
        assert second.location == "/review/3"
        readings = [standing(night, image_id) for image_id in (1, 2)]
        assert [(row.finding, row.note, row.other_finding, row.user.name) for row in readings if row] == [
            ("signs_of_pneumonia", "left base", "old fracture", "Ada"),
            ("no_signs", "", "", "Ada"),
        ]

        undone = ada.post("/review/undo")
        assert undone.location == "/review/2"
        assert (
            "Taken back: no signs, phantom-001.jpg. The image is unread again." in ada.get("/review/2").text
        )
        assert image(night, 2).review_state == ReviewState.UNREAD
        assert image(night, 1).review_state == ReviewState.READ
        assert ada.post("/review/undo").location == "/review/1"
        assert "nothing to undo" in ada.post("/review/undo", follow_redirects=True).text
        assert audit_events(night, "image:2") == ["received", "scored", "read", "read_undone"]
        assert audit_trail_is_intact(night)

    @pytest.mark.parametrize("choice", [choice for choice, _ in CHOICES])
    def test_every_button_is_on_every_image_and_none_is_chosen(
        self, reader: Reader, night: Night, choice: str
    ) -> None:
        ada = reader("Ada")
        buttons = [
            re.findall(r'name="finding" value="([^"]+)" data-key="(\d)"', ada.get(f"/review/{number}").text)
            for number in (1, 6, 8)
        ]
        numbered = [(value, str(number)) for number, (value, _) in enumerate(CHOICES, 1)]
        assert buttons == [numbered] * 3, "flagged, uncertain and clear images have the same keys"
        assert "checked" not in ada.get("/review/6").text
        for number in (1, 6, 8):
            assert ada.post(f"/review/{number}/decide", data={"finding": choice}).status_code == 303
            reading = standing(night, number)
            assert reading is not None
            assert "/".join(filter(None, (reading.finding, reading.reason_code))) == choice

    def test_reading_says_what_the_reader_saw(self, reader: Reader, night: Night) -> None:
        ada = reader("Ada")
        page = ada.get("/review/1").text
        assert re.search(r'name="score_shown" value="1"', page)
        sent = {"finding": "no_signs", "score_shown": "1", "map_shown": "0", "open_ms": "4321"}
        ada.post("/review/1/decide", data=sent)
        ada.post(
            "/review/2/decide",
            data={"finding": "no_signs", "score_shown": "1", "map_shown": "", "open_ms": ""},
        )
        readings = [standing(night, number) for number in (1, 2)]
        assert [(row.score_shown, row.map_shown, row.open_ms) for row in readings if row] == [
            (True, False, 4321), (True, None, None)
        ]  # fmt: skip
        assert ada.post("/review/3/decide", data=sent | {"open_ms": "-1"}).status_code == 400

    def test_undo_takes_back_the_reading_in_front_of_the_reader(self, reader: Reader, night: Night) -> None:
        ada = reader("Ada")
        for number in (1, 2):
            ada.post(f"/review/{number}/decide", data={"finding": "signs_of_pneumonia"})
        # The page of an image that she read names its own reading; an unread one, the last.
        offered = {number: undo_on(ada.get(f"/review/{number}").text) for number in (1, 2, 3)}
        assert offered[1] != offered[2] == offered[3]
        undone = ada.post("/review/undo", data={"review": offered[1]})
        assert undone.location == "/review/1"
        assert "Taken back: signs of pneumonia, phantom-000.jpg." in ada.get("/review/1").text
        assert [image(night, number).review_state for number in (1, 2)] == ["unread", "read"]
        again = ada.post("/review/undo", data={"review": offered[1]}, follow_redirects=True)
        assert "You have already taken this reading back." in again.text
        reader("Bob").post("/review/3/decide", data={"finding": "no_signs"})
        assert undo_on(ada.get("/review/3").text) is None, "another reader read this image"

    def test_words_of_an_undone_reading_need_not_be_typed_again(self, reader: Reader) -> None:
        ada = reader("Ada")
        words = {"note": "left base", "other_finding": "old fracture"}
        ada.post("/review/1/decide", data={"finding": "no_signs", **words})
        ada.post("/review/undo")
        page = ada.get("/review/1").text
        assert ">left base</textarea>" in page
        assert ">old fracture</textarea>" in page
        assert ">left base</textarea>" not in reader("Bob").get("/review/1").text

    def test_reader_changes_their_reading_with_a_reason(self, reader: Reader, night: Night) -> None:
        ada = reader("Ada")
        ada.post("/review/1/decide", data={"finding": "signs_of_pneumonia", "note": "left base"})
        first = standing(night, 1)
        assert first is not None
        change = {"amends": str(first.id), "finding": "cannot_be_judged/wrong_view", "note": "lateral"}
        refused = ada.post("/review/1/decide", data=change)
        assert (refused.status_code, "needs a reason" in refused.text) == (400, True)
        assert ada.post("/review/2/decide", data=change | {"why": "x"}).status_code == 400
        changed = ada.post("/review/1/decide", data=change | {"why": "looked again"})
        assert changed.location == "/review/1"
        page = ada.get("/review/1").text
        assert "Changed: cannot be judged: wrong view, phantom-000.jpg." in page
        for text in ("left base", "lateral", "looked again", "(changed)"):
            assert text in page, "the history has both readings"
        assert [row.action for row in image(night, 1).reviews] == ["read", "amend"]
        bob = reader("Bob")
        page = bob.get("/review/1").text
        assert 'id="amend"' not in page
        stolen = bob.post("/review/1/decide", data=change | {"why": "x"}, follow_redirects=True)
        assert "This is no reading of yours." in stolen.text
        undone = ada.post("/review/undo", follow_redirects=True)
        assert "The reading before it is in force again." in undone.text
        assert audit_events(night, "image:1") == [
            "received", "scored", "read", "read_amended", "read_undone"
        ]  # fmt: skip
        assert audit_trail_is_intact(night)

    def test_second_opinion_is_offered_to_other_readers(self, reader: Reader, night: Night) -> None:
        ada, bob = reader("Ada"), reader("Bob")
        ada.post("/review/1/decide", data={"finding": "second_opinion", "note": "left base?"})
        assert ids_on(bob.get("/review?reading=second-opinion").text) == [1]
        assert 'id="decide"' not in ada.get("/review/1").text
        page = bob.get("/review/1?reading=second-opinion").text
        assert "<strong>second opinion wanted</strong>" in page
        answer = bob.post("/review/1/decide?reading=second-opinion", data={"finding": "no_signs"})
        assert answer.location == "/review/summary?reading=second-opinion"
        reading = standing(night, 1)
        assert reading is not None
        assert (reading.finding, reading.user.name) == ("no_signs", "Bob")

    def test_next_image_is_of_the_readers_list(self, reader: Reader) -> None:
        ada = reader("Ada")
        query = "?verdict=uncertain&run=night-2026-11-22"
        assert (
            ada.post(f"/review/5/decide{query}", data={"finding": "signs_of_pneumonia"}).location
            == f"/review/6{query}"
        )
        assert (
            ada.post(f"/review/6/decide{query}", data={"finding": "signs_of_pneumonia"}).location
            == f"/review/summary{query}"
        )

    def test_image_is_read_once(self, reader: Reader, night: Night) -> None:
        ada = reader("Ada")
        ada.post("/review/1/decide", data={"finding": "signs_of_pneumonia"})
        again = ada.post("/review/1/decide", data={"finding": "no_signs"}, follow_redirects=True)
        assert "You have already read this image." in again.text
        bob = reader("Bob").post("/review/1/decide", data={"finding": "no_signs"}, follow_redirects=True)
        assert "This image has already been read." in bob.text
        assert [reading.finding for reading in image(night, 1).reviews] == ["signs_of_pneumonia"]

    @pytest.mark.parametrize(
        "finding",
        ["delete", "confirm", "", "cannot_be_judged", "cannot_be_judged/tired", "no_signs/wrong_view"],
    )
    def test_unknown_finding_is_refused(self, reader: Reader, night: Night, finding: str) -> None:
        assert reader("Ada").post("/review/1/decide", data={"finding": finding}).status_code == 400
        assert image(night, 1).review_state == ReviewState.UNREAD

    def test_too_long_note_is_refused(self, reader: Reader, night: Night) -> None:
        answer = reader("Ada").post(
            "/review/1/decide", data={"finding": "signs_of_pneumonia", "note": "x" * 2001}
        )
        assert answer.status_code == 400
        assert "2,000 characters" in answer.text
        assert image(night, 1).reviews == []

    def test_decision_without_a_name_leads_to_the_name_form(self, unnamed: FlaskClient, night: Night) -> None:
        answer = unnamed.post(
            "/review/1/decide",
            data={"finding": "signs_of_pneumonia"},
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
        assert set(ada.post("/review/1/claim").get_json()) == {"until"}
        page_of_bob = bob.get("/review/1").text
        assert re.search(r"<strong>Ada</strong>\s+has claimed this image until", page_of_bob)
        assert 'id="decide"' not in page_of_bob
        refused = bob.post("/review/1/decide", data={"finding": "no_signs"}, follow_redirects=True)
        assert "Another reader has claimed this image." in refused.text
        assert image(night, 1).reviews == []
        assert 'id="decide"' in ada.get("/review/1").text
        assert "claimed by Ada" in bob.get("/review").text
        assert "claimed by you" in ada.get("/review").text

    def test_slower_reader_of_the_same_page_is_told(self, reader: Reader) -> None:
        ada, bob = reader("Ada"), reader("Bob")
        assert [browser.get("/review/1").text.count('id="decide"') for browser in (ada, bob)] == [1, 1]
        assert ada.post("/review/1/claim").mimetype == "application/json"
        slower = bob.post("/review/1/claim")
        assert (slower.status_code, slower.mimetype) == (200, "text/html")
        assert re.search(
            r"<strong>Ada</strong> has claimed this image until <time [^>]*>[^<]* UTC</time>\.", slower.text
        )
        ada.post("/review/1/decide", data={"finding": "signs_of_pneumonia"})
        assert "This image has already been read." in bob.post("/review/1/claim").text
        assert bob.post("/review/99/claim").status_code == 404

    def test_claim_releases_the_readers_earlier_one(self, reader: Reader, night: Night) -> None:
        ada = reader("Ada")
        for image_id in (1, 2):
            ada.post(f"/review/{image_id}/claim")
        assert [image(night, image_id).claimed_by is None for image_id in (1, 2)] == [True, False]

    def test_next_image_is_not_claimed_by_others(self, reader: Reader) -> None:
        ada, bob = reader("Ada"), reader("Bob")
        bob.post("/review/2/claim")
        assert ada.post("/review/1/decide", data={"finding": "signs_of_pneumonia"}).location == "/review/3"

    def test_decision_and_undo_claim_the_image_that_they_open(self, reader: Reader, night: Night) -> None:
        ada = reader("Ada")
        for url, opened in (("/review/1/decide", 2), ("/review/undo", 1)):
            assert ada.post(url, data={"finding": "signs_of_pneumonia"}).location == f"/review/{opened}"
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
    assert ada.post("/review/3/decide", data={"finding": "signs_of_pneumonia"}).location == "/review/4"
    assert ada.post("/review/undo").location == "/review/3"
    for url in ("/runs", f"/runs/{RUN}", "/rejected", "/upload?receipts=1-8", "/api/v1/runs", "/readyz"):
        assert ada.get(url).status_code == 200
    assert ada.get("/review?run=%00").status_code == 400
    assert audit_trail_is_intact(night)
    app.extensions[EXTENSION].ledger.close()
    night.ledger.close()
