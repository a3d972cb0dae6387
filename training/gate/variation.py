"""Variation of images of one kind: pose, exposure, blur, noise, letters, wires, borders."""

# ruff: noqa: PLR2004 - sizes and shares of what may differ
from __future__ import annotations

import io
import math
import string
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from training.gate.plate import Grey, as_grey

_WHITE = 255


def varied(grey: Grey, side: int, rng: np.random.Generator, *, turn: float = 15.0) -> Grey:
    """Return the image as from another machine, in another pose, or badly scanned.

    Args:
        grey: from `decode_film` or a drawing, not normalised, shape (s, s).
        side: edge of the result, in pixels.
        rng: random stream.
        turn: maximum rotation either way, in degrees.

    Returns:
        Grey values, not normalised, shape (side, side).
    """
    image = _moved(Image.fromarray(grey), side, rng, turn)
    if rng.random() < 0.15:
        image = _clouded(image, rng)
    if rng.random() < 0.7:
        image = image.point(tone_curve(rng))
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.8) * side / 128))
    values = np.asarray(image, dtype=np.float32)
    if rng.random() < 0.4:
        values = values + rng.uniform(1, 14) * rng.standard_normal(values.shape, dtype=np.float32)
    image = Image.fromarray(as_grey(values))
    if rng.random() < 0.5:
        _write_letters(image, rng)
    if rng.random() < 0.25:
        _lay_wires(image, rng)
    if rng.random() < 0.2:
        _draw_borders(image, rng)
    return np.asarray(recompressed(image, int(rng.integers(15, 90))) if rng.random() < 0.3 else image)


def roughened(drawing: Grey, real: Grey, rng: np.random.Generator) -> Grey:
    """Add the fine texture of a real film to a drawing, so that texture does not reveal drawings."""
    film = Image.fromarray(real).resize(drawing.shape[::-1])
    fine = np.asarray(film, dtype=np.float32) - np.asarray(
        film.filter(ImageFilter.GaussianBlur(rng.uniform(1.5, 4))), dtype=np.float32
    )
    return as_grey(drawing + rng.uniform(0.5, 2.0) * fine * (drawing > 20))


def tone_curve(rng: np.random.Generator) -> list[int]:
    """Return a table of 256 grey values: random gamma, contrast and brightness, clipped."""
    levels = np.linspace(0, 1, 256) ** math.exp(rng.uniform(-0.8, 0.8))
    values = (levels - 0.5) * rng.uniform(0.5, 1.9) + 0.5 + rng.uniform(-0.22, 0.22)
    return [int(level) for level in as_grey(255 * values)]


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    """Return the image after JPEG compression at this quality."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def placed(
    image: Image.Image, side: int, *, degrees: float, zoom: float, aspect: float = 1.0, shift: tuple[float, float] = (0.0, 0.0),
    fill: int = 0,
) -> Image.Image:  # fmt: skip
    """Rotate, crop (zoom below 1) or pad (above 1), stretch and shift, in one resampling."""
    angle, scale = math.radians(degrees), image.width / side
    wide, high = scale * zoom * math.sqrt(aspect), scale * zoom / math.sqrt(aspect)
    a, b = wide * math.cos(angle), -high * math.sin(angle)
    d, e = wide * math.sin(angle), high * math.cos(angle)
    x, y = (image.width * (0.5 + part) for part in shift)
    matrix = (a, b, x - (a + b) * side / 2, d, e, y - (d + e) * side / 2)
    bilinear = Image.Resampling.BILINEAR
    return image.transform((side, side), Image.Transform.AFFINE, matrix, bilinear, fillcolor=fill)


def words(rng: np.random.Generator, count: int) -> str:
    """Return this many made-up words."""
    letters = list(string.ascii_letters + string.digits)
    return " ".join("".join(rng.choice(letters, rng.integers(1, 9))) for _ in range(count))


def font(rng: np.random.Generator) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return a font of random size."""
    return ImageFont.load_default(size=int(rng.integers(9, 20)))


