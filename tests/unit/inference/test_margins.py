"""worker.inference.margins: films on pages and on wide plain margins are recognised, all others pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from tests.files import encoded
from worker.inference.margins import has_wide_margin
from worker.inference.preprocess import WHOLE_PICTURE, decode_film
from worker.phantom import draw_phantom

A4 = (620, 877)
# The lengths of a film: landscape and portrait.
SHAPES = [(500, 400), (400, 500)]


@pytest.fixture(scope="module", params=SHAPES, ids=["landscape", "portrait"])
def film(request: pytest.FixtureRequest) -> Image.Image:
    width, height = request.param
    return draw_phantom(5, width=width, opacity=True).resize((width, height))


def whole(data: bytes, side: int = 128) -> NDArray[np.uint8]:
    return decode_film(data, side, WHOLE_PICTURE).grey


def rejected(picture: Image.Image, side: int = 128, quality: int = 92) -> bool:
    return has_wide_margin(whole(encoded(picture, "JPEG", quality=quality), side))


def with_margins(
    film: Image.Image, percent: float, level: int, sides: str = "left top right bottom"
) -> Image.Image:
    """Add margins of so many per cent of the film's own width or height."""
    share = percent / 100
    border = [
        round(share * length) if side in sides else 0
        for side, length in zip(("left", "top", "right", "bottom"), 2 * film.size, strict=True)
    ]
    return ImageOps.expand(film, (border[0], border[1], border[2], border[3]), level)


