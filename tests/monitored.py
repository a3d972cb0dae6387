"""Helpers that put invented counts of the monitor into a ledger, as if the sweeper had counted them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

from worker.ledger import audit, monitoring
from worker.ledger.monitor_counts import Group
from worker.ledger.monitored_groups import EVERYTHING, Dimension
from worker.ledger.monitoring import Mark
from worker.ledger.session import Ledger, ledger_time
from worker.monitor.counts import Counts, FindingCounts, Sample, bins_of


def yesterday(ledger: Ledger) -> date:
    """Return the last UTC day that is over."""
    with ledger.reading() as session:
        return ledger_time(session).date() - timedelta(days=1)


def keep_days(ledger: Ledger, days: Mapping[date, Mapping[Group, Counts]]) -> None:
    """Keep the counts of some days in place of what was kept of them, and note that no day is left."""
    with ledger.transaction() as session:
        before = monitoring.mark(session)
        after = Mark(audit.head(session)[0])
        assert monitoring.keep(session, before, after, days, ledger_time(session))


def everything(model_id: int) -> Group:
    """Return the group of all images that a model scored."""
    return Group(Dimension.ALL, EVERYTHING, model_id)


def some(images: int, flagged: int, *, unread: int = 0, far: int | None = None) -> Counts:
    """Return the counts of images that are flagged or clear. Half of the flagged ones have signs, no clear one does.

    `far` of them are far from the training data; None: the model does not say.
    """
    clear, read = images - flagged, flagged - unread
    drawn = clear // 10
    return Counts(
        scored=bins_of([0.9] * flagged + [0.1] * clear),
        flagged=flagged,
        clear=clear,
        flagged_read=FindingCounts(read // 2, read - read // 2),
        to_read_unread=unread,
        samples={"0.1": Sample(clear, FindingCounts(0, drawn))},
        measured=0 if far is None else images,
        far=far or 0,
    )
