"""How far the scores of recent images, read or not, lie from expected ones: the warning that needs no reading.

Nothing is adapted to unread images: that did harm when it was tried. The figures are those of the monitor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy.orm import Session

from worker.card.reading import read_card
from worker.ledger.calibrations import Layer
from worker.ledger.monitor_counts import day_of
from worker.ledger.session import ledger_time
from worker.ledger.tables import Model
from worker.monitor import drift
from worker.monitor.drift import LARGE, SOME, Drift
from worker.report.monitor_figures import EARLIER_DAYS, ScoresOfDays, expected_scores, scores_of_days
from worker.report.site_calibration import Figures

# The scores of so many days before today are compared, as by the monitor.
DAYS = 28
# A difference that chance gives less often than this is called one.
UNLIKELY = 0.01


@dataclass(frozen=True)
class Shift:
    """How far the scores of some days lie from expected ones.

    Attributes:
        of: code of what they are compared with: `card`, `earlier` or `calibration`.
        expected: words for it.
        first, last: the days; None if there are none.
        drift: the monitor's figures.
    """

    of: str
    expected: str
    first: date | None
    last: date | None
    drift: Drift

    @property
    def warns(self) -> bool:
        """Whether the scores differ: by more than chance explains, and by more than is usually called no change."""
        psi, p = self.drift.psi, self.drift.p
        return psi is not None and p is not None and psi >= SOME and p < UNLIKELY

    @property
    def sentence(self) -> str:
        """What it means, for people."""
        if self.drift.psi is None:
            return f"Not known. {self.drift.why_not}"
        if not self.warns:
            return "No difference that matters."
        size = "large" if self.drift.psi >= LARGE else "moderate"
        return f"The scores differ: a {size} difference that chance does not explain."


def shifts(session: Session, model: Model, layer: Layer | None, *, person: bool = True) -> list[Shift]:
    """Compare the scores of the last days with the model's card, with earlier days, and with what a calibration was fitted on.

    `person`: only the days that a person may see (`worker.report.monitor_figures`).
    """
    last = day_of(ledger_time(session)) - timedelta(days=1)
    first = last - timedelta(days=DAYS - 1)
    recent = scores_of_days(session, model, first, last, person=person)
    expected = expected_scores(read_card(model.card))
    of_card = Drift(None, why_not="The card has no curve to compare with.")
    if expected is not None and recent is not None:
        of_card = drift.drift_from_shares(recent.scores, expected)
    before = first - timedelta(days=EARLIER_DAYS)
    earlier = scores_of_days(session, model, before, first - timedelta(days=1), person=person)
    compared = [
        _shift("card", "the images of the model's card", recent, of_card),
        _shift("earlier", f"this site's {EARLIER_DAYS} days before", recent, _of(recent, earlier)),
    ]
    if layer is not None:
        compared.append(_since_fit(session, model, layer, first, last, person=person))
    return compared


def warnings(compared: Sequence[Shift]) -> list[Shift]:
    """Return the shifts that a person should know of."""
    return [shift for shift in compared if shift.warns]


def _since_fit(
    session: Session, model: Model, layer: Layer, first: date, last: date, *, person: bool
) -> Shift:
    since = scores_of_days(
        session, model, max(first, day_of(layer.at) + timedelta(days=1)), last, person=person
    )
    figures = Figures.of(layer)
    of_fit = drift.drift(since.scores, figures.scores) if since else _too_early()
    return _shift("calibration", f"the images that {layer.name} was fitted on", since, of_fit)


def _too_early() -> Drift:
    return Drift(None, why_not="No day is over since the fit.")


def _of(recent: ScoresOfDays | None, earlier: ScoresOfDays | None) -> Drift:
    if recent is None or earlier is None:
        return Drift(None, why_not="No day is over.")
    return drift.drift(recent.scores, earlier.scores)


def _shift(of: str, expected: str, days: ScoresOfDays | None, figures: Drift) -> Shift:
    return Shift(of, expected, days.first if days else None, days.last if days else None, figures)
