"""What the monitor keeps of each day is what a direct count of the images gives, after any history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from random import Random

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.filling import arrival, known_model, known_reader, result
from worker.imagefile.identity import AgeSource, Identity
from worker.ledger import (
    actors,
    erasures,
    leases,
    monitor_counts,
    predictions,
    protocols,
    receipts,
    rescores,
    retriage,
    review,
)
from worker.ledger.findings import Action, Finding, NotJudged, Statement
from worker.ledger.monitor_counts import Group
from worker.ledger.monitored_groups import Dimension
from worker.ledger.predictions import RejectionRecord
from worker.ledger.protocols import Protocol
from worker.ledger.rescores import CROPPED
from worker.ledger.retriage import Choice
from worker.ledger.review import ReviewRefused
from worker.ledger.runs import CANARY_RUN
from worker.ledger.session import Ledger
from worker.ledger.states import ImageState, Lane, ReviewState, Source
from worker.ledger.tables import Image, Model, MonitorDay, Prediction, Review
from worker.ledger.thresholds import Point
from worker.monitor.counts import Counts, total
from worker.monitoring import begin, count_all

START = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
FIRST = START.date()
STATEMENTS = (
    Statement(Finding.SIGNS),
    Statement(Finding.NO_SIGNS),
    Statement(Finding.NOT_JUDGED, NotJudged.INADEQUATE),
    Statement(Finding.SECOND_OPINION),
)
IDENTITIES = (
    Identity(),
    Identity(
        age_years=4.0, age_source=AgeSource.FORM, sex="F", view="PA", manufacturer="Agfa", station_class="CR"
    ),
    Identity(age_years=70.0, age_source=AgeSource.FORM, sex="M", view="AP"),
)


@dataclass
class Hospital:
    """A ledger in which random things happen, some hours after each other."""

    ledger: Ledger
    random: Random
    at: datetime = START
    number: int = 0
    happened: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model = known_model(self.ledger)

    def live(self) -> None:
        """Let one random thing happen, later."""
        self.at += timedelta(hours=self.random.randrange(1, 9))
        things: tuple[Callable[[], None], ...] = (
            *(self.score, self.score, self.read, self.read, self.read, self.undo),
            *(self.reject, self.rescore, self.erase, self.change_protocol, self.retriage, self.identify),
        )
        thing = self.random.choice(things)
        thing()
        self.happened.append(thing.__name__)

    def receive(self, count: int, *, run: str = "night", **fields: object) -> list[int]:
        arrivals = []
        for _ in range(count):
            self.number += 1
            known = self.random.choice(IDENTITIES)
            source = self.random.choice([Source.FOLDER, Source.UPLOAD, Source.DICOM])
            arrivals.append(replace(arrival(self.number), identity=known, source=source, **fields))
        with self.ledger.transaction() as session:
            recorded = receipts.record(session, arrivals, run=run, lane=Lane.OVERNIGHT, at=self.at)
        return [row.image_id for row in recorded if row is not None]

    def score(self) -> None:
        self.score_images(self.receive(4) + self.random.choice([[], self.receive(1, run=CANARY_RUN)]))
        self.receive(1, rejection=("not_an_image", "It is none."))
        if self.random.random() < 0.2:
            phantom = self.receive(1, phantom=True)
            self.score_images(phantom)

    def score_images(self, ids: list[int]) -> None:
        with self.ledger.transaction() as session:
            leases.lease(session, ids, owner="w", lease_s=60, at=self.at)
        scored = [result(image_id, self.random.random()) for image_id in ids]
        self.record(scored)

    def record(
        self, scored: list[predictions.ScoreRecord], rejected: list[RejectionRecord] | None = None
    ) -> None:
        with self.ledger.transaction() as session:
            predictions.record(
                session,
                owner="w",
                model=self.model,
                scored=scored,
                rejected=rejected or [],
                started_at=self.at,
                at=self.at,
                versions={"nightread": "0"},
                random=self.random,
            )

    def reject(self) -> None:
        ids = self.receive(2)
        with self.ledger.transaction() as session:
            leases.lease(session, ids, owner="w", lease_s=60, at=self.at)
        self.record([], [RejectionRecord(image_id, "blank", "It is blank.") for image_id in ids])

    def any_image(self, *conditions: object) -> int | None:
        with self.ledger.reading() as session:
            ids = session.scalars(select(Image.id).where(*conditions).order_by(Image.id)).all()  # type: ignore[arg-type]
        return self.random.choice(ids) if ids else None

    def read(self) -> None:
        image_id = self.any_image(Image.state == ImageState.SCORED, Image.review_state != ReviewState.READ)
        if image_id is not None:
            reader_id = known_reader(self.ledger, self.random.choice(["Ada", "Ben", "Chen"]))
            self.try_to(
                lambda session: review.decide(
                    session,
                    image_id,
                    reader_id=reader_id,
                    statement=self.random.choice(STATEMENTS),
                    at=self.at,
                    adjudicates=True,
                )
            )

    def undo(self) -> None:
        with self.ledger.reading() as session:
            rows = session.execute(
                select(Review.id, Review.user_id).where(Review.action != Action.UNDO)
            ).all()
        if rows:
            review_id, reader_id = self.random.choice(rows)
            self.try_to(
                lambda session: review.undo(session, reader_id=reader_id, review_id=review_id, at=self.at)
            )

    def rescore(self) -> None:
        image_id = self.any_image(Image.state == ImageState.SCORED, ~Image.phantom)
        if image_id is None:
            return
        with self.ledger.transaction() as session:
            last = session.scalars(
                select(Prediction.id).where(Prediction.image_id == image_id).order_by(Prediction.id.desc())
            ).first()
            assert last is not None
            rescores.rescore(session, {last: CROPPED}, self.at)
        if self.random.random() < 0.7:
            self.model = known_model(self.ledger, self.random.choice("mn") * 64)
        self.at += timedelta(hours=1)
        self.score_images([image_id])

    def erase(self) -> None:
        image_id = self.any_image(Image.state.in_([ImageState.SCORED, ImageState.REJECTED]))
        if image_id is not None:
            with self.ledger.transaction() as session:
                erasures.erase(session, [image_id], who=actors.PROGRAM, why="a test", at=self.at)

    def change_protocol(self) -> None:
        share, readers = self.random.choice([0.0, 0.3, 0.5, 1.0]), self.random.choice([1, 2])
        with self.ledger.transaction() as session:
            if protocols.in_force(session).protocol != Protocol(sample_share=share, readers=readers):
                protocols.change(
                    session,
                    Protocol(sample_share=share, readers=readers),
                    who=actors.PROGRAM,
                    why="a test",
                    at=self.at,
                )

    def retriage(self) -> None:
        with self.ledger.transaction() as session:
            model = session.get_one(Model, self.model.model_id)
            middle = round(self.random.uniform(0.2, 0.8), 3)
            point = Point.of_site("ours", middle, middle, middle)
            choice = Choice(point, point, retriages=True)
            retriage.put_in_force(session, model, choice, who=actors.PROGRAM, why="a test", at=self.at)

    def identify(self) -> None:
        """Let a file arrive again, with a header this time."""
        image_id = self.any_image(Image.state == ImageState.SCORED)
        if image_id is not None:
            with self.ledger.transaction() as session:
                row = session.get_one(Image, image_id)
                again = replace(arrival(1), sha256=row.sha256, identity=IDENTITIES[1])
                receipts.record(session, [again], run="night", lane=Lane.OVERNIGHT, at=self.at)

    def try_to(self, act: Callable[[Session], object]) -> None:
        try:
            with self.ledger.transaction() as session:
                act(session)
        except ReviewRefused:
            pass


def kept(ledger: Ledger) -> dict[tuple[date, Group], Counts]:
    """Return all that the cache holds."""
    with ledger.reading() as session:
        return {
            (row.day, Group(Dimension(row.dimension), row.group_name, row.model_id)): Counts.from_json(
                row.counts
            )
            for row in session.scalars(select(MonitorDay))
        }


def counted_slowly(ledger: Ledger) -> dict[tuple[date, Group], Counts]:
    """Count every day from the images themselves."""
    days = [FIRST + timedelta(days=number) for number in range(-1, 40)]
    with ledger.reading() as session:
        return {
            (day, group): counts
            for day in days
            for group, counts in monitor_counts.count_day(session, day).items()
        }


@pytest.mark.parametrize("seed", range(4))
def test_cache_equals_a_direct_count_after_any_history(ledger: Ledger, seed: int) -> None:
    hospital = Hospital(ledger, Random(seed))
    for _ in range(5):
        for _ in range(12):
            hospital.live()
        count_all(ledger)
        assert kept(ledger) == counted_slowly(ledger), hospital.happened
    assert total(counts for (_, group), counts in kept(ledger).items() if group.dimension == "all").images
    before = kept(ledger)
    begin(ledger)
    count_all(ledger)
    assert kept(ledger) == before
