"""worker.imagefile: properties of files that are put together from parts, and of bytes that are no file."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from worker.errors import RejectedImage
from worker.imagefile.limits import MOST_PARTS, Limits, check_parts
from worker.imagefile.parts import (
    END_OF_IMAGE,
    JPEG_START,
    PNG_START,
    START_OF_SCAN,
    jpeg_segments,
    png_chunks,
)
from worker.imagefile.phantom_mark import PHANTOM_MARK, add_mark, find_mark
from worker.imagefile.scans import MOST_SCANS, has_too_many_scans
from worker.recognition import inspect_bytes

# Segments that have a length: tables, frames, application data, comments.
MARKERS = st.sampled_from([0xC0, 0xC2, 0xC4, 0xDB, 0xE0, 0xE1, 0xEE, 0xFE])
SEGMENTS = st.lists(st.tuples(MARKERS, st.binary(max_size=40)), max_size=12)
KINDS = st.sampled_from([b"IHDR", b"PLTE", b"IDAT", b"tEXt", b"zTXt", b"prVt"])
CHUNKS = st.lists(st.tuples(KINDS, st.binary(max_size=40)), max_size=12)
# Bytes that look like parts: markers and lengths are frequent.
NOISE = st.lists(
    st.binary(max_size=6) | st.sampled_from([b"\xff\xda", b"\xff\xd9", b"\xff\xfe\x00\x04", b"IDAT"])
)
ANY_BYTES = st.builds(
    lambda start, parts: start + b"".join(parts), st.sampled_from([b"", JPEG_START, PNG_START]), NOISE
)
# The data of a scan: 0xFF is stuffed with a zero, or begins a restart marker (ITU-T T.81, B.1.1.5).
SCAN_DATA = st.lists(st.sampled_from([b"\x00", b"\x7f", b"\xff\x00", b"\xff\xd0"]), max_size=8).map(b"".join)


def segment(marker: int, data: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return PNG_START + b"".join(chunk(*each) for each in chunks) + chunk(b"IEND", b"")


@given(SEGMENTS, SCAN_DATA)
def test_walk_over_a_jpeg_file_finds_each_segment(segments: list[tuple[int, bytes]], scan: bytes) -> None:
    parts = [*segments, (START_OF_SCAN, b"\x01\x02")]
    data = JPEG_START + b"".join(segment(*part) for part in parts) + scan + bytes((0xFF, END_OF_IMAGE))
    found = list(jpeg_segments(data))
    assert [(marker, data[start + 4 : end]) for marker, start, end in found[:-1]] == parts
    assert found[-1] == (END_OF_IMAGE, len(data) - 2, len(data))


@given(CHUNKS, st.binary(max_size=20))
def test_walk_over_a_png_file_finds_each_chunk_before_its_end(
    chunks: list[tuple[bytes, bytes]], rest: bytes
) -> None:
    data = png(chunks) + rest
    found = list(png_chunks(io.BytesIO(data)))
    assert [(kind, data[start + 8 : end - 4]) for kind, start, end in found] == chunks


@given(ANY_BYTES)
def test_walk_over_any_bytes_goes_forward_and_ends(data: bytes) -> None:
    for parts in (jpeg_segments(data), png_chunks(io.BytesIO(data))):
        last_end = 0
        for _, start, end in parts:
            assert last_end <= start < end
            last_end = end


@given(ANY_BYTES)
def test_any_bytes_are_an_image_or_are_rejected_with_a_reason(data: bytes) -> None:
    has_too_many_scans(data)
    find_mark(data)
    for check in (
        lambda: check_parts(io.BytesIO(data)),
        lambda: inspect_bytes(data, Limits(10**6, 10**6, 1)),
    ):
        with suppress(RejectedImage):
            check()


@given(st.integers(MOST_SCANS - 2, MOST_SCANS + 3), SCAN_DATA)
def test_file_with_more_scans_than_the_limit_is_recognised(scans: int, scan: bytes) -> None:
    data = JPEG_START + (segment(START_OF_SCAN, b"\x01") + scan) * scans + bytes((0xFF, END_OF_IMAGE))
    after_the_end = segment(START_OF_SCAN, b"") * MOST_SCANS
    assert has_too_many_scans(data + after_the_end) is (scans > MOST_SCANS)


@given(st.integers(MOST_PARTS - 3, MOST_PARTS + 3), st.booleans())
def test_file_with_more_parts_than_the_limit_is_rejected(parts: int, is_png: bool) -> None:
    if is_png:
        data = png([(b"tEXt", b"")] * parts)
    else:
        # The first scan counts, too.
        data = JPEG_START + segment(0xE0, b"") * (parts - 1) + segment(START_OF_SCAN, b"")
    rejected = ""
    try:
        check_parts(io.BytesIO(data))
    except RejectedImage as error:
        rejected = error.code
    assert rejected == ("too_many_parts" if parts > MOST_PARTS else "")


@given(SEGMENTS, CHUNKS, st.booleans())
def test_only_a_mark_before_the_picture_is_found(
    segments: list[tuple[int, bytes]], chunks: list[tuple[bytes, bytes]], marked: bool
) -> None:
    mark = PHANTOM_MARK + b"0" * 64
    scan = segment(START_OF_SCAN, b"\x01") + mark
    jpeg = JPEG_START + b"".join(segment(*part) for part in segments) + scan
    header = [part for part in chunks if part[0] != b"IDAT"]
    drawing = png([(b"IHDR", b""), *header, (b"IDAT", b""), (b"tEXt", b"Comment\x00" + mark)])
    for data in (jpeg, drawing):
        found = find_mark(add_mark(data, b"key") if marked else data)
        assert (found is not None) is marked
