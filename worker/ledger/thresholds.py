"""Operating points of the site: which ones it has, and which ones are in force, for all images and for groups of images.

Each change is a row with who and why, like a change of the reading protocol. A point belongs to one model: it is never
applied to another one. When the former model is active again, what was in force for it is in force again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from worker.card.band import Bounds
from worker.card.reading import operating_points, read_card
from worker.ledger import actors, audit
from worker.ledger.point_groups import Group, Traits, applying
from worker.ledger.seals import new_salt, seal
from worker.ledger.tables import Model, OperatingPointRow, SiteSetting

_NAME = "operating_point"
# The setting of a group has the group behind this.
_OF_GROUP = f"{_NAME}:"
# The name of a point stands in the audit trail, so it is a code and not what somebody typed about a patient.
_CODE = re.compile(r"[a-z][a-z0-9-]{0,29}")
# Six digits are what the audit trail proves.
_DIGITS = 6
_NUMBERS = ("threshold", "band_low", "band_high")
# `OperatingPointRow.set_by` of a point that a worker registered.
BY_BUNDLE = "bundle"


@dataclass(frozen=True)
class Point:
    """A named operating point. Numbers are as in `worker.inference.triage.OperatingPoint`.

    Raises ValueError, with a sentence, for a point that cannot work.
    """

    name: str
    threshold: float
    band_low: float
    band_high: float

    def __post_init__(self) -> None:
        """Check the values; NaN is none."""
        if not self.name:
            raise ValueError("the operating point needs a name")
        if not 0.0 <= self.band_low <= self.threshold <= self.band_high <= 1.0:
            raise ValueError(
                "the lower end of the band, the threshold and the upper end must be from 0 to 1, in this order"
            )

    @classmethod
    def of_site(cls, name: str, threshold: float, band_low: float, band_high: float) -> Point:
        """Return a point that a person chose. Raises ValueError for a name that is no code."""
        if not _CODE.fullmatch(name):
            raise ValueError(
                "the name of an operating point has 1 to 30 lower-case letters, digits and hyphens, and begins with a letter"
            )
        return cls(name, *(round(number, _DIGITS) for number in (threshold, band_low, band_high)))

    @property
    def bounds(self) -> Bounds:
        """The scores at which its verdict changes."""
        return Bounds.of_band(self.band_low, self.band_high)


@dataclass(frozen=True)
class Setting:
    """What was put in force for a model, by whom and why.

    Attributes:
        id: of its row.
        model_sha256: the model that it is for.
        point: the operating point; None: the site has no point of its own.
        operating_point_id: the row of the point; None without one.
        set_by: the actor.
        why: the reason.
        at: when.
        group: the images that it is for; None: all that are in no group with a point.
    """

    id: int
    model_sha256: str
    point: Point | None
    operating_point_id: int | None
    set_by: str
    why: str
    at: datetime
    group: Group | None = None


@dataclass(frozen=True)
class Plan:
    """The site's points in force for a model.

    Attributes:
        general: for all images that are in no group with a point; None: the site has none.
        groups: those of groups, the ages first.
    """

    general: Setting | None
    groups: Sequence[Setting]

    def setting_for(self, traits: Traits) -> Setting | None:
        """Return what is in force for an image; None: the point that holds without the site."""
        group = applying((setting.group for setting in self.groups if setting.group), traits)
        return next((setting for setting in self.groups if setting.group == group), self.general)


def latest(session: Session) -> Setting | None:
    """Return what was put in force last, for whichever model and group; None if nobody has ever changed it."""
    rows = history(session, limit=1)
    return rows[0] if rows else None


def in_force(session: Session, model_sha256: str) -> Setting | None:
    """Return the site's general point in force if it has one for this model, else None."""
    setting = _last(session, model_sha256, None)
    return setting if setting and setting.point else None


def plan(session: Session, model_sha256: str) -> Plan:
    """Return the site's points in force for a model."""
    last = (
        select(func.max(SiteSetting.id))
        .where(SiteSetting.name.startswith(_OF_GROUP, autoescape=True), _is_for(model_sha256))
        .group_by(SiteSetting.name)
    )
    rows = map(_parsed, session.scalars(select(SiteSetting).where(SiteSetting.id.in_(last))))
    return Plan(in_force(session, model_sha256), sorted((row for row in rows if row.point), key=_place))


