"""Checks older predictions after an upgrade: would the active model crop or reject the image?

If so, the image loses its score, and `Screener` scores it like any other image. All other predictions stay. The check
runs while nothing waits to be scored.
"""

from __future__ import annotations

import time
from dataclasses import replace

import structlog

from worker.config import Settings
from worker.errors import RejectedImage, StoreAway, TransientFailure
from worker.inference.film import Box
from worker.inference.preprocess import versions_without_film
from worker.ledger import leases, rechecks
from worker.ledger.rechecks import OlderPrediction, Page, Target
from worker.ledger.rescores import CROPPED, UNCHECKED
from worker.ledger.session import Ledger, ledger_time
from worker.screening import Scorer, Screener, read_checked
from worker.store import Store

log = structlog.get_logger(__name__)

# An image that arrives waits for no more than a page.
_PAGE = 32
# Then the scoring process takes its next task; the sweeper asks again.
_LONGEST_S = 10.0


class Rechecker:
    """Checks older predictions page by page, for one process."""

    def __init__(
        self, settings: Settings, ledger: Ledger, store: Store, scorer: Scorer, screener: Screener
    ) -> None:
        """Keep what the check needs; nothing is read yet."""
        self._settings = settings
        self._ledger = ledger
        self._store = store
        self._scorer = scorer
        self._screener = screener
        preprocessing = scorer.bundle.preprocessing_version
        self._target = Target(screener.model.model_id, preprocessing, versions_without_film(preprocessing))

    def run(self) -> int:
        """Check pages until none is left, an image waits, or the time is over. Return the number of rescored images.

        Raises TransientFailure when the store or the database is out of reach.
        """
        until = time.monotonic() + min(_LONGEST_S, self._settings.lease_s / 2)
        rescored = 0
        while time.monotonic() < until and (page := self._next_page()) is not None:
            rescored += self._check(page, until)
        return rescored

    def _next_page(self) -> Page | None:
        with self._ledger.transaction(without_fsync=True) as session:
            if leases.any_unfinished(session):
                return None
            at = ledger_time(session)
            return rechecks.next_page(
                session, self._target, size=_PAGE, lease_s=self._settings.lease_s, at=at
            )

    def _check(self, page: Page, until: float) -> int:
        try:
            checked = self._reasons(page, until)
        except Exception:
            with self._ledger.transaction(without_fsync=True) as session:
                rechecks.give_back(session, self._target, page)
            raise
        if len(checked) < len(page.predictions):
            # The others are for the next page.
            page = replace(page, last_id=max(checked))
        reasons = {number: reason for number, reason in checked.items() if reason is not None}
        with self._ledger.transaction(without_fsync=not reasons) as session:
            image_ids = rechecks.finish(session, self._target, page, reasons, ledger_time(session))
        if image_ids:
            log.info("images are scored again after an upgrade", images=image_ids)
            self._screener.screen(image_ids)
        return len(image_ids)

    def _reasons(self, page: Page, until: float) -> dict[int, str | None]:
        """Check predictions until the time is over: at least one, if there is one, in the order of their ids.

        Return by id why each must be made anew; None: it stays.
        """
        if page.attempts > self._settings.max_attempts:
            # The check of this image ends its process each time. Scoring has its own way to deal with that.
            return {prediction.id: UNCHECKED for prediction in page.predictions}
        checked: dict[int, str | None] = {}
        for prediction in page.predictions:
            if checked and time.monotonic() >= until:
                break
            checked[prediction.id] = self._reason(prediction)
        return checked

    def _reason(self, prediction: OlderPrediction) -> str | None:
        try:
            data = read_checked(self._store, prediction.image_id, prediction.sha256)
        except StoreAway:
            raise
        except (TransientFailure, RejectedImage) as failure:
            log.warning(
                "an older prediction cannot be checked", image=prediction.image_id, error=str(failure)
            )
            return None
        try:
            film = self._scorer.find_film(data)
        except RejectedImage as rejected:
            return rejected.code
        return CROPPED if _corners(film) != prediction.crop else None


def _corners(film: Box | None) -> tuple[int, int, int, int] | None:
    return None if film is None else film.corners
