"""A ledger as version 0.2.0 wrote it: schema revision 0003, and events without seals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alembic import command
from sqlalchemy import MetaData, Table, insert, text
from sqlalchemy.orm import Session

from tests.filling import AT, NOT_AN_IMAGE, RUN, sha256
from worker.ledger import audit, schema
from worker.ledger.audit import Event
from worker.ledger.session import Ledger

REVISION = "0003"
NOTE = "Doe, John: left base"
WHY = "sent again by Dr Who"


def fill_old_ledger(ledger: Ledger, hashes: Mapping[int, str] | None = None) -> None:
    """Create the tables of version 0.2.0 and add the rows and events of a small night.

    Image 1 is flagged and read, image 2 rejected, image 3 pending, image 4 clear. `hashes` has the SHA-256 of images
    whose files exist.
    """
    with ledger.transaction() as session:
        command.upgrade(schema._config(session.connection()), REVISION)
    with ledger.transaction() as session:
        _Night(session, hashes or {}).write()


def add_old_reading(ledger: Ledger, review: int, image: int, *, action: str, finding: str) -> None:
    """Add a reading by reader 1 to a ledger that is not upgraded yet, as version 0.2.0 recorded it."""
    said: dict[str, object] = {"action": action, "finding": finding}
    with ledger.transaction() as session:
        night = _Night(session, {})
        night._review(review, image, note=NOTE, **said)
        payload = {"review": review, "prediction": image, "note_sha256": audit.digest(NOTE), **said}
        night._event("read", f"image:{image}", payload, "user:1")
        night._update(image, review_state="read")


class _Night:
    """Writes rows without the columns, and events without the facts, that later versions added."""

    def __init__(self, session: Session, hashes: Mapping[int, str]) -> None:
        self._session = session
        self._hashes = hashes
        self._tables = MetaData()
        self._tables.reflect(session.connection())
        self._receipts = 0

    def write(self) -> None:
        self._insert("run", id=1, name=RUN, started_at=AT)
        self._event("run_started", "run:1", {})
        self._register_model()
        self._receive(1)
        self._score(1, 0.9, "flagged")
        self._receive(1, outcome="duplicate")
        self._receive(2, rejection=NOT_AN_IMAGE)
        self._receive(3)
        self._quarantine_and_retry(3)
        self._receive(4, received_by="Ada")
        self._score(4, 0.1, "clear")
        self._insert("user", id=1, name="Ada", created_at=AT)
        self._event("reader_added", "user:1", {}, actor="user:1")
        self._read_undo_and_read_again(1)
        if self._session.get_bind().dialect.name == "postgresql":
            # The ids above were not taken from the sequences.
            for table in (
                "run",
                "user",
                "model",
                "operating_point",
                "image",
                "receipt",
                "prediction",
                "review",
            ):
                self._session.execute(text(f"SELECT setval('{table}_id_seq', 100)"))

    def _insert(self, table: str, **row: Any) -> None:
        columns: Table = self._tables.tables[table]
        self._session.execute(insert(columns), row)

    def _event(self, kind: str, subject: str, payload: dict[str, object], actor: str = "nightread") -> None:
        audit.append(self._session, [Event(kind, actor, subject, payload)], AT)

    def _register_model(self) -> None:
        card = {"name": "nightread", "threshold": 0.5}
        named = {"sha256": "m" * 64, "name": "nightread", "version": "0.0.1"}
        self._insert("model", id=1, card=card, active_since=AT, **named)
        self._event("model_registered", "model:1", dict(named))
        point: dict[str, Any] = {"name": "balanced", "threshold": 0.5, "band_low": 0.4, "band_high": 0.6}
        self._insert("operating_point", id=1, model_id=1, set_by="bundle", why="card", set_at=AT, **point)
        self._event("operating_point_set", "operating_point:1", {"model": 1, **point})

    def _receive(
        self,
        image: int,
        *,
        outcome: str = "new",
        rejection: tuple[str, str] | None = None,
        received_by: str | None = None,
    ) -> None:
        outcome = "rejected" if rejection else outcome
        code, sentence = rejection or (None, None)
        reason = {"reason_code": code, "reason": sentence}
        file = {
            "sha256": self._hashes.get(image, sha256(image)),
            "bytes": 1000 + image,
            "original_name": f"DOE {image}.jpg",
        }
        if outcome != "duplicate":
            state = "rejected" if rejection else "pending"
            self._insert(
                "image",
                id=image, run_id=1, lane="overnight", state=state, attempts=0, phantom=False, format="jpeg",
                width=120, height=100, received_at=AT, **file, **reason,
            )  # fmt: skip
        self._receipts += 1
        self._insert(
            "receipt",
            id=self._receipts, source="folder", outcome=outcome, image_id=image, run_id=1, received_at=AT,
            received_by=received_by, **file, **reason,
        )  # fmt: skip
        payload: dict[str, object] = {"receipt": self._receipts, "outcome": outcome, "source": "folder"}
        payload |= {"sha256": file["sha256"], "bytes": file["bytes"]} | ({"reason": code} if code else {})
        self._event("received", f"image:{image}", payload, actor=received_by or "nightread")

    def _score(self, image: int, p: float, verdict: str) -> None:
        numbers = {"p_normal": 1 - p, "p_bacterial": p / 2, "p_viral": p / 2, "p_pneumonia": p}
        self._insert(
            "prediction",
            id=image, image_id=image, model_id=1, operating_point_id=1, confidence=max(p, 1 - p),
            verdict=verdict, activation=bytes(4), map_height=2, map_width=2, started_at=AT, finished_at=AT,
            compute_ms=12.5, worker="w1", versions={"nightread": "0.2.0"}, **numbers,
        )  # fmt: skip
        self._update(
            image,
            state="scored",
            verdict=verdict,
            p_pneumonia=p,
            scored_at=AT,
            compute_ms=12.5,
            review_state="unread",
            attempts=1,
        )
        payload: dict[str, object] = {"model": "m" * 64, "operating_point": 1, "verdict": verdict, **numbers}
        self._event("scored", f"image:{image}", payload)

    def _quarantine_and_retry(self, image: int) -> None:
        self._event("quarantined", f"image:{image}", {"attempts": 3, "reason": "lease_expired"})
        payload: dict[str, object] = {"from": "quarantined", "was": "lease_expired"}
        payload["why_sha256"] = audit.digest(WHY)
        self._event("retried", f"image:{image}", payload, actor="Dr Who")
        self._update(image, retry_reason=WHY)

    def _read_undo_and_read_again(self, image: int) -> None:
        subject, actor = f"image:{image}", "user:1"
        for review in (1, 3):
            reading = {"action": "confirm", "finding": "signs_of_pneumonia"}
            self._review(review, image, note=NOTE, **reading)
            payload: dict[str, object] = {
                "review": review,
                "prediction": image,
                "note_sha256": audit.digest(NOTE),
                **reading,
            }
            self._event("read", subject, payload, actor)
            if review == 1:
                self._review(2, image, action="undo", note="", undoes_id=1)
                self._event("read_undone", subject, {"review": 2, "undoes": 1}, actor)
        self._update(image, review_state="read")

    def _review(self, number: int, image: int, **row: Any) -> None:
        self._insert("review", id=number, image_id=image, prediction_id=image, user_id=1, at=AT, **row)

    def _update(self, image: int, **values: Any) -> None:
        table = self._tables.tables["image"]
        self._session.execute(table.update().where(table.c.id == image).values(**values))
