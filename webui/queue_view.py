"""The part of the reading queue that a page shows: a filter and a cursor, as they stand in the URL.

Pure. Every page and every reading carries both, so that the next image comes from the list that the reader
chose, and the link back leads to the page that the reader came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from webui.ids import LARGEST_ID, id_of
from worker.ledger.reading_queue import Cursor, QueueFilter
from worker.ledger.review import NEEDS_READING
from worker.ledger.runs import is_own_name
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
    "second-opinion": ReviewState.SECOND_OPINION,
    "any": None,
}


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
        return cls(verdict, reading, _run(arguments.get("run", "")), _cursor(arguments.get("after", "")))

    @property
    def filter(self) -> QueueFilter:
        """The filter as the ledger takes it."""
        return QueueFilter(VERDICTS[self.verdict], READING[self.reading], self.run)

    @property
    def unread(self) -> QueueFilter:
        """The filter narrowed to images to read: the next image to decide on comes from these."""
        wanted = self.filter.review is ReviewState.SECOND_OPINION
        return self.filter if wanted else replace(self.filter, review=ReviewState.UNREAD)

    @property
    def query(self) -> dict[str, Any]:
        """The query of the URL, without default values."""
        parts = {"verdict": self.verdict, "reading": self.reading, "run": self.run or ""}
        chosen = {name: value for name, value in parts.items() if value not in {"", "to-read", "unread"}}
        return chosen | ({"after": str(self.after)} if self.after else {})

    def below(self, after: Cursor | None) -> QueueView:
        """Return the page of the same list that starts below `after`."""
        return replace(self, after=after)


def _run(text: str) -> str | None:
    """Return the run of an address: its id, or a name that Nightread gave."""
    if not text or is_own_name(text):
        return text or None
    try:
        return str(id_of(text))
    except ValueError:
        raise ValueError("`run` must be the number of a run, or the name of a night") from None


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
