"""Readings that a script sends, once or again: recorded once, refused with a sentence, by the same reader only."""

from __future__ import annotations

from tests.integration.webui.conftest import Reader
from tests.integration.webui.night import Night
from tests.signing_in import person
from worker.ledger import reading_queue
from worker.ledger.tables import Image

SCRIPT = {"Accept": "application/json"}
SAID = {"finding": "no_signs", "note": "left base", "score_shown": "1", "map_shown": "0", "open_ms": "4321"}


def actions_of(night: Night, image_id: int) -> list[str]:
    with night.ledger.reading() as session:
        row = reading_queue.open_image(session, image_id)
        assert row is not None
        return [reading.action for reading in row.reviews]


def holder(night: Night, image_id: int) -> int | None:
    with night.ledger.reading() as session:
        return session.get_one(Image, image_id).claimed_by_id


def test_script_is_told_what_was_recorded_and_where_to_go_on(reader: Reader, night: Night) -> None:
    ada = reader("Ada")
    answer = ada.post("/review/1/decide?verdict=any", data=SAID | {"go_on": "1"}, headers=SCRIPT)
    said = "Recorded: no signs, phantom-000.jpg."
    document = answer.get_json()
    assert said in document.pop("page")
    assert document == {"open": "/review/2?verdict=any", "said": said}
    assert holder(night, 2) == person(night.ledger, "Ada")


def test_late_reading_claims_nothing_and_no_later_page_says_it(reader: Reader, night: Night) -> None:
    ada = reader("Ada")
    ada.post("/review/5/claim")
    answer = ada.post("/review/1/decide", data=SAID | {"go_on": "0"}, headers=SCRIPT)
    assert answer.get_json()["said"] == "Recorded: no signs, phantom-000.jpg."
    assert [holder(night, number) for number in (2, 5)] == [None, person(night.ledger, "Ada")]
    assert "Recorded" not in ada.get("/review/5").text


def test_reading_that_is_sent_twice_is_recorded_once(reader: Reader, night: Night) -> None:
    ada = reader("Ada")
    answers = [ada.post("/review/1/decide", data=SAID, headers=SCRIPT) for _ in range(2)]
    assert answers[0].get_json() == answers[1].get_json()
    assert actions_of(night, 1) == ["read"]
    other = ada.post("/review/1/decide", data=SAID | {"finding": "second_opinion"}, headers=SCRIPT)
    assert (other.status_code, "already read this image" in other.get_json()["error"]) == (409, True)
    ada.post("/review/undo")
    assert ada.post("/review/1/decide", data=SAID, headers=SCRIPT).status_code == 200
    assert actions_of(night, 1) == ["read", "undo"], "what was taken back does not come back"


def test_change_that_is_sent_twice_is_recorded_once(reader: Reader, night: Night) -> None:
    ada = reader("Ada")
    ada.post("/review/1/decide", data=SAID)
    change = SAID | {"amends": "1", "finding": "signs_of_pneumonia", "why": "looked again"}
    answers = [ada.post("/review/1/decide", data=change, headers=SCRIPT) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert actions_of(night, 1) == ["read", "amend"]


def test_reading_of_another_person_is_not_recorded(reader: Reader, night: Night) -> None:
    ada_id, bob = person(night.ledger, "Ada"), reader("Bob")
    of_ada = SAID | {"reader": str(ada_id)}
    refused = bob.post("/review/1/decide", data=of_ada, headers=SCRIPT)
    assert (refused.status_code, refused.get_json()["other_reader"]) == (409, True)
    page = bob.post("/review/1/decide", data=of_ada, follow_redirects=True)
    assert "Nothing was recorded: another person made this reading" in page.text
    assert actions_of(night, 1) == []
    assert reader("Ada").post("/review/1/decide", data=of_ada).location == "/review/2"
    assert f'name="reader" value="{ada_id}"' in reader("Ada").get("/review/3").text


def test_script_gets_every_refusal_as_a_sentence(reader: Reader, night: Night) -> None:
    ada = reader("Ada")
    reader("Bob").post("/review/1/decide", data=SAID)
    read = ada.post("/review/1/decide", data=SAID, headers=SCRIPT)
    assert (read.status_code, read.get_json()["error"]) == (409, "This image has already been read.")
    long = ada.post("/review/2/decide", data=SAID | {"note": "x" * 2001}, headers=SCRIPT)
    assert (long.status_code, "2,000 characters" in long.get_json()["error"]) == (400, True)
    gone = ada.post("/review/99/decide", data=SAID, headers=SCRIPT)
    assert (gone.status_code, gone.get_json()["error"]) == (404, "There is no image 99.")
    ada.post("/sign-out")
    out = ada.post("/review/2/decide", data=SAID, headers=SCRIPT)
    assert (out.status_code, "error" in out.get_json()) == (401, True)
