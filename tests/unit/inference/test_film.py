"""worker.inference.film: the film is found on plain margins and on pages, and a film without a margin stays whole."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from worker.errors import RejectedImage
from worker.inference.film import LONGEST_SIDE, Box, NoSingleFilm, find_film
from worker.inference.preprocess import WHOLE_PICTURE, decode_film
from worker.phantom import draw_phantom

WIDTH, HEIGHT = 600, 500
A4 = (1240, 1754)


@pytest.fixture(scope="module")
def phantom() -> Image.Image:
    return draw_phantom(5, width=WIDTH, height=HEIGHT, opacity=True)


def jpeg(picture: Image.Image, quality: int = 90) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def through_jpeg(picture: Image.Image, quality: int = 90) -> Image.Image:
    return Image.open(io.BytesIO(jpeg(picture, quality))).convert("L")


def reduced(picture: Image.Image) -> NDArray[np.uint8]:
    scale = min(1, LONGEST_SIDE / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR))


def film_of(picture: Image.Image) -> tuple[float, float, float, float] | None:
    """The film's box in pixels of the picture itself."""
    grey = reduced(through_jpeg(picture))
    box = find_film(grey)
    if box is None:
        return None
    x, y = picture.width / grey.shape[1], picture.height / grey.shape[0]
    return box.left * x, box.top * y, box.right * x, box.bottom * y


def assert_found(picture: Image.Image, expected: tuple[int, int, int, int]) -> None:
    """The box is the expected one, to two pixels of the reduced picture, and never too large by more than one."""
    found = film_of(picture)
    assert found is not None
    pixel = max(picture.size) / LONGEST_SIDE
    assert np.allclose(found, expected, atol=2.2 * pixel), (found, expected)
    outwards = np.array(expected) - np.array(found)
    outwards[2:] *= -1
    assert outwards.max() <= pixel


