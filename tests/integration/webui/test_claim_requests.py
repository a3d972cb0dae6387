"""Claims over HTTP: renewal, release, and taking over, with and without a script."""

from __future__ import annotations

import re

from flask.testing import FlaskClient

from tests.integration.webui.conftest import Reader
from tests.integration.webui.night import Night
from tests.signing_in import person, sign_in
from worker.ledger.roles import Role
from worker.ledger.tables import Image


def holder(night: Night, image_id: int) -> str | None:
    with night.ledger.reading() as session:
        claimed_by = session.get_one(Image, image_id).claimed_by
        return claimed_by.name if claimed_by else None


def test_page_releases_only_the_claim_that_it_has(reader: Reader, night: Night) -> None:
    ada = reader("Ada")
    first = ada.post("/review/1/claim").get_json()["until"]
    second = ada.post("/review/1/claim", data={"renews": "1"}).get_json()["until"]
    assert ada.post("/review/1/release", data={"until": first}).status_code == 204
    assert holder(night, 1) == "Ada", "a page that was opened later has claimed it again"
    assert reader("Bob").post("/review/1/release", data={"until": second}).status_code == 204
    assert holder(night, 1) == "Ada"
    ada.post("/review/1/release", data={"until": second})
    assert holder(night, 1) is None
    ada.post("/review/1/claim")
    assert ada.post("/review/1/release", data={"until": "soon"}).status_code == 400
    ada.post("/review/1/release")
    assert holder(night, 1) is None


def test_reader_takes_an_image_over_without_javascript(reader: Reader, night: Night) -> None:
    ada, bob = reader("Ada"), reader("Bob")
    ada.post("/review/1/claim")
    page = bob.get("/review/1?verdict=any").text
    form = re.search(r'<form class="take-over" method="post" action="([^"]+)">', page)
    assert form is not None
    assert form[1] == "/review/1/take-over?verdict=any"
    assert f'name="holder" value="{person(night.ledger, "Ada")}"' in page
    answer = bob.post(form[1], data={"holder": person(night.ledger, "Ada")})
    assert answer.location == "/review/1?verdict=any"
    page = bob.get(answer.location).text
    assert "You have taken this image over from Ada. This is on record." in page
    assert 'id="decide"' in page
    refused = ada.post("/review/1/decide", data={"finding": "no_signs"}, follow_redirects=True)
    assert "Another reader has claimed this image." in refused.text
    assert "<strong>Bob</strong> has claimed this image" in ada.post("/review/1/claim").text
    again = ada.post("/review/1/take-over", data={"holder": "999"}, follow_redirects=True)
    assert "Yet another reader has claimed this image in the meantime." in again.text


def test_script_that_takes_over_gets_a_document(reader: Reader, night: Night) -> None:
    reader("Ada").post("/review/1/claim")
    bob, headers = reader("Bob"), {"Accept": "application/json"}
    ada_id = person(night.ledger, "Ada")
    refused = bob.post("/review/1/take-over", data={"holder": ada_id + 100}, headers=headers)
    assert (refused.status_code, "Yet another reader" in refused.get_json()["error"]) == (409, True)
    taken = bob.post("/review/1/take-over", data={"holder": ada_id}, headers=headers).get_json()
    assert taken["open"] == "/review/1"
    assert "You have taken this image over from Ada" in taken["page"]


def test_taking_over_is_in_the_trail(client: FlaskClient, reader: Reader, night: Night) -> None:
    reader("Ada").post("/review/1/claim")
    reader("Bob").post("/review/1/take-over", data={"holder": person(night.ledger, "Ada")})
    auditor = sign_in(client.application.test_client(), night.ledger, "Audrey", {Role.AUDITOR})
    assert "Claim taken over" in auditor.get("/audit").text
