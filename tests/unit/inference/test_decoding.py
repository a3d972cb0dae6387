"""worker.inference.decoding: damage is found, and the grey values are those of Pillow."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.files import encoded, jpeg
from worker.errors import RejectedImage
from worker.inference.decoding import decode_to_grey
from worker.inference.preprocess import WHOLE_PICTURE, decode_film, to_model_input
from worker.phantom import draw_phantom

SIDE = 128
BLOCK = 4096
OPTIONS: dict[str, dict[str, object]] = {
    "baseline": {"quality": 92},
    "progressive": {"quality": 92, "progressive": True},
    "restarts": {"quality": 92, "restart_marker_rows": 2},
}


def decoded(data: bytes, least: int) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(decode_to_grey(image, data, least))


def by_pillow(data: bytes, least: int) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        image.draft("L", (least, least))
        return np.asarray(image.convert("L"))


def decode_grey(data: bytes, side: int) -> NDArray[np.uint8]:
    return decode_film(data, side, WHOLE_PICTURE).grey


def code_of(data: bytes) -> str:
    with pytest.raises(RejectedImage) as caught:
        decode_grey(data, SIDE)
    return caught.value.code


@cache
def large_film(seed: int, kind: str) -> bytes:
    return encoded(draw_phantom(seed, width=1200), "JPEG", **OPTIONS[kind])


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize("at", [0.15, 0.35, 0.6])
@pytest.mark.parametrize("how", ["zeros", "left out", "of another file"])
def test_lost_block_is_found(kind: str, at: float, how: str) -> None:
    whole, other = large_film(1, kind), large_film(2, kind)
    start = int(at * len(whole))
    block = {"zeros": bytes(BLOCK), "left out": b"", "of another file": other[start : start + BLOCK]}[how]
    assert len(whole) > 10 * BLOCK
    damaged = whole[:start] + block + whole[start + BLOCK :]
    if kind == "progressive" and at == 0.6:
        # The last scans give the lowest bits only, and libjpeg passes over most damage in them.
        assert changes_the_lowest_bit_at_most(damaged, whole)
    else:
        assert code_of(damaged) in {"damaged", "truncated", "undecodable"}


def changes_the_lowest_bit_at_most(damaged: bytes, whole: bytes) -> bool:
    try:
        difference = decode_grey(damaged, SIDE).astype(int) - decode_grey(whole, SIDE)
    except RejectedImage:
        return True
    return float(np.abs(difference).mean()) < 0.5


@pytest.mark.parametrize("at", [0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("level", [0, 6])
def test_flipped_bit_in_a_png_is_found(level: int, at: float) -> None:
    """Without compression, the bit is in a pixel, and nothing else shows it."""
    whole = encoded(draw_phantom(1, width=300), "PNG", compress_level=level)
    damaged = bytearray(whole)
    damaged[int(at * len(whole))] ^= 0x10
    assert code_of(bytes(damaged)) in {"damaged", "truncated", "undecodable"}


@pytest.mark.slow
def test_no_file_as_published_counts_as_damaged(xrays: list[Path]) -> None:
    for path in xrays:
        assert decode_grey(path.read_bytes(), SIDE).shape == (SIDE, SIDE)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("size", [(1201, 999), (256, 256), (511, 300), (2051, 260), (100, 90)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_grey_values_are_those_of_pillow(
    options: dict[str, object], size: tuple[int, int], mode: str
) -> None:
    width, height = size
    data = encoded(draw_phantom(3, width=width, height=height).convert(mode), "JPEG", **options)
    for least in (64, 256):
        assert np.array_equal(decoded(data, least), by_pillow(data, least))


def test_bytes_after_the_image_are_no_damage() -> None:
    assert np.array_equal(decode_grey(jpeg() + b"written by some modality", SIDE), decode_grey(jpeg(), SIDE))


def test_progressive_file_without_its_last_scan_is_damaged() -> None:
    data = encoded(draw_phantom(3, width=300), "JPEG", **OPTIONS["progressive"])
    last_scan = data.rindex(b"\xff\xda")
    # The table of the last scan stands before it.
    assert code_of(data[: data.rindex(b"\xff\xc4", 0, last_scan)] + b"\xff\xd9") == "damaged"


def test_main_picture_of_a_jpeg_with_a_preview_is_taken() -> None:
    film = draw_phantom(4, width=400)
    preview = film.resize((50, 40))
    data = encoded(film, "MPO", save_all=True, append_images=[preview], quality=90)
    assert np.array_equal(decode_grey(data, SIDE), decode_grey(encoded(film, "JPEG", quality=90), SIDE))


@cache
def opaque_pngs() -> dict[str, bytes]:
    film = draw_phantom(5, width=300)
    unused = next(value for value in range(256) if value not in set(np.asarray(film).ravel().tolist()))
    return {
        "RGBA": encoded(film.convert("RGBA"), "PNG"),
        "LA": encoded(film.convert("LA"), "PNG"),
        "palette": encoded(film.convert("P"), "PNG"),
        "palette with an unused transparent entry": encoded(film.convert("P"), "PNG", transparency=unused),
        "unused transparent grey": encoded(film, "PNG", transparency=unused),
    }


@pytest.mark.parametrize("name", opaque_pngs())
def test_opaque_image_scores_as_without_alpha(name: str) -> None:
    plain = decode_grey(encoded(draw_phantom(5, width=300), "PNG"), SIDE)
    assert np.array_equal(decode_grey(opaque_pngs()[name], SIDE), plain)


@cache
def pngs_with_a_hole() -> dict[str, bytes]:
    film = draw_phantom(5, width=300)
    alpha = Image.new("L", film.size, 255)
    alpha.putpixel((7, 9), 254)
    return {
        "RGBA": encoded(Image.merge("RGBA", (film, film, film, alpha)), "PNG"),
        "LA": encoded(Image.merge("LA", (film, alpha)), "PNG"),
        "palette": encoded(film.convert("P"), "PNG", transparency=int(np.asarray(film.convert("P"))[0, 0])),
        "grey": encoded(film, "PNG", transparency=int(np.asarray(film)[0, 0])),
        "16-bit grey": sixteen_bits(film, transparency=int(np.asarray(film)[0, 0]) * 16),
    }


def sixteen_bits(film: Image.Image, label: int = 0, **options: object) -> bytes:
    """Return a film of 12 bits in a 16-bit PNG; a saturated label takes so many rows and columns of a corner."""
    values = np.asarray(film, dtype=np.uint16) * 16
    values[:label, : 2 * label] = 0xFFFF
    return encoded(Image.fromarray(values), "PNG", **options)


@pytest.mark.parametrize("name", pngs_with_a_hole())
def test_image_with_a_transparent_pixel_is_rejected(name: str) -> None:
    assert code_of(pngs_with_a_hole()[name]) == "transparent"


@pytest.mark.parametrize("label", [0, 20, 60])
def test_sixteen_bits_give_nearly_the_same_input_as_eight(label: int) -> None:
    film = draw_phantom(6, width=400)
    eight = to_model_input(encoded(film, "PNG"), SIDE).astype(int)
    sixteen = to_model_input(sixteen_bits(film, label), SIDE).astype(int)
    outside = np.ones(eight.shape, dtype=bool)
    outside[: label * SIDE // film.height + 3, : 2 * label * SIDE // film.width + 3] = False
    assert np.abs(eight - sixteen)[outside].mean() < 6
