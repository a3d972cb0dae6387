"""worker.ledger.studies: what is known of images is recorded once, proven, erased, and leads to no patient in the trail."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from sqlalchemy import select, text

from tests.filling import AT, NOT_AN_IMAGE, arrival, assert_consistent, identity, later, receive, score
from worker.imagefile.identity import AgeSource, Identity
from worker.ledger import erasures, retention, studies
from worker.ledger.receipts import Arrival
from worker.ledger.retention import Step
from worker.ledger.session import Ledger
from worker.ledger.tables import AuditEvent, Instance, Study


def known(number: int, **changes: object) -> Arrival:
    """Return the arrival of image `number` with its identity."""
    return replace(arrival(number), identity=replace(identity(number), **changes))  # type: ignore[arg-type]


def arrive(ledger: Ledger, *arrivals: Arrival) -> None:
    with ledger.transaction() as session:
        receive(session, *arrivals)


def identities(ledger: Ledger, *image_ids: int) -> dict[int, Identity]:
    with ledger.reading() as session:
        return studies.identities(session, image_ids)


def study_rows(ledger: Ledger) -> list[Study]:
    with ledger.reading() as session:
        return list(session.scalars(select(Study).order_by(Study.id)))


def everything(ledger: Ledger) -> str:
    with ledger.reading() as session:
        return repr([session.execute(select(table.__table__)).all() for table in (Study, Instance)])


def erase(ledger: Ledger, *image_ids: int) -> None:
    with ledger.transaction() as session:
        erasures.erase(session, image_ids, who="os:1", why="asked for", at=later(60))


def test_identity_is_recorded_with_the_receipt(ledger: Ledger) -> None:
    arrive(ledger, known(1), arrival(2))
    assert identities(ledger, 1, 2) == {1: identity(1)}
    assert_consistent(ledger)


def test_nothing_known_makes_no_row(ledger: Ledger) -> None:
    arrive(ledger, replace(arrival(1), identity=Identity()))
    assert identities(ledger, 1) == {}
    assert study_rows(ledger) == []


def test_age_of_a_file_without_uids_has_a_study_of_its_own(ledger: Ledger) -> None:
    age = Identity(age_years=4.0, age_source=AgeSource.FORM)
    arrive(ledger, *(replace(arrival(number), identity=age) for number in (1, 2)))
    assert identities(ledger, 1, 2) == {1: age, 2: age}
    assert len(study_rows(ledger)) == 2


def test_whole_number_of_years_is_proven(ledger: Ledger) -> None:
    arrive(ledger, known(1, age_years=40))
    assert_consistent(ledger)


def test_images_of_one_study_share_a_row(ledger: Ledger) -> None:
    arrive(ledger, known(1, study_uid="1.9"), known(2, study_uid="1.9", accession="A1"))
    arrive(ledger, known(3, study_uid="1.9", accession="A1"))
    assert len(study_rows(ledger)) == 1
    assert_consistent(ledger)


def test_object_that_contradicts_its_study_keeps_what_it_says(ledger: Ledger) -> None:
    same = {"study_uid": "1.9", "accession": "A1"}
    arrive(ledger, known(1, **same), known(2, **same, age_years=40.0), known(3, **same, patient_key="f" * 64))
    assert [identities(ledger, i)[i].age_years for i in (1, 2, 3)] == [4.0, 40.0, 4.0]
    assert identities(ledger, 3)[3].patient_key == "f" * 64
    assert len(study_rows(ledger)) == 3


@pytest.mark.parametrize("together", [True, False])
def test_duplicate_keeps_the_first_identity(ledger: Ledger, *, together: bool) -> None:
    first, again = known(1), known(1, age_years=40.0)
    if together:
        arrive(ledger, first, again)
    else:
        arrive(ledger, first)
        arrive(ledger, again)
    assert identities(ledger, 1) == {1: identity(1)}
    assert len(study_rows(ledger)) == 1
    assert_consistent(ledger)


def test_duplicate_brings_the_first_identity_of_an_image(ledger: Ledger) -> None:
    arrive(ledger, arrival(1))
    arrive(ledger, known(1))
    assert identities(ledger, 1) == {1: identity(1)}
    assert_consistent(ledger)


def test_rejected_file_keeps_its_identity(ledger: Ledger) -> None:
    """An erasure of the patient reaches it, too."""
    arrive(ledger, replace(known(1), rejection=NOT_AN_IMAGE))
    assert identities(ledger, 1) == {1: identity(1)}


def test_trail_holds_nothing_that_leads_to_a_patient(ledger: Ledger) -> None:
    arrive(ledger, known(1), known(2, study_uid="1.2.1", accession="A1"))
    with ledger.reading() as session:
        payloads = "\n".join(session.scalars(select(AuditEvent.payload)))
    values = asdict(identity(1))
    sealed = {name: value for name, value in values.items() if name not in studies.PLAIN}
    assert not [
        name for name, value in sealed.items() if f'"{value}"' in payloads or f":{value}," in payloads
    ]
    assert '"study_id"' not in payloads
    assert '"manufacturer":"Agfa"' in payloads


def test_images_of_the_same_patient_are_found(ledger: Ledger) -> None:
    arrive(ledger, known(1), known(2, patient_key=None), known(3), known(4, patient_key="f" * 64), arrival(5))
    with ledger.reading() as session:
        assert studies.with_same_patient(session, [3]) == [1, 3]
        assert studies.with_same_patient(session, [2, 4, 5]) == [2, 4, 5]
        assert studies.patient_keys(session, [1, 2, 4, 5]) == {1: identity(1).patient_key, 4: "f" * 64}


def test_erased_image_leaves_its_study_to_the_others(ledger: Ledger) -> None:
    arrive(ledger, known(1, study_uid="1.9", accession="A1"), known(2, study_uid="1.9", accession="A1"))
    erase(ledger, 1)
    assert identities(ledger, 1) == {1: Identity()}
    assert identities(ledger, 2) == {2: replace(identity(2), study_uid="1.9", accession="A1")}
    assert_consistent(ledger)


def test_study_without_an_image_is_erased(ledger: Ledger) -> None:
    arrive(ledger, known(1, study_uid="1.9", accession="A1"), known(2, study_uid="1.9", accession="A1"))
    erase(ledger, 1)
    erase(ledger, 2)
    left = everything(ledger)
    for value in (*asdict(identity(1)).values(), *asdict(identity(2)).values(), "1.9"):
        assert f"'{value}'" not in left
    (study,) = study_rows(ledger)
    assert (study.age_years, study.sex, study.patient_key, study.salt) == (None, None, None, None)
    assert_consistent(ledger)


def test_erased_image_gets_no_identity_again(ledger: Ledger) -> None:
    arrive(ledger, known(1))
    erase(ledger, 1)
    arrive(ledger, known(1))
    assert identities(ledger, 1) == {1: Identity()}
    assert len(study_rows(ledger)) == 1
    assert_consistent(ledger)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE study SET patient_key = 'k' WHERE id = 1",
        "UPDATE study SET age_years = 4 WHERE id = 1",
        "UPDATE instance SET study_id = 1 WHERE id = 1",
        "UPDATE instance SET view = 'PA' WHERE id = 1",
    ],
)
def test_value_that_is_back_after_the_erasure_is_named(ledger: Ledger, statement: str) -> None:
    arrive(ledger, known(1))
    erase(ledger, 1)
    with ledger.transaction() as session:
        session.execute(text(statement))
    with pytest.raises(AssertionError, match=r"is not what the audit trail recorded|audit trail says"):
        assert_consistent(ledger)


def remove_names(ledger: Ledger, seconds: float) -> None:
    """Do what the retention of names does with what arrived before a time."""
    for step in retention.NAMES:
        _remove(ledger, step, seconds)


def _remove(ledger: Ledger, step: Step, seconds: float) -> None:
    last = 0
    while True:
        with ledger.transaction() as session:
            last = retention.remove(session, step, later(seconds), after=last, limit=1, at=later(seconds))
        if not last:
            return


def test_numbers_go_with_the_names(ledger: Ledger) -> None:
    """The patient key stays, so that an erasure reaches all images of the patient."""
    arrive(ledger, known(1), known(2))
    score(ledger, [1, 2], p_pneumonia=0.1)
    remove_names(ledger, 60)
    kept = replace(identity(1), study_uid=None, accession=None, series_uid=None, instance_uid=None)
    assert identities(ledger, 1, 2) == {1: kept, 2: kept}
    assert_consistent(ledger)
    remove_names(ledger, 60)
    assert_consistent(ledger)
    erase(ledger, 1)
    assert_consistent(ledger)


def salts(ledger: Ledger) -> set[str | None]:
    with ledger.reading() as session:
        return set(session.scalars(select(Study.salt))) | set(session.scalars(select(Instance.salt)))


def test_salt_of_removed_numbers_is_gone(ledger: Ledger) -> None:
    """With it, somebody could compare a guess of the number with the seal in the trail."""
    arrive(ledger, known(1))
    score(ledger, [1], p_pneumonia=0.1)
    before = salts(ledger)
    remove_names(ledger, 60)
    assert not before & salts(ledger)


def test_numbers_stay_while_an_image_of_the_study_waits(ledger: Ledger) -> None:
    shared = {"study_uid": "1.9", "accession": "A1"}
    arrive(ledger, known(1, **shared), known(2, **shared))
    score(ledger, [1], p_pneumonia=0.1)
    remove_names(ledger, 60)
    assert identities(ledger, 1)[1].instance_uid is None
    assert identities(ledger, 1)[1].study_uid == "1.9"
    assert identities(ledger, 2)[2].instance_uid == "1.2.2.1.1"


def test_numbers_stay_until_their_time_is_over(ledger: Ledger) -> None:
    arrive(ledger, known(1))
    score(ledger, [1], p_pneumonia=0.1)
    remove_names(ledger, -60)
    assert identities(ledger, 1) == {1: identity(1)}


def test_study_was_added_when_its_file_arrived(ledger: Ledger) -> None:
    arrive(ledger, known(1))
    assert study_rows(ledger)[0].added_at == AT
