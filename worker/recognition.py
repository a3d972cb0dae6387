"""Recognises what an arriving file is: a JPEG or PNG file, or a DICOM object; and checks what its header tells.

Nothing is decoded. The worker checks again before it decodes, so that a retried image has to keep the same limits.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from worker.dicom.reading import START_BYTES, is_dicom
from worker.errors import RejectedImage
from worker.imagefile import formats
from worker.imagefile.formats import Inspection
from worker.imagefile.identity import Identity
from worker.imagefile.limits import Limits, check_bytes, check_pixels

if TYPE_CHECKING:
    from collections.abc import Callable

DICOM = "dicom"


@dataclass(frozen=True)
class Recognised:
    """What a file is.

    Attributes:
        outcome: facts of the picture, or why it cannot be scored.
        identity: what the header of a DICOM object tells, also if it cannot be scored; None for any other file.
    """

    outcome: Inspection | RejectedImage
    identity: Identity | None = None


def recognise(
    file: BinaryIO, size: int, limits: Limits, site_key: Callable[[], bytes | None] | None = None
) -> Recognised:
    """Recognise a file of `size` bytes, from its first byte.

    `site_key` returns the key that makes patient keys. Without it, or if it is lost, there will be no patient key.
    """
    start = file.read(START_BYTES)
    file.seek(0)
    if is_dicom(start):
        return _recognise_object(file, size, limits, site_key)
    try:
        return Recognised(formats.inspect(file, size, limits))
    except RejectedImage as rejection:
        return Recognised(rejection)


def inspect_bytes(data: bytes, limits: Limits) -> Inspection:
    """Return the facts of a picture in memory. Raises RejectedImage."""
    outcome = recognise(io.BytesIO(data), len(data), limits).outcome
    if isinstance(outcome, RejectedImage):
        raise outcome
    return outcome


def _recognise_object(
    file: BinaryIO, size: int, limits: Limits, site_key: Callable[[], bytes | None] | None
) -> Recognised:
    # Imported with the first object: see `worker.dicom.reading`.
    from worker.dicom import header
    from worker.dicom.reading import read_header

    identity = None
    try:
        check_bytes(size, limits)
        dataset = read_header(file, size)
        identity = header.identity_of(dataset, site_key and site_key())
        header.check_suitable(dataset)
        width, height = header.size_of(dataset)
        check_pixels(width, height, limits)
    except RejectedImage as rejection:
        return Recognised(rejection, identity)
    return Recognised(Inspection(DICOM, width, height), identity)
