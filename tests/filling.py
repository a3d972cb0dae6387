"""Helpers that fill a ledger in tests with arrivals, a model, scores and readers, all at the time `AT`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from worker.card.band import is_never_clear
from worker.imagefile.identity import AgeSource, Identity
from worker.ledger import actors, identities, leases, predictions, protocols, receipts, review, tallies, users
from worker.ledger.audit import verify
from worker.ledger.comparison import compare
from worker.ledger.file_counts import FileCounts, file_counts
from worker.ledger.findings import NOT_KNOWN, Finding, Seen, Statement
from worker.ledger.predictions import ImageFacts, RejectionRecord, ScoreRecord, ScoringModel
from worker.ledger.protocols import Protocol
from worker.ledger.receipts import Arrival, RecordedArrival
from worker.ledger.roles import Role
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.states import Lane, Source
from worker.ledger.tables import Image, User
from worker.session_limits import Limits, SessionLimits

AT = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
RUN = "night-2026-03-01"
DAY = timedelta(days=1)
SESSION_LIMITS = SessionLimits(Limits(7 * DAY, DAY), Limits(DAY, DAY / 2))
NOT_AN_IMAGE = ("not_an_image", "The file is not an image.")


def later(seconds: float) -> datetime:
    """Return the time `seconds` after `AT`."""
    return AT + timedelta(seconds=seconds)


def sha256(number: int) -> str:
    """Return a different hash for each number."""
    return f"{number:064x}"


def arrived_from_the_service(session: Session, at: datetime) -> User:
    """Add Eva, a reader whom the hospital's sign-in service knows."""
    eva = identities.arrive(
        session,
        "https://id.example",
        "7",
        names=["Eva"],
        roles={Role.READER},
        limits=SESSION_LIMITS,
        at=at,
    )
    assert eva is not None
    return eva


def arrival(
    number: int, *, key: str | None = None, rejection: tuple[str, str] | None = None, name: str = ""
) -> Arrival:
    """Return the arrival of a file with the bytes of image `number`."""
    return Arrival(
        source=Source.FOLDER,
        original_name=name or f"{number}.jpg",
        key=key,
        sha256=sha256(number),
        bytes=1000 + number,
        format="jpeg",
        width=120,
        height=100,
        rejection=rejection,
    )


def identity(number: int, patient: int = 1) -> Identity:
    """Return what is known of image `number`, the only one of its study; nothing is left out."""
    return Identity(
        study_uid=f"1.2.{number}",
        series_uid=f"1.2.{number}.1",
        instance_uid=f"1.2.{number}.1.1",
        accession=f"A{number}",
        patient_key=f"{patient:a>64}",
        age_years=4.0,
        age_source=AgeSource.PATIENT_AGE,
        sex="F",
        view="PA",
        laterality="U",
        manufacturer="Agfa",
        station_class="CR",
    )


def receive(
    session: Session, *arrivals: Arrival, run: str = RUN, lane: Lane = Lane.OVERNIGHT
) -> list[RecordedArrival | None]:
    """Record arrivals in an open transaction."""
    return receipts.record(session, arrivals, run=run, lane=lane, at=AT)


def give_age(ledger: Ledger, image_id: int, age: float) -> None:
    """Record the age of an image's patient: the file arrives again, with it this time."""
    identify(ledger, image_id, Identity(age_years=age, age_source=AgeSource.FORM))


def identify(ledger: Ledger, image_id: int, known: Identity) -> None:
    """Record what is known of an image: the file arrives again, with a header this time."""
    with ledger.transaction() as session:
        row = session.get_one(Image, image_id)
        again = replace(arrival(image_id), sha256=row.sha256, identity=known)
        receive(session, again, run=row.run.name)


def fill(ledger: Ledger, *numbers: int, run: str = RUN, lane: Lane = Lane.OVERNIGHT) -> list[int]:
    """Record new files and return the ids of their images."""
    with ledger.transaction() as session:
        recorded = receive(session, *(arrival(number) for number in numbers), run=run, lane=lane)
    return [row.image_id for row in recorded if row is not None]


def known_model(
    ledger: Ledger, sha256: str = "m" * 64, card: dict[str, object] | None = None
) -> ScoringModel:
    """Register a model."""
    with ledger.transaction() as session:
        return predictions.register_model(
            session,
            sha256=sha256,
            name="nightread",
            version="0.0.1",
            card=card or {"name": "nightread"},
            point={"threshold": 0.5, "band_low": 0.4, "band_high": 0.6},
            point_name="balanced",
            at=AT,
        )


