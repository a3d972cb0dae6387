"""Pictures of a film on margins and pages, drawn from the film alone. The same film gives the same pictures."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

Picture = Image.Image
Layout = tuple[str, Callable[[], Picture]]

PERCENTAGES = (5, 10, 15, 20, 25, 30, 40, 60)
LEVELS = {"white": 255, "off-white": 245, "grey": 128, "black": 0}
SIDES = ("left", "top", "right", "bottom")
WIDTHS_ON_PAGE = (500, 700, 900, 1100)
_A4 = (1240, 1754)
_HEAD = "St. Elsewhere Hospital   Radiology   12.03.2019   CXR AP   Patient 000000   page 1 of 1"


def margins(film: Picture, name: str) -> Iterator[Layout]:
    """Yield plain margins on four sides and on one side, which depends on the file's name."""
    for label, level in LEVELS.items():
        for percent in PERCENTAGES:
            side = SIDES[(_seed(name) + percent // 5) % 4]
            yield (
                f"{label}, four sides, {percent} %",
                partial(_with_margins, film, percent, level),
            )
            yield (
                f"{label}, one side, {percent} %",
                partial(_with_margins, film, percent, level, side),
            )


def pages(film: Picture) -> Iterator[Layout]:
    """Yield three layouts of an A4 page at 150 pixels an inch, with the film in four widths."""
    for width in WIDTHS_ON_PAGE:
        yield f"A4, plain, {width}", partial(_page, film, width)
        yield f"A4, text and ruler, {width}", partial(_written_page, film, width)
        yield f"A4, off-white, caption, {width}", partial(_captioned_page, film, width)


def others(film: Picture, name: str) -> Iterator[Layout]:
    """Yield layouts that the finder was not made for, one of each kind."""
    seed = _seed(name)
    yield "landscape page, left", lambda: _page(film, 700, size=_A4[::-1], at=(40, 40))
    yield "ruler with a body", lambda: _ruler(_page(film, 900), body=190)
    yield "page in a corner", lambda: _page(film, 800, at=(0, 0))
    yield "page in the lower right corner", lambda: _page(film, 700, at=_A4)
    yield "page turned by 0.5 degrees", lambda: _turned(_write(_page(film, 900), 120), 0.5)
    yield "page turned by 2 degrees", lambda: _turned(_with_margins(film, 25, 255), 2)
    yield "page turned by 5 degrees", lambda: _turned(_with_margins(film, 25, 255), 5)
    yield "page with a letterhead and paragraphs", lambda: _report(film, 900)
    yield "page with a small film and paragraphs", lambda: _report(film, 500)
    yield "page outlined in black", lambda: _outlined(film, 3, 0)
    yield "page outlined in grey", lambda: _outlined(film, 8, 120)
    yield "page with two films", lambda: _two_films(film)
    yield "scan of a page with dark edges", lambda: _scan(film)
    yield "white slide with a title", lambda: _slide(film, 255, 20)
    yield "blue-grey slide with a title", lambda: _slide(film, 75, 250)
    yield "dark slide with a title", lambda: _slide(film, 24, 230)
    yield "black slide with a title", lambda: _slide(film, 0, 255)
    yield "screenshot of a viewer", lambda: _viewer(film)
    yield "noise on the margin", lambda: _paper(film, 25, 235, sigma=6, slope=0, seed=seed)
    yield "noise and a gradient of 25", lambda: _paper(film, 25, 225, sigma=3, slope=25, seed=seed)
    yield "gradient of 60", lambda: _paper(film, 25, 215, sigma=2, slope=60, seed=seed)
    yield "vignette", lambda: _vignetted(film)
    yield "JPEG of quality 30", lambda: _again(_with_margins(film, 20, 250), 30)
    yield "blurred edges", lambda: _with_margins(film, 30, 255).filter(ImageFilter.GaussianBlur(4))
    yield "rounded corners", lambda: _rounded(film)
    yield "drop shadow", lambda: _shadowed(film)
    yield "label across the edge", lambda: _labelled(film)
    yield "black frame, then white", lambda: _with_margins(ImageOps.expand(film, 25, 0), 20, 255)
    yield "white frame, then black", lambda: _with_margins(ImageOps.expand(film, 60, 255), 10, 0)
    yield "white left, black right", lambda: _left_and_right(film)
    yield "padded to a white square", lambda: _squared(film, 255)
    yield "padded to a black square", lambda: _squared(film, 0)
    for level in (200, 170, 96, 64, 32):
        yield f"level {level}, four sides, 30 %", partial(_with_margins, film, 30, level)
    for percent in (1, 2, 3):
        yield f"white, four sides, {percent} %", partial(_with_margins, film, percent, 255)


def _seed(name: str) -> int:
    return zlib.crc32(name.encode())


def _with_margins(film: Picture, percent: int, level: int, side: str | None = None) -> Picture:
    """Add margins of so many per cent of the film's width, or of its height above and below on one side only."""
    across, down = film.width * percent // 100, film.height * percent // 100
    if side is None:
        return ImageOps.expand(film, across, level)
    left, top, right, bottom = (name == side for name in SIDES)
    return ImageOps.expand(film, (across * left, down * top, across * right, down * bottom), level)


def _page(
    film: Picture,
    width: int,
    *,
    size: tuple[int, int] = _A4,
    level: int = 255,
    at: tuple[int, int] | None = None,
) -> Picture:
    """Put the film, so many pixels wide, on a page; a place outside means the lower right corner."""
    sheet = Image.new("L", size, level)
    scale = min(width / film.width, (size[1] - 60) / film.height)
    small = film.resize((round(film.width * scale), round(film.height * scale)), Image.Resampling.BICUBIC)
    x, y = at or ((size[0] - small.width) // 2, 250)
    sheet.paste(small, (min(x, size[0] - small.width), min(y, size[1] - small.height)))
    return sheet


def _write(
    sheet: Picture, y: int, text: str = _HEAD, *, fill: int = 20, size: int = 26, x: int = 70
) -> Picture:
    ImageDraw.Draw(sheet).text((x, y), text, fill=fill, font=ImageFont.load_default(size=size))
    return sheet


def _ruler(sheet: Picture, body: int | None = None) -> Picture:
    """Draw a ruler along the left side; `body` is the grey level between its marks."""
    draw = ImageDraw.Draw(sheet)
    if body is not None:
        draw.rectangle((10, 60, 50, sheet.height - 60), fill=body)
    for number, y in enumerate(range(70, sheet.height - 70, 12)):
        draw.line((10, y, 26 if number % 10 else 40, y), fill=0, width=2)
    draw.line((10, 60, 10, sheet.height - 60), fill=0, width=2)
    return sheet


def _written_page(film: Picture, width: int) -> Picture:
    return _ruler(_write(_write(_page(film, width), 120), 1680))


def _captioned_page(film: Picture, width: int) -> Picture:
    sheet = _page(film, width, level=245)
    return _write(sheet, min(270 + width * film.height // film.width, 1700), "Fig. 3: chest radiograph, AP")


def _report(film: Picture, width: int) -> Picture:
    sheet = _write(_page(film, width, at=(120, 620)), 60, "ST. ELSEWHERE", size=64)
    below = 660 + width * film.height // film.width
    for y in (*range(220, 560, 40), *range(below, 1700, 40)):
        _write(sheet, y)
    return sheet


def _outlined(film: Picture, width: int, level: int) -> Picture:
    sheet = _page(film, 800)
    ImageDraw.Draw(sheet).rectangle((0, 0, sheet.width - 1, sheet.height - 1), outline=level, width=width)
    return sheet


def _two_films(film: Picture) -> Picture:
    sheet = _page(film, 560, at=(40, 400))
    sheet.paste(film.resize((560, 560 * film.height // film.width)), (640, 400))
    return sheet


def _scan(film: Picture) -> Picture:
    sheet = _page(film, 800, level=248)
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((0, 0, sheet.width, 10), fill=20)
    draw.rectangle((sheet.width - 14, 0, sheet.width, sheet.height), fill=30)
    return _noisy(sheet, 3, 1)


def _slide(film: Picture, background: int, ink: int) -> Picture:
    small = film.copy()
    small.thumbnail((1200, 504))
    sheet = Image.new("L", (1280, 720), background)
    sheet.paste(small, ((1280 - small.width) // 2, 680 - small.height))
    return _write(sheet, 50, "Case 12: fever and cough", fill=ink, size=48)


def _viewer(film: Picture) -> Picture:
    """A screenshot: a tool bar, a panel with a list, and the film on dark grey."""
    sheet = Image.new("L", (1280, 800), 32)
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((0, 0, 1280, 48), fill=180)
    draw.rectangle((0, 48, 220, 800), fill=60)
    for number in range(8):
        _write(sheet, 70 + 60 * number, f"Series {number}", fill=220, size=24, x=20)
    small = film.copy()
    small.thumbnail((1000, 700))
    sheet.paste(small, (220 + (1060 - small.width) // 2, 48 + (752 - small.height) // 2))
    return sheet


def _noisy(sheet: Picture, sigma: float, seed: int) -> Picture:
    grain = np.random.default_rng(seed).normal(0, sigma, (sheet.height, sheet.width))
    return Image.fromarray(np.clip(np.asarray(sheet) + grain, 0, 255).astype(np.uint8))


def _paper(film: Picture, percent: int, level: int, *, sigma: float, slope: float, seed: int) -> Picture:
    """A margin with noise, and with a gradient of `slope` levels from corner to corner."""
    sheet = _with_margins(film, percent, level)
    ramp = np.add.outer(np.linspace(-slope, slope, sheet.height), np.linspace(-slope, slope, sheet.width)) / 4
    paper = _noisy(Image.fromarray(np.clip(level + ramp, 0, 255).astype(np.uint8)), sigma, seed)
    paper.paste(film, (film.width * percent // 100,) * 2)
    return paper


def _vignetted(film: Picture) -> Picture:
    sheet = _with_margins(film, 25, 235)
    y, x = np.mgrid[-1 : 1 : sheet.height * 1j, -1 : 1 : sheet.width * 1j]
    return Image.fromarray((np.asarray(sheet) * (1 - 0.12 * (x**2 + y**2))).astype(np.uint8))


def _again(picture: Picture, quality: int) -> Picture:
    return Image.open(io.BytesIO(jpeg(picture, quality))).convert("L")


def jpeg(picture: Picture, quality: int = 92) -> bytes:
    """Return the picture as a grey JPEG file."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _turned(sheet: Picture, degrees: float) -> Picture:
    return sheet.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=255)


def _rounded(film: Picture) -> Picture:
    mask = Image.new("L", film.size, 0)
    ImageDraw.Draw(mask).rounded_rectangle(
        (0, 0, film.width - 1, film.height - 1), 0.1 * min(film.size), fill=255
    )
    sheet = Image.new("L", (film.width * 3 // 2, film.height * 3 // 2), 245)
    sheet.paste(film, (film.width // 4, film.height // 4), mask)
    return sheet


def _shadowed(film: Picture) -> Picture:
    depth = film.width // 5
    sheet = _with_margins(film, 20, 255)
    shadow = Image.new("L", sheet.size, 255)
    ImageDraw.Draw(shadow).rectangle(
        (depth + 8, depth + 8, depth + film.width + 8, depth + film.height + 8), fill=90
    )
    shadow = shadow.filter(ImageFilter.GaussianBlur(8))
    shadow.paste(film, (depth, depth))
    return shadow


def _labelled(film: Picture) -> Picture:
    depth = film.width // 5
    sheet = _with_margins(film, 20, 255)
    ImageDraw.Draw(sheet).rectangle((depth - 40, depth + 30, depth + 60, depth + 70), fill=60)
    return _write(sheet, sheet.height - 40, "No. 4711", x=20)


def _left_and_right(film: Picture) -> Picture:
    return _with_margins(_with_margins(film, 30, 255, "left"), 30, 0, "right")


def _squared(film: Picture, level: int) -> Picture:
    side = max(film.size)
    sheet = Image.new("L", (side, side), level)
    sheet.paste(film, ((side - film.width) // 2, (side - film.height) // 2))
    return sheet
