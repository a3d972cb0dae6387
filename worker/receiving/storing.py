"""Passes a received object to the intake, and answers its sender.

The status is a success only when the bytes are durable and the receipt is committed. A sender that gets no answer, or
another status than a success, still has the object.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import structlog
from pydicom.dataset import Dataset

from worker.config import Settings
from worker.defects import log_defect
from worker.errors import DatabaseAway, DiskFull, TransientFailure
from worker.intake.accept import Accepted, Acceptor
from worker.intake.source import Candidate
from worker.ledger import actors
from worker.ledger.receiver_tallies import Kind
from worker.ledger.states import Lane, Outcome, Source
from worker.outages import DATABASE, OUTAGES
from worker.receiving.counting import Counts
from worker.receiving.incoming import IncomingObject, file_start

if TYPE_CHECKING:
    from pynetdicom.events import Event

log = structlog.get_logger(__name__)

# PS3.4, table B.2-1, and PS3.7, C.5.
SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000
# The value representation LO (PS3.5, 6.2).
_LONGEST_COMMENT = 64
_UID = re.compile(r"[0-9.]{1,64}")
_AT_ONCE = 32

Publish = Callable[[Sequence[int], Lane], object]


class Storing:
    """Stores the objects of all associations."""

    def __init__(self, settings: Settings, acceptor: Acceptor, publish: Publish, counts: Counts) -> None:
        """Accept objects with `acceptor`; `publish` gets the ids of new images when `publish_new` is called."""
        self._folder = settings.incoming
        self._limit = settings.max_bytes + 1
        self._known: Collection[str] = settings.calling_ae_titles
        self._acceptor, self._publish, self._counts = acceptor, publish, counts
        self._new: SimpleQueue[int] = SimpleQueue()

    def open_object(self, sop_class: str, sop_instance: str, transfer_syntax: str) -> IncomingObject:
        """Open a file for an object that begins to arrive."""
        start = file_start(sop_class, sop_instance, transfer_syntax)
        return IncomingObject(self._folder, start, self._limit, self._acceptor.check_free_space)

    def store(self, event: Event) -> Dataset:
        """Answer a C-STORE request whose object has arrived: pynetdicom calls this in the association's thread."""
        received: IncomingObject = event.assoc.dimse.take_object()  # type: ignore[attr-defined]  # BoundedMessages
        try:
            received.check()
            return self._accept(received, event)
        except (DiskFull, OSError) as error:
            log.warning("a DICOM object was refused: there is no room for it", error=_text(error))
            self._counts.add(Kind.NO_SPACE)
            return _answer(OUT_OF_RESOURCES, "No room for the object. Send it again later.")
        except TransientFailure as failure:
            _warn(failure)
        except Exception as error:  # noqa: BLE001 - pynetdicom would answer that it cannot understand the object
            log_defect("a defect: a DICOM object was not accepted", error)
        finally:
            received.remove()
        self._counts.add(Kind.FAILED)
        return _answer(PROCESSING_FAILURE, "The object was not stored. Send it again later.")

    def publish_new(self) -> None:
        """Publish the new images of all associations, many at once."""
        while image_ids := list(self._next_ids()):
            self._publish(image_ids, Lane.OVERNIGHT)

    def _next_ids(self) -> list[int]:
        ids: list[int] = []
        try:
            while len(ids) < _AT_ONCE:
                ids.append(self._new.get_nowait())
        except Empty:
            pass
        return ids

    def _accept(self, received: IncomingObject, event: Event) -> Dataset:
        request, requestor = event.request, event.assoc.requestor
        accepted = self._acceptor.accept(
            [Candidate(received.path, _name(str(request.AffectedSOPInstanceUID)))],  # type: ignore[union-attr]  # a C-STORE
            source=Source.DICOM,
            lane=Lane.OVERNIGHT,
            received_by=actors.peer(requestor.ae_title) if requestor.ae_title in self._known else None,
        )
        if not accepted:
            raise TransientFailure("the file of a DICOM object vanished or changed before it was accepted")
        return self._answer_to(accepted[0])

    def _answer_to(self, accepted: Accepted) -> Dataset:
        self._counts.add(Kind(accepted.outcome.value))
        if accepted.outcome is Outcome.NEW:
            self._new.put(accepted.image_id)
        if accepted.reason_code is None:
            return _answer(SUCCESS)
        # The sentence of a rejection is too long for a comment. The receipt has it.
        return _answer(CANNOT_UNDERSTAND, f"Not taken: {accepted.reason_code}, receipt {accepted.receipt_id}")


def _answer(status: int, comment: str = "") -> Dataset:
    answer = Dataset()
    answer.Status = status
    if comment:
        answer.ErrorComment = comment[:_LONGEST_COMMENT]
    return answer


def _name(sop_instance: str) -> str:
    """Return a name for the receipt, by which an archive finds the object: never something that is no UID."""
    return f"{sop_instance}.dcm" if _UID.fullmatch(sop_instance) else "object.dcm"


def _text(error: Exception) -> str:
    """Return what happened, without a path."""
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)


def _warn(failure: TransientFailure) -> None:
    if isinstance(failure, DatabaseAway):
        OUTAGES.failed(DATABASE, failure)
    else:
        log.warning("a DICOM object was not accepted; its sender has it", error=str(failure))
