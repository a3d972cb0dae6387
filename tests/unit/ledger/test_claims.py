"""The end of a claim before its time: leaving the image, and another reader who takes it over."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from tests.filling import AT, assert_consistent, fill, follow, image, known_reader, later, score
from worker.ledger import audit, claims, review
from worker.ledger.findings import Finding, Statement
from worker.ledger.protocols import Protocol
from worker.ledger.review import ReviewRefused
from worker.ledger.session import Ledger
from worker.ledger.tables import AuditEvent

CLAIM_S = 900


def claim(
    ledger: Ledger,
    image_id: int,
    reader: int,
    seconds: float = 0,
    *,
    renews: bool = False,
    adjudicates: bool = False,
) -> bool:
    with ledger.transaction() as session:
        return review.claim(
            session,
            image_id,
            reader_id=reader,
            claim_s=CLAIM_S,
            at=later(seconds),
            renews=renews,
            adjudicates=adjudicates,
        )


def read(ledger: Ledger, image_id: int, reader: int, finding: Finding) -> None:
    with ledger.transaction() as session:
        review.decide(session, image_id, reader_id=reader, statement=Statement(finding), at=AT)


def release(ledger: Ledger, image_id: int, reader: int, claimed_at: float | None = None) -> bool:
    until = None if claimed_at is None else later(claimed_at) + timedelta(seconds=CLAIM_S)
    with ledger.transaction() as session:
        return claims.release(session, image_id, reader_id=reader, until=until)


def take_over(ledger: Ledger, image_id: int, reader: int, holder: int, seconds: float = 10) -> bool:
    with ledger.transaction() as session:
        return claims.take_over(
            session, image_id, reader_id=reader, holder_id=holder, claim_s=CLAIM_S, at=later(seconds)
        )


def taken_over(ledger: Ledger) -> list[AuditEvent]:
    with ledger.reading() as session:
        return list(session.scalars(select(AuditEvent).where(AuditEvent.kind == "claim_taken_over")))


@pytest.fixture
def readers(ledger: Ledger) -> tuple[int, int]:
    """Two readers, and one image with a score."""
    score(ledger, fill(ledger, 1))
    return known_reader(ledger, "Ada"), known_reader(ledger, "Ben")


def test_released_image_is_free_at_once(ledger: Ledger, readers: tuple[int, int]) -> None:
    ada, ben = readers
    claim(ledger, 1, ada)
    assert not release(ledger, 1, ben), "nobody ends the claim of another reader"
    assert release(ledger, 1, ada)
    assert claim(ledger, 1, ben, seconds=1)


def test_late_release_ends_no_newer_claim(ledger: Ledger, readers: tuple[int, int]) -> None:
    ada, ben = readers
    claim(ledger, 1, ada)
    claim(ledger, 1, ada, seconds=5)
    assert not release(ledger, 1, ada, claimed_at=0), "the same reader has claimed it again"
    assert not claim(ledger, 1, ben, seconds=6)
    assert release(ledger, 1, ada, claimed_at=5)
    assert claim(ledger, 1, ben, seconds=7)


def test_renewed_claim_releases_no_other(ledger: Ledger, readers: tuple[int, int]) -> None:
    ada, _ = readers
    score(ledger, fill(ledger, 2))
    claim(ledger, 1, ada)
    claim(ledger, 2, ada, seconds=1)
    assert claim(ledger, 1, ada, seconds=2, renews=True)
    assert [image(ledger, number).claimed_by_id for number in (1, 2)] == [ada, ada]


def test_reader_takes_a_claim_over_on_record(ledger: Ledger, readers: tuple[int, int]) -> None:
    ada, ben = readers
    claim(ledger, 1, ada)
    assert take_over(ledger, 1, ben, ada)
    assert image(ledger, 1).claimed_by_id == ben
    (event,) = taken_over(ledger)
    assert (event.actor, event.subject) == (f"user:{ben}", "image:1")
    assert f'"from_user":{ada}' in event.payload.replace(" ", "")
    with ledger.transaction() as session, pytest.raises(ReviewRefused, match="Another reader"):
        review.decide(session, 1, reader_id=ada, statement=Statement(Finding.SIGNS), at=later(20))
    with ledger.reading() as session:
        assert audit.verify(session).ok
    assert_consistent(ledger)


def test_ended_claim_is_taken_without_an_event(ledger: Ledger, readers: tuple[int, int]) -> None:
    ada, ben = readers
    assert not take_over(ledger, 1, ben, ada), "nobody holds it"
    release(ledger, 1, ben)
    claim(ledger, 1, ada)
    assert not take_over(ledger, 1, ben, ada, seconds=CLAIM_S + 1)
    assert image(ledger, 1).claimed_by_id == ben
    assert taken_over(ledger) == []


def test_claim_of_a_third_reader_is_not_taken_by_mistake(ledger: Ledger, readers: tuple[int, int]) -> None:
    ada, ben = readers
    cleo = known_reader(ledger, "Cleo")
    claim(ledger, 1, cleo)
    with pytest.raises(ReviewRefused, match="Yet another reader"):
        take_over(ledger, 1, ben, ada)
    assert image(ledger, 1).claimed_by_id == cleo


def test_image_that_needs_no_reading_is_not_taken_over(ledger: Ledger, readers: tuple[int, int]) -> None:
    ada, ben = readers
    (pending,) = fill(ledger, 2)
    for missing in (pending, 99):
        with pytest.raises(ReviewRefused, match="has not been scored"):
            take_over(ledger, missing, ben, ada)
    read(ledger, 1, ada, Finding.SIGNS)
    with pytest.raises(ReviewRefused, match="already been read"):
        take_over(ledger, 1, ben, ada)
    assert taken_over(ledger) == []


@pytest.mark.parametrize("findings", [[Finding.SIGNS], [Finding.SIGNS, Finding.NO_SIGNS]])
def test_reader_who_had_their_turn_does_not_lock_the_next_one_out(
    ledger: Ledger, readers: tuple[int, int], findings: list[Finding]
) -> None:
    follow(ledger, Protocol(readers=2, sample_share=0))
    cleo = known_reader(ledger, "Cleo")
    had_their_turn = readers[: len(findings)]
    for reader, finding in zip(had_their_turn, findings, strict=True):
        read(ledger, 1, reader, finding)
    for reader in had_their_turn:
        assert not claim(ledger, 1, reader)
        assert not claim(ledger, 1, reader, renews=True)
    assert claim(ledger, 1, cleo, adjudicates=True)
    for reader in had_their_turn:
        with pytest.raises(ReviewRefused, match="You have already read this image"):
            take_over(ledger, 1, reader, cleo)
    assert image(ledger, 1).claimed_by_id == cleo
    assert taken_over(ledger) == []


def test_only_an_adjudicator_claims_a_disagreement(ledger: Ledger, readers: tuple[int, int]) -> None:
    follow(ledger, Protocol(readers=2, sample_share=0))
    read(ledger, 1, readers[0], Finding.SIGNS)
    read(ledger, 1, readers[1], Finding.NO_SIGNS)
    dora, cleo = known_reader(ledger, "Dora"), known_reader(ledger, "Cleo")
    assert not claim(ledger, 1, dora)
    assert claim(ledger, 1, cleo, adjudicates=True)
    with pytest.raises(ReviewRefused, match="An adjudicator decides"):
        take_over(ledger, 1, dora, cleo)
