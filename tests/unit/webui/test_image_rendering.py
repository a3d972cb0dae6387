"""webui.image_rendering: the colour scale, activation maps, thumbnails and previews."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from webui.image_rendering import NoPreview, colour, map_png, scale_png, small_jpeg, upright_size
from worker.phantom import write_phantom


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def lightness(value: int) -> float:
    red, green, blue, _ = colour(value)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_no_response_is_transparent_and_none_is_opaque() -> None:
    assert colour(0)[3] == 0
    assert 0 < colour(255)[3] < 200


def test_stronger_response_is_lighter_and_more_opaque() -> None:
    assert all(lightness(v) < lightness(v + 1) + 1e-9 for v in range(255))
    assert all(colour(v)[3] <= colour(v + 1)[3] for v in range(255))


def test_response_outside_a_byte_raises() -> None:
    with pytest.raises(ValueError, match=r"0\.\.255"):
        colour(256)


def test_map_has_the_aspect_ratio_of_the_image() -> None:
    activation = bytearray(49)
    activation[0] = 255
    drawn = opened(map_png(bytes(activation), 7, 7, (1200, 800)))
    assert drawn.mode == "RGBA"
    assert drawn.width / drawn.height == pytest.approx(1.5, rel=0.01)
    alpha = drawn.getchannel("A")
    assert alpha.getpixel((8, 8)) == colour(255)[3]
    assert alpha.getpixel((drawn.width - 8, drawn.height - 8)) == 0


def test_map_is_read_row_by_row() -> None:
    drawn = opened(map_png(bytes([0, 0, 0, 0, 255, 0, 0, 0, 0, 0]), 2, 5, (500, 200)))
    alpha = drawn.getchannel("A")
    assert alpha.getpixel((drawn.width - 4, 4)) == colour(255)[3]
    assert alpha.getpixel((4, drawn.height // 2)) == 0
    with pytest.raises(ValueError, match=r"not enough"):
        map_png(bytes(9), 2, 5, (500, 200))


def test_scale_runs_from_transparent_to_the_strongest_colour() -> None:
    scale = opened(scale_png())
    assert scale.size == (256, 1)
    assert scale.getpixel((0, 0)) == colour(0)
    assert scale.getpixel((255, 0)) == colour(255)


def test_thumbnail_keeps_aspect_ratio_and_maximum_side(tmp_path: Path) -> None:
    path = write_phantom(tmp_path / "p.jpg", 1, width=600, height=300)
    small = opened(small_jpeg(path, 160, 10**6))
    assert (small.format, small.size, small.mode) == ("JPEG", (160, 80), "L")


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "rotated.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (600, 300), 90).save(path, exif=exif)
    assert upright_size(path) == (300, 600)
    assert opened(small_jpeg(path, 160, 10**6)).size == (80, 160)


def undecodable_files(folder: Path) -> dict[str, Path]:
    whole = write_phantom(folder / "whole.jpg", 1, width=600).read_bytes()
    Image.new("I;16", (100, 100)).save(folder / "sixteen.png")
    Image.new("RGB", (100, 100)).save(folder / "other.gif")
    contents = {"empty": b"", "text": b"<script>alert(1)</script>", "broken": whole[:4000]}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return {path.name: path for path in folder.iterdir() if path.name != "whole.jpg"}


def test_undecodable_file_has_no_preview(tmp_path: Path) -> None:
    files = undecodable_files(tmp_path)
    assert len(files) == 5
    for path in files.values():
        with pytest.raises(NoPreview):
            small_jpeg(path, 160, 10**6)


def test_image_with_too_many_pixels_has_no_preview(tmp_path: Path) -> None:
    path = write_phantom(tmp_path / "p.png", 1, width=200)
    with pytest.raises(NoPreview):
        small_jpeg(path, 160, 200 * 100)


def test_missing_file_raises_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        small_jpeg(tmp_path / "gone.jpg", 160, 10**6)
