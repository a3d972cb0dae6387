"""Search for images by a name, or by a number: of the image, its accession number, or its study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, joinedload

from worker.ledger.review import standing_reviews
from worker.ledger.tables import Image, Instance, Review, Study

PAGE_SIZE = 50
# No index holds a part of a name: this many names are read for one page, the latest first.
NAMES = 20_000


@dataclass(frozen=True)
class SearchPage:
    """What a search found.

    Attributes:
        images: the latest first. Those found by a number stand on the first page, before the others.
        standing: the standing reading of each image that has one, by the image's id.
        below: the id below which the next page searches; None if every image was looked at.
        searched: the number of names that were looked at.
    """

    images: Sequence[Image]
    standing: Mapping[int, Review]
    below: int | None
    searched: int


def search(session: Session, text: str, *, below: int | None = None, size: int = PAGE_SIZE) -> SearchPage:
    """Find images with this number, or with this text in the name of their file, whatever its case.

    On SQLite, only the case of the letters A to Z is ignored. `text` is not empty.
    """
    end = below if below is not None else (session.scalar(select(func.max(Image.id))) or 0) + 1
    start = max(0, end - NAMES)
    numbered = _with_number(session, text) if below is None else []
    named = session.scalars(
        select(Image.id)
        .where(Image.id >= start, Image.id < end, Image.original_name.icontains(text, autoescape=True))
        .order_by(Image.id.desc())
        .limit(size)
    ).all()
    start = named[-1] if len(named) == size else start
    image_ids = list(dict.fromkeys([*numbered, *named]))
    images = _images(session, image_ids)
    return SearchPage(images, standing_reviews(session, images), start if start > 1 else None, end - start)


def _with_number(session: Session, text: str) -> Sequence[int]:
    """Return the ids of the images with this number, the latest first."""
    of_study = (
        select(Instance.image_id)
        .join(Study, Study.id == Instance.study_id)
        .where(or_(Study.accession == text, Study.study_uid == text))
        .order_by(Instance.image_id.desc())
        .limit(PAGE_SIZE)
    )
    found = list(session.scalars(of_study))
    # The largest id of the database has 19 digits.
    is_number = text.isascii() and text.isdigit() and len(text) < 19  # noqa: PLR2004
    own = session.scalar(select(Image.id).where(Image.id == int(text))) if is_number else None
    return found if own is None else [own, *found]


def _images(session: Session, image_ids: Sequence[int]) -> Sequence[Image]:
    rows = session.scalars(
        select(Image)
        .where(Image.id.in_(image_ids))
        .options(joinedload(Image.run), joinedload(Image.claimed_by))
    )
    by_id = {image.id: image for image in rows}
    return [by_id[image_id] for image_id in image_ids if image_id in by_id]
