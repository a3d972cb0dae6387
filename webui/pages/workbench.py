"""The workbench of thresholds: what a threshold and a band would do, by the card and by the read cases of this site.

The server computes every figure. The script of the page asks for them again when a field changes, and puts them in place.
"""

from __future__ import annotations

import math
from typing import NamedTuple
from urllib.parse import urlencode

from flask import Blueprint, Response, abort, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from webui.access.on_record import record
from webui.access.permissions import Permission, needs
from webui.dependencies import dependencies
from webui.expected_counts import prevalence_per_cent
from webui.parameters import bad_request_on_value_error
from webui.workbench_view import NAMES, WorkbenchView, trial_fields, view_of
from worker.card.reading import read_card
from worker.card.schema import Card
from worker.ledger import missed_cases, protocols, read_cases
from worker.ledger.accesses import AccessKind
from worker.ledger.missed_cases import Extent
from worker.ledger.thresholds import Point
from worker.ledger.thresholds_overview import Overview, overview
from worker.report.site_cases import SiteCases
from worker.report.workbench import CardColumn, SiteColumn, Trial, card_column, card_sets, site_column
from worker.report.workbench_formats import cases_as_csv, figures_as_csv

pages = Blueprint("workbench", __name__)

# Before a card or a site says anything better.
_MIDDLE = Point("middle", 0.5, 0.5, 0.5)
_BAND = ("band_low", "threshold", "band_high")
_MOST_IMAGES, _MOST_SECONDS = 1_000_000, 86_400
_NAMES_OF_FIELDS = {
    "band_low": "the lower end of the band",
    "threshold": "the threshold",
    "band_high": "the upper end of the band",
    "images": "the field images a night",
    "seconds": "the field seconds an image",
}


class _Workbench(NamedTuple):
    """What the address asks for, and what is known of it."""

    shown: Overview
    card: Card
    sets: list[str]
    trial: Trial
    extent: Extent
    of_card: CardColumn | None
    of_site: SiteColumn

    def view(self, *, whole: bool) -> WorkbenchView:
        return view_of(self.card, self.of_card, self.of_site, whole=whole)


@pages.get("/thresholds/workbench")
@needs(Permission.MODELS)
def show() -> ResponseReturnValue:
    """Show the figures of the threshold and the band in the address, or of the point in force."""
    found = _workbench()
    if found is None:
        return render_template("workbench.html", found=None)
    return render_template(
        "workbench.html",
        found=found,
        view=found.view(whole=True),
        names=NAMES,
        fields=trial_fields(found.trial),
        query=_query(found),
        most_images=missed_cases.IMAGES,
    )


@pages.get("/thresholds/workbench/figures")
@needs(Permission.MODELS)
def figures() -> ResponseReturnValue:
    """Return the figures as JSON: texts by the ids of the page, positions of the markers, and the values of the fields.

    `moved` names the field that was changed last: the other ends of the band make way for it.
    """
    found = _workbench()
    if found is None:
        abort(409, "No model is known yet.")
    return {**found.view(whole=False).document(), "fields": trial_fields(found.trial), "query": _query(found)}


@pages.get("/thresholds/workbench/figures.csv")
@needs(Permission.REPORTS)
def figures_csv() -> ResponseReturnValue:
    """Return the figures of both columns as a CSV file, with all digits."""
    found = _workbench()
    if found is None:
        abort(409, "No model is known yet.")
    columns = [column for column in (found.of_card, found.of_site) if column is not None]
    return _csv(figures_as_csv(found.trial, columns), "nightread-workbench.csv")


@pages.get("/thresholds/workbench/cases.csv")
@needs(Permission.REPORTS)
def cases_csv() -> ResponseReturnValue:
    """Return the read cases with their weights as a CSV file for `nightread evaluate --table`; this is on record."""
    found = _workbench()
    if found is None:
        abort(409, "No model is known yet.")
    record(AccessKind.EXPORT, "read_cases")
    return _csv(cases_as_csv(found.of_site.cases), "nightread-read-cases.csv")


