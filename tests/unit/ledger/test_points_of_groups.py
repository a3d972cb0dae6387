"""Operating points of groups: which images follow them, what a re-triage makes of them, and what the trail proves."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from tests.cards import a_card
from tests.filling import (
    AT,
    arrival,
    assert_consistent,
    fill,
    follow,
    give_age,
    known_model,
    later,
    lease_images,
    receive,
    record,
    result,
)
from tests.unit.ledger.test_thresholds import HIGH, LOW, events, put, verdicts
from worker.ledger import comparison, predictions, rescores, retriage, thresholds
from worker.ledger.models import latest_point, registered_models, unused_point
from worker.ledger.point_groups import Group, Traits, applying
from worker.ledger.protocols import Protocol
from worker.ledger.retriage import Changes, Choice
from worker.ledger.session import Ledger
from worker.ledger.states import Source
from worker.ledger.tables import Image, Model, Prediction
from worker.ledger.thresholds import Point, Setting

CHILDREN, ADULTS, OLD = Group(0, 17), Group(18, 64), Group(65, 120)
UPLOADS = Group(source="upload")
MIDDLE = Point("middle", 0.7, 0.65, 0.75)
CARD = Point("balanced", 0.5, 0.4, 0.6)


def put_for(
    ledger: Ledger, group: Group | None, point: Point | None, *, retriages: bool = False
) -> Changes | None:
    """Put a point in force for a group, and give unread images its verdicts if asked to."""
    model_id = known_model(ledger).model_id
    with ledger.transaction() as session:
        model = session.get_one(Model, model_id)
        general = thresholds.in_force(session, model.sha256)
        choice = Choice(
            point,
            CARD,
            retriages=retriages,
            group=group,
            general=general.point if general and group else None,
        )
        counted = retriage.count(session, model.sha256, choice) if retriages else None
        done = retriage.put_in_force(session, model, choice, who="user:1", why="a test", at=later(60))
    assert done is None or replace(done, drawn=0) == counted
    return done


def score_at(ledger: Ledger, ids: list[int], p_pneumonia: float) -> None:
    """Score images as a worker does."""
    model = known_model(ledger)
    lease_images(ledger, ids)
    with ledger.transaction() as session:
        given = predictions.follow_site(session, model, [result(one, p_pneumonia) for one in ids])
    record(ledger, model, list(given))


def arrive(ledger: Ledger, *known: tuple[Source, float | None]) -> list[int]:
    """Record images with their source and the age of their patient; None: not known."""
    ids = []
    for source, age in known:
        with ledger.reading() as session:
            number = max(session.scalars(select(Image.id)).all(), default=0) + 1
        with ledger.transaction() as session:
            (row,) = receive(session, replace(arrival(number), source=source))
        assert row
        ids.append(row.image_id)
        if age is not None:
            give_age(ledger, row.image_id, age)
    return ids


def groups_of(ledger: Ledger, ids: list[int]) -> list[str | None]:
    with ledger.reading() as session:
        found = (session.get_one(Image, one) for one in ids)
        return [one.group_of_point for one in found]


@pytest.mark.parametrize(
    ("group", "inside", "outside"),
    [
        ("age=18-64", (18.0, 64.99), (17.99, 65.0, None)),
        ("age=0-0", (0.0, 0.9), (1.0, None)),
        ("source=upload", (None,), ()),
    ],
)
def test_group_has_the_ages_in_completed_years(
    group: str, inside: tuple[float | None, ...], outside: tuple[float | None, ...]
) -> None:
    parsed = Group.parse(group)
    assert parsed.key == group
    assert all(parsed.has(Traits(age, "upload")) for age in inside)
    assert not any(parsed.has(Traits(age, "upload")) for age in outside)
    assert not Group.parse("source=folder").has(Traits(30.0, "upload"))


@pytest.mark.parametrize(
    ("text_of", "sentence"),
    [
        ("adults", "written as age=18-64 or source=upload"),
        ("age=18", "written as"),
        ("age=18-200", "from 0 to 150"),
        ("age=60-18", "the lower one first"),
        ("age=18-21", "has 5 years or more"),
        ("source=canary", "the sources are folder, upload, import, dicom"),
        ("source=", "the sources are"),
    ],
)
def test_group_that_cannot_be_is_refused_with_a_sentence(text_of: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Group.parse(text_of)


def test_age_comes_before_source_and_source_before_the_general_point() -> None:
    groups = (UPLOADS, ADULTS, OLD)
    assert applying(groups, Traits(30.0, "upload")) == ADULTS
    assert applying(groups, Traits(None, "upload")) == UPLOADS
    assert applying(groups, Traits(10.0, "upload")) == UPLOADS
    assert applying(groups, Traits(10.0, "folder")) is None


def test_new_images_follow_the_point_of_their_group(ledger: Ledger) -> None:
    put(ledger, HIGH)
    put_for(ledger, ADULTS, LOW)
    put_for(ledger, UPLOADS, MIDDLE)
    ids = arrive(
        ledger,
        (Source.FOLDER, 30.0),
        (Source.UPLOAD, 30.0),
        (Source.UPLOAD, None),
        (Source.UPLOAD, 70.0),
        (Source.FOLDER, None),
        (Source.FOLDER, 70.0),
    )
    score_at(ledger, ids, 0.7)
    assert verdicts(ledger, ids) == ["flagged", "flagged", "uncertain", "uncertain", "clear", "clear"]
    ages, source = "age=18-64", "source=upload"
    assert groups_of(ledger, ids) == [ages, ages, source, source, None, None]
    with ledger.reading() as session:
        rows = session.scalars(select(Prediction).order_by(Prediction.image_id)).all()
        assert [row.operating_point.name for row in rows] == [
            "low",
            "low",
            "middle",
            "middle",
            "high",
            "high",
        ]
        assert [row.point_group for row in rows] == [ages, ages, source, source, None, None]
    assert_consistent(ledger)


def test_change_is_on_record_and_nothing_of_an_age_but_the_group(ledger: Ledger) -> None:
    put_for(ledger, ADULTS, LOW)
    (id_,) = arrive(ledger, (Source.FOLDER, 43.5))
    score_at(ledger, [id_], 0.7)
    (said,) = events(ledger, "thresholds_set")
    assert '"setting":"operating_point:age=18-64"' in said.payload
    (scored,) = events(ledger, "scored")
    assert '"point_group":"age=18-64"' in scored.payload
    with ledger.reading() as session:
        payloads = session.scalars(text("SELECT payload FROM audit_event")).all()
    assert not any("43.5" in payload for payload in payloads)


def test_overlapping_ages_are_refused(ledger: Ledger) -> None:
    put_for(ledger, ADULTS, LOW)
    with pytest.raises(ValueError, match="ages 60 to 90 overlap ages 18 to 64, which have the point low"):
        put_for(ledger, Group(60, 90), HIGH)
    put_for(ledger, OLD, HIGH)
    put_for(ledger, ADULTS, None)
    put_for(ledger, Group(18, 60), HIGH)
    with pytest.raises(ValueError, match="already in force for ages 18 to 60"):
        put_for(ledger, Group(18, 60), HIGH)
    with pytest.raises(ValueError, match="group age=18-64 has no operating point of its own"):
        put_for(ledger, ADULTS, None)


def everybody(ledger: Ledger) -> list[int]:
    """Score an adult in the folder, an adult who was uploaded, an upload and a file of unknown age, each with 0.7."""
    follow(ledger, Protocol(sample_share=0))
    ids = arrive(
        ledger, (Source.FOLDER, 30.0), (Source.UPLOAD, 30.0), (Source.UPLOAD, None), (Source.FOLDER, None)
    )
    score_at(ledger, ids, 0.7)
    assert verdicts(ledger, ids) == ["flagged"] * 4
    return ids


def test_retriage_of_a_group_leaves_other_images(ledger: Ledger) -> None:
    ids = everybody(ledger)
    done = put_for(ledger, UPLOADS, HIGH, retriages=True)
    assert done
    assert (done.unread, done.changed) == (2, 2)
    assert verdicts(ledger, ids) == ["flagged", "clear", "clear", "flagged"]
    done = put_for(ledger, ADULTS, MIDDLE, retriages=True)
    assert done
    assert (done.unread, done.changed) == (2, 2)
    assert verdicts(ledger, ids) == ["uncertain", "uncertain", "clear", "flagged"]
    done = put_for(ledger, None, HIGH, retriages=True)
    assert done
    assert (done.unread, done.changed) == (1, 1)
    assert verdicts(ledger, ids) == ["uncertain", "uncertain", "clear", "clear"]
    assert groups_of(ledger, ids) == ["age=18-64", "age=18-64", "source=upload", None]
    assert_consistent(ledger)


def test_images_of_a_group_without_a_point_follow_the_next_one(ledger: Ledger) -> None:
    ids = everybody(ledger)
    put_for(ledger, UPLOADS, HIGH, retriages=True)
    put_for(ledger, ADULTS, MIDDLE, retriages=True)
    done = put_for(ledger, ADULTS, None, retriages=True)
    assert done
    assert (done.unread, done.changed) == (2, 2)
    assert verdicts(ledger, ids) == ["flagged", "clear", "clear", "flagged"]
    assert groups_of(ledger, ids) == [None, "source=upload", "source=upload", None]
    assert len(events(ledger, "retriaged")) == 4
    put_for(ledger, UPLOADS, None, retriages=True)
    assert verdicts(ledger, ids) == ["flagged"] * 4
    assert groups_of(ledger, ids) == [None] * 4
    assert_consistent(ledger)


def test_retriage_of_recent_images_of_a_group_leaves_earlier_ones(ledger: Ledger) -> None:
    ids = everybody(ledger)
    model_id = known_model(ledger).model_id
    with ledger.transaction() as session:
        model = session.get_one(Model, model_id)
        choice = Choice(HIGH, CARD, retriages=True, since=AT + timedelta(days=1), group=ADULTS)
        done = retriage.put_in_force(session, model, choice, who="user:1", why="a test", at=later(60))
    assert done == Changes()
    assert verdicts(ledger, ids) == ["flagged"] * 4
    assert_consistent(ledger)


def test_age_that_is_known_later_changes_nothing_until_a_retriage(ledger: Ledger) -> None:
    put_for(ledger, ADULTS, HIGH)
    ids = arrive(ledger, (Source.FOLDER, None))
    score_at(ledger, ids, 0.7)
    give_age(ledger, ids[0], 40.0)
    assert (verdicts(ledger, ids), groups_of(ledger, ids)) == (["flagged"], [None])
    assert_consistent(ledger)
    follow(ledger, Protocol(sample_share=0))
    put_for(ledger, ADULTS, HIGH, retriages=True)
    assert (verdicts(ledger, ids), groups_of(ledger, ids)) == (["clear"], ["age=18-64"])
    assert_consistent(ledger)


@pytest.mark.parametrize(
    ("harm", "column"),
    [
        ("UPDATE prediction SET point_group = NULL WHERE image_id = 1", "point_group"),
        ("UPDATE prediction SET point_group = 'source=upload' WHERE image_id = 1", "point_group"),
        ("UPDATE study SET age_years = 70", "age_years"),
        ("UPDATE image SET point_group = 'age=18-64' WHERE id = 1", "point_group"),
    ],
)
def test_changed_group_is_found(ledger: Ledger, harm: str, column: str) -> None:
    put_for(ledger, ADULTS, LOW)
    score_at(ledger, arrive(ledger, (Source.FOLDER, 30.0)), 0.7)
    with ledger.transaction() as session:
        session.execute(text(harm))
    with ledger.reading() as session:
        assert column in {mismatch.what for mismatch in comparison.compare(session).mismatches}


@pytest.mark.parametrize("claimed", [None, "age=65-120"])
def test_trail_that_names_another_group_than_the_images_is_found(ledger: Ledger, claimed: str | None) -> None:
    """Whoever writes the ledger can let an image follow another point: the age that is sealed contradicts them."""
    put_for(ledger, ADULTS, LOW)
    put_for(ledger, OLD, HIGH)
    (id_,) = arrive(ledger, (Source.FOLDER, 30.0))
    lease_images(ledger, [id_])
    record(ledger, known_model(ledger), [replace(result(id_, 0.7), point_group=claimed)])
    with ledger.reading() as session:
        assert f"image:{id_}: point_group" in str(comparison.compare(session).mismatches[0])


def test_retriaged_image_of_another_group_is_found(ledger: Ledger) -> None:
    ids = everybody(ledger)
    put_for(ledger, ADULTS, HIGH, retriages=True)
    with ledger.transaction() as session:
        session.execute(text(f"UPDATE image SET verdict = 'clear' WHERE id = {ids[3]}"))  # noqa: S608
    with ledger.reading() as session:
        (mismatch,) = comparison.compare(session).mismatches
    assert (mismatch.subject, mismatch.what) == (f"image:{ids[3]}", "verdict")


def test_restored_score_follows_the_point_of_the_group(ledger: Ledger) -> None:
    """A newer preprocessing takes a score away, and a worker of the same model gives it back."""
    follow(ledger, Protocol(sample_share=0))
    ids = arrive(ledger, (Source.FOLDER, 30.0))
    score_at(ledger, ids, 0.7)
    put_for(ledger, ADULTS, HIGH)
    with ledger.transaction() as session:
        (prediction,) = session.scalars(select(Prediction)).all()
        rescores.rescore(session, {prediction.id: rescores.CROPPED}, later(70))
    score_at(ledger, ids, 0.7)
    assert (verdicts(ledger, ids), groups_of(ledger, ids)) == (["clear"], ["age=18-64"])
    assert_consistent(ledger)


def test_points_come_back_with_their_model(ledger: Ledger) -> None:
    first = put(ledger, LOW)
    put_for(ledger, ADULTS, HIGH)
    other = known_model(ledger, "n" * 64)
    with ledger.transaction() as session:
        model = session.get_one(Model, other.model_id)
        assert thresholds.plan(session, other.model_sha256) == thresholds.Plan(None, [])
        thresholds.change(session, model, MIDDLE, who="user:1", why="another model", at=later(99))
    with ledger.reading() as session:
        plan = thresholds.plan(session, first.model_sha256)
        assert plan.general == first
        assert [(one.group, one.point) for one in plan.groups] == [(ADULTS, HIGH)]
        of_other = thresholds.in_force(session, other.model_sha256)
        assert of_other
        assert of_other.point == MIDDLE
        assert unused_point(session) is None


def test_site_can_say_that_another_model_has_no_point(ledger: Ledger) -> None:
    put(ledger, LOW)
    other = known_model(ledger, "n" * 64)
    ids = fill(ledger, 1)
    lease_images(ledger, ids)
    record(ledger, other, [result(ids[0])])
    with ledger.transaction() as session:
        assert unused_point(session)
        model = session.get_one(Model, other.model_id)
        decided: Setting = thresholds.change(session, model, None, who="user:1", why="none", at=later(9))
        assert (decided.point, unused_point(session)) == (None, None)
        with pytest.raises(ValueError, match="no operating point of its own for this model"):
            thresholds.change(session, model, None, who="user:1", why="none", at=later(9))


def test_general_point_is_shown_although_groups_scored_last(ledger: Ledger) -> None:
    model = known_model(ledger)
    score_at(ledger, arrive(ledger, (Source.FOLDER, None)), 0.7)
    put_for(ledger, ADULTS, LOW)
    score_at(ledger, arrive(ledger, (Source.FOLDER, 30.0)), 0.7)
    with ledger.reading() as session:
        row = latest_point(session, session.get_one(Model, model.model_id))
        assert row
        assert row.name == "balanced"
        assert registered_models(session)[0].has_groups


def test_general_point_is_known_although_every_image_is_in_a_group(ledger: Ledger) -> None:
    scoring = known_model(ledger, card=a_card())
    with ledger.transaction() as session:
        model = session.get_one(Model, scoring.model_id)
        screen = thresholds.find(session, model, "screen")
        thresholds.change(session, model, screen, who="user:1", why="a test", at=AT, group=ADULTS)
    ids = arrive(ledger, (Source.FOLDER, 30.0))
    lease_images(ledger, ids)
    with ledger.transaction() as session:
        given = predictions.follow_site(session, scoring, [result(ids[0], 0.7)])
    record(ledger, scoring, list(given))
    with ledger.reading() as session:
        row = latest_point(session, session.get_one(Model, scoring.model_id))
        assert row
        assert row.name == "balanced"
