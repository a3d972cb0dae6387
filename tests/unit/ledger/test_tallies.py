"""Tallies equal a count of the rows, whichever program changed the rows."""

from __future__ import annotations

from collections.abc import Callable

from alembic import command
from sqlalchemy import delete, func, select, text, update

from tests.filling import (
    AT,
    NOT_AN_IMAGE,
    arrival,
    assert_consistent,
    counted,
    fill,
    image,
    known_model,
    known_reader,
    lease_images,
    receive,
    record,
    result,
    score,
)
from worker.config import Settings
from worker.ledger import leases, reading_queue, reports, rescores, review, schema, tallies
from worker.ledger.file_counts import file_counts
from worker.ledger.findings import Finding, Statement
from worker.ledger.predictions import RejectionRecord
from worker.ledger.reading_queue import QueueFilter
from worker.ledger.rescores import CROPPED
from worker.ledger.session import Ledger
from worker.ledger.states import TRANSITIONS, ImageState, ReviewState
from worker.ledger.tables import Image, ImageTally, Prediction, Receipt, Run


def test_tallies_follow_every_transition(ledger: Ledger) -> None:
    """Check the tallies after each transition of an image and after a reading and its undo."""
    seen: set[tuple[ImageState | None, ImageState]] = set()
    states: dict[int, ImageState] = {}

    def check_tallies() -> None:
        with ledger.reading() as session:
            now = {row.id: ImageState(row.state) for row in session.execute(select(Image.id, Image.state))}
            rejected = {row.id for row in reports.rejected_images(session)}
        assert rejected == {i for i, state in now.items() if state in {"rejected", "quarantined"}}
        seen.update((states.get(i), state) for i, state in now.items() if states.get(i) != state)
        states.update(now)
        assert_consistent(ledger)

    for step in _steps(ledger):
        step()
        check_tallies()
    # Erasures have tests of their own.
    assert seen == {step for step in TRANSITIONS if step[1] is not ImageState.ERASED}


def _steps(ledger: Ledger) -> list[Callable[[], object]]:
    model, reader = known_model(ledger), known_reader(ledger)

    def release(image_id: int, max_attempts: int) -> None:
        with ledger.transaction() as session:
            leases.release(
                session, [image_id], owner="w1", code="x", reason="Bad.", max_attempts=max_attempts, at=AT
            )

    def retry(image_id: int) -> None:
        with ledger.transaction() as session:
            leases.retry(session, image_id, who="user:1", why="again", at=AT)

    def reject() -> None:
        with ledger.transaction() as session:
            receive(session, arrival(4, rejection=NOT_AN_IMAGE))

    def read() -> None:
        with ledger.transaction() as session:
            review.decide(session, 1, reader_id=reader, statement=Statement(Finding.SIGNS), at=AT)

    def undo() -> None:
        with ledger.transaction() as session:
            review.undo(session, reader_id=reader, at=AT)

    def rescore() -> None:
        with ledger.transaction() as session:
            rescores.rescore(session, {1: CROPPED}, AT)

    return [
        lambda: fill(ledger, 1, 2, 3, 3),
        reject,
        lambda: lease_images(ledger, [1, 2, 3]),
        lambda: record(ledger, model, [result(1)], [RejectionRecord(2, "blank", "Nothing.")]),
        lambda: release(3, 3),
        lambda: lease_images(ledger, [3]),
        lambda: release(3, 1),
        lambda: retry(2),
        lambda: retry(3),
        read,
        undo,
        rescore,
    ]


def test_tallies_follow_changes_by_other_programs(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2, 3, run="one")
    score(ledger, ids)
    fill(ledger, 4, run="two")
    with ledger.transaction() as session:
        two = session.scalar(select(Run.id).where(Run.name == "two"))
        session.execute(update(Image).where(Image.id == ids[0]).values(run_id=two, verdict=None))
        session.execute(delete(Receipt).where(Receipt.image_id == ids[1]))
        session.execute(delete(Prediction).where(Prediction.image_id == ids[1]))
        session.execute(delete(Image).where(Image.id == ids[1]))
    with ledger.reading() as session:
        assert tallies.differences(session) == 0
        kept = select(func.sum(ImageTally.total)).where(ImageTally.run_id == two)
        assert session.scalar(kept) == 2
    assert counted(ledger).received == 3


def test_images_are_counted_by_population(ledger: Ledger) -> None:
    for number, population in enumerate(("inside", "outside", "outside", "unknown", None)):
        score(ledger, fill(ledger, number), population=population)
    found = assert_consistent(ledger)
    assert (found.inside_population, found.outside_population, found.unknown_age) == (1, 2, 1)
    with ledger.transaction() as session:
        rescores.rescore(session, {2: CROPPED}, AT)
    found = assert_consistent(ledger)
    assert (found.scored, found.outside_population) == (4, 1)


