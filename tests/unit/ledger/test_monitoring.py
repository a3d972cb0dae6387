"""What the monitor keeps of each day is what a direct count of the images gives, after any history."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from tests.filling import (
    AT,
    arrival,
    assert_consistent,
    fill,
    follow,
    known_model,
    known_reader,
    later,
    lease_images,
    make_patients,
    receive,
    record,
    result,
    score,
)
from worker.imagefile.identity import AgeSource, Identity
from worker.ledger import (
    actors,
    audit,
    erasures,
    leases,
    monitor_counts,
    monitoring,
    predictions,
    protocols,
    receipts,
    rescores,
    retriage,
    review,
    runs,
)
from worker.ledger.findings import Action, Finding, NotJudged, Statement
from worker.ledger.monitor_counts import NO_MODEL, Group
from worker.ledger.monitored_groups import Dimension, Traits
from worker.ledger.predictions import RejectionRecord
from worker.ledger.protocols import Protocol
from worker.ledger.rescores import CROPPED
from worker.ledger.retriage import Choice
from worker.ledger.review import ReviewRefused
from worker.ledger.runs import CANARY_RUN
from worker.ledger.session import Ledger
from worker.ledger.states import ImageState, Lane, ReviewState, Source
from worker.ledger.tables import (
    AuditEvent,
    Image,
    Instance,
    Model,
    MonitorDay,
    Prediction,
    Review,
    SiteSetting,
    Study,
)
from worker.ledger.thresholds import Point
from worker.monitor.counts import NO_BINS, Counts, FindingCounts, Judged, Sample, bins_of, total
from worker.monitoring import Step, begin, count_all, count_some

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

    def receive(self, count: int, *, run: str = "night", **fields: Any) -> list[int]:
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
        scored = [
            result(image_id, self.random.random(), distance=self.random.choice([None, 0.5, 1.5]))
            for image_id in ids
        ]
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
    """Count every image by itself, from the objects of the ledger and without a query of `monitor_counts`."""
    counted: dict[tuple[date, Group], list[Counts]] = defaultdict(list)
    with ledger.reading() as session:
        settings = session.scalars(select(SiteSetting).where(SiteSetting.name == "protocol")).all()
        retriages = session.scalars(
            select(AuditEvent).where(AuditEvent.kind == "retriaged").order_by(AuditEvent.seq)
        ).all()
        for image in session.scalars(select(Image).order_by(Image.id)):
            if image.phantom or image.run.name == CANARY_RUN or _got_back(image):
                continue
            groups = _groups(image)
            if image.state == ImageState.REJECTED:
                assert image.reason_code is not None
                counts = Counts(rejected={image.reason_code: 1})
                for dimension, name in groups.items():
                    counted[image.received_at.date(), Group(dimension, name, NO_MODEL)].append(counts)
            elif image.state == ImageState.SCORED:
                assert image.scored_at is not None
                model_id = image.predictions[0].model_id
                share = _share(image, settings, retriages)
                for dimension, name in groups.items():
                    counted[image.scored_at.date(), Group(dimension, name, model_id)].append(
                        _one(image, share)
                    )
                if (reading := _final(image)) is not None:
                    group = Group(Dimension.READER, str(reading.user_id), model_id)
                    counted[image.scored_at.date(), group].append(_one(image, None))
    return {key: total(counts) for key, counts in counted.items()}


def _got_back(image: Image) -> bool:
    newest = max((prediction.id for prediction in image.predictions), default=0)
    return any(rescore.prediction_id == newest for rescore in image.rescores)


def _groups(image: Image) -> dict[Dimension, str]:
    known, first = image.instance or Instance(), image.receipts[0]
    study = known.study or Study()
    return Traits(
        age_years=study.age_years,
        sex=study.sex,
        view=known.view,
        manufacturer=known.manufacturer,
        station_class=known.station_class,
        width=image.width,
        height=image.height,
        source=first.source,
        received_by=first.received_by,
    ).groups()


def _share(image: Image, settings: Sequence[SiteSetting], retriages: Sequence[AuditEvent]) -> str:
    """Return the share of the draw in which the image last became clear; 1 if others like it are not clear any more."""
    assert image.scored_at is not None
    assert image.p_pneumonia is not None
    shares = [0.05, *(row.value["sample_share"] for row in settings if row.at <= image.scored_at)]
    prediction, share = image.predictions[0], float(shares[-1])
    was_clear, follows = prediction.verdict == "clear", image.operating_point_id is not None
    for event in retriages:
        rule = json.loads(event.payload)
        if datetime.fromisoformat(event.at) < image.scored_at or rule["model"] != prediction.model.sha256:
            continue
        is_clear = not image.is_far and image.p_pneumonia < float(rule["clear_below"])
        if not follows and not is_clear:
            return "1"
        if follows and is_clear and not was_clear:
            share = float(rule["sample_share"])
        was_clear = is_clear
        follows = follows and event.subject != f"operating_point:{image.operating_point_id}"
    return f"{share:g}"


def _final(image: Image) -> Review | None:
    if image.review_state != ReviewState.READ:
        return None
    undone = {review.undoes_id for review in image.reviews}
    return [one for one in image.reviews if one.action != Action.UNDO and one.id not in undone][-1]


def _one(image: Image, share: str | None) -> Counts:
    """Return the counts of one scored image. Without a share, a drawn image counts as one that was not."""
    return replace(_judged(image, share), measured=int(image.distance is not None), far=int(image.is_far))


def _judged(image: Image, share: str | None) -> Counts:
    assert image.p_pneumonia is not None
    bins, reading = bins_of([image.p_pneumonia]), _final(image)
    finding = reading.finding if reading else None
    found = FindingCounts(
        int(finding == Finding.SIGNS), int(finding == Finding.NO_SIGNS), int(finding == Finding.NOT_JUDGED)
    )
    judged = Judged(
        bins if finding == Finding.SIGNS else NO_BINS, bins if finding == Finding.NO_SIGNS else NO_BINS
    )
    if image.verdict != "clear":
        read = {f"{image.verdict}_read": found, str(image.verdict): 1}
        unread = int(reading is None)
        return Counts(scored=bins, to_read_unread=unread, to_read_by_score=judged, **read)  # type: ignore[arg-type]
    is_sample = image.drawn_rank is not None or (share == "1" and reading is not None)
    if share is None or not is_sample:
        samples = {} if share is None else {share: Sample(1)}
        return Counts(scored=bins, clear=1, samples=samples, clear_read_undrawn=found)
    return Counts(scored=bins, clear=1, samples={share: Sample(1, found, int(reading is None), judged)})


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


def counted(ledger: Ledger, day: date = FIRST) -> dict[Group, Counts]:
    with ledger.reading() as session:
        return monitor_counts.count_day(session, day)


def of_all(ledger: Ledger, day: date = FIRST) -> Counts:
    """Return what is counted of all images of a day, whichever model scored them."""
    return total(counts for group, counts in counted(ledger, day).items() if group.dimension is Dimension.ALL)


def scored(ledger: Ledger, *scores: float) -> list[int]:
    """Return images that were scored a second after `AT`; none is drawn."""
    ids = fill(ledger, *range(1, 1 + len(scores)))
    for image_id, p_pneumonia in zip(ids, scores, strict=True):
        score(ledger, [image_id], p_pneumonia=p_pneumonia)
    return ids


def draw(ledger: Ledger, *image_ids: int) -> None:
    with ledger.transaction() as session:
        values = {"review_state": ReviewState.DRAWN, "drawn_rank": 0.5}
        session.execute(update(Image).where(Image.id.in_(image_ids)).values(**values))


def decide(ledger: Ledger, image_id: int, finding: Finding, name: str = "Ada") -> None:
    reader_id = known_reader(ledger, name)
    with ledger.transaction() as session:
        review.decide(session, image_id, reader_id=reader_id, statement=Statement(finding), at=later(90_000))


def test_images_are_counted_by_verdict_finding_and_draw(ledger: Ledger) -> None:
    flagged, unread, uncertain, clear, drawn, waiting, read = scored(
        ledger, 0.91, 0.97, 0.5, 0.01, 0.12, 0.13, 0.3
    )
    draw(ledger, drawn, waiting)
    decide(ledger, flagged, Finding.NO_SIGNS)
    decide(ledger, uncertain, Finding.SIGNS)
    decide(ledger, drawn, Finding.SIGNS)
    decide(ledger, read, Finding.SIGNS)
    counts = of_all(ledger)
    assert (counts.flagged, counts.uncertain, counts.clear) == (2, 1, 4)
    assert counts.scored == bins_of([0.91, 0.97, 0.5, 0.01, 0.12, 0.13, 0.3])
    assert (counts.flagged_read, counts.uncertain_read) == (FindingCounts(0, 1), FindingCounts(1))
    assert counts.to_read_unread == 1
    assert counts.to_read_by_score == Judged(bins_of([0.5]), bins_of([0.91]))
    sample = Sample(4, FindingCounts(1), 1, Judged(bins_of([0.12])))
    assert counts.samples == {"0.05": sample}
    assert counts.clear_read_undrawn == FindingCounts(1)
    assert (counts.overridden, counts.contradictable) == (3, 3)
    assert clear not in {flagged, unread}


def test_images_far_from_the_training_data_are_counted(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2, 3, 4)
    make_patients(ledger)
    for image_id, distance in zip(ids, (0.3, 1.0, 1.2, None), strict=True):
        score(ledger, [image_id], distance=distance)
    assert (of_all(ledger).images, of_all(ledger).measured, of_all(ledger).far) == (4, 3, 1)


def test_a_reading_that_is_not_final_counts_as_unread(ledger: Ledger) -> None:
    first, second = scored(ledger, 0.9, 0.9)
    decide(ledger, first, Finding.SECOND_OPINION)
    follow(ledger, Protocol(readers=2))
    decide(ledger, second, Finding.SIGNS)
    assert of_all(ledger).to_read_unread == 2
    assert of_all(ledger).flagged_read == FindingCounts()


def test_readings_belong_to_the_reader_of_the_one_in_force(ledger: Ledger) -> None:
    first, second = scored(ledger, 0.9, 0.1)
    draw(ledger, second)
    decide(ledger, first, Finding.SIGNS, "Ada")
    decide(ledger, second, Finding.NO_SIGNS, "Ben")
    groups = {group.name: counts for group, counts in counted(ledger).items() if group.dimension == "reader"}
    ada, ben = (groups[str(known_reader(ledger, name))] for name in ("Ada", "Ben"))
    assert (ada.images, ada.flagged_read) == (1, FindingCounts(1))
    assert (ben.images, ben.samples, ben.clear_read_undrawn) == (1, {}, FindingCounts(0, 1))


def test_phantoms_canaries_and_erased_images_do_not_count(ledger: Ledger) -> None:
    _, phantom, erased, canary = scored(ledger, 0.9, 0.9, 0.9, 0.9)
    with ledger.transaction() as session:
        session.get_one(Image, phantom).phantom = True
        erasures.erase(session, [erased], who=actors.PROGRAM, why="a test", at=later(2))
        run = runs.run_named(session, CANARY_RUN, AT)
        session.get_one(Image, canary).run_id = run.id
    assert of_all(ledger).images == 1


def test_rejected_images_count_on_the_day_of_arrival_without_a_model(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        receive(session, arrival(1, rejection=("not_an_image", "It is none.")))
    (image_id,) = fill(ledger, 2)
    lease_images(ledger, [image_id])
    model = known_model(ledger)
    record(ledger, model, [], [RejectionRecord(image_id, "blank", "It is blank.")])
    everything = Group(Dimension.ALL, "all", NO_MODEL)
    assert counted(ledger)[everything] == Counts(rejected={"blank": 1, "not_an_image": 1})
    assert counted(ledger, FIRST + timedelta(days=1)) == {}


def test_share_is_the_one_at_the_time_of_the_score(ledger: Ledger) -> None:
    """A change of the protocol between two scores makes two strata."""
    scored(ledger, 0.1)
    with ledger.transaction() as session:
        changed = Protocol(sample_share=0.2)
        protocols.change(session, changed, who=actors.PROGRAM, why="a test", at=later(60))
    hospital = Hospital(ledger, Random(1), at=later(120), number=10)
    hospital.score_images(hospital.receive(1))
    with ledger.transaction() as session:
        session.execute(update(Image).values(verdict="clear"))
    assert {share: sample.clear for share, sample in of_all(ledger).samples.items()} == {"0.05": 1, "0.2": 1}


def test_share_of_an_image_that_became_clear_is_that_of_the_retriage(ledger: Ledger) -> None:
    scored(ledger, 0.7, 0.1)
    follow(ledger, Protocol(sample_share=0.4))
    with ledger.transaction() as session:
        model = session.get_one(Model, known_model(ledger).model_id)
        point = Point.of_site("ours", 0.8, 0.8, 0.8)
        choice = Choice(point, point, retriages=True)
        retriage.put_in_force(session, model, choice, who=actors.PROGRAM, why="a test", at=later(99))
    assert {share: sample.clear for share, sample in of_all(ledger).samples.items()} == {"0.05": 1, "0.4": 1}


def test_a_reading_of_an_old_image_refreshes_its_day_only(ledger: Ledger) -> None:
    hospital = Hospital(ledger, Random(1))
    old = hospital.receive(2)
    hospital.score_images(old)
    for _ in range(9):
        hospital.at += timedelta(days=1)
        hospital.score_images(hospital.receive(2))
    count_all(ledger)
    assert count_some(ledger) == Step(0, 0)
    decide(ledger, old[0], Finding.SIGNS)
    assert count_some(ledger) == Step(1, 0)
    assert kept(ledger) == counted_slowly(ledger)


def test_a_retriage_refreshes_every_day(ledger: Ledger) -> None:
    """Its event names no image."""
    hospital = Hospital(ledger, Random(1))
    for _ in range(3):
        hospital.at += timedelta(days=1)
        hospital.score_images(hospital.receive(3))
    count_all(ledger)
    before = kept(ledger)
    with ledger.transaction() as session:
        model = session.get_one(Model, hospital.model.model_id)
        point = Point.of_site("ours", 0.05, 0.05, 0.05)
        choice = Choice(point, point, retriages=True)
        retriage.put_in_force(session, model, choice, who=actors.PROGRAM, why="a test", at=hospital.at)
    assert count_some(ledger) == Step(3, 0)
    assert kept(ledger) == counted_slowly(ledger) != before


def test_events_that_change_no_count_refresh_nothing(ledger: Ledger) -> None:
    ids = scored(ledger, 0.1)
    count_all(ledger)
    with ledger.transaction() as session:
        audit.append(session, [audit.Event("texts_erased", actors.PROGRAM, f"image:{ids[0]}", {})])
        session.execute(update(Image).values(verdict="flagged"))
    assert count_some(ledger) == Step(0, 0)
    assert kept(ledger) != counted_slowly(ledger), "no event told of this change"


def test_days_are_counted_a_few_at_a_time_and_none_is_lost(ledger: Ledger) -> None:
    hospital = Hospital(ledger, Random(1))
    for _ in range(10):
        hospital.at += timedelta(days=1)
        hospital.score_images(hospital.receive(1))
    assert count_some(ledger) == Step(7, 3)
    decide(ledger, 1, Finding.SIGNS)
    assert count_some(ledger).left == 0
    assert kept(ledger) == counted_slowly(ledger)


def test_counts_of_a_process_that_was_overtaken_are_dropped(ledger: Ledger) -> None:
    ids = scored(ledger, 0.9)
    with ledger.reading() as session:
        before = monitoring.mark(session)
        after = monitoring.advance(session, before)
        outdated = monitor_counts.count_days(session, after.stale)
    decide(ledger, ids[0], Finding.SIGNS)
    count_all(ledger)
    with ledger.transaction() as session:
        assert not monitoring.keep(session, before, after.without(after.stale), outdated, later(0))
    assert kept(ledger) == counted_slowly(ledger)


def test_day_without_an_image_any_more_has_no_row(ledger: Ledger) -> None:
    ids = scored(ledger, 0.9)
    count_all(ledger)
    assert kept(ledger)
    with ledger.transaction() as session:
        erasures.erase(session, ids, who=actors.PROGRAM, why="a test", at=later(2))
    count_all(ledger)
    assert kept(ledger) == {}


def test_documents_add_up_like_counts(ledger: Ledger) -> None:
    hospital = Hospital(ledger, Random(7))
    for _ in range(40):
        hospital.live()
    count_all(ledger)
    with ledger.reading() as session:
        rows = monitoring.counts(session, Dimension.ALL, FIRST, FIRST + timedelta(days=60))
    assert len(rows) > 3
    assert monitoring.added(rows) == total(row.counts for row in rows)


def test_counting_leaves_the_audit_trail_alone(ledger: Ledger) -> None:
    scored(ledger, 0.9)
    with ledger.reading() as session:
        before = audit.head(session)
    count_all(ledger)
    with ledger.reading() as session:
        assert audit.head(session) == before
    assert_consistent(ledger)
