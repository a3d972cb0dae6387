"""Compares the tables with the audit trail, page by page: the memory does not grow with the ledger.

It finds values that differ from what the last event says, rows without an event, and events without a row. It does
not check the chain: `worker.ledger.audit.verify` does.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Float, Select, func, select
from sqlalchemy.orm import Session

from worker.ledger import access_batches, audit
from worker.ledger.accesses import AccessKind
from worker.ledger.point_history import POINT_SET, PointHistory
from worker.ledger.seals import is_erased, seal, sealed_value
from worker.ledger.tables import (
    RARE_KIND,
    AccessBatch,
    AccessReason,
    AccessRecord,
    ApiToken,
    AuditEvent,
    Base,
    Erasure,
    Image,
    Instance,
    Model,
    OperatingPointRow,
    Passkey,
    Prediction,
    ProviderIdentity,
    Receipt,
    Rescore,
    Review,
    Run,
    ShadowPrediction,
    SiteCalibration,
    SiteKey,
    SiteSetting,
    Study,
    Totp,
    User,
    UtcTime,
)
from worker.ledger.trail_facts import PROVEN, RETRIAGED, Facts, TrailEvent, image_facts, row_facts

# Only this many differences are kept, and all are counted.
KEPT = 100
_PAGE = 500
_NO_ID = 2**63 - 1
# Tables in which each row has events of its own.
_WITH_EVENTS: tuple[type[Any], ...] = (
    Run,
    Study,
    SiteKey,
    SiteSetting,
    User,
    ProviderIdentity,
    Totp,
    Passkey,
    ApiToken,
    Model,
    OperatingPointRow,
    SiteCalibration,
    ShadowPrediction,
    AccessBatch,
)
_OF_IMAGES: tuple[type[Any], ...] = (Receipt, Instance, Prediction, Review, Rescore, Erasure)
_HIDDEN = ("_seal", "_sha256")
# What `TrailEvent.parse` takes.
_EVENT = (
    *(AuditEvent.at, AuditEvent.kind, AuditEvent.actor, AuditEvent.subject, AuditEvent.payload),
    AuditEvent.seq,
)
# Columns that are read besides those that the trail proves.
_NEEDED = frozenset({"id", "image_id", "model_id", "original_name", "salt"})
# The payload of an event holds values of these types as they are.
_AS_THEY_ARE = frozenset({str, int, bool, type(None)})
# Most predictions of a model have the same versions, and most rows of a table the same facts.
_KEPT_DIGESTS, _KEPT_CHECKS = 256, 1_024
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Mismatch:
    """A difference between a row and the audit trail.

    Attributes:
        subject: the row, for example `image:5`.
        what: the column that differs; `point_group` also if an image followed the operating point of another group than it
            was in; `row` if the row is missing, `event` if no event says that it exists,
            `accesses` if a batch of accesses has other rows than those that it was made of.
        table: the value in the table; None if it is missing, or if it may name a person.
        trail: the value according to the audit trail; None likewise.
    """

    subject: str
    what: str
    table: object = None
    trail: object = None

    def __str__(self) -> str:
        """Return a sentence for people."""
        if self.what == "row":
            return f"{self.subject}: the audit trail has events about it, but the row is missing"
        if self.what == "event":
            return f"{self.subject}: no event of the audit trail says that it was added"
        if self.what == "accesses":
            return f"{self.subject}: accesses of this batch were changed, deleted or inserted after it was recorded"
        if self.table is None and self.trail is None:
            return f"{self.subject}: {self.what} is not what the audit trail recorded"
        return f"{self.subject}: {self.what} is {self.table!r}, the audit trail says {self.trail!r}"


@dataclass
class Comparison:
    """The result of `compare`.

    Attributes:
        mismatches: the first `KEPT` differences.
        mismatch_count: number of all differences.
        unproven: number of rows by `table.column` whose value no event proves, because an earlier version of
            Nightread recorded it.
        erased: number of rows by `table.column` whose text and salt were erased.
    """

    mismatches: list[Mismatch] = field(default_factory=list)
    mismatch_count: int = 0
    unproven: Counter[str] = field(default_factory=Counter)
    erased: Counter[str] = field(default_factory=Counter)

    def add(self, mismatch: Mismatch) -> None:
        """Count a difference, and keep it unless there are too many."""
        self.mismatch_count += 1
        if len(self.mismatches) < KEPT:
            self.mismatches.append(mismatch)


def compare(session: Session, advance: Callable[[int], object] = lambda _: None) -> Comparison:
    """Compare every row with the audit trail.

    Args:
        session: of a snapshot.
        advance: is called with the number of images that were compared since the last call.
    """
    comparer = _Comparer(session)
    for table in _WITH_EVENTS:
        comparer.compare_table(table)
    comparer.compare_accesses()
    comparer.compare_images(advance)
    return comparer.result


class _Comparer:
    """Compares one table after the other and collects the differences."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.result = Comparison()
        self._model_hashes: dict[int, str] = dict(session.execute(select(Model.id, Model.sha256)).all())
        self._retriages = self._of_kind(RETRIAGED)
        self._points = PointHistory(self._of_kind(POINT_SET))

    def _of_kind(self, kind: str) -> list[TrailEvent]:
        of_all = select(*_EVENT).where(RARE_KIND, AuditEvent.kind == kind).order_by(AuditEvent.seq)
        return [TrailEvent.parse(*row) for row in self._session.execute(of_all)]

    def compare_table(self, table: type[Any]) -> None:
        """Compare the rows of a table in which each row has events of its own."""
        name = table.__tablename__
        seen = 0
        for rows in self._pages(table):
            events = self._events(f"{name}:{row['id']}" for row in rows)
            for row in rows:
                subject = f"{name}:{row['id']}"
                self._compare_row(name, row["id"], row, row_facts(events.get(subject, ())))
            seen += sum(map(len, events.values()))
        self._find_missing_rows(table, seen)

    def compare_accesses(self) -> None:
        """Compare the rows of each batch of accesses with its hash, and the reasons with their seals."""
        for batch_id in access_batches.changed_batches(self._session):
            self.result.add(Mismatch(f"access_batch:{batch_id}", "accesses"))
        sealed = (
            select(AccessRecord.id, AccessRecord.reason_seal, AccessReason.reason, AccessReason.salt)
            .join(AccessReason, isouter=True)
            .where(AccessRecord.kind == AccessKind.ORIGINAL)
            .order_by(AccessRecord.id)
        )
        for row_id, said, reason, salt in self._session.execute(sealed.execution_options(yield_per=_PAGE)):
            if seal(salt or "", reason) != said:
                self._add_reason(row_id, reason, salt)

    def _add_reason(self, access_id: int, reason: str | None, salt: str | None) -> None:
        if reason is not None and is_erased(salt, reason, access_id):
            self.result.erased["access_reason.reason"] += 1
        else:
            self.result.add(Mismatch(f"access:{access_id}", "reason"))

    def compare_images(self, advance: Callable[[int], object]) -> None:
        """Compare images, and the rows of other tables that belong to them."""
        seen, last = 0, 0
        while last < _NO_ID:
            images = {row["id"]: row for row in self._page(Image, last)}
            end = max(images) if len(images) == _PAGE else _NO_ID
            parts = {table: self._parts(table, last, end) for table in _OF_IMAGES}
            ages = self._ages(parts[Instance])
            ids = sorted({*images, *(image_id for rows in parts.values() for image_id in rows)})
            events = self._events(f"image:{image_id}" for image_id in ids)
            for image_id in ids:
                self._compare_image(
                    image_id,
                    images.get(image_id),
                    {table: rows.get(image_id, []) for table, rows in parts.items()},
                    events.get(f"image:{image_id}", ()),
                    ages.get(image_id),
                )
            seen += sum(map(len, events.values()))
            advance(len(images))
            last = end
        self._find_missing_rows(Image, seen)

    def _compare_image(
        self,
        image_id: int,
        image: Row | None,
        parts: Mapping[type[Any], Sequence[Row]],
        events: Collection[TrailEvent],
        age_years: float | None,
    ) -> None:
        predictions = {self._model_hashes.get(row["model_id"]): row for row in parts[Prediction]}
        facts = image_facts(image_id, self._with_retriages(events), _scores(predictions), age_years)
        if image is not None:
            self._compare_row("image", image_id, _unleased(image), facts.image)
        elif events:
            self.result.add(Mismatch(f"image:{image_id}", "row"))
        receipts = {row["id"]: row for row in parts[Receipt]}
        self._compare_all("receipt", receipts, facts.receipts)
        self._compare_all("review", {row["id"]: row for row in parts[Review]}, facts.reviews)
        self._compare_all("rescore", {row["id"]: row for row in parts[Rescore]}, facts.rescores)
        self._compare_all("erasure", {row["id"]: row for row in parts[Erasure]}, facts.erasures)
        self._compare_all("instance", {row["id"]: row for row in parts[Instance]}, facts.instances)
        self._compare_all("prediction", predictions, facts.predictions, missing=f"image:{image_id}")
        first = receipts.get(facts.first_receipt)
        # The name of an image is a copy of the name in its first receipt.
        if image is not None and first is not None and image["original_name"] != first["original_name"]:
            self.result.add(Mismatch(f"image:{image_id}", "original_name"))
        if facts.erasures:
            self._find_texts(parts)
            # The age is gone, so nobody can tell any more in which group the image was.
        elif not all(map(self._points.agrees, facts.applied)):
            self.result.add(Mismatch(f"image:{image_id}", "point_group"))

    def _ages(self, instances: Mapping[int, Sequence[Row]]) -> dict[int, float]:
        """Return the ages of the patients of images, by the image's id, of the instances of a page."""
        studies = {image_id: row["study_id"] for image_id, rows in instances.items() for row in rows}
        known = select(Study.id, Study.age_years).where(Study.id.in_(set(studies.values()) - {None}))
        ages = {study_id: age for study_id, age in self._session.execute(known) if age is not None}
        return {image_id: ages[study_id] for image_id, study_id in studies.items() if study_id in ages}

    def _with_retriages(self, events: Collection[TrailEvent]) -> Collection[TrailEvent]:
        """Return the events about an image and the re-triages of all images, in their order."""
        if not self._retriages or not events:
            return events
        return sorted([*events, *self._retriages], key=lambda event: event.seq)

    def _find_texts(self, parts: Mapping[type[Any], Sequence[Row]]) -> None:
        """Report each text that is still there although the image was erased."""
        typed = ((Review, column) for column in ("note", "other_finding", "why"))
        for table, column in ((Receipt, "original_name"), *typed):
            for row in parts[table]:
                if not is_erased(row["salt"], row[column], row["id"]):
                    self.result.add(Mismatch(f"{table.__tablename__}:{row['id']}", column))

    def _compare_all(
        self, name: str, rows: Mapping[Any, Row], facts: Mapping[Any, Facts], *, missing: str = ""
    ) -> None:
        for key, row in rows.items():
            self._compare_row(name, row["id"], row, facts.get(key, {}))
        for key in facts.keys() - rows.keys() if facts else ():
            self.result.add(Mismatch(f"{name} of {missing}" if missing else f"{name}:{key}", "row"))

    def _compare_row(self, name: str, row_id: int, row: Row, facts: Facts) -> None:
        if not facts:
            self.result.add(Mismatch(f"{name}:{row_id}", "event"))
            return
        check = _row_check(name, tuple(facts))
        if not check.agrees(row, facts):
            for fact, column in check.differing(row, facts):
                self._add_difference(name, row_id, row, column, fact, facts[fact])
        if check.unproven:
            self.result.unproven.update(check.unproven)

    def _add_difference(self, name: str, row_id: int, row: Row, column: str, fact: str, said: object) -> None:
        if _is_erased(row, fact):
            self.result.erased[f"{name}.{column}"] += 1
        else:
            shown = (None, None) if fact.endswith(_HIDDEN) and fact != "sha256" else (row[column], said)
            self.result.add(Mismatch(f"{name}:{row_id}", column, *map(_shown, shown)))

    def _pages(self, table: type[Any]) -> Iterator[Sequence[Row]]:
        last = 0
        while rows := self._page(table, last):
            yield rows
            last = rows[-1]["id"]

    def _page(self, table: type[Base], last: int) -> Sequence[Row]:
        columns = table.__table__.c
        page = (
            select(*_columns(table.__tablename__)).where(columns.id > last).order_by(columns.id).limit(_PAGE)
        )
        return list(self._rows(page))

    def _parts(self, table: type[Any], last: int, end: int) -> dict[int, list[Row]]:
        """Return the rows that belong to the images with ids above `last`, up to `end`, by the image's id."""
        columns = table.__table__.c
        chosen = select(*_columns(table.__tablename__)).where(
            columns.image_id > last, columns.image_id <= end
        )
        rows: dict[int, list[Row]] = defaultdict(list)
        for row in self._rows(chosen.order_by(columns.id)):
            rows[row["image_id"]].append(row)
        return rows

    def _rows(self, chosen: Select[Any]) -> Iterator[Row]:
        """Yield rows as dictionaries, whose values are found faster than those of SQLAlchemy's mappings."""
        rows = self._session.execute(chosen)
        names = tuple(rows.keys())
        return (dict(zip(names, row, strict=True)) for row in rows)

    def _events(self, subjects: Iterator[str]) -> dict[str, list[TrailEvent]]:
        about = select(*_EVENT).where(AuditEvent.subject.in_(list(subjects))).order_by(AuditEvent.seq)
        events: dict[str, list[TrailEvent]] = defaultdict(list)
        for row in self._session.execute(about):
            event = TrailEvent.parse(*row)
            events[event.subject].append(event)
        return events

    def _find_missing_rows(self, table: type[Any], seen: int) -> None:
        """Report subjects that have no row, if the trail has more events about this table than were `seen`."""
        prefix = f"{table.__tablename__}:"
        about = AuditEvent.subject.startswith(prefix, autoescape=True)
        if self._session.scalar(select(func.count()).where(about)) == seen:
            return
        subjects = select(AuditEvent.subject).where(about).distinct().execution_options(yield_per=_PAGE)
        for batch in self._session.scalars(subjects).partitions(_PAGE):
            ids = {subject: _id_of(subject.removeprefix(prefix)) for subject in batch}
            known = set(self._session.scalars(select(table.id).where(table.id.in_(ids.values()))))
            for subject, row_id in ids.items():
                if row_id not in known:
                    self.result.add(Mismatch(subject, "row"))


