"""Records which predictions of other models were checked with a newer preprocessing: in pages, each by one worker.

A mark for each model and preprocessing says up to which prediction. A page is in work until its worker advances the
mark; if that worker dies, another one gets the page when its time is over.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session, aliased

from worker.ledger import audit, rescores
from worker.ledger.states import ImageState
from worker.ledger.tables import Image, Model, Prediction, Recheck

# The preprocessing of predictions and cards that name none.
_FIRST = "1"
# A page that is in work for longer than this many times its time began before the clock was set back.
_TIMES_AHEAD = 2.0
# Each worker that dies with a page divides the size of the next ones by this.
_SPLIT = 8


@dataclass(frozen=True)
class Target:
    """The model that scores now.

    Attributes:
        model_id: its id in the ledger.
        preprocessing: the version of its preprocessing.
        older: the versions before that one.
    """

    model_id: int
    preprocessing: str
    older: Collection[str]


@dataclass(frozen=True)
class OlderPrediction:
    """The prediction in force of an image, made with an older preprocessing. `crop` as in `Prediction.crop`."""

    id: int
    image_id: int
    sha256: str
    crop: tuple[int, int, int, int] | None


@dataclass(frozen=True)
class Page:
    """The next predictions of a model to check.

    Attributes:
        model_id: the model that made them.
        after_id: the mark when the page was taken.
        last_id: the id of the last one.
        predictions: those that must be checked.
        attempts: number of workers that died with a page here, and this one.
    """

    model_id: int
    after_id: int
    last_id: int
    predictions: Sequence[OlderPrediction]
    attempts: int


def preprocessing_of(card: Mapping[str, Any]) -> str:
    """Return the version of the preprocessing that a registered card names."""
    return str(card.get("input", {}).get("preprocessing_version", _FIRST))


def is_due(session: Session, target: Target, *, lease_s: float, at: datetime) -> bool:
    """Return whether there are predictions to check that no worker is checking."""
    return any(
        not _is_busy(mark, lease_s, at) and _last_id(session, mark.model_id) > mark.last_id
        for mark in _marks(session, target)
    )


def next_page(session: Session, target: Target, *, size: int, lease_s: float, at: datetime) -> Page | None:
    """Return the next page and note that this worker has it for `lease_s` seconds; None if there is none to check.

    `size` is the number of its predictions at most. After a worker died with a page, the next ones are smaller.
    """
    # Two workers that begin at once must not get the same page.
    audit.lock(session)
    for mark in _marks(session, target):
        if _is_busy(mark, lease_s, at):
            continue
        rows = _predictions_after(session, mark, max(1, size // _SPLIT**mark.attempts))
        if rows:
            mark.attempts += 1
            mark.busy_until = at + timedelta(seconds=lease_s)
            session.add(mark)
            older = [_older_prediction(row) for row in rows if _must_be_checked(row, target)]
            return Page(mark.model_id, mark.last_id, rows[-1].id, older, mark.attempts)
    return None


def finish(
    session: Session, target: Target, page: Page, reasons: Mapping[int, str], at: datetime
) -> list[int]:
    """Rescore images of a page and advance the mark. Return the ids of the images, which are pending now.

    `reasons` has the reason of each prediction that must be made anew, by its id.
    """
    image_ids = rescores.rescore(session, reasons, at) if reasons else []
    # Pages stay small behind the place where a worker died: what ended it may be further on.
    attempts = 0 if rescores.UNCHECKED in reasons.values() else page.attempts - 1
    advanced = {"last_id": page.last_id, "attempts": attempts, "busy_until": None}
    # If the mark has changed, another worker had the page, or an image must be checked again.
    unchanged = *_is_mark(target, page), Recheck.last_id == page.after_id
    session.execute(update(Recheck).where(*unchanged).values(advanced))
    return image_ids


def give_back(session: Session, target: Target, page: Page) -> None:
    """Note that this worker could not check its page, and that the page is not at fault."""
    mark = update(Recheck).where(*_is_mark(target, page), Recheck.attempts > 0)
    session.execute(mark.values(attempts=Recheck.attempts - 1, busy_until=None))


def check_again(session: Session, model_id: int, prediction_id: int) -> None:
    """Set the marks of a model back, so that this prediction is checked once more."""
    passed = Recheck.model_id == model_id, Recheck.last_id >= prediction_id
    session.execute(update(Recheck).where(*passed).values(last_id=prediction_id - 1))


def _marks(session: Session, target: Target) -> list[Recheck]:
    """Return the mark of each model with an older preprocessing: a new one if none of it was checked yet."""
    preprocessing = Model.card["input"]["preprocessing_version"].as_string()
    is_mark = (Recheck.model_id == Model.id) & (Recheck.preprocessing == target.preprocessing)
    rows = session.execute(
        select(Model.id, Recheck)
        .outerjoin(Recheck, is_mark)
        .where(Model.id != target.model_id, or_(preprocessing.is_(None), preprocessing.in_(target.older)))
        .order_by(Model.id)
    )
    return [mark or _new_mark(model_id, target) for model_id, mark in rows]


def _new_mark(model_id: int, target: Target) -> Recheck:
    return Recheck(model_id=model_id, preprocessing=target.preprocessing, last_id=0, attempts=0)


def _is_mark(target: Target, page: Page) -> tuple[Any, Any]:
    return Recheck.model_id == page.model_id, Recheck.preprocessing == target.preprocessing


def _is_busy(mark: Recheck, lease_s: float, at: datetime) -> bool:
    if mark.busy_until is None:
        return False
    return at < mark.busy_until <= at + timedelta(seconds=_TIMES_AHEAD * lease_s)


def _last_id(session: Session, model_id: int) -> int:
    return session.scalar(select(func.max(Prediction.id)).where(Prediction.model_id == model_id)) or 0


def _predictions_after(session: Session, mark: Recheck, size: int) -> Sequence[Any]:
    later = aliased(Prediction)
    is_current = ~select(later.id).where(later.image_id == Image.id, later.id > Prediction.id).exists()
    crop = Prediction.crop_left, Prediction.crop_top, Prediction.crop_right, Prediction.crop_bottom
    return session.execute(
        select(
            Prediction.id,
            Prediction.image_id,
            Prediction.versions["preprocessing"].as_string().label("preprocessing"),
            Image.sha256,
            ((Image.state == ImageState.SCORED) & Image.bytes_removed_at.is_(None) & is_current).label(
                "in_force"
            ),
            *crop,
        )
        .join(Image, Image.id == Prediction.image_id)
        .where(Prediction.model_id == mark.model_id, Prediction.id > mark.last_id)
        .order_by(Prediction.id)
        .limit(size)
    ).all()


def _must_be_checked(row: Any, target: Target) -> bool:
    return bool(row.in_force) and (row.preprocessing or _FIRST) in target.older


def _older_prediction(row: Any) -> OlderPrediction:
    crop = row.crop_left, row.crop_top, row.crop_right, row.crop_bottom
    return OlderPrediction(row.id, row.image_id, row.sha256, None if None in crop else crop)
