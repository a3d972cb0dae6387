"""Models: the list of models and the card of one; which one is active, which one is tried, and how two compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from webui.access import identity
from webui.access.permissions import Permission, needs
from webui.actions import MAX_REASON, cleaned_text
from webui.charts import charts
from webui.dependencies import dependencies
from webui.expected_counts import expected_clear, expected_counts, prevalence_per_cent
from webui.parameters import bad_request_on_value_error
from worker.card.identity import is_shipped
from worker.card.reading import (
    Point,
    curves,
    datasets,
    figure_sets,
    files,
    lowest,
    operating_points,
    particulars,
    read_card,
    splits,
    spreads,
)
from worker.card.text import (
    explained,
    label,
    population_text,
    recipe_text,
    rows_of,
    splits_explained,
    tables_of,
    title,
)
from worker.ledger import bundles, missed_cases, model_choice
from worker.ledger.bundles import KnownBundles
from worker.ledger.models import RegisteredModel, find_model, registered_models
from worker.ledger.models_overview import ModelsOverview, overview
from worker.ledger.session import ledger_time
from worker.ledger.shadows import IMAGES
from worker.ledger.tables import Model
from worker.report.model_comparison import (
    SMALLEST,
    ModelComparison,
    as_csv,
    model_comparison,
    side,
    version,
)

pages = Blueprint("models", __name__)
pages.add_app_template_filter(label, "label")
pages.add_app_template_filter(title, "title_of")

# The loss of each epoch is of no use on this page.
_HIDDEN = ("history",)
# More discordant images would make the page long; the counts name all.
_DISCORDANT = 200


@pages.get("/models")
@needs(Permission.MODELS)
def listing() -> ResponseReturnValue:
    """Show the models, and the card of the active one."""
    shown, models = _models()
    return _page(shown, models, models[0] if models else None)


@pages.get("/models/<sha256>")
@needs(Permission.MODELS)
def show(sha256: str) -> ResponseReturnValue:
    """Show the models, and the card of this one."""
    shown, models = _models()
    selected = find_model(models, sha256)
    if selected is None:
        abort(404, "There is no model with this SHA-256.")
    return _page(shown, models, selected)


@pages.post("/models/<sha256>/activate")
@needs(Permission.MANAGE)
def activate(sha256: str) -> ResponseReturnValue:
    """Make a model active."""

    def change(session: Session, known: KnownBundles, why: str, at: datetime) -> str:
        who = identity.current().actor
        active = model_choice.activate(session, known, sha256, who=who, why=why, at=at)
        return f"{active.title} is active. Images that are scored from now on get its scores."

    return _changed(change, sha256)


@pages.post("/models/default")
@needs(Permission.MANAGE)
def activate_default() -> ResponseReturnValue:
    """Let each worker's setting NIGHTREAD_MODEL decide again."""

    def change(session: Session, known: KnownBundles, why: str, at: datetime) -> str:
        model_choice.activate_default(session, known, who=identity.current().actor, why=why, at=at)
        return "Each worker scores with the model of its setting NIGHTREAD_MODEL from now on."

    return _changed(change, None)


@pages.post("/models/<sha256>/shadow")
@needs(Permission.MANAGE)
def shadow(sha256: str) -> ResponseReturnValue:
    """Have a model score images in the background."""

    def change(session: Session, known: KnownBundles, why: str, at: datetime) -> str:
        who, images, since = identity.current().actor, _images(), _since()
        model_choice.shadow(session, known, sha256, who=who, why=why, at=at, images=images, since=since)
        return "The candidate scores images while nothing waits."

    return _changed(change, sha256)


@pages.post("/models/shadow-off")
@needs(Permission.MANAGE)
def shadow_off() -> ResponseReturnValue:
    """Stop shadow scoring."""

    def change(session: Session, known: KnownBundles, why: str, at: datetime) -> str:
        model_choice.shadow(session, known, None, who=identity.current().actor, why=why, at=at)
        return "Nothing is scored in the background any more. What the candidate said is kept."

    return _changed(change, None)


@pages.get("/models/compare")
@needs(Permission.MODELS)
def compare() -> ResponseReturnValue:
    """Compare two models on the images that people have read; without two of them, let the reader choose."""
    with dependencies().ledger.reading() as session:
        models = registered_models(session)
        return render_template(
            "models_compare.html",
            models=models,
            compared=_compared(session, models),
            smallest=SMALLEST,
            most=_DISCORDANT,
        )