def _csv(text: str, name: str) -> Response:
    response = Response(text, content_type="text/csv; charset=utf-8")
    response.headers.set("Content-Disposition", "attachment", filename=name)
    return response


def _workbench() -> _Workbench | None:
    with bad_request_on_value_error(), dependencies().ledger.reading() as session:
        shown = overview(session, dependencies().settings.operating_point)
        if shown is None:
            return None
        card = read_card(shown.model.card)
        extent = missed_cases.extent(session)
        cases = _cases(session, extent, shown.model.sha256)
        trial = _trial(session, shown, extent, request.args)
        sets = card_sets(card)
        chosen = request.args.get("set", "")
        name = chosen if chosen in sets else sets[0] if sets else None
        return _Workbench(
            shown,
            card,
            sets,
            trial,
            extent,
            None if name is None else card_column(card, name, trial),
            site_column(cases, trial),
        )


def _cases(session: Session, extent: Extent, model_sha256: str) -> SiteCases:
    """Return the read cases of the runs of an extent that a model scored last."""

    def read() -> SiteCases:
        found = read_cases.read_cases(session, list(extent.runs), model_sha256)
        return SiteCases.of(found.images, found.score_first)

    key = model_sha256, extent.runs, extent.images, extent.latest
    return dependencies().read_cases.get(key, read_cases.version(session), read)


def _trial(session: Session, shown: Overview, extent: Extent, fields: MultiDict[str, str]) -> Trial:
    """Return what the address asks for. Raises ValueError, with a sentence, for numbers that cannot work."""
    current = shown.in_force or shown.without_site or _MIDDLE
    band = {name: _score(fields, name, getattr(current, name), shown) for name in _BAND}
    point = Point("tried", **_make_way(band, fields.get("moved", "")))
    protocol = protocols.in_force(session).protocol
    images = _number(fields, "images", _images_a_night(extent), _MOST_IMAGES)
    seconds = _number(fields, "seconds", read_cases.seconds_an_image(session), _MOST_SECONDS)
    return Trial(
        point.threshold,
        point.band_low,
        point.band_high,
        prevalence_per_cent(fields.get("prevalence", "")) / 100,
        images,
        seconds,
        protocol.sample_share,
        protocol.readers,
    )


def _make_way(band: dict[str, float], moved: str) -> dict[str, float]:
    """Return the numbers in their order: those that are in the way of the one that was moved get its value."""
    if moved not in band:
        return band
    value, place = band[moved], _BAND.index(moved)
    return {
        name: min(number, value) if _BAND.index(name) < place else max(number, value)
        for name, number in band.items()
    }


def _score(fields: MultiDict[str, str], name: str, current: float, shown: Overview) -> float:
    """Return a score of the form. The fields show six decimals, and a point of a card may have more."""
    number = _number(fields, name, None)
    if number is None:
        return current
    known = (getattr(point, end) for point in shown.points for end in _BAND)
    return next((exact for exact in (current, *known) if round(exact, 6) == number), number)


def _number(fields: MultiDict[str, str], name: str, otherwise: float | None, most: int = 1) -> float | None:
    """Return the number of a field, `otherwise` if it is empty. Raises ValueError unless it is from 0 to `most`."""
    text = fields.get(name, "")
    if not text.strip():
        return otherwise
    try:
        number = float(text.strip().replace(",", "."))
    except ValueError:
        number = math.nan
    if not 0 <= number <= most:
        raise ValueError(f"{_NAMES_OF_FIELDS[name]} must be a number from 0 to {most:,}")
    return number


def _images_a_night(extent: Extent) -> float | None:
    """Return the mean number of scored images of the runs that count; None without any."""
    return float(round(extent.images / len(extent.runs))) if extent.runs else None


def _query(found: _Workbench) -> str:
    chosen = {} if found.of_card is None else {"set": found.of_card.name}
    return urlencode(trial_fields(found.trial) | chosen)
