"""The answers of a model to labelled pictures, untouched and changed: read, rejected or scored as the worker does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from training.data.radiographs import Radiograph
from training.evaluation.scoring import NothingScored
from training.robustness.changes import Change, changed, read_upright, seed_of
from worker.card.band import is_far
from worker.errors import RejectedImage
from worker.inference.admission import Admission, Admitted, score_admitted
from worker.inference.bundle import Bundle
from worker.inference.classifier import Classifier
from worker.inference.triage import Verdict, triage

CROPPED, FAR, CUT_OFF = "cropped", "far", "cut off"


@dataclass(frozen=True)
class Answer:
    """The answer to one picture.

    Attributes:
        p: p_pneumonia; None: rejected.
        verdict: at the bundle's default operating point; None: rejected.
        rejection: its code; None: scored.
        marks: what the page says on the image because of its pixels. The check of the patient's age is left out.
    """

    p: float | None
    verdict: Verdict | None
    rejection: str | None
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """The answers to each image of a set.

    Attributes:
        bundle: the model.
        radiographs: those that are scored untouched, n of them.
        untouched: their answers, in the same order.
        changes: the cells of the table.
        answers: by cell, the answers in the same order as the images.
        rejected: the other images, each with the code of its rejection. They are in no figure.
    """

    bundle: Bundle
    radiographs: list[Radiograph]
    untouched: list[Answer]
    changes: list[Change]
    answers: list[list[Answer]]
    rejected: list[tuple[Radiograph, str]]


def measure(
    bundle: Bundle,
    radiographs: Sequence[Radiograph],
    changes: Sequence[Change],
    advance: Callable[[int], None] = lambda _: None,
) -> Measured:
    """Score every image untouched and under each change.

    Args:
        bundle: the model.
        radiographs: at least one.
        changes: the cells of the table.
        advance: called with 1 after each image.

    Raises:
        ModelUnusable: the runtime cannot load the model or its gate.
        NothingScored: no untouched image could be scored.
    """
    examiner = _Examiner(bundle)
    scored: list[Radiograph] = []
    untouched: list[Answer] = []
    by_image: list[list[Answer]] = []
    rejected: list[tuple[Radiograph, str]] = []
    for radiograph in radiographs:
        first = examiner.answers([radiograph.path.read_bytes()])[0]
        if first.rejection is not None:
            rejected.append((radiograph, first.rejection))
        else:
            picture, seed = read_upright(radiograph.path), seed_of(radiograph.path)
            scored.append(radiograph)
            untouched.append(first)
            by_image.append(examiner.answers([changed(picture, change, seed) for change in changes]))
        advance(1)
    if not scored:
        raise NothingScored(f"None of the {len(radiographs)} untouched images could be scored.")
    by_change = [list(answers) for answers in zip(*by_image, strict=True)]
    return Measured(bundle, scored, untouched, list(changes), by_change, rejected)


class _Examiner:
    """A loaded model that answers to files."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle, self._classifier, self._admission = bundle, Classifier(bundle), Admission(bundle)

    def answers(self, files: Sequence[bytes]) -> list[Answer]:
        results = [self._admitted(data) for data in files]
        admitted = [result for result in results if isinstance(result, Admitted)]
        scores = iter(self._scores(admitted) if admitted else ())
        return [
            Answer(None, None, result.code)
            if isinstance(result, RejectedImage)
            else self._scored(result, *next(scores))
            for result in results
        ]

    def _admitted(self, data: bytes) -> Admitted | RejectedImage:
        try:
            return self._admission.admit(data)
        except RejectedImage as rejection:
            return rejection

    def _scores(self, admitted: Sequence[Admitted]) -> list[tuple[float, bool]]:
        """Return the score of each image, and whether it is far from the training data."""
        scores = score_admitted(self._classifier, admitted)
        distances = [None] * len(admitted) if scores.distance is None else scores.distance.tolist()
        return list(zip(scores.p_pneumonia.tolist(), map(is_far, distances), strict=True))

    def _scored(self, admitted: Admitted, p: float, far: bool) -> Answer:  # noqa: FBT001 - as `_scores` has it
        cropped = admitted.crop is not None
        verdict = triage(p, self._bundle.operating_point, cropped=cropped, never_clear=far)
        marks = {CROPPED: cropped, FAR: far, CUT_OFF: admitted.cuts_lungs_off}
        return Answer(p, verdict, None, tuple(mark for mark, applies in marks.items() if applies))