@pages.get("/models/compare.csv")
@needs(Permission.REPORTS)
def compare_csv() -> ResponseReturnValue:
    """Send the figures of the comparison as a table."""
    with dependencies().ledger.reading() as session:
        compared = _compared(session, registered_models(session))
        if compared is None:
            abort(400, "The address must name two models: a and b.")
        text = as_csv(compared)
    headers = {"Content-Disposition": 'attachment; filename="nightread-models.csv"'}
    return Response(text, mimetype="text/csv", headers=headers)


def _compared(session: Session, models: list[RegisteredModel]) -> ModelComparison | None:
    """Return the comparison of the models that the address names; None without two."""
    hashes = [request.args.get(name, "") for name in ("a", "b")]
    if not all(hashes):
        return None
    chosen = [find_model(models, sha256) for sha256 in hashes]
    if chosen[0] is None or chosen[1] is None:
        abort(404, "There is no model with this SHA-256.")
    with bad_request_on_value_error():
        if chosen[0].model.id == chosen[1].model.id:
            raise ValueError("choose two different models")
        named = dependencies().settings.operating_point
        a, b = (side(session, one.model, named) for one in (chosen[0], chosen[1]))
    extent = missed_cases.extent(session)
    key = a.model.sha256, a.point, b.model.sha256, b.point, extent.runs, extent.images, extent.latest
    kept = dependencies().model_comparisons.get(
        key, version(session), lambda: model_comparison(session, a, b, extent)
    )
    return replace(kept, a=a, b=b, extent=extent)


def _changed(
    change: Callable[[Session, KnownBundles, str, datetime], str], sha256: str | None
) -> ResponseReturnValue:
    """Make a change, say so, and show the page again. A change that cannot be made is answered with 400."""
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        why = cleaned_text(request.form.get("why", ""), MAX_REASON)
        at = ledger_time(session)
        try:
            told = change(session, bundles.known(session, at), why, at)
        except LookupError as error:
            raise ValueError(error.args[0]) from None
    flash(told)
    target = url_for("models.show", sha256=sha256) if sha256 else url_for("models.listing")
    return redirect(target, 303)


def _images() -> int:
    try:
        return int(request.form.get("images", "").strip() or IMAGES)
    except ValueError:
        raise ValueError("the number of images must be a whole number") from None


def _since() -> datetime | None:
    text = request.form.get("since", "").strip()
    if not text:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError("the day must be written as 2026-05-31") from None


def _models() -> tuple[ModelsOverview, list[RegisteredModel]]:
    """Return what is known of the models: those that are registered, and then those whose bundle a worker has."""
    with dependencies().ledger.reading() as session:
        shown = overview(session, ledger_time(session))
        models = registered_models(session)
    registered = {model.model.sha256 for model in models}
    found = [
        RegisteredModel(_unregistered(bundle.sha256, bundle), is_active=False, scored=0, operating_point=None)
        for bundle in shown.known.unique()
        if bundle.sha256 and bundle.sha256 not in registered
    ]
    return shown, models + found


def _unregistered(sha256: str, bundle: bundles.FoundBundle) -> Model:
    """Return a model that is in no table, so that its card can be shown."""
    return Model(sha256=sha256, name=bundle.name, version=bundle.version, card=dict(bundle.card or {}))


def _page(
    shown: ModelsOverview, models: list[RegisteredModel], selected: RegisteredModel | None
) -> ResponseReturnValue:
    with bad_request_on_value_error():
        prevalence = prevalence_per_cent(request.args.get("prevalence", ""))
    if selected is None:
        return render_template("models.html", models=models, selected=None, shown=shown)
    card = read_card(selected.model.card)
    points = operating_points(card)
    sets = figure_sets(card)
    in_force = _point_in_force(selected, points)
    calibration = rows_of(card.calibration.model_dump(exclude_defaults=True))
    return render_template(
        "models.html",
        models=models,
        shown=shown,
        listed={listed.sha256: listed for listed in shown.models if listed.sha256},
        shadow_images=IMAGES,
        selected=selected,
        verified=is_shipped(selected.model.sha256, selected.model.card),
        card=card,
        population=population_text(card),
        sets=sets,
        kinds=explained(figure_set.name for figure_set in sets),
        metrics=list(dict.fromkeys(metric for figure_set in sets for metric in figure_set.figures)),
        splits=splits(card),
        split_kinds=splits_explained(split.name for split in splits(card)),
        lowest=lowest(card),
        charts=charts(curves(card), points),
        points=points,
        in_force=in_force,
        expected_in_force=expected_counts(in_force, prevalence / 100) if in_force else None,
        clear_in_force=expected_clear(card, in_force.band_low, prevalence / 100) if in_force else None,
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
