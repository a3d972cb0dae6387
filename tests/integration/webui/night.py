"""A ledger for the tests and the pictures: phantoms that are accepted and scored as in the program.

The scores are invented, since no network is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cards import a_card
from tests.ledgers import current_ledger
from worker.card.band import is_never_clear
from worker.config import Settings
from worker.errors import REJECTIONS
from worker.imagefile.parts import with_comment
from worker.inference.triage import OperatingPoint, confidence, triage
from worker.intake.accept import Accepted, Acceptor
from worker.intake.source import Candidate
from worker.keyfile import create_key_file
from worker.ledger import leases, predictions
from worker.ledger.predictions import ImageFacts, RejectionRecord, ScoreRecord
from worker.ledger.session import Ledger, utc_now
from worker.ledger.states import Lane, Outcome, Source
from worker.ledger.tables import Image
from worker.phantom import write_phantom
from worker.store import open_store

POINT = OperatingPoint("balanced", threshold=0.5, band_low=0.4, band_high=0.65)
RUN = "night-2026-11-22"
MODEL_SHA256 = "5f" * 32
# No broker runs at this address, so publishing fails at once.
NO_BROKER = "redis://127.0.0.1:9/0"
_MAP = 7
_OWNER = "test:1:worker"


@dataclass(frozen=True)
class Night:
    """Settings and the ledger of one night."""

    settings: Settings
    ledger: Ledger

    def accept(self, files: Sequence[Path], run: str = RUN, names: Sequence[str] = ()) -> list[Accepted]:
        """Accept files without removing them."""
        acceptor = Acceptor(self.settings, self.ledger, open_store(self.settings))
        candidates = [
            Candidate(path, name) for path, name in zip(files, names or [f.name for f in files], strict=True)
        ]
        return acceptor.accept(
            candidates, source=Source.IMPORT, lane=Lane.OVERNIGHT, run=run, keep_source=True
        )

    def score(
        self,
        scores: dict[int, float],
        rejected: Sequence[int] = (),
        model_sha256: str = MODEL_SHA256,
        population: str | None = None,
        distance: float | None = None,
    ) -> None:
        """Record scores of a model for pending images; the gate rejects the images in `rejected`."""
        at = utc_now()
        with self.ledger.transaction() as session:
            model = predictions.register_model(
                session,
                sha256=model_sha256,
                name="nightread",
                version="0.1.0",
                card=a_card(model_sha256),
                point={
                    "threshold": POINT.threshold,
                    "band_low": POINT.band_low,
                    "band_high": POINT.band_high,
                },
                point_name=POINT.name,
                at=at,
            )
            leases.lease(session, [*scores, *rejected], owner=_OWNER, lease_s=60, at=at)
        with self.ledger.transaction() as session:
            recorded = predictions.record(
                session,
                owner=_OWNER,
                model=model,
                scored=[
                    _scored(session.get_one(Image, image_id), p, population, distance)
                    for image_id, p in scores.items()
                ],
                rejected=[RejectionRecord(image_id, "blank", REJECTIONS["blank"]) for image_id in rejected],
                started_at=at,
                at=utc_now(),
                versions={"nightread": "0.1.0", "preprocessing": "1", "litert": "2.3.0"},
            )
        assert recorded == len(scores) + len(rejected)

    def quarantine(self, image_id: int) -> None:
        """Let a pending image fail until it is quarantined."""
        at = utc_now()
        for _ in range(self.settings.max_attempts):
            with self.ledger.transaction() as session:
                leases.lease(session, [image_id], owner=_OWNER, lease_s=60, at=at)
                leases.release(
                    session,
                    [image_id],
                    owner=_OWNER,
                    code="scoring_failed",
                    reason="The worker ran out of memory.",
                    max_attempts=self.settings.max_attempts,
                    at=at,
                )


# So that nights can share drawings, which are marked as phantoms.
_PHANTOM_KEY = b"one key for the tests of the web"


def open_night(data: Path, **settings: object) -> Night:
    """Open the ledger in the folder `data`, or the one that `database_url` names; create it if there is none."""
    chosen = Settings(data=data, **{"broker_url": NO_BROKER, **settings})  # type: ignore[arg-type]
    create_key_file(chosen.phantom_key_path, _PHANTOM_KEY)
    return Night(chosen, current_ledger(chosen.database))


def phantoms(folder: Path, seeds: Sequence[int], width: int = 320) -> list[Path]:
    """Draw a phantom for each seed into `folder`, unless another test has drawn it."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"phantom-{seed:03d}.jpg" for seed in seeds]
    for path, seed in zip(paths, seeds, strict=True):
        if not path.exists():
            write_phantom(path, seed, width=width, key=_PHANTOM_KEY)
    return paths


def copies(folder: Path, count: int) -> list[Path]:
    """Write one phantom `count` times, each time with another comment, so that each file is another image."""
    (original,) = phantoms(folder, [99], 96)
    paths = [folder / f"copy-{number:03d}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(with_comment(original.read_bytes(), f"copy {number}"))
    return paths


def scored_night(
    data: Path, probabilities: Sequence[float], phantom_folder: Path, width: int = 320, **settings: object
) -> Night:
    """Create a ledger of phantoms. Image n, from 1, has the n-th score."""
    night = open_night(data, **settings)
    accepted = night.accept(phantoms(phantom_folder, range(len(probabilities)), width))
    assert all(item.outcome is Outcome.NEW for item in accepted)
    night.score({item.image_id: p for item, p in zip(accepted, probabilities, strict=True)})
    return night


def _scored(image: Image, p: float, population: str | None, distance: float | None) -> ScoreRecord:
    bacterial = p * 0.7
    return ScoreRecord(
        image_id=image.id,
        p_normal=1 - p,
        p_bacterial=bacterial,
        p_viral=p - bacterial,
        p_pneumonia=p,
        confidence=confidence(p),
        verdict=triage(p, POINT, never_clear=is_never_clear(population, distance)).value,
        activation=_blob(image.id, p),
        map_height=_MAP,
        map_width=_MAP,
        compute_ms=11.5,
        facts=ImageFacts(image.format or "jpeg", image.width or 0, image.height or 0),
        population=population,
        distance=distance,
    )


def _blob(image_id: int, p: float) -> bytes:
    """Return an activation map with one spot, as strong as the score."""
    row, column = 3.7, 1.9 + 2.2 * (image_id % 2)
    distances = (math.hypot(y - row, x - column) for y in range(_MAP) for x in range(_MAP))
    return bytes(round(255 * p * math.exp(-(d * d) / 2)) for d in distances)
