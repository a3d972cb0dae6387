"""A ledger with the readings of a simulated site, as in `bench.site_calibrations`."""

from __future__ import annotations

from random import Random

import numpy as np
from sqlalchemy import select

from bench.site_calibrations import INTERCEPT, SLOPE
from tests.filling import (
    fill,
    identify,
    identity,
    known_model,
    known_reader,
    later,
    lease_images,
    record,
    result,
)
from worker.ledger import actors, protocols, review
from worker.ledger.findings import Finding, Statement
from worker.ledger.predictions import ScoringModel
from worker.ledger.protocols import Protocol
from worker.ledger.session import Ledger
from worker.ledger.tables import Image


def read_site(
    ledger: Ledger,
    *,
    images: int = 260,
    seed: int = 1,
    patients: bool = False,
    drawn: float = 0.3,
    card: dict[str, object] | None = None,
) -> ScoringModel:
    """Score images and read those that are flagged, uncertain or drawn. With `patients`, two images are of each patient."""
    with ledger.transaction() as session:
        protocol = Protocol(sample_share=drawn)
        protocols.change(session, protocol, who=actors.PROGRAM, why="a test", at=later(-60))
    model = known_model(ledger, card=card)
    generator = np.random.default_rng(seed)
    log_odds = generator.normal(0, 2, images)
    scores = [float(score) for score in np.round(1 / (1 + np.exp(-log_odds)), 4)]
    truth = generator.random(images) < 1 / (1 + np.exp(-(INTERCEPT + SLOPE * log_odds)))
    ids = fill(ledger, *range(1, images + 1))
    if patients:
        for place, image_id in enumerate(ids):
            identify(ledger, image_id, identity(image_id, patient=1 + place // 2))
    lease_images(ledger, ids)
    scored = [result(image_id, score) for image_id, score in zip(ids, scores, strict=True)]
    assert record(ledger, model, scored, random=Random(seed)) == images
    with ledger.reading() as session:
        to_read = (Image.verdict != "clear") | Image.drawn_rank.is_not(None)
        waiting = set(session.scalars(select(Image.id).where(Image.id.in_(ids), to_read)))
    reader_id = known_reader(ledger)
    for image_id, has_signs in zip(ids, truth, strict=True):
        if image_id in waiting:
            said = Statement(Finding.SIGNS if has_signs else Finding.NO_SIGNS)
            with ledger.transaction() as session:
                review.decide(session, image_id, reader_id=reader_id, statement=said, at=later(60))
    return model