def column_of(fact: str) -> str:
    """Return the column that a fact is about."""
    return fact if fact == "sha256" else fact.removesuffix("_seal").removesuffix("_sha256")


@cache
def _columns(table: str) -> tuple[Any, ...]:
    """Return the columns of a table that are compared, and those that tell to which rows these belong."""
    wanted = _NEEDED.union(PROVEN[table])
    return tuple(column for column in Base.metadata.tables[table].c if column.name in wanted)


class _RowCheck:
    """Compares rows of one table with facts that have the same names.

    Nearly every row agrees. So the values that need no conversion are compared all at once, and facts one by one only
    where something differs.

    Attributes:
        unproven: each `table.column` that these facts leave unproven.
    """

    def __init__(self, table: str, facts: Sequence[str]) -> None:
        self._checks = [(fact, column_of(fact), _comparison(fact)) for fact in facts]
        proven = {column for _, column, _ in self._checks}
        self.unproven = [f"{table}.{column}" for column in PROVEN[table] if column not in proven]
        types = Base.metadata.tables[table].c
        at_once = [
            (fact, column)
            for fact, column, agrees in self._checks
            if agrees is _is_same and not isinstance(types[column].type, (UtcTime, Float))
        ]
        self._facts_at_once = _values_of([fact for fact, _ in at_once])
        self._columns_at_once = _values_of([column for _, column in at_once])
        self._one_by_one = [check for check in self._checks if check[:2] not in at_once]

    def agrees(self, row: Row, facts: Facts) -> bool:
        """Return whether a row has the values of all facts."""
        return self._columns_at_once(row) == self._facts_at_once(facts) and all(
            agrees(row, row[column], facts[fact]) for fact, column, agrees in self._one_by_one
        )

    def differing(self, row: Row, facts: Facts) -> Iterator[tuple[str, str]]:
        """Yield each fact that a row does not agree with, and its column."""
        for fact, column, agrees in self._checks:
            if not agrees(row, row[column], facts[fact]):
                yield fact, column


