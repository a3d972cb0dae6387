"""worker.ledger.comparison: a change in any table is found, because the audit trail says something else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from tests.filling import (
    AT,
    NOT_AN_IMAGE,
    arrival,
    arrived_from_the_service,
    assert_consistent,
    drawn,
    fill,
    follow,
    identity,
    known_model,
    known_reader,
    lease_images,
    receive,
    record,
    result,
    score,
)
from tests.old_ledger import NOTE, add_old_reading, fill_old_ledger
from tests.triggers import switch_off_triggers
from worker.access_chain import chain_accesses
from worker.config import Settings
from worker.ledger import (
    accesses,
    actors,
    audit,
    calibrations,
    comparison,
    erasures,
    leases,
    rescores,
    review,
    schema,
    second_factors,
    shadows,
    site_keys,
    tokens,
    users,
)
from worker.ledger.accesses import Access, AccessKind
from worker.ledger.calibrations import Fitted
from worker.ledger.comparison import Comparison, Mismatch
from worker.ledger.findings import Finding, NotJudged, Seen, Statement
from worker.ledger.protocols import Protocol
from worker.ledger.rescores import CROPPED
from worker.ledger.roles import Role, Scope
from worker.ledger.session import Ledger
from worker.ledger.shadows import ShadowRecord
from worker.ledger.states import Lane
from worker.ledger.tables import Model, Review, User
from worker.ledger.trail_facts import CROP, LUNGS, PROVEN
from worker.recalibration.logistic import Recalibration

# A value of each type that no test row has.
OTHER = {
    "int": "77",
    "real": "0.123",
    "text": "'other'",
    "bool": "true",
    "no": "false",
    "time": "'2020-01-01 00:00:00+00:00'",
    "key": "2",
    # A reading that nobody took back.
    "reading": "5",
    "letter": "'x'",
    "json": "'{}'",
}
TYPES = {
    "image": {
        "drawn_rank": "real",
        "distance": "real",
        "bytes": "int",
        "width": "int",
        "height": "int",
        "phantom": "bool",
        "run_id": "key",
        "operating_point_id": "key",
    },
    "receipt": {"bytes": "int", "image_id": "key", "run_id": "key"},
    "prediction": {
        "operating_point_id": "key",
        "versions": "json",
        "greyscale": "json",
        **dict.fromkeys((*CROP, *LUNGS), "int"),
        "distance": "real",
    },
    "api_token": {"owner_id": "key"},
    "identity": {"user_id": "key"},
    "totp": {"user_id": "key"},
    "passkey": {"user_id": "key"},
    "erasure": {"image_id": "key"},
    "study": {"age_years": "real", "sex": "letter"},
    "instance": {"image_id": "key", "study_id": "key", "laterality": "letter"},
    "rescore": {"image_id": "key", "prediction_id": "key", "seen_by_id": "key"},
    "review": {
        **dict.fromkeys(("image_id", "prediction_id", "user_id", "supersedes_id"), "key"),
        "undoes_id": "reading",
        **dict.fromkeys(("score_shown", "map_shown"), "bool"),
        "open_ms": "int",
        "protocol_id": "int",
    },
    "operating_point": {"model_id": "key", "threshold": "real", "band_low": "real", "band_high": "real"},
    "model": {"card": "json"},
    "access_batch": {"first_id": "int", "last_id": "int", "total": "int"},
    "site_setting": {"value": "json"},
    "site_calibration": {
        "model_id": "key",
        "version": "int",
        **dict.fromkeys(("intercept", "slope", "prevalence"), "real"),
        "figures": "json",
    },
    "shadow_prediction": {
        "image_id": "key",
        "model_id": "key",
        "cropped": "no",
        "distance": "real",
        "versions": "json",
    },
}


def other(table: str, column: str) -> str:
    """Return the SQL of a value that differs from the one in the test's row."""
    if column == "activation":
        return "activation || activation"
    by_name = "time" if column.endswith("_at") or column in {"at", "active_since"} else "text"
    by_name = "real" if column.startswith("p_") or column == "confidence" else by_name
    return OTHER[TYPES.get(table, {}).get(column, by_name)]


def compared(ledger: Ledger) -> Comparison:
    with ledger.reading() as session:
        return comparison.compare(session)


def execute(ledger: Ledger, *statements: str) -> None:
    with ledger.transaction() as session:
        for statement in statements:
            session.execute(text(statement))


