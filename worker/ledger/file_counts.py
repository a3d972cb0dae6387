"""The file count: the numbers of received files and of images in each state, read from the tallies."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from worker.card.population import Population
from worker.ledger.states import NEEDS_READING, ImageState, Outcome, is_to_read
from worker.ledger.tables import ImageTally, ReceiptTally

# The columns that the tallies count by, besides the run.
_OUTCOMES = (ReceiptTally.outcome,)
_KINDS = (
    ImageTally.state,
    ImageTally.verdict,
    ImageTally.review_state,
    ImageTally.population,
    ImageTally.distance,
)


@dataclass(frozen=True)
class FileCounts:
    """The file count, of everything or of one run.

    Attributes:
        received: receipts.
        duplicates: receipts with the outcome `duplicate`.
        images: distinct images, each in exactly one state.
        scored, rejected, quarantined, pending, leased, erased: images by state.
        flagged: scored images with the verdict `flagged` or `uncertain`.
        uncertain: scored images with the verdict `uncertain`.
        unread: images of `flagged` that no reader has read yet.
        balanced: whether all files are accounted for.
        inside_population, outside_population, unknown_age: scored images of patients inside and outside the model's
            population, and of patients whose age is not known. Nobody checked the others.
        distance_known: scored images of which the model said how far they are from its training data.
        far_from_training_data: images of `distance_known` beyond the limit.
    """

    received: int
    duplicates: int
    images: int
    scored: int
    rejected: int
    quarantined: int
    pending: int
    leased: int
    erased: int
    flagged: int
    uncertain: int
    unread: int
    balanced: bool
    inside_population: int
    outside_population: int
    unknown_age: int
    distance_known: int
    far_from_training_data: int

    @property
    def equation(self) -> str:
        """The equation that must hold, in numbers."""
        return equation(asdict(self))


def file_counts(session: Session, run_id: int | None = None) -> FileCounts:
    """Return the file count of everything, or of one run: its receipts and the images that they brought."""
    run_ids = None if run_id is None else [run_id]
    return _add_up(_tallied(session, _OUTCOMES, run_ids), _tallied(session, _KINDS, run_ids))


def file_counts_by_run(session: Session, run_ids: Sequence[int]) -> dict[int, FileCounts]:
    """Return the file count of each of these runs, with two queries."""
    receipts, images = (_by_run(_tallied(session, kind, run_ids)) for kind in (_OUTCOMES, _KINDS))
    return {run_id: _add_up(receipts[run_id], images[run_id]) for run_id in run_ids}


def equation(counts: Mapping[str, Any]) -> str:
    """Return the equation of the file count, from counts with the names of `FileCounts`.

    Erased images are a term of their own, which stands there only if there are any.
    """
    terms = (
        "{received} received = {duplicates} duplicates + {scored} scored + {rejected} rejected"
        " + {quarantined} quarantined + {pending} pending + {leased} being scored"
    )
    return (f"{terms} + {{erased}} erased" if counts["erased"] else terms).format_map(counts)


def _tallied(
    session: Session, kind: Sequence[InstrumentedAttribute[Any]], run_ids: Sequence[int] | None
) -> Iterable[Row[Any]]:
    """Select the tallies by kind: of each of these runs, or of all runs together."""
    tally = kind[0].class_
    if run_ids is None:
        return session.execute(select(*kind, func.sum(tally.total).label("total")).group_by(*kind))
    return session.execute(select(tally.run_id, *kind, tally.total).where(tally.run_id.in_(run_ids)))


def _by_run(tallied: Iterable[Row[Any]]) -> defaultdict[int, list[Row[Any]]]:
    by_run = defaultdict(list)
    for row in tallied:
        by_run[row.run_id].append(row)
    return by_run


def _add_up(receipts: Iterable[Row[Any]], images: Iterable[Row[Any]]) -> FileCounts:
    """Add up the tallies of receipts and, independently, the tallies of images."""
    outcomes, states, verdicts, unread = Counter[str](), Counter[str](), Counter[str](), 0
    populations, distances = Counter[str](), Counter[str]()
    for row in receipts:
        outcomes[row.outcome] += int(row.total)
    for row in images:
        total = int(row.total)
        states[row.state] += total
        verdicts[row.verdict] += total if row.state == ImageState.SCORED else 0
        populations[row.population] += total if row.state == ImageState.SCORED else 0
        distances[row.distance] += total if row.state == ImageState.SCORED else 0
        unread += total if is_to_read(row.review_state, row.verdict) else 0
    received, duplicates = outcomes.total(), outcomes[Outcome.DUPLICATE]
    by_state = {state.value: states[state] for state in ImageState}
    return FileCounts(
        received=received,
        duplicates=duplicates,
        images=states.total(),
        flagged=sum(verdicts[verdict] for verdict in NEEDS_READING),
        uncertain=verdicts["uncertain"],
        unread=unread,
        # An image in an unknown state counts as lost.
        balanced=received == duplicates + sum(by_state.values()) and sum(by_state.values()) == states.total(),
        inside_population=populations[Population.INSIDE],
        outside_population=populations[Population.OUTSIDE],
        unknown_age=populations[Population.UNKNOWN],
        distance_known=distances["near"] + distances["far"],
        far_from_training_data=distances["far"],
        **by_state,
    )