_row_check = lru_cache(_KEPT_CHECKS)(_RowCheck)


def _values_of(names: Sequence[str]) -> Callable[[Mapping[str, Any]], object]:
    """Return the function that takes the values of these names from a dictionary."""
    return itemgetter(*names) if names else lambda _: ()


def _comparison(fact: str) -> Callable[[Row, Any, object], bool]:
    """Return the function that tells whether a row, by its value of the column, agrees with what the trail says."""
    if fact.endswith("_seal"):
        return _has_seal
    return _has_digest if fact.endswith("_sha256") and fact != "sha256" else _is_same


def _has_seal(row: Row, value: object, said: object) -> bool:
    return sealed_value(row["salt"] or "", value) == said


def _has_digest(_row: Row, value: object, said: object) -> bool:
    return _digest(value) == said


def _is_same(_row: Row, value: object, said: object) -> bool:
    return (value if type(value) in _AS_THEY_ARE else _plain(value)) == said


def _is_erased(row: Row, fact: str) -> bool:
    """Return whether text and salt are gone. A text that was recorded without a salt has none to lose."""
    typed = fact.endswith("_seal") or fact in {"note_sha256", "retry_reason_sha256"}
    return typed and is_erased(row["salt"], row[column_of(fact)], row["id"])


def _scores(predictions: Mapping[str | None, Row]) -> dict[str, float]:
    """Return the scores of an image's predictions, by the SHA-256 of their models."""
    return {sha256: row["p_pneumonia"] for sha256, row in predictions.items() if sha256 is not None}