@pytest.fixture
def night(ledger: Ledger) -> Ledger:
    """Return a ledger with a row of each kind; in each table, row 1 has a value in every proven column."""
    with ledger.transaction() as session:
        for name in ("Ada", "Ben"):
            users.add(session, name, {Role.READER}, actor=actors.PROGRAM, at=AT)
        sent = replace(arrival(1), rejection=NOT_AN_IMAGE, received_by="user:1", identity=identity(1))
        receive(session, sent)
        receive(session, arrival(2), arrival(2, name="again.jpg"), run="another")
        receive(session, replace(arrival(3), identity=identity(3)))
        site_keys.put_in_force(session, "f" * 64, instead_of=None, who=actors.PROGRAM, at=AT)
        leases.retry(session, 1, who="user:1", why="sent again", at=AT)
    follow(ledger, Protocol(sample_share=1))
    drawn(ledger, clear=2, flagged=1)
    score(ledger, [3])
    known_model(ledger, "n" * 64)
    with ledger.transaction() as session:
        rescores.rescore(session, {3: CROPPED}, AT)
    lease_images(ledger, [3])
    record(ledger, known_model(ledger, "o" * 64), [result(3)])
    with ledger.transaction() as session:
        rescores.mark_seen(session, [1], reader_id=1, at=AT)
        said = Statement(Finding.SIGNS, note="left base", other_finding="rib fracture")
        first = review.decide(session, 1, reader_id=1, statement=said, at=AT, seen=Seen(1, False, False, 900))
        changed = Statement(Finding.NOT_JUDGED, NotJudged.WRONG_VIEW)
        review.amend(session, first.id, reader_id=1, statement=changed, why="a lateral view", at=AT)
        review.undo(session, reader_id=1, at=AT, seen=Seen(None, True, True, 1_200))
        review.undo(session, reader_id=1, at=AT)
        review.decide(session, 1, reader_id=2, statement=Statement(Finding.NO_SIGNS), at=AT)
        accesses.record(session, Access(AccessKind.VIEW, "user:1", 1), AT)
    assert chain_accesses(ledger) == 1
    _add_token(ledger)
    _add_shadow(ledger)
    _add_calibration(ledger)
    with ledger.transaction() as session:
        arrived_from_the_service(session, AT)
    _add_second_factors(ledger)
    return ledger


def _add_shadow(ledger: Ledger) -> None:
    """Have a candidate score image 1. Row 1 of the settings stays the reading protocol."""
    with ledger.transaction() as session:
        known = session.scalars(select(Model).where(Model.sha256 == "o" * 64)).one()
        shadows.change(session, known, who="user:1", why="a trial", at=AT)
        page = shadows.next_page(session, size=1, lease_s=60, at=AT)
        assert page is not None
        (image,) = page.images
        scored = ShadowRecord(
            image.id, "scored", 0.1, 0.7, 0.2, 0.9, cropped=True, population="inside", distance=0.75
        )
        shadows.finish(session, page, [scored], {"nightread": "1"}, AT)


