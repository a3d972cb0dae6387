"""Reading: the queue's order and pages, claims, verdicts, undo, and the trail behind them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from tests.integration.webui.conftest import PROBABILITIES, Reader
from tests.integration.webui.night import RUN, Night, a_night, phantoms
from webui import create_app
from webui.dependencies import EXTENSION
from worker.ledger import audit, review
from worker.ledger.states import ReviewState
from worker.ledger.tables import AuditEvent, Image, Review

JSON = dict[str, Any]


def ids_on(page: str) -> list[int]:
    """The images of a queue page, from top to bottom."""
    return [int(number) for number in re.findall(r'class="row" href="/review/(\d+)', page)]


def image(night: Night, image_id: int) -> Image:
    with night.ledger.reading() as session:
        found = review.open_image(session, image_id)
    assert found is not None
    return found


def standing(night: Night, image_id: int) -> Review | None:
    with night.ledger.reading() as session:
        return review.standing_reviews(session, [image(night, image_id)]).get(image_id)


def trail_is_whole(night: Night) -> bool:
    with night.ledger.reading() as session:
        return audit.verify(session).ok


def kinds_in_trail(night: Night, subject: str) -> list[str]:
    with night.ledger.reading() as session:
        events = session.scalars(
            select(AuditEvent).where(AuditEvent.subject == subject).order_by(AuditEvent.seq)
        )
        return [event.kind for event in events]


class TestQueue:
    def test_the_most_urgent_comes_first_and_equals_in_order_of_arrival(self, onlooker: FlaskClient) -> None:
        assert ids_on(onlooker.get("/review").text) == [1, 2, 3, 4, 5, 6]

    def test_the_front_door_leads_to_it(self, onlooker: FlaskClient) -> None:
        assert onlooker.get("/").location == "/review"

    def test_paging_shows_every_image_exactly_once(
        self, client: FlaskClient, night: Night, drawn: Path
    ) -> None:
        # More than two pages of one probability: only the id tells them apart.
        accepted = night.accept(phantoms(drawn, range(100, 210), 96))
        night.score({item.image_id: 0.93 for item in accepted})
        seen: list[int] = []
        url = "/review"
        while url:
            page = client.get(url).text
            seen += ids_on(page)
            following = re.search(r'rel="next" href="([^"]+)"', page)
            url = following[1].replace("&amp;", "&") if following else ""
        everything = [1, 2, 3, *(item.image_id for item in accepted), 4, 5, 6]
        assert seen == everything

    def test_the_api_pages_the_same_way(self, client: FlaskClient, night: Night, drawn: Path) -> None:
        accepted = night.accept(phantoms(drawn, range(100, 160), 96))
        night.score({item.image_id: 0.5 for item in accepted})
        first: JSON = client.get("/api/v1/queue").get_json()
        second: JSON = client.get("/api/v1/queue", query_string={"after": first["next"]}).get_json()
        ids = [row["image"] for row in first["images"] + second["images"]]
        assert len(ids) == len(set(ids)) == first["total"] == 66
        assert second["next"] is None

    def test_filters_stand_in_the_url(self, client: FlaskClient, reader: Reader, night: Night) -> None:
        accepted = night.accept(phantoms(night.settings.data / "more", [300], 96), run="other & <run>")
        night.score({accepted[0].image_id: 0.8})
        reader("Ada").post("/review/4/decide", data={"action": "confirm"})
        assert ids_on(client.get("/review?verdict=uncertain").text) == [5, 6]
        assert ids_on(client.get("/review?verdict=clear").text) == [7, 8]
        assert ids_on(client.get("/review?reading=read").text) == [4]
        assert ids_on(client.get("/review?verdict=any&reading=any").text) == [1, 2, 3, 9, 4, 5, 6, 7, 8]
        assert ids_on(client.get("/review", query_string={"run": "other & <run>"}).text) == [9]
        assert ids_on(client.get(f"/review?run={RUN}&verdict=flagged").text) == [1, 2, 3]

    def test_a_row_says_what_matters(self, onlooker: FlaskClient) -> None:
        row = onlooker.get("/review").text.split("<li>")[1]
        for said in (
            "phantom-000.jpg",
            "flagged",
            "PHANTOM",
            "0.97",
            RUN,
            "unread",
            "/images/1/thumb.jpg?v=",
        ):
            assert said in row

    def test_when_all_is_read_it_says_so_with_counts(self, client: FlaskClient, reader: Reader) -> None:
        ada = reader("Ada")
        for image_id in range(1, 7):
            ada.post(f"/review/{image_id}/decide", data={"action": "confirm"})
        page = client.get("/review").text
        assert "Nothing waits to be read." in page
        assert "8 scored, 6 of them flagged or uncertain" in " ".join(page.split())


class TestDeciding:
    def test_confirming_opens_the_next_image_and_undo_comes_back(self, reader: Reader, night: Night) -> None:
        ada = reader("Ada")
        confirmed = ada.post("/review/1/decide", data={"action": "confirm", "note": "left base\r\n"})
        assert confirmed.status_code == 303
        assert confirmed.location == "/review/2"
        assert "Confirmed: signs of pneumonia in phantom-000.jpg." in ada.get("/review/2").text

        overridden = ada.post("/review/2/decide", data={"action": "override"})
        assert overridden.location == "/review/3"
        acts = [standing(night, image_id) for image_id in (1, 2)]
        assert [(act.action, act.finding, act.note, act.user.name) for act in acts if act] == [
            ("confirm", "signs_of_pneumonia", "left base", "Ada"),
            ("override", "no_signs", "", "Ada"),
        ]

        undone = ada.post("/review/undo")
        assert undone.location == "/review/2"
        assert image(night, 2).review_state == ReviewState.UNREAD
        assert image(night, 1).review_state == ReviewState.READ
        assert ada.post("/review/undo").location == "/review/1"
        assert "nothing to undo" in ada.post("/review/undo", follow_redirects=True).text
        assert kinds_in_trail(night, "image:2") == ["received", "scored", "read", "read_undone"]
        assert trail_is_whole(night)

    def test_the_next_image_is_of_the_readers_own_list(self, reader: Reader) -> None:
        ada = reader("Ada")
        query = "?verdict=uncertain&run=night-2026-11-22"
        assert (
            ada.post(f"/review/5/decide{query}", data={"action": "confirm"}).location == f"/review/6{query}"
        )
        assert ada.post(f"/review/6/decide{query}", data={"action": "confirm"}).location == f"/review{query}"

    def test_a_clear_image_can_be_read_too(self, reader: Reader, night: Night) -> None:
        ada = reader("Ada")
        page = ada.get("/review/8?verdict=clear").text
        assert re.search(r'id="confirm".*<b>no signs</b>', page)
        assert re.search(r'id="override".*<b>signs of pneumonia</b>', page)
        ada.post("/review/8/decide", data={"action": "override"})
        act = standing(night, 8)
        assert act is not None
        assert act.finding == "signs_of_pneumonia"

    def test_an_image_is_read_once(self, reader: Reader, night: Night) -> None:
        ada = reader("Ada")
        ada.post("/review/1/decide", data={"action": "confirm"})
        again = ada.post("/review/1/decide", data={"action": "override"}, follow_redirects=True)
        assert "This image has been read already." in again.text
        assert [act.action for act in image(night, 1).reviews] == ["confirm"]

    @pytest.mark.parametrize("action", ["delete", "undo", ""])
    def test_an_unknown_act_is_refused(self, reader: Reader, night: Night, action: str) -> None:
        assert reader("Ada").post("/review/1/decide", data={"action": action}).status_code == 400
        assert image(night, 1).review_state == ReviewState.UNREAD

    def test_a_note_too_long_is_refused_and_nothing_is_recorded(self, reader: Reader, night: Night) -> None:
        answer = reader("Ada").post("/review/1/decide", data={"action": "confirm", "note": "x" * 2001})
        assert answer.status_code == 400
        assert "2,000 characters" in answer.text
        assert image(night, 1).reviews == []

    def test_without_a_name_nothing_is_decided(self, client: FlaskClient, night: Night) -> None:
        answer = client.post(
            "/review/1/decide",
            data={"action": "confirm"},
            headers={"Referer": "http://localhost/review/1?verdict=any"},
        )
        assert answer.location == "/reader?next=/review/1?verdict%3Dany"
        assert image(night, 1).review_state == ReviewState.UNREAD

    def test_steps_lead_to_the_neighbours_without_deciding(self, onlooker: FlaskClient) -> None:
        page = onlooker.get("/review/3").text
        assert re.search(r'id="previous" href="/review/2"', page)
        assert re.search(r'id="next" href="/review/4"', page)
        assert 'id="previous"' not in onlooker.get("/review/1").text
        assert 'id="next"' not in onlooker.get("/review/6").text


class TestClaims:
    def test_whoever_opens_an_image_first_has_it(self, reader: Reader, night: Night) -> None:
        ada, bob = reader("Ada"), reader("Bob")
        assert 'id="decide"' in ada.get("/review/1").text
        seen_by_bob = bob.get("/review/1").text
        assert re.search(r"<strong>Ada</strong>\s+has this image open", seen_by_bob)
        assert 'id="decide"' not in seen_by_bob
        tried = bob.post("/review/1/decide", data={"action": "override"}, follow_redirects=True)
        assert "Another reader has this image open." in tried.text
        assert image(night, 1).reviews == []
        assert 'id="decide"' in ada.get("/review/1").text
        assert "open: Ada" in bob.get("/review").text
        assert "you have it open" in ada.get("/review").text

    def test_the_next_image_is_one_that_nobody_has_open(self, reader: Reader) -> None:
        ada, bob = reader("Ada"), reader("Bob")
        bob.get("/review/2")
        assert ada.post("/review/1/decide", data={"action": "confirm"}).location == "/review/3"

    def test_looking_without_a_name_claims_nothing(self, client: FlaskClient, night: Night) -> None:
        client.get("/review/1")
        assert image(night, 1).claimed_by is None

    def test_neither_does_a_prefetch_nor_a_head_request(self, reader: Reader, night: Night) -> None:
        ada = reader("Ada")
        ada.get("/review/1", headers={"Sec-Purpose": "prefetch"})
        ada.head("/review/1")
        assert image(night, 1).claimed_by is None


class TestViewer:
    def test_it_shows_what_is_known(self, onlooker: FlaskClient) -> None:
        page = onlooker.get("/review/4").text
        for said in (
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
            "Where the network responded, not where disease is.",
            "/images/4/map.png",
            "import",
        ):
            assert said in page, said
        assert "diagnosis" not in page.replace("never a diagnosis", "")

    def test_an_unknown_image_is_not_found(self, onlooker: FlaskClient) -> None:
        assert onlooker.get("/review/99").status_code == 404
        assert onlooker.get(f"/review/{10**30}").status_code == 404

    def test_every_probability_of_the_night_is_in_the_queue(self, onlooker: FlaskClient) -> None:
        rows: list[JSON] = onlooker.get("/api/v1/queue?verdict=any").get_json()["images"]
        assert [row["p_pneumonia"] for row in rows] == sorted(PROBABILITIES, reverse=True)


@pytest.mark.postgres
def test_reading_is_the_same_on_postgresql(postgres_url: str, tmp_path: Path, drawn: Path) -> None:
    night = a_night(tmp_path / "data", PROBABILITIES, drawn, database_url=postgres_url)
    app = create_app(night.settings)
    ada = app.test_client()
    ada.post("/reader", data={"name": "Ada"})
    assert ids_on(ada.get("/review").text) == [1, 2, 3, 4, 5, 6]
    first: JSON = ada.get("/api/v1/queue").get_json()["images"][1]
    below = ada.get("/review", query_string={"after": f"{first['p_pneumonia']!r}_{first['image']}"})
    assert ids_on(below.text) == [3, 4, 5, 6]
    assert 'id="previous" href="/review/2"' in ada.get("/review/3").text
    assert ada.post("/review/3/decide", data={"action": "confirm"}).location == "/review/4"
    assert ada.post("/review/undo").location == "/review/3"
    for url in ("/runs", f"/runs/{RUN}", "/rejected", "/upload?receipts=1-8", "/api/v1/runs", "/readyz"):
        assert ada.get(url).status_code == 200
    assert ada.get("/review?run=%00").status_code == 200
    assert trail_is_whole(night)
    app.extensions[EXTENSION].ledger.close()
    night.ledger.close()