def _moved(image: Image.Image, side: int, rng: np.random.Generator, turn: float) -> Image.Image:
    return placed(
        image,
        side,
        degrees=rng.uniform(-turn, turn),
        zoom=rng.uniform(0.72, 1.1) if rng.random() < 0.8 else rng.uniform(1.1, 1.45),
        aspect=math.exp(rng.uniform(-0.22, 0.22)),
        shift=(rng.uniform(-0.09, 0.09), rng.uniform(-0.09, 0.09)),
        fill=int(rng.choice((0, 0, 0, 255, int(rng.integers(256))))),
    )


def _clouded(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Whiten or darken one side or one place: a white or a collapsed lung is no reason to reject an image."""
    side = image.width
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    at, wide = rng.uniform(-0.6, 0.6, 2), rng.uniform(0.25, 0.7, 2)
    veil = np.exp(-(((x - at[0]) / wide[0]) ** 4) - ((y - at[1]) / wide[1]) ** 4)
    level = rng.choice((_WHITE, _WHITE, 0))
    grey = np.asarray(image, dtype=np.float32)
    return Image.fromarray(as_grey(grey + rng.uniform(0.2, 0.9) * veil * (level - grey) * 0.8))


def _write_letters(image: Image.Image, rng: np.random.Generator) -> None:
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 4))):
        at = (rng.uniform(0, 0.9) * image.width, rng.choice((0.02, 0.9, rng.uniform(0, 0.9))) * image.width)
        draw.text(
            at, words(rng, int(rng.integers(1, 3))), fill=int(rng.choice((255, 230, 0))), font=font(rng)
        )


def _lay_wires(image: Image.Image, rng: np.random.Generator) -> None:
    """Draw tubes, leads and clips."""
    draw, side = ImageDraw.Draw(image), image.width
    for _ in range(int(rng.integers(1, 5))):
        points = rng.uniform(0, side, 2) + np.cumsum(rng.normal(0, side / 8, (6, 2)), axis=0)
        draw.line([(float(x), float(y)) for x, y in points], fill=int(rng.integers(170, 256)), width=1)
        x, y = points[0]
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=255)


def _draw_borders(image: Image.Image, rng: np.random.Generator) -> None:
    """Draw bars along some edges, like a collimator or a frame."""
    draw, side, level = ImageDraw.Draw(image), image.width, int(rng.choice((0, 255, 255, 128)))
    bars = (rng.random(4) < 0.5) * rng.uniform(0.01, 0.14, 4) * side
    for box in (
        (0, 0, bars[0], side), (side - bars[1], 0, side, side), (0, 0, side, bars[2]), (0, side - bars[3], side, side),
    ):  # fmt: skip
        if box[2] - box[0] >= 1 and box[3] - box[1] >= 1:
            draw.rectangle(box, fill=level)


def _toned(gamma: float, contrast: float, brightness: float) -> Callable[[Image.Image], Image.Image]:
    values = (np.linspace(0, 1, 256) ** gamma - 0.5) * contrast + 0.5 + brightness
    table = as_grey(255 * values).tolist()
    return lambda image: image.point(table)


def _placed(degrees: float, zoom: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: placed(image, image.width, degrees=degrees, zoom=zoom)


# Changes that a valid radiograph may have undergone, each alone. None is a reason to reject it.
STRESSES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "dark": _toned(2.0, 1.0, -0.12),
    "bright": _toned(0.5, 1.0, 0.12),
    "hard": _toned(1.0, 1.9, 0.0),
    "flat": _toned(1.0, 0.4, 0.0),
    "cropped to 80 %": _placed(0, 0.8),
    "with a margin of 15 %": _placed(0, 1.3),
    "turned by 12 degrees": _placed(12, 1.0),
    "turned by -12 degrees": _placed(-12, 1.0),
    "mirrored": ImageOps.mirror,
    "blurred, JPEG of quality 20": lambda image: recompressed(
        image.filter(ImageFilter.GaussianBlur(1.5)), 20
    ),
}
