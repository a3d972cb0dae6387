"""Operating points of the site: which one is in force, and what a re-triage makes of unread images."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import select, text

from tests.filling import (
    AT,
    assert_consistent,
    drawn,
    fill,
    follow,
    image,
    known_model,
    known_reader,
    later,
    lease_images,
    record,
    result,
    score,
)
from worker.card.band import CAUTION_AFTER_CROP
from worker.ledger import comparison, models, predictions, rescores, retriage, review, schema, thresholds
from worker.ledger.comparison import Mismatch
from worker.ledger.findings import Finding, Statement
from worker.ledger.predictions import Part, ScoreRecord, ScoringModel
from worker.ledger.protocols import Protocol
from worker.ledger.retriage import Changes, Choice
from worker.ledger.retriage_rule import Rule
from worker.ledger.runs import CANARY_RUN
from worker.ledger.schema import MIGRATIONS
from worker.ledger.session import Ledger
from worker.ledger.sitting import latest_sitting
from worker.ledger.states import ReviewState
from worker.ledger.tables import AuditEvent, Image, Model, Prediction
from worker.ledger.thresholds import Point, Setting
from worker.ledger.thresholds_overview import overview

LOW = Point("low", 0.2, 0.1, 0.2)
HIGH = Point("high", 0.95, 0.92, 0.95)
# Half a step of the six decimals that the trail holds.
HALF_A_STEP = 4e-7
CROP = Part(1, 2, 100, 120)


def put(
    ledger: Ledger,
    point: Point | None,
    *,
    why: str = "too many misses",
    who: str = "user:1",
    again: bool = False,
) -> Setting:
    model_id = known_model(ledger).model_id
    with ledger.transaction() as session:
        model = session.get_one(Model, model_id)
        return thresholds.change(session, model, point, who=who, why=why, at=AT, again=again)


def triage_again(ledger: Ledger, point: Point, *, since: datetime | None = None) -> Changes:
    """Put a point in force and give unread images its verdicts."""
    setting = put(ledger, point, again=True)
    assert setting.operating_point_id
    model_id = known(ledger).model_id
    with ledger.transaction() as session:
        model = session.get_one(Model, model_id)
        counted = retriage.count(session, model.sha256, Choice(point, None, retriages=True, since=since))
        done = retriage.retriage(
            session,
            model,
            setting.operating_point_id,
            setting_id=setting.id,
            since=since,
            who="user:1",
            at=later(60),
        )
    assert replace(done, drawn=0) == counted
    return done


def known(ledger: Ledger) -> ScoringModel:
    return known_model(ledger)


def scored(ledger: Ledger, *scores: float | ScoreRecord, run: str = "night-2026-03-01") -> list[int]:
    """Score new images and return their ids."""
    with ledger.reading() as session:
        last = max(session.scalars(select(Image.id)).all(), default=0)
    ids = fill(ledger, *range(last + 1, last + 1 + len(scores)), run=run)
    lease_images(ledger, ids)
    records = [
        replace(each, image_id=image_id) if isinstance(each, ScoreRecord) else result(image_id, each)
        for image_id, each in zip(ids, scores, strict=True)
    ]
    assert record(ledger, known(ledger), records) == len(ids)
    return ids


def verdicts(ledger: Ledger, ids: list[int]) -> list[str | None]:
    return [image(ledger, image_id).verdict for image_id in ids]


def events(ledger: Ledger, kind: str) -> list[AuditEvent]:
    with ledger.reading() as session:
        return list(session.scalars(select(AuditEvent).where(AuditEvent.kind == kind)))


def test_point_is_in_force_with_who_and_why(ledger: Ledger) -> None:
    with ledger.reading() as session:
        assert thresholds.latest(session) is None
    first, second = put(ledger, LOW), put(ledger, HIGH, why="too many false alarms", who="user:2")
    scoring = known(ledger)
    with ledger.reading() as session:
        assert thresholds.in_force(session, scoring.model_sha256) == second
        assert thresholds.history(session, limit=9) == [second, first]
        assert (second.set_by, second.why, second.point) == ("user:2", "too many false alarms", HIGH)
        assert [row.name for row in thresholds.site_points(session, scoring.model_id)] == [
            "low",
            "high",
        ]
    said = json.loads(events(ledger, "thresholds_set")[-1].payload)
    assert (said["point"], said["threshold"]) == ("high", "0.950000")
    assert (said["point_before"], said["band_low_before"]) == ("low", "0.100000")
    assert "false alarms" not in str(said)
    assert_consistent(ledger)


@pytest.mark.parametrize(
    ("harm", "column"),
    [
        ("UPDATE site_setting SET why = 'other'", "why"),
        ("UPDATE site_setting SET set_by = 'user:9'", "set_by"),
        ("UPDATE site_setting SET value = '{}'", "value"),
        ("UPDATE site_setting SET name = 'other'", "name"),
    ],
)
def test_changed_row_of_a_setting_is_found(ledger: Ledger, harm: str, column: str) -> None:
    put(ledger, LOW)
    with ledger.transaction() as session:
        session.execute(text(harm))
    with ledger.reading() as session:
        assert comparison.compare(session).mismatches[0].what == column


def test_change_needs_a_reason_and_must_change_something(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        put(ledger, LOW, why=" ")
    with pytest.raises(ValueError, match="has no operating point of its own"):
        put(ledger, None)
    put(ledger, LOW)
    with pytest.raises(ValueError, match="low is already in force"):
        put(ledger, LOW)
    assert put(ledger, None).point is None
    with pytest.raises(ValueError, match="has no operating point of its own"):
        put(ledger, None)
    assert_consistent(ledger)


@pytest.mark.parametrize(
    "numbers",
    [(0.5, 0.6, 0.7), (0.5, 0.4, 0.45), (0.5, -0.1, 0.6), (0.5, 0.4, 1.1), (float("nan"), 0.4, 0.6)],
)
def test_point_that_cannot_work_is_refused(numbers: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="in this order"):
        Point.of_site("ours", *numbers)


@pytest.mark.parametrize("name", ["", "Ours", "ours ", "9-ours", "x" * 31, "John Doe"])
def test_name_of_a_point_must_be_a_code(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        Point.of_site(name, 0.5, 0.4, 0.6)


def test_point_of_the_card_keeps_its_numbers(ledger: Ledger) -> None:
    of_card = {"screen": {"threshold": 1 / 3, "band_low": 0.2, "band_high": 1 / 3}}
    known_model(ledger, card={"operating_points": of_card})
    with ledger.transaction() as session:
        model = session.scalars(select(Model)).one()
        found = thresholds.find(session, model, "screen")
        assert found == Point("screen", 1 / 3, 0.2, 1 / 3)
        with pytest.raises(ValueError, match="choose another name"):
            thresholds.change(session, model, replace(found, band_low=0.1), who="user:1", why="x", at=AT)
        thresholds.change(session, model, found, who="user:1", why="x", at=AT)
        assert thresholds.site_points(session, model.id) == []
        with pytest.raises(
            LookupError, match=r"no operating point other; the model and the site have: screen"
        ):
            thresholds.find(session, model, "other")


def test_point_of_a_card_that_cannot_work_is_left_out(ledger: Ledger) -> None:
    """A ledger may hold cards that no worker would load any more."""
    wrong = {"threshold": 0.5, "band_low": 0.6, "band_high": 0.4}
    known_model(ledger, card={"operating_points": {"wrong": wrong}, "default_operating_point": "wrong"})
    with ledger.reading() as session:
        model = session.scalars(select(Model)).one()
        assert thresholds.card_points(model) == []
        found = overview(session, "")
        assert found
        assert ([point.name for point in found.points], found.in_force) == (["wrong"], None)


def test_new_images_follow_the_point_in_force(ledger: Ledger) -> None:
    model = known(ledger)
    ids = fill(ledger, 1, 2, 3, 4, 5)
    lease_images(ledger, ids)
    results = [
        result(ids[0], 0.3),
        replace(result(ids[1], 0.15), crop=CROP),
        result(ids[2], 0.05, "outside"),
        result(ids[3], 0.05, distance=1.5),
        result(ids[4], 0.05, distance=0.5),
    ]
    setting = put(ledger, LOW)
    with ledger.transaction() as session:
        given = predictions.follow_site(session, model, results)
    assert [each.verdict for each in given] == ["flagged", "uncertain", "uncertain", "uncertain", "clear"]
    assert {each.operating_point_id for each in given} == {setting.operating_point_id}
    record(ledger, model, list(given))
    assert_consistent(ledger)


def test_point_of_another_model_is_not_followed_and_troubles_say_so(ledger: Ledger) -> None:
    put(ledger, LOW)
    with ledger.reading() as session:
        assert models.unused_point(session) is None
    other = known_model(ledger, "n" * 64)
    with ledger.transaction() as session:
        assert predictions.follow_site(session, other, [result(1)]) == [result(1)]
        assert thresholds.in_force(session, other.model_sha256) is None
    ids = fill(ledger, 1)
    lease_images(ledger, ids)
    record(ledger, other, [result(ids[0])])
    with ledger.reading() as session:
        told = models.unused_point(session)
        assert told
        assert "low was set for another model (mmmmmmmmmmmm)" in told
    put(ledger, None)
    with ledger.reading() as session:
        assert models.unused_point(session) is None


def test_retriage_changes_verdicts_and_nothing_else(ledger: Ledger) -> None:
    follow(ledger, Protocol(sample_share=0))
    cropped = replace(result(1, 0.05), crop=CROP)
    far = result(1, 0.05, distance=1.000001)
    ids = scored(ledger, 0.9, 0.15, 0.05, cropped, result(1, 0.05, "outside"), far)
    assert verdicts(ledger, ids) == ["flagged", "clear", "clear", "clear", "uncertain", "uncertain"]
    with ledger.reading() as session:
        before = [dict(row) for row in session.execute(select(Prediction.__table__)).mappings()]
    done = triage_again(ledger, LOW)
    assert verdicts(ledger, ids) == ["flagged", "uncertain", "clear", *["uncertain"] * 3]
    assert (done.unread, done.changed, done.more_to_read, done.drawn) == (6, 2, 2, 0)
    with ledger.reading() as session:
        assert [dict(row) for row in session.execute(select(Prediction.__table__)).mappings()] == before
    (event,) = events(ledger, "retriaged")
    said = json.loads(event.payload)
    assert (said["unread"], said["changed"], said["uncertain"], said["clear"]) == (6, 2, 2, 0)
    assert event.subject == f"operating_point:{image(ledger, ids[0]).operating_point_id}"
    assert_consistent(ledger)


def test_cropped_film_is_clear_only_far_below_the_band(ledger: Ledger) -> None:
    """The rule of `clear_below` holds for a re-triage, too."""
    follow(ledger, Protocol(sample_share=0))
    limit = HIGH.band_low - CAUTION_AFTER_CROP
    ids = scored(ledger, *(replace(result(1, p), crop=CROP) for p in (limit - 0.01, limit + 0.01)), 0.9)
    triage_again(ledger, HIGH)
    assert verdicts(ledger, ids) == ["clear", "uncertain", "clear"]
    assert_consistent(ledger)


def test_retriage_leaves_what_is_read_or_of_another_model_alone(ledger: Ledger) -> None:
    follow(ledger, Protocol(sample_share=0))
    reader_id = known_reader(ledger)
    read, undone = scored(ledger, 0.9, 0.9)
    (canary,) = scored(ledger, 0.9, run=CANARY_RUN)
    (other,) = fill(ledger, 40)
    lease_images(ledger, [other])
    record(ledger, known_model(ledger, "n" * 64), [result(other, 0.9)])
    (pending,) = fill(ledger, 50)
    with ledger.transaction() as session:
        for image_id in (undone, read):
            review.decide(session, image_id, reader_id=reader_id, statement=Statement(Finding.SIGNS), at=AT)
    with ledger.transaction() as session:
        review.undo(session, reader_id=reader_id, at=AT)
    with ledger.transaction() as session:
        review.decide(session, read, reader_id=reader_id, statement=Statement(Finding.SIGNS), at=AT)
    with ledger.transaction() as session:
        first = session.scalars(select(Image).where(Image.id == undone)).one()
        assert first.review_state == ReviewState.READ
    triage_again(ledger, HIGH)
    assert verdicts(ledger, [read, undone, canary, other, pending]) == [*["flagged"] * 4, None]
    assert_consistent(ledger)


def test_reading_that_was_taken_back_is_unread_for_a_retriage(ledger: Ledger) -> None:
    follow(ledger, Protocol(sample_share=0))
    reader_id = known_reader(ledger)
    ids = scored(ledger, 0.9)
    with ledger.transaction() as session:
        review.decide(session, ids[0], reader_id=reader_id, statement=Statement(Finding.SIGNS), at=AT)
    with ledger.transaction() as session:
        review.undo(session, reader_id=reader_id, at=AT)
    triage_again(ledger, HIGH)
    assert verdicts(ledger, ids) == ["clear"]
    assert_consistent(ledger)


def test_summary_compares_a_reading_with_the_verdict_that_the_reader_saw(ledger: Ledger) -> None:
    follow(ledger, Protocol(sample_share=0))
    reader_id = known_reader(ledger)
    ids = scored(ledger, 0.9, 0.15)
    triage_again(ledger, LOW)
    with ledger.transaction() as session:
        review.decide(session, ids[1], reader_id=reader_id, statement=Statement(Finding.SIGNS), at=AT)
    with ledger.reading() as session:
        sitting = latest_sitting(session, reader_id)
    assert sitting
    assert [reading.verdict for reading in sitting.readings] == ["uncertain"]


def test_retriage_ends_at_the_oldest_arrival_that_is_asked_for(ledger: Ledger) -> None:
    follow(ledger, Protocol(sample_share=0))
    ids = scored(ledger, 0.9)
    assert triage_again(ledger, HIGH, since=AT + timedelta(microseconds=1)).unread == 0
    assert verdicts(ledger, ids) == ["flagged"]
    assert triage_again(ledger, HIGH, since=AT).changed == 1
    assert verdicts(ledger, ids) == ["clear"]
    assert_consistent(ledger)


def test_score_that_rounds_to_a_bound_has_the_same_verdict_in_the_trail(ledger: Ledger) -> None:
    """The trail holds six decimals of a score. A verdict depends on all of them."""
    follow(ledger, Protocol(sample_share=0))
    ids = scored(ledger, *(bound + step for bound in (0.1, 0.2) for step in (-HALF_A_STEP, 0, HALF_A_STEP)))
    triage_again(ledger, LOW)
    assert verdicts(ledger, ids) == ["clear", *["uncertain"] * 3, *["flagged"] * 2]
    assert_consistent(ledger)


def test_verdict_that_no_retriage_gave_is_found(ledger: Ledger) -> None:
    follow(ledger, Protocol(sample_share=0))
    ids = scored(ledger, 0.9, 0.9)
    triage_again(ledger, HIGH)
    with ledger.transaction() as session:
        session.execute(text(f"UPDATE image SET verdict = 'flagged' WHERE id = {ids[0]}"))  # noqa: S608
        session.execute(text(f"UPDATE image SET operating_point_id = NULL WHERE id = {ids[1]}"))  # noqa: S608
    with ledger.reading() as session:
        assert comparison.compare(session).mismatches == [
            Mismatch(f"image:{ids[0]}", "verdict", "flagged", "clear"),
            Mismatch(f"image:{ids[1]}", "operating_point_id", None, 2),
        ]


def test_image_that_is_scored_again_has_the_point_of_its_new_prediction(ledger: Ledger) -> None:
    follow(ledger, Protocol(sample_share=0))
    ids = scored(ledger, 0.9)
    triage_again(ledger, HIGH)
    with ledger.transaction() as session:
        rescores.rescore(session, {1: rescores.CROPPED}, AT)
    assert image(ledger, ids[0]).operating_point_id is None
    lease_images(ledger, ids)
    record(ledger, known_model(ledger, "n" * 64), [result(ids[0], 0.93)])
    assert (image(ledger, ids[0]).verdict, image(ledger, ids[0]).operating_point_id) == ("flagged", None)
    assert_consistent(ledger)


def test_restored_image_follows_the_point_in_force(ledger: Ledger) -> None:
    ids = scored(ledger, 0.9)
    setting = put(ledger, HIGH)
    with ledger.transaction() as session:
        rescores.rescore(session, {1: rescores.CROPPED}, AT)
    lease_images(ledger, ids)
    scoring = known(ledger)
    with ledger.transaction() as session:
        results = predictions.follow_site(session, scoring, [result(ids[0], 0.9)])
    record(ledger, scoring, list(results))
    row = image(ledger, ids[0])
    assert (row.verdict, row.operating_point_id) == ("clear", setting.operating_point_id)
    assert_consistent(ledger)


def test_drawn_image_keeps_verdict_and_place(ledger: Ledger) -> None:
    follow(ledger, Protocol(sample_share=1))
    ids = fill(ledger, 1, 2)
    drawn(ledger, clear=ids[0], flagged=ids[1])
    ranks = [image(ledger, image_id).drawn_rank for image_id in ids]
    assert triage_again(ledger, LOW).unread == 0
    triage_again(ledger, HIGH)
    assert verdicts(ledger, ids) == ["clear", "flagged"]
    assert [image(ledger, image_id).drawn_rank for image_id in ids] == ranks
    assert_consistent(ledger)


def test_share_of_the_images_that_become_clear_is_drawn_with_flagged_ones(ledger: Ledger) -> None:
    follow(ledger, Protocol(sample_share=0.5))
    ids = scored(ledger, *[0.9] * 200, *[0.99] * 400, *[0.1] * 100)
    done = triage_again(ledger, HIGH)
    with ledger.reading() as session:
        rows = session.scalars(select(Image).where(Image.review_state == ReviewState.DRAWN)).all()
        sampled = [row for row in rows if row.verdict == "clear"]
        beside = [row for row in rows if row.verdict == "flagged"]
    # Five standard deviations of both lotteries.
    assert 65 < len(sampled) < 135
    assert abs(len(beside) - len(sampled)) < 45
    assert {row.id for row in sampled} <= set(ids[:200])
    assert done.drawn == len(rows)
    assert len({row.drawn_rank for row in rows}) == len(rows)
    assert_consistent(ledger)


def test_tampered_lottery_is_found(ledger: Ledger) -> None:
    follow(ledger, Protocol(sample_share=1))
    ids = scored(ledger, 0.9)
    triage_again(ledger, HIGH)
    with ledger.transaction() as session:
        session.execute(text("UPDATE image SET review_state = 'unread', drawn_rank = NULL"))
    with ledger.reading() as session:
        found = comparison.compare(session).mismatches
    assert {mismatch.what for mismatch in found} == {"review_state", "drawn_rank"}
    assert {mismatch.subject for mismatch in found} == {f"image:{ids[0]}"}


def test_earlier_revision_has_the_verdicts_of_the_predictions(ledger: Ledger) -> None:
    """An earlier version does not know re-triages. It finds the verdicts that its own trail proves."""
    follow(ledger, Protocol(sample_share=1))
    ids = scored(ledger, 0.9, 0.15)
    triage_again(ledger, HIGH)
    assert image(ledger, ids[0]).review_state == ReviewState.DRAWN
    with ledger.engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.downgrade(config, "0020")
    assert schema.upgrade(ledger) == schema.newest()
    rows = [image(ledger, image_id) for image_id in ids]
    assert [(row.verdict, row.review_state, row.operating_point_id) for row in rows] == [
        ("flagged", "unread", None),
        ("clear", "unread", None),
    ]


def test_many_points_in_a_row_are_proven(ledger: Ledger) -> None:
    """Random images and points: tables and trail agree after each re-triage."""
    random = Random(3)
    follow(ledger, Protocol(sample_share=0.3))
    populations = (None, "inside", "outside", "unknown")
    for number in range(6):
        batch = [
            replace(
                result(1, random.random(), random.choice(populations), random.choice((None, 0.9, 1.1))),
                crop=random.choice((None, CROP)),
            )
            for _ in range(40)
        ]
        scored(ledger, *batch)
        low, threshold, high = sorted(round(random.random(), 6) for _ in range(3))
        triage_again(ledger, Point.of_site(f"p{number}", threshold, low, high))
        assert_consistent(ledger)
    score(ledger, fill(ledger, 900))
    assert_consistent(ledger)


def test_image_that_somebody_has_open_is_not_drawn(ledger: Ledger) -> None:
    """Their page shows its score. It gets the new verdict all the same, and the trail proves both."""
    follow(ledger, Protocol(sample_share=1))
    ids = scored(ledger, 0.9, 0.9, 0.9)
    ada, ben = known_reader(ledger), known_reader(ledger, "Ben")
    with ledger.transaction() as session:
        review.claim(session, ids[0], reader_id=ada, claim_s=600, at=AT)
        review.claim(session, ids[1], reader_id=ben, claim_s=30, at=AT)
    done = triage_again(ledger, HIGH)
    assert verdicts(ledger, ids) == ["clear"] * 3
    states = [image(ledger, image_id).review_state for image_id in ids]
    assert states == [ReviewState.UNREAD, ReviewState.DRAWN, ReviewState.DRAWN], "the second claim has ended"
    assert done.drawn == 2
    (event,) = events(ledger, "retriaged")
    assert json.loads(event.payload)["not_drawn"] == str(ids[0])
    assert_consistent(ledger)


def test_rule_of_an_earlier_version_drew_open_images() -> None:
    rule = Rule("m" * 64, LOW.bounds, None, None, "seed", 1.0)
    payload = {name: value for name, value in rule.payload.items() if name != "not_drawn"}
    assert Rule.parse(payload) == rule
    assert Rule.parse(replace(rule, not_drawn=frozenset({7})).payload).is_sampled(7) is False
