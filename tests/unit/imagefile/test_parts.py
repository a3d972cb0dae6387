from __future__ import annotations

import io

from tests import bombs
from tests.files import PNG_START, encoded, grey, jpeg, png_chunk
from worker.imagefile.parts import END_OF_IMAGE, jpeg_segments, png_chunks, with_comment


def markers(data: bytes, longest_gap: int | None = None) -> list[int]:
    return [marker for marker, _, _ in jpeg_segments(data, longest_gap)]


def test_jpeg_segments_follow_each_other() -> None:
    data = encoded(grey(), "JPEG", comment=b"a comment")
    segments = list(jpeg_segments(data))
    assert [marker for marker, _, _ in segments] == [0xE0, 0xFE, 0xDB, 0xC0, 0xC4, 0xC4, 0xDA, END_OF_IMAGE]
    header = segments[:-1]
    assert header[0][1] == 2
    assert [end for _, _, end in header[:-1]] == [start for _, start, _ in header[1:]]
    assert data[header[1][1] + 4 : header[1][2]] == b"a comment"
    assert segments[-1][2] == len(data)


def test_compressed_data_holds_no_segments() -> None:
    data = encoded(grey(), "JPEG", restart_marker_blocks=1)
    assert data.count(b"\xff\xd0") > 0
    assert markers(data)[-2:] == [0xDA, END_OF_IMAGE]


def test_a_marker_without_a_length_hides_nothing() -> None:
    assert markers(b"\xff\xd8\xff\x01" + bombs.segment(0xFE, b"x")) == [0x01, 0xFE]


def test_stray_and_fill_bytes_are_skipped() -> None:
    comment = bombs.segment(0xFE, b"x")
    assert markers(b"\xff\xd8" + bytes(9) + comment + b"\xff\xff\xff" + comment) == [0xFE, 0xFE]


def test_a_gap_that_is_too_long_ends_the_walk() -> None:
    comment = bombs.segment(0xFE, b"x")
    data = b"\xff\xd8" + comment + bytes(100) + comment
    assert markers(data, 100) == [0xFE, 0xFE]
    assert markers(data, 99) == [0xFE]


def test_png_chunks_follow_each_other() -> None:
    data = encoded(grey(), "PNG")
    chunks = list(png_chunks(io.BytesIO(data)))
    assert [kind for kind, _, _ in chunks] == [b"IHDR", b"IDAT"]
    assert chunks[0][1:] == (len(PNG_START), len(PNG_START) + 25)
    assert chunks[1][1:] == (chunks[0][2], len(data) - 12)


def test_a_chunk_longer_than_the_file_ends_the_walk() -> None:
    data = PNG_START + b"\xff\xff\xff\xfftEXt" + png_chunk(b"IDAT", b"")
    assert [kind for kind, _, _ in png_chunks(io.BytesIO(data))] == [b"tEXt"]


def test_with_comment_changes_only_the_bytes() -> None:
    first, second = with_comment(jpeg(), "1"), with_comment(jpeg(), "2")
    assert len({jpeg(), first, second}) == 3
    assert markers(first) == [0xFE, *markers(jpeg())]
