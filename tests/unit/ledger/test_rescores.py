"""worker.ledger.rescores: images that lose their score to be scored again."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from tests.filling import (
    AT,
    assert_consistent,
    fill,
    image,
    known_model,
    known_reader,
    later,
    lease_images,
    record,
    result,
    score,
)
from worker.ledger import leases, rescores, review
from worker.ledger.findings import Finding, Seen, Statement
from worker.ledger.predictions import RejectionRecord
from worker.ledger.process_health import is_stalled, oldest_pending
from worker.ledger.reading_queue import QueueFilter, open_image, queue
from worker.ledger.rescores import CROPPED
from worker.ledger.review import ReviewRefused
from worker.ledger.session import Ledger
from worker.ledger.states import ImageState
from worker.ledger.status import status_document
from worker.ledger.tables import AuditEvent, Prediction, Rescore

NEWER = "n" * 64


def rescore(ledger: Ledger, *prediction_ids: int) -> list[int]:
    with ledger.transaction() as session:
        return rescores.rescore(session, dict.fromkeys(prediction_ids, CROPPED), later(60))


def score_with_newer_model(ledger: Ledger, ids: list[int], p_pneumonia: float = 0.9) -> None:
    assert lease_images(ledger, ids) == ids
    assert record(ledger, known_model(ledger, NEWER), [result(i, p_pneumonia) for i in ids]) == len(ids)


def read(ledger: Ledger, image_id: int, reader_id: int, seen_prediction_id: int | None = None) -> None:
    with ledger.transaction() as session:
        review.decide(
            session,
            image_id,
            reader_id=reader_id,
            statement=Statement(Finding.NO_SIGNS),
            at=later(90),
            seen=Seen(seen_prediction_id),
        )


def undo(ledger: Ledger, reader_id: int) -> int:
    with ledger.transaction() as session:
        return review.undo(session, reader_id=reader_id, at=later(120)).image_id


def seen(ledger: Ledger, *rescore_ids: int) -> int:
    reader_id = known_reader(ledger)
    with ledger.transaction() as session:
        return rescores.mark_seen(session, rescore_ids, reader_id=reader_id, at=later(100))


def unseen(ledger: Ledger) -> list[int]:
    with ledger.reading() as session:
        listed = [row.id for row in rescores.unseen(session, limit=10)]
        assert rescores.unseen_count(session) == len(listed)
        return listed


def test_rescored_image_is_pending_without_its_score(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2)
    score(ledger, ids, p_pneumonia=0.1)
    with ledger.transaction() as session:
        review.claim(session, 1, reader_id=known_reader(ledger), claim_s=600, at=AT)
    assert rescore(ledger, 1) == [1]
    row = image(ledger, 1)
    assert (row.state, row.attempts, row.verdict, row.p_pneumonia) == (ImageState.PENDING, 0, None, None)
    assert (row.review_state, row.scored_at, row.claimed_by_id) == (None, None, None)
    assert image(ledger, 2).state == ImageState.SCORED
    with ledger.reading() as session:
        opened = open_image(session, 1)
    assert opened is not None
    assert opened.prediction is None, "the earlier prediction is in force"
    assert len(opened.predictions) == 1
    counts = assert_consistent(ledger)
    assert (counts.scored, counts.pending) == (1, 1)


def test_rescored_image_is_unread_again_and_its_reading_stays(ledger: Ledger) -> None:
    fill(ledger, 1)
    score(ledger, [1], p_pneumonia=0.1)
    ada = known_reader(ledger)
    read(ledger, 1, ada)
    rescore(ledger, 1)
    assert_consistent(ledger)
    score_with_newer_model(ledger, [1])
    with ledger.reading() as session:
        page = queue(session, QueueFilter())
        assert [row.id for row in page.images] == [1]
        assert page.standing == {}
        opened = open_image(session, 1)
    assert opened is not None
    assert [row.finding for row in opened.reviews] == ["no_signs"]
    assert [row.verdict for row in opened.predictions] == ["flagged", "clear"]
    assert_consistent(ledger)
    read(ledger, 1, ada)
    counts = assert_consistent(ledger)
    assert counts.unread == 0


def test_undo_takes_no_reading_of_an_earlier_score_back(ledger: Ledger) -> None:
    fill(ledger, 1)
    score(ledger, [1])
    ada, ben = known_reader(ledger), known_reader(ledger, "Ben")
    read(ledger, 1, ada)
    rescore(ledger, 1)
    with pytest.raises(ReviewRefused, match="scored again"):
        undo(ledger, ada)
    score_with_newer_model(ledger, [1])
    read(ledger, 1, ben)
    with pytest.raises(ReviewRefused, match="scored again"):
        undo(ledger, ada)
    assert image(ledger, 1).review_state == "read"
    assert undo(ledger, ben) == 1
    assert_consistent(ledger)


def test_reader_who_saw_the_earlier_score_cannot_decide(ledger: Ledger) -> None:
    fill(ledger, 1)
    score(ledger, [1], p_pneumonia=0.1)
    rescore(ledger, 1)
    score_with_newer_model(ledger, [1])
    ada = known_reader(ledger)
    with pytest.raises(ReviewRefused, match="scored again in the meantime"):
        read(ledger, 1, ada, seen_prediction_id=1)
    read(ledger, 1, ada, seen_prediction_id=2)
    assert_consistent(ledger)


def test_image_with_a_later_prediction_or_no_score_is_left_alone(ledger: Ledger) -> None:
    fill(ledger, 1, 2)
    score(ledger, [1, 2])
    assert rescore(ledger, 1, 2) == [1, 2]
    assert rescore(ledger, 1, 2, 99) == []
    score_with_newer_model(ledger, [1])
    assert rescore(ledger, 1) == []
    assert image(ledger, 1).state == ImageState.SCORED
    assert_consistent(ledger)


def test_rescored_image_may_be_rejected(ledger: Ledger) -> None:
    fill(ledger, 1)
    score(ledger, [1])
    rescore(ledger, 1)
    lease_images(ledger, [1])
    record(ledger, known_model(ledger, NEWER), [], [RejectionRecord(1, "on_a_page", "It lies on a page.")])
    with ledger.reading() as session:
        opened = open_image(session, 1)
    assert opened is not None
    assert (opened.state, opened.prediction) == (ImageState.REJECTED, None)
    assert_consistent(ledger)


def test_rescored_images_are_in_troubles_until_they_are_seen(ledger: Ledger) -> None:
    def told() -> tuple[int, list[str]]:
        with ledger.reading() as session:
            document = status_document(session, later(100))
        troubles = [sentence for sentence in document["troubles"] if "scored again" in sentence]
        return document["rescored_unseen"], [sentence.split(" scored")[0] for sentence in troubles]

    fill(ledger, 1, 2, 3)
    score(ledger, [1, 2, 3])
    assert told() == (0, [])
    rescore(ledger, 1, 2, 3)
    score_with_newer_model(ledger, [1, 2])
    assert told() == (3, ["3 images were"])
    assert seen(ledger, *unseen(ledger)) == 2, "image 3 has no result that anybody could have seen"
    assert (told(), unseen(ledger)) == ((1, ["1 image was"]), [3])
    score_with_newer_model(ledger, [3])
    assert (seen(ledger, 1, 2, 3), seen(ledger, 3)) == (1, 0)
    assert told() == (0, [])
    assert_consistent(ledger)
    with ledger.reading() as session:
        events = session.scalars(select(AuditEvent.actor).where(AuditEvent.kind == "rescore_seen")).all()
        rows = session.scalars(select(Rescore)).all()
    assert events == ["user:1"] * 3
    assert {row.seen_by_id for row in rows} == {1}


def test_image_is_scored_again_a_second_time(ledger: Ledger) -> None:
    fill(ledger, 1)
    score(ledger, [1])
    rescore(ledger, 1)
    score_with_newer_model(ledger, [1])
    assert seen(ledger, 1) == 1
    assert rescore(ledger, 2) == [1]
    assert unseen(ledger) == [2]
    assert_consistent(ledger)


def test_earlier_model_in_use_again_restores_its_score(ledger: Ledger) -> None:
    """There is one prediction for each image and model."""
    fill(ledger, 1, 2)
    score(ledger, [1], p_pneumonia=0.7)
    rescore(ledger, 1)
    lease_images(ledger, [1, 2])
    assert record(ledger, known_model(ledger), [result(1, 0.7), result(2, 0.1)]) == 2
    row = image(ledger, 1)
    assert (row.state, row.verdict, row.review_state) == (ImageState.SCORED, "flagged", "unread")
    assert (row.p_pneumonia, row.scored_at, row.lease_owner) == (0.7, later(1), None)
    with ledger.reading() as session:
        assert len(session.scalars(select(Prediction)).all()) == 2
    assert_consistent(ledger)


def test_rescored_image_waits_since_it_lost_its_score(ledger: Ledger) -> None:
    """Not since it arrived: its worker would be called stalled at once."""
    fill(ledger, 1)
    score(ledger, [1])
    months = 90 * 86_400
    with ledger.transaction() as session:
        rescores.rescore(session, {1: CROPPED}, later(months))
    with ledger.reading() as session:
        assert oldest_pending(session) == later(months)
        assert not is_stalled(session, later(months + 60))
        assert is_stalled(session, later(months + 600))
        assert leases.any_unfinished(session)


def test_event_names_prediction_and_reason(ledger: Ledger) -> None:
    fill(ledger, 1)
    score(ledger, [1])
    rescore(ledger, 1)
    with ledger.reading() as session:
        row = session.scalars(select(AuditEvent).where(AuditEvent.kind == "rescored")).one()
    assert (row.subject, row.payload) == ("image:1", '{"prediction":1,"reason":"cropped","rescore":1}')