def history(session: Session, *, limit: int) -> list[Setting]:
    """Return the latest changes, the last one first."""
    latest_rows = select(SiteSetting).where(_is_point()).order_by(SiteSetting.id.desc())
    return [_parsed(row) for row in session.scalars(latest_rows.limit(limit))]


def is_decided(session: Session, model_sha256: str) -> bool:
    """Return whether somebody has put a point in force for a model, or decided that it has none."""
    rows = select(SiteSetting.id).where(_is_point(), _is_for(model_sha256))
    return session.scalar(rows.limit(1)) is not None


def site_points(session: Session, model_id: int) -> Sequence[OperatingPointRow]:
    """Return the points that people named for a model, the lowest threshold first; of each name, the last one."""
    last = (
        select(func.max(OperatingPointRow.id))
        .where(OperatingPointRow.model_id == model_id, OperatingPointRow.set_by != BY_BUNDLE)
        .group_by(OperatingPointRow.name)
    )
    chosen = select(OperatingPointRow).where(OperatingPointRow.id.in_(last))
    return session.scalars(chosen.order_by(OperatingPointRow.threshold, OperatingPointRow.id)).all()


def card_points(model: Model) -> list[Point]:
    """Return the operating points of a model's card, the lowest threshold first. One that cannot work is left out."""
    points = []
    for listed in operating_points(read_card(model.card)):
        with suppress(ValueError):
            points.append(Point(listed.name, listed.threshold, listed.band_low, listed.band_high))
    return points


def find(session: Session, model: Model, name: str) -> Point:
    """Return the point of the model's card or of the site with this name. Raises LookupError, which names all."""
    rows = site_points(session, model.id)
    points = [
        *card_points(model),
        *(Point(row.name, row.threshold, row.band_low, row.band_high) for row in rows),
    ]
    for point in points:
        if point.name == name:
            return point
    names = ", ".join(sorted({point.name for point in points})) or "none"
    raise LookupError(f"there is no operating point {name}; the model and the site have: {names}")


def without_site(model: Model, named: str) -> Point:
    """Return the point that a model follows if the site has none of its own.

    `named` is the setting NIGHTREAD_OPERATING_POINT; empty: the default of the card. Raises LookupError if the card lacks it.
    """
    name = named or read_card(model.card).default_operating_point
    for point in card_points(model):
        if point.name == name:
            return point
    raise LookupError(f"the model's card has no operating point {name or 'that is the default'}")


def changed_since(session: Session, since: datetime) -> bool:
    """Return whether somebody has put another point in force since a time."""
    setting = latest(session)
    return setting is not None and setting.at >= since


def change(
    session: Session,
    model: Model,
    point: Point | None,
    *,
    who: str,
    why: str,
    at: datetime,
    again: bool = False,
    group: Group | None = None,
) -> Setting:
    """Put a point in force for a model, with a reason; None: the point that holds without this one.

    `group` is a group of images; None: all that are in no group with a point.

    Raises ValueError without a reason, for ages that overlap those of another group with a point, or if nothing would
    change, unless it is put in force `again`.
    """
    if not why.strip():
        raise ValueError("a change of the operating point needs a reason")
    of_card = {known.name: known for known in card_points(model)}
    if point and of_card.get(point.name, point) != point:
        raise ValueError(f"the model's card has a point {point.name} with other numbers: choose another name")
    audit.lock(session)
    if point and group:
        _check_overlap(group, plan(session, model.sha256).groups)
    before = _last(session, model.sha256, group)
    # A site that changes models can say that the new one is to have no point of the site.
    last = latest(session)
    is_open = before is None and group is None and last is not None and last.model_sha256 != model.sha256
    if not again and not is_open and (before.point if before else None) == point:
        raise ValueError(_nothing_changes(point, group))
    row_id = None
    if point is not None:
        row_id = row_of(session, model, point, who=actors.PROGRAM if point.name in of_card else who, at=at)
    value: dict[str, object] = {"model": model.sha256, "operating_point": row_id, **_numbers(point)}
    row = SiteSetting(name=_name_of(group), value=value, set_by=who, why=why, salt=new_salt(), at=at)
    session.add(row)
    session.flush()
    details: dict[str, object] = {
        "setting": row.name,
        **_renamed(value),
        **_before(before),
        "value_sha256": audit.digest(audit.canonical(value)),
        "why_seal": seal(row.salt or "", why),
    }
    audit.append(session, [audit.Event("thresholds_set", who, f"site_setting:{row.id}", details)], at)
    return _parsed(row)