def _add_calibration(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        fitted = Fitted(Recalibration(-1.25, 0.75), 0.3125, "c" * 64, {"images": 1})
        model = session.get_one(Model, 1)
        calibrations.put_in_force(session, model, fitted, who="user:1", why="a trial", at=AT)


def _add_second_factors(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        user = session.get_one(User, 1)
        second_factors.add_totp(session, user, "encrypted", 1, actor="user:1", at=AT)
        second_factors.add_passkey(
            session,
            user,
            name="Phone",
            credential_id="id",
            public_key=b"key",
            sign_count=0,
            actor="user:1",
            at=AT,
        )


def _add_token(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        new = tokens.add(
            session,
            owner_id=1,
            name="script",
            scopes=[Scope.IMAGES_READ],
            days=1,
            actor="os:0",
            at=AT,
        )
        tokens.revoke(session, new.token.id, actor="os:0", at=AT)


def test_ledger_that_nobody_changed_matches_its_trail(night: Ledger) -> None:
    assert_consistent(night)
    assert compared(night) == Comparison()


@pytest.mark.slow
def test_changed_value_of_any_proven_column_is_named(night: Ledger) -> None:
    with night.transaction() as session:
        receive(session, arrival(4))
        erasures.erase(session, [4], who="os:1", why="asked for", at=AT)
    unnoticed = [
        (table, column)
        for table, columns in PROVEN.items()
        for column in columns
        if not _is_named_when_changed(night, table, column)
    ]
    assert unnoticed == []


def _is_named_when_changed(ledger: Ledger, table: str, column: str) -> bool:
    with ledger.engine.connect() as connection, Session(connection) as session:
        switch_off_triggers(session)
        session.execute(text(f'UPDATE "{table}" SET {column} = {other(table, column)} WHERE id = 1'))  # noqa: S608
        found = comparison.compare(session).mismatches
        session.rollback()
    # A row that belongs to another image is one without an event there.
    what = "event" if column == "image_id" and table != "shadow_prediction" else column
    return any((mismatch.subject, mismatch.what) == (f"{table}:1", what) for mismatch in found)


def test_changed_name_of_an_image_is_named_but_not_repeated(night: Ledger) -> None:
    execute(night, "UPDATE image SET original_name = 'DOE^JOHN' WHERE id = 1")
    assert compared(night).mismatches == [Mismatch("image:1", "original_name")]
    execute(night, "UPDATE receipt SET original_name = 'DOE^JOHN' WHERE id = 1")
    (found,) = compared(night).mismatches
    assert found == Mismatch("receipt:1", "original_name")
    assert "DOE" not in str(found)


def test_difference_says_what_the_table_and_the_trail_have(night: Ledger) -> None:
    execute(night, "UPDATE image SET verdict = 'clear' WHERE id = 1")
    (found,) = compared(night).mismatches
    assert found == Mismatch("image:1", "verdict", "clear", "flagged")
    assert str(found) == "image:1: verdict is 'clear', the audit trail says 'flagged'"


@pytest.mark.parametrize(
    ("statement", "subject"),
    [
        pytest.param("DELETE FROM receipt WHERE id = 3", "receipt:3", id="a duplicate's receipt"),
        pytest.param("DELETE FROM review WHERE id = 5", "review:5", id="a reading"),
        pytest.param("DELETE FROM instance WHERE id = 1", "instance:1", id="an instance"),
        pytest.param("DELETE FROM site_setting WHERE id = 1", "site_setting:1", id="a setting"),
        pytest.param("DELETE FROM site_key WHERE id = 1", "site_key:1", id="a site key"),
        pytest.param("DELETE FROM rescore WHERE id = 1", "rescore:1", id="a rescore"),
        pytest.param(
            "DELETE FROM operating_point WHERE id = 2", "operating_point:2", id="an operating point"
        ),
        pytest.param("DELETE FROM api_token WHERE id = 1", "api_token:1", id="a token"),
        pytest.param("DELETE FROM identity WHERE id = 1", "identity:1", id="an identity"),
        pytest.param('DELETE FROM "user" WHERE id = 4', "user:4", id="a reader"),
        pytest.param("DELETE FROM run WHERE id = 3", "run:3", id="a run"),
    ],
)
def test_event_without_a_row_is_named(night: Ledger, statement: str, subject: str) -> None:
    known_reader(night, "Chen")
    with night.transaction() as session:
        receive(session, run="empty")
    execute(night, statement)
    assert Mismatch(subject, "row") in compared(night).mismatches


def test_image_deleted_with_all_its_rows_is_named(night: Ledger) -> None:
    execute(
        night,
        "DELETE FROM receipt WHERE image_id = 2",
        "DELETE FROM prediction WHERE image_id = 2",
        "DELETE FROM image WHERE id = 2",
    )
    assert compared(night).mismatches == [Mismatch("image:2", "row")]


def test_deleted_prediction_is_named(night: Ledger) -> None:
    execute(night, "DELETE FROM prediction WHERE image_id = 2")
    assert compared(night).mismatches == [Mismatch("prediction of image:2", "row")]


@pytest.mark.parametrize(
    ("statement", "subject"),
    [
        pytest.param(
            "INSERT INTO review (id, image_id, prediction_id, user_id, action, finding, note, at) "
            "SELECT 9, image_id, prediction_id, user_id, action, finding, note, at FROM review WHERE id = 3",
            "review:9",
            id="a reading",
        ),
        pytest.param(
            "INSERT INTO instance (id, image_id, study_id) SELECT 9, 2, study_id FROM instance WHERE id = 1",
            "instance:9",
            id="an instance",
        ),
        pytest.param(
            "INSERT INTO study (id, patient_key, added_at) SELECT 9, patient_key, added_at FROM study WHERE id = 1",
            "study:9",
            id="a study",
        ),
        pytest.param(
            "INSERT INTO receipt (id, source, original_name, sha256, bytes, outcome, image_id, run_id,"
            " received_at) SELECT 9, source, original_name, sha256, bytes, outcome, image_id, run_id,"
            " received_at FROM receipt WHERE id = 2",
            "receipt:9",
            id="a receipt",
        ),
        pytest.param(
            'INSERT INTO "user" (id, name, created_at) SELECT 9, \'Eve\', created_at FROM "user" WHERE id = 1',
            "user:9",
            id="a reader",
        ),
        pytest.param(
            "INSERT INTO api_token (id, owner_id, name, key_hash, scopes, created_at, expires_at)"
            " SELECT 9, owner_id, 'x', 'y', scopes, created_at, expires_at FROM api_token WHERE id = 1",
            "api_token:9",
            id="a token",
        ),
    ],
)
def test_row_without_an_event_is_named(night: Ledger, statement: str, subject: str) -> None:
    execute(night, statement)
    assert Mismatch(subject, "event") in compared(night).mismatches


def erase(table: str, column: str, row: int, value: str = "NULL") -> str:
    return f'UPDATE "{table}" SET {column} = {value}, salt = NULL WHERE id = {row}'  # noqa: S608


def test_erased_text_is_counted_and_not_called_changed(night: Ledger) -> None:
    execute(
        night,
        "UPDATE receipt SET original_name = '', received_by = NULL, salt = NULL WHERE id = 1",
        "UPDATE image SET original_name = '' WHERE id = 1",
        erase("user", "name", 1, "'(erased 1)'"),
        erase("run", "name", 1, "'(erased 1)'"),
        erase("api_token", "name", 1, "'(erased)'"),
        "UPDATE review SET note = '', other_finding = '', salt = NULL WHERE id = 1",
        erase("review", "why", 2, "''"),
        erase("image", "retry_reason", 1),
    )
    found = compared(night)
    assert found.mismatches == []
    assert found.erased == {
        "api_token.name": 1,
        "image.retry_reason": 1,
        "receipt.original_name": 1,
        "receipt.received_by": 1,
        "review.note": 2,
        "review.other_finding": 1,
        "review.why": 1,
        "run.name": 1,
        "user.name": 1,
    }


@pytest.mark.parametrize(
    "half",
    [
        "UPDATE review SET salt = NULL WHERE id = 1",
        "UPDATE review SET note = '' WHERE id = 1",
        "UPDATE review SET note = 'right base', salt = NULL WHERE id = 1",
    ],
    ids=["only the salt", "only the text", "another text without salt"],
)
def test_half_erased_text_counts_as_changed(night: Ledger, half: str) -> None:
    execute(night, half)
    found = compared(night).mismatches
    assert Mismatch("review:1", "note") in found
    # The other text of the reading has the same salt.
    assert {mismatch.subject for mismatch in found} == {"review:1"}


def test_leased_and_returned_images_match_the_trail(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2)
    lease_images(ledger, ids)
    assert_consistent(ledger)
    with ledger.transaction() as session:
        leases.release(
            session, ids[:1], owner="w1", code="store_failed", reason="The store.", max_attempts=3, at=AT
        )
        leases.release(
            session, ids[1:], owner="w1", code="store_failed", reason="The store.", max_attempts=1, at=AT
        )
    assert_consistent(ledger)


def test_number_of_differences_is_bounded_and_all_are_counted(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "_PAGE", 4)
    monkeypatch.setattr(comparison, "KEPT", 3)
    fill(ledger, *range(11))
    assert_consistent(ledger)
    execute(ledger, "UPDATE image SET bytes = 1")
    found = compared(ledger)
    assert (len(found.mismatches), found.mismatch_count) == (3, 11)


@pytest.mark.parametrize("value", ["true", "1.0", '"1"'])
def test_equal_value_of_another_type_in_a_document_is_named(ledger: Ledger, value: str) -> None:
    for sha256 in ("a" * 64, "b" * 64):
        known_model(ledger, sha256, {"layers": 1})
    assert compared(ledger) == Comparison()
    execute(ledger, f"""UPDATE model SET card = '{{"layers": {value}}}' WHERE id = 2""")  # noqa: S608
    assert compared(ledger).mismatches == [Mismatch("model:2", "card")]


@pytest.mark.parametrize("payload", ["no JSON", "[]", '{"receipt": {}}'])
def test_damaged_event_is_no_traceback(ledger: Ledger, payload: str) -> None:
    fill(ledger, 1)
    with ledger.transaction() as session:
        if session.get_bind().dialect.name == "sqlite":
            session.execute(text("DROP TRIGGER audit_event_keeps_update"))
        else:
            session.execute(text("DROP TRIGGER audit_event_keeps ON audit_event"))
        session.execute(text("UPDATE audit_event SET payload = :payload"), {"payload": payload})
    assert compared(ledger).mismatch_count > 0


@pytest.fixture
def old_ledger(database_url: str) -> Iterator[Ledger]:
    ledger = Ledger(Settings(database_url=database_url).database)
    fill_old_ledger(ledger)
    schema.upgrade(ledger)
    yield ledger
    ledger.close()


@pytest.mark.slow
def test_upgraded_ledger_matches_and_what_is_unproven_is_counted(old_ledger: Ledger) -> None:
    found = compared(old_ledger)
    assert found.mismatches == []
    assert found.erased == {}
    assert found.unproven == {
        "run.name": 1,
        "user.name": 1,
        "model.card": 1,
        **{f"image.{column}": 4 for column in ("run_id", "lane", "format", "width", "height", "phantom")},
        "image.reason": 1,
        **{f"receipt.{column}": 5 for column in ("run_id", "original_name", "received_by")},
        "receipt.reason": 1,
        **{f"prediction.{column}": 2 for column in ("activation", "versions", "confidence")},
        **{f"prediction.crop_{side}": 2 for side in ("left", "top", "right", "bottom")},
        "prediction.population": 2,
    }


@pytest.mark.slow
@pytest.mark.parametrize(("action", "finding"), [("confirm", "no_signs"), ("override", "signs_of_pneumonia")])
def test_readings_of_an_earlier_version_have_their_meaning(
    database_url: str, action: str, finding: str
) -> None:
    """Image 4 is clear: to confirm that meant no signs, and on image 1, which is flagged, signs."""
    ledger = Ledger(Settings(database_url=database_url).database)
    fill_old_ledger(ledger)
    add_old_reading(ledger, 4, 4, action=action, finding=finding)
    schema.upgrade(ledger)
    assert schema.differences(ledger) == []
    with ledger.reading() as session:
        rows = session.scalars(select(Review).order_by(Review.id)).all()
        assert [(row.action, row.finding) for row in rows] == [
            ("read", "signs_of_pneumonia"), ("undo", None), ("read", "signs_of_pneumonia"), ("read", finding)
        ]  # fmt: skip
        assert {row.score_shown for row in rows} == {None}
        assert rows[1].undoes_id == 1
        assert audit.verify(session).ok
    assert compared(ledger).mismatches == []
    with ledger.transaction() as session:
        assert review.undo(session, reader_id=1, at=AT).image_id == 4
    with ledger.transaction() as session:
        review.amend(
            session, 3, reader_id=1, statement=Statement(Finding.NO_SIGNS), why="looked again", at=AT
        )
    assert compared(ledger).mismatches == []
    ledger.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE prediction SET p_pneumonia = 0.2 WHERE id = 1",
        "UPDATE image SET verdict = 'clear' WHERE id = 1",
        "UPDATE review SET note = 'other' WHERE id = 1",
        "UPDATE review SET finding = 'no_signs' WHERE id = 1",
        "UPDATE review SET other_finding = 'other' WHERE id = 1",
        "UPDATE review SET score_shown = true WHERE id = 1",
        "UPDATE image SET retry_reason = 'other' WHERE id = 3",
        "UPDATE receipt SET sha256 = 'other' WHERE id = 1",
        "UPDATE operating_point SET threshold = 0.6 WHERE id = 1",
    ],
)
def test_change_in_an_upgraded_ledger_is_found(old_ledger: Ledger, harm: str) -> None:
    execute(old_ledger, harm)
    assert compared(old_ledger).mismatch_count == 1


@pytest.mark.slow
def test_upgraded_ledger_is_used_on_with_proofs(old_ledger: Ledger) -> None:
    before = compared(old_ledger).unproven
    with old_ledger.transaction() as session:
        image = receive(session, arrival(9), lane=Lane.URGENT)[0]
        assert image is not None
        review.decide(
            session,
            4,
            reader_id=users.add(session, "Ben", {Role.READER}, actor=actors.PROGRAM, at=AT).id,
            statement=Statement(Finding.SIGNS, note=NOTE),
            at=AT,
        )
    score(old_ledger, [3, image.image_id])
    found = compared(old_ledger)
    assert found.mismatches == []
    # The new score of image 3 proves its file format, too, and the worker registered another card.
    facts = {f"image.{column}": before[f"image.{column}"] - 1 for column in ("format", "width", "height")}
    del before["model.card"]
    assert found.unproven == before | facts
