"""Rejects the kinds of JPEG that the decoder does not read, most of which come out of DICOM files."""

from __future__ import annotations

from worker.errors import RejectedImage
from worker.imagefile.parts import SEGMENT_HEAD_BYTES

# Frame markers without their first byte (ITU-T T.81, table B.1; JPEG-LS: ITU-T T.87, table C.1).
_READABLE = frozenset({0xC0, 0xC1, 0xC2})
_UNREADABLE = {
    0xC3: "lossless JPEG",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical JPEG"),
    **dict.fromkeys((0xC9, 0xCA, 0xCB), "arithmetic-coded JPEG"),
    0xF7: "JPEG-LS",
}
_EIGHT_BITS = 8


def check_frame(marker: int, header: bytes, start: int) -> None:
    """Check a segment that begins at `start` in the header of a file; a segment that is no frame passes.

    Raises:
        RejectedImage: `unsupported_jpeg`.
    """
    if marker in _UNREADABLE:
        raise RejectedImage("unsupported_jpeg", kind=_UNREADABLE[marker])
    if marker in _READABLE:
        # The first byte of the data is the number of bits (B.2.2).
        bits = header[start + SEGMENT_HEAD_BYTES : start + SEGMENT_HEAD_BYTES + 1]
        if bits and bits[0] != _EIGHT_BITS:
            raise RejectedImage("unsupported_jpeg", kind=f"{bits[0]}-bit JPEG")
