"""worker.ledger.rechecks: the predictions of other models are checked once, page by page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, update

from tests.filling import (
    AT,
    assert_consistent,
    fill,
    image,
    known_model,
    later,
    lease_images,
    record,
    result,
    score,
)
from tests.ledgers import current_ledger
from worker.ledger import rechecks
from worker.ledger.models import active_model
from worker.ledger.rechecks import Page, Target
from worker.ledger.rescores import CROPPED, UNCHECKED
from worker.ledger.session import Ledger
from worker.ledger.states import ImageState
from worker.ledger.tables import Model, Prediction

LEASE_S = 60.0
NEWER = "n" * 64


@pytest.fixture
def target(ledger: Ledger) -> Target:
    """Return the newer model of a ledger in which an older one has scored images 1 to 5."""
    score(ledger, fill(ledger, 1, 2, 3, 4, 5))
    return Target(known_model(ledger, NEWER).model_id, "2", ("1",))


def next_page(ledger: Ledger, target: Target, size: int = 2, at: float = 0) -> Page | None:
    with ledger.transaction() as session:
        return rechecks.next_page(session, target, size=size, lease_s=LEASE_S, at=later(at))


def taken(ledger: Ledger, target: Target, size: int = 2, at: float = 0) -> Page:
    page = next_page(ledger, target, size, at)
    assert page is not None
    return page


def finish(ledger: Ledger, target: Target, page: Page, reasons: dict[int, str] | None = None) -> list[int]:
    with ledger.transaction() as session:
        return rechecks.finish(session, target, page, reasons or {}, later(1))


def is_due(ledger: Ledger, target: Target, at: float = 0) -> bool:
    with ledger.reading() as session:
        return rechecks.is_due(session, target, lease_s=LEASE_S, at=later(at))


def ids(page: Page) -> list[int]:
    return [prediction.id for prediction in page.predictions]


def set_preprocessing(ledger: Ledger, version: str, *prediction_ids: int) -> None:
    with ledger.transaction() as session:
        versions = {"nightread": "0", "preprocessing": version}
        session.execute(update(Prediction).where(Prediction.id.in_(prediction_ids)).values(versions=versions))


def test_each_older_prediction_is_checked_once(ledger: Ledger, target: Target) -> None:
    found = []
    while (page := next_page(ledger, target)) is not None:
        assert not is_due(ledger, target), "a page is in work"
        found.append(ids(page))
        assert finish(ledger, target, page) == []
    assert found == [[1, 2], [3, 4], [5]]
    assert not is_due(ledger, target)
    assert {image(ledger, number).state for number in range(1, 6)} == {ImageState.SCORED}
    assert_consistent(ledger)


def test_finished_page_makes_images_pending_and_leaves_the_others(ledger: Ledger, target: Target) -> None:
    page = taken(ledger, target)
    assert finish(ledger, target, page, {2: CROPPED}) == [2]
    assert (image(ledger, 1).state, image(ledger, 2).state) == (ImageState.SCORED, ImageState.PENDING)
    assert_consistent(ledger)


def test_page_of_a_dead_worker_is_taken_again_in_smaller_parts(ledger: Ledger, target: Target) -> None:
    assert ids(taken(ledger, target, size=16)) == [1, 2, 3, 4, 5]
    assert next_page(ledger, target, at=LEASE_S - 1) is None
    assert is_due(ledger, target, at=LEASE_S + 1)
    again = taken(ledger, target, size=16, at=LEASE_S + 1)
    assert (ids(again), again.attempts) == ([1, 2], 2)
    finish(ledger, target, again)
    following = taken(ledger, target, size=16, at=LEASE_S + 2)
    assert (ids(following), following.attempts) == ([3, 4], 2)
    alone = taken(ledger, target, size=16, at=2 * LEASE_S + 3)
    assert (ids(alone), alone.attempts) == ([3], 3)
    finish(ledger, target, alone, {3: UNCHECKED})
    assert taken(ledger, target, size=16, at=2 * LEASE_S + 4).attempts == 1, "the dangerous image is behind"


def test_page_in_work_before_the_clock_was_set_back_is_taken_again(ledger: Ledger, target: Target) -> None:
    taken(ledger, target, at=3_600)
    assert is_due(ledger, target)
    assert next_page(ledger, target) is not None


def test_page_that_could_not_be_checked_costs_no_attempt(ledger: Ledger, target: Target) -> None:
    for _ in range(5):
        page = taken(ledger, target)
        assert page.attempts == 1
        with ledger.transaction() as session:
            rechecks.give_back(session, target, page)
    assert ids(taken(ledger, target)) == [1, 2]


def test_two_workers_with_one_page_do_no_harm(ledger: Ledger, target: Target) -> None:
    slow = taken(ledger, target)
    fast = taken(ledger, target, size=16, at=LEASE_S + 1)
    assert finish(ledger, target, fast, {1: CROPPED, 2: CROPPED}) == [1, 2]
    assert finish(ledger, target, slow, {1: CROPPED, 2: CROPPED}) == []
    assert ids(taken(ledger, target, at=LEASE_S + 2)) == [3]
    assert_consistent(ledger)


def test_predictions_with_the_same_preprocessing_are_passed_over(ledger: Ledger, target: Target) -> None:
    set_preprocessing(ledger, "2", 1, 3)
    set_preprocessing(ledger, "1", 2)
    assert ids(taken(ledger, target, size=5)) == [2, 4, 5]


def test_models_with_the_same_preprocessing_are_never_read(ledger: Ledger, target: Target) -> None:
    with ledger.transaction() as session:
        card = {"input": {"preprocessing_version": "2"}}
        session.execute(update(Model).where(Model.sha256 != NEWER).values(card=card))
    assert not is_due(ledger, target)
    assert next_page(ledger, target) is None


def test_earlier_predictions_of_an_image_are_passed_over(ledger: Ledger, target: Target) -> None:
    finish(ledger, target, taken(ledger, target), {1: CROPPED, 2: CROPPED})
    lease_images(ledger, [1])
    record(ledger, known_model(ledger, NEWER), [result(1)])
    newest = Target(known_model(ledger, "o" * 64).model_id, "3", ("1", "2"))
    assert ids(taken(ledger, newest, size=16)) == [3, 4, 5], (
        "image 2 is pending, image 1 has a later prediction"
    )


def test_predictions_of_the_model_in_use_are_never_read(ledger: Ledger, target: Target) -> None:
    score_with = known_model(ledger, NEWER)
    more = fill(ledger, 6, 7)
    lease_images(ledger, more)
    record(ledger, score_with, [result(number) for number in more])
    assert ids(taken(ledger, target, size=16)) == [1, 2, 3, 4, 5]


def test_later_predictions_of_the_older_model_are_checked_too(ledger: Ledger, target: Target) -> None:
    finish(ledger, target, taken(ledger, target, size=16))
    score(ledger, fill(ledger, 6))
    assert is_due(ledger, target)
    assert ids(taken(ledger, target)) == [6]


def test_image_that_got_its_older_score_back_is_checked_again(ledger: Ledger, target: Target) -> None:
    finish(ledger, target, taken(ledger, target, size=16), {2: CROPPED})
    assert not is_due(ledger, target)
    lease_images(ledger, [2])
    record(ledger, known_model(ledger), [result(2)])
    assert image(ledger, 2).state == ImageState.SCORED
    assert ids(taken(ledger, target)) == [2, 3]


def test_page_taken_before_a_score_came_back_moves_no_mark(ledger: Ledger, target: Target) -> None:
    finish(ledger, target, taken(ledger, target), {2: CROPPED})
    in_work = taken(ledger, target, size=16)
    lease_images(ledger, [2])
    record(ledger, known_model(ledger), [result(2)])
    finish(ledger, target, in_work)
    assert ids(taken(ledger, target, at=LEASE_S + 1, size=16))[0] == 2


def test_pages_are_found_by_an_index(tmp_path: Path) -> None:
    """SQLite shows its plan whatever the number of rows."""
    ledger = current_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    statements: list[tuple[str, Any]] = []
    event.listen(ledger.engine, "before_cursor_execute", lambda *call: statements.append((call[2], call[3])))
    score(ledger, fill(ledger, 1))
    taken(ledger, Target(known_model(ledger, NEWER).model_id, "2", ("1",)))
    (page,) = [call for call in statements if "versions" in call[0] and "SELECT" in call[0]]
    with ledger.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {page[0]}", page[1]).all()
    details = [str(row[3]) for row in plan]
    assert "SEARCH prediction USING INDEX ix_prediction_of_model (model_id=? AND id>?)" in details
    assert not any(line.startswith("SCAN") or "TEMP B-TREE" in line for line in details), details
    ledger.close()


def test_model_in_use_is_the_registered_one(ledger: Ledger, target: Target) -> None:
    with ledger.reading() as session:
        model = active_model(session)
    assert model is not None
    assert model.active_since >= AT
    assert rechecks.preprocessing_of({"input": {"preprocessing_version": "2"}}) == "2"
    assert rechecks.preprocessing_of(model.card) == "1"
