"""The file count stays balanced under every change, in any order and concurrently."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from tests.filling import (
    NOT_AN_IMAGE,
    arrival,
    assert_consistent,
    fill,
    known_model,
    later,
    lease_images,
    receive,
    result,
)
from worker.ledger import leases, predictions, rescores
from worker.ledger.predictions import RejectionRecord, ScoringModel
from worker.ledger.receipts import Arrival
from worker.ledger.rescores import CROPPED
from worker.ledger.session import Ledger
from worker.ledger.states import IllegalTransition
from worker.ledger.tables import Prediction


class Night:
    """A random walk over everything that changes an image, with its own count of the files."""

    def __init__(self, ledger: Ledger, seed: int, label: str = "") -> None:
        self.ledger, self.random = ledger, random.Random(seed)
        self.models: list[ScoringModel] = [known_model(ledger), known_model(ledger, "n" * 64)]
        self.now = 0.0
        self.keys: set[str] = set()
        self.ids: set[int] = set()
        self.label = label
        self.held: dict[str, list[int]] = {f"{label}worker {number}": [] for number in range(3)}

    def step(self) -> None:
        self.now += self.random.uniform(0, 20)
        acts = (self.arrive, self.arrive, self.lease, self.lease, self.record, self.release)
        self.random.choice((*acts, self.expire, self.retry, self.rescore, self.mark))()

    def arrive(self) -> None:
        group = [self.a_file() for _ in range(self.random.randint(1, 4))]
        with self.ledger.transaction() as session:
            recorded = receive(session, *group, run=self.random.choice(["one", "two"]))
        for file, row in zip(group, recorded, strict=True):
            assert file.key is not None
            assert (row is None) == (file.key in self.keys)
            self.keys.add(file.key)
            self.ids |= {row.image_id} if row else set()

    def a_file(self) -> Arrival:
        rejection = NOT_AN_IMAGE if self.random.random() < 0.2 else None
        return arrival(
            self.random.randrange(40), key=f"{self.label}{self.random.randrange(400)}", rejection=rejection
        )

    def some(self) -> list[int]:
        return self.random.sample(sorted(self.ids), min(len(self.ids), self.random.randint(1, 6)))

    def lease(self) -> None:
        worker = self.random.choice(list(self.held))
        taken = lease_images(self.ledger, self.some(), owner=worker, at=later(self.now))
        # An image of an expired lease that is leased again counts once: a real owner is one chunk and never returns.
        self.held[worker] = [*dict.fromkeys(self.held[worker] + taken)]

    def record(self) -> None:
        worker = self.random.choice(list(self.held))
        ids, self.held[worker] = self.held[worker], []
        scored = [result(i, self.random.random()) for i in ids if i % 5]
        refused = [RejectionRecord(i, "blank", "Nothing.") for i in ids if not i % 5]
        with self.ledger.transaction() as session:
            predictions.record(
                session,
                owner=worker,
                model=self.random.choice(self.models),
                scored=scored,
                rejected=refused,
                started_at=later(self.now),
                at=later(self.now),
                versions={},
            )

    def release(self) -> None:
        worker = self.random.choice(list(self.held))
        ids, self.held[worker] = self.held[worker], []
        with self.ledger.transaction() as session:
            leases.release(
                session, ids, owner=worker, code="x", reason="Bad luck.", max_attempts=3, at=later(self.now)
            )

    def mark(self) -> None:
        with self.ledger.transaction() as session:
            leases.mark_queued(session, self.some(), later(self.now))

    def expire(self) -> None:
        with self.ledger.transaction() as session:
            many = self.random.randint(1, 9)
            leases.expire(session, lease_s=60, max_attempts=3, at=later(self.now), limit=many)

    def rescore(self) -> None:
        with self.ledger.transaction() as session:
            of_some = select(Prediction.id).where(Prediction.image_id.in_(self.some()))
            reasons = dict.fromkeys(session.scalars(of_some), CROPPED)
            rescores.rescore(session, reasons, later(self.now))

    def retry(self) -> None:
        for image_id in self.some():
            try:
                with self.ledger.transaction() as session:
                    leases.retry(session, image_id, who="user:1", why="again", at=later(self.now))
            except IllegalTransition:
                continue


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_file_count_is_balanced_after_any_sequence_of_changes(ledger: Ledger, seed: int) -> None:
    night = Night(ledger, seed)
    for number in range(200):
        night.step()
        if number % 20 == 0:
            assert_consistent(ledger)
    counts = assert_consistent(ledger)
    assert (counts.received, counts.images) == (len(night.keys), len(night.ids))
    assert min(counts.scored, counts.rejected, counts.quarantined, counts.pending) > 0, (
        "the walk reached every state"
    )


@pytest.mark.slow
def test_file_count_and_audit_trail_hold_during_concurrent_writes(ledger: Ledger) -> None:
    def arrive(thread: int) -> None:
        for number in range(60):
            fill(ledger, 1_000 * thread + number, number % 7)

    with ThreadPoolExecutor(2) as threads:
        writers = [threads.submit(arrive, thread) for thread in (1, 2)]
        while not all(writer.done() for writer in writers):
            assert_consistent(ledger)
        for writer in writers:
            writer.result()
    assert assert_consistent(ledger).received == 2 * 60 * 2


@pytest.mark.slow
def test_concurrent_changes_of_every_kind_do_not_deadlock(ledger: Ledger) -> None:
    nights = [Night(ledger, seed, label=f"thread {seed}, ") for seed in range(4)]

    def live(night: Night) -> None:
        for _ in range(40):
            night.step()

    with ThreadPoolExecutor(len(nights)) as threads:
        list(threads.map(live, nights))
    counts = assert_consistent(ledger)
    assert counts.received == len(set.union(*(night.keys for night in nights)))
    assert counts.images == len(set.union(*(night.ids for night in nights)))
