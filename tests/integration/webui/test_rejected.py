"""Turned away: the sentence, and another chance for a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.integration.webui.conftest import Reader
from tests.integration.webui.night import Night, phantoms
from worker.ledger import audit
from worker.ledger.states import ImageState
from worker.ledger.tables import Image


@pytest.fixture
def away(night: Night, tmp_path: Path, drawn: Path) -> tuple[int, int]:
    """Ids of a rejected and of a quarantined image."""
    empty = tmp_path / "empty.jpg"
    empty.write_bytes(b"")
    rejected, failing = night.accept([empty, *phantoms(drawn, [600])])
    night.quarantine(failing.image_id)
    return rejected.image_id, failing.image_id


def state(night: Night, image_id: int) -> str:
    with night.ledger.reading() as session:
        return session.get_one(Image, image_id).state


def test_it_lists_both_kinds_with_their_sentences(client: FlaskClient, away: tuple[int, int]) -> None:
    page = client.get("/rejected").text
    assert page.index("phantom-600.jpg") < page.index("empty.jpg")
    for said in (
        "The file is empty.",
        "The worker ran out of memory. Tried 3 times.",
        "set aside",
        "turned away",
    ):
        assert said in page
    assert 'action="/rejected/' not in page
    assert "Say who you are" in page


def test_an_empty_list_says_so(client: FlaskClient, night: Night) -> None:
    assert "Nothing was turned away." in client.get("/rejected").text
    assert night.settings.data.exists()


def test_a_retry_with_a_reason_puts_it_back(reader: Reader, night: Night, away: tuple[int, int]) -> None:
    ada = reader("Ada")
    for image_id in away:
        assert f'action="/rejected/{image_id}/retry"' in ada.get("/rejected").text
        answer = ada.post(f"/rejected/{image_id}/retry", data={"reason": "more memory"})
        assert answer.location == "/rejected"
        assert state(night, image_id) == ImageState.PENDING
    # No broker listens in these tests, so it says that the sweeper will see to it.
    assert "kept and will be queued by itself" in ada.get("/rejected").text
    with night.ledger.reading() as session:
        assert audit.verify(session).ok


@pytest.mark.parametrize("reason", ["", "  \n "])
def test_a_retry_needs_a_reason(reader: Reader, night: Night, away: tuple[int, int], reason: str) -> None:
    answer = reader("Ada").post(f"/rejected/{away[0]}/retry", data={"reason": reason})
    assert answer.status_code == 400
    assert "A retry needs a reason." in answer.text
    assert state(night, away[0]) == ImageState.REJECTED


def test_only_what_was_turned_away_can_be_retried(reader: Reader, night: Night) -> None:
    answer = reader("Ada").post("/rejected/1/retry", data={"reason": "why not"})
    assert answer.status_code == 409
    assert "only what was turned away can be retried" in answer.text
    assert state(night, 1) == ImageState.SCORED


def test_an_unknown_image_cannot_be_retried(reader: Reader) -> None:
    assert reader("Ada").post("/rejected/99/retry", data={"reason": "x"}).status_code == 404


def test_older_ones_are_on_the_next_page(client: FlaskClient, night: Night, tmp_path: Path) -> None:
    files = [tmp_path / f"bad-{number:02d}.jpg" for number in range(52)]
    for number, path in enumerate(files):
        path.write_bytes(b"no image %d" % number)
    night.accept(files)
    first = client.get("/rejected").text
    assert "bad-51.jpg" in first
    assert "bad-01.jpg" not in first
    second = client.get(first.split('rel="next" href="')[1].split('"')[0]).text
    assert "bad-01.jpg" in second
    assert "bad-02.jpg" not in second
