"""Images that are not frontal chest radiographs, from sources that need no other patients.

Real chests are turned, inverted, cut and shrunk. Photographs come with packages that training needs anyway.
Pages, screens and textures are drawn. `training.gate.anatomy` draws other parts of the body.
"""

# ruff: noqa: PLR2004 - sizes and shares of a drawing

from __future__ import annotations

import gzip
import io
import math
from collections.abc import Callable
from functools import cache
from importlib.resources import files

import numpy as np
from PIL import Image, ImageDraw

from training.gate.anatomy import Draw
from training.gate.plate import SIDE, Grey, as_grey, cloud
from training.gate.variation import font, words

Change = Callable[[Image.Image, np.random.Generator], Image.Image]
_WHITE = 255
_SAMPLES = "mpl-data/sample_data"


def inverted(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Invert the grey values; turn one in eight as well."""
    upside = image.point([_WHITE - level for level in range(256)])
    return upside.rotate(90 * int(rng.integers(1, 4))) if rng.random() < 0.125 else upside


def turned(degrees: int) -> Change:
    """Return a function that turns an image clockwise, like a plate that was read the wrong way round."""
    return lambda image, _: image.rotate(-degrees)


def piece(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Enlarge a small window, one half, or the top or bottom third of the image."""
    side = image.width
    window = rng.uniform(0.15, 0.42)
    x, y = rng.uniform(0, 1 - window, 2)
    third = rng.uniform(0.22, 0.33)
    boxes = (
        (x, y, x + window, y + window),
        (0.0, 0.0, rng.uniform(0.40, 0.5), 1.0),
        (rng.uniform(0.5, 0.60), 0.0, 1.0, 1.0),
        (0.0, 0.0, 1.0, third),
        (0.0, 1 - third, 1.0, 1.0),
    )
    left, top, right, bottom = boxes[rng.choice(5, p=(0.4, 0.2, 0.2, 0.1, 0.1))]
    box = (side * left, side * top, side * right, side * bottom)
    return image.resize((side, side), Image.Resampling.BILINEAR, box)


def shuffled(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Rearrange the quarters or swap the halves: every part of a chest, but no chest."""
    side, half = image.width, image.width // 2
    places = [(0, 0), (half, 0), (0, half), (half, half)]
    orders = ((3, 2, 1, 0), (1, 2, 3, 0), (3, 0, 1, 2), (1, 0, 3, 2))
    out = Image.new("L", (side, side))
    for place, source in zip(places, orders[rng.integers(len(orders))], strict=True):
        left, top = places[source]
        out.paste(image.crop((left, top, left + half, top + half)), place)
    return out


def shrunk(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Shrink a chest to a stamp or a strip on a page, or to one of several on a sheet."""
    side = image.width
    if rng.random() < 0.35:
        count = int(rng.integers(2, 4))
        small = image.resize((side // count, side // count))
        out = Image.new("L", (side, side))
        for place in range(count * count):
            out.paste(small, (place % count * small.width, place // count * small.height))
        return out
    wide, high = rng.uniform(0.15, 0.36), rng.uniform(0.15, 0.36)
    if rng.random() < 0.4:
        wide, high = (wide, 1.0) if rng.random() < 0.5 else (1.0, high)
    small = image.resize((max(4, int(wide * side)), max(4, int(high * side))))
    out = Image.fromarray(_page(rng, side) if rng.random() < 0.5 else _plain(rng, side))
    out.paste(
        small, (int(rng.integers(0, side - small.width + 1)), int(rng.integers(0, side - small.height + 1)))
    )
    return out


# Changes after which a chest is no valid frontal chest, with the rejection code that each deserves.
SPOILED: dict[str, tuple[str, Change]] = {
    "inverted": ("inverted", inverted),
    "turned right": ("turned_right", turned(90)),
    "turned left": ("turned_left", turned(270)),
    "upside down": ("upside_down", turned(180)),
    "a piece": ("not_a_chest", piece),
    "shuffled": ("not_a_chest", shuffled),
    "shrunk": ("not_a_chest", shrunk),
}


def text_page(rng: np.random.Generator) -> Grey:
    """Draw a letter or a scanned form."""
    return _page(rng, SIDE)


def screenshot(rng: np.random.Generator) -> Grey:
    """Draw windows, bars and lines of text, light or dark."""
    dark = rng.random() < 0.5
    ink, ground = (220, 30) if dark else (30, 235)
    image = Image.new("L", (2 * SIDE, 2 * SIDE), ground)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(3, 12)):
        x, y = rng.integers(0, 2 * SIDE, 2)
        box = (x, y, x + rng.integers(20, 220), y + rng.integers(10, 160))
        draw.rectangle(tuple(map(int, box)), fill=int(rng.integers(0, 256)), outline=ink)
    for _ in range(rng.integers(5, 30)):
        at = rng.integers(0, 2 * SIDE, 2).tolist()
        draw.text((at[0], at[1]), words(rng, 3), fill=int(rng.integers(0, 256)), font=font(rng))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def plot(rng: np.random.Generator) -> Grey:
    """Draw axes with curves, bars or points."""
    ground, edge = int(rng.choice((0, _WHITE))), 2 * SIDE
    image, ink = Image.new("L", (edge, edge), ground), _WHITE - ground
    draw = ImageDraw.Draw(image)
    draw.line((30, 20, 30, edge - 30, edge - 20, edge - 30), fill=ink, width=2)
    x = np.linspace(30, edge - 20, 40)
    for _ in range(rng.integers(1, 5)):
        y = edge / 2 + rng.uniform(20, 110) * np.sin(x * rng.uniform(0.005, 0.1) + rng.uniform(0, 6))
        points = [(float(a), float(b)) for a, b in zip(x, y, strict=True)]
        if rng.random() < 0.5:
            draw.line(points, fill=ink, width=int(rng.integers(1, 5)))
        else:
            for a, b in points[::3]:
                draw.rectangle((a - 5, b, a + 5, edge - 30), fill=int(rng.integers(60, 200)))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def noise(rng: np.random.Generator) -> Grey:
    """Draw noise of any coarseness, alone or over a slope."""
    fine = rng.standard_normal((SIDE, SIDE)) * rng.uniform(0, 1.5)
    fields = sum(cloud(rng, SIDE, int(2 ** rng.uniform(1, 6))) for _ in range(int(rng.integers(1, 5))))
    return as_grey(128 + rng.uniform(15, 70) * (fine + fields))


def gradient(rng: np.random.Generator) -> Grey:
    """Draw a slope, a vignette, or stripes."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    angle = rng.uniform(0, 2 * math.pi)
    along = x * math.cos(angle) + y * math.sin(angle)
    shapes = (along, np.hypot(x - rng.uniform(-0.5, 0.5), y), np.sin(along * rng.uniform(3, 60)))
    values = shapes[rng.integers(3)] * rng.choice((-1, 1)) + rng.uniform(0, 0.4) * cloud(rng, SIDE, 8)
    return as_grey(128 + rng.uniform(40, 160) * values)


def leaves(rng: np.random.Generator) -> Grey:
    """Draw shapes that cover each other, with the statistics of photographs.

    The dead leaves model (Lee, Mumford and Huang, IJCV 41, 2001).
    """
    image = Image.new("L", (SIDE, SIDE), int(rng.integers(256)))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(20, 300))):
        radius = 4 / rng.uniform(0.05, 1) ** 0.9
        x, y = rng.uniform(-10, SIDE + 10, 2)
        box = (x - radius, y - radius * rng.uniform(0.3, 1), x + radius, y + radius * rng.uniform(0.3, 1))
        (draw.ellipse if rng.random() < 0.6 else draw.rectangle)(box, fill=int(rng.integers(256)))
    return as_grey(np.asarray(image) + rng.uniform(0, 25) * cloud(rng, SIDE, 30))


def photograph(rng: np.random.Generator) -> Grey:
    """Cut a part of a photograph, at any scale and angle."""
    return _cut(_photograph("sklearn.datasets", "images/china.jpg"), rng)


# Images without anatomy, by kind.
THINGS: dict[str, Draw] = {
    "text_page": text_page, "screenshot": screenshot, "plot": plot, "noise": noise,
    "gradient": gradient, "leaves": leaves, "photograph": photograph,
}  # fmt: skip


def other_photograph(rng: np.random.Generator) -> Grey:
    """Cut a part of a flower or of a portrait."""
    flower = rng.random() < 0.5
    place = (
        ("sklearn.datasets", "images/flower.jpg")
        if flower
        else ("matplotlib", f"{_SAMPLES}/grace_hopper.jpg")
    )
    return _cut(_photograph(*place), rng)


def mr_slice(rng: np.random.Generator) -> Grey:
    """Cut a part of a real MR slice through a head."""
    return _cut(_head(), rng, smallest=0.6)


# No gate is trained on these. They show what happens to images of unknown kinds.
NEVER_TRAINED_ON: dict[str, Draw] = {"other_photograph": other_photograph, "mr_slice": mr_slice}


def _page(rng: np.random.Generator, side: int) -> Grey:
    ground = int(rng.integers(215, 256))
    image = Image.new("L", (2 * side, 2 * side), ground)
    draw, letters = ImageDraw.Draw(image), font(rng)
    margin, y = int(rng.integers(5, 50)), int(rng.integers(5, 60))
    while y < 2 * side - 10:
        draw.text(
            (margin, y), words(rng, int(rng.integers(1, 9))), fill=int(rng.integers(0, 90)), font=letters
        )
        y += int(rng.integers(10, 26))
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))


def _plain(rng: np.random.Generator, side: int) -> Grey:
    return np.full((side, side), int(rng.choice((0, 255, int(rng.integers(256))))), dtype=np.uint8)


@cache
def _photograph(package: str, name: str) -> Image.Image:
    with Image.open(io.BytesIO(files(package).joinpath(name).read_bytes())) as image:
        return image.convert("L")


@cache
def _head() -> Image.Image:
    packed = files("matplotlib").joinpath(f"{_SAMPLES}/s1045.ima.gz").read_bytes()
    values = np.frombuffer(gzip.decompress(packed), dtype=">u2").reshape(256, 256).astype(np.float32)
    return Image.fromarray(as_grey(255 * values / np.percentile(values, 99)))


def _cut(image: Image.Image, rng: np.random.Generator, smallest: float = 0.15) -> Grey:
    edge = rng.uniform(smallest, 1.0) * min(image.size)
    x, y = (rng.uniform(0, length - edge) for length in image.size)
    cut = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, (x, y, x + edge, y + edge))
    cut = cut.rotate(90 * int(rng.integers(4)))
    return np.asarray(cut.point([_WHITE - level for level in range(256)]) if rng.random() < 0.25 else cut)
