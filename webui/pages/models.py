"""Models: what scores here, what it is for, and what it is worth."""

from __future__ import annotations

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue

from webui.charts import charts
from webui.dependencies import dependencies
from webui.expected_counts import expected, per_cent
from webui.parameters import bad_request_on_value_error
from worker.card.reading import (
    curves,
    datasets,
    figure_sets,
    files,
    operating_points,
    particulars,
    read_card,
    spreads,
)
from worker.card.text import explained, label, recipe_text, rows_of, tables_of, title
from worker.ledger.models import KnownModel, find_model, known_models

pages = Blueprint("models", __name__)
pages.add_app_template_filter(label, "label")
pages.add_app_template_filter(title, "title_of")

# A loss for each epoch says nothing here.
_NOT_SHOWN = ("history",)


@pages.get("/models")
def listing() -> ResponseReturnValue:
    """The models, and the card of the one in use."""
    known = _known()
    return _page(known, known[0] if known else None)


@pages.get("/models/<sha256>")
def show(sha256: str) -> ResponseReturnValue:
    """The models, and the card of this one."""
    known = _known()
    shown = find_model(known, sha256)
    if shown is None:
        abort(404, "There is no model of this SHA-256.")
    return _page(known, shown)


def _known() -> list[KnownModel]:
    with dependencies().ledger.reading() as session:
        return known_models(session)


def _page(known: list[KnownModel], shown: KnownModel | None) -> ResponseReturnValue:
    with bad_request_on_value_error():
        prevalence = per_cent(request.args.get("prevalence", ""))
    if shown is None:
        return render_template("models.html", known=known, shown=None)
    card = read_card(shown.model.card)
    points = operating_points(card)
    sets = figure_sets(card)
    calibration = rows_of(card.calibration.model_dump(exclude_defaults=True))
    return render_template(
        "models.html",
        known=known,
        shown=shown,
        card=card,
        sets=sets,
        kinds=explained(each.name for each in sets),
        metrics=list(dict.fromkeys(metric for each in sets for metric in each.figures)),
        charts=charts(curves(card), points),
        points=points,
        prevalence=prevalence,
        expectations=[(point, expected(point, prevalence / 100)) for point in points],
        spreads=spreads(card),
        particulars={"calibration": calibration, **particulars(card)},
        datasets=datasets(card),
        training=rows_of(card.training, but=_NOT_SHOWN),
        training_tables=tables_of(card.training, but=_NOT_SHOWN),
        recipe=recipe_text(card),
        files=files(card),
    )
