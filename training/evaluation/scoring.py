"""Scores of labelled images, computed by the worker's own code: read, rejected or scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from training.data.augment import Edges
from training.data.radiographs import Radiograph
from training.errors import WrongInput
from training.evaluation.metrics import LabelledScores
from worker.card.band import is_far
from worker.errors import RejectedImage
from worker.inference.admission import Admission, Admitted, score_admitted
from worker.inference.bundle import Bundle
from worker.inference.classifier import Classifier, Scores
from worker.inference.triage import OperatingPoint, Verdict, triage

# Images in memory at once, as model inputs.
_AT_ONCE = 64
_UNKNOWN_SUBTYPE = -1


class NothingScored(WrongInput):
    """Every image was rejected."""


@dataclass(frozen=True)
class RejectedFile:
    """An image that was not scored, with the code and sentence of its rejection.

    `place` is its index in the list.
    """

    place: int
    radiograph: Radiograph
    code: str
    sentence: str


@dataclass(frozen=True)
class ScoredImages:
    """A model's scores of labelled images.

    Attributes:
        bundle: the model.
        radiographs: the scored images.
        scores: of these, in the same order.
        cropped: whether the film was cut out of each image.
        mapped: what of each image its map covers: see `Admitted.mapped`.
        rejected: the other images.
    """

    bundle: Bundle
    radiographs: list[Radiograph]
    scores: Scores
    cropped: list[bool]
    mapped: list[Edges]
    rejected: list[RejectedFile]

    @property
    def point(self) -> OperatingPoint:
        """The operating point of the evaluation: the bundle's default."""
        return self.bundle.operating_point

    @cached_property
    def scored(self) -> LabelledScores:
        """Label and score of each image."""
        return labelled_scores(self.radiographs, self.scores)

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """Verdict of each image at the operating point."""
        scored = zip(self.scores.p_pneumonia.tolist(), self.cropped, self.distances, strict=True)
        return [
            triage(p, self.point, cropped=cropped, never_clear=is_far(distance))
            for p, cropped, distance in scored
        ]

    @property
    def distances(self) -> list[float | None]:
        """The distance of each image from the training data, in units of the limit; None: the model does not say."""
        distance = self.scores.distance
        return [None] * len(self.radiographs) if distance is None else distance.tolist()


def score_images(
    bundle: Bundle, radiographs: Sequence[Radiograph], advance: Callable[[int], None] = lambda _: None
) -> ScoredImages:
    """Score images with the served network, in batches.

    Args:
        bundle: the model.
        radiographs: at least one.
        advance: called with the number of images of each finished batch.

    Raises:
        ModelUnusable: the runtime cannot load the model or its gate.
        NothingScored: no image could be scored.
    """
    classifier, admission = Classifier(bundle), Admission(bundle)
    scored: list[Radiograph] = []
    cropped: list[bool] = []
    mapped: list[Edges] = []
    rejected: list[RejectedFile] = []
    parts: list[Scores] = []
    for start in range(0, len(radiographs), _AT_ONCE):
        batch = radiographs[start : start + _AT_ONCE]
        admitted: list[Admitted] = []
        for place, (radiograph, result) in enumerate(_read(batch, admission), start):
            if isinstance(result, RejectedImage):
                rejected.append(RejectedFile(place, radiograph, result.code, result.sentence))
            else:
                scored.append(radiograph)
                cropped.append(result.crop is not None)
                mapped.append(result.mapped)
                admitted.append(result)
        if admitted:
            parts.append(score_admitted(classifier, admitted))
        advance(len(batch))
    if not parts:
        raise NothingScored(f"None of the {len(radiographs)} images could be scored. {_first(rejected)}")
    return ScoredImages(bundle, scored, _joined(parts), cropped, mapped, rejected)


def labelled_scores(radiographs: Sequence[Radiograph], scores: Scores) -> LabelledScores:
    """Combine the labels of images with their scores."""
    patients = {
        name: place
        for place, name in enumerate(dict.fromkeys(radiograph.patient for radiograph in radiographs))
    }
    return LabelledScores(
        pneumonia=np.array([radiograph.pneumonia for radiograph in radiographs]),
        p=scores.p_pneumonia,
        subtype=np.array(
            [
                _UNKNOWN_SUBTYPE if radiograph.subtype is None else radiograph.subtype
                for radiograph in radiographs
            ]
        ),
        predicted=scores.probabilities.argmax(axis=1),
        patient=np.array([patients[radiograph.patient] for radiograph in radiographs]),
    )


def _read(
    radiographs: Sequence[Radiograph], admission: Admission
) -> Iterator[tuple[Radiograph, Admitted | RejectedImage]]:
    for radiograph in radiographs:
        try:
            yield radiograph, admission.admit(radiograph.path.read_bytes())
        except RejectedImage as rejection:
            yield radiograph, rejection


def _joined(parts: Sequence[Scores]) -> Scores:
    distances = [part.distance for part in parts if part.distance is not None]
    return Scores(
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.activation for part in parts]),
        np.concatenate(distances) if distances else None,
    )


def _first(rejected: Sequence[RejectedFile]) -> str:
    return f"{rejected[0].radiograph.path.name}: {rejected[0].sentence}" if rejected else ""
