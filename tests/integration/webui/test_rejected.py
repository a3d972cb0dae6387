"""The page Rejected: reasons, and retry with a reason."""

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
def unscored(night: Night, tmp_path: Path, phantom_folder: Path) -> tuple[int, int]:
    """The ids of a rejected and of a quarantined image."""
    empty = tmp_path / "empty.jpg"
    empty.write_bytes(b"")
    rejected, failing = night.accept([empty, *phantoms(phantom_folder, [600])])
    night.quarantine(failing.image_id)
    return rejected.image_id, failing.image_id


def state(night: Night, image_id: int) -> str:
    with night.ledger.reading() as session:
        return session.get_one(Image, image_id).state


def test_page_lists_rejected_and_quarantined_images_with_reasons(
    client: FlaskClient, unscored: tuple[int, int]
) -> None:
    page = client.get("/rejected").text
    assert page.index("phantom-600.jpg") < page.index("empty.jpg")
    for text in (
        "The file is empty.",
        "The worker ran out of memory. Tried 3 times.",
        ">quarantined</span>",
        ">rejected</span>",
    ):
        assert text in page
    assert page.count('action="/rejected/') == 2


def test_empty_page_says_so(client: FlaskClient, night: Night) -> None:
    assert "No image is rejected or quarantined." in client.get("/rejected").text
    assert night.settings.data.exists()


def test_retry_makes_an_image_pending(reader: Reader, night: Night, unscored: tuple[int, int]) -> None:
    ada = reader("Ada")
    for image_id in unscored:
        assert f'action="/rejected/{image_id}/retry"' in ada.get("/rejected").text
        answer = ada.post(f"/rejected/{image_id}/retry", data={"reason": "more memory"})
        assert answer.location == "/rejected"
        assert state(night, image_id) == ImageState.PENDING
    # No broker runs in these tests.
    assert "The broker cannot be reached." in ada.get("/rejected").text
    with night.ledger.reading() as session:
        assert audit.verify(session).ok


@pytest.mark.parametrize("reason", ["", "  \n "])
def test_retry_needs_a_reason(reader: Reader, night: Night, unscored: tuple[int, int], reason: str) -> None:
    answer = reader("Ada").post(f"/rejected/{unscored[0]}/retry", data={"reason": reason})
    assert answer.status_code == 400
    assert "A retry needs a reason." in answer.text
    assert state(night, unscored[0]) == ImageState.REJECTED


def test_scored_image_cannot_be_retried(reader: Reader, night: Night) -> None:
    answer = reader("Ada").post("/rejected/1/retry", data={"reason": "why not"})
    assert answer.status_code == 409
    assert "Only rejected and quarantined images can be retried" in answer.text
    assert state(night, 1) == ImageState.SCORED


def test_unknown_image_cannot_be_retried(reader: Reader) -> None:
    assert reader("Ada").post("/rejected/99/retry", data={"reason": "x"}).status_code == 404


def test_older_images_are_on_the_next_page(client: FlaskClient, night: Night, tmp_path: Path) -> None:
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
