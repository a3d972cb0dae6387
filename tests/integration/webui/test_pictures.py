"""Pictures: renditions, originals and activation maps, and how browsers cache them."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from PIL import Image
from sqlalchemy import select

from tests.integration.webui.night import Night, phantoms
from worker.ledger.tables import Prediction
from worker.store import open_store

# Each rendition has a process of its own.
pytestmark = pytest.mark.slow


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
    answer = client.get(client.get("/api/v1/images/1").get_json()["original"])
    assert answer.data == (phantom_folder / "phantom-000.jpg").read_bytes()
    assert answer.headers["Content-Disposition"] == "attachment; filename=image-1.jpg"
    assert answer.content_type == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert client.get("/images/1/original", headers={"Range": "bytes=0-9"}).status_code == 200


def test_original_whose_bytes_have_changed_is_not_sent(client: FlaskClient, night: Night) -> None:
    path = open_store(night.settings).path(sha256(client, 1))
    path.chmod(0o600)
    path.write_bytes(b"<script>")
    answer = client.get("/images/1/original")
    assert answer.status_code == 409
    assert b"have changed" in answer.data


@pytest.mark.parametrize("kind", ["picture", "thumb.jpg", "preview.jpg"])
def test_browser_may_cache_only_under_the_hash(client: FlaskClient, kind: str) -> None:
    version = sha256(client, 1)[:16]
    kept = client.get(f"/images/1/{kind}?v={version}")
    assert "immutable" in kept.headers["Cache-Control"]
    assert "immutable" not in client.get(f"/images/1/{kind}").headers["Cache-Control"]
    assert client.get(f"/images/2/{kind}?v={version}").status_code == 404
    again = client.get(f"/images/1/{kind}?v={version}", headers={"If-None-Match": kept.headers["ETag"]})
    assert again.status_code == 304


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
    assert client.get("/images/1/original").status_code == 404
    assert client.get("/images/1/thumb.jpg").mimetype == "image/svg+xml"
    assert client.get("/images/1/map.png").mimetype == "image/png"
    assert client.get("/review/1").status_code == 200


def test_rejected_file_is_never_sent_as_stored(client: FlaskClient, night: Night, tmp_path: Path) -> None:
    hostile = tmp_path / "page.html"
    hostile.write_bytes(b"<script>alert(document.domain)</script>")
    cmyk = tmp_path / "ink.jpg"
    Image.new("CMYK", (300, 200)).save(cmyk)
    page, printed = (item.image_id for item in night.accept([hostile, cmyk]))
    assert client.get(f"/images/{page}/original").status_code == 404
    assert client.get(f"/images/{printed}/original").status_code == 404
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
    assert client.get(f"/images/{image_id}/original").status_code == 200
    night.score({}, rejected=[image_id])
    assert client.get(f"/images/{image_id}/original").status_code == 404
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


def test_image_that_was_scored_whole_has_no_outline(client: FlaskClient) -> None:
    page = client.get("/review/1").get_data(as_text=True)
    assert "outline.svg" not in page
    assert client.get("/images/1/outline.svg").status_code == 404
    assert client.get("/api/v1/images/1").get_json()["predictions"][0]["crop"] is None
