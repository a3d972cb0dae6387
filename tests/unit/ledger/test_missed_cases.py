"""The readings of finished runs are counted, so that missed cases can be estimated."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, update

from tests.filling import (
    AT,
    RUN,
    arrival,
    fill,
    known_model,
    known_reader,
    later,
    lease_images,
    receive,
    record,
    result,
    score,
)
from worker.ledger import erasures, missed_cases, protocols, rescores, review
from worker.ledger.findings import Finding, NotJudged, Statement
from worker.ledger.missed_cases import Extent, FinalReadings, Read, Waiting
from worker.ledger.protocols import Protocol, Shown
from worker.ledger.rescores import CROPPED
from worker.ledger.runs import CANARY_RUN
from worker.ledger.session import Ledger
from worker.ledger.states import ReviewState
from worker.ledger.tables import Image, Prediction

SIGNS, NO_SIGNS = Statement(Finding.SIGNS), Statement(Finding.NO_SIGNS)
NOT_JUDGED = Statement(Finding.NOT_JUDGED, NotJudged.INADEQUATE)
BLIND = Protocol(score=Shown.AFTER_DECISION, sample_share=0.05)
NOBODY = FinalReadings()


def draw(ledger: Ledger, *image_ids: int) -> None:
    """Make images drawn ones, as the lottery does when they are scored."""
    with ledger.transaction() as session:
        values = {"review_state": ReviewState.DRAWN, "drawn_rank": 0.5}
        session.execute(update(Image).where(Image.id.in_(image_ids)).values(**values))


def decide(ledger: Ledger, image_id: int, said: Statement = SIGNS, name: str = "Ada") -> None:
    reader_id = known_reader(ledger, name)
    with ledger.transaction() as session:
        review.decide(
            session, image_id, reader_id=reader_id, statement=said, at=later(60), adjudicates=name == "Chen"
        )


def follow(ledger: Ledger, protocol: Protocol, at: datetime | None = None) -> None:
    """Put a protocol in force. Images are scored a second after `AT`."""
    with ledger.transaction() as session:
        protocols.change(session, protocol, who="user:1", why="a test", at=at or later(-60))


def night(ledger: Ledger, run: str = RUN, first: int = 0) -> list[int]:
    """Return two flagged images, an uncertain one and three clear ones of a run; the last but one is drawn."""
    ids = fill(ledger, *range(first, first + 6), run=run)
    score(ledger, ids[:2])
    score(ledger, ids[2:3], p_pneumonia=0.5)
    score(ledger, ids[3:], p_pneumonia=0.1)
    draw(ledger, ids[4])
    return ids


def read_all(ledger: Ledger, ids: list[int]) -> None:
    """Read what waits: one flagged image and the uncertain one have signs, the other flagged and the drawn one have none."""
    for image_id, said in zip([*ids[:3], ids[4]], (SIGNS, NO_SIGNS, SIGNS, NO_SIGNS), strict=True):
        decide(ledger, image_id, said)


def extent(ledger: Ledger, images: int = 100) -> Extent:
    with ledger.reading() as session:
        return missed_cases.extent(session, images=images)


def counted(ledger: Ledger) -> Read:
    with ledger.reading() as session:
        return missed_cases.read(session, list(missed_cases.extent(session).runs))


def test_run_that_is_read_to_the_end_is_counted(ledger: Ledger) -> None:
    ids = night(ledger)
    follow(ledger, BLIND)
    assert extent(ledger) == Extent(waiting=[Waiting(1, RUN, 4)])
    assert counted(ledger) == Read(NOBODY, NOBODY, 0, 0)
    read_all(ledger, ids)
    assert extent(ledger) == Extent({1: RUN}, 6, 0.05, later(1), later(1), [])
    assert counted(ledger) == Read(FinalReadings(2, 1, 0, 0), FinalReadings(0, 1, 0, 0), 0, 3)


def test_only_drawn_images_are_the_sample(ledger: Ledger) -> None:
    ids = night(ledger)
    follow(ledger, BLIND)
    read_all(ledger, ids)
    decide(ledger, ids[3], SIGNS)
    assert counted(ledger).sample == FinalReadings(0, 1, 0, 0)
    assert counted(ledger).clear == 3


def test_readings_after_a_score_are_marked(ledger: Ledger) -> None:
    ids = night(ledger)
    decide(ledger, ids[0])
    follow(ledger, BLIND)
    for image_id in (ids[1], ids[2], ids[4]):
        decide(ledger, image_id)
    assert counted(ledger) == Read(FinalReadings(3, 0, 0, 1), FinalReadings(1, 0, 0, 0), 0, 3)


def test_what_cannot_be_judged_counts_neither_way(ledger: Ledger) -> None:
    ids = night(ledger)
    follow(ledger, BLIND)
    for image_id in (*ids[:3], ids[4]):
        decide(ledger, image_id, NOT_JUDGED)
    assert counted(ledger) == Read(FinalReadings(0, 0, 3, 0), FinalReadings(0, 0, 1, 0), 0, 3)


def test_run_with_an_open_question_waits(ledger: Ledger) -> None:
    ids = night(ledger)
    follow(ledger, BLIND)
    read_all(ledger, ids)
    decide(ledger, ids[3], Statement(Finding.SECOND_OPINION))
    assert extent(ledger).waiting == [Waiting(1, RUN, 1)]
    decide(ledger, ids[3], NO_SIGNS, "Ben")
    assert list(extent(ledger).runs) == [1]
    fill(ledger, 70)
    assert extent(ledger).waiting == [Waiting(1, RUN, 1)], "an image waits for its score"


def test_final_reading_counts_and_not_the_first(ledger: Ledger) -> None:
    ids = night(ledger)
    follow(ledger, Protocol(readers=2))
    for image_id in (*ids[:3], ids[4]):
        decide(ledger, image_id, NO_SIGNS)
        decide(ledger, image_id, NO_SIGNS if image_id == ids[0] else SIGNS, "Ben")
    assert extent(ledger).waiting == [Waiting(1, RUN, 3)]
    for image_id in (*ids[1:3], ids[4]):
        decide(ledger, image_id, SIGNS, "Chen")
    assert counted(ledger) == Read(FinalReadings(2, 1, 0, 3), FinalReadings(1, 0, 0, 1), 0, 3)


def test_reading_counts_with_the_score_that_it_was_made_against(ledger: Ledger) -> None:
    ids = night(ledger)
    follow(ledger, BLIND)
    read_all(ledger, ids)
    with ledger.transaction() as session:
        last = session.scalars(select(Prediction.id).where(Prediction.image_id == ids[0])).one()
        rescores.rescore(session, {last: CROPPED}, later(100))
    assert lease_images(ledger, [ids[0]]) == [ids[0]]
    record(ledger, known_model(ledger, "n" * 64), [result(ids[0], 0.1)])
    assert counted(ledger) == Read(FinalReadings(1, 1, 0, 0), FinalReadings(0, 1, 0, 0), 0, 4), (
        "it is clear now"
    )
    decide(ledger, ids[0], SIGNS, "Ben")
    assert counted(ledger).sample == FinalReadings(0, 1, 0, 0), "it was not drawn"


def test_image_that_got_its_earlier_score_back_was_in_no_lottery(ledger: Ledger) -> None:
    ids = night(ledger)
    follow(ledger, BLIND)
    read_all(ledger, ids)
    with ledger.transaction() as session:
        last = session.scalars(select(Prediction.id).where(Prediction.image_id == ids[4])).one()
        rescores.rescore(session, {last: CROPPED}, later(100))
    assert lease_images(ledger, [ids[4]]) == [ids[4]]
    record(ledger, known_model(ledger), [result(ids[4], 0.1)])
    assert counted(ledger) == Read(FinalReadings(2, 1, 0, 0), NOBODY, 0, 2)


def test_phantoms_canaries_and_erased_images_do_not_count(ledger: Ledger) -> None:
    ids = night(ledger)
    follow(ledger, BLIND)
    read_all(ledger, ids)
    with ledger.transaction() as session:
        (canary,) = receive(session, arrival(80), run=CANARY_RUN)
    assert canary is not None
    score(ledger, [canary.image_id])
    decide(ledger, canary.image_id)
    with ledger.transaction() as session:
        session.execute(update(Image).where(Image.id.in_([ids[0], ids[3]])).values(phantom=True))
        erasures.erase(session, [ids[4]], who="user:1", why="asked for", at=AT)
    assert extent(ledger).runs == {1: RUN}
    assert counted(ledger) == Read(FinalReadings(1, 1, 0, 0), NOBODY, 0, 1)


def test_runs_of_one_share_are_counted_together(ledger: Ledger) -> None:
    for number, share in enumerate((None, 0.1, None, 0.2), 1):
        if share is not None:
            follow(ledger, Protocol(sample_share=share), later(2 * number - 5))
        ids = night(ledger, f"run {number}", 10 * number)
        with ledger.transaction() as session:
            session.execute(update(Image).where(Image.id.in_(ids)).values(scored_at=later(2 * number - 4)))
        read_all(ledger, ids)
    chosen = extent(ledger)
    assert (list(chosen.runs), chosen.share, chosen.other_share) == ([4], 0.2, 3)
    with ledger.transaction() as session:
        session.execute(update(Image).where(Image.id == ids[0]).values(scored_at=later(0)))
    chosen = extent(ledger)
    assert (list(chosen.runs), chosen.share, chosen.mixed, chosen.other_share) == ([3, 2], 0.1, 1, 1)
    assert counted(ledger).clear == 6


def test_change_of_the_protocol_that_keeps_the_share_divides_nothing(ledger: Ledger) -> None:
    read_all(ledger, night(ledger, "one", 0))
    follow(ledger, BLIND, later(2))
    ids = night(ledger, "two", 10)
    with ledger.transaction() as session:
        session.execute(update(Image).where(Image.id.in_(ids)).values(scored_at=later(3)))
    read_all(ledger, ids)
    assert list(extent(ledger).runs) == [2, 1]


def test_page_counts_as_many_whole_runs_as_it_can(ledger: Ledger) -> None:
    for number in range(3):
        read_all(ledger, night(ledger, f"run {number}", 10 * number))
    chosen = extent(ledger, images=13)
    assert (list(chosen.runs), chosen.images, chosen.earlier, chosen.too_large) == ([3, 2], 12, True, 0)
    chosen = extent(ledger, images=5)
    assert (list(chosen.runs), chosen.share, chosen.too_large) == ([], None, 3)


def test_image_that_a_retriage_made_clear_and_drew_is_part_of_the_sample(ledger: Ledger) -> None:
    """Its prediction says flagged; the verdict that it was drawn with is clear."""
    ids = night(ledger)
    with ledger.transaction() as session:
        session.execute(update(Image).where(Image.id == ids[1]).values(verdict="clear"))
    draw(ledger, ids[1])
    read_all(ledger, ids)
    assert counted(ledger) == Read(FinalReadings(2, 0, 0, 2), FinalReadings(0, 2, 0, 2), 0, 4)
