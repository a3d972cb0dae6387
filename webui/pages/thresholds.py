"""The operating points: everybody sees which one is in force and why; an administrator puts another one in force."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from webui.access import identity
from webui.access.permissions import Permission, needs
from webui.actions import MAX_REASON, cleaned_text
from webui.dependencies import dependencies
from webui.expected_counts import expected_counts, prevalence_per_cent
from webui.parameters import bad_request_on_value_error
from worker.card.at_threshold import AtThreshold, at_threshold
from worker.card.reading import Point as CardPoint
from worker.card.reading import read_card
from worker.ledger import retriage, thresholds
from worker.ledger.point_groups import SOURCES, Group
from worker.ledger.retriage import Changes, Choice
from worker.ledger.session import ledger_time
from worker.ledger.thresholds import Point
from worker.ledger.thresholds_overview import ListedPoint, Overview, chosen, overview

pages = Blueprint("thresholds", __name__)

# The value of the choice that the site has no point of its own, and that it has a new one.
WITHOUT_SITE, NEW = ":none", ":new"
# The value of the choice that it is for a group of ages, which other fields name.
AGES = "age"
_NUMBERS = ("threshold", "band_low", "band_high")
_MAX_DAYS = 100_000


class _Preview(NamedTuple):
    """A choice that was not sent yet, what its re-triage would change, and what the card's curves say of its threshold.

    `changes` is None for who may not change points: to count them takes a second for 100,000 unread images.
    """

    choice: Choice
    changes: Changes | None
    figures: list[AtThreshold]


@pages.get("/thresholds")
@needs(Permission.MODELS)
def show() -> ResponseReturnValue:
    """Show the points, the one in force, and what the choice in the address would change."""
    with bad_request_on_value_error(), dependencies().ledger.reading() as session:
        prevalence = prevalence_per_cent(request.args.get("prevalence", ""))
        shown = _overview(session)
        return render_template(
            "thresholds.html",
            shown=shown,
            preview=_preview(session, shown, prevalence / 100),
            prevalence=prevalence,
            expectations=_expectations(shown, prevalence / 100),
            without_site=WITHOUT_SITE,
            new=NEW,
            ages=AGES,
            sources=[Group(source=source) for source in SOURCES],
        )


@pages.post("/thresholds")
@needs(Permission.MANAGE)
def change() -> ResponseReturnValue:
    """Put a point in force, and give unread images its verdicts if this was chosen."""
    who = identity.current().actor
    with bad_request_on_value_error(), dependencies().ledger.transaction() as session:
        why = cleaned_text(request.form.get("why", ""), MAX_REASON)
        shown = _overview(session)
        if shown is None:
            abort(409, "No model is known yet.")
        choice = _choice(session, shown, request.form)
        done = retriage.put_in_force(session, shown.model, choice, who=who, why=why, at=ledger_time(session))
    told = "" if done is None else f" {done.changed:,} of {done.unread:,} unread images have another verdict."
    flash(f"{_said(choice)} This holds for images that are scored from now on.{told}")
    return redirect(url_for("thresholds.show"), 303)


def _said(choice: Choice) -> str:
    if choice.group is None:
        return f"The operating point {choice.effective.name} is in force."
    if choice.point is None:
        return f"The group with the {choice.group.title} has no operating point of its own any more."
    return f"The operating point {choice.point.name} is in force for the {choice.group.title}."


def _overview(session: Session) -> Overview | None:
    return overview(session, dependencies().settings.operating_point)


def _preview(session: Session, shown: Overview | None, prevalence: float) -> _Preview | None:
    """Return what the choice in the address would change; None without one."""
    if shown is None or "point" not in request.args:
        return None
    choice = _choice(session, shown, request.args)
    counted = None
    if identity.current().may(Permission.MANAGE):
        counted = retriage.count(session, shown.model.sha256, choice)
    figures = at_threshold(read_card(shown.model.card), choice.effective.threshold, prevalence)
    return _Preview(choice, counted, figures)


def _choice(session: Session, shown: Overview, fields: MultiDict[str, str]) -> Choice:
    """Return the choice of a form. Raises ValueError, with a sentence, for one that cannot work."""
    days = _days(fields.get("days", ""))
    since = None if days is None else ledger_time(session) - timedelta(days=days)
    point, retriages = _point(session, shown, fields), fields.get("retriage") == "1"
    return chosen(shown, point, _group(fields), retriages=retriages, since=since)


def _group(fields: MultiDict[str, str]) -> Group | None:
    """Return the group of a form; None: all images that are in no group with a point."""
    key = fields.get("for", "")
    if key == AGES:
        first, last = (fields.get(name, "").strip() for name in ("age_from", "age_to"))
        if not (first.isdecimal() and last.isdecimal()):
            raise ValueError("both ages of a group must be whole numbers")
        return Group.parse(f"age={first}-{last}")
    return Group.parse(key) if key else None


def _point(session: Session, shown: Overview, fields: MultiDict[str, str]) -> Point | None:
    name = fields.get("point", "")
    if name == WITHOUT_SITE:
        return None
    if name == NEW:
        return Point.of_site(
            fields.get("name", ""), *(_number(fields.get(number, "")) for number in _NUMBERS)
        )
    try:
        return thresholds.find(session, shown.model, name)
    except LookupError as error:
        raise ValueError(error.args[0]) from None


def _number(text: str) -> float:
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        raise ValueError("the threshold and both ends of the band must be numbers from 0 to 1") from None


def _days(text: str) -> float | None:
    if not text.strip():
        return None
    try:
        days = float(text.strip().replace(",", "."))
    except ValueError:
        days = -1.0
    if not 0 <= days <= _MAX_DAYS:
        raise ValueError("the number of days must be 0 or more")
    return days


def _expectations(shown: Overview | None, prevalence: float) -> list[tuple[ListedPoint, object]]:
    """Return each point with what to expect of it among 1,000 images; None where the card does not say it."""
    if shown is None:
        return []
    return [(point, expected_counts(_card_point(point), prevalence)) for point in shown.points]


def _card_point(point: ListedPoint) -> CardPoint:
    return CardPoint(
        point.name,
        point.is_default,
        point.threshold,
        point.band_low,
        point.band_high,
        point.sensitivity,
        point.specificity,
        point.flagged_share,
    )
