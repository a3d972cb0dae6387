"""The canary: a drawn image that is sent through the whole program at intervals, to test every part.

The picture is always the same, but the bytes of the file differ, so that it is never a duplicate. The image is
marked as a phantom, belongs to a run of its own, and is clear whatever its score, so that nobody has to read it.
`worker.ledger.canary` reads the result.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path

from worker.config import Settings
from worker.errors import TransientFailure
from worker.imagefile.parts import with_comment
from worker.imagefile.phantom_mark import add_mark
from worker.intake.accept import Acceptor
from worker.intake.source import Candidate
from worker.intake.watcher import Enqueue
from worker.keyfile import secret_key
from worker.ledger.canary import RUN, last_sent
from worker.ledger.session import Ledger, utc_now
from worker.ledger.states import Lane, Outcome, Source
from worker.phantom import write_phantom

_SEED = 9
_WIDTH = 512


class Canary:
    """Sends a canary when the latest one is `canary_s` seconds old."""

    def __init__(self, settings: Settings, ledger: Ledger, acceptor: Acceptor, enqueue: Enqueue) -> None:
        """Send canaries through `acceptor`; call `enqueue` with the id of the new image after the commit."""
        self._settings = settings
        self._ledger = ledger
        self._acceptor = acceptor
        self._enqueue = enqueue

    def send_if_due(self) -> None:
        """Send a canary if one is due. Raises TransientFailure."""
        if not self._settings.canary_s or not self._is_due():
            return
        path = self._settings.incoming / uuid.uuid4().hex
        try:
            self._write_image(path)
            accepted = self._acceptor.accept(
                [Candidate(path, "canary.jpg")], source=Source.CANARY, lane=Lane.URGENT, run=RUN
            )
        finally:
            path.unlink(missing_ok=True)
        new = [item.image_id for item in accepted if item.outcome is Outcome.NEW]
        if new:
            self._enqueue(new, Lane.URGENT)

    def _write_image(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            jpeg = write_phantom(path, _SEED, width=_WIDTH, opacity=False).read_bytes()
            unique = with_comment(jpeg, f"canary {uuid.uuid4().hex}")
            path.write_bytes(add_mark(unique, secret_key(self._settings.phantom_key_path)))
        except OSError as error:
            raise TransientFailure(f"the canary cannot be written: {error.strerror}") from error

    def _is_due(self) -> bool:
        with self._ledger.reading() as session:
            last = last_sent(session)
        return last is None or utc_now() - last >= timedelta(seconds=self._settings.canary_s)