def _digest(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes):
        return audit.digest_bytes(value)
    return audit.digest(value) if isinstance(value, str) else _digest_of_json(dict(value))  # type: ignore[call-overload]


def _digest_of_json(value: dict[str, Any]) -> str:
    # Texts alone: in a key of the cache, 1, 1.0 and true would be the same.
    if all(type(item) is str for item in value.values()):
        return _digest_of_texts(tuple(value.items()))
    return audit.digest(audit.canonical(value))


@lru_cache(_KEPT_DIGESTS)
def _digest_of_texts(items: tuple[tuple[str, str], ...]) -> str:
    return audit.digest(audit.canonical(dict(items)))


def _plain(value: object) -> object:
    """Return a value of a column as the payload of an event holds it."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    return f"{value:.6f}" if isinstance(value, float) else value


def _shown(value: object) -> object:
    return _plain(value) if value is None or isinstance(value, bool | int) else str(_plain(value))


def _unleased(image: Row) -> Row:
    """Return the row of an image as it was before its lease: a lease is no event."""
    return {**image, "state": "pending"} if image["state"] == "leased" else image


def _id_of(text: str) -> int:
    """Return the id in a subject; 0, which no row has, if it is none."""
    return int(text) if text.isdecimal() and len(text) < len(str(_NO_ID)) else 0
