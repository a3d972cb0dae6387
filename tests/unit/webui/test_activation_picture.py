"""webui.activation_picture: the colour scale and activation maps."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from webui.activation_picture import colour, map_png, scale_png


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
