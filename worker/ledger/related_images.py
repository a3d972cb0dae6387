"""The images that belong with an image: of the same study, and earlier ones of the same patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, joinedload

from worker.ledger.tables import Image, Instance, Study

SHOWN = 20
# A study counts as complete when nothing has arrived for it for so long. Nothing waits for it.
COMPLETE_AFTER = timedelta(minutes=10)


@dataclass(frozen=True)
class RelatedImages:
    """The images that belong with an image, without it.

    Attributes:
        of_study: the other images of its study, in the order of arrival, at most `SHOWN`. Their instances are loaded.
        earlier: the images of its patient that arrived before it and belong to another study, the latest first, at
            most `SHOWN`. Their instances are loaded.
        earlier_total: the number of all these.
        complete: whether nothing has arrived for the study for `COMPLETE_AFTER`; None if the image has no study UID.
    """

    of_study: Sequence[Image] = ()
    earlier: Sequence[Image] = ()
    earlier_total: int = 0
    complete: bool | None = None


def related_images(session: Session, image: Image, at: datetime) -> RelatedImages:
    """Return the images that belong with an image. `image.instance` and its study must be loaded."""
    study = image.instance.study if image.instance else None
    if study is None:
        return RelatedImages()
    of_study = _of_study(session, study)
    # Sorted here: a patient has few images, and no index has them in their order.
    earlier = sorted(session.scalars(_earlier(image, study)), reverse=True)
    shown = session.scalars(
        select(Image).where(Image.id.in_(earlier[:SHOWN])).options(joinedload(Image.instance))
    )
    last = max([image.received_at, *(other.received_at for other in of_study)])
    return RelatedImages(
        of_study=[other for other in of_study if other.id != image.id][:SHOWN],
        earlier=sorted(shown, key=lambda other: -other.id),
        earlier_total=len(earlier),
        complete=None if study.study_uid is None else at - last >= COMPLETE_AFTER,
    )


def _images() -> Select[Image]:
    return (
        select(Image).join(Instance, Instance.image_id == Image.id).join(Study, Study.id == Instance.study_id)
    )


def _of_study(session: Session, study: Study) -> Sequence[Image]:
    """Return the images of a study. The same UID with another patient is a mistake of the sender: another study."""
    if study.study_uid is None:
        return []
    same = Study.study_uid == study.study_uid, Study.patient_key.is_not_distinct_from(study.patient_key)
    of_study = _images().where(*same).options(joinedload(Image.instance))
    return sorted(session.scalars(of_study), key=lambda other: other.id)


def _earlier(image: Image, study: Study) -> Select[int]:
    """Select the ids of the images of the same patient that arrived before an image, for another study."""
    other_study = Study.study_uid.is_distinct_from(study.study_uid) | Study.study_uid.is_(None)
    earlier = Study.patient_key == study.patient_key, Image.id < image.id, other_study
    return _images().where(*earlier).with_only_columns(Image.id)
