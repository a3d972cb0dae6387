"""What the command and the page show of the operating points: those of the card, those of the site, the one in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy.orm import Session

from worker.card.reading import operating_points, read_card
from worker.ledger import models, thresholds, users
from worker.ledger.point_groups import Group
from worker.ledger.retriage import Choice
from worker.ledger.tables import Model
from worker.ledger.thresholds import Point, Setting

_CHANGES = 50


class ChosenBy(StrEnum):
    """What put an operating point in force."""

    SITE = "site"
    SETTING = "setting"
    CARD = "card"


@dataclass(frozen=True)
class ListedPoint:
    """An operating point, and the figures that the card states for it; None: not known.

    `is_of_card` is false for a point that the site named.
    """

    name: str
    is_of_card: bool
    is_default: bool
    threshold: float
    band_low: float
    band_high: float
    sensitivity: float | None = None
    specificity: float | None = None
    flagged_share: float | None = None

    def is_at(self, point: Point) -> bool:
        """Return whether it has this name and these numbers."""
        return (self.name, self.threshold, self.band_low, self.band_high) == astuple(point)


@dataclass(frozen=True)
class Overview:
    """The operating points of the model that scores now.

    Attributes:
        model: its row.
        points: those of its card, then those of the site.
        in_force: the general one: new images follow it unless a group that they are in has its own; None: nobody knows it.
        source: what put it in force.
        setting: who put it in force, when and why; None unless the site did.
        without_site: the one that would hold without the site's; None: nobody knows it.
        unused: a sentence if the site's last point is for another model.
        changes: the latest changes, the last one first.
        names: of the people who made them, by their actors.
        groups: the points in force for groups of images, the ages first.
    """

    model: Model
    points: Sequence[ListedPoint]
    in_force: ListedPoint | None
    source: ChosenBy
    setting: Setting | None
    without_site: Point | None
    unused: str | None
    changes: Sequence[Setting]
    names: Mapping[str, str]
    groups: Sequence[Setting] = ()


def overview(session: Session, named: str) -> Overview | None:
    """Return the operating points; None before a worker has registered a model.

    `named` is the setting NIGHTREAD_OPERATING_POINT.
    """
    model = models.active_model(session)
    if model is None:
        return None
    plan = thresholds.plan(session, model.sha256)
    setting = plan.general
    without_site = _without_site(model, named)
    points = _points(session, model)
    point = setting.point if setting else without_site
    changes = thresholds.history(session, limit=_CHANGES)
    return Overview(
        model=model,
        points=points,
        in_force=None if point is None else _listed(points, point),
        source=ChosenBy.SITE if setting else ChosenBy.SETTING if named else ChosenBy.CARD,
        setting=setting,
        without_site=without_site,
        unused=models.unused_point(session),
        changes=changes,
        names=users.names_of(session, [change.set_by for change in (*changes, *plan.groups)]),
        groups=plan.groups,
    )


def chosen(
    shown: Overview,
    point: Point | None,
    group: Group | None,
    *,
    retriages: bool,
    since: datetime | None,
) -> Choice:
    """Return a choice of a person among what they see."""
    general = shown.setting.point if shown.setting and group else None
    return Choice(point, shown.without_site, retriages, since, group, general)


def _points(session: Session, model: Model) -> list[ListedPoint]:
    of_card = [
        ListedPoint(is_of_card=True, **asdict(point)) for point in operating_points(read_card(model.card))
    ]
    of_site = [
        ListedPoint(
            name=row.name,
            is_of_card=False,
            is_default=False,
            threshold=row.threshold,
            band_low=row.band_low,
            band_high=row.band_high,
        )
        for row in thresholds.site_points(session, model.id)
    ]
    return [*of_card, *of_site]


def _listed(points: Sequence[ListedPoint], point: Point) -> ListedPoint:
    """Return the point with its figures. Only a point of a replaced card is in no list."""
    alone = ListedPoint(is_of_card=False, is_default=False, **asdict(point))
    return next((listed for listed in points if listed.is_at(point)), alone)


def _without_site(model: Model, named: str) -> Point | None:
    try:
        return thresholds.without_site(model, named)
    except LookupError:
        return None
