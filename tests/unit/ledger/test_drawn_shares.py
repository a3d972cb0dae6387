"""Estimates from drawn clear images hold after re-triages: each drawn image stands for those of its own draw."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from random import Random

import pytest
from sqlalchemy import insert, select, update

from tests.filling import (
    AT,
    fill,
    follow,
    give_age,
    known_model,
    known_reader,
    later,
    lease_images,
    record,
    result,
)
from worker.ledger import actors, missed_cases, monitor_counts, protocols, retriage, review
from worker.ledger.findings import Action, Finding, Statement
from worker.ledger.missed_cases import Extent
from worker.ledger.monitor_counts import Group, day_of
from worker.ledger.monitored_groups import Dimension
from worker.ledger.point_groups import Group as PointGroup
from worker.ledger.protocols import Protocol
from worker.ledger.retriage import Choice
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.states import ReviewState
from worker.ledger.tables import Image, Model, Prediction, Review
from worker.ledger.thresholds import Point
from worker.monitor.counts import Counts, FindingCounts
from worker.monitor.estimates import npv, sensitivity
from worker.report.reading_figures import of_model

SIGNS, NO_SIGNS = Finding.SIGNS.value, Finding.NO_SIGNS.value
# The model of the tests calls a score clear below 0.4.
LOWER, AS_SCORED, HIGHER = (Point.of_site("ours", low, low, 0.6) for low in (0.3, 0.4, 0.55))
LOW, MIDDLE, UNCERTAIN, FLAGGED = 0.1, 0.35, 0.5, 0.9


@pytest.fixture(autouse=True)
def _same_lots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the same images each time."""
    random = Random(1)
    monkeypatch.setattr(secrets, "token_hex", lambda size: random.randbytes(size).hex())


def draw_from_the_start(ledger: Ledger, share: float) -> None:
    with ledger.transaction() as session:
        protocol = Protocol(sample_share=share)
        protocols.change(session, protocol, who=actors.PROGRAM, why="a test", at=later(-60))


def scored(ledger: Ledger, *scores: float, seed: int = 1, first: int = 1, run: str = "a") -> list[int]:
    """Return images of a run, scored and drawn by lot."""
    ids = fill(ledger, *range(first, first + len(scores)), run=run)
    lease_images(ledger, ids)
    results = [result(image_id, p_pneumonia) for image_id, p_pneumonia in zip(ids, scores, strict=True)]
    assert record(ledger, known_model(ledger), results, random=Random(seed)) == len(ids)
    return ids


def triage_again(ledger: Ledger, point: Point, group: PointGroup | None = None) -> None:
    with ledger.transaction() as session:
        model = session.get_one(Model, known_model(ledger).model_id)
        choice = Choice(point, None, retriages=True, group=group)
        retriage.put_in_force(
            session, model, choice, who=actors.PROGRAM, why="a test", at=ledger_time(session)
        )


def read_to_the_end(ledger: Ledger, with_signs: set[int]) -> None:
    """Read all that waits, and find signs in these images. Rows are written at once: the lottery needs many readings."""
    reader_id = known_reader(ledger)
    with ledger.transaction() as session:
        is_waiting = (Image.verdict != "clear") & (Image.review_state == ReviewState.UNREAD)
        waiting = session.execute(
            select(Image.id.label("image_id"), Prediction.id.label("prediction_id"))
            .join(Prediction, Prediction.image_id == Image.id)
            .where(is_waiting | (Image.review_state == ReviewState.DRAWN))
        ).all()
        of_all = {"user_id": reader_id, "action": Action.READ, "at": later(60)}
        readings = [
            {**row._mapping, **of_all, "finding": SIGNS if row.image_id in with_signs else NO_SIGNS}
            for row in waiting
        ]
        session.execute(insert(Review), readings)
        read = update(Image).where(Image.id.in_([row.image_id for row in waiting]))
        session.execute(read.values(review_state=ReviewState.READ))


def clear_images(ledger: Ledger, *, drawn: bool | None = None) -> set[int]:
    """Return the clear images: all, or only those that are drawn or not."""
    with ledger.reading() as session:
        rows = session.execute(select(Image.id, Image.drawn_rank).where(Image.verdict == "clear"))
        return {row.id for row in rows if drawn is None or drawn == (row.drawn_rank is not None)}


def extent(ledger: Ledger) -> Extent:
    with ledger.reading() as session:
        return missed_cases.extent(session)


def counted(ledger: Ledger) -> tuple[list[str], int]:
    """Return the runs that *Agreement* counts, and how many are mixed."""
    chosen = extent(ledger)
    return list(chosen.runs.values()), chosen.mixed


def monitored(ledger: Ledger) -> Counts:
    with ledger.reading() as session:
        model_id = known_model(ledger).model_id
        return monitor_counts.count_day(session, day_of(AT))[Group(Dimension.ALL, "all", model_id)]


def samples(ledger: Ledger) -> dict[str, tuple[int, FindingCounts]]:
    """Return the clear images of the monitor by the share that was drawn, and the readings of their sample."""
    return {share: (sample.clear, sample.read) for share, sample in monitored(ledger).samples.items()}


