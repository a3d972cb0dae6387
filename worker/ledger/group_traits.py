"""Finds what decides the group of an image: the age of its patient, and the source of its first receipt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.ledger.point_groups import Traits
from worker.ledger.tables import Image, Instance, Receipt, Study


def with_traits(images: Any) -> Any:
    """Join what is known of images: the first receipt, and instance and study if there are any."""
    first = select(func.min(Receipt.id)).where(Receipt.image_id == Image.id).correlate(Image)
    return (
        images.join(Receipt, Receipt.id == first.scalar_subquery())
        .outerjoin(Instance, Instance.image_id == Image.id)
        .outerjoin(Study, Study.id == Instance.study_id)
    )


def traits_of(session: Session, image_ids: Sequence[int]) -> dict[int, Traits]:
    """Return the traits of images, by id. They must be few enough for one statement."""
    images = select(Image.id, Study.age_years, Receipt.source).select_from(Image)
    rows = session.execute(with_traits(images).where(Image.id.in_(image_ids)))
    return {image_id: Traits(age, source) for image_id, age, source in rows}
