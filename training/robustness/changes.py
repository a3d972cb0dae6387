"""The changes that a picture undergoes before the worker reads it. The same picture gives the same bytes.

Each change is made in the pixels of the original file, at their full resolution.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

Picture = Image.Image

# Every changed picture is written as a JPEG file of this quality. The row of this quality shows what that does alone.
QUALITY = 95
SIDES = ("left", "top", "right", "bottom")
MARGINS = (5, 10, 15, 20, 25, 30, 40, 60)
LEVELS = {"white": 255, "grey": 128, "black": 0}
BARS = (5, 10, 15, 20, 25)
ANGLES = (-15, -10, -5, 5, 10, 15)
SMALLER, LARGER = (0.6, 0.7, 0.8, 0.9), (1.1, 1.2, 1.3, 1.4)
QUALITIES = (20, 35, 50, 75, 95)
GAMMAS = (0.5, 0.67, 0.8, 1.25, 1.5, 2.0)
INVERTED = "inverted"
_WHITE, _BLACK = 255, 0
# Heights of letters, as shares of the shorter side.
_LETTER, _LINE = 0.09, 0.035
_LINES = ("PATIENT 000000", "M  004Y", "CHEST AP PORTABLE", "12.03.2019 07:41")


@dataclass(frozen=True)
class Change:
    """One cell of the table.

    Attributes:
        series: changes of one kind, for instance `white margin, four sides`.
        amount: how strong it is within its series; None: the series has one change only.
        unit: of the amount, for instance `%`.
        draw: makes the changed picture from an upright grey one. The seed depends on the file's name only.
        quality: of the JPEG file that is written.
        must_be_caught: no such picture may be scored without a mark.
    """

    series: str
    amount: float | None
    unit: str
    draw: Callable[[Picture, int], Picture]
    quality: int = QUALITY
    must_be_caught: bool = False

    @property
    def name(self) -> str:
        """The series and the amount."""
        return self.series if self.amount is None else f"{self.series}, {self.amount:g}{self.unit}"


def all_changes() -> list[Change]:
    """Return every change, in the order of the table."""
    return [*_margins(), *_collimations(), *_geometry(), *_tones(), *_writing(), *_detail()]


def read_upright(path: Path) -> Picture:
    """Read a file as an upright picture of mode L, at full resolution."""
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("L")


def changed(picture: Picture, change: Change, seed: int) -> bytes:
    """Return the changed picture as a grey JPEG file."""
    file = io.BytesIO()
    change.draw(picture, seed).save(file, "JPEG", quality=change.quality)
    return file.getvalue()


def seed_of(path: Path) -> int:
    """Return the seed of a file: it decides on which side a margin lies and where writing stands."""
    return zlib.crc32(path.name.encode())


def _margins() -> Iterator[Change]:
    for colour, level in LEVELS.items():
        for where, sides in (("four sides", 4), ("one side", 1)):
            for percent in MARGINS:
                draw = partial(_with_margin, level=level, percent=percent, sides=sides)
                yield Change(f"{colour} margin, {where}", percent, " %", draw)


def _collimations() -> Iterator[Change]:
    for where, sides in (("one side", 1), ("two sides", 2), ("four sides", 4)):
        for percent in BARS:
            draw = partial(_collimated, percent=percent, sides=sides)
            yield Change(f"collimation, {where}", percent, " %", draw)


def _geometry() -> Iterator[Change]:
    for angle in ANGLES:
        yield Change("rotation", angle, " degrees", partial(_rotated, angle=angle))
    for zoom in SMALLER:
        yield Change("zoom, black around", zoom, "", partial(_smaller, zoom=zoom, edges=False))
    for zoom in SMALLER:
        yield Change("zoom, edges continued", zoom, "", partial(_smaller, zoom=zoom, edges=True))
    for zoom in LARGER:
        yield Change("zoom, cut off", zoom, "", partial(_larger, zoom=zoom))


def _tones() -> Iterator[Change]:
    for gamma in GAMMAS:
        yield Change("gamma", gamma, "", partial(_with_gamma, gamma=gamma))
    yield Change(INVERTED, None, "", lambda picture, _: ImageOps.invert(picture), must_be_caught=True)


def _writing() -> Iterator[Change]:
    yield Change("side marker", None, "", _with_marker)
    yield Change("lines of text in two corners", None, "", _with_lines)
    yield Change("white label at the lower edge", None, "", _with_label)


def _detail() -> Iterator[Change]:
    yield Change("half resolution", None, "", _halved)
    for quality in QUALITIES:
        yield Change("JPEG quality", quality, "", lambda picture, _: picture, quality=quality)


def _with_margin(picture: Picture, seed: int, *, level: int, percent: int, sides: int) -> Picture:
    """Add margins of so many per cent of the width, or of the height above and below on one side only."""
    across, down = picture.width * percent // 100, picture.height * percent // 100
    if sides == len(SIDES):
        return ImageOps.expand(picture, across, level)
    left, top, right, bottom = (place == seed % 4 for place in range(4))
    return ImageOps.expand(picture, (across * left, down * top, across * right, down * bottom), level)


def _collimated(picture: Picture, seed: int, *, percent: int, sides: int) -> Picture:
    """Cover bars of so many per cent of the width or height: one side, two opposite sides or all."""
    width, height = picture.size
    across, down = width * percent // 100, height * percent // 100
    covered = {1: {seed % 4}, 2: {seed % 2, seed % 2 + 2}, 4: set(range(4))}[sides]
    bars = (
        (0, 0, across, height),
        (0, 0, width, down),
        (width - across, 0, width, height),
        (0, height - down, width, height),
    )
    copy = picture.copy()
    for place in covered:
        copy.paste(_BLACK, bars[place])
    return copy


def _rotated(picture: Picture, _: int, *, angle: int) -> Picture:
    return picture.rotate(angle, Image.Resampling.BILINEAR, fillcolor=_BLACK)


def _smaller(picture: Picture, _: int, *, zoom: float, edges: bool) -> Picture:
    """Show more around the picture: black, or its outermost lines continued. No pixel of its own changes."""
    across, down = (round(side * (1 / zoom - 1) / 2) for side in picture.size)
    if not edges:
        return ImageOps.expand(picture, (across, down), _BLACK)
    return Image.fromarray(np.pad(np.asarray(picture), ((down, down), (across, across)), "edge"))


def _larger(picture: Picture, _: int, *, zoom: float) -> Picture:
    """Keep the middle only."""
    across, down = (round(side * (1 - 1 / zoom) / 2) for side in picture.size)
    return picture.crop((across, down, picture.width - across, picture.height - down))


def _with_gamma(picture: Picture, _: int, *, gamma: float) -> Picture:
    return picture.point(np.rint(_WHITE * np.linspace(0, 1, 256) ** gamma).astype(int).tolist())


def _halved(picture: Picture, _: int) -> Picture:
    size = max(1, picture.width // 2), max(1, picture.height // 2)
    return picture.resize(size, Image.Resampling.BOX)


def _with_marker(picture: Picture, seed: int) -> Picture:
    """Write L or R in an upper corner."""
    copy, height = picture.copy(), _height(picture, _LETTER)
    left = seed % 2 == 0
    x = round(0.06 * picture.width) if left else round(0.94 * picture.width)
    ImageDraw.Draw(copy).text(
        (x, round(0.06 * picture.height)), "R" if left else "L", _WHITE, _font(height), "la" if left else "ra"
    )
    return copy


def _with_lines(picture: Picture, seed: int) -> Picture:
    """Write four lines in an upper corner and again in the opposite lower one."""
    copy, height = picture.copy(), _height(picture, _LINE)
    draw, font = ImageDraw.Draw(copy), _font(height)
    at_left = seed % 2 == 0
    for number, line in enumerate(_LINES):
        below = round(0.02 * picture.height) + number * height * 5 // 4
        left, right = round(0.02 * picture.width), round(0.98 * picture.width)
        draw.text((left if at_left else right, below), line, _WHITE, font, "la" if at_left else "ra")
        above = picture.height - below
        draw.text((right if at_left else left, above), line, _WHITE, font, "rd" if at_left else "ld")
    return copy


def _with_label(picture: Picture, seed: int) -> Picture:
    """Paste a white label with black writing, half as wide as the picture, on the lower edge."""
    copy, height = picture.copy(), _height(picture, _LINE)
    draw, font = ImageDraw.Draw(copy), _font(height)
    left = round(picture.width * (0.05 + 0.4 * (seed % 5) / 4))
    top = picture.height - 3 * height
    draw.rectangle((left, top, left + picture.width // 2, picture.height), _WHITE)
    for number, line in enumerate(_LINES[:2]):
        draw.text((left + height, top + height // 4 + number * height * 5 // 4), line, _BLACK, font)
    return copy


def _height(picture: Picture, share: float) -> int:
    return max(6, round(share * min(picture.size)))


def _font(height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=height)
