"""Shadow scoring: a candidate scores images in the background, and its predictions are kept apart.

They change no verdict, no place in the queue, no tally and no report. Which model is the candidate is a setting of the
site, with who and why. One worker at a time scores a page of images; if it dies, another one goes on when its time is over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, case, func, select, update
from sqlalchemy.orm import Session

from worker.ledger import actors, audit
from worker.ledger.leases import LeasedImage
from worker.ledger.runs import CANARY_RUN
from worker.ledger.seals import new_salt, seal
from worker.ledger.states import ImageState, ReviewState
from worker.ledger.tables import (
    Image,
    Instance,
    Model,
    Run,
    ShadowPrediction,
    ShadowWork,
    SiteSetting,
    Study,
)

_NAME = "shadow"
# Of so many of the latest images, a sweep looks each time which ones are left.
IMAGES, MOST_IMAGES = 5_000, 20_000
# The latest images are looked for among this many times as many rows, for not every row is a scored image of a patient.
_REACH = 5
SCORED, UNCHECKED = "scored", "unchecked"
# Each worker that dies with a page divides the size of the next ones by this.
_SPLIT = 8
# A page that is in work for longer than this many times its time began before the clock was set back.
_TIMES_AHEAD = 2.0
_CHANGES = 1_000


@dataclass(frozen=True)
class Shadow:
    """Which model is the candidate, and which images it scores.

    Attributes:
        id: of its row.
        model_sha256: the candidate; None: there is none any more.
        images: it scores the latest so many images.
        since: of these, only those that arrived from this time on; None: all.
        set_by: the actor.
        why: the reason.
        at: when.
    """

    id: int
    model_sha256: str | None
    images: int
    since: datetime | None
    set_by: str
    why: str
    at: datetime


@dataclass(frozen=True)
class Page:
    """The next images for a candidate, and how many workers died with images here, and this one."""

    model_id: int
    images: Sequence[LeasedImage]
    attempts: int


@dataclass(frozen=True)
class ShadowRecord:
    """What a candidate said about an image. Scores are None unless the outcome is `scored`."""

    image_id: int
    outcome: str
    p_normal: float | None = None
    p_bacterial: float | None = None
    p_viral: float | None = None
    p_pneumonia: float | None = None
    cropped: bool = False
    population: str | None = None
    distance: float | None = None


@dataclass(frozen=True)
class Progress:
    """How many images a candidate has looked at, and how many are left."""

    done: int
    left: int


def in_force(session: Session) -> Shadow | None:
    """Return the present candidate; None if there is none."""
    rows = history(session, limit=1)
    return rows[0] if rows and rows[0].model_sha256 else None


def history(session: Session, *, limit: int) -> Sequence[Shadow]:
    """Return the latest changes, the last one first."""
    latest = select(SiteSetting).where(SiteSetting.name == _NAME).order_by(SiteSetting.id.desc())
    return [_parsed(row) for row in session.scalars(latest.limit(limit))]


def candidates(session: Session) -> set[str]:
    """Return the models that have ever been a candidate."""
    return {
        change.model_sha256 for change in history(session, limit=_CHANGES) if change.model_sha256 is not None
    }


def change(
    session: Session,
    model: Model | None,
    *,
    who: str,
    why: str,
    at: datetime,
    images: int = IMAGES,
    since: datetime | None = None,
) -> Shadow:
    """Make a registered model the candidate, with a reason; None: stop shadow scoring. What it has scored stays.

    Raises ValueError without a reason, for a number of images that is out of range, for a day in the future, or if
    nothing would change.
    """
    if not why.strip():
        raise ValueError("shadow scoring needs a reason")
    if not 1 <= images <= MOST_IMAGES:
        raise ValueError(f"the number of images must be from 1 to {MOST_IMAGES:,}")
    if since is not None and since > at:
        raise ValueError(f"the day {since:%Y-%m-%d} is in the future: no image has arrived since then")
    audit.lock(session)
    before = in_force(session)
    wanted = (model.sha256 if model else None, images if model else 0, since if model else None)
    if (before is None and model is None) or (
        before is not None and (before.model_sha256, before.images, before.since) == wanted
    ):
        told = "nothing is scored in the background already"
        if model is not None:
            told = f"{model.name} {model.version} is the candidate already, with these images"
        raise ValueError(told)
    value: dict[str, object] = {
        "model": wanted[0],
        "images": wanted[1],
        "since": wanted[2].isoformat() if wanted[2] else None,
    }
    row = SiteSetting(name=_NAME, value=value, set_by=who, why=why, salt=new_salt(), at=at)
    session.add(row)
    session.flush()
    details: dict[str, object] = {
        "setting": _NAME,
        **value,
        "model_before": before.model_sha256 if before else None,
        "value_sha256": audit.digest(audit.canonical(value)),
        "why_seal": seal(row.salt or "", why),
    }
    audit.append(session, [audit.Event("shadow_set", who, f"site_setting:{row.id}", details)], at)
    return _parsed(row)


def progress(session: Session, shadow: Shadow) -> Progress:
    """Return how far the candidate has come."""
    model_id = _model_id(session, shadow)
    done = select(func.count()).select_from(ShadowPrediction).where(ShadowPrediction.model_id == model_id)
    left = session.scalar(select(func.count()).select_from(_left(shadow, model_id).subquery()))
    return Progress(int(session.scalar(done) or 0), int(left or 0))


def counts(session: Session) -> dict[int, int]:
    """Return how many images each candidate has looked at, by the id of its model."""
    number = func.count().label("number")
    by_model = select(ShadowPrediction.model_id, number).group_by(ShadowPrediction.model_id)
    return {row.model_id: row.number for row in session.execute(by_model)}


def is_due(session: Session, *, lease_s: float, at: datetime) -> bool:
    """Return whether there are images for the candidate, and no worker is at work on them."""
    shadow = in_force(session)
    if shadow is None:
        return False
    model_id = _model_id(session, shadow)
    work = session.get(ShadowWork, model_id)
    if work is not None and _is_busy(work, lease_s, at):
        return False
    return session.scalar(_left(shadow, model_id).limit(1)) is not None


def next_page(session: Session, *, size: int, lease_s: float, at: datetime) -> Page | None:
    """Return the next images and note that this worker has them for `lease_s` seconds; None if there are none.

    Images that people have read come first, then the latest. After a worker died with a page, the next ones are smaller.
    """
    # Two workers that begin at once must not get the same page.
    audit.lock(session)
    shadow = in_force(session)
    if shadow is None:
        return None
    model_id = _model_id(session, shadow)
    work = session.get(ShadowWork, model_id) or ShadowWork(model_id=model_id, attempts=0)
    if _is_busy(work, lease_s, at):
        return None
    left = _left(shadow, model_id).limit(max(1, size // _SPLIT**work.attempts)).subquery()
    rows = session.execute(
        select(Image.id, Image.sha256, Study.age_years)
        .join(left, left.c.id == Image.id)
        .outerjoin(Instance, Instance.image_id == Image.id)
        .outerjoin(Study, Study.id == Instance.study_id)
        .order_by(Image.id)
    ).all()
    if not rows:
        return None
    work.attempts += 1
    work.busy_until = at + timedelta(seconds=lease_s)
    session.add(work)
    return Page(model_id, [LeasedImage(row.id, row.sha256, row.age_years) for row in rows], work.attempts)


def finish(
    session: Session,
    page: Page,
    results: Sequence[ShadowRecord],
    versions: Mapping[str, str],
    at: datetime,
) -> int:
    """Record what the candidate said, and that no worker is at work any more. Return the number of recorded images.

    An image that has a result of this candidate, or is not scored any more, is left out.
    """
    audit.lock(session)
    ids = [result.image_id for result in results]
    taken = set(
        session.scalars(
            select(ShadowPrediction.image_id).where(
                ShadowPrediction.model_id == page.model_id, ShadowPrediction.image_id.in_(ids)
            )
        )
    )
    here = set(session.scalars(select(Image.id).where(Image.id.in_(ids), Image.state == ImageState.SCORED)))
    rows = [
        ShadowPrediction(model_id=page.model_id, versions=dict(versions), at=at, **vars(result))
        for result in results
        if result.image_id in here - taken
    ]
    session.add_all(rows)
    session.flush()
    audit.append(session, [_event(row) for row in rows], at)
    # Pages stay small behind the place where a worker died: what ended it may be further on.
    attempts = 0 if any(result.outcome == UNCHECKED for result in results) else max(0, page.attempts - 1)
    _free(session, page, attempts)
    return len(rows)


def give_back(session: Session, page: Page) -> None:
    """Note that this worker could not score its page, and that the page is not at fault."""
    _free(session, page, max(0, page.attempts - 1))


def _free(session: Session, page: Page, attempts: int) -> None:
    work = update(ShadowWork).where(ShadowWork.model_id == page.model_id)
    session.execute(work.values(attempts=attempts, busy_until=None))


def _left(shadow: Shadow, model_id: int) -> Select[tuple[int]]:
    """Select the images that the candidate has not looked at: those that people have read first, then the latest."""
    canaries = select(Run.id).where(Run.name == CANARY_RUN)
    latest = select(Image.id, Image.review_state).where(
        # No plain column: SQLite would search its index, and sort a million scored images to take the latest.
        func.coalesce(Image.state, "") == ImageState.SCORED,
        # Among a million phantoms, the search for others ends somewhere.
        Image.id > select(func.max(Image.id)).scalar_subquery() - _REACH * shadow.images,
        Image.bytes_removed_at.is_(None),
        ~Image.phantom,
        Image.run_id.not_in(canaries),
    )
    if shadow.since is not None:
        latest = latest.where(Image.received_at >= shadow.since)
    chosen = latest.order_by(Image.id.desc()).limit(shadow.images).subquery()
    has_result = (
        select(ShadowPrediction.id)
        .where(ShadowPrediction.model_id == model_id, ShadowPrediction.image_id == chosen.c.id)
        .exists()
    )
    is_read = case((chosen.c.review_state == ReviewState.READ, 0), else_=1)
    return select(chosen.c.id).where(~has_result).order_by(is_read, chosen.c.id.desc())


def _model_id(session: Session, shadow: Shadow) -> int:
    return session.scalars(select(Model.id).where(Model.sha256 == shadow.model_sha256)).one()


def _is_busy(work: ShadowWork, lease_s: float, at: datetime) -> bool:
    if work.busy_until is None:
        return False
    return at < work.busy_until <= at + timedelta(seconds=_TIMES_AHEAD * lease_s)


def _event(row: ShadowPrediction) -> audit.Event:
    """Return the event of a result. Its subject is no image: the history of an image shows nothing of a candidate."""
    names = ("outcome", "p_normal", "p_bacterial", "p_viral", "p_pneumonia", "cropped", "population")
    details: dict[str, object] = {
        "image": row.image_id,
        "model": row.model_id,
        **{name: getattr(row, name) for name in names},
        **({} if row.distance is None else {"distance": row.distance}),
        "versions_sha256": audit.digest(audit.canonical(row.versions)),
    }
    return audit.Event("shadow_scored", actors.PROGRAM, f"shadow_prediction:{row.id}", details)


def _parsed(row: SiteSetting) -> Shadow:
    value = row.value
    since = datetime.fromisoformat(value["since"]) if value["since"] else None
    return Shadow(row.id, value["model"], value["images"], since, row.set_by, row.why, row.at)
