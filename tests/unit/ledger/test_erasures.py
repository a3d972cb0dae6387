"""worker.ledger.erasures: an erased image keeps no text, and everything else still agrees with the audit trail."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

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
    later,
    lease_images,
    receive,
    record,
    result,
    score,
    sha256,
)
from tests.old_ledger import NOTE, WHY, fill_old_ledger
from worker.config import Settings
from worker.imagefile.identity import AgeSource, Identity
from worker.ledger import accesses, actors, erasures, leases, rescores, review, schema, users
from worker.ledger.accesses import Access, AccessKind
from worker.ledger.comparison import compare
from worker.ledger.findings import Finding, Statement
from worker.ledger.predictions import RejectionRecord
from worker.ledger.receipts import ERASED_BEFORE, Arrival
from worker.ledger.roles import Role
from worker.ledger.seals import ERASED
from worker.ledger.session import Ledger
from worker.ledger.states import IllegalTransition, ImageState, Outcome
from worker.ledger.tables import AuditEvent, Base, Receipt, Run

PATIENT = "DOE^JANE"
IDENTITY = Identity(
    study_uid="1.2.840.1",
    series_uid="1.2.840.2",
    instance_uid="1.2.840.3",
    accession="A4711",
    patient_key="4711" * 16,
    age_years=4.25,
    age_source=AgeSource.PATIENT_AGE,
    sex="F",
    view="PA",
    laterality="U",
    manufacturer="Agfa",
    station_class="CR",
)

KNOWN = [
    "study_uid", "series_uid", "instance_uid", "accession", "patient_key", "age_years", "age_source", "sex", "view",
    "laterality", "manufacturer", "station_class",
]  # fmt: skip


def erase(ledger: Ledger, *image_ids: int, why: str = "asked for", all_run_names: bool = False) -> list[int]:
    with ledger.transaction() as session:
        return erasures.erase(
            session, image_ids, who="os:1", why=why, all_run_names=all_run_names, at=later(60)
        )


def finish(ledger: Ledger, *image_ids: int) -> None:
    with ledger.transaction() as session:
        hashes = {image_id: sha256(image_id) for image_id in image_ids}
        erasures.finish(session, hashes, lambda _: True, later(61))


def everything(ledger: Ledger) -> str:
    """Return all values of all tables as text."""
    with ledger.reading() as session:
        rows = [session.execute(select(table)).all() for table in Base.metadata.sorted_tables]
    return repr(rows)


def erased_counts(ledger: Ledger) -> dict[str, int]:
    with ledger.reading() as session:
        return dict(compare(session).erased)


@pytest.fixture
def night(ledger: Ledger) -> Ledger:
    """Return a ledger in which every text about image 1 names the patient, and image 2 is of somebody else."""
    sent = replace(arrival(1, name=f"{PATIENT}.jpg"), received_by="user:1", identity=IDENTITY)
    with ledger.transaction() as session:
        users.add(session, "Ada", {Role.READER}, actor=actors.PROGRAM, at=AT)
        receive(session, replace(sent, rejection=NOT_AN_IMAGE), run=f"films of {PATIENT}")
        leases.retry(session, 1, who="user:1", why=f"{PATIENT} again", at=AT)
        accesses.record(session, Access(AccessKind.ORIGINAL, "user:1", 1, reason=f"{PATIENT} asks"), AT)
        receive(session, arrival(1, name=f"copy of {PATIENT}.jpg", key="7:1:1001:0a"), run=f"again {PATIENT}")
        receive(session, arrival(2, name="other.jpg"), run=f"again {PATIENT}")
    score(ledger, [1, 2])
    with ledger.transaction() as session:
        accesses.record(session, Access(AccessKind.ORIGINAL, "user:1", image_id=2, reason="a letter"), AT)
        review.decide(
            session, 1, reader_id=1, statement=Statement(Finding.SIGNS, note=f"{PATIENT}: left base"), at=AT
        )
    return ledger


def test_erased_image_leaves_no_text_in_any_table(night: Ledger) -> None:
    assert PATIENT in everything(night)
    assert erase(night, 1, all_run_names=True) == [1]
    finish(night, 1)
    left = everything(night)
    assert PATIENT not in left
    assert not [value for value in vars(IDENTITY).values() if value in left.split("'")]
    row = image(night, 1)
    assert (row.state, row.original_name, row.salt) == ("erased", ERASED, None)
    assert (row.verdict, row.p_pneumonia) == (None, None)
    assert row.bytes_removed_at == later(61)


def test_ledger_with_an_erased_image_matches_its_trail(night: Ledger) -> None:
    erase(night, 1)
    finish(night, 1)
    counts = assert_consistent(night)
    assert (counts.received, counts.erased, counts.scored, counts.flagged) == (3, 1, 1, 1)
    assert counts.equation.endswith("+ 1 erased")
    assert erased_counts(night) == {
        "access_reason.reason": 1,
        "receipt.original_name": 2,
        "receipt.received_by": 1,
        "review.note": 1,
        "run.name": 1,
    }


def test_image_of_somebody_else_is_untouched(night: Ledger) -> None:
    before = vars(image(night, 2)).copy()
    erase(night, 1)
    after = vars(image(night, 2)).copy()
    assert {k: v for k, v in after.items() if k[0] != "_"} == {k: v for k, v in before.items() if k[0] != "_"}


def test_run_loses_its_name_only_if_no_other_image_arrived_in_it(night: Ledger) -> None:
    with night.reading() as session:
        names = {name.run_id: name.other_images for name in erasures.run_names(session, [1])}
    assert names == {1: False, 2: True}
    erase(night, 1)
    assert run_names(night) == ["(erased 1)", f"again {PATIENT}"]
    erase(night, 2)
    assert run_names(night) == ["(erased 1)", "(erased 2)"]
    assert_consistent(night)


def test_duplicate_of_another_image_keeps_the_name_of_a_run(ledger: Ledger) -> None:
    fill(ledger, 1, run="first")
    with ledger.transaction() as session:
        receive(session, arrival(2), arrival(1), run="second")
    erase(ledger, 2)
    assert run_names(ledger) == ["first", "second"]


def test_names_of_nights_stay(ledger: Ledger) -> None:
    fill(ledger, 1)
    before = run_names(ledger)
    erase(ledger, 1, all_run_names=True)
    assert run_names(ledger) == before


def run_names(ledger: Ledger) -> list[str]:
    with ledger.reading() as session:
        return list(session.scalars(select(Run.name).order_by(Run.id)))


def test_activation_map_goes_and_the_numbers_of_the_prediction_stay(night: Ledger) -> None:
    erase(night, 1)
    with night.reading() as session:
        row = session.execute(
            text("SELECT activation, map_height, p_pneumonia FROM prediction WHERE image_id = 1")
        ).one()
    assert (bytes(row.activation), row.map_height, row.p_pneumonia) == (b"", 0, pytest.approx(0.9))


@pytest.mark.parametrize("state", [state for state in ImageState if state is not ImageState.ERASED])
def test_image_in_any_state_can_be_erased(ledger: Ledger, state: ImageState) -> None:
    fill(ledger, 1)
    bring_to(ledger, state)
    assert image(ledger, 1).state == state
    assert erase(ledger, 1) == [1]
    assert assert_consistent(ledger).erased == 1


def bring_to(ledger: Ledger, state: ImageState) -> None:
    if state is not ImageState.PENDING:
        lease_images(ledger, [1])
    if state is ImageState.SCORED:
        record(ledger, known_model(ledger), [result(1)])
    if state is ImageState.REJECTED:
        record(ledger, known_model(ledger), [], [blank()])
    if state is ImageState.QUARANTINED:
        with ledger.transaction() as session:
            leases.release(session, [1], owner="w1", code="x", reason="It failed.", max_attempts=1, at=AT)


def blank() -> RejectionRecord:
    return RejectionRecord(1, "blank", "The image is blank.")


def test_result_of_a_worker_that_held_the_image_is_dropped(ledger: Ledger) -> None:
    fill(ledger, 1)
    lease_images(ledger, [1])
    erase(ledger, 1)
    assert record(ledger, known_model(ledger), [result(1)]) == 0
    assert image(ledger, 1).state == "erased"
    assert_consistent(ledger)


def test_erased_image_cannot_be_retried_read_or_leased(ledger: Ledger) -> None:
    fill(ledger, 1)
    erase(ledger, 1)
    with pytest.raises(IllegalTransition, match="is erased"), ledger.transaction() as session:
        leases.retry(session, 1, who="os:1", why="again", at=AT)
    reader_id = known_reader(ledger)
    with pytest.raises(review.ReviewRefused), ledger.transaction() as session:
        review.decide(session, 1, reader_id=reader_id, statement=Statement(Finding.SIGNS), at=AT)
    assert lease_images(ledger, [1]) == []


def test_erased_image_leaves_the_list_of_images_scored_again(ledger: Ledger) -> None:
    fill(ledger, 1, 2)
    score(ledger, [1, 2])
    with ledger.transaction() as session:
        rescores.rescore(session, {1: rescores.CROPPED, 2: rescores.CROPPED}, AT)
    erase(ledger, 1)
    with ledger.reading() as session:
        assert rescores.unseen_count(session) == 1
        assert [row.image_id for row in rescores.unseen(session, limit=9)] == [2]
    assert_consistent(ledger)


def test_second_erasure_changes_nothing(night: Ledger) -> None:
    erase(night, 1)
    finish(night, 1)
    before = everything(night)
    assert erase(night, 1) == []
    finish(night, 1)
    assert everything(night) == before


def test_unknown_image_or_empty_reason_erases_nothing(night: Ledger) -> None:
    before = everything(night)
    with pytest.raises(LookupError, match=r"no image 8, 9\. Nothing was erased"):
        erase(night, 1, 8, 9)
    with pytest.raises(ValueError, match="needs a reason"):
        erase(night, 1, why="  ")
    assert everything(night) == before


def test_plan_says_what_goes(night: Ledger) -> None:
    with night.reading() as session:
        assert erasures.plan(session, [2, 1]) == [
            erasures.Doomed(1, "scored", 1001, 2, 1, 1, KNOWN),
            erasures.Doomed(2, "scored", 1002, 1, 0, 1, []),
        ]
    erase(night, 1)
    with night.reading() as session:
        assert erasures.plan(session, [1]) == [erasures.Doomed(1, "erased", 1001, 0, 0, 0, [])]


def test_file_that_arrives_again_stays_erased_and_leaves_no_name(night: Ledger) -> None:
    erase(night, 1, all_run_names=True)
    finish(night, 1)
    with night.transaction() as session:
        again, new = receive(session, again_by(7), arrival(3))
    assert again is not None
    assert new is not None
    assert (again.outcome, again.image_id, again.erased) == (Outcome.DUPLICATE, 1, True)
    assert again.reason == ERASED_BEFORE[1]
    assert (new.outcome, new.erased) == (Outcome.NEW, False)
    assert PATIENT not in everything(night)
    with night.reading() as session:
        assert erasures.unfinished(session, 9) == {1: sha256(1)}
    finish(night, 1)
    with night.reading() as session:
        actor = session.scalar(
            select(AuditEvent.actor)
            .where(AuditEvent.kind == "received")
            .order_by(AuditEvent.seq.desc())
            .offset(1)
        )
        assert actor == "user:7"
        assert erasures.unfinished(session, 9) == {}
        assert session.get_one(Receipt, again.receipt_id).arrival is None
    assert counted(night).duplicates == 2
    assert_consistent(night)


def again_by(user_id: int) -> Arrival:
    sent = arrival(1, name=f"{PATIENT} 2.jpg", key="9:1:1:0b")
    return Arrival(**{**vars(sent), "received_by": actors.user(user_id)})


def test_erasure_is_finished_only_when_the_bytes_are_gone(night: Ledger) -> None:
    erase(night, 1)
    with night.transaction() as session:
        erasures.finish(session, {1: sha256(1), 2: sha256(2)}, lambda _: False, AT)
    with night.reading() as session:
        assert erasures.unfinished(session, 9) == {1: sha256(1)}
    finish(night, 1, 2)
    assert image(night, 2).bytes_removed_at is None


def test_file_that_is_still_in_the_inbox_keeps_its_key(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        receive(session, arrival(1, key="kept:1"), arrival(1, key="2"))
    erase(ledger, 1)
    finish(ledger, 1)
    with ledger.reading() as session:
        assert list(session.scalars(select(Receipt.arrival).order_by(Receipt.id))) == ["kept:1", None]


CHANGES = {
    "UPDATE receipt SET original_name = 'x.jpg' WHERE id = 1": "receipt:1: original_name",
    "UPDATE review SET note = 'x' WHERE id = 1": "review:1: note",
    "UPDATE image SET state = 'scored' WHERE id = 1": "image:1: state",
    "UPDATE erasure SET at = '2020-01-01 00:00:00+00:00'": "erasure:1: at",
    "UPDATE erasure SET reason = 'x'": "erasure:1: reason",
    "DELETE FROM erasure": "erasure:1: the audit trail has events about it",
    "UPDATE image SET bytes_removed_at = NULL WHERE id = 1": "image:1: bytes_removed_at",
    "UPDATE prediction SET activation = 'x' WHERE id = 1": "prediction:1: activation",
}


def test_erasure_that_was_changed_is_noticed(night: Ledger) -> None:
    erase(night, 1)
    finish(night, 1)
    unnoticed = [
        statement for statement, what in CHANGES.items() if what not in _mismatches(night, statement)
    ]
    assert unnoticed == []


def _mismatches(ledger: Ledger, statement: str) -> str:
    with ledger.engine.connect() as connection, Session(connection) as session:
        session.execute(text(statement))
        found = compare(session).mismatches
        session.rollback()
    return "\n".join(map(str, found))


def test_text_that_is_put_back_with_its_salt_is_noticed(night: Ledger) -> None:
    with night.reading() as session:
        row = session.execute(text("SELECT original_name, salt FROM receipt WHERE id = 1")).one()
    erase(night, 1)
    with night.transaction() as session:
        session.execute(
            text("UPDATE receipt SET original_name = :name, salt = :salt WHERE id = 1"),
            {"name": row.original_name, "salt": row.salt},
        )
    with night.reading() as session:
        assert "receipt:1: original_name" in "\n".join(map(str, compare(session).mismatches))


def test_image_of_an_earlier_version_can_be_erased(database_url: str) -> None:
    ledger = Ledger(Settings(database_url=database_url).database)
    fill_old_ledger(ledger)
    schema.upgrade(ledger)
    assert erase(ledger, 1, 3) == [1, 3]
    finish(ledger, 1, 3)
    left = everything(ledger)
    assert NOTE not in left
    assert WHY not in left
    with ledger.reading() as session:
        found = compare(session)
    assert found.mismatches == []
    ledger.close()


def test_typed_reason_stands_in_no_payload(night: Ledger) -> None:
    erase(night, 1, why="Dr Who asked")
    with night.reading() as session:
        payloads = session.execute(text("SELECT actor || payload FROM audit_event")).scalars().all()
    assert "Dr Who" not in "".join(payloads)
    assert_consistent(night)
