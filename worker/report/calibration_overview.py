"""What the page, the command and the API show of a model's calibrations at this site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy.orm import Session

from worker.card.reading import read_card
from worker.ledger import calibrations, users
from worker.ledger.calibrations import Choice, Layer
from worker.ledger.tables import Model
from worker.ledger.thresholds import Point
from worker.report.score_shifts import Shift, shifts
from worker.report.site_calibration import Figures, proposed_point

_CHANGES = 50


@dataclass(frozen=True)
class CalibrationOverview:
    """The calibrations of a model.

    Attributes:
        model: its row.
        layer: the calibration in force; None without one.
        figures: of that calibration.
        choice: who put it in force, when and why.
        proposed: the operating point that it proposes.
        layers: all that were ever in force, the last one first.
        changes: the latest changes, the last one first.
        shifts: how far recent scores lie from expected ones.
        names: of the people who made the changes, by their actors.
    """

    model: Model
    layer: Layer | None
    figures: Figures | None
    choice: Choice | None
    proposed: Point | None
    layers: Sequence[Layer]
    changes: Sequence[Choice]
    shifts: Sequence[Shift]
    names: Mapping[str, str]

    def who(self, choice: Choice) -> str:
        """Return the name of who made a change."""
        return self.names.get(choice.set_by, choice.set_by)


def overview(session: Session, model: Model, *, person: bool = True) -> CalibrationOverview:
    """Return what is on record. `person`: see `worker.report.score_shifts.shifts`."""
    layer = calibrations.in_force(session, model.id)
    changes = calibrations.history(session, model.id, limit=_CHANGES)
    return CalibrationOverview(
        model=model,
        layer=layer,
        figures=Figures.of(layer) if layer else None,
        choice=changes[0] if layer else None,
        proposed=point_of(model, layer) if layer else None,
        layers=calibrations.layers(session, model.id),
        changes=changes,
        shifts=shifts(session, model, layer, person=person),
        names=users.names_of(session, [change.set_by for change in changes]),
    )


def point_of(model: Model, layer: Layer) -> Point | None:
    """Return the operating point that a calibration proposes; None if the card has no default point."""
    return proposed_point(
        read_card(model.card), layer.recalibration, layer.prevalence, f"calibrated-{layer.version}"
    )


def document(shown: CalibrationOverview) -> dict[str, Any]:
    """Return everything as a JSON document."""
    in_force = None
    if shown.layer and shown.figures and shown.choice:
        in_force = {
            **layer_document(shown.layer),
            **_change(shown, shown.choice),
            "verdict": shown.figures.fit.held_out.verdict.value,
            "sentences": shown.figures.sentences,
            "figures": shown.layer.figures,
            "proposed_point": asdict(shown.proposed) if shown.proposed else None,
        }
    return {
        "model": {"name": shown.model.name, "version": shown.model.version, "sha256": shown.model.sha256},
        "in_force": in_force,
        "calibrations": [layer_document(layer) for layer in shown.layers],
        "changes": [
            {"version": change.version, "revoked": change.revoked, **_change(shown, change)}
            for change in shown.changes
        ],
        "scores": [
            {
                "compared_with": shift.of,
                "first_day": shift.first.isoformat() if shift.first else None,
                "last_day": shift.last.isoformat() if shift.last else None,
                **asdict(shift.drift),
                "warns": shift.warns,
                "sentence": shift.sentence,
            }
            for shift in shown.shifts
        ],
    }


def layer_document(layer: Layer) -> dict[str, Any]:
    """Return the numbers of a calibration."""
    return {
        "version": layer.version,
        "intercept": layer.recalibration.intercept,
        "slope": layer.recalibration.slope,
        "prevalence": layer.prevalence,
        "cases_digest": layer.cases_digest,
        "fitted_at": layer.at.isoformat(timespec="seconds"),
    }


def _change(shown: CalibrationOverview, change: Choice) -> dict[str, Any]:
    return {"since": change.at.isoformat(timespec="seconds"), "set_by": shown.who(change), "why": change.why}
