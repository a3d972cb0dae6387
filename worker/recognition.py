"""Recognises what an arriving file is: a JPEG or PNG file, or a DICOM object; and checks what its header tells.

Nothing is decoded. The worker checks again before it decodes, so that a retried image has to keep the same limits.
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from worker.defects import log_defect
from worker.dicom.reading import START_BYTES, is_dicom
from worker.errors import RejectedImage
from worker.imagefile import formats
from worker.imagefile.formats import Inspection
from worker.imagefile.identity import Identity
from worker.imagefile.limits import Limits, check_bytes, check_pixels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydicom import Dataset

DICOM = "dicom"
HEADER_DEFECT = "header_defect"
# A person may read these although no score is given: it is a radiograph, and its tags or its sender may be wrong.
_READABLE = frozenset({"dicom_other_body_part", "dicom_other_view"})


@dataclass(frozen=True)
class Recognised:
    """What a file is.

    Attributes:
        outcome: facts of the picture, or why it cannot be scored.
        identity: what the header of a DICOM object tells, also if it cannot be scored; None for any other file.
        readable: facts of a picture that a person may read although it cannot be scored.
    """

    outcome: Inspection | RejectedImage
    identity: Identity | None = None
    readable: Inspection | None = None


def recognise(
    file: BinaryIO, size: int, limits: Limits, site_key: Callable[[], bytes | None] | None = None
) -> Recognised:
    """Recognise a file of `size` bytes, from its first byte.

    `site_key` returns the key that makes patient keys. Without it, or if it is lost, there will be no patient key.

    Raises OSError: the file cannot be read, which says nothing of it.
    """
    start = file.read(START_BYTES)
    file.seek(0)
    if is_dicom(start):
        return _recognise_object(file, size, limits, site_key)
    try:
        with _any_header():
            return Recognised(formats.inspect(file, size, limits))
    except RejectedImage as rejection:
        return Recognised(rejection)


def inspect_bytes(data: bytes, limits: Limits) -> Inspection:
    """Return the facts of a picture in memory. Raises RejectedImage."""
    outcome = recognise(io.BytesIO(data), len(data), limits).outcome
    if isinstance(outcome, RejectedImage):
        raise outcome
    return outcome


@contextmanager
def _any_header() -> Iterator[None]:
    """Reject a file whose header brings a library or Nightread to fail: it must not stop the intake of all others."""
    try:
        yield
    except (RejectedImage, OSError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - anybody may have written the header
        log_defect("a defect: the header of a file cannot be read", error)
        raise RejectedImage(HEADER_DEFECT) from None


def _recognise_object(
    file: BinaryIO, size: int, limits: Limits, site_key: Callable[[], bytes | None] | None
) -> Recognised:
    # Imported with the first object: see `worker.dicom.reading`.
    from worker.dicom import header
    from worker.dicom.reading import read_header

    identity = None
    try:
        check_bytes(size, limits)
        with _any_header():
            dataset = read_header(file, size)
        key = site_key and site_key()
        with _any_header():
            identity = header.identity_of(dataset, key)
            header.check_suitable(dataset)
            return Recognised(_inspection(dataset, limits), identity)
    except RejectedImage as rejection:
        if rejection.code not in _READABLE:
            return Recognised(rejection, identity)
        refused = rejection
    try:
        return Recognised(refused, identity, readable=_inspection(dataset, limits))
    except RejectedImage:
        return Recognised(refused, identity)


def _inspection(dataset: Dataset, limits: Limits) -> Inspection:
    """Return the facts of an object's picture. Raises RejectedImage if it has none, or one outside the limits."""
    from worker.dicom import header

    width, height = header.size_of(dataset)
    check_pixels(width, height, limits)
    return Inspection(DICOM, width, height)
