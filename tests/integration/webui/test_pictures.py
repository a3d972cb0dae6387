"""Pictures: renditions, originals and activation maps, which no browser keeps."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from PIL import Image
from sqlalchemy import select

from tests.files import sixteen_bit_png
from tests.integration.webui.night import Night, phantoms
from worker.ledger.tables import Corners, Prediction
from worker.store import open_store

# Each rendition has a process of its own.
pytestmark = pytest.mark.slow

REASON = {"reason": "second opinion"}


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def sha256(client: FlaskClient, image_id: int) -> str:
    value: str = client.get(f"/api/v1/images/{image_id}").get_json()["sha256"]
    return value


def test_picture_shows_the_grey_values_of_the_stored_file(client: FlaskClient, phantom_folder: Path) -> None:
    answer = client.get("/images/1/picture")
    stored = opened((phantom_folder / "phantom-000.jpg").read_bytes())
    assert answer.content_type == "image/png"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert opened(answer.data).tobytes() == stored.tobytes()
    assert b"nightread phantom" not in answer.data


def test_original_is_sent_only_as_a_download(client: FlaskClient, phantom_folder: Path) -> None:
    answer = client.post(client.get("/api/v1/images/1").get_json()["original"], data=REASON)
    assert answer.data == (phantom_folder / "phantom-000.jpg").read_bytes()
    assert answer.headers["Content-Disposition"] == "attachment; filename=image-1.jpg"
    assert answer.content_type == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert client.post("/images/1/original", data=REASON, headers={"Range": "bytes=0-9"}).status_code == 200


def test_original_whose_bytes_have_changed_is_not_sent(client: FlaskClient, night: Night) -> None:
    path = open_store(night.settings).path(sha256(client, 1))
    path.chmod(0o600)
    path.write_bytes(b"<script>")
    answer = client.post("/images/1/original", data=REASON)
    assert answer.status_code == 409
    assert b"have changed" in answer.data


@pytest.mark.parametrize("kind", ["picture", "thumb.jpg", "preview.jpg"])
def test_address_with_the_hash_of_another_image_shows_nothing(client: FlaskClient, kind: str) -> None:
    version = sha256(client, 1)[:16]
    assert client.get(f"/images/1/{kind}?v={version}").status_code == 200
    assert client.get(f"/images/2/{kind}?v={version}").status_code == 404


def test_thumbnail_is_small(client: FlaskClient) -> None:
    answer = client.get("/images/1/thumb.jpg")
    assert max(opened(answer.data).size) == 160
    assert len(answer.data) < 20_000


def test_map_has_the_aspect_ratio_of_its_image(client: FlaskClient) -> None:
    picture, activation_map = (
        opened(client.get("/images/1/picture").data),
        opened(client.get("/images/1/map.png").data),
    )
    assert activation_map.width / activation_map.height == pytest.approx(
        picture.width / picture.height, rel=0.01
    )
    assert activation_map.mode == "RGBA"
    opacities = activation_map.getchannel("A").tobytes()
    assert min(opacities) < 10
    assert max(opacities) > 100


def test_file_missing_from_the_store_is_not_found(client: FlaskClient, night: Night) -> None:
    open_store(night.settings).path(sha256(client, 1)).unlink()
    assert client.get("/images/1/picture").status_code == 503
    assert client.post("/images/1/original", data=REASON).status_code == 404
    assert client.get("/images/1/thumb.jpg").mimetype == "image/svg+xml"
    assert client.get("/images/1/map.png").mimetype == "image/png"
    assert client.get("/review/1").status_code == 200


def test_rejected_file_is_never_sent_as_stored(client: FlaskClient, night: Night, tmp_path: Path) -> None:
    hostile = tmp_path / "page.html"
    hostile.write_bytes(b"<script>alert(document.domain)</script>")
    cmyk = tmp_path / "ink.jpg"
    Image.new("CMYK", (300, 200)).save(cmyk)
    page, printed = (item.image_id for item in night.accept([hostile, cmyk]))
    assert client.post(f"/images/{page}/original", data=REASON).status_code == 404
    assert client.post(f"/images/{printed}/original", data=REASON).status_code == 404
    refused = client.get(f"/images/{page}/picture")
    assert (refused.status_code, refused.mimetype) == (404, "text/plain")
    assert "cannot be decoded" in refused.text
    assert b"script" not in client.get(f"/images/{page}/preview.jpg").data
    preview = client.get(f"/images/{printed}/preview.jpg")
    assert preview.content_type == "image/jpeg"
    assert opened(preview.data).mode == "L"


def test_unscored_image_has_no_map(client: FlaskClient, night: Night, tmp_path: Path) -> None:
    path = tmp_path / "empty.jpg"
    path.write_bytes(b"")
    item = night.accept([path])[0]
    assert client.get(f"/images/{item.image_id}/map.png").status_code == 404
    assert client.get(f"/review/{item.image_id}").status_code == 200


def test_file_rejected_by_the_gate_is_never_sent_as_stored(
    client: FlaskClient, night: Night, phantom_folder: Path
) -> None:
    image_id = night.accept(phantoms(phantom_folder, [810]))[0].image_id
    assert client.post(f"/images/{image_id}/original", data=REASON).status_code == 200
    night.score({}, rejected=[image_id])
    assert client.post(f"/images/{image_id}/original", data=REASON).status_code == 404
    assert client.get(f"/images/{image_id}/preview.jpg").status_code == 200
    assert "The image is blank" in client.get(f"/review/{image_id}").text


def test_map_and_outline_fit_the_part_that_was_scored(client: FlaskClient, night: Night) -> None:
    with night.ledger.transaction() as session:
        prediction = session.scalars(select(Prediction).where(Prediction.image_id == 1)).one()
        prediction.crop_left, prediction.crop_top = 160, 40
        prediction.crop_right, prediction.crop_bottom = 280, 200
    width, height = opened(client.get("/images/1/picture").data).size
    page = client.get("/review/1").get_data(as_text=True)
    drawn = client.get("/images/1/outline.svg").get_data(as_text=True)
    assert f'viewBox="0 0 {width} {height}"' in drawn
    assert '<rect x="160" y="40" width="120" height="160"' in drawn
    assert 'src="/images/1/outline.svg' in page
    assert "Scored inside the outline: the film lies on a margin." in page
    opacity = opened(client.get("/images/1/map.png").data).getchannel("A")
    left, top, right, bottom = opacity.getbbox() or (0, 0, 0, 0)
    scale = opacity.width / width
    assert 160 * scale - 1 <= left < right <= 280 * scale + 1
    assert 40 * scale - 1 <= top < bottom <= 200 * scale + 1
    crop = client.get("/api/v1/images/1").get_json()["predictions"][0]["crop"]
    assert crop == {"left": 160, "top": 40, "right": 280, "bottom": 200}


def test_map_covers_the_film_and_the_frame_around_the_lungs_comes_with_it(
    client: FlaskClient, night: Night
) -> None:
    with night.ledger.transaction() as session:
        prediction = session.scalars(select(Prediction).where(Prediction.image_id == 1)).one()
        prediction.lungs_left, prediction.lungs_top = 170, 50
        prediction.lungs_right, prediction.lungs_bottom = 270, 190
        prediction.activation = b"\xff" * (prediction.map_height * prediction.map_width)
    page = client.get("/review/1").get_data(as_text=True)
    assert '<rect x="170" y="50" width="100" height="140"' in client.get("/images/1/outline.svg").text
    assert 'class="outline of-lungs"' in page
    assert "the film lies on a margin" not in page
    assert "<dt>Around the lungs</dt><dd>left, top, right, bottom: 170, 50, 270, 190 pixels" in page
    opacity = opened(client.get("/images/1/map.png").data).getchannel("A")
    assert opacity.getbbox() == (0, 0, *opacity.size)
    document = client.get("/api/v1/images/1").get_json()["predictions"][0]
    assert document["lungs"] == {"left": 170, "top": 50, "right": 270, "bottom": 190}
    assert document["crop"] is None


@pytest.mark.parametrize(
    ("crop", "lungs", "is_cut_off"),
    [
        (None, (0, 0, 300, 250), True),
        (None, (20, 0, 320, 250), True),
        (None, (0, 20, 300, 250), False),
        (None, (20, 0, 300, 266), False),
        ((20, 20, 300, 250), (20, 40, 280, 250), True),
        ((20, 20, 300, 250), (0, 0, 280, 240), False),
        (None, None, False),
    ],
    ids=[
        "left and top",
        "right and top",
        "left only",
        "top and bottom",
        "a film on a page",
        "beyond it",
        "no lungs",
    ],
)
def test_film_that_ends_where_the_lungs_do_has_a_note(
    client: FlaskClient, night: Night, crop: Corners | None, lungs: Corners | None, is_cut_off: bool
) -> None:
    with night.ledger.transaction() as session:
        prediction = session.scalars(select(Prediction).where(Prediction.image_id == 1)).one()
        assert (prediction.image.width, prediction.image.height) == (320, 266)
        for name, part in (("crop", crop), ("lungs", lungs)):
            for edge, value in zip(("left", "top", "right", "bottom"), part or [None] * 4, strict=True):
                setattr(prediction, f"{name}_{edge}", value)
    assert ('id="cut-off-note"' in client.get("/review/1").text) == is_cut_off
    (document,) = client.get("/api/v1/images/1").get_json()["predictions"]
    assert document["lungs_cut_off"] is is_cut_off


def zones(page: str) -> list[float]:
    """Return start and width of each zone of the scale, in per cent: clear, uncertain, flagged."""
    scale = page.split('class="scale"')[1].split('class="marker"', maxsplit=1)[0]
    found = re.findall(r'class="zone \w+" x="([\d.]+)%?" y="14" width="([\d.]+)%"', scale)
    return [float(number) for zone in found for number in zone]


@pytest.mark.parametrize(
    ("band_low", "crop", "limit", "words"),
    [
        pytest.param(0.4, None, 0.4, "clear &lt; 0.40", id="whole picture"),
        pytest.param(0.4, 160, 0.05, "clear &lt; 0.05", id="film that was cut out"),
        pytest.param(0.3, 160, 0.0, "clear never", id="film that is never clear"),
    ],
)
def test_scale_shows_from_which_score_an_image_is_clear(
    client: FlaskClient, night: Night, band_low: float, crop: int | None, limit: float, words: str
) -> None:
    with night.ledger.transaction() as session:
        prediction = session.scalars(select(Prediction).where(Prediction.image_id == 6)).one()
        prediction.crop_left = prediction.crop_top = crop and 0
        prediction.crop_right = prediction.crop_bottom = crop
        prediction.operating_point.band_low = band_low
    page = client.get("/review/6").text
    assert zones(page) == pytest.approx([0, 100 * limit, 100 * limit, 65 - 100 * limit, 65, 35])
    assert words in " ".join(page.split('class="small dim zones"')[1].split("</span>")[0].split())
    assert ("Its score may be too low" in page) == (crop is not None)
    document = client.get("/api/v1/images/6").get_json()["predictions"][0]
    assert document["clear_below"] == pytest.approx(limit)


@pytest.mark.parametrize(
    ("score", "texts"), [(0.397, ("0.397", "0.400", "0.650")), (0.41, ("0.41", "0.40", "0.65"))]
)
def test_score_reads_on_its_side_of_the_limits_beside_it(
    client: FlaskClient, night: Night, score: float, texts: tuple[str, str, str]
) -> None:
    with night.ledger.transaction() as session:
        session.scalars(select(Prediction).where(Prediction.image_id == 6)).one().p_pneumonia = score
    page = " ".join(client.get("/review/6").text.split())
    assert f'<span class="big">{texts[0]}</span>' in page
    assert f'aria-label="Score {texts[0]}; clear below {texts[1]}, flagged from {texts[2]}"' in page
    assert f"band {texts[1]} to {texts[2]}" in page


def test_image_that_was_scored_whole_has_no_outline(client: FlaskClient) -> None:
    page = client.get("/review/1").get_data(as_text=True)
    assert "outline.svg" not in page
    assert client.get("/images/1/outline.svg").status_code == 404
    assert client.get("/api/v1/images/1").get_json()["predictions"][0]["crop"] is None


@pytest.mark.parametrize("kind", ["values.png", "grey.json"])
def test_image_of_eight_bits_has_no_values(client: FlaskClient, kind: str) -> None:
    answer = client.get(f"/images/1/{kind}")
    assert answer.status_code == 404
    assert b"8 bits" in answer.data


def test_values_and_grey_scale_of_sixteen_bits_are_sent(
    client: FlaskClient, night: Night, tmp_path: Path
) -> None:
    path = tmp_path / "deep.png"
    path.write_bytes(sixteen_bit_png())
    (accepted,) = night.accept([path])
    values = client.get(f"/images/{accepted.image_id}/values.png")
    assert (values.content_type, values.headers["Cache-Control"]) == ("image/png", "no-store")
    assert opened(values.data).mode == "RGB"
    scale = client.get(f"/images/{accepted.image_id}/grey.json").get_json()
    assert (scale["width"], scale["height"]) == opened(values.data).size
    low, high = scale["grey"]["voi_low"], scale["grey"]["voi_high"]
    assert scale["text"] == f"Range of its own values, {low} to {high}."


def test_values_that_cannot_be_shown_say_why(client: FlaskClient, night: Night, tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    path.write_bytes(sixteen_bit_png()[:-400])
    (accepted,) = night.accept([path])
    answer = client.get(f"/images/{accepted.image_id}/values.png")
    assert (answer.status_code, answer.mimetype) == (404, "text/plain")
    assert b"damaged" in answer.data
