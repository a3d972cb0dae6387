"""Checks a compressed frame before its decoder sees it: its kind, its size, and that it has its end.

The decoders believe a frame's own header: one that states 65,535 x 65,535 pixels would take gigabytes. And libjpeg
fills what a cut frame lacks with grey.
"""

from __future__ import annotations

import random
import struct

from worker.dicom.encoding import Coding
from worker.dicom.form import Form
from worker.errors import RejectedImage
from worker.imagefile.parts import SEGMENT_HEAD_BYTES, START_OF_SCAN, jpeg_segments

# Start-of-frame markers without their first byte (ITU-T T.81, table B.1; JPEG-LS: ITU-T T.87, table C.1). Baseline and
# extended sequential; a progressive frame may have any number of scans, and no transfer syntax of DICOM has one.
_FRAMES = {
    Coding.JPEG: frozenset({0xC0, 0xC1}),
    Coding.JPEG_LOSSLESS: frozenset({0xC3}),
    Coding.JPEG_LS: frozenset({0xF7}),
}
_ALL_FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_MOST_SEGMENTS = 500
# Before the first scan stand no stray bytes, but for fill bytes.
_LONGEST_GAP = 16
# The marker at the end of a JPEG, JPEG-LS or JPEG 2000 frame. Padding to an even length, or to a block, follows; some
# writers take the fill byte for it.
_END = b"\xff\xd9"
_PADDING = b"\0\xff"
# ITU-T T.800, A.4.1 and A.5.1: start of codestream, and the sizes.
_CODESTREAM_START = b"\xff\x4f\xff\x51"
_SIZES = struct.Struct(">4sHH8IHBBB")
# A JP2 file around the codestream, which PS3.5, A.4.4 forbids and some writers add.
_BOX_START, _LONGEST_BOXES = b"\0\0\0\x0cjP  ", 4096
# Bits of any value, and no marker.
_MORE_DATA = bytes(random.Random(1).choices(range(1, 255), k=512))
# ITU-T T.800, A.4.2: start of a tile-part with its tile and its length.
_TILE_PART, _START_OF_TILE_PART = struct.Struct(">HHHL"), 0xFF90
_PRECISION_BITS, _MOST_BITS = 0x7F, 16


def checked(frame: bytes, coding: Coding, form: Form) -> bytes:
    """Return the codestream of a compressed frame (JPEG, JPEG-LS or JPEG 2000), without what surrounds it.

    Raises:
        RejectedImage: `truncated`, `dicom_frame_kind` or `dicom_frame_size`.
    """
    frame = frame.rstrip(_PADDING)
    if coding is Coding.JPEG_2000:
        frame = _without_boxes(frame)
        columns, rows, components, bits = _jpeg_2000_sizes(frame)
    else:
        columns, rows, components, bits = _jpeg_sizes(frame, coding)
    if components != 1 or not 1 <= bits <= _MOST_BITS:
        raise RejectedImage("dicom_frame_kind")
    if (columns, rows) != (form.columns, form.rows):
        raise RejectedImage(
            "dicom_frame_size", width=columns, height=rows, columns=form.columns, rows=form.rows
        )
    if not frame.endswith(_END) or (coding is Coding.JPEG_2000 and not _is_whole(frame)):
        raise RejectedImage("truncated")
    return frame


def with_more_data(frame: bytes) -> tuple[bytes, int]:
    """Return a checked JPEG frame with more data of its first scan, and the predictor of that scan.

    A decoder that has the pixels of the whole picture leaves these data alone. The predictor is 1 to 7 in a lossless
    frame, and 0 in others (ITU-T T.81, B.2.3 and H.1.2.1).
    """
    segments = jpeg_segments(frame)
    header_end = next((end for marker, _, end in segments if marker == START_OF_SCAN), len(frame))
    data_end = next((start for _, start, _ in segments), len(frame))
    kept = frame[:data_end].rstrip(b"\xff")
    return kept + _MORE_DATA + frame[data_end:], frame[header_end - 3]


def _jpeg_sizes(frame: bytes, coding: Coding) -> tuple[int, int, int, int]:
    """Return columns, rows, components and bits of a JPEG or JPEG-LS frame (ITU-T T.81, B.2.2)."""
    for number, (marker, start, _) in enumerate(jpeg_segments(frame, _LONGEST_GAP)):
        if marker in _ALL_FRAMES:
            head = frame[start + SEGMENT_HEAD_BYTES : start + SEGMENT_HEAD_BYTES + 6]
            if marker not in _FRAMES[coding] or len(head) < struct.calcsize(">BHHB"):
                break
            bits, rows, columns, components = struct.unpack(">BHHB", head)
            return columns, rows, components, bits
        if marker == START_OF_SCAN or number == _MOST_SEGMENTS:
            break
    raise RejectedImage("dicom_frame_kind")


def _jpeg_2000_sizes(frame: bytes) -> tuple[int, int, int, int]:
    """Return columns, rows, components and bits of a JPEG 2000 codestream (ITU-T T.800, A.5.1)."""
    if len(frame) < _SIZES.size or not frame.startswith(_CODESTREAM_START):
        raise RejectedImage("dicom_frame_kind")
    _, _, _, right, bottom, left, top, *_tiles, components, precision, across, down = _SIZES.unpack_from(
        frame
    )
    if (across, down) != (1, 1):
        raise RejectedImage("dicom_frame_kind")
    return right - left, bottom - top, components, (precision & _PRECISION_BITS) + 1


def _is_whole(frame: bytes) -> bool:
    """Return whether a JPEG 2000 codestream has a part of each tile, and all bytes of each part.

    OpenJPEG leaves tiles that are not there black, and shows one of which bytes are missing without its details.
    """
    _, _, _, right, bottom, _, _, across, down, tiles_left, tiles_top, *_ = _SIZES.unpack_from(frame)
    if not (across and down):
        return False
    wanted = -(-(right - tiles_left) // across) * -(-(bottom - tiles_top) // down)
    # The codestream begins with a marker that has no length.
    at, found = 2, set()
    while at + _TILE_PART.size <= len(frame):
        marker, length, tile, part_length = _TILE_PART.unpack_from(frame, at)
        if marker == _START_OF_TILE_PART:
            found.add(tile)
            # The last part may have no length: it reaches to the end.
            length = (part_length or len(frame) - at) - 2
        if length <= 0:
            break
        at += 2 + length
    return len(found) == wanted and at <= len(frame)


def _without_boxes(frame: bytes) -> bytes:
    if not frame.startswith(_BOX_START):
        return frame
    at = frame.find(_CODESTREAM_START, 0, _LONGEST_BOXES)
    return frame[max(0, at) :]
