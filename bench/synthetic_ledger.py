"""An invented ledger of any size, so that pages and checks can be measured on many years of nights.

Every row says *phantom*. It is written in bulk, but the trail by the ledger's own function, so that its
chain holds; books, tallies and trail of an invented ledger pass `nightread db check` like those of a real one.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, select, text
from sqlalchemy.orm import Session

from worker.ledger import audit, predictions, receipts, review, runs
from worker.ledger.audit import Event
from worker.ledger.predictions import ScoringModel
from worker.ledger.review import NEEDS_READING, Action, finding_of
from worker.ledger.session import Ledger, utc_now
from worker.ledger.states import ImageState, Lane, Outcome, ReviewState, Source
from worker.ledger.tables import Image, Prediction, Receipt, Review

# Runs of a tenth to a hundredth of all images: 100,000 to 10,000 of a million.
_SHARES = (10, 20, 50, 100)
_BATCH = 5_000
_READERS = ("Ada", "Ben", "Chen")
_POINT = {"threshold": 0.5, "band_low": 0.4, "band_high": 0.65}
_WORKER = "invented:1:worker"
_VERSIONS = {"nightread": "0.2.0", "preprocessing": "2", "litert": "2.1.0", "python": "3.11.7"}
_SIDE = 7
_DUPLICATES, _AT_THE_DOOR, _BY_THE_GATE, _QUARANTINED = 0.03, 0.005, 0.005, 0.002
# In the latest run so many images are being scored, and half of it still waits.
_LEASED = 64
_READ, _READ_THOUGH_CLEAR, _TAKEN_BACK = 0.95, 0.02, 0.01
_RUNS_NOT_READ_YET = 2
Row = dict[str, Any]


@dataclass(frozen=True)
class _Cast:
    """Who and what takes part: the models, the earlier one first, readers, runs and their first images."""

    models: list[ScoringModel]
    readers: list[int]
    runs: list[int]
    firsts: list[int]
    started: list[datetime]


@dataclass
class _Sheet:
    """The rows of some images, before they are written."""

    images: list[Row] = field(default_factory=list)
    receipts: list[Row] = field(default_factory=list)
    predictions: list[Row] = field(default_factory=list)
    reviews: list[Row] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


def fill_ledger(ledger: Ledger, count: int, advance: Callable[[int], None] = lambda _: None) -> None:
    """Fill an empty ledger with `count` images and all that belongs to them; the same ones each time.

    Raises ValueError when there are images in it already.
    """
    with ledger.transaction() as session:
        if receipts.any_image(session):
            raise ValueError("there are images in this ledger already; an empty one is needed")
        cast = _cast(session, count)
    author = _Author(cast, count)
    for first in range(1, count + 1, _BATCH):
        numbers = range(first, min(first + _BATCH, count + 1))
        with ledger.transaction() as session:
            _write(session, author.draw(numbers))
        advance(len(numbers))
    _settle(ledger)


class _Author:
    """Draws the images in order, and counts what it has drawn."""

    def __init__(self, cast: _Cast, count: int) -> None:
        self._cast, self._count = cast, count
        self._random = random.Random(count)
        self._receipts = self._predictions = self._reviews = 0
        self._run = 0
        self._sheet = _Sheet()

    def draw(self, numbers: range) -> _Sheet:
        """All that belongs to the images of these numbers, which are their ids."""
        self._sheet = _Sheet()
        for number in numbers:
            if self._run + 1 < len(self._cast.firsts) and number >= self._cast.firsts[self._run + 1]:
                self._run += 1
            self._one(number)
        return self._sheet

    def _one(self, number: int) -> None:
        place = number - self._cast.firsts[self._run]
        at = self._cast.started[self._run] + timedelta(milliseconds=50 * place)
        state, code = self._fate(number)
        image: Row = {
            "id": number,
            "sha256": hashlib.sha256(f"invented image {number}".encode()).hexdigest(),
            "format": "jpeg",
            "bytes": 200_000 + number % 50_000,
            "width": 1400,
            "height": 1000,
            "phantom": True,
            "original_name": f"phantom-{number:07d}.jpg",
            "run_id": self._cast.runs[self._run],
            "lane": Lane.OVERNIGHT.value,
            "state": state.value,
            "received_at": at,
            "attempts": {ImageState.PENDING: 0, ImageState.QUARANTINED: 3}.get(state, int(code != "empty")),
            "lease_owner": _WORKER if state is ImageState.LEASED else None,
            "lease_until": utc_now() + timedelta(days=1) if state is ImageState.LEASED else None,
            "queued_at": at,
            "reason_code": code,
            "reason": "An invented reason." if code else None,
            "verdict": None,
            "p_pneumonia": None,
            "scored_at": None,
            "compute_ms": None,
            "review_state": None,
        }
        self._arrives(image, Outcome.REJECTED if code == "empty" else Outcome.NEW)
        if state is ImageState.SCORED:
            self._scores(image, at + timedelta(seconds=20))
        elif code and code != "empty":
            self._event(image, state.value, {"reason": code})
        if self._random.random() < _DUPLICATES:
            self._arrives(image, Outcome.DUPLICATE)
        self._sheet.images.append(image)

    def _fate(self, number: int) -> tuple[ImageState, str | None]:
        waiting = number - (self._cast.firsts[-1] + self._count) // 2
        if waiting > 0:
            return (ImageState.LEASED if waiting <= _LEASED else ImageState.PENDING), None
        drawn = self._random.random()
        if drawn < _AT_THE_DOOR:
            return ImageState.REJECTED, "empty"
        if drawn < _AT_THE_DOOR + _BY_THE_GATE:
            return ImageState.REJECTED, "blank"
        if drawn < _AT_THE_DOOR + _BY_THE_GATE + _QUARANTINED:
            return ImageState.QUARANTINED, "lease_expired"
        return ImageState.SCORED, None

    def _arrives(self, image: Row, outcome: Outcome) -> None:
        self._receipts += 1
        self._sheet.receipts.append(
            {
                "id": self._receipts,
                "source": Source.FOLDER.value,
                "original_name": image["original_name"],
                "arrival": f"invented:{self._receipts}",
                "sha256": image["sha256"],
                "bytes": image["bytes"],
                "outcome": outcome.value,
                "reason_code": image["reason_code"] if outcome is Outcome.REJECTED else None,
                "reason": image["reason"] if outcome is Outcome.REJECTED else None,
                "image_id": image["id"],
                "run_id": image["run_id"],
                "received_at": image["received_at"],
            }
        )
        said = {"receipt": self._receipts, "outcome": outcome.value, "source": Source.FOLDER.value}
        self._event(image, "received", {**said, "sha256": image["sha256"], "bytes": image["bytes"]})

    def _scores(self, image: Row, at: datetime) -> None:
        self._predictions += 1
        p = self._random.random() ** 3
        verdict = (
            "flagged" if p >= _POINT["band_high"] else "uncertain" if p >= _POINT["band_low"] else "clear"
        )
        compute_ms = 4 + 4 * self._random.random()
        image.update(verdict=verdict, p_pneumonia=p, scored_at=at, compute_ms=compute_ms)
        image["review_state"] = ReviewState.UNREAD.value
        model = self._cast.models[self._run >= len(self._cast.runs) // 2]
        numbers = {"p_normal": 1 - p, "p_bacterial": 0.7 * p, "p_viral": 0.3 * p, "p_pneumonia": p}
        self._sheet.predictions.append(
            {
                "id": self._predictions,
                "image_id": image["id"],
                "model_id": model.model_id,
                "operating_point_id": model.operating_point_id,
                **numbers,
                "confidence": max(p, 1 - p),
                "verdict": verdict,
                "activation": bytes(_SIDE * _SIDE),
                "map_height": _SIDE,
                "map_width": _SIDE,
                "started_at": at - timedelta(seconds=0.2),
                "finished_at": at,
                "compute_ms": compute_ms,
                "worker": _WORKER,
                "versions": _VERSIONS,
            }
        )
        said = {"model": model.model_sha256, "operating_point": model.operating_point_id, "verdict": verdict}
        self._event(image, "scored", said | numbers)
        chance = _READ if verdict in NEEDS_READING else _READ_THOUGH_CLEAR
        if self._run < len(self._cast.runs) - _RUNS_NOT_READ_YET and self._random.random() < chance:
            self._is_read(image, at + timedelta(hours=9))

    def _is_read(self, image: Row, at: datetime) -> None:
        act = Action.CONFIRM if self._random.random() < _READ else Action.OVERRIDE
        reader = self._random.choice(self._cast.readers)
        read = self._review(image, reader, at, act, finding_of(image["verdict"], act).value, None)
        if self._random.random() < _TAKEN_BACK:
            self._review(image, reader, at, Action.UNDO, None, read)
        else:
            image["review_state"] = ReviewState.READ.value

    def _review(
        self, image: Row, reader: int, at: datetime, act: Action, finding: str | None, undoes: int | None
    ) -> int:
        self._reviews += 1
        self._sheet.reviews.append(
            {
                "id": self._reviews,
                "image_id": image["id"],
                "prediction_id": self._predictions,
                "user_id": reader,
                "action": act.value,
                "finding": finding,
                "note": "",
                "undoes_id": undoes,
                "at": at,
            }
        )
        kind = "read_undone" if act is Action.UNDO else "read"
        self._event(image, kind, {"review": self._reviews, "finding": finding}, f"user:{reader}")
        return self._reviews

    def _event(self, image: Row, kind: str, payload: Row, actor: str = "nightread") -> None:
        self._sheet.events.append(Event(kind, actor, f"image:{image['id']}", payload))


def _cast(session: Session, count: int) -> _Cast:
    firsts, now = list(_first_of_runs(count)), utc_now()
    started = [now - timedelta(days=len(firsts) - number) for number in range(len(firsts))]
    nights = [runs.run_named(session, runs.night_of(at), at).id for at in started]
    models = [_model(session, version, started[0]) for version in ("0.1.0", "0.2.0")]
    readers = [review.reader(session, name, started[0]).id for name in _READERS]
    return _Cast(models, readers, nights, firsts, started)


def _first_of_runs(count: int) -> Iterator[int]:
    """The number of each run's first image."""
    first, run = 1, 0
    while first <= count:
        yield first
        first += max(1, count // _SHARES[run % len(_SHARES)])
        run += 1


def _model(session: Session, version: str, at: datetime) -> ScoringModel:
    return predictions.register_model(
        session,
        sha256=hashlib.sha256(version.encode()).hexdigest(),
        name="invented",
        version=version,
        card={"name": "invented", "version": version},
        point=_POINT,
        point_name="balanced",
        at=at,
    )


def _write(session: Session, sheet: _Sheet) -> None:
    audit.lock(session)
    for table, rows in (
        (Image, sheet.images),
        (Receipt, sheet.receipts),
        (Prediction, sheet.predictions),
        (Review, sheet.reviews),
    ):
        if rows:
            _put(session, table, rows)
    audit.append(session, sheet.events)


def _put(session: Session, table: Any, rows: list[Row]) -> None:
    """As fast as the database takes them: COPY on PostgreSQL."""
    if session.get_bind().dialect.name == "sqlite":
        session.connection().execute(insert(table.__table__), rows)
        return
    cursor = session.connection().connection.cursor()
    with cursor.copy(f"COPY {table.__tablename__} ({', '.join(rows[0])}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row([json.dumps(cell) if isinstance(cell, dict) else cell for cell in row.values()])


def _settle(ledger: Ledger) -> None:
    """Let PostgreSQL count on after the ids that were given, and know its tables as autovacuum would."""
    if ledger.engine.dialect.name == "sqlite":
        return
    with ledger.transaction() as session:
        for table in (Image, Receipt, Prediction, Review):
            last = select(func.setval(f"{table.__tablename__}_id_seq", func.max(table.id)))
            session.execute(last.having(func.max(table.id).is_not(None)))
    with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
