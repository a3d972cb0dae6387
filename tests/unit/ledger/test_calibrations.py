"""Calibrations of the site on record: versions, one in force, revoked with a reason, bound to the audit trail."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import func, inspect, select, text

from tests.filling import AT, assert_consistent, image, known_model
from tests.site_readings import read_site
from worker.ledger import calibrations, comparison, retention
from worker.ledger.calibrations import Choice, Fitted, Layer
from worker.ledger.comparison import Mismatch
from worker.ledger.schema import MIGRATIONS
from worker.ledger.session import Ledger
from worker.ledger.tables import AuditEvent, Model, SiteCalibration, SiteSetting
from worker.recalibration.logistic import Recalibration

FITTED = Fitted(Recalibration(-1.25, 0.75), 0.312345, "c" * 64, {"numbers": {"images": 200}, "share": 0.25})


def model_of(ledger: Ledger, sha256: str = "m" * 64) -> int:
    return known_model(ledger, sha256).model_id


def put(
    ledger: Ledger, fitted: Fitted = FITTED, *, model: str = "m" * 64, why: str = "the first 200"
) -> Layer:
    model_id = model_of(ledger, model)
    with ledger.transaction() as session:
        row = session.get_one(Model, model_id)
        return calibrations.put_in_force(session, row, fitted, who="user:1", why=why, at=AT)


def revoke(ledger: Ledger, why: str = "another scanner") -> Layer:
    model_id = model_of(ledger)
    with ledger.transaction() as session:
        row = session.get_one(Model, model_id)
        return calibrations.revoke(session, row, who="user:2", why=why, at=AT)


def in_force(ledger: Ledger, model: str = "m" * 64) -> Layer | None:
    model_id = model_of(ledger, model)
    with ledger.reading() as session:
        return calibrations.in_force(session, model_id)


def history(ledger: Ledger) -> list[Choice]:
    model_id = model_of(ledger)
    with ledger.reading() as session:
        return calibrations.history(session, model_id, limit=9)


def test_calibration_is_in_force_with_version_who_and_why(ledger: Ledger) -> None:
    assert in_force(ledger) is None
    first, second = put(ledger), put(ledger, why="after a month")
    assert (first.version, second.version, second.name) == (1, 2, "calibration 2")
    assert in_force(ledger) == second
    assert [(one.version, one.set_by, one.why, one.at) for one in history(ledger)] == [
        (2, "user:1", "after a month", AT),
        (1, "user:1", "the first 200", AT),
    ]
    with ledger.reading() as session:
        assert calibrations.layers(session, second.model_id) == [second, first]
    assert_consistent(ledger)


def test_event_holds_model_version_numbers_and_cases_and_no_reason(ledger: Ledger) -> None:
    put(ledger)
    with ledger.reading() as session:
        events = session.scalars(select(AuditEvent).where(AuditEvent.kind.startswith("calibration"))).all()
    assert [event.kind for event in events] == ["calibration_fitted", "calibration_set"]
    said = json.loads(events[0].payload)
    assert (said["model_sha256"], said["version"]) == ("m" * 64, 1)
    assert (said["intercept"], said["slope"], said["cases_digest"]) == ("-1.250000", "0.750000", "c" * 64)
    assert "first 200" not in "".join(event.payload for event in events)


def test_revoked_calibration_leaves_none_in_force(ledger: Ledger) -> None:
    put(ledger)
    assert revoke(ledger).version == 1
    assert in_force(ledger) is None
    last = history(ledger)[0]
    assert (last.version, last.revoked, last.set_by, last.why) == (None, 1, "user:2", "another scanner")
    with pytest.raises(ValueError, match="no calibration of this model is in force"):
        revoke(ledger)
    assert put(ledger).version == 2
    assert_consistent(ledger)


def test_each_model_has_its_own(ledger: Ledger) -> None:
    first, other = put(ledger), put(ledger, model="n" * 64)
    assert (first.version, other.version) == (1, 1)
    with ledger.reading() as session:
        assert calibrations.every(session) == {first.model_id: first, other.model_id: other}
        assert calibrations.of_models(session, [other.model_id]) == {other.model_id: other}
        assert calibrations.of_models(session, []) == {}
    revoke(ledger)
    assert in_force(ledger) is None
    assert in_force(ledger, "n" * 64) == other


def test_change_needs_a_reason(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        put(ledger, why=" ")
    put(ledger)
    with pytest.raises(ValueError, match="needs a reason"):
        revoke(ledger, why="")


@pytest.mark.parametrize(
    ("harm", "column"),
    [
        ("UPDATE site_calibration SET slope = 1.1", "slope"),
        ("UPDATE site_calibration SET intercept = -1.250001", "intercept"),
        ("UPDATE site_calibration SET prevalence = 0.5", "prevalence"),
        ("UPDATE site_calibration SET version = 7", "version"),
        ("UPDATE site_calibration SET figures = '{}'", "figures"),
        ("UPDATE site_calibration SET cases_digest = 'd'", "cases_digest"),
        ("UPDATE site_setting SET why = 'other'", "why"),
        ("UPDATE site_setting SET value = '{\"calibration\": null}'", "value"),
        ("DELETE FROM site_setting", "row"),
        ("DELETE FROM site_calibration", "row"),
    ],
)
def test_altered_calibration_is_found(ledger: Ledger, harm: str, column: str) -> None:
    put(ledger)
    with ledger.transaction() as session:
        session.execute(text(harm))
    with ledger.reading() as session:
        assert [found.what for found in comparison.compare(session).mismatches] == [column]


def test_calibration_without_an_event_is_found(ledger: Ledger) -> None:
    put(ledger)
    with ledger.transaction() as session:
        row = session.scalars(select(SiteCalibration)).one()
        columns = {
            name: getattr(row, name) for name in ("model_id", "intercept", "slope", "prevalence", "figures")
        }
        session.add(SiteCalibration(version=2, cases_digest="d", at=AT, **columns))
    with ledger.reading() as session:
        assert comparison.compare(session).mismatches == [Mismatch("site_calibration:2", "event")]


def test_scores_and_verdicts_stay(ledger: Ledger) -> None:
    read_site(ledger, images=4)
    before = [(image(ledger, one).p_pneumonia, image(ledger, one).verdict) for one in range(1, 5)]
    put(ledger)
    revoke(ledger)
    assert [(image(ledger, one).p_pneumonia, image(ledger, one).verdict) for one in range(1, 5)] == before


def test_old_reasons_are_removed_like_those_of_thresholds(ledger: Ledger) -> None:
    put(ledger)
    revoke(ledger)
    (step,) = (step for step in retention.TEXT if step.remove.__name__ == "_remove_setting_reasons")
    at = AT + timedelta(days=2)
    with ledger.transaction() as session:
        assert retention.remove(session, step, at, after=0, limit=9, at=at)
    assert [one.why for one in history(ledger)] == ["(erased)", "(erased)"]
    with ledger.reading() as session:
        found = comparison.compare(session)
        assert not found.mismatches
        assert found.erased["site_setting.why"] == session.scalar(select(func.count(SiteSetting.id)))


def test_migration_goes_back_and_forth(ledger: Ledger) -> None:
    model_of(ledger)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with ledger.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0024")
        assert "site_calibration" not in inspect(connection).get_table_names()
        command.upgrade(config, "head")
    put(ledger)
    assert_consistent(ledger)