def on_page(
    film: Image.Image, width: int, at: tuple[int, int] | None = None
) -> tuple[Image.Image, tuple[int, int, int, int]]:
    small = film.resize((width, width * film.height // film.width))
    x, y = at or ((A4[0] - width) // 2, 250)
    page = Image.new("L", A4, 255)
    page.paste(small, (x, y))
    return page, (x, y, x + small.width, y + small.height)


def write(page: Image.Image, y: int) -> None:
    font = ImageFont.load_default(size=28)
    ImageDraw.Draw(page).text(
        (70, y), "Hospital, Radiology, 12.03.2019, Patient 000000, page 1", fill=10, font=font
    )


@pytest.mark.parametrize("level", [255, 245, 200, 128, 90])
@pytest.mark.parametrize("percent", [5, 15, 30, 60])
def test_finds_film_inside_four_plain_margins(phantom: Image.Image, level: int, percent: int) -> None:
    depth = WIDTH * percent // 100
    picture = ImageOps.expand(phantom, depth, level)
    assert_found(picture, (depth, depth, depth + WIDTH, depth + HEIGHT))


@pytest.mark.parametrize("level", [255, 128])
@pytest.mark.parametrize("side", range(4))
@pytest.mark.parametrize("percent", [12, 40, 60])
def test_finds_film_beside_one_plain_margin(
    phantom: Image.Image, level: int, side: int, percent: int
) -> None:
    border = [0, 0, 0, 0]
    border[side] = WIDTH * percent // 100
    picture = ImageOps.expand(phantom, (border[0], border[1], border[2], border[3]), level)
    assert_found(picture, (border[0], border[1], border[0] + WIDTH, border[1] + HEIGHT))


@pytest.mark.parametrize("width", [300, 500, 700, 900, 1100])
def test_finds_film_on_page_with_writing_and_ruler(phantom: Image.Image, width: int) -> None:
    page, expected = on_page(phantom, width)
    write(page, 120)
    write(page, 1600)
    draw = ImageDraw.Draw(page)
    for y in range(60, 1700, 12):
        draw.line((12, y, 36, y), fill=0, width=2)
    assert_found(page, expected)


@pytest.mark.parametrize("at", [(0, 0), (540, 1170), (0, 700)])
def test_finds_film_in_corner_of_page(phantom: Image.Image, at: tuple[int, int]) -> None:
    page, expected = on_page(phantom, 700, at)
    assert_found(page, expected)


def test_finds_film_on_rotated_page(phantom: Image.Image) -> None:
    page, expected = on_page(phantom, 900)
    assert_found(page.rotate(0.5, Image.Resampling.BICUBIC, fillcolor=255, center=(620, 625)), expected)


@pytest.mark.parametrize(("sigma", "slope"), [(6, 0), (3, 20), (0.5, 45)])
def test_finds_film_on_noisy_and_uneven_paper(phantom: Image.Image, sigma: float, slope: float) -> None:
    depth = 120
    ramp = np.linspace(-slope / 2, slope / 2, WIDTH + 2 * depth)[np.newaxis] * np.ones(
        (HEIGHT + 2 * depth, 1)
    )
    paper = 225 + ramp + np.random.default_rng(1).normal(0, sigma, ramp.shape)
    picture = Image.fromarray(np.clip(paper, 0, 255).astype(np.uint8))
    picture.paste(phantom, (depth, depth))
    assert_found(picture, (depth, depth, depth + WIDTH, depth + HEIGHT))


def test_finds_film_behind_outline_of_page(phantom: Image.Image) -> None:
    page, expected = on_page(phantom, 800)
    ImageDraw.Draw(page).rectangle((0, 0, A4[0] - 1, A4[1] - 1), outline=0, width=18)
    assert_found(page, expected)


def test_finds_film_on_page_in_dark_frame(phantom: Image.Image) -> None:
    picture = ImageOps.expand(ImageOps.expand(phantom, 90, 255), 80, 0)
    assert_found(picture, (170, 170, 170 + WIDTH, 170 + HEIGHT))


def test_finds_film_on_large_black_margin(phantom: Image.Image) -> None:
    grey_film = ImageOps.expand(phantom.crop((20, 20, WIDTH - 20, HEIGHT - 20)), 20, 100)
    picture = ImageOps.expand(grey_film, WIDTH * 40 // 100, 0)
    assert_found(picture, (240, 240, 240 + WIDTH, 240 + HEIGHT))


def test_finds_film_beside_deep_black_margin(phantom: Image.Image) -> None:
    lungs = phantom.crop((100, 100, 500, 400))
    assert_found(ImageOps.expand(lungs, (0, 0, 240, 0), 0), (0, 0, 400, 300))


def test_keeps_black_border_of_film_on_page(phantom: Image.Image) -> None:
    """Collimation belongs to the film: only the paper goes."""
    collimated = ImageOps.expand(phantom, 40, 0)
    assert_found(ImageOps.expand(collimated, 150, 255), (150, 150, 230 + WIDTH, 230 + HEIGHT))


@pytest.mark.parametrize("seed", range(12))
def test_leaves_film_without_margin(seed: int) -> None:
    assert film_of(draw_phantom(seed, width=WIDTH)) is None


@pytest.mark.parametrize("border", [30, (70, 0, 70, 0), (0, 90, 0, 0)])
def test_leaves_black_collimation(phantom: Image.Image, border: int | tuple[int, int, int, int]) -> None:
    assert film_of(ImageOps.expand(phantom, border, 0)) is None


def test_leaves_white_area_that_fades_into_film(phantom: Image.Image) -> None:
    """An over-exposed abdomen is no margin: it has no sharp edge."""
    share = np.clip((np.arange(HEIGHT) / HEIGHT - 0.2) / 0.6, 0, 1)[:, np.newaxis]
    faded = np.asarray(phantom) * (1 - share) + 250 * share
    assert film_of(Image.fromarray(faded.astype(np.uint8))) is None


@pytest.mark.parametrize("level", [0, 128, 255])
def test_leaves_blank_picture_to_gate(level: int) -> None:
    assert find_film(np.full((200, 256), level, dtype=np.uint8)) is None


def test_rejects_page_with_two_films(phantom: Image.Image) -> None:
    page, _ = on_page(phantom, 560, (40, 400))
    page.paste(phantom.resize((560, 466)), (640, 400))
    with pytest.raises(NoSingleFilm):
        film_of(page)


def test_rejects_film_without_sharp_edges(phantom: Image.Image) -> None:
    blurred = ImageOps.expand(phantom, 250, 255).filter(ImageFilter.GaussianBlur(70))
    with pytest.raises(NoSingleFilm):
        film_of(blurred)


def test_rejects_film_on_paper_with_vignette(phantom: Image.Image) -> None:
    """Its levels at the sides are not those beside the film."""
    y, x = np.mgrid[-1:1:900j, -1:1:900j]
    picture = Image.fromarray((235 * (1 - 0.12 * (x**2 + y**2))).astype(np.uint8))
    picture.paste(phantom, (150, 200))
    with pytest.raises(NoSingleFilm):
        film_of(picture)


def test_rejects_page_with_nothing_but_a_stamp() -> None:
    page = Image.new("L", (1000, 1000), 255)
    ImageDraw.Draw(page).rectangle((300, 400, 600, 485), fill=60)
    with pytest.raises(NoSingleFilm):
        film_of(page)


def test_does_not_change_the_picture(phantom: Image.Image) -> None:
    grey = reduced(ImageOps.expand(phantom, 150, 255)).copy()
    before = grey.copy()
    find_film(grey)
    assert np.array_equal(grey, before)


@pytest.mark.parametrize("shape", [(1, 1), (1, 256), (256, 3), (9, 9), (24, 256)])
def test_takes_pictures_of_any_shape(shape: tuple[int, int]) -> None:
    grey = np.random.default_rng(2).integers(0, 256, shape).astype(np.uint8)
    assert find_film(grey) is None


def test_box_within_another() -> None:
    assert Box(1, 2, 5, 7).within(Box(10, 20, 30, 40)) == Box(11, 22, 15, 27)
    assert Box(1, 2, 5, 7).area == 20


@pytest.mark.parametrize("seed", range(4))
def test_model_input_without_margin_is_that_of_version_1(seed: int) -> None:
    data = jpeg(draw_phantom(seed))
    film = decode_film(data, 128)
    assert film.crop is None
    assert np.array_equal(film.grey, decode_film(data, 128, WHOLE_PICTURE).grey)


@pytest.mark.parametrize("percent", [10, 30, 60])
def test_square_is_nearly_that_of_film_alone(phantom: Image.Image, percent: int) -> None:
    """Version 1 differs by 18 grey levels and more on average."""
    alone = decode_film(jpeg(phantom), 128).grey.astype(int)
    data = jpeg(ImageOps.expand(phantom, WIDTH * percent // 100, 255))
    assert np.abs(decode_film(data, 128).grey - alone).mean() < 3
    assert np.abs(decode_film(data, 128, WHOLE_PICTURE).grey - alone).mean() > 12


def test_crop_is_in_pixels_of_the_original(phantom: Image.Image) -> None:
    large = phantom.resize((4 * WIDTH, 4 * HEIGHT))
    crop = decode_film(jpeg(ImageOps.expand(large, (1200, 0, 0, 0), 255)), 128).crop
    assert crop is not None
    assert (crop.top, crop.right, crop.bottom) == (0, 1200 + 4 * WIDTH, 4 * HEIGHT)
    assert 1200 <= crop.left <= 1200 + 2 * 3600 / LONGEST_SIDE


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_crop_is_that_of_the_upright_picture(phantom: Image.Image, orientation: int) -> None:
    upright = ImageOps.expand(phantom, (300, 0, 0, 120), 255)
    stored = upright.rotate({1: 0, 3: 180, 6: 90, 8: 270}[orientation], expand=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    stored.save(file, "JPEG", quality=95, exif=exif)
    crop = decode_film(file.getvalue(), 128).crop
    assert crop is not None
    assert np.allclose((crop.left, crop.top, crop.right, crop.bottom), (300, 0, 900, 500), atol=8)


def test_page_that_cannot_be_cut_is_rejected_with_its_sentence(phantom: Image.Image) -> None:
    page, _ = on_page(phantom, 560, (40, 400))
    page.paste(phantom.resize((560, 466)), (640, 400))
    with pytest.raises(RejectedImage, match=r"lies on a page .* Export the film alone") as rejected:
        decode_film(jpeg(page), 128)
    assert rejected.value.code == "on_a_page"


@pytest.mark.slow
def test_no_file_as_published_is_cut(xrays: list[Path]) -> None:
    """The published originals, where they are at hand; else phantoms."""
    assert [path for path in xrays if decode_film(path.read_bytes(), 128).crop is not None] == []
