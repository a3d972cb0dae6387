"""Gives unread images the verdict of another operating point, and counts beforehand what would change.

A re-triage changes the verdict of images that nobody has read. It changes no score, no prediction and no reading. Images
that were drawn to be read without their scores keep verdict and place: they are read anyway. Of those that become clear, a
share is drawn, as when they are scored, and flagged ones beside them. `worker.ledger.drawn_shares` says for how many images a
drawn one stands then.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session, aliased

from worker.card.band import Bounds, is_never_clear
from worker.ledger import actors, audit, draws, protocols, thresholds
from worker.ledger.group_traits import with_traits
from worker.ledger.point_groups import Group, Traits
from worker.ledger.retriage_rule import ALL_IMAGES, About, Rule
from worker.ledger.runs import CANARY_RUN
from worker.ledger.states import NEEDS_READING, ImageState, ReviewState
from worker.ledger.tables import Image, Model, OperatingPointRow, Prediction, Receipt, Run, Study
from worker.ledger.thresholds import Point, Setting

_VERDICTS = ("flagged", "uncertain", "clear")
_PAGE = 5_000


@dataclass(frozen=True)
class Choice:
    """What a person wants to put in force.

    Attributes:
        point: the operating point; None: the one that holds without it.
        without_site: the general point without one of the site.
        retriages: whether unread images get the verdicts of the new point.
        since: only those that arrived then or later; None: all.
        group: the images that it is for; None: all that are in no group with a point.
        general: the general point of the site, if this is about a group; None: it has none.
    """

    point: Point | None
    without_site: Point | None
    retriages: bool = False
    since: datetime | None = None
    group: Group | None = None
    general: Point | None = None

    @property
    def effective(self) -> Point:
        """The point that new images will follow, of a group without a point the general one.

        Raises ValueError if nobody knows it.
        """
        point = self.point or self.general or self.without_site
        if point is None:
            raise ValueError(
                "the model's card has no point that holds without the site's: name a point instead"
            )
        return point


@dataclass(frozen=True)
class Changes:
    """The numbers of unread images by their verdicts before and after a re-triage.

    Attributes:
        counts: (before, after) -> number.
        drawn: of those that are to be read without their score from now on; 0 in a count beforehand.
    """

    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    drawn: int = 0

    @property
    def unread(self) -> int:
        """All images that the re-triage looks at."""
        return sum(self.counts.values())

    @property
    def changed(self) -> int:
        """Those whose verdict changes."""
        return sum(total for (before, after), total in self.counts.items() if before != after)

    @property
    def more_to_read(self) -> int:
        """How many more images wait for a reader because of their verdict; negative: fewer."""
        return self._to_read(1) - self._to_read(0)

    def becoming(self, verdict: str) -> int:
        """Return how many images get a verdict that they did not have."""
        return sum(
            total for (before, after), total in self.counts.items() if after == verdict and before != verdict
        )

    def _to_read(self, side: int) -> int:
        return sum(total for verdicts, total in self.counts.items() if verdicts[side] in NEEDS_READING)


@dataclass(frozen=True)
class _Part:
    """The images whose verdicts follow one point after a choice: those of a group, or of the general point."""

    about: About
    point: Point
    operating_point_id: int | None = None


def count(session: Session, model_sha256: str, choice: Choice) -> Changes:
    """Return what a re-triage would change. It reads every unread image that the model has scored since then."""
    canary_run = _canary_run(session)
    rules = (
        Rule(model_sha256, part.point.bounds, choice.since, canary_run, about=part.about)
        for part in _parts(session, model_sha256, choice)
    )
    return _sum(Changes(_numbers(_triage(session, rule))) for rule in rules)


def put_in_force(
    session: Session, model: Model, choice: Choice, *, who: str, why: str, at: datetime
) -> Changes | None:
    """Put a point in force, and give unread images its verdicts if this was chosen. Return what this changed.

    Raises ValueError as `thresholds.change` does; a re-triage alone is allowed.
    """
    setting = thresholds.change(
        session, model, choice.point, group=choice.group, who=who, why=why, at=at, again=choice.retriages
    )
    if not choice.retriages:
        return None
    done = []
    for part in _parts(session, model.sha256, choice):
        point_id = part.operating_point_id
        if point_id is None:
            point_id = thresholds.row_of(session, model, part.point, who=actors.PROGRAM, at=at)
        done.append(
            retriage(
                session,
                model,
                point_id,
                setting_id=setting.id,
                since=choice.since,
                who=who,
                at=at,
                about=part.about,
            )
        )
    return _sum(done)


def _parts(session: Session, model_sha256: str, choice: Choice) -> list[_Part]:
    """Return the images that a choice is about, by the point that they follow after it.

    If a group loses its point, its images follow what is less specific: the point of a source, or the general one.
    """
    plan = thresholds.plan(session, model_sha256)
    others = [one for one in plan.groups if one.group != choice.group]
    groups = tuple(one.group for one in others if one.group)
    general = _Part(
        About(None, groups, choice.group), choice.effective, _row_id(plan.general, choice.effective)
    )
    if choice.group is None:
        return [general]
    if choice.point is not None:
        about = About(choice.group, (*groups, choice.group), choice.group)
        own = next((one for one in plan.groups if one.group == choice.group), None)
        return [_Part(about, choice.point, _row_id(own, choice.point))]
    below = [one for one in others if one.group and one.group.is_source and not choice.group.is_source]
    return [
        *(
            _Part(About(one.group, groups, choice.group), one.point, one.operating_point_id)
            for one in below
            if one.point
        ),
        general,
    ]


def _row_id(setting: Setting | None, point: Point) -> int | None:
    """Return the row of a point if it is the one of a setting."""
    return setting.operating_point_id if setting is not None and setting.point == point else None


def _sum(parts: Iterable[Changes]) -> Changes:
    counts: dict[tuple[str, str], int] = defaultdict(int)
    drawn = 0
    for part in parts:
        drawn += part.drawn
        for verdicts, number in part.counts.items():
            counts[verdicts] += number
    return Changes(dict(counts), drawn)


def _numbers(triaged: Mapping[tuple[str, str], Sequence[int]]) -> dict[tuple[str, str], int]:
    return {verdicts: len(image_ids) for verdicts, image_ids in triaged.items()}


def retriage(
    session: Session,
    model: Model,
    operating_point_id: int,
    *,
    setting_id: int,
    since: datetime | None,
    who: str,
    at: datetime,
    about: About = ALL_IMAGES,
) -> Changes:
    """Give the unread images of a model the verdicts of an operating point, and record it as one event.

    `setting_id` is the row of the site's setting that says why. `about` says which images are meant.
    """
    audit.lock(session)
    point = session.get_one(OperatingPointRow, operating_point_id)
    bounds = Bounds.of_band(point.band_low, point.band_high)
    rule = Rule(model.sha256, bounds, since, _canary_run(session), secrets.token_hex(16), about=about)
    triaged = _triage(session, rule)
    rule, drawn = _draw(session, replace(rule, not_drawn=_open_images(session, at)), triaged)
    new_values = {
        "operating_point_id": operating_point_id,
        "point_group": about.group.key if about.group else None,
    }
    for (before, after), image_ids in triaged.items():
        _update(session, image_ids, new_values | ({} if before == after else {"verdict": after}))
    _mark_drawn(session, rule, drawn)
    changes = Changes(_numbers(triaged), len(drawn))
    details: dict[str, object] = {
        **rule.payload,
        "setting": setting_id,
        "unread": changes.unread,
        "changed": changes.changed,
        **{verdict: changes.becoming(verdict) for verdict in _VERDICTS},
        "drawn": changes.drawn,
    }
    subject = f"operating_point:{operating_point_id}"
    audit.append(session, [audit.Event("retriaged", who, subject, details)], at)
    return changes


def _canary_run(session: Session) -> int | None:
    return session.scalar(select(Run.id).where(Run.name == CANARY_RUN))


def _open_images(session: Session, at: datetime) -> frozenset[int]:
    """Return the images that somebody has claimed: a reader who may have seen a score cannot read without it.

    Each reader has one claim at most, so these are few.
    """
    claims = session.execute(select(Image.id, Image.claimed_until).where(Image.claimed_by_id > 0))
    return frozenset(
        claim.id for claim in claims if claim.claimed_until is not None and claim.claimed_until > at
    )


def _triage(session: Session, rule: Rule) -> dict[tuple[str, str], list[int]]:
    """Return the ids of the images that a rule is about, by their verdicts before and after it.

    Python decides, not SQL, so that scoring, re-triage and the verification of the trail have one rule.
    """
    triaged: dict[tuple[str, str], list[int]] = defaultdict(list)
    of_prediction = Prediction.population, Prediction.distance, Prediction.crop_left
    columns = Image.id, Image.verdict, Prediction.p_pneumonia, *of_prediction
    of_patient = (Study.age_years, Receipt.source) if rule.about.needs_traits else ()
    rows: Any = (
        select(*columns, *of_patient)
        .select_from(Image)
        .join(Prediction, Prediction.image_id == Image.id)
        .where(*_meant(rule))
        .order_by(Image.id)
        .execution_options(yield_per=_PAGE)
    )
    if rule.about.needs_traits:
        rows = with_traits(rows)
    for image_id, before, p_pneumonia, population, distance, crop_left, *traits in session.execute(rows):
        if traits and not rule.about.has(Traits(*traits)):
            continue
        never_clear = is_never_clear(population, distance)
        after = rule.bounds.verdict(p_pneumonia, cropped=crop_left is not None, never_clear=never_clear)
        triaged[str(before), after].append(image_id)
    return dict(triaged)


def _meant(rule: Rule) -> list[ColumnElement[bool]]:
    """Return the conditions for images and their predictions in force, which must be joined."""
    later = aliased(Prediction)
    conditions = [
        Image.review_state == ReviewState.UNREAD,
        # The range of the index that holds only images with a verdict.
        Image.verdict.in_(_VERDICTS),
        Image.state == ImageState.SCORED,
        Prediction.model_id == select(Model.id).where(Model.sha256 == rule.model_sha256).scalar_subquery(),
        ~select(later.id).where(later.image_id == Image.id, later.id > Prediction.id).exists(),
    ]
    if rule.canary_run is not None:
        conditions.append(Image.run_id != rule.canary_run)
    if rule.since is not None:
        conditions.append(Image.received_at >= rule.since)
    return conditions


def _draw(
    session: Session, rule: Rule, triaged: Mapping[tuple[str, str], Sequence[int]]
) -> tuple[Rule, list[int]]:
    """Return the rule with its shares, and the images that it draws.

    The protocol's share of the images that become clear is drawn, and so many flagged ones that about as many wait.
    """
    rule = replace(rule, sample_share=protocols.in_force(session).protocol.sample_share)
    sampled = [
        image_id
        for (before, after), image_ids in triaged.items()
        if before != after == "clear"
        for image_id in image_ids
        if rule.is_sampled(image_id)
    ]
    if not sampled:
        return rule, []
    flagged = [
        image_id for (_, after), image_ids in triaged.items() if after == "flagged" for image_id in image_ids
    ]
    flagged = [image_id for image_id in flagged if image_id not in rule.not_drawn]
    missing = max(0, draws.missing_beside(session, len(sampled)))
    rule = replace(rule, beside_share=min(1.0, missing / len(flagged)) if flagged else 0.0)
    return rule, [*sampled, *filter(rule.is_beside, flagged)]


def _update(session: Session, image_ids: Sequence[int], values: Mapping[str, object]) -> None:
    for first in range(0, len(image_ids), _PAGE):
        page = update(Image).where(Image.id.in_(image_ids[first : first + _PAGE])).values(values)
        session.execute(page.execution_options(synchronize_session=False))


def _mark_drawn(session: Session, rule: Rule, image_ids: Sequence[int]) -> None:
    if image_ids:
        rows = [
            {"id": image_id, "review_state": ReviewState.DRAWN, "drawn_rank": rule.rank(image_id)}
            for image_id in image_ids
        ]
        session.execute(update(Image), rows)
