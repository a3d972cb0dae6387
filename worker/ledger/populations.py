"""Finds a run with many patients outside the model's population, or of unknown age, where earlier runs had none.

Then something has changed: another ward sends its images, or a device has stopped to state ages. A site that only sends
images without ages is told nothing: that is what it always does. The same holds for images far from the training data, but
some of these are in every run, so the latest run must have a much larger share of them than the runs before it.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.ledger.file_counts import FileCounts, file_counts_by_run
from worker.ledger.runs import CANARY_RUN
from worker.ledger.tables import Run

# The latest run is compared with so many runs before it.
_EARLIER = 7
# Fewer patients than these in the latest run are no sign of a change, nor is a smaller share of its scored images.
MANY, SHARE = 5, 0.1
# A share of images far from the training data is a change if it is so many times that of the runs before, and if these have
# so many images that the smallest share that is told would be `MANY` of them.
_TIMES, _EARLIER_IMAGES = 3, MANY / SHARE

_SENTENCES = {
    "outside_population": "{run} has {count} images of patients outside the model's population, and the runs before it had "
    "none. Check who sends images.",
    "unknown_age": "{run} has {count} images of patients of unknown age, and the runs before it had none. Check whether "
    "the devices and the sidecars still state ages.",
}

_FAR = (
    "{run} has {count} images far from the training data, {share:.0%} of its scored images; of the runs before it, {earlier:.1%} "
    "were. Check who sends images, and whether the devices or the model have changed."
)


def unexpected(session: Session) -> list[str]:
    """Return a sentence for each kind of patient of which the latest run has many, and the runs before it had none.

    Another one says that the latest run has many more images far from the training data than the runs before it.
    """
    latest = select(Run.id).where(Run.name != CANARY_RUN).order_by(Run.id.desc()).limit(1 + _EARLIER)
    ids = session.scalars(latest).all()
    if not ids:
        return []
    counts = file_counts_by_run(session, ids)
    return sentences(ids[0], counts[ids[0]], [counts[run_id] for run_id in ids[1:]])


def sentences(run_id: int, latest: FileCounts, earlier: Sequence[FileCounts]) -> list[str]:
    """Return the sentences of `unexpected`. Runs in which nobody was checked say nothing. Pure."""
    checked = [counts for counts in earlier if _checked(counts)]
    return [
        *(
            sentence.format(run=f"Run {run_id}", count=getattr(latest, kind))
            for kind, sentence in _SENTENCES.items()
            if checked
            and _has_many(getattr(latest, kind), latest.scored)
            and not any(getattr(counts, kind) for counts in checked)
        ),
        *_far(run_id, latest, earlier),
    ]


def are_many(counts: FileCounts) -> bool:
    """Return whether many images of a run are far from the training data, whatever earlier runs had."""
    return _has_many(counts.far_from_training_data, counts.distance_known)


def _far(run_id: int, latest: FileCounts, earlier: Sequence[FileCounts]) -> list[str]:
    known = sum(counts.distance_known for counts in earlier)
    if known < _EARLIER_IMAGES or not are_many(latest):
        return []
    count, share = latest.far_from_training_data, latest.far_from_training_data / latest.distance_known
    before = sum(counts.far_from_training_data for counts in earlier) / known
    sentence = _FAR.format(run=f"Run {run_id}", count=count, share=share, earlier=before)
    return [sentence] if share >= _TIMES * before else []


def _checked(counts: FileCounts) -> int:
    return counts.inside_population + counts.outside_population + counts.unknown_age


def _has_many(count: int, scored: int) -> bool:
    return count >= max(MANY, SHARE * scored)
