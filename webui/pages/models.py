"""Models: the list of models, and the card of one."""

from __future__ import annotations

from dataclasses import replace

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue

from webui.access.permissions import Permission, needs
from webui.charts import charts
from webui.dependencies import dependencies
from webui.expected_counts import expected_counts, prevalence_per_cent
from webui.parameters import bad_request_on_value_error
from worker.card.identity import is_shipped
from worker.card.reading import (
    Point,
    curves,
    datasets,
    figure_sets,
    files,
    operating_points,
    particulars,
    read_card,
    spreads,
)
from worker.card.text import explained, label, population_text, recipe_text, rows_of, tables_of, title
from worker.ledger.models import RegisteredModel, find_model, registered_models

pages = Blueprint("models", __name__)
pages.add_app_template_filter(label, "label")
pages.add_app_template_filter(title, "title_of")

# The loss of each epoch is of no use on this page.
_HIDDEN = ("history",)


@pages.get("/models")
@needs(Permission.MODELS)
def listing() -> ResponseReturnValue:
    """Show the models, and the card of the one in use."""
    models = _models()
    return _page(models, models[0] if models else None)


@pages.get("/models/<sha256>")
@needs(Permission.MODELS)
def show(sha256: str) -> ResponseReturnValue:
    """Show the models, and the card of this one."""
    models = _models()
    selected = find_model(models, sha256)
    if selected is None:
        abort(404, "There is no model with this SHA-256.")
    return _page(models, selected)


def _models() -> list[RegisteredModel]:
    with dependencies().ledger.reading() as session:
        return registered_models(session)


def _page(models: list[RegisteredModel], selected: RegisteredModel | None) -> ResponseReturnValue:
    with bad_request_on_value_error():
        prevalence = prevalence_per_cent(request.args.get("prevalence", ""))
    if selected is None:
        return render_template("models.html", models=models, selected=None)
    card = read_card(selected.model.card)
    points = operating_points(card)
    sets = figure_sets(card)
    in_force = _point_in_force(selected, points)
    calibration = rows_of(card.calibration.model_dump(exclude_defaults=True))
    return render_template(
        "models.html",
        models=models,
        selected=selected,
        verified=is_shipped(selected.model.sha256, selected.model.card),
        card=card,
        population=population_text(card),
        sets=sets,
        kinds=explained(figure_set.name for figure_set in sets),
        metrics=list(dict.fromkeys(metric for figure_set in sets for metric in figure_set.figures)),
        charts=charts(curves(card), points),
        points=points,
        in_force=in_force,
        expected_in_force=expected_counts(in_force, prevalence / 100) if in_force else None,
        prevalence=prevalence,
        expectations=[(point, expected_counts(point, prevalence / 100)) for point in points],
        spreads=spreads(card),
        particulars={"calibration": calibration, **particulars(card)},
        datasets=datasets(card),
        training=rows_of(card.training, without=_HIDDEN),
        training_tables=tables_of(card.training, without=_HIDDEN),
        recipe=recipe_text(card),
        files=files(card),
    )


def _point_in_force(selected: RegisteredModel, points: list[Point]) -> Point | None:
    """Return the point of the latest prediction, with the card's figures if it has the card's threshold.

    Before the first prediction, the card's default point.
    """
    used = selected.operating_point
    if used is None:
        return next((point for point in points if point.is_default), None)
    of_card = next((point for point in points if point.name == used.name), None)
    if of_card and of_card.threshold == used.threshold:
        return replace(of_card, band_low=used.band_low, band_high=used.band_high)
    return Point(used.name, False, used.threshold, used.band_low, used.band_high, None, None, None)  # noqa: FBT003