def _nothing_changes(point: Point | None, group: Group | None) -> str:
    if point:
        return f"the operating point {point.name} is already in force" + (
            f" for {group.title}" if group else ""
        )
    if group:
        return f"the group {group.key} has no operating point of its own"
    return "the site has no operating point of its own for this model"


def _check_overlap(group: Group, groups: Sequence[Setting]) -> None:
    for setting in groups:
        if setting.group and setting.group.overlaps(group):
            raise ValueError(
                f"{group.title} overlap {setting.group.title}, which have the point {setting.point and setting.point.name}: "
                "take that one away first"
            )


def row_of(session: Session, model: Model, point: Point, *, who: str, at: datetime) -> int:
    """Return the id of the row with these values, and add one if there is none. The trail must be locked."""
    same = (getattr(OperatingPointRow, name) == value for name, value in asdict(point).items())
    known = session.scalars(
        select(OperatingPointRow.id).where(OperatingPointRow.model_id == model.id, *same).limit(1)
    ).one_or_none()
    if known is not None:
        return known
    by = BY_BUNDLE if who == actors.PROGRAM else who
    why = "from the model's card" if who == actors.PROGRAM else "see the settings of the site"
    row = OperatingPointRow(model_id=model.id, set_by=by, why=why, set_at=at, **asdict(point))
    session.add(row)
    session.flush()
    details: dict[str, object] = {"model": model.id, **asdict(point)}
    audit.append(session, [audit.Event("operating_point_set", who, f"operating_point:{row.id}", details)], at)
    return row.id


def _is_point() -> ColumnElement[bool]:
    return or_(SiteSetting.name == _NAME, SiteSetting.name.startswith(_OF_GROUP, autoescape=True))


def _is_for(model_sha256: str) -> ColumnElement[bool]:
    model: ColumnElement[str] = SiteSetting.value["model"].as_string()
    return model == model_sha256


def _last(session: Session, model_sha256: str, group: Group | None) -> Setting | None:
    """Return what was last decided for a model and a group; None if nobody has decided anything."""
    rows = select(SiteSetting).where(SiteSetting.name == _name_of(group), _is_for(model_sha256))
    row = session.scalars(rows.order_by(SiteSetting.id.desc()).limit(1)).one_or_none()
    return None if row is None else _parsed(row)


def _name_of(group: Group | None) -> str:
    return f"{_OF_GROUP}{group.key}" if group else _NAME


def _place(setting: Setting) -> tuple[bool, int, str]:
    """Return the place in a list of groups: those of ages first, the youngest first."""
    group = setting.group or Group(0, 0)
    return group.is_source, group.first or 0, group.key


def _parsed(row: SiteSetting) -> Setting:
    value, point_id = row.value, row.value["operating_point"]
    point = None if point_id is None else Point(value["name"], *(value[name] for name in _NUMBERS))
    group = Group.parse(row.name.removeprefix(_OF_GROUP)) if row.name != _NAME else None
    return Setting(row.id, value["model"], point, point_id, row.set_by, row.why, row.at, group)


def _numbers(point: Point | None) -> dict[str, object]:
    return dict.fromkeys(("name", *_NUMBERS)) if point is None else asdict(point)


def _renamed(value: dict[str, object]) -> dict[str, object]:
    """Return the value with the name of the point apart from the name of the setting."""
    return {("point" if name == "name" else name): item for name, item in value.items()}


def _before(before: Setting | None) -> dict[str, object]:
    value = {} if before is None else {"model": before.model_sha256, **_numbers(before.point)}
    names = ("model", "name", *_NUMBERS)
    return {f"{'point' if name == 'name' else name}_before": value.get(name) for name in names}
