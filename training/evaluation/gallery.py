"""The images of an evaluation that people look at: samples, the worst mistakes, and what was turned away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from training.evaluation.pictures import card_of, readable, scale, shown
from training.evaluation.predictions import label_of, name_of
from training.evaluation.ranking import Flags
from training.evaluation.scoring import RejectedFile, ScoredImages
from training.html.blocks import Block, Cards, Grid, Picture, Prose, Table
from training.html.pictures import thumbnail
from worker.errors import RejectedImage
from worker.inference.classifier import FULL_SCALE
from worker.inference.preprocess import decode_grey

Json = dict[str, Any]

WORST = 8
SAMPLES = 4
LONGEST_LIST = 50
_SEED = 1
_ANY_SIDE = 64


def samples(examined: ScoredImages, root: Path) -> Iterator[Block]:
    """Some images of each kind, called rightly and wrongly."""
    scored, rng = examined.scored, np.random.default_rng(_SEED)
    right = scored.pneumonia == (scored.p >= examined.point.threshold)
    # Of the mistakes, a sample adds something only where the worst of them are not all.
    kinds: tuple[tuple[str, Flags, int], ...] = (
        ("Without pneumonia, called rightly", ~scored.pneumonia & right, 0),
        ("With pneumonia, called rightly", scored.pneumonia & right, 0),
        ("Without pneumonia, called wrongly", ~scored.pneumonia & ~right, WORST),
        ("With pneumonia, called wrongly", scored.pneumonia & ~right, WORST),
    )
    yield Prose(
        "Drawn at random, so that the worst are not taken for the usual. The map beside an image shows the log-odds "
        f"of the evidence for pneumonia at each place, from 0 to {FULL_SCALE:g}, on one scale for all images: a "
        "clear image has an empty map. It shows what moved the score and outlines no lesion."
    )
    yield scale()
    for said, mask, least in kinds:
        if mask.sum() > least:
            chosen = rng.permutation(np.flatnonzero(mask))[:SAMPLES]
            yield Prose(f"{said}: {len(chosen)} of {int(mask.sum()):,}.")
            yield Cards([card_of(examined, int(index), root) for index in chosen])


def worst(examined: ScoredImages, root: Path) -> Iterator[Block]:
    """The mistakes that the model was surest of, with their maps."""
    p, sick = examined.scored.p, examined.scored.pneumonia
    called = p >= examined.point.threshold
    if (sick == called).all():
        yield Prose("There are none: every image was called rightly.")
        return
    yield Prose(
        "The mistakes that the model was surest of, one of each patient. Is the label at fault, the image, or the model?"
    )
    kinds = (
        ("Missed", sick & ~called, np.argsort(p, kind="stable")),
        ("False alarms", ~sick & called, np.argsort(-p, kind="stable")),
    )
    for said, mask, order in kinds:
        wrong = order[mask[order]]
        _, first = np.unique(examined.scored.patient[wrong], return_index=True)
        chosen = wrong[np.sort(first)][:WORST]
        if len(chosen):
            yield Prose(f"{said}: {len(chosen)} of {len(wrong):,}.")
            yield Cards([card_of(examined, int(index), root) for index in chosen])


def turned_away(examined: ScoredImages, document: Json, root: Path) -> Iterator[Block]:
    """What was not scored, and why; nothing if there is nothing."""
    if not examined.turned_away:
        return
    reasons = document["turned_away_reasons"].items()
    yield Prose(
        f"{len(examined.turned_away):,} of {len(examined.turned_away) + document['n']:,} images were turned away and are "
        f"in no figure: {', '.join(f'{code} {count:,}' for code, count in reasons)}. "
        f"{_of_all(len(examined.turned_away), LONGEST_LIST)}"
    )
    yield Table(
        ["file", "label", "reason"],
        [
            (readable(name_of(each.radiograph, root)), label_of(each.radiograph), each.sentence)
            for each in examined.turned_away[:LONGEST_LIST]
        ],
    )
    pictures = [_picture_of(each, root) for each in examined.turned_away[:LONGEST_LIST]]
    if any(pictures):
        yield Grid([picture for picture in pictures if picture is not None])


def _picture_of(away: RejectedFile, root: Path) -> Picture | None:
    """What was turned away, as far as it can be decoded at all."""
    try:
        decode_grey(away.radiograph.path.read_bytes(), _ANY_SIDE)
    except RejectedImage:
        return None
    name = readable(name_of(away.radiograph, root))
    return thumbnail(shown(away.radiograph.path), f"{name}, turned away", caption=f"{name}: {away.code}")


def _of_all(count: int, most: int) -> str:
    return f"All {count} are shown." if count <= most else f"{most} of {count:,} are shown."
