"""An object on its way to the disk, as a DICOM file (PS3.10, 7).

The same object in the same transfer syntax makes the same bytes, whoever sends it and whenever, so that it is a
duplicate when it comes again: the file meta information holds no time and no application's name.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from worker.errors import DiskFull

# Both must never change: they are part of every received file, and so of its hash.
_IMPLEMENTATION = UID("2.25.319446842803126447311746251226153873467")
_VERSION_NAME = "NIGHTREAD"
_START = b"\0" * 128 + b"DICM"
# The disk's space is looked at again after so many bytes of an object.
_CHECK_AGAIN = 4 * 1024**2


def file_start(sop_class: str, sop_instance: str, transfer_syntax: str) -> bytes:
    """Return preamble, prefix and file meta information of a file."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance)
    meta.TransferSyntaxUID = UID(transfer_syntax)
    meta.ImplementationClassUID = _IMPLEMENTATION
    meta.ImplementationVersionName = _VERSION_NAME
    buffer = DicomBytesIO()
    buffer.write(_START)
    write_file_meta_info(buffer, meta)
    return buffer.getvalue()


class IncomingObject:
    """A file that is being written, cut off at `limit` bytes.

    The limit is one byte more than a file may have, so that the intake sees a file that is too large and rejects it,
    with a receipt.

    Attributes:
        path: the file; its name is random.
        dropped: number of bytes that were not written.
        failure: why the file is not complete; None if it is, or if it was cut off at its limit.
    """

    def __init__(self, folder: Path, start: bytes, limit: int, check_space: Callable[[], None]) -> None:
        """Create the file. `check_space` raises DiskFull while no object may be received."""
        self.path = folder / uuid.uuid4().hex
        self.dropped = 0
        self.failure: Exception | None = None
        self._left, self._check_space = limit, check_space
        self._check_in = 0
        self._file: BinaryIO | None = None
        self.write(memoryview(start))

    def write(self, data: memoryview) -> None:
        """Write up to the limit and drop the rest; drop everything after a failure."""
        part = data[: self._left]
        if self.failure is None and part:
            try:
                self._append(part)
            except (OSError, DiskFull) as error:
                self.remove()
                self.failure = error
        self._left -= len(part)
        self.dropped += len(data) - len(part)

    def close(self) -> None:
        """Close the file: all of it has arrived."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                self.failure = error
            self._file = None

    def check(self) -> None:
        """Raise why the file is not complete, if it is not: OSError or DiskFull."""
        if self.failure is not None:
            raise self.failure

    def remove(self) -> None:
        """Remove the file, if it is still there."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _append(self, part: memoryview) -> None:
        self._check_in -= len(part)
        if self._check_in < 0:
            self._check_space()
            self._check_in = _CHECK_AGAIN
        if self._file is None:
            self._file = self.path.open("xb", buffering=0)
        while part:
            part = part[self._file.write(part) :]
