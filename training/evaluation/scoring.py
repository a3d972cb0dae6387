"""Labelled images as the worker sees them: read, turned away or scored, by its own code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from training.data.radiographs import Radiograph
from training.errors import WrongInput
from training.evaluation.metrics import LabelledScores
from worker.errors import RejectedImage
from worker.inference.bundle import Bundle
from worker.inference.classifier import Classifier, Scores
from worker.inference.gate import Gate, open_gate
from worker.inference.preprocess import to_model_input
from worker.inference.triage import OperatingPoint, Verdict, triage

# Images that are in memory at once, as model inputs.
_AT_ONCE = 64
_UNKNOWN_SUBTYPE = -1


class NothingScored(WrongInput):
    """Every image was turned away."""


@dataclass(frozen=True)
class RejectedFile:
    """An image that was not scored; `code` and `sentence` are those of its rejection.

    `place` is where it stood in the list, from 0.
    """

    place: int
    radiograph: Radiograph
    code: str
    sentence: str


@dataclass(frozen=True)
class ScoredImages:
    """What a model says of labelled images.

    Attributes:
        bundle: the model.
        radiographs: those that were scored.
        scores: of these, in the same order.
        turned_away: the others.
    """

    bundle: Bundle
    radiographs: list[Radiograph]
    scores: Scores
    turned_away: list[RejectedFile]

    @property
    def point(self) -> OperatingPoint:
        """The operating point that is measured: the bundle's default."""
        return self.bundle.operating_point

    @cached_property
    def scored(self) -> LabelledScores:
        """Truth and score of each image."""
        return labelled_scores(self.radiographs, self.scores)

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """Of each image, at the operating point."""
        return [triage(float(p), self.point) for p in self.scores.p_pneumonia]


def score_images(
    bundle: Bundle, radiographs: Sequence[Radiograph], advance: Callable[[int], None] = lambda _: None
) -> ScoredImages:
    """Score images with the served network, a few at a time.

    Args:
        bundle: the model.
        radiographs: at least one.
        advance: is told how many more are done.

    Raises:
        ModelUnusable: the runtime cannot load the model or its gate.
        NothingScored: not one of the images could be scored.
    """
    classifier, gate = Classifier(bundle), open_gate(bundle.folder, bundle.card)
    kept: list[Radiograph] = []
    turned_away: list[RejectedFile] = []
    parts: list[Scores] = []
    for start in range(0, len(radiographs), _AT_ONCE):
        some = radiographs[start : start + _AT_ONCE]
        inputs = []
        for place, (each, found) in enumerate(_read(some, gate, bundle.side), start):
            if isinstance(found, RejectedImage):
                turned_away.append(RejectedFile(place, each, found.code, found.sentence))
            else:
                kept.append(each)
                inputs.append(found)
        if inputs:
            parts.append(classifier.predict_batch(np.stack(inputs)))
        advance(len(some))
    if not parts:
        raise NothingScored(
            f"Not one of the {len(radiographs)} images could be scored. {_first(turned_away)}"
        )
    return ScoredImages(bundle, kept, _joined(parts), turned_away)


def labelled_scores(radiographs: Sequence[Radiograph], scores: Scores) -> LabelledScores:
    """Join what is known of images with what the model says."""
    patients = {name: place for place, name in enumerate(dict.fromkeys(each.patient for each in radiographs))}
    return LabelledScores(
        pneumonia=np.array([each.pneumonia for each in radiographs]),
        p=scores.p_pneumonia,
        subtype=np.array(
            [_UNKNOWN_SUBTYPE if each.subtype is None else each.subtype for each in radiographs]
        ),
        predicted=scores.probabilities.argmax(axis=1),
        patient=np.array([patients[each.patient] for each in radiographs]),
    )


def _read(
    radiographs: Sequence[Radiograph], gate: Gate, side: int
) -> Iterator[tuple[Radiograph, NDArray[np.uint8] | RejectedImage]]:
    for each in radiographs:
        try:
            yield each, gate.check(to_model_input(each.path.read_bytes(), side))
        except RejectedImage as rejection:
            yield each, rejection


def _joined(parts: Sequence[Scores]) -> Scores:
    return Scores(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(Scores)))


def _first(turned_away: Sequence[RejectedFile]) -> str:
    return f"{turned_away[0].radiograph.path.name}: {turned_away[0].sentence}" if turned_away else ""