def result(
    image_id: int,
    p_pneumonia: float = 0.9,
    population: str | None = "inside",
    distance: float | None = None,
) -> ScoreRecord:
    """Return a score record of the model for an image."""
    low = 0 if is_never_clear(population, distance) else 0.4
    verdict = "flagged" if p_pneumonia >= 0.6 else "uncertain" if p_pneumonia >= low else "clear"
    return ScoreRecord(
        image_id=image_id,
        p_normal=1 - p_pneumonia,
        p_bacterial=p_pneumonia / 2,
        p_viral=p_pneumonia / 2,
        p_pneumonia=p_pneumonia,
        confidence=max(p_pneumonia, 1 - p_pneumonia),
        verdict=verdict,
        activation=bytes(4),
        map_height=2,
        map_width=2,
        compute_ms=12.5,
        facts=ImageFacts("jpeg", 512, 400),
        population=population,
        distance=distance,
    )


def lease_images(ledger: Ledger, ids: list[int], *, owner: str = "w1", at: datetime = AT) -> list[int]:
    """Lease images for a minute and return the ids of those that were pending."""
    with ledger.transaction() as session:
        return [row.id for row in leases.lease(session, ids, owner=owner, lease_s=60, at=at)]


def record(
    ledger: Ledger,
    model: ScoringModel,
    scored: list[ScoreRecord],
    refused: list[RejectionRecord] | None = None,
    *,
    owner: str = "w1",
    random: Random | None = None,
) -> int:
    """Record a worker's results and return for how many images. With `random`, images are drawn."""
    with ledger.transaction() as session:
        return predictions.record(
            session,
            owner=owner,
            model=model,
            scored=scored,
            rejected=refused or [],
            started_at=AT,
            at=later(1),
            versions={"nightread": "0"},
            random=random,
        )


def score(
    ledger: Ledger,
    ids: list[int],
    *,
    p_pneumonia: float = 0.9,
    population: str | None = "inside",
    distance: float | None = None,
    random: Random | None = None,
) -> None:
    """Lease and score images. With `random`, images are drawn."""
    lease_images(ledger, ids)
    scored = [result(i, p_pneumonia, population, distance) for i in ids]
    assert record(ledger, known_model(ledger), scored, random=random) == len(ids)


def follow(ledger: Ledger, protocol: Protocol, *, why: str = "a test") -> None:
    """Put a reading protocol in force."""
    with ledger.transaction() as session:
        protocols.change(session, protocol, who=actors.PROGRAM, why=why, at=ledger_time(session))


def drawn(ledger: Ledger, clear: int, flagged: int) -> None:
    """Score two images so that both are drawn. The protocol in force must draw every clear image."""
    lease_images(ledger, [clear, flagged])
    scored = [result(flagged), result(clear, 0.1)]
    assert record(ledger, known_model(ledger), scored, random=Random(1)) == 2


def known_reader(ledger: Ledger, name: str = "Ada") -> int:
    """Add a reader unless known, and return the id."""
    with ledger.transaction() as session:
        user = session.scalars(select(User).where(User.name == name)).one_or_none()
        return (user or users.add(session, name, {Role.READER}, actor=actors.PROGRAM, at=AT)).id


def read_twice(
    ledger: Ledger, image_id: int, first: Finding, second: Finding, seen: Seen = NOT_KNOWN
) -> None:
    """Let Ada and Ben read an image. The protocol must ask for two readers."""
    for name, finding in (("Ada", first), ("Ben", second)):
        reader_id = known_reader(ledger, name)
        with ledger.transaction() as session:
            review.decide(
                session,
                image_id,
                reader_id=reader_id,
                statement=Statement(finding),
                at=ledger_time(session),
                seen=seen,
            )


def make_patients(ledger: Ledger) -> None:
    """Make images of patients of all phantoms."""
    with ledger.transaction() as session:
        session.execute(update(Image).values(phantom=False))


def image(ledger: Ledger, image_id: int) -> Image:
    """Return an image in its present state."""
    with ledger.reading() as session:
        row = session.get(Image, image_id)
        assert row is not None
        return row


def counted(ledger: Ledger) -> FileCounts:
    """Return the present file count."""
    with ledger.reading() as session:
        return file_counts(session)


def assert_consistent(ledger: Ledger) -> FileCounts:
    """Check that all files are accounted for, the tallies are right, and the audit trail is intact and proves all rows.

    Returns the file count.
    """
    with ledger.reading() as session:
        counts, wrong_tallies, trail = file_counts(session), tallies.differences(session), verify(session)
        comparison = compare(session)
    assert counts.balanced, counts.equation
    assert wrong_tallies == 0, f"{wrong_tallies} tallies differ from a count of the rows"
    assert trail.ok, f"the audit trail is broken at event {trail.first_bad}"
    assert not comparison.mismatches, "\n".join(map(str, comparison.mismatches))
    assert not comparison.unproven, f"no event proves {comparison.unproven}"
    return counts
