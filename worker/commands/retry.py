"""`nightread retry`: put rejected or quarantined images back to pending and queue them."""

from __future__ import annotations

from collections.abc import Sequence

from worker.config import Settings
from worker.ledger import actors, leases
from worker.ledger.schema import open_ledger
from worker.ledger.session import ledger_time
from worker.ledger.states import IllegalTransition
from worker.queue.dispatch import Dispatcher


def retry_images(settings: Settings, image_ids: Sequence[int], *, why: str) -> list[str]:
    """Put the images back to pending and queue them; return a sentence for each image that cannot be retried."""
    ledger = open_ledger(settings.database)
    dispatcher = Dispatcher(settings, ledger)
    errors = []
    for image_id in image_ids:
        try:
            with ledger.transaction() as session:
                at, actor = ledger_time(session), actors.operating_system_user()
                lane = leases.retry(session, image_id, who=actor, why=why, at=at)
        except (LookupError, IllegalTransition, ValueError) as error:
            errors.append(str(error.args[0]))
        else:
            dispatcher.publish([image_id], lane)
    return errors
