"""`nightread retry`: put rejected or quarantined images back to pending and queue them."""

from __future__ import annotations

from collections.abc import Sequence

from worker.config import Settings
from worker.ledger import leases
from worker.ledger.schema import open_ledger
from worker.ledger.session import utc_now
from worker.ledger.states import IllegalTransition
from worker.queue.dispatch import Dispatcher


def retry_images(settings: Settings, image_ids: Sequence[int], *, who: str, why: str) -> list[str]:
    """Put the images back to pending and queue them; return a sentence for each image that cannot be retried."""
    ledger = open_ledger(settings.database)
    dispatcher = Dispatcher(settings, ledger)
    errors = []
    for image_id in image_ids:
        try:
            with ledger.transaction() as session:
                lane = leases.retry(session, image_id, who=who, why=why, at=utc_now())
        except (LookupError, IllegalTransition, ValueError) as error:
            errors.append(str(error.args[0]))
        else:
            dispatcher.publish([image_id], lane)
    return errors