def test_images_are_counted_by_distance(ledger: Ledger) -> None:
    for number, distance in enumerate((0.4, 1.0, 1.000001, 3.2, None)):
        score(ledger, fill(ledger, number), distance=distance)
    found = assert_consistent(ledger)
    assert (found.distance_known, found.far_from_training_data) == (4, 2)
    with ledger.transaction() as session:
        session.execute(update(Image).where(Image.distance == 0.4).values(distance=1.4))
        assert tallies.differences(session) == 0
        assert file_counts(session).far_from_training_data == 3
        session.rollback()
    with ledger.transaction() as session:
        rescores.rescore(session, {4: CROPPED}, AT)
    found = assert_consistent(ledger)
    assert (found.distance_known, found.far_from_training_data) == (3, 1)


def test_tallied_count_equals_the_length_of_the_list(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2, 3, 4, run="one")
    score(ledger, ids[:2], p_pneumonia=0.9)
    score(ledger, ids[2:], p_pneumonia=0.1)
    score(ledger, fill(ledger, 5, run="two"), p_pneumonia=0.5)
    reader = known_reader(ledger)
    with ledger.transaction() as session:
        review.decide(session, ids[0], reader_id=reader, statement=Statement(Finding.SIGNS), at=AT)
    with ledger.reading() as session:
        for wanted, length in (
            (QueueFilter(), 2),
            (QueueFilter(review=None), 3),
            (QueueFilter(verdicts=()), 4),
            (QueueFilter(verdicts=("clear",), run="1"), 2),
            (QueueFilter(review=ReviewState.READ), 1),
            (QueueFilter(run="2"), 1),
            (QueueFilter(run="3"), 0),
        ):
            page = reading_queue.queue(session, wanted)
            assert (reading_queue.count(session, wanted), page.total, len(page.images)) == (
                length,
                length,
                length,
            )


def test_upgrade_counts_the_rows_of_an_older_database(database_url: str) -> None:
    ledger = Ledger(Settings(database_url=database_url).database)
    with ledger.transaction() as session:
        command.upgrade(schema._config(session.connection()), "0002")
        for statement in _OLD_ROWS:
            session.execute(
                text(statement), {"at": AT if ledger.engine.dialect.name != "sqlite" else str(AT)[:19]}
            )
    schema.upgrade(ledger)
    with ledger.reading() as session:
        assert tallies.differences(session) == 0
    counts = counted(ledger)
    assert (counts.received, counts.duplicates, counts.scored, counts.pending, counts.unread) == (
        3,
        1,
        1,
        1,
        1,
    )
    assert (image(ledger, 1).scored_at, image(ledger, 1).compute_ms) == (AT, 7.5)
    assert image(ledger, 2).scored_at is None
    ledger.close()


_IMAGE = (
    "INSERT INTO image (id, sha256, bytes, phantom, original_name, run_id, lane, state, received_at, attempts,"
    " verdict, p_pneumonia, review_state) VALUES "
)
_RECEIPT = "INSERT INTO receipt (id, source, original_name, sha256, bytes, outcome, image_id, run_id, received_at) VALUES "
_OLD_ROWS = (
    "INSERT INTO run (id, name, started_at) VALUES (1, 'old', :at)",
    "INSERT INTO model (id, sha256, name, version, card, active_since) VALUES (1, 'm', 'm', '1', '{}', :at)",
    (
        "INSERT INTO operating_point (id, model_id, name, threshold, band_low, band_high, set_by, why, set_at)"
        " VALUES (1, 1, 'balanced', 0.5, 0.4, 0.6, 'bundle', '', :at)"
    ),
    f"{_IMAGE} (1, 'a', 1, false, 'a', 1, 'overnight', 'scored', :at, 1, 'flagged', 0.9, 'unread')",
    f"{_IMAGE} (2, 'b', 1, false, 'b', 1, 'overnight', 'pending', :at, 0, NULL, NULL, NULL)",
    f"{_RECEIPT} (1, 'folder', 'a', 'a', 1, 'new', 1, 1, :at)",
    f"{_RECEIPT} (2, 'folder', 'b', 'b', 1, 'new', 2, 1, :at)",
    f"{_RECEIPT} (3, 'folder', 'b', 'b', 1, 'duplicate', 2, 1, :at)",
    (
        "INSERT INTO prediction (id, image_id, model_id, operating_point_id, p_normal, p_bacterial, p_viral,"
        " p_pneumonia, confidence, verdict, activation, map_height, map_width, started_at, finished_at, compute_ms,"
        " worker, versions) VALUES (1, 1, 1, 1, 0.1, 0.6, 0.3, 0.9, 0.9, 'flagged', '', 0, 0, :at, :at, 7.5, 'w', '{}')"
    ),
)
