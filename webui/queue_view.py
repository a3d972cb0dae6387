"""Where a reader is in the queue, as it stands in the URL: a filter, and the page's cursor.

Pure. Every page and every act of reading carries it, so that the next image is the next one
of the list that the reader chose, and the way back leads to the page they came from.
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
    """A filter and the cursor that the page shown starts below (None: the top)."""

    verdict: str = "to-read"
    reading: str = "unread"
    run: str | None = None
    after: Cursor | None = None

    @classmethod
    def parse(cls, arguments: Mapping[str, str]) -> QueueView:
        """Read a URL's query. Raises ValueError with a sentence when it makes no sense."""
        verdict = arguments.get("verdict") or "to-read"
        reading = arguments.get("reading") or "unread"
        if verdict not in VERDICTS:
            raise ValueError(f"verdict is one of {', '.join(VERDICTS)}")
        if reading not in READING:
            raise ValueError(f"reading is one of {', '.join(READING)}")
        run = arguments.get("run", "").replace("\x00", "") or None
        return cls(verdict, reading, run, _cursor(arguments.get("after", "")))

    @property
    def wanted(self) -> QueueFilter:
        """The filter as the ledger takes it."""
        return QueueFilter(VERDICTS[self.verdict], READING[self.reading], self.run)

    @property
    def unread(self) -> QueueFilter:
        """The same list less what was read: where the next image to decide on comes from."""
        return replace(self.wanted, review=ReviewState.UNREAD)

    @property
    def query(self) -> dict[str, Any]:
        """The URL's query, without what is the default anyway."""
        parts = {"verdict": self.verdict, "reading": self.reading, "run": self.run or ""}
        kept = {name: value for name, value in parts.items() if value not in {"", "to-read", "unread"}}
        return kept | ({"after": str(self.after)} if self.after else {})

    def below(self, after: Cursor | None) -> QueueView:
        """The page of the same list that starts below `after`."""
        return replace(self, after=after)


def _cursor(text: str) -> Cursor | None:
    if not text:
        return None
    try:
        cursor = Cursor.parse(text)
    except ValueError:
        raise ValueError("after is the cursor of a page, as the page before it gave it") from None
    if not (0 <= cursor.p_pneumonia <= 1 and 0 <= cursor.image_id <= LARGEST_ID):
        raise ValueError("after is the cursor of a page, as the page before it gave it")
    return cursor


def cursor_of(image: Image) -> Cursor:
    """Return the image's own position in the queue."""
    return Cursor(image.p_pneumonia or 0.0, image.id)


def key_of(text: str | None) -> int | None:
    """An id in a query, None for none. Raises ValueError."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) <= LARGEST_ID):
        raise ValueError("an id is a whole number")
    return int(text)


def keys_text(keys: Sequence[int]) -> str:
    """Ids as short text for a URL: 3,5-9. In order."""
    spans: list[list[int]] = []
    for key in sorted(set(keys)):
        if spans and key == spans[-1][1] + 1:
            spans[-1][1] = key
        else:
            spans.append([key, key])
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in spans)


def keys_of(text: str, most: int) -> list[int]:
    """Read such ids back, at most `most` of them. Raises ValueError when there are more or none."""
    keys: list[int] = []
    for span in filter(None, text.split(",")):
        first, dash, last = span.partition("-")
        low, high = key_of(first), key_of(last if dash else first)
        if low is None or high is None or not 0 <= high - low < most - len(keys):
            raise ValueError(f"ids are whole numbers and spans of them, at most {most}")
        keys.extend(range(low, high + 1))
    return keys
