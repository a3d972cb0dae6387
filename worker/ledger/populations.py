"""Finds a run with many patients outside the model's population, or of unknown age, where earlier runs had none.

Then something has changed: another ward sends its images, or a device has stopped to state ages. A site that only sends
images without ages is told nothing: that is what it always does.
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

_SENTENCES = {
    "outside_population": "{run} has {count} images of patients outside the model's population, and the runs before it had "
    "none. Check who sends images.",
    "unknown_age": "{run} has {count} images of patients of unknown age, and the runs before it had none. Check whether "
    "the devices and the sidecars still state ages.",
}


def unexpected(session: Session) -> list[str]:
    """Return a sentence for each kind of patient of which the latest run has many, and the runs before it had none."""
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
        sentence.format(run=f"Run {run_id}", count=getattr(latest, kind))
        for kind, sentence in _SENTENCES.items()
        if checked and _has_many(latest, kind) and not any(getattr(counts, kind) for counts in checked)
    ]


def _checked(counts: FileCounts) -> int:
    return counts.inside_population + counts.outside_population + counts.unknown_age


def _has_many(counts: FileCounts, kind: str) -> bool:
    count: int = getattr(counts, kind)
    return count >= max(MANY, SHARE * counts.scored)
