"""The monitor: how well the model works here, by period and group, and what has changed."""

from __future__ import annotations

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue

from webui import monitor_query
from webui.access import identity
from webui.access.permissions import Permission, needs
from webui.dependencies import dependencies
from webui.formatting import as_sentence
from webui.monitor_charts import calibration_chart, psi_chart, share_chart
from webui.parameters import bad_request_on_value_error
from worker.monitor.estimates import SMALL
from worker.report.monitor_figures import EARLIER_DAYS, MonitorFigures, monitor_figures

pages = Blueprint("monitor", __name__)

_OF_SCORES = (("flagged", "Flagged"), ("rejected", "Rejected"))
_OF_READINGS = (
    ("sensitivity", "Sensitivity"),
    ("specificity", "Specificity"),
    ("ppv", "Positive predictive value"),
    ("npv", "Negative predictive value"),
    ("overridden", "Overrides"),
)


@pages.get("/monitor")
@needs(Permission.MODELS)
def show() -> ResponseReturnValue:
    """Show the figures with their intervals, by period and by group."""
    with bad_request_on_value_error():
        asked = monitor_query.parse(request.args)
    who = identity.current()
    names = who.may(Permission.IMAGES) or who.may(Permission.MANAGE)
    with dependencies().ledger.reading() as session:
        try:
            figures = monitor_figures(session, asked, names=names, person=who.scopes is None)
        except LookupError as error:
            abort(404, as_sentence(error))
    return render_template(
        "monitor.html",
        figures=figures,
        charts_of_scores=_charts_of_scores(figures),
        charts_of_readings=[
            share_chart(name, title, figures.periods) for name, title in _OF_READINGS if figures.periods
        ],
        calibration=calibration_chart(figures.calibration),
        of_readings=_OF_READINGS,
        periods=monitor_query.PERIODS,
        dimensions=monitor_query.DIMENSIONS,
        query=monitor_query.query,
        earlier_days=EARLIER_DAYS,
        smallest=SMALL,
    )


def _charts_of_scores(figures: MonitorFigures) -> list[object]:
    if not figures.periods:
        return []
    charts: list[object] = [
        share_chart(name, title, figures.periods, figures.expected.flagged if name == "flagged" else None)
        for name, title in _OF_SCORES
    ]
    if figures.says_distance:
        charts.append(share_chart("far", "Far from the training data", figures.periods))
    if figures.expected.scores is not None:
        charts.append(psi_chart("from_card", "Drift from the card (PSI)", figures.periods))
    charts.append(psi_chart("from_earlier", "Drift from earlier days (PSI)", figures.periods))
    return charts
