"""A sheet of sample predictions: images beside their activation maps, with label, scores and verdict."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.evaluation.pictures import overlay, read_grey
from training.evaluation.predictions import label_of
from training.evaluation.scoring import ScoredImages
from training.html.pictures import DIM, INK
from worker.inference.activation import FULL_SCALE
from worker.phantom import write_phantom

PHANTOMS = 24
# The page shows the sheet 800 pixels wide, so its text is two thirds as large there.
WIDTH = 1200
_EACH = 2
_SEED = 1
_MARGIN, _GAP, _TILE_GAP = 18, 24, 6
_TILE = (WIDTH - 2 * _MARGIN - _GAP) // 4 - _TILE_GAP // 2
_TEXT, _TITLE, _LINE = 19, 28, 26
_SCALE = (300, 18)
_DRAWINGS = "Phantoms are drawings: their scores mean nothing."
_REAL = "This sheet shows the images themselves: never publish or commit it."
_ABOUT = (
    f"Right: log-odds of pneumonia at each place, from 0 to {FULL_SCALE:g}, on one scale. The map shows what moved "
    "the score; it does not outline a lesion."
)


@contextmanager
def phantom_set() -> Iterator[Path]:
    """Draw phantoms into a temporary folder with NORMAL and PNEUMONIA, half of them with an opacity."""
    with tempfile.TemporaryDirectory() as name:
        for seed in range(PHANTOMS):
            folder = Path(name) / ("PNEUMONIA" if seed % 2 else "NORMAL")
            folder.mkdir(exist_ok=True)
            write_phantom(folder / f"phantom-{seed:03}.jpeg", seed, width=640, opacity=bool(seed % 2))
        yield Path(name)


def sheet(images: ScoredImages, *, phantoms: bool) -> Image.Image:
    """Draw a sheet of at most two random images of each class and outcome: correct and wrong.

    Args:
        images: the scored images.
        phantoms: whether they are drawings, which the sheet then says.
    """
    chosen = _chosen(images)
    rows = [chosen[start : start + 2] for start in range(0, len(chosen), 2)]
    # The tallest image of each row decides how much room the row takes.
    heights = [max(_height(images, index) for index in row) + 2 * _LINE + _GAP for row in rows]
    about = _wrapped(f"{_ABOUT} {_DRAWINGS if phantoms else _REAL}")
    top = _MARGIN + _TITLE + _LINE * len(about) + _SCALE[1] + 40
    picture = Image.new("RGB", (WIDTH, top + sum(heights)), "white")
    draw = ImageDraw.Draw(picture)
    title = f"Sample predictions of {images.bundle.name} {images.bundle.version}"
    draw.text((_MARGIN, _MARGIN), title, INK, _font(_TITLE))
    for number, line in enumerate(about):
        draw.text((_MARGIN, _MARGIN + _TITLE + 10 + number * _LINE), line, DIM, _font(_TEXT))
    _draw_scale(picture, top - _SCALE[1] - 16)
    for row, height in zip(rows, heights, strict=True):
        for column, index in enumerate(row):
            _draw_sample(picture, images, index, (_MARGIN + column * (2 * _TILE + _TILE_GAP + _GAP), top))
        top += height
    return picture


def _chosen(images: ScoredImages) -> list[int]:
    """Return the places of the images to show: of each class the correct ones, then the wrong ones."""
    rng, scored = np.random.default_rng(_SEED), images.scored
    correct = scored.pneumonia == (scored.p >= images.point.threshold)
    places: list[int] = []
    for outcome in (correct, ~correct):
        for label in (~scored.pneumonia, scored.pneumonia):
            places += rng.permutation(np.flatnonzero(outcome & label))[:_EACH].tolist()
    return places


def _draw_sample(picture: Image.Image, images: ScoredImages, index: int, place: tuple[int, int]) -> None:
    grey = read_grey(images.radiographs[index].path)
    height = _height(images, index)
    for number, pixels in enumerate(
        (grey, overlay(grey, images.scores.activation[index], images.mapped[index]))
    ):
        tile = Image.fromarray(pixels).convert("RGB").resize((_TILE, height), Image.Resampling.BICUBIC)
        picture.paste(tile, (place[0] + number * (_TILE + _TILE_GAP), place[1]))
    truth, p = label_of(images.radiographs[index]), float(images.scores.p_pneumonia[index])
    normal, bacterial, viral = images.scores.probabilities[index]
    lines = (
        f"labelled {truth}; score {p:.3f}, {images.verdicts[index].value}",
        f"normal {normal:.3f}, bacterial {bacterial:.3f}, viral {viral:.3f}",
    )
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        colour = INK if number == 0 else DIM
        draw.text((place[0], place[1] + height + 4 + number * _LINE), line, colour, _font(_TEXT))


def _draw_scale(picture: Image.Image, top: int) -> None:
    ramp = np.tile(np.linspace(0, 255, _SCALE[0]).astype(np.uint8), (_SCALE[1], 1))
    picture.paste(Image.fromarray(overlay(np.full_like(ramp, 60), ramp)), (_MARGIN, top))
    text = "no evidence to strong evidence for pneumonia"
    ImageDraw.Draw(picture).text((_MARGIN + _SCALE[0] + 12, top - 3), text, DIM, _font(_TEXT))


def _height(images: ScoredImages, index: int) -> int:
    """Return the height of a tile; no image is drawn higher than wide by more than a half."""
    with Image.open(images.radiographs[index].path) as image:
        width, height = image.size
    return min(round(_TILE * height / width), _TILE * 3 // 2)


def _wrapped(text: str) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if _font(_TEXT).getlength(longer) > WIDTH - 2 * _MARGIN:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)
