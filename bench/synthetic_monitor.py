"""A year of invented counts of the monitor, as the sweeper keeps them, to measure and to look at the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from random import Random

from sqlalchemy.orm import Session

from worker.ledger import audit, monitoring
from worker.ledger.monitor_counts import NO_MODEL, Group
from worker.ledger.monitored_groups import Dimension
from worker.ledger.monitoring import Mark
from worker.ledger.session import utc_now
from worker.monitor.counts import Counts, FindingCounts, Judged, Sample, bins_of

DAYS = 365
# Groups of each dimension, with their shares of the images.
GROUPS: Mapping[Dimension, Mapping[str, float]] = {
    Dimension.ALL: {"all": 1.0},
    Dimension.AGE: {"under-1": 0.1, "1-5": 0.5, "6-17": 0.3, "18-64": 0.05, "unknown": 0.05},
    Dimension.SEX: {"F": 0.48, "M": 0.5, "unknown": 0.02},
    Dimension.VIEW: {"PA": 0.7, "AP": 0.29, "unknown": 0.01},
    Dimension.SOURCE: {"folder": 0.6, "dicom CT_WARD_2": 0.3, "upload": 0.1},
    Dimension.MACHINE: {"Agfa CR": 0.4, "Siemens DX": 0.35, "Philips DX": 0.2, "unknown": 0.05},
    Dimension.SIZE: {"512-1023": 0.2, "1024-2047": 0.5, "2048-or-more": 0.3},
    Dimension.READER: {"1": 0.4, "2": 0.35, "3": 0.25},
}
_LOW, _HIGH = 0.4, 0.65
_DRAWN, _PREVALENCE, _REJECTED, _FAR = 0.05, 0.15, 0.02, 0.01


def fill_monitor(
    session: Session, last: date, images_a_day: int, model_ids: Sequence[int], seed: int = 1
) -> None:
    """Invent the counts of the year that ends with `last`, and mark all days as counted. The first model comes first."""
    random = Random(seed)
    counted = {}
    for number in range(DAYS):
        day = last - timedelta(days=DAYS - 1 - number)
        model_id = model_ids[number * len(model_ids) // DAYS]
        counted[day] = {
            group: counts
            for dimension, shares in GROUPS.items()
            for name, share in shares.items()
            for group, counts in _of_group(random, dimension, name, round(share * images_a_day), model_id)
        }
    before = monitoring.mark(session)
    monitoring.keep(session, before, Mark(audit.head(session)[0]), counted, utc_now())


def _of_group(
    random: Random, dimension: Dimension, name: str, images: int, model_id: int
) -> list[tuple[Group, Counts]]:
    with_signs = sum(random.random() < _PREVALENCE for _ in range(images))
    signs = [random.betavariate(5, 2) for _ in range(with_signs)]
    others = [random.betavariate(1.5, 7) for _ in range(images - with_signs)]
    is_reader = dimension is Dimension.READER
    made = [(Group(dimension, name, model_id), _counts(random, signs, others, draws=not is_reader))]
    if not is_reader:
        rejected = sum(random.random() < _REJECTED for _ in range(images))
        reasons = {"not_a_chest": rejected - rejected // 3, "blank": rejected // 3}
        made.append((Group(dimension, name, NO_MODEL), Counts(rejected=reasons)))
    return made


def _counts(random: Random, signs: Sequence[float], others: Sequence[float], *, draws: bool) -> Counts:
    def between(scores: Sequence[float], low: float, high: float) -> list[float]:
        return [score for score in scores if low <= score < high]

    clear = [between(scores, 0, _LOW) for scores in (signs, others)]
    uncertain = [between(scores, _LOW, _HIGH) for scores in (signs, others)]
    flagged = [between(scores, _HIGH, 2) for scores in (signs, others)]
    drawn = [[score for score in scores if random.random() < _DRAWN] for scores in clear]
    number = len(clear[0]) + len(clear[1])
    return Counts(
        scored=bins_of([*signs, *others]),
        flagged=len(flagged[0]) + len(flagged[1]),
        uncertain=len(uncertain[0]) + len(uncertain[1]),
        clear=number,
        flagged_read=FindingCounts(len(flagged[0]), len(flagged[1])),
        uncertain_read=FindingCounts(len(uncertain[0]), len(uncertain[1])),
        to_read_by_score=Judged(bins_of([*flagged[0], *uncertain[0]]), bins_of([*flagged[1], *uncertain[1]])),
        samples={
            f"{_DRAWN:g}": Sample(
                number, FindingCounts(len(drawn[0]), len(drawn[1])), 0, Judged(*map(bins_of, drawn))
            )
        }
        if draws
        else {},
        measured=len(signs) + len(others),
        far=sum(random.random() < _FAR for _ in (*signs, *others)),
    )
