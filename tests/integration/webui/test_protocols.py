"""Reading protocols on the pages and over the API: what is hidden, from whom, and until when."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update

from tests.filling import follow
from tests.integration.webui.night import Night
from tests.signing_in import bearer, person, sign_in
from worker.ledger.protocols import Protocol, Shown
from worker.ledger.roles import Role, Scope
from worker.ledger.states import ReviewState
from worker.ledger.tables import Image, Prediction

BLIND = Protocol(score=Shown.AFTER_DECISION, sample_share=0)
TWO_READERS = Protocol(readers=2, sample_share=0)
SCRIPT = {"Accept": "application/json"}
# Every page that shows the score 0.97 of image 1, or its verdict, to somebody who may see it.
TELLING = (
    "/review?verdict=any",
    "/review/1",
    "/upload/rows?receipts=1-8",
    "/api/v1/images/1",
    "/api/v1/queue?verdict=any",
)


@pytest.fixture
def ada(app: Flask, night: Night) -> FlaskClient:
    return sign_in(app.test_client(), night.ledger, "Ada", {Role.READER})


@pytest.fixture
def ben(app: Flask, night: Night) -> FlaskClient:
    return sign_in(app.test_client(), night.ledger, "Ben", {Role.READER})


def decide(client: FlaskClient, image: int, finding: str = "signs_of_pneumonia") -> Any:
    return client.post(f"/review/{image}/decide", data={"finding": finding})


def said_by_page(client: FlaskClient, image: int) -> dict[str, str]:
    """Return what the page of an image sends with the finding *no signs*."""
    form = client.get(f"/review/{image}").text.partition('<form id="decide"')[2].partition("</form>")[0]
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="(\w*)">', form))
    return hidden | {"finding": "no_signs"}


def draw(night: Night, *image_ids: int) -> None:
    """Make images drawn ones, as the worker does when it scores them."""
    with night.ledger.transaction() as session:
        values = {"review_state": ReviewState.DRAWN, "drawn_rank": 0.5}
        session.execute(update(Image).where(Image.id.in_(image_ids)).values(**values))


@pytest.mark.parametrize("address", TELLING)
def test_blind_protocol_tells_no_score_before_the_reader_has_decided(
    night: Night, ada: FlaskClient, address: str
) -> None:
    assert "0.97" in ada.get(address).text
    follow(night.ledger, BLIND)
    assert "0.97" not in ada.get(address).text
    answer = decide(ada, 1)
    assert answer.headers["Location"] == "/review/1?order=oldest", (
        "the reader sees the score of this image now"
    )
    everything = address.replace("verdict=any", "verdict=any&reading=read")
    assert "0.97" in ada.get(everything).text


def test_map_is_refused_until_the_reader_has_decided(
    night: Night, ada: FlaskClient, ben: FlaskClient
) -> None:
    follow(night.ledger, Protocol(activation_map=Shown.AFTER_DECISION, sample_share=0))
    assert ada.get("/images/1/map.png").status_code == 403
    assert 'id="map"' not in ada.get("/review/1").text
    decide(ada, 1)
    assert ada.get("/images/1/map.png").status_code == 200
    assert ben.get("/images/1/map.png").status_code == 200, "the image is read"


def test_blind_reading_says_that_nothing_was_shown(night: Night, ada: FlaskClient) -> None:
    follow(night.ledger, BLIND)
    decide(ada, 1)
    reading = ada.get("/api/v1/images/1").get_json()["reading"]
    assert (reading["score_shown"], reading["map_shown"], reading["protocol"]) == (False, False, 1)


def test_page_from_before_a_blind_protocol_says_what_it_showed(night: Night, ada: FlaskClient) -> None:
    said = said_by_page(ada, 1) | {"map_shown": "1", "open_ms": "900", "go_on": "1"}
    assert said["score_shown"] == "1"
    follow(night.ledger, BLIND)
    answer = ada.post("/review/1/decide", data=said, headers=SCRIPT).get_json()
    assert "Now you see the score" not in answer["said"], "the reader saw it before"
    reading = ada.get("/api/v1/images/1").get_json()["reading"]
    assert (reading["score_shown"], reading["map_shown"], reading["protocol"]) == (True, True, 1)
    assert said_by_page(ada, 2)["score_shown"] == "0"


def test_page_from_before_the_score_is_shown_says_that_it_was_hidden(night: Night, ada: FlaskClient) -> None:
    follow(night.ledger, BLIND)
    said = said_by_page(ada, 1)
    follow(night.ledger, Protocol(sample_share=0))
    ada.post("/review/1/decide", data=said, headers=SCRIPT)
    assert ada.get("/api/v1/images/1").get_json()["reading"]["score_shown"] is False


@pytest.mark.parametrize(
    "shown", [{}, {"score_shown": "0", "map_shown": "0"}, {"score_shown": "1", "map_shown": "1"}]
)
def test_reading_that_is_sent_again_is_recorded_once_whatever_was_shown(
    night: Night, ada: FlaskClient, shown: dict[str, str]
) -> None:
    follow(night.ledger, BLIND)
    said = {"finding": "no_signs", "open_ms": "900", **shown}
    answers = [ada.post("/review/1/decide", data=said, headers=SCRIPT) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].get_json() == answers[1].get_json()
    assert len(ada.get("/api/v1/images/1").get_json()["reviews"]) == 1


def test_blind_reading_that_is_sent_again_shows_the_score(night: Night, ada: FlaskClient) -> None:
    """The answer to the first one was lost, so the reader has not seen the score yet."""
    follow(night.ledger, BLIND)
    said = {"finding": "no_signs", "score_shown": "0", "map_shown": "0", "open_ms": "900", "go_on": "1"}
    answers = [ada.post("/review/1/decide", data=said, headers=SCRIPT).get_json() for _ in range(2)]
    assert [answer["open"] for answer in answers] == 2 * ["/review/1?order=oldest"]
    assert all("Now you see the score" in answer["said"] for answer in answers)
    assert "0.97" in answers[1]["page"]


def test_token_sees_every_score(app: Flask, night: Night) -> None:
    follow(night.ledger, BLIND)
    headers = bearer(night.ledger, {Scope.IMAGES_READ, Scope.REPORTS_READ})
    document = app.test_client().get("/api/v1/images/1", headers=headers).get_json()
    assert (document["verdict"], document["score_hidden"]) == ("flagged", False)
    report = app.test_client().get("/api/v1/runs/1/report", headers=headers).get_json()
    assert len(report["flagged_images"]) == 6


def test_lists_of_a_blind_protocol_have_no_order_or_filter_that_tells(night: Night, ada: FlaskClient) -> None:
    follow(night.ledger, BLIND)
    for query in ("order=score", "order=closest", "low=0.9", "verdict=flagged"):
        listed = ada.get(f"/api/v1/queue?{query}").get_json()["images"]
        assert [row["image"] for row in listed] == [1, 2, 3, 4, 5, 6]
    decide(ada, 2)
    read = ada.get("/api/v1/queue?verdict=flagged&reading=read").get_json()["images"]
    assert [row["image"] for row in read] == [2]


def test_drawn_images_hide_what_they_are_until_they_are_read(night: Night, ada: FlaskClient) -> None:
    draw(night, 1, 7)
    rows = {row["image"]: row for row in ada.get("/api/v1/queue").get_json()["images"]}
    assert set(rows) == {1, 2, 3, 4, 5, 6, 7}
    assert {image for image, row in rows.items() if row["score_hidden"]} == {1, 7}
    assert [rows[image]["verdict"] for image in (1, 7)] == [None, None]
    for image in (1, 7):
        page = ada.get(f"/review/{image}").text
        assert 'id="hidden-score"' in page
        assert ada.get(f"/images/{image}/map.png").status_code == 403
    assert decide(ada, 7).headers["Location"] != "/review/7", "the next image opens at once"
    assert ada.get("/api/v1/images/7").get_json()["verdict"] == "clear"


@pytest.mark.parametrize("format_name", ["json", "csv", "html", "text"])
def test_report_of_a_person_hides_what_the_page_hides(
    night: Night, ada: FlaskClient, format_name: str
) -> None:
    address = f"/api/v1/runs/1/report?format={format_name}"
    assert "0.97" in ada.get(address).text
    draw(night, 1)
    assert "0.97" not in ada.get(address).text
    if format_name == "json":
        hidden = [row for row in ada.get(address).get_json()["other_images"] if row["image"] == 1]
        assert len(hidden) == 1
    decide(ada, 1)
    assert "0.97" in ada.get(address).text


def test_hidden_score_hides_the_distance(night: Night, ada: FlaskClient) -> None:
    """An image far from the training data is never clear, so the distance would tell something of the verdict."""
    with night.ledger.transaction() as session:
        session.execute(update(Image).where(Image.id == 1).values(distance=2.5))
    report = "/api/v1/runs/1/report?format=csv"
    addresses = ("/review/1", "/review", report)
    assert ["far from the training data" in ada.get(address).text for address in addresses[:2]] == [True] * 2
    assert "2.5" in ada.get(report).text
    assert ada.get("/api/v1/images/1").get_json()["distance"] == 2.5
    draw(night, 1)
    assert ["far from the training data" in ada.get(address).text for address in addresses[:2]] == [False] * 2
    assert "2.5" not in ada.get(report).text
    assert ada.get("/api/v1/images/1").get_json()["distance"] is None


def test_decimals_of_limits_do_not_tell_that_a_hidden_score_is_close(night: Night, ada: FlaskClient) -> None:
    with night.ledger.transaction() as session:
        session.scalars(select(Prediction).where(Prediction.image_id == 1)).one().p_pneumonia = 0.64996
        session.get_one(Image, 1).p_pneumonia = 0.49996
    pages = [" ".join(ada.get(address).text.split()) for address in ("/review/1", "/review?order=closest")]
    assert ["0.65000" in pages[0], "threshold 0.50000 first" in pages[1]] == [True, True]
    draw(night, 1)
    pages = [" ".join(ada.get(address).text.split()) for address in ("/review/1", "/review?order=closest")]
    assert ["band 0.40 to 0.65<" in pages[0], "threshold 0.50 first" in pages[1]] == [True, True]


def test_second_reader_does_not_see_the_first_reading(
    night: Night, ada: FlaskClient, ben: FlaskClient
) -> None:
    follow(night.ledger, TWO_READERS)
    decide(ada, 1, "no_signs")
    for address in ("/review/1", "/review?reading=second-reader", "/api/v1/images/1"):
        page = ben.get(address).text
        assert "no_signs" not in page.replace('value="no_signs"', "")
        assert "<strong>No signs" not in page
        assert "read by Ada" not in page
    assert "no_signs" not in json.dumps(ben.get("/api/v1/runs/1/report").get_json())
    assert "You are the second reader" in ben.get("/review/1").text
    assert "It waits for another reader" not in ben.get("/review/1").text
    decide(ben, 1, "no_signs")
    assert ben.get("/api/v1/images/1").get_json()["review_state"] == "read"
    assert [row["stage"] for row in ben.get("/api/v1/images/1").get_json()["reviews"]] == ["first", "second"]


def test_first_reader_does_not_keep_the_second_one_out(
    night: Night, ada: FlaskClient, ben: FlaskClient
) -> None:
    follow(night.ledger, TWO_READERS)
    decide(ada, 1)
    assert "You have already read this image." in ada.post("/review/1/claim").text
    assert "until" in ben.post("/review/1/claim").get_json()
    holder = {"holder": str(person(night.ledger, "Ben"))}
    refused = ada.post("/review/1/take-over", data=holder, headers=SCRIPT)
    assert (refused.status_code, refused.get_json()["error"]) == (
        409,
        "You have already read this image. You can change your reading.",
    )
    decide(ben, 1)
    assert ben.get("/api/v1/images/1").get_json()["review_state"] == "read"


def test_first_reader_who_sees_the_score_afterwards_claims_nothing(
    night: Night, ada: FlaskClient, ben: FlaskClient
) -> None:
    follow(night.ledger, Protocol(score=Shown.AFTER_DECISION, readers=2, sample_share=0))
    assert decide(ada, 1).headers["Location"].startswith("/review/1?"), "her own image stays open"
    assert 'id="decide"' in ben.get("/review/1").text
    decide(ben, 1)
    assert ben.get("/api/v1/images/1").get_json()["review_state"] == "read"


def test_reader_whose_reading_was_taken_back_can_be_the_second_reader(
    night: Night, ada: FlaskClient, ben: FlaskClient
) -> None:
    follow(night.ledger, TWO_READERS)
    decide(ada, 1)
    assert 'id="decide"' not in ada.get("/review/1").text
    ada.post("/review/undo", data={})
    # Undo claims the image again; the next one that Ada opens releases it.
    ada.post("/review/2/claim")
    decide(ben, 1)
    assert 'id="decide"' in ada.get("/review/1").text
    decide(ada, 1)
    assert ada.get("/api/v1/images/1").get_json()["review_state"] == "read"


def test_adjudicator_ends_a_disagreement(
    app: Flask, night: Night, ada: FlaskClient, ben: FlaskClient
) -> None:
    follow(night.ledger, TWO_READERS)
    chen = sign_in(app.test_client(), night.ledger, "Chen", {Role.ADJUDICATOR})
    dora = sign_in(app.test_client(), night.ledger, "Dora", {Role.READER})
    decide(ada, 1)
    decide(ben, 1, "no_signs")
    assert "An adjudicator decides" in dora.get("/review/1").text
    decide(dora, 1)
    assert "Two readers disagree" in dora.get("/review/1").text
    for page in (chen.get("/").text, chen.get("/review").text):
        assert "1 for an adjudicator" in page
    page = chen.get("/review/1").text
    assert "Your reading decides" in page
    assert 'value="second_opinion"' not in page
    decide(chen, 1)
    document = chen.get("/api/v1/images/1").get_json()
    assert (document["review_state"], document["finding"]) == ("read", "signs_of_pneumonia")


def test_administrator_changes_the_protocol_with_a_reason(app: Flask, night: Night, ada: FlaskClient) -> None:
    eve = sign_in(app.test_client(), night.ledger, "Eve", {Role.ADMINISTRATOR})
    chosen = {"score": "after_decision", "activation_map": "first", "readers": "2", "sample_per_cent": "7"}
    assert ada.post("/protocol", data={**chosen, "why": "x"}).status_code == 403
    assert eve.post("/protocol", data=chosen).status_code == 400
    assert eve.post("/protocol", data={**chosen, "readers": "many", "why": "x"}).status_code == 400
    assert eve.post("/protocol", data={**chosen, "sample_per_cent": "nan", "why": "x"}).status_code == 400
    assert eve.post("/protocol", data={**chosen, "why": "our study begins"}).status_code == 303
    page = ada.get("/protocol").text
    for words in ("two readers", "7 % of clear images", "our study begins", "by Eve"):
        assert words in page
    assert "Change the protocol" not in page
