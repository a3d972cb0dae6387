"""Studies and instances: what is known of an image beside its file, and which images belong together.

The audit trail holds seals of what leads to a patient, also of the number of the study: who reads only the trail cannot
tell which images belong to one patient.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from worker.imagefile.identity import Identity
from worker.ledger import actors, audit
from worker.ledger.seals import new_salt, sealed_value
from worker.ledger.session import update_rows
from worker.ledger.tables import Instance, Study

# The columns that an erasure clears. In the trail they are sealed, but for the plain ones.
STUDY_COLUMNS = ("study_uid", "accession", "patient_key", "age_years", "age_source", "sex")
INSTANCE_COLUMNS = ("series_uid", "instance_uid", "view", "laterality", "manufacturer", "station_class")
# What a list of images says of a patient.
PATIENT_COLUMNS = ("age_years", "age_source", "sex", "view")
PLAIN = ("age_source", "view", "laterality", "manufacturer", "station_class")
# The numbers by which other systems find a patient. They go with the names of files: see `worker.ledger.retention`.
STUDY_NUMBERS = ("study_uid", "accession")
INSTANCE_NUMBERS = ("series_uid", "instance_uid")

Row = dict[str, Any]


@dataclass
class Added:
    """What `add` recorded: the facts for the event of each image, by its id, and the events of new studies."""

    details: dict[int, Row] = field(default_factory=dict)
    events: list[audit.Event] = field(default_factory=list)


def add(session: Session, identities: Mapping[int, Identity], at: datetime) -> Added:
    """Record what is known of images, unless something is known of them already.

    Args:
        session: of a transaction that has locked the chain.
        identities: by the id of the image.
        at: when they arrived.
    """
    known = select(Instance.image_id).where(Instance.image_id.in_(identities))
    image_ids = sorted(identities.keys() - set(session.scalars(known)))
    if not image_ids:
        return Added()
    of_studies = [_study_row(identities[i]) for i in image_ids]
    study_ids, events = _studies(session, of_studies, at)
    rows = [
        {"image_id": i, "study_id": study_id, "salt": new_salt(), **_columns(identities[i], INSTANCE_COLUMNS)}
        for i, study_id in zip(image_ids, study_ids, strict=True)
    ]
    added = session.scalars(insert(Instance).returning(Instance.id, sort_by_parameter_order=True), rows).all()
    facts = (
        {"instance": instance_id, **event_facts(row, ("study_id", *INSTANCE_COLUMNS))}
        for instance_id, row in zip(added, rows, strict=True)
    )
    return Added(dict(zip(image_ids, facts, strict=True)), events)


def identities(session: Session, image_ids: Collection[int]) -> dict[int, Identity]:
    """Return what is known of images, by id; an image of which nothing is known is left out."""
    chosen = select(Instance, Study).outerjoin(Study, Study.id == Instance.study_id)
    rows = session.execute(chosen.where(Instance.image_id.in_(image_ids)))
    return {
        instance.image_id: Identity(
            **_columns(instance, INSTANCE_COLUMNS), **(_columns(study, STUDY_COLUMNS) if study else {})
        )
        for instance, study in rows
    }


def patients(session: Session, image_ids: Collection[int]) -> dict[int, Any]:
    """Return what is known of the patients of images: rows with `PATIENT_COLUMNS`, by the id of the image."""
    known = select(Instance.image_id, Study.age_years, Study.age_source, Study.sex, Instance.view)
    rows = session.execute(known.outerjoin(Instance.study).where(Instance.image_id.in_(image_ids)))
    return {row.image_id: row for row in rows}


def known_columns(session: Session, image_ids: Collection[int]) -> dict[int, list[str]]:
    """Return the names of what is known of images, by id; an image of which nothing is known is left out."""
    known = {image_id: vars(found) for image_id, found in identities(session, image_ids).items()}
    return {
        image_id: [name for name, value in values.items() if value is not None]
        for image_id, values in known.items()
    }


def patient_keys(session: Session, image_ids: Collection[int]) -> dict[int, str]:
    """Return the patient keys of images, by id; an image without one is left out."""
    keys = select(Instance.image_id, Study.patient_key).join(Study, Study.id == Instance.study_id)
    rows = session.execute(keys.where(Instance.image_id.in_(image_ids)))
    return {image_id: patient_key for image_id, patient_key in rows if patient_key is not None}


def with_same_patient(session: Session, image_ids: Collection[int]) -> list[int]:
    """Return these images and all others with the patient key of one of them, sorted."""
    keys = set(patient_keys(session, image_ids).values())
    others = select(Instance.image_id).join(Study, Study.id == Instance.study_id)
    return sorted({*image_ids, *session.scalars(others.where(Study.patient_key.in_(keys)))})


def erase(session: Session, image_ids: Collection[int], who: str) -> list[audit.Event]:
    """Clear what is known of images, and of studies that are left without an image. Return the events of these.

    `session` is of a transaction that has locked the chain.
    """
    of_images = Instance.image_id.in_(image_ids)
    study_ids = set(
        session.scalars(select(Study.id).join(Instance, Instance.study_id == Study.id).where(of_images))
    )
    update_rows(session, Instance, of_images, study_id=None, salt=None, **dict.fromkeys(INSTANCE_COLUMNS))
    in_use = set(session.scalars(select(Instance.study_id).where(Instance.study_id.in_(study_ids))))
    empty = sorted(study_ids - in_use)
    update_rows(session, Study, Study.id.in_(empty), salt=None, **dict.fromkeys(STUDY_COLUMNS))
    return [audit.Event("study_erased", who, f"study:{study_id}", {}) for study_id in empty]


def remove_numbers_of_images(session: Session, image_ids: Sequence[int]) -> list[audit.Event]:
    """Remove UIDs from instances and return the events. What stays is sealed anew, under a salt of its own.

    With the old salt, which is gone, nobody can check a guess of the number against the trail.
    """
    rows = session.scalars(
        select(Instance).where(Instance.image_id.in_(image_ids)).order_by(Instance.image_id)
    )
    return [
        audit.Event(
            "numbers_erased",
            actors.PROGRAM,
            f"image:{row.image_id}",
            {"instance": row.id, **_without(row, ("study_id", *INSTANCE_COLUMNS), INSTANCE_NUMBERS)},
        )
        for row in rows
    ]


def remove_numbers_of_studies(session: Session, study_ids: Sequence[int]) -> list[audit.Event]:
    """Remove UID and accession number from studies and return the events, like `remove_numbers_of_images`."""
    rows = session.scalars(select(Study).where(Study.id.in_(study_ids)).order_by(Study.id))
    return [
        audit.Event(
            "study_numbers_erased",
            actors.PROGRAM,
            f"study:{row.id}",
            _without(row, STUDY_COLUMNS, STUDY_NUMBERS),
        )
        for row in rows
    ]


def event_facts(row: Mapping[str, Any], names: Sequence[str]) -> Row:
    """Return what an event holds of these columns of a row, which has a salt: seals, and the plain values."""
    return {
        **{f"{name}_seal": sealed_value(row["salt"], row[name]) for name in names if name not in PLAIN},
        **{name: row[name] for name in names if name in PLAIN},
    }


def _study_row(identity: Identity) -> Row:
    """Return the columns of a study. The age is a float, as the database returns it: the seal holds its text."""
    age = identity.age_years
    return _columns(identity, STUDY_COLUMNS) | {"age_years": None if age is None else float(age)}


def _studies(session: Session, rows: Sequence[Row], at: datetime) -> tuple[list[int], list[audit.Event]]:
    """Return the id of the study of each row, and the events of the studies that were added."""
    # A file without a study UID has a study of its own.
    keys = [tuple(row.values()) if row["study_uid"] else number for number, row in enumerate(rows)]
    ids = _known_studies(session, {row["study_uid"] for row in rows} - {None})
    missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in ids}
    new = [row | {"salt": new_salt(), "added_at": at} for row in missing.values()]
    if new:
        statement = insert(Study).returning(Study.id, sort_by_parameter_order=True)
        ids |= dict(zip(missing, session.scalars(statement, new).all(), strict=True))
    events = [
        audit.Event("study_added", actors.PROGRAM, f"study:{ids[key]}", event_facts(row, STUDY_COLUMNS))
        for key, row in zip(missing, new, strict=True)
    ]
    return [ids[key] for key in keys], events


def _known_studies(session: Session, uids: Collection[str]) -> dict[object, int]:
    """Return the ids of the studies with these UIDs, by all that is known of them."""
    studies = session.scalars(select(Study).where(Study.study_uid.in_(uids)).order_by(Study.id.desc()))
    return {tuple(_columns(study, STUDY_COLUMNS).values()): study.id for study in studies}


def _columns(known: object, names: Iterable[str]) -> Row:
    return {name: getattr(known, name) for name in names}


def _without(row: Study | Instance, names: Sequence[str], numbers: Collection[str]) -> Row:
    """Remove numbers from a row, give it a new salt, and return what an event holds of all columns."""
    row.salt = new_salt()
    for number in numbers:
        setattr(row, number, None)
    return event_facts(_columns(row, ("salt", *names)), names)
