"""A synthetic ledger of any size, to measure pages and checks on the data of many years.

Every image is marked as a phantom, but for some nights that two people have read: statistics leave phantoms out. Rows are inserted in bulk. The audit events are appended by the
ledger's own function, so a synthetic ledger passes `nightread db check` like a real one.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, select, text
from sqlalchemy.orm import Session

from bench.synthetic_monitor import DAYS, fill_monitor
from worker.access_chain import chain_accesses
from worker.ledger import actors, audit, predictions, receipts, runs, shadows, studies, users
from worker.ledger.accesses import AccessKind
from worker.ledger.audit import Event
from worker.ledger.findings import Action, Finding, Stage
from worker.ledger.predictions import ScoringModel
from worker.ledger.roles import Role
from worker.ledger.seals import seal
from worker.ledger.session import Ledger, utc_now
from worker.ledger.shadows import SCORED, Page, ShadowRecord
from worker.ledger.states import NEEDS_READING, ImageState, Lane, Outcome, ReviewState, Source
from worker.ledger.tables import AccessRecord, Image, Instance, Model, Prediction, Receipt, Review, Study
from worker.ledger.trail_facts import CROP

# Sizes of the runs as fractions of all images, in turn: 1/10 to 1/100.
_RUN_FRACTIONS = (10, 20, 50, 100)
_BATCH = 5_000
_READERS = ("Ada", "Ben", "Chen")
_POINT = {"threshold": 0.5, "band_low": 0.4, "band_high": 0.65}
_WORKER = "synthetic:1:worker"
# What a site without ages has.
_POPULATION = "unknown"
_VERSIONS = {"nightread": "0.2.0", "preprocessing": "1", "litert": "2.1.0", "python": "3.11.7"}
_VERSIONS_SHA256 = audit.digest(audit.canonical(_VERSIONS))
_MAP_SIDE = 7
_ACTIVATION = bytes(_MAP_SIDE * _MAP_SIDE)
_ACTIVATION_SHA256 = audit.digest_bytes(_ACTIVATION)
_REASON = "A synthetic reason."
_REASON_SHA256 = audit.digest(_REASON)
# Shares of all images.
_DUPLICATES, _REJECTED_AT_INTAKE, _REJECTED_BY_GATE, _QUARANTINED = 0.03, 0.005, 0.005, 0.002
# The second half of the latest run is unfinished: this many of its images are leased, the others are pending.
_LEASED = 64
# Share of flagged and uncertain images that are read, of clear images that are read, of readings that are undone.
_READ, _READ_THOUGH_CLEAR, _UNDONE = 0.95, 0.02, 0.01
_UNREAD_RUNS = 2
# What the readers had in front of them; an undo says nothing of it.
_SEEN = {"score_shown": True, "map_shown": False, "open_ms": 8_000}
_NOT_SEEN = dict.fromkeys(_SEEN)
_IMAGES_OF_PATIENT = 3
# The latest nights, which two people have read to the end: how many, and their share of all images and largest size.
_NIGHTS_READ_TWICE, _SHARE_READ_TWICE, _NIGHT = 8, 0.02, 500
_DRAWN, _SECOND_AGREES = 0.05, 0.9
_CANDIDATE_SEED = 3
Row = dict[str, Any]


@dataclass(frozen=True)
class _Context:
    """The rows that the images refer to.

    Attributes:
        models: two models, the earlier one first.
        readers: ids of the readers.
        runs: ids of the runs.
        first_images: id of the first image of each run.
        started: when each run started.
    """

    models: list[ScoringModel]
    readers: list[int]
    runs: list[int]
    first_images: list[int]
    started: list[datetime]


@dataclass
class _Last:
    """The ids of the last rows."""

    receipts: int = 0
    predictions: int = 0
    reviews: int = 0


@dataclass
class _Rows:
    """The rows of a batch of images, before they are inserted."""

    images: list[Row] = field(default_factory=list)
    studies: list[Row] = field(default_factory=list)
    instances: list[Row] = field(default_factory=list)
    receipts: list[Row] = field(default_factory=list)
    predictions: list[Row] = field(default_factory=list)
    reviews: list[Row] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


def fill_ledger(ledger: Ledger, count: int, advance: Callable[[int], None] = lambda _: None) -> None:
    """Fill an empty ledger with `count` images, their receipts, predictions, readings and events.

    The counts of the monitor are invented: those of as many images in one year.

    The rows are the same at every call, except for their times. Raises ValueError if the ledger has images.
    """
    with ledger.transaction() as session:
        if receipts.any_image(session):
            raise ValueError("this ledger already has images; an empty one is needed")
        night = min(_NIGHT, int(count * _SHARE_READ_TWICE) // _NIGHTS_READ_TWICE)
        read_twice = night * _NIGHTS_READ_TWICE
        context = _create_context(session, count - read_twice)
        nights = _nights_read_twice(session, context, count - read_twice, night)
    last = _Last()
    generator = _Generator(context, count - read_twice, last)
    for numbers in _batches(range(1, count - read_twice + 1)):
        with ledger.transaction() as session:
            _write(session, generator.generate(numbers))
        with ledger.transaction() as session:
            _insert(session, AccessRecord, [_view(number, context) for number in numbers])
        advance(len(numbers))
    second = _ReadTwice(nights, count, last)
    for numbers in _batches(range(count - read_twice + 1, count + 1)):
        with ledger.transaction() as session:
            _write(session, second.generate(numbers))
        advance(len(numbers))
    with ledger.transaction() as session:
        yesterday = utc_now().date() - timedelta(days=1)
        fill_monitor(session, yesterday, count // DAYS, [model.model_id for model in context.models])
    _have_candidate_score(ledger, context, range(count - read_twice + 1, count + 1))
    _finish(ledger)
    chain_accesses(ledger, max_age_s=0)


def _have_candidate_score(ledger: Ledger, context: _Context, numbers: range) -> None:
    """Have the earlier model score the nights that two people have read, as a candidate."""
    scores = random.Random(_CANDIDATE_SEED)
    with ledger.transaction() as session:
        candidate = session.get_one(Model, context.models[0].model_id)
        shadows.change(session, candidate, who=actors.PROGRAM, why=_REASON, at=utc_now())
    for batch in _batches(numbers):
        with ledger.transaction() as session:
            of_batch = Prediction.image_id.between(batch[0], batch[-1])
            known = dict(
                session.execute(select(Prediction.image_id, Prediction.p_pneumonia).where(of_batch)).all()
            )
            results = []
            for number in batch:
                p = min(1.0, max(0.0, round(known[number] + scores.gauss(0, 0.1), 6)))
                results.append(ShadowRecord(number, SCORED, 1 - p, p / 2, p / 2, p))
            shadows.finish(session, Page(candidate.id, [], 1), results, _VERSIONS, utc_now())


def _batches(numbers: range) -> Iterator[range]:
    for first in range(0, len(numbers), _BATCH):
        yield numbers[first : first + _BATCH]


def _view(number: int, context: _Context) -> Row:
    """Return the row of a view: there are as many views as images."""
    reader = context.readers[number % len(context.readers)]
    return {
        "id": number,
        "at": context.started[0] + timedelta(seconds=number % 1_000_000),
        "kind": AccessKind.VIEW.value,
        "actor": f"user:{reader}",
        "image_id": number,
        "code": "page",
        "total": 1,
    }


class _Generator:
    """Generates the rows of the images in order and counts them."""

    _ARE_PHANTOMS = True

    def __init__(self, context: _Context, count: int, last: _Last) -> None:
        self._context, self._count, self._last = context, count, last
        self._random = random.Random(count)
        self._run = 0
        self._rows = _Rows()

    def generate(self, numbers: range) -> _Rows:
        """Return all rows that belong to the images with these ids."""
        self._rows = _Rows()
        for number in numbers:
            if (
                self._run + 1 < len(self._context.first_images)
                and number >= self._context.first_images[self._run + 1]
            ):
                self._run += 1
            self._add_image(number)
        return self._rows

    def _add_image(self, number: int) -> None:
        position = number - self._context.first_images[self._run]
        at = self._context.started[self._run] + timedelta(milliseconds=50 * position)
        state, code = self._draw_state(number)
        image: Row = {
            "id": number,
            "sha256": hashlib.sha256(f"synthetic image {number}".encode()).hexdigest(),
            "format": "jpeg",
            "bytes": 200_000 + number % 50_000,
            "width": 1400,
            "height": 1000,
            "phantom": self._ARE_PHANTOMS,
            "original_name": f"phantom-{number:07d}.jpg",
            "run_id": self._context.runs[self._run],
            "lane": Lane.OVERNIGHT.value,
            "state": state.value,
            "received_at": at,
            "attempts": {ImageState.PENDING: 0, ImageState.QUARANTINED: 3}.get(state, int(code != "empty")),
            "lease_owner": _WORKER if state is ImageState.LEASED else None,
            "lease_until": utc_now() + timedelta(days=1) if state is ImageState.LEASED else None,
            "queued_at": at,
            "reason_code": code,
            "reason": _REASON if code else None,
            "verdict": None,
            "p_pneumonia": None,
            "scored_at": None,
            "population": None,
            "compute_ms": None,
            "review_state": None,
            "drawn_rank": None,
        }
        identity = self._add_identity(image)
        self._add_receipt(image, Outcome.REJECTED if code == "empty" else Outcome.NEW, identity)
        if state is ImageState.SCORED:
            self._add_prediction(image, at + timedelta(seconds=20))
        elif code and code != "empty":
            self._add_event(image, state.value, {"reason": code, "reason_sha256": _REASON_SHA256}, at)
        if self._random.random() < _DUPLICATES:
            self._add_receipt(image, Outcome.DUPLICATE, {})
        self._rows.images.append(image)

    def _draw_state(self, number: int) -> tuple[ImageState, str | None]:
        past_middle = number - (self._context.first_images[-1] + self._count) // 2
        if past_middle > 0:
            return (ImageState.LEASED if past_middle <= _LEASED else ImageState.PENDING), None
        drawn = self._random.random()
        if drawn < _REJECTED_AT_INTAKE:
            return ImageState.REJECTED, "empty"
        if drawn < _REJECTED_AT_INTAKE + _REJECTED_BY_GATE:
            return ImageState.REJECTED, "blank"
        if drawn < _REJECTED_AT_INTAKE + _REJECTED_BY_GATE + _QUARANTINED:
            return ImageState.QUARANTINED, "lease_expired"
        return ImageState.SCORED, None

    def _add_identity(self, image: Row) -> Row:
        """Add a study with one instance, and return what the event of the receipt says of it."""
        number, uid = image["id"], f"1.2.{image['id']}"
        patient = hashlib.sha256(f"synthetic patient {number // _IMAGES_OF_PATIENT}".encode()).hexdigest()
        study: Row = {
            "id": number,
            "study_uid": uid,
            "accession": f"A{number}",
            "patient_key": patient,
            "age_years": float(number % 90),
            "age_source": "patient_age",
            "sex": "FM"[number % 2],
            "salt": _salt(number),
            "added_at": image["received_at"],
        }
        instance: Row = {
            "id": number,
            "image_id": number,
            "study_id": number,
            "series_uid": f"{uid}.1",
            "instance_uid": f"{uid}.1.1",
            "view": "PA",
            "laterality": "U",
            "manufacturer": "Agfa",
            "station_class": "DX",
            "salt": _salt(number),
        }
        self._rows.studies.append(study)
        self._rows.instances.append(instance)
        facts = studies.event_facts(study, studies.STUDY_COLUMNS)
        self._rows.events.append(
            Event("study_added", actors.PROGRAM, f"study:{number}", facts, image["received_at"])
        )
        return {
            "instance": number,
            **studies.event_facts(instance, ("study_id", *studies.INSTANCE_COLUMNS)),
        }

    def _add_receipt(self, image: Row, outcome: Outcome, identity: Row) -> None:
        self._last.receipts += 1
        salt = _salt(self._last.receipts)
        self._rows.receipts.append(
            {
                "id": self._last.receipts,
                "source": Source.FOLDER.value,
                "original_name": image["original_name"],
                "arrival": f"synthetic:{self._last.receipts}",
                "sha256": image["sha256"],
                "bytes": image["bytes"],
                "outcome": outcome.value,
                "reason_code": image["reason_code"] if outcome is Outcome.REJECTED else None,
                "reason": image["reason"] if outcome is Outcome.REJECTED else None,
                "image_id": image["id"],
                "run_id": image["run_id"],
                "received_at": image["received_at"],
                "salt": salt,
            }
        )
        details: Row = {
            **identity,
            "receipt": self._last.receipts,
            "outcome": outcome.value,
            "source": Source.FOLDER.value,
            "run": image["run_id"],
            "original_name_seal": seal(salt, image["original_name"]),
            "received_by_seal": None,
        }
        details |= {name: image[name] for name in ("sha256", "bytes")}
        if outcome is not Outcome.DUPLICATE:
            details |= {name: image[name] for name in ("format", "width", "height", "phantom", "lane")}
        if outcome is Outcome.REJECTED:
            details |= {"reason": image["reason_code"], "reason_sha256": _REASON_SHA256}
        self._add_event(image, "received", details, image["received_at"])

    def _add_prediction(self, image: Row, at: datetime) -> None:
        self._last.predictions += 1
        p = self._random.random() ** 3
        verdict = (
            "flagged" if p >= _POINT["band_high"] else "uncertain" if p >= _POINT["band_low"] else "clear"
        )
        compute_ms = 4 + 4 * self._random.random()
        image.update(
            verdict=verdict, p_pneumonia=p, population=_POPULATION, scored_at=at, compute_ms=compute_ms
        )
        image["review_state"] = ReviewState.UNREAD.value
        image["drawn_rank"] = self._draw_rank(verdict)
        model = self._context.models[self._run >= len(self._context.runs) // 2]
        numbers = {"p_normal": 1 - p, "p_bacterial": 0.7 * p, "p_viral": 0.3 * p, "p_pneumonia": p}
        self._rows.predictions.append(
            {
                "id": self._last.predictions,
                "image_id": image["id"],
                "model_id": model.model_id,
                "operating_point_id": model.operating_point_id,
                **numbers,
                "confidence": max(p, 1 - p),
                "verdict": verdict,
                "activation": _ACTIVATION,
                "map_height": _MAP_SIDE,
                "map_width": _MAP_SIDE,
                "started_at": at - timedelta(seconds=0.2),
                "finished_at": at,
                "compute_ms": compute_ms,
                "worker": _WORKER,
                "versions": _VERSIONS,
                "population": _POPULATION,
            }
        )
        details: Row = {
            "model": model.model_sha256,
            "operating_point": model.operating_point_id,
            "verdict": verdict,
        }
        details |= {name: image[name] for name in ("format", "width", "height")}
        details |= {
            "confidence": max(p, 1 - p),
            "activation_sha256": _ACTIVATION_SHA256,
            "versions_sha256": _VERSIONS_SHA256,
            **dict.fromkeys(CROP),
            "population": _POPULATION,
        }
        if image["drawn_rank"] is not None:
            details["drawn_rank"] = image["drawn_rank"]
        self._add_event(image, "scored", details | numbers, at)
        if self._is_read(image):
            self._add_reading(image, at + timedelta(hours=9))

    def _draw_rank(self, verdict: str) -> float | None:
        """Return the place of a drawn image in the queue; None for any other."""
        del verdict
        return None

    def _is_read(self, image: Row) -> bool:
        chance = _READ if image["verdict"] in NEEDS_READING else _READ_THOUGH_CLEAR
        return self._run < len(self._context.runs) - _UNREAD_RUNS and self._random.random() < chance

    def _add_reading(self, image: Row, at: datetime) -> None:
        agrees = self._random.random() < _READ
        found = Finding.SIGNS if agrees == (image["verdict"] in NEEDS_READING) else Finding.NO_SIGNS
        reader = self._random.choice(self._context.readers)
        review_id = self._add_review(image, reader, at, Action.READ, found.value, None)
        if self._random.random() < _UNDONE:
            self._add_review(image, reader, at, Action.UNDO, None, review_id)
        else:
            image["review_state"] = ReviewState.READ.value

    def _add_review(
        self,
        image: Row,
        reader: int,
        at: datetime,
        action: Action,
        finding: str | None,
        undoes: int | None,
        protocol: Row | None = None,
    ) -> int:
        self._last.reviews += 1
        salt = _salt(self._last.reviews)
        self._rows.reviews.append(
            {
                "id": self._last.reviews,
                "image_id": image["id"],
                "prediction_id": self._last.predictions,
                "user_id": reader,
                "action": action.value,
                "finding": finding,
                "note": "",
                "other_finding": "",
                "why": "",
                "salt": salt,
                "undoes_id": undoes,
                **dict.fromkeys(("reason_code", "supersedes_id")),
                **(_NOT_SEEN if action is Action.UNDO else _SEEN),
                **(protocol or dict.fromkeys(("stage", "leads_to"))),
                "at": at,
            }
        )
        details: Row = {"review": self._last.reviews, "undoes": undoes, "restores": None}
        if action is not Action.UNDO:
            details = {
                "review": self._last.reviews,
                "prediction": self._last.predictions,
                "finding": finding,
                "reason": None,
                "note_seal": seal(salt, ""),
                "supersedes": None,
                **(protocol or {}),
                **_SEEN,
            }
        kind = "read_undone" if action is Action.UNDO else "read"
        self._add_event(image, kind, details, at, f"user:{reader}")
        return self._last.reviews

    def _add_event(self, image: Row, kind: str, payload: Row, at: datetime, actor: str = "nightread") -> None:
        self._rows.events.append(Event(kind, actor, f"image:{image['id']}", payload, at))


class _ReadTwice(_Generator):
    """Generates nights without phantoms, each of whose images that needs a reader was read by two people or three."""

    _ARE_PHANTOMS = False

    def _draw_state(self, number: int) -> tuple[ImageState, str | None]:
        del number
        return ImageState.SCORED, None

    def _draw_rank(self, verdict: str) -> float | None:
        is_drawn = verdict != "uncertain" and self._random.random() < _DRAWN
        return round(self._random.random(), 6) if is_drawn else None

    def _is_read(self, image: Row) -> bool:
        return image["verdict"] in NEEDS_READING or image["drawn_rank"] is not None

    def _add_reading(self, image: Row, at: datetime) -> None:
        first, second, adjudicator = self._random.sample(self._context.readers, 3)
        likely, other = (
            (Finding.SIGNS, Finding.NO_SIGNS)
            if image["verdict"] in NEEDS_READING
            else (Finding.NO_SIGNS, Finding.SIGNS)
        )
        found = [likely, likely if self._random.random() < _SECOND_AGREES else other]
        ends = ReviewState.READ if found[0] is found[1] else ReviewState.DISAGREED
        self._read(image, first, at, found[0], Stage.FIRST, ReviewState.READ_ONCE)
        self._read(image, second, at, found[1], Stage.SECOND, ends)
        if ends is ReviewState.DISAGREED:
            self._read(image, adjudicator, at, likely, Stage.ADJUDICATION, ReviewState.READ)
        image["review_state"] = ReviewState.READ.value

    def _read(
        self, image: Row, reader: int, at: datetime, found: Finding, stage: Stage, leads_to: ReviewState
    ) -> None:
        protocol = {"stage": stage.value, "leads_to": leads_to.value}
        self._add_review(image, reader, at, Action.READ, found.value, None, protocol)


def _salt(number: int) -> str:
    """Return a salt for a row: the same at every call."""
    return f"{number:032x}"


def _create_context(session: Session, count: int) -> _Context:
    first_images, now = list(_first_of_runs(count)), utc_now()
    started = [now - timedelta(days=len(first_images) - number) for number in range(len(first_images))]
    nights = [runs.run_named(session, runs.night_of(at), at).id for at in started]
    models = [_model(session, version, started[0]) for version in ("0.1.0", "0.2.0")]
    readers = [
        users.add(session, name, {Role.READER}, actor=actors.PROGRAM, at=started[0]).id for name in _READERS
    ]
    return _Context(models, readers, nights, first_images, started)


def _nights_read_twice(session: Session, context: _Context, before: int, night: int) -> _Context:
    """Make the latest runs, `night` images each, after the image with the id `before`."""
    latest = context.started[-1]
    started = [latest + timedelta(hours=1 + number) for number in range(_NIGHTS_READ_TWICE)]
    nights = [runs.run_named(session, f"read-twice-{number}", at).id for number, at in enumerate(started, 1)]
    first_images = [before + 1 + number * night for number in range(_NIGHTS_READ_TWICE)]
    return replace(context, runs=nights, first_images=first_images, started=started)


def _first_of_runs(count: int) -> Iterator[int]:
    """Yield the id of the first image of each run."""
    first, run = 1, 0
    while first <= count:
        yield first
        first += max(1, count // _RUN_FRACTIONS[run % len(_RUN_FRACTIONS)])
        run += 1


def _model(session: Session, version: str, at: datetime) -> ScoringModel:
    return predictions.register_model(
        session,
        sha256=hashlib.sha256(version.encode()).hexdigest(),
        name="synthetic",
        version=version,
        card={"name": "synthetic", "version": version},
        point=_POINT,
        point_name="balanced",
        at=at,
    )


def _write(session: Session, batch: _Rows) -> None:
    audit.lock(session)
    for table, rows in (
        (Image, batch.images),
        (Study, batch.studies),
        (Instance, batch.instances),
        (Receipt, batch.receipts),
        (Prediction, batch.predictions),
        (Review, batch.reviews),
    ):
        if rows:
            _insert(session, table, rows)
    audit.append(session, batch.events)


def _insert(session: Session, table: Any, rows: list[Row]) -> None:
    """Insert the rows as fast as the database allows: on PostgreSQL with COPY."""
    if session.get_bind().dialect.name == "sqlite":
        session.connection().execute(insert(table.__table__), rows)
        return
    cursor = session.connection().connection.cursor()
    with cursor.copy(f"COPY {table.__tablename__} ({', '.join(rows[0])}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row([json.dumps(cell) if isinstance(cell, dict) else cell for cell in row.values()])


def _finish(ledger: Ledger) -> None:
    """Set PostgreSQL's id sequences after the inserted ids, and update its statistics as autovacuum would."""
    if ledger.engine.dialect.name == "sqlite":
        return
    with ledger.transaction() as session:
        for table in (Image, Study, Instance, Receipt, Prediction, Review, AccessRecord):
            last = select(func.setval(f"{table.__tablename__}_id_seq", func.max(table.id)))
            session.execute(last.having(func.max(table.id).is_not(None)))
    with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