def test_drawn_images_that_others_left_behind_stand_for_themselves(ledger: Ledger) -> None:
    """By hand: twelve low scores and eight in the middle, half of them drawn. Then the limit falls below the middle."""
    draw_from_the_start(ledger, 0.5)
    ids = scored(ledger, *[LOW] * 12, *[MIDDLE] * 8, *[FLAGGED] * 2)
    drawn = clear_images(ledger, drawn=True)
    low, middle = len(drawn & set(ids[:12])), len(drawn & set(ids[12:20]))
    assert 0 < low < 12
    assert 0 < middle < 8
    triage_again(ledger, LOWER)
    read_to_the_end(ledger, set(ids[12:]))
    assert samples(ledger) == {"0.5": (12, FindingCounts(0, low)), "1": (middle, FindingCounts(middle, 0))}
    assert sensitivity(monitored(ledger)).value == pytest.approx((10 - middle) / 10)
    assert npv(monitored(ledger)).value == pytest.approx(12 / (12 + middle))
    assert extent(ledger) == Extent(mixed=1, waiting=[])


def test_image_that_somebody_read_belongs_to_those_that_stand_for_themselves(ledger: Ledger) -> None:
    """It was not drawn, and keeps its verdict like the drawn ones."""
    draw_from_the_start(ledger, 0.5)
    ids = scored(ledger, *[LOW] * 8, *[MIDDLE] * 8)
    drawn = clear_images(ledger, drawn=True)
    chosen = min(set(ids[8:]) - drawn)
    reader_id = known_reader(ledger)
    with ledger.transaction() as session:
        review.decide(
            session, chosen, reader_id=reader_id, statement=Statement(Finding.SIGNS), at=ledger_time(session)
        )
    triage_again(ledger, LOWER)
    read_to_the_end(ledger, set())
    middle = len(drawn & set(ids[8:]))
    assert samples(ledger)["1"] == (middle + 1, FindingCounts(1, middle))


def test_only_images_of_the_group_of_a_retriage_are_left_behind(ledger: Ledger) -> None:
    draw_from_the_start(ledger, 0.5)
    ids = fill(ledger, *range(1, 5))
    for image_id in ids[:2]:
        give_age(ledger, image_id, 3.0)
    lease_images(ledger, ids)
    record(ledger, known_model(ledger), [result(image_id, MIDDLE) for image_id in ids])
    with ledger.transaction() as session:
        drawn = {"review_state": ReviewState.DRAWN, "drawn_rank": 0.5}
        session.execute(update(Image).where(Image.id.in_(ids[::2])).values(**drawn))
    triage_again(ledger, LOWER, PointGroup(0, 4))
    read_to_the_end(ledger, set(ids))
    assert samples(ledger) == {"0.5": (2, FindingCounts(1)), "1": (1, FindingCounts(1))}
    assert counted(ledger) == ([], 1)


@pytest.mark.parametrize(
    "points", [[LOWER], [LOWER, AS_SCORED], [HIGHER], [HIGHER, LOWER], [HIGHER, AS_SCORED, HIGHER]]
)
@pytest.mark.parametrize("share_afterwards", [0.5, 0.3])
def test_monitor_is_right_after_retriages(
    ledger: Ledger, points: Sequence[Point], share_afterwards: float
) -> None:
    """Of low scores, few have signs; of others below the flagged ones, half."""
    draw_from_the_start(ledger, 0.5)
    ids = scored(ledger, *[LOW] * 400, *[MIDDLE] * 120, *[UNCERTAIN] * 120, *[FLAGGED] * 60)
    with_signs = {*ids[:10], *ids[400:640:2], *ids[640:]}
    if share_afterwards != 0.5:
        follow(ledger, Protocol(sample_share=share_afterwards))
    for point in points:
        triage_again(ledger, point)
    clear = clear_images(ledger)
    read_to_the_end(ledger, with_signs)
    counts, missed = monitored(ledger), len(clear & with_signs)
    assert npv(counts).value == pytest.approx(1 - missed / len(clear), abs=0.03)
    assert sensitivity(counts).value == pytest.approx(1 - missed / len(with_signs), abs=0.06)


@pytest.mark.parametrize("share", [0.5, 0.3, 0.0])
def test_run_of_which_a_retriage_drew_another_share_is_mixed(ledger: Ledger, share: float) -> None:
    draw_from_the_start(ledger, 0.5)
    ids = scored(ledger, *[LOW] * 200, *[UNCERTAIN] * 120, *[FLAGGED] * 60)
    with_signs = {*ids[:6], *ids[200:320:2], *ids[320:]}
    if share != 0.5:
        follow(ledger, Protocol(sample_share=share))
    triage_again(ledger, HIGHER)
    read_to_the_end(ledger, with_signs)
    assert counted(ledger) == ((["a"], 0) if share == 0.5 else ([], 1))
    with ledger.reading() as session:
        missed = of_model(session, extent(ledger)).missed
    known = sensitivity(monitored(ledger))
    if share == 0.5:
        assert missed is not None
        assert missed.cases.value == pytest.approx(66, abs=14)
        assert missed.sensitivity.value == pytest.approx(known.value)
    elif share:
        assert known.value == pytest.approx(60 / 126, abs=0.06)
    else:
        assert known.value is None


def test_runs_beside_a_mixed_one_count(ledger: Ledger) -> None:
    draw_from_the_start(ledger, 0.5)
    scored(ledger, *[LOW] * 4, run="a")
    scored(ledger, *[LOW] * 8, *[MIDDLE] * 8, first=20, run="b")
    read_to_the_end(ledger, set())
    assert counted(ledger) == (["b", "a"], 0)
    triage_again(ledger, LOWER)
    read_to_the_end(ledger, set())
    assert counted(ledger) == (["a"], 1)
    scored(ledger, *[LOW] * 4, first=50, run="c")
    read_to_the_end(ledger, set())
    assert counted(ledger) == (["c", "a"], 1)
