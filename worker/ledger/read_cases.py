"""The scored images of finished runs with their final readings: the cases of a site, on which thresholds are tried.

The runs and images are those of `worker.ledger.missed_cases`, of one model. All flagged and uncertain ones are read, and of
the clear ones a random sample. Clear images that somebody read without their being drawn have no label here: they are no
random sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.card.band import is_never_clear
from worker.ledger import protocols
from worker.ledger.findings import Action, Finding
from worker.ledger.missed_cases import CLEAR, is_last_reading, that_count
from worker.ledger.states import ReviewState
from worker.ledger.tables import (
    Erasure,
    Image,
    Instance,
    Model,
    Prediction,
    Rescore,
    Review,
    SiteSetting,
    Study,
)

# How many of the latest readings say how long an image is looked at.
TIMED = 500
_LABELS = {Finding.SIGNS.value: True, Finding.NO_SIGNS.value: False}


class ScoredImage(NamedTuple):
    """An image with its last score.

    Attributes:
        sha256: of its bytes.
        score: p_pneumonia, 0..1.
        verdict: `flagged`, `uncertain` or `clear`, when it was read or as it is.
        cropped: the film was cut out of a margin or a page.
        never_clear: as `worker.card.band.is_never_clear` says.
        has_signs: its final reading; None: nobody judged it, or it is clear and was not drawn.
    """

    sha256: str
    score: float
    verdict: str
    cropped: bool
    never_clear: bool
    has_signs: bool | None

    @property
    def is_clear(self) -> bool:
        """Whether it is clear, so that only a sample of its kind was read."""
        return self.verdict == CLEAR


class ReadCases(NamedTuple):
    """The images of some runs, and how many of their final readings followed a protocol that shows scores first."""

    images: Sequence[ScoredImage]
    score_first: int


def read_cases(session: Session, runs: Sequence[int], model_sha256: str) -> ReadCases:
    """Return the images of these runs that a model scored last, in the order of their ids."""
    if not runs:
        return ReadCases((), 0)
    rows = session.execute(_final_findings(runs)).all()
    findings = {row.id: row.finding for row in rows}
    protocol_ids = Counter(row.protocol_id for row in rows)
    score_first = sum(
        number
        for protocol_id, number in protocol_ids.items()
        if not protocols.of(session, protocol_id).is_blind
    )
    images = [
        ScoredImage(
            row.sha256,
            row.p_pneumonia,
            row.verdict,
            row.crop_left is not None,
            is_never_clear(row.population, row.distance),
            _LABELS.get(findings.get(row.id, "")),
        )
        for row in session.execute(_images(runs, model_sha256))
    ]
    return ReadCases(images, score_first)


def patients(session: Session, runs: Sequence[int]) -> dict[str, str]:
    """Return the pseudonymous keys of the patients of images of some runs, by the SHA-256 of the image, where known."""
    known = (
        select(Image.sha256, Study.patient_key)
        .join(Instance, Instance.image_id == Image.id)
        .join(Study, Study.id == Instance.study_id)
        .where(Image.run_id.in_(runs), Study.patient_key.is_not(None))
    )
    return {row.sha256: row.patient_key for row in session.execute(known)}


def version(session: Session) -> tuple[int, ...]:
    """Return numbers of which one is another once a reading, an erasure, a rescore or a re-triage changes any cases."""
    tables = (Review, Erasure, Rescore, SiteSetting)
    return tuple(session.scalar(select(func.max(table.id))) or 0 for table in tables)


def seconds_an_image(session: Session) -> float | None:
    """Return for how long an image was on the screen, to a tenth: the median of the latest readings. None: nobody knows."""
    latest = session.scalar(select(func.max(Review.id))) or 0
    # Bounded by the id, so that no plan reads all readings.
    times = select(Review.open_ms).where(Review.id > latest - TIMED, Review.action != Action.UNDO)
    known = [open_ms for open_ms in session.scalars(times) if open_ms is not None]
    return round(median(known) / 1_000, 1) if known else None


def _images(runs: Sequence[int], model_sha256: str) -> Any:
    model = select(Model.id).where(Model.sha256 == model_sha256).scalar_subquery()
    columns = Image.id, Image.sha256, Image.verdict, Image.population, Image.distance, Image.drawn_rank
    return (
        select(*columns, Prediction.p_pneumonia, Prediction.crop_left)
        .select_from(Image)
        # A time of the score and of its prediction are the same, unless an earlier score is in force again.
        .join(Prediction, (Prediction.image_id == Image.id) & (Prediction.model_id == model))
        .where(*that_count(runs), Image.scored_at == Prediction.finished_at)
        .order_by(Image.id)
    )


def _final_findings(runs: Sequence[int]) -> Any:
    """Select the findings of the images that are read to the end: all but clear ones that were not drawn."""
    return (
        select(Image.id, Review.finding, Review.protocol_id)
        .select_from(Image)
        .join(Review, is_last_reading())
        .where(
            *that_count(runs),
            # A function of the column, so that SQLite finds the images by their runs.
            func.coalesce(Image.review_state, "") == ReviewState.READ,
            (Image.verdict != CLEAR) | Image.drawn_rank.is_not(None),
        )
    )