def on_page(
    film: Image.Image, width: int, at: tuple[int, int] | None = None, level: int = 255
) -> Image.Image:
    small = film.resize((width, width * film.height // film.width))
    page = Image.new("L", A4, level)
    page.paste(small, at or ((A4[0] - width) // 2, 125))
    return page


def write(page: Image.Image, y: int) -> None:
    font = ImageFont.load_default(size=14)
    ImageDraw.Draw(page).text((35, y), "Hospital, Radiology, 12.03.2019, page 1 of 1", fill=10, font=font)


def noisy(picture: Image.Image, sigma: float) -> Image.Image:
    grain = np.random.default_rng(1).normal(0, sigma, (picture.height, picture.width))
    return Image.fromarray(np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("level", [255, 245, 200, 170])
@pytest.mark.parametrize("percent", [6, 8, 15, 30, 60])
def test_film_with_four_light_margins_is_rejected(film: Image.Image, level: int, percent: int) -> None:
    assert rejected(with_margins(film, percent, level))


@pytest.mark.parametrize("level", [255, 245])
@pytest.mark.parametrize("side", ["left", "top", "right", "bottom"])
@pytest.mark.parametrize("percent", [12, 20, 60])
def test_film_with_one_light_margin_is_rejected(
    film: Image.Image, level: int, side: str, percent: int
) -> None:
    assert rejected(with_margins(film, percent, level, side))


@pytest.mark.parametrize("level", [255, 245, 128, 0])
@pytest.mark.parametrize("percent", [0, 1, 2, 3])
def test_narrow_border_of_scan_passes(film: Image.Image, level: int, percent: int) -> None:
    assert not rejected(with_margins(film, percent, level))


@pytest.mark.parametrize("level", [128, 64, 0])
def test_dark_margins_pass_until_film_fills_less_than_half(film: Image.Image, level: int) -> None:
    """A margin p on four sides leaves 1 / (1 + 2 p)^2 of the picture: 0.59 for 15 %, 0.44 for 25 %."""
    assert not rejected(with_margins(film, 5, level))
    assert not rejected(with_margins(film, 15, level))
    assert not rejected(with_margins(film, 40, level, "left"))
    assert not rejected(with_margins(film, 40, level, "bottom"))
    assert rejected(with_margins(film, 25, level))
    assert rejected(with_margins(film, 60, level))


@pytest.mark.parametrize("level", [128, 64, 0])
@pytest.mark.parametrize("side", ["left", "top", "right", "bottom"])
def test_deep_dark_margin_on_one_side_is_rejected(film: Image.Image, level: int, side: str) -> None:
    assert rejected(with_margins(film, 60, level, side))


def test_film_padded_to_a_black_square_passes(film: Image.Image) -> None:
    assert not rejected(ImageOps.pad(film, (500, 500), color=0))


@pytest.mark.parametrize("seed", range(6))
def test_phantom_without_margin_passes(seed: int) -> None:
    assert not rejected(draw_phantom(seed, opacity=seed % 2 == 0))


@pytest.mark.parametrize("width", [150, 250, 350, 450, 550])
def test_film_on_page_with_text_and_ruler_is_rejected(film: Image.Image, width: int) -> None:
    page = on_page(film, width)
    write(page, 60)
    write(page, 840)
    draw = ImageDraw.Draw(page)
    for y in range(30, 850, 6):
        draw.line((6, y, 18, y), fill=0)
    assert rejected(page)


@pytest.mark.parametrize("at", [(0, 0), (200, 300), (20, 400)])
def test_film_anywhere_on_page_is_rejected(film: Image.Image, at: tuple[int, int]) -> None:
    assert rejected(on_page(film, 400, at))
    assert rejected(on_page(film, 400, at).rotate(90, expand=True))


def test_page_with_two_films_is_rejected(film: Image.Image) -> None:
    page = on_page(film, 280, (20, 200))
    page.paste(film.resize((280, 250)), (320, 200))
    assert rejected(page)


def shaded(film: Image.Image) -> Image.Image:
    """A page under light from one corner: 60 grey levels less at the other."""
    page = with_margins(film, 25, 0)
    slope = np.add.outer(np.linspace(0, 30, page.height), np.linspace(0, 30, page.width))
    sheet = Image.fromarray((240 - slope).astype(np.uint8))
    sheet.paste(film, (film.width // 4, film.height // 4))
    return sheet


@pytest.mark.parametrize(
    "change",
    [
        lambda film: noisy(with_margins(film, 15, 240), 6),
        lambda film: with_margins(film, 25, 235).filter(ImageFilter.GaussianBlur(4)),
        lambda film: with_margins(film, 25, 255).rotate(2, Image.Resampling.BICUBIC, fillcolor=255),
        lambda film: with_margins(film, 25, 255).rotate(5, Image.Resampling.BICUBIC, fillcolor=255),
        shaded,
        lambda film: with_margins(with_margins(film, 12, 250), 12, 0),
        lambda film: with_margins(with_margins(film, 12, 250, "top bottom"), 12, 0, "left right"),
        lambda film: with_margins(with_margins(film, 12, 250, "left right"), 12, 0, "top bottom"),
        lambda film: with_margins(with_margins(film, 5, 0), 15, 255),
        lambda film: with_margins(with_margins(film, 20, 255, "left"), 20, 0, "right"),
    ],
    ids=[
        "noise",
        "soft",
        "2 degrees",
        "5 degrees",
        "shade",
        "page in black",
        "black beside page",
        "black above page",
        "black frame",
        "white and black",
    ],
)
def test_imperfect_page_is_rejected(film: Image.Image, change: Callable[[Image.Image], Image.Image]) -> None:
    assert rejected(change(film))
    assert rejected(change(film), quality=40)


@pytest.mark.parametrize("side", [64, 160, 192])
def test_check_works_for_any_input_side(film: Image.Image, side: int) -> None:
    assert not rejected(film, side)
    assert not rejected(with_margins(film, 3, 255), side)
    assert rejected(with_margins(film, 8, 255), side)


def test_check_leaves_the_picture_as_it_is(film: Image.Image) -> None:
    grey = whole(encoded(film, "PNG"))
    before = grey.copy()
    has_wide_margin(grey)
    assert np.array_equal(grey, before)


@pytest.mark.slow
def test_no_file_as_published_is_rejected(xrays: list[Path]) -> None:
    """The published originals, where they are at hand; else phantoms."""
    assert not any(has_wide_margin(whole(path.read_bytes())) for path in xrays)
