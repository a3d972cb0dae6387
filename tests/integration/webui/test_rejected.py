"""The page Rejected: reasons, and retry with a reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from PIL import Image as Picture
from pydicom.uid import CTImageStorage

from tests.dicom_objects import as_file, grey_object, phantom_values
from tests.filling import assert_consistent
from tests.integration.webui.conftest import Reader
from tests.integration.webui.night import Night, phantoms
from worker.errors import LASTING, REJECTIONS
from worker.ledger import audit, leases
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
    assert re.findall(r'action="/rejected/(\d+)/retry"', page) == [str(unscored[1])]


def test_file_that_can_never_be_an_image_offers_no_retry(
    reader: Reader, night: Night, tmp_path: Path, gate_rejected: int
) -> None:
    """An upgrade may take it: the page names the command."""
    pdf = tmp_path / "letter.pdf"
    pdf.write_bytes(b"%PDF-1.4 a letter")
    (letter,) = night.accept([pdf])
    ada = reader("Ada")
    page = ada.get("/rejected").text
    assert re.findall(r'action="/rejected/(\d+)/retry"', page) == [str(gate_rejected)]
    assert page.count("<details") == 0, "one image is not retried with others"
    for address in ("/rejected", f"/review/{letter.image_id}"):
        assert f"nightread retry {letter.image_id} --why" in ada.get(address).text
    assert f"nightread retry {gate_rejected}" not in ada.get(f"/review/{gate_rejected}").text


def test_quarantined_image_is_always_worth_a_retry() -> None:
    assert leases.retry_may_help(Image(state="quarantined", reason_code="damaged"))
    assert not leases.retry_may_help(Image(state="rejected", reason_code="damaged"))
    assert set(REJECTIONS) >= LASTING


def test_empty_page_says_so(client: FlaskClient, night: Night) -> None:
    assert "No image is rejected or quarantined." in client.get("/rejected").text
    assert night.settings.data.exists()


def test_retry_makes_an_image_pending(reader: Reader, night: Night, unscored: tuple[int, int]) -> None:
    ada = reader("Ada")
    for image_id in unscored:
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


def test_list_is_filtered_by_reason(client: FlaskClient, unscored: tuple[int, int]) -> None:
    page = client.get("/rejected").text
    assert '<option value="empty">empty (1)</option>' in page
    assert '<option value="scoring_failed">scoring failed (1)</option>' in page
    filtered = client.get("/rejected?reason=empty").text
    assert "empty.jpg" in filtered
    assert "phantom-600.jpg" not in filtered
    assert '<option value="empty" selected>' in filtered
    assert "No image has this reason." in client.get("/rejected?reason=blank").text
    assert client.get("/rejected?reason=Doe+Jane").status_code == 400


def test_all_images_of_a_filtered_page_are_retried(reader: Reader, night: Night, tmp_path: Path) -> None:
    files = [tmp_path / f"small-{number}.png" for number in range(3)]
    for number, path in enumerate(files):
        Picture.new("L", (10, 10), number).save(path)
    empty = tmp_path / "empty.jpg"
    empty.write_bytes(b"")
    night.accept([*files, empty])
    ada = reader("Ada")
    page = ada.get("/rejected?reason=too_small").text
    assert "Retry all 3 images of this page</summary>" in page
    assert "Retry all 3 images of this page that a retry may help" in ada.get("/rejected").text
    shown = page.split('name="images" value="')[1].split('"')[0]
    assert shown == "9-11"
    # Another person was faster with one of them.
    assert reader("Bob").post("/rejected/10/retry", data={"reason": "mine"}).status_code == 303
    form = {"images": shown, "code": "too_small", "reason": "a lower limit"}
    answer = ada.post("/rejected/retry", data=form)
    assert answer.location == "/rejected?reason=too_small"
    assert [state(night, image_id) for image_id in (9, 10, 11, 12)] == [*["pending"] * 3, "rejected"]
    assert "2 of 3 images are pending again." in ada.get("/rejected").text
    with night.ledger.reading() as session:
        assert audit.verify(session).ok
        assert session.get_one(Image, 10).retry_reason == "mine"


@pytest.mark.parametrize(
    "form", [{"images": "9", "reason": " "}, {"images": "1-99", "reason": "x"}, {"images": "a"}]
)
def test_retry_of_all_needs_a_reason_and_a_page(
    reader: Reader, night: Night, unscored: tuple[int, int], form: dict[str, str]
) -> None:
    assert reader("Ada").post("/rejected/retry", data=form).status_code == 400
    assert state(night, unscored[0]) == ImageState.REJECTED


@pytest.fixture
def gate_rejected(night: Night, phantom_folder: Path) -> int:
    """The id of an image that the gate rejected."""
    accepted = night.accept(phantoms(phantom_folder, [601]))
    night.score({}, rejected=[accepted[0].image_id])
    return accepted[0].image_id


def test_rejected_image_is_read_without_a_score_in_the_full_viewer(
    reader: Reader, night: Night, gate_rejected: int
) -> None:
    ada = reader("Ada")
    assert f'<a href="/review/{gate_rejected}">Read without a score</a>' in ada.get("/rejected").text
    page = ada.get(f"/review/{gate_rejected}").text
    for part in ('id="decide"', 'id="picture"', 'id="zoom-in"', 'name="score_shown" value="0"', "no score"):
        assert part in page
    assert 'id="show-map"' not in page
    assert ada.get(f"/images/{gate_rejected}/picture").status_code == 200
    assert "until" in ada.post(f"/review/{gate_rejected}/claim").get_json()
    sent = {"finding": "cannot_be_judged/not_a_chest", "prediction": "0", "score_shown": "0"}
    answer = ada.post(f"/review/{gate_rejected}/decide", data=sent)
    assert answer.location == "/rejected"
    page = ada.get("/rejected").text
    assert "Read by Ada: cannot be judged: not a chest." in page
    assert "Recorded: cannot be judged: not a chest, phantom-601.jpg." in page
    report = ada.get("/api/v1/runs/1/report?format=json").get_json()
    (row,) = report["turned_away_images"]
    assert (row["finding_reason"], row["score_shown"]) == ("not_a_chest", False)
    assert ada.post("/review/undo").location == f"/review/{gate_rejected}"
    assert state(night, gate_rejected) == ImageState.REJECTED


def test_object_that_its_tags_refuse_is_read_without_a_score(
    reader: Reader, night: Night, tmp_path: Path
) -> None:
    lateral, ct = tmp_path / "lateral.dcm", tmp_path / "ct.dcm"
    lateral.write_bytes(as_file(grey_object(phantom_values(width=320), ViewPosition="LL")))
    ct.write_bytes(as_file(grey_object(phantom_values(width=320), SOPClassUID=CTImageStorage)))
    readable, closed = (accepted.image_id for accepted in night.accept([lateral, ct]))
    ada = reader("Ada")
    assert re.findall(r'href="/review/(\d+)">Read without', ada.get("/rejected").text) == [str(readable)]
    page = ada.get(f"/review/{readable}").text
    for part in ('id="decide"', 'id="picture"', "frontal views only"):
        assert part in page
    assert ada.get(f"/images/{readable}/picture").status_code == 200
    assert ada.get(f"/images/{readable}/values.png").status_code == 200
    assert ada.post(f"/images/{readable}/original", data={"reason": "why not"}).status_code in {403, 404}
    sent = {"finding": "no_signs", "prediction": "0", "score_shown": "0"}
    assert ada.post(f"/review/{readable}/decide", data=sent).location == "/rejected"
    assert "Read by Ada: no signs" in ada.get("/rejected").text
    assert state(night, readable) == ImageState.REJECTED
    refused = ada.post(f"/review/{closed}/decide", data=sent, follow_redirects=True)
    assert "no picture that a person could read" in refused.text
    assert_consistent(night.ledger)


def test_reading_without_a_score_is_refused_once_there_is_one(
    reader: Reader, night: Night, gate_rejected: int
) -> None:
    ada = reader("Ada")
    page = ada.get(f"/review/{gate_rejected}").text
    assert 'name="prediction" value="0"' in page
    ada.post(f"/rejected/{gate_rejected}/retry", data={"reason": "another gate"})
    night.score({gate_rejected: 0.9})
    late = {"finding": "no_signs", "prediction": "0"}
    answer = ada.post(f"/review/{gate_rejected}/decide", data=late, follow_redirects=True)
    assert "Look at its new score first." in answer.text


def test_file_without_a_picture_offers_no_reading(reader: Reader, unscored: tuple[int, int]) -> None:
    ada = reader("Ada")
    assert f'href="/review/{unscored[0]}">Read without' not in ada.get("/rejected").text
    assert 'id="decide"' not in ada.get(f"/review/{unscored[0]}").text
    refused = ada.post(f"/review/{unscored[0]}/decide", data={"finding": "no_signs"}, follow_redirects=True)
    assert "no picture that a person could read" in refused.text
