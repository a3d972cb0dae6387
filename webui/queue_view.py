"""The part of the reading queue that a page shows: a filter and a cursor, as they stand in the URL.

Pure. Every page and every reading carries both, so that the next image comes from the list that the reader
chose, and the link back leads to the page that the reader came from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from worker.ledger.review import NEEDS_READING, Cursor, QueueFilter
from worker.ledger.states import ReviewState
from worker.ledger.tables import Image

VERDICTS: dict[str, tuple[str, ...]] = {
    "to-read": NEEDS_READING,
    "flagged": ("flagged",),
    "uncertain": ("uncertain",),
    "clear": ("clear",),
    "any": (),
}
READING: dict[str, ReviewState | None] = {
    "unread": ReviewState.UNREAD,
    "read": ReviewState.READ,
    "any": None,
}
LARGEST_ID = 2**63 - 1


@dataclass(frozen=True)
class QueueView:
    """A filter, and the cursor that the page starts below (None: the top)."""

    verdict: str = "to-read"
    reading: str = "unread"
    run: str | None = None
    after: Cursor | None = None

    @classmethod
    def parse(cls, arguments: Mapping[str, str]) -> QueueView:
        """Read the query of a URL. Raises ValueError, with a sentence, for a value that is not valid."""
        verdict = arguments.get("verdict") or "to-read"
        reading = arguments.get("reading") or "unread"
        if verdict not in VERDICTS:
            raise ValueError(f"`verdict` must be one of {', '.join(VERDICTS)}")
        if reading not in READING:
            raise ValueError(f"`reading` must be one of {', '.join(READING)}")
        run = arguments.get("run", "").replace("\x00", "") or None
        return cls(verdict, reading, run, _cursor(arguments.get("after", "")))

    @property
    def filter(self) -> QueueFilter:
        """The filter as the ledger takes it."""
        return QueueFilter(VERDICTS[self.verdict], READING[self.reading], self.run)

    @property
    def unread(self) -> QueueFilter:
        """The filter narrowed to unread images: the next image to decide on comes from these."""
        return replace(self.filter, review=ReviewState.UNREAD)

    @property
    def query(self) -> dict[str, Any]:
        """The query of the URL, without default values."""
        parts = {"verdict": self.verdict, "reading": self.reading, "run": self.run or ""}
        chosen = {name: value for name, value in parts.items() if value not in {"", "to-read", "unread"}}
        return chosen | ({"after": str(self.after)} if self.after else {})

    def below(self, after: Cursor | None) -> QueueView:
        """Return the page of the same list that starts below `after`."""
        return replace(self, after=after)


def _cursor(text: str) -> Cursor | None:
    if not text:
        return None
    try:
        cursor = Cursor.parse(text)
    except ValueError:
        raise ValueError("`after` must be the `next` of the previous page") from None
    if not (0 <= cursor.p_pneumonia <= 1 and 0 <= cursor.image_id <= LARGEST_ID):
        raise ValueError("`after` must be the `next` of the previous page")
    return cursor


def cursor_of(image: Image) -> Cursor:
    """Return the image's position in the queue."""
    return Cursor(image.p_pneumonia or 0.0, image.id)


def id_of(text: str | None) -> int | None:
    """Read an id of a query; None for an empty text. Raises ValueError."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) <= LARGEST_ID):
        raise ValueError("an id must be a whole number")
    return int(text)


def ids_text(ids: Sequence[int]) -> str:
    """Write ids as a short text for a URL, sorted, with spans: 3,5-9."""
    spans: list[list[int]] = []
    for number in sorted(set(ids)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in spans)


def ids_of(text: str, max_ids: int) -> list[int]:
    """Read the text of `ids_text`. Raises ValueError when it is malformed or has more than `max_ids` ids."""
    ids: list[int] = []
    for span in filter(None, text.split(",")):
        first, dash, last = span.partition("-")
        low, high = id_of(first), id_of(last if dash else first)
        if low is None or high is None or not 0 <= high - low < max_ids - len(ids):
            raise ValueError(f"ids must be whole numbers or ranges such as 3-9, at most {max_ids} ids in all")
        ids.extend(range(low, high + 1))
    return ids
