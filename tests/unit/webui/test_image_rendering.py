"""The colour scale, the map in the shape of its picture, and previews of what can be shown."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from webui import image_rendering
from webui.image_rendering import NoPreview
from worker.phantom import write_phantom


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def lightness(value: int) -> float:
    red, green, blue, _ = image_rendering.colour(value)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_no_response_is_transparent_and_a_strong_one_still_shows_the_picture() -> None:
    assert image_rendering.colour(0)[3] == 0
    assert 0 < image_rendering.colour(255)[3] < 200


def test_a_stronger_response_is_always_lighter_and_more_opaque() -> None:
    assert all(lightness(v) < lightness(v + 1) + 1e-9 for v in range(255))
    assert all(image_rendering.colour(v)[3] <= image_rendering.colour(v + 1)[3] for v in range(255))


def test_a_response_is_within_a_byte() -> None:
    with pytest.raises(ValueError, match=r"0\.\.255"):
        image_rendering.colour(256)


def test_the_map_has_the_shape_of_the_picture_and_responds_where_the_network_did() -> None:
    activation = bytearray(49)
    activation[0] = 255
    drawn = opened(image_rendering.map_png(bytes(activation), 7, 7, (1200, 800)))
    assert drawn.mode == "RGBA"
    assert drawn.width / drawn.height == pytest.approx(1.5, rel=0.01)
    alpha = drawn.getchannel("A")
    assert alpha.getpixel((8, 8)) == image_rendering.colour(255)[3]
    assert alpha.getpixel((drawn.width - 8, drawn.height - 8)) == 0


def test_the_map_is_read_row_by_row() -> None:
    drawn = opened(image_rendering.map_png(bytes([0, 0, 0, 0, 255, 0, 0, 0, 0, 0]), 2, 5, (500, 200)))
    alpha = drawn.getchannel("A")
    assert alpha.getpixel((drawn.width - 4, 4)) == image_rendering.colour(255)[3]
    assert alpha.getpixel((4, drawn.height // 2)) == 0
    with pytest.raises(ValueError, match=r"not enough"):
        image_rendering.map_png(bytes(9), 2, 5, (500, 200))


def test_the_scale_runs_from_nothing_to_the_strongest_colour() -> None:
    scale = opened(image_rendering.scale_png())
    assert scale.size == (256, 1)
    assert scale.getpixel((0, 0)) == image_rendering.colour(0)
    assert scale.getpixel((255, 0)) == image_rendering.colour(255)


def test_a_small_picture_keeps_its_shape_and_is_no_larger_than_asked(tmp_path: Path) -> None:
    path = write_phantom(tmp_path / "p.jpg", 1, width=600, height=300)
    small = opened(image_rendering.small_jpeg(path, 160, 10**6))
    assert (small.format, small.size, small.mode) == ("JPEG", (160, 80), "L")


def test_a_picture_on_its_side_is_turned_upright(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (600, 300), 90).save(path, exif=exif)
    assert image_rendering.upright_size(path) == (300, 600)
    assert opened(image_rendering.small_jpeg(path, 160, 10**6)).size == (80, 160)


def strange_files(folder: Path) -> dict[str, Path]:
    whole = write_phantom(folder / "whole.jpg", 1, width=600).read_bytes()
    Image.new("I;16", (100, 100)).save(folder / "sixteen.png")
    Image.new("RGB", (100, 100)).save(folder / "other.gif")
    contents = {"empty": b"", "text": b"<script>alert(1)</script>", "broken": whole[:4000]}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return {path.name: path for path in folder.iterdir() if path.name != "whole.jpg"}


def test_what_cannot_be_shown_has_no_preview(tmp_path: Path) -> None:
    strange = strange_files(tmp_path)
    assert len(strange) == 5
    for path in strange.values():
        with pytest.raises(NoPreview):
            image_rendering.small_jpeg(path, 160, 10**6)


def test_a_picture_too_large_to_decode_has_no_preview(tmp_path: Path) -> None:
    path = write_phantom(tmp_path / "p.png", 1, width=200)
    with pytest.raises(NoPreview):
        image_rendering.small_jpeg(path, 160, 200 * 100)


def test_a_file_that_is_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        image_rendering.small_jpeg(tmp_path / "gone.jpg", 160, 10**6)
