"""A site with two models for tests and pictures: a worker has both bundles, and both have scored images that people read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select, update

from tests.cards import a_card
from tests.filling import known_reader
from worker.ledger import bundles, review, shadows
from worker.ledger.bundles import FoundBundle
from worker.ledger.findings import Finding, Statement
from worker.ledger.heartbeats import WORKER
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.shadows import ShadowRecord
from worker.ledger.states import ReviewState
from worker.ledger.tables import Image, Model, Process

CANDIDATE = "c4" * 32


def candidate_bundle(problem: str | None = None, sha256: str = CANDIDATE) -> FoundBundle:
    """Return the bundle of a second model, with the card of the tests."""
    card = {**a_card(sha256), "version": "0.3.0"}
    return FoundBundle("/models/nightread-0.3.0", "nightread", "0.3.0", sha256, card, problem)


def bundle_of(ledger: Ledger, sha256: str) -> FoundBundle:
    """Return the bundle of a registered model."""
    with ledger.reading() as session:
        model = session.scalars(select(Model).where(Model.sha256 == sha256)).one()
        return FoundBundle("/models/shipped", model.name, model.version, sha256, model.card)


def run_worker(ledger: Ledger, *found: FoundBundle, host: str = "ward-7") -> None:
    """Record the heartbeat of a worker, and which bundles it has."""
    with ledger.transaction() as session:
        at = ledger_time(session)
        session.add(
            Process(name=WORKER, host=host, pid=1, started_at=at, beat_at=at, period_s=1e6, trouble=None)
        )
        session.flush()
        bundles.report(session, host, found, at)


def shadow_scores(ledger: Ledger, scores: Mapping[int, float], rejected: Sequence[int] = ()) -> None:
    """Record what the candidate says about images, as a worker does."""
    with ledger.transaction() as session:
        at = ledger_time(session)
        bundle = candidate_bundle()
        assert bundle.sha256 is not None
        model = bundles.register(session, bundle, at)
        if shadows.in_force(session) is None:
            shadows.change(session, model, who="os:0", why="a trial", at=at)
        page = shadows.Page(model.id, [], 1)
        results = [ShadowRecord(number, "scored", 1 - p, p / 2, p / 2, p) for number, p in scores.items()]
        results += [ShadowRecord(number, "blank") for number in rejected]
        assert shadows.finish(session, page, results, {"nightread": "1"}, at) == len(results)


def read_images(ledger: Ledger, findings: Mapping[int, Finding], drawn: Sequence[int] = ()) -> None:
    """Have a person read images. Clear images must be among the `drawn` ones."""
    reader = known_reader(ledger)
    with ledger.transaction() as session:
        values = {"review_state": ReviewState.DRAWN, "drawn_rank": 0.5}
        session.execute(update(Image).where(Image.id.in_(drawn)).values(**values))
    for number, finding in findings.items():
        with ledger.transaction() as session:
            review.decide(
                session, number, reader_id=reader, statement=Statement(finding), at=ledger_time(session)
            )
