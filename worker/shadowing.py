"""Shadow scoring: a candidate scores images in the background, while nothing waits to be scored.

What it says is recorded apart (`worker.ledger.shadows`) and changes nothing that a reader sees.
"""

from __future__ import annotations

import time
from dataclasses import replace

import structlog

from worker.catalogue import open_scorer_of
from worker.config import Settings
from worker.errors import ModelUnusable, RejectedImage, StoreAway, TransientFailure
from worker.imagefile.limits import limits_of
from worker.ledger import leases, shadows
from worker.ledger.leases import LeasedImage
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.shadows import SCORED, UNCHECKED, Page, ShadowRecord
from worker.screening import Prepared, Scorer, ScoringResult, population_check, read_checked
from worker.store import Store

log = structlog.get_logger(__name__)

# An image that arrives waits for no more than a page.
_PAGE = 16
# Then the scoring process takes its next task; the sweeper asks again.
_LONGEST_S = 10.0
# The image store cannot read this file now. It is looked at once.
_UNREADABLE = "unreadable"


class Shadower:
    """Scores pages of images with the candidate, for one process. The candidate is loaded when it is needed."""

    def __init__(self, settings: Settings, ledger: Ledger, store: Store) -> None:
        """Keep what the work needs; nothing is read yet."""
        self._settings = settings
        self._ledger = ledger
        self._store = store
        self._limits = limits_of(settings)
        self._scorer: Scorer | None = None

    def run(self) -> int:
        """Score pages until none is left, an image waits, or the time is over. Return the number of recorded images.

        Raises TransientFailure when the store or the database is out of reach.
        """
        until = time.monotonic() + min(_LONGEST_S, self._settings.lease_s / 2)
        recorded = 0
        while time.monotonic() < until and (scorer := self._candidate()) is not None:
            page = self._next_page()
            if page is None:
                break
            recorded += self._score(scorer, page, until)
        return recorded

    def _candidate(self) -> Scorer | None:
        """Return the loaded candidate; None if there is none, or if this machine cannot use it."""
        with self._ledger.reading() as session:
            shadow = shadows.in_force(session)
        if shadow is None:
            self._scorer = None
        elif self._scorer is None or self._scorer.bundle.sha256 != shadow.model_sha256:
            try:
                self._scorer = open_scorer_of(self._settings, shadow.model_sha256)
            except ModelUnusable as unusable:
                log.warning("this machine cannot score with the candidate", error=str(unusable))
                return None
        return self._scorer

    def _next_page(self) -> Page | None:
        with self._ledger.transaction(without_fsync=True) as session:
            if leases.any_unfinished(session):
                return None
            return shadows.next_page(
                session, size=_PAGE, lease_s=self._settings.lease_s, at=ledger_time(session)
            )

    def _score(self, scorer: Scorer, page: Page, until: float) -> int:
        try:
            results = self._results(scorer, page, until)
        except Exception:
            with self._ledger.transaction(without_fsync=True) as session:
                shadows.give_back(session, page)
            raise
        with self._ledger.transaction() as session:
            recorded = shadows.finish(session, page, results, scorer.versions, ledger_time(session))
        log.info("the candidate scored images", model=scorer.bundle.sha256, images=recorded)
        return recorded

    def _results(self, scorer: Scorer, page: Page, until: float) -> list[ShadowRecord]:
        """Return what the candidate says about the images that are begun before the time is over: at least one."""
        if page.attempts > self._settings.max_attempts:
            # An image of this page ends its process each time. Pages are small by now.
            return [ShadowRecord(image.id, UNCHECKED) for image in page.images]
        ready: list[tuple[LeasedImage, Prepared]] = []
        results = []
        for number, image in enumerate(page.images):
            # The others are for a later page.
            if number and time.monotonic() >= until:
                break
            try:
                ready.append((image, self._prepare(scorer, image)))
            except RejectedImage as rejected:
                results.append(ShadowRecord(image.id, rejected.code))
            except StoreAway:
                raise
            except TransientFailure as failure:
                log.warning("the candidate cannot read an image", image=image.id, error=str(failure))
                results.append(ShadowRecord(image.id, _UNREADABLE))
        scores = scorer.score([prepared for _, prepared in ready])
        return results + [
            _record(image.id, prepared, score) for (image, prepared), score in zip(ready, scores, strict=True)
        ]

    def _prepare(self, scorer: Scorer, image: LeasedImage) -> Prepared:
        population = population_check(self._settings, scorer.bundle).check(image.age_years)
        data = read_checked(self._store, image.id, image.sha256)
        return replace(scorer.prepare(data, self._limits), population=population)


def _record(image_id: int, prepared: Prepared, score: ScoringResult) -> ShadowRecord:
    return ShadowRecord(
        image_id,
        SCORED,
        score.p_normal,
        score.p_bacterial,
        score.p_viral,
        score.p_pneumonia,
        cropped=prepared.admitted.crop is not None,
        population=prepared.population,
        distance=score.distance,
    )
