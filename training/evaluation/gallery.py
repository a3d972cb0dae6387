"""The images that a report shows: samples, the most confident errors, and rejected images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from training.evaluation.pictures import panel_of, read_grey, readable, scale
from training.evaluation.predictions import label_of, name_of
from training.evaluation.ranking import Flags
from training.evaluation.scoring import RejectedFile, ScoredImages
from training.html.blocks import Block, Grid, Panels, Picture, Prose, Table
from training.html.pictures import thumbnail
from worker.errors import RejectedImage
from worker.inference.activation import FULL_SCALE
from worker.inference.preprocess import decode_film

Json = dict[str, Any]

WORST = 8
SAMPLES = 4
LONGEST_LIST = 50
_SEED = 1
_ANY_SIDE = 64


def samples(images: ScoredImages, root: Path) -> Iterator[Block]:
    """Yield random images of each class, classified correctly and wrongly."""
    scored, rng = images.scored, np.random.default_rng(_SEED)
    right = scored.pneumonia == (scored.p >= images.point.threshold)
    # A random sample of errors is only useful if the most confident ones are not all errors.
    kinds: tuple[tuple[str, Flags, int], ...] = (
        ("Without pneumonia, classified correctly", ~scored.pneumonia & right, 0),
        ("With pneumonia, classified correctly", scored.pneumonia & right, 0),
        ("Without pneumonia, classified wrongly", ~scored.pneumonia & ~right, WORST),
        ("With pneumonia, classified wrongly", scored.pneumonia & ~right, WORST),
    )
    yield Prose(
        "A random sample. The activation map beside an image shows the log-odds of pneumonia at each place, "
        f"from 0 to {FULL_SCALE:g}, on one scale for all images: a clear image has an empty map. The map shows what "
        "influenced the score; it does not outline lesions."
    )
    yield scale()
    for heading, mask, least in kinds:
        if mask.sum() > least:
            chosen = rng.permutation(np.flatnonzero(mask))[:SAMPLES]
            yield Prose(f"{heading}: {len(chosen)} of {int(mask.sum()):,}.")
            yield Panels([panel_of(images, int(index), root) for index in chosen])


def worst(images: ScoredImages, root: Path) -> Iterator[Block]:
    """Yield the most confident errors, with their maps."""
    p, sick = images.scored.p, images.scored.pneumonia
    positive = p >= images.point.threshold
    if (sick == positive).all():
        yield Prose("There are no errors: every image was classified correctly.")
        return
    yield Prose(
        "The errors with the most extreme scores, one a patient. The cause can be the label, the image or the model."
    )
    kinds = (
        ("Missed", sick & ~positive, np.argsort(p, kind="stable")),
        ("False alarms", ~sick & positive, np.argsort(-p, kind="stable")),
    )
    for heading, mask, order in kinds:
        errors = order[mask[order]]
        _, first = np.unique(images.scored.patient[errors], return_index=True)
        chosen = errors[np.sort(first)][:WORST]
        if len(chosen):
            yield Prose(f"{heading}: {len(chosen)} of {len(errors):,}.")
            yield Panels([panel_of(images, int(index), root) for index in chosen])


def rejected_images(images: ScoredImages, document: Json, root: Path) -> Iterator[Block]:
    """Yield the rejected images with their reasons; nothing if there are none."""
    if not images.rejected:
        return
    reasons = document["turned_away_reasons"].items()
    yield Prose(
        f"{len(images.rejected):,} of {len(images.rejected) + document['n']:,} images were rejected and are "
        f"in no figure: {', '.join(f'{code} {count:,}' for code, count in reasons)}. "
        f"{_of_all(len(images.rejected), LONGEST_LIST)}"
    )
    yield Table(
        ["file", "label", "reason"],
        [
            (
                readable(name_of(rejection.radiograph, root)),
                label_of(rejection.radiograph),
                rejection.sentence,
            )
            for rejection in images.rejected[:LONGEST_LIST]
        ],
    )
    pictures = [_picture_of(rejection, root) for rejection in images.rejected[:LONGEST_LIST]]
    if any(pictures):
        yield Grid([picture for picture in pictures if picture is not None])


def _picture_of(rejection: RejectedFile, root: Path) -> Picture | None:
    """Return the picture of a rejected image, or None if it cannot be decoded."""
    try:
        decode_film(rejection.radiograph.path.read_bytes(), _ANY_SIDE)
    except RejectedImage:
        return None
    name = readable(name_of(rejection.radiograph, root))
    return thumbnail(
        read_grey(rejection.radiograph.path), f"{name}, rejected", caption=f"{name}: {rejection.code}"
    )


def _of_all(count: int, most: int) -> str:
    return f"All {count} are shown." if count <= most else f"{most} of {count:,} are shown."
