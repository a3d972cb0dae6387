"""The audit trail as an auditor reads it: events and accesses together, the latest first.

Each page costs a few index look-ups, however long the trail is. Events are ordered by number, accesses by id; the two
are merged by their times.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice

from sqlalchemy import ColumnElement, TextClause, case, select
from sqlalchemy.orm import Session

from worker.ledger import audit, studies
from worker.ledger.accesses import AccessKind
from worker.ledger.actors import PROGRAM
from worker.ledger.session import Ledger
from worker.ledger.tables import NOT_THE_PROGRAM, RARE_KIND, AccessRecord, AuditEvent

PAGE_SIZE = 50
_EXPORT_PAGE = 1_000
_FREQUENT = {"received", "scored"}
_LAST = 2**63 - 1
# An event is appended at most this long before or after the time that it names.
_JITTER = timedelta(days=1)
# Far from the ends of the calendar, so that a day can be added and taken off.
_FIRST_DAY, _LAST_DAY = datetime(1970, 1, 2, tzinfo=UTC), datetime(9998, 12, 31, tzinfo=UTC)
# The details of the other kinds are long, and not all of them are words.
_DETAILS = case((AuditEvent.kind == "sign_in_failed", AuditEvent.payload)).label("details")
Condition = ColumnElement[bool] | TextClause


@dataclass(frozen=True)
class TrailFilter:
    """Which entries to show. None: all of them.

    Attributes:
        actor: who, as in `worker.ledger.actors`.
        image_id: the image that they are about.
        kind: of an event or an access.
        since: the first moment.
        until: the moment before which they happened.
    """

    actor: str | None = None
    image_id: int | None = None
    kind: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def days_filter(
    actor: str | None, image_id: int | None, kind: str | None, since: datetime | None, until: datetime | None
) -> TrailFilter:
    """Return the filter of whole days in UTC: from the day `since` on, up to the end of the day `until`.

    Days before the first and after the last that can be searched count as these: no entry is that old or that new.
    """
    first = None if since is None else _searchable(since)
    end = None if until is None else _searchable(until) + timedelta(days=1)
    return TrailFilter(actor, image_id, kind, first, end)


def _searchable(day: datetime) -> datetime:
    return min(max(day.replace(tzinfo=UTC), _FIRST_DAY), _LAST_DAY)


@dataclass(frozen=True)
class Entry:
    """An event or an access.

    Attributes:
        source: `event` or `access`.
        number: number of the event, or id of the access.
        at: when.
        kind: of the event or access.
        actor: who.
        image_id: the image that it is about, if any.
        subject: what it is about, as the event names it.
        code: a word of the program that says more; empty for most.
        total: number of equal accesses that it stands for.
        patient_key: pseudonymous key of the image's patient; only `entries` gives it.
    """

    source: str
    number: int
    at: datetime
    kind: str
    actor: str
    image_id: int | None
    subject: str
    code: str = ""
    total: int = 1
    patient_key: str | None = None


@dataclass(frozen=True)
class TrailCursor:
    """Where a page begins: below this event and below this access."""

    event: int = _LAST
    access: int = _LAST

    @classmethod
    def parse(cls, text: str) -> TrailCursor:
        """Read what `str` wrote. Raises ValueError."""
        event, underscore, access = text.partition("_")
        numbers = [int(part) for part in (event, access) if part.isascii() and part.isdigit()]
        if not underscore or len(numbers) != len((event, access)) or max(numbers) > _LAST:
            raise ValueError("`below` must be the `next` of the previous page")
        return cls(*numbers)

    def __str__(self) -> str:
        """Return the text for a URL."""
        return f"{self.event}_{self.access}"


@dataclass(frozen=True)
class TrailPage:
    """Entries, and the cursor of the next page; None if there is none."""

    entries: Sequence[Entry]
    next: TrailCursor | None


@dataclass(frozen=True)
class LastVerification:
    """The last time that somebody verified the audit trail: when, who, and whether all was well.

    `asked_by` is the auditor who asked for it on the page; None: nobody did.
    """

    at: datetime
    actor: str
    ok: bool
    asked_by: str | None = None


def page(
    session: Session, wanted: TrailFilter, below: TrailCursor | None = None, size: int = PAGE_SIZE
) -> TrailPage:
    """Return the latest entries that the filter lets through, below a cursor."""
    below = below or TrailCursor()
    events = _events(session, wanted, below.event, size + 1)
    records = _accesses(session, wanted, below.access, size + 1)
    # Each of the two stays in its own order, also where a clock was set back: the cursor skips nothing.
    merged = heapq.merge(events, records, key=lambda entry: entry.at, reverse=True)
    shown = list(islice(merged, size))
    if len(events) + len(records) <= size:
        return TrailPage(shown, None)
    last_event = min((entry.number for entry in shown if entry.source == "event"), default=below.event)
    last_access = min((entry.number for entry in shown if entry.source == "access"), default=below.access)
    return TrailPage(shown, TrailCursor(last_event, last_access))


def entries(ledger: Ledger, wanted: TrailFilter) -> Iterator[Entry]:
    """Yield every entry that the filter lets through, the latest first. Each page is read in a session of its own."""
    below: TrailCursor | None = TrailCursor()
    while below is not None:
        with ledger.reading() as session:
            part = page(session, wanted, below, _EXPORT_PAGE)
            about = {entry.image_id for entry in part.entries if entry.image_id is not None}
            keys = studies.patient_keys(session, about)
        for entry in part.entries:
            yield replace(entry, patient_key=keys.get(entry.image_id or 0))
        below = part.next


def last_verification(session: Session) -> LastVerification | None:
    """Return the last verification that is on record; None if there is none."""
    verified = select(AuditEvent.at, AuditEvent.actor, AuditEvent.payload)
    verified = verified.where(AuditEvent.kind == "trail_verified", RARE_KIND)
    row = session.execute(verified.order_by(AuditEvent.seq.desc()).limit(1)).one_or_none()
    if row is None:
        return None
    details = json.loads(row.payload)
    asked = select(AuditEvent.actor).where(
        AuditEvent.seq == details.get("asked_in"), AuditEvent.kind == "trail_verification_started"
    )
    asked_by = session.scalar(asked) if "asked_in" in details else None
    return LastVerification(datetime.fromisoformat(row.at), row.actor, bool(details.get("ok")), asked_by)


def _events(session: Session, wanted: TrailFilter, below: int, size: int) -> list[Entry]:
    if wanted.kind in set(AccessKind):
        return []
    events = select(
        AuditEvent.seq, AuditEvent.at, AuditEvent.kind, AuditEvent.actor, AuditEvent.subject, _DETAILS
    )
    events = events.where(AuditEvent.seq < below, *_of_event(wanted), *_time_of_event(session, wanted))
    return [
        Entry(
            "event",
            row.seq,
            datetime.fromisoformat(row.at),
            row.kind,
            row.actor,
            _image_of(row.subject),
            row.subject,
            _code_of_event(row.details),
        )
        for row in session.execute(events.order_by(AuditEvent.seq.desc()).limit(size))
    ]


def _code_of_event(details: str | None) -> str:
    """Return what an event says in words of the program: of a failed sign-in its method and the reason."""
    try:
        words = json.loads(details or "{}")
        return ":".join(str(words[name]) for name in ("method", "reason") if name in words)
    except (ValueError, TypeError):
        # Somebody changed the event. A verification says so, and the page still shows the others.
        return ""


def _of_event(wanted: TrailFilter) -> Iterator[Condition]:
    """Yield the conditions of an event. The small indexes serve only a query that says what they leave out."""
    if wanted.image_id is not None:
        yield AuditEvent.subject == f"image:{wanted.image_id}"
    if wanted.actor is not None:
        yield AuditEvent.actor == wanted.actor
        if wanted.actor != PROGRAM:
            yield NOT_THE_PROGRAM
    if wanted.kind is not None:
        yield AuditEvent.kind == wanted.kind
        if wanted.kind not in _FREQUENT:
            yield RARE_KIND


def _time_of_event(session: Session, wanted: TrailFilter) -> Iterator[Condition]:
    """Yield the conditions of a time. The numbers narrow the search, because no index has the times."""
    if wanted.since is not None:
        yield AuditEvent.at >= _stamp(wanted.since)
        yield AuditEvent.seq >= _first_event(session, wanted.since - _JITTER)
    if wanted.until is not None:
        yield AuditEvent.at < _stamp(wanted.until)
        yield AuditEvent.seq < _first_event(session, wanted.until + _JITTER)


def _first_event(session: Session, at: datetime) -> int:
    """Return the number of the first event from a time on, by halving the trail."""
    low, high = 1, audit.head(session)[0] + 1
    while low < high:
        middle = (low + high) // 2
        stamp = session.scalar(select(AuditEvent.at).where(AuditEvent.seq == middle))
        low, high = (middle + 1, high) if stamp is not None and stamp < _stamp(at) else (low, middle)
    return low


def _accesses(session: Session, wanted: TrailFilter, below: int, size: int) -> list[Entry]:
    if wanted.kind is not None and wanted.kind not in set(AccessKind):
        return []
    conditions = (*_of_access(wanted), *_time_of_access(session, wanted))
    records = select(AccessRecord).where(AccessRecord.id < below, *conditions)
    return [_entry(row) for row in session.scalars(records.order_by(AccessRecord.id.desc()).limit(size))]


def _of_access(wanted: TrailFilter) -> Iterator[Condition]:
    if wanted.image_id is not None:
        yield AccessRecord.image_id == wanted.image_id
    if wanted.actor is not None:
        yield AccessRecord.actor == wanted.actor
    if wanted.kind is not None:
        yield AccessRecord.kind == wanted.kind


def _time_of_access(session: Session, wanted: TrailFilter) -> Iterator[Condition]:
    if wanted.since is not None:
        yield AccessRecord.at >= wanted.since
        yield AccessRecord.id >= _first_access(session, wanted.since - _JITTER)
    if wanted.until is not None:
        yield AccessRecord.at < wanted.until
        yield AccessRecord.id < _first_access(session, wanted.until + _JITTER)


def _first_access(session: Session, at: datetime) -> int:
    first = select(AccessRecord.id).where(AccessRecord.at >= at).order_by(AccessRecord.at).limit(1)
    found = session.scalar(first)
    return _LAST if found is None else found


def _entry(row: AccessRecord) -> Entry:
    about = ((row.image_id, "image"), (row.run_id, "run"))
    subject = next((f"{name}:{number}" for number, name in about if number is not None), "")
    return Entry("access", row.id, row.at, row.kind, row.actor, row.image_id, subject, row.code, row.total)


def _image_of(subject: str) -> int | None:
    name, _, number = subject.partition(":")
    return int(number) if name == "image" and number.isdecimal() else None


def _stamp(at: datetime) -> str:
    return at.isoformat(timespec="microseconds")
