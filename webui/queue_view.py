"""The part of the reading queue that a page shows: a filter and a cursor, as they stand in the URL.

Pure. Every page and every reading carries both, so that the next image comes from the list that the reader
chose, and the link back leads to the page that the reader came from.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from webui.ids import LARGEST_ID, id_of
from worker.errors import REJECTIONS
from worker.ledger.queue_filter import WAITING, WITHOUT_SCORE, QueueFilter
from worker.ledger.queue_order import LATEST, Cursor, Order, Part, Place
from worker.ledger.runs import is_own_name
from worker.ledger.states import NEEDS_READING, ImageState, ReviewState, Source
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
    "second-reader": ReviewState.READ_ONCE,
    "second-opinion": ReviewState.SECOND_OPINION,
    "adjudication": ReviewState.DISAGREED,
    "any": None,
}


STATES: dict[str, tuple[ImageState, ...]] = {
    "scored": (ImageState.SCORED,),
    "rejected": (ImageState.REJECTED,),
    "quarantined": (ImageState.QUARANTINED,),
    "waiting": WAITING,
    "without-score": WITHOUT_SCORE,
    "any": (ImageState.SCORED, *WITHOUT_SCORE),
}
# Why an image is quarantined.
FAILURES = ("scoring_failed", "lease_expired", "store_failed")
SOURCES = tuple(source.value for source in Source)
ORDERS = tuple(order.value for order in Order)
# The lowest age in years, and the first age above.
AGES: dict[str, tuple[float | None, float | None]] = {
    "under-1": (None, 1),
    "1-5": (1, 6),
    "6-17": (6, 18),
    "18-64": (18, 65),
    "65-or-more": (65, None),
    "unknown": (None, None),
}
SEXES = {"F": "F", "M": "M", "O": "O", "unknown": ""}
VIEWS = {"PA": "PA", "AP": "AP", "LL": "LL", "RL": "RL", "LATERAL": "LATERAL", "unknown": ""}
# The choices of each filter of the page, and the words for those that do not explain themselves.
FILTERS: dict[str, dict[str, str]] = {
    "state": {
        "scored": "scored",
        "rejected": "rejected",
        "quarantined": "quarantined",
        "waiting": "waiting for a score",
        "without-score": "all without a score",
        "any": "any",
    },
    "order": {
        "score": "highest score first",
        "closest": "closest to the threshold first",
        "oldest": "longest wait first",
    },
    "source": {"": "any"} | {source: source for source in SOURCES},
    "age": {
        "": "any",
        "under-1": "below 1 year",
        "1-5": "1 to 5 years",
        "6-17": "6 to 17 years",
        "18-64": "18 to 64 years",
        "65-or-more": "65 years or more",
        "unknown": "not known",
    },
    "sex": {"": "any", "F": "female", "M": "male", "O": "other", "unknown": "not known"},
    "view": {"": "any"} | {view: view for view in VIEWS if view != "unknown"} | {"unknown": "not known"},
    "reason": {"": "any"} | {code: code.replace("_", " ") for code in (*FAILURES, *REJECTIONS)},
}
_REASON = re.compile(r"[a-z0-9_]{1,40}")


@dataclass(frozen=True)
class QueueView:
    """A filter and an order, and the cursor that the page starts below (None: the top) or ends above.

    `overdue_from` is no part of the URL: see `QueueFilter`.
    """

    verdict: str = "to-read"
    reading: str = "unread"
    run: str | None = None
    after: Cursor | None = None
    before: Cursor | None = None
    state: str = "scored"
    order: Order = Order.SCORE
    low: float | None = None
    high: float | None = None
    source: str = ""
    age: str = ""
    sex: str = ""
    view: str = ""
    reader: int | None = None
    reason: str = ""
    overdue_from: datetime | None = None

    @classmethod
    def parse(cls, arguments: Mapping[str, str]) -> QueueView:
        """Read the query of a URL. Raises ValueError, with a sentence, for a value that is not valid."""
        order = Order(_choice(arguments, "order", ORDERS, Order.SCORE))
        reason = _reason(arguments.get("reason", ""))
        after, before = (_cursor(arguments.get(name, ""), name, order) for name in ("after", "before"))
        if after and before:
            raise ValueError("`after` must be the only place of the page; leave `before` out")
        return cls(
            verdict=_choice(arguments, "verdict", VERDICTS, "to-read"),
            reading=_choice(arguments, "reading", READING, "unread"),
            run=_run(arguments.get("run", "")),
            after=after,
            before=before,
            # No scored image has a reason.
            state=_choice(arguments, "state", STATES, "without-score" if reason else "scored"),
            order=order,
            low=_score(arguments, "low"),
            high=_score(arguments, "high"),
            source=_choice(arguments, "source", SOURCES, ""),
            age=_choice(arguments, "age", AGES, ""),
            sex=_choice(arguments, "sex", SEXES, ""),
            view=_choice(arguments, "view", VIEWS, ""),
            reader=_reader(arguments.get("reader", "")),
            reason=reason,
        )

    @property
    def filter(self) -> QueueFilter:
        """The filter as the ledger takes it."""
        return QueueFilter(
            VERDICTS[self.verdict],
            READING[self.reading],
            self.run,
            states=STATES[self.state],
            order=self.order,
            scores=(self.low, self.high),
            source=self.source or None,
            ages=AGES[self.age] if self.age else None,
            sex=SEXES[self.sex] if self.sex else None,
            view=VIEWS[self.view] if self.view else None,
            reader=self.reader,
            reason=self.reason or None,
            overdue_from=self.overdue_from,
        )

    @property
    def unread(self) -> QueueFilter:
        """The filter narrowed to images to read: the next image to decide on comes from these."""
        waits = (ReviewState.READ_ONCE, ReviewState.SECOND_OPINION, ReviewState.DISAGREED)
        return self.filter if self.filter.review in waits else replace(self.filter, review=ReviewState.UNREAD)

    @property
    def query(self) -> dict[str, Any]:
        """The query of the URL, without default values."""
        names = ("verdict", "reading", "run", "state", "order", "source", "age", "sex", "view", "reason")
        parts = {name: str(getattr(self, name) or "") for name in names}
        defaults = {"verdict": "to-read", "reading": "unread", "state": "scored", "order": Order.SCORE.value}
        chosen = {name: value for name, value in parts.items() if value not in {"", defaults.get(name)}}
        if self.reason and self.state == "scored":
            chosen["state"] = self.state
        numbers = {"low": self.low, "high": self.high, "reader": self.reader}
        chosen |= {name: repr(value) for name, value in numbers.items() if value is not None}
        places = {"after": self.after, "before": self.before}
        return chosen | {name: str(place) for name, place in places.items() if place is not None}

    @property
    def more(self) -> int:
        """The number of filters in use, besides those that everybody uses."""
        used = (self.source, self.age, self.sex, self.view, self.reason)
        limits = (self.low, self.high, self.reader)
        return sum(map(bool, used)) + sum(limit is not None for limit in limits)

    @property
    def code(self) -> str:
        """What the record of accesses says of the list: what it holds, and by what it was filtered, but not for what."""
        held = self.verdict if self.state == "scored" else self.state
        names = ("low", "high", "source", "age", "sex", "view", "reader", "reason")
        used = [name for name in names if getattr(self, name) not in {"", None}]
        return "/".join([held, self.reading, *([",".join(used)] if used else [])])

    def below(self, after: Cursor | None) -> QueueView:
        """Return the page of the same list that starts below `after`."""
        return replace(self, after=after, before=None)

    def above(self, before: Cursor) -> QueueView:
        """Return the page of the same list that ends above `before`."""
        return replace(self, after=None, before=before)

    def only(self, **chosen: Any) -> QueueView:
        """Return the first page of the same list with other filters."""
        return replace(self, after=None, before=None, **chosen)


def _choice(arguments: Mapping[str, str], name: str, choices: Collection[str], default: str) -> str:
    value = arguments.get(name) or default
    if value not in choices and value != default:
        raise ValueError(f"`{name}` must be one of {', '.join(choices)}")
    return value


def _score(arguments: Mapping[str, str], name: str) -> float | None:
    text = arguments.get(name, "")
    if not text:
        return None
    try:
        score = float(text)
    except ValueError:
        score = -1.0
    if not 0 <= score <= 1:
        raise ValueError(f"`{name}` must be a score from 0 to 1")
    return score


def _reader(text: str) -> int | None:
    try:
        return id_of(text)
    except ValueError:
        raise ValueError("`reader` must be the number of a reader") from None


def _reason(text: str) -> str:
    if text and not _REASON.fullmatch(text):
        raise ValueError("`reason` must be the code of a reason")
    return text


def _run(text: str) -> str | None:
    """Return the run of an address: its id, or a name that Nightread gave."""
    if not text or is_own_name(text):
        return text or None
    try:
        return str(id_of(text))
    except ValueError:
        raise ValueError("`run` must be the number of a run, or the name of a night") from None


def _cursor(text: str, name: str, order: Order) -> Cursor | None:
    if not text:
        return None
    wrong = f"`{name}` must be the `next` of the previous page, or the `previous` of the next one"
    try:
        cursor = Cursor.parse(text)
    except ValueError:
        raise ValueError(wrong) from None
    is_score = cursor.part is Part.SCORED and order is not Order.OLDEST
    if not (0 <= cursor.key <= (1 if is_score else LATEST) and 0 <= cursor.image_id <= LARGEST_ID):
        raise ValueError(wrong)
    return cursor


def cursor_of(image: Image) -> Place:
    """Return the image's place in every list."""
    return Place.of(image)
