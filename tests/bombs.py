"""Small files that need much memory, much time, or both to decode. All of them are generated here."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

from tests.files import PNG_START, encoded, grey, jpeg, png_chunk

# The edge of the largest image that is accepted, of a hundred megapixels.
LARGE = 10_000
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_IHDR_END = 8 + 25
_IEND = 12
_LONGEST_RUN = 2**15 - 1


def segment(marker: int, data: bytes) -> bytes:
    """Return a JPEG marker segment (ITU-T T.81, B.1.1.4)."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def black_png(width: int, height: int, *, colour: bool = False, interlaced: bool = False) -> bytes:
    """Return a valid PNG file of black pixels, with a thousandth of the size of its image."""
    kind, channels = (2, 3) if colour else (0, 1)
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    pack = zlib.compressobj(9)
    body = b""
    for left, top, across, down in passes:
        row = bytes(1 + channels * -(-(width - left) // across))
        body += b"".join(pack.compress(row) for _ in range(-(-(height - top) // down)))
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, int(interlaced))
    pixels = png_chunk(b"IDAT", body + pack.flush())
    return PNG_START + png_chunk(b"IHDR", header) + pixels + png_chunk(b"IEND", b"")


def scans(width: int, height: int, count: int) -> bytes:
    """Return a progressive JPEG file of one grey value with `count` scans of some 100 bytes each.

    Each scan after the first marks up to 32,767 blocks at once as empty (ITU-T T.81, G.1.2.2).
    """
    blocks = -(-width // 8) * -(-height // 8)
    bits = "".join(
        "0" + format(max(run, _LONGEST_RUN // 2 + 1) - _LONGEST_RUN // 2 - 1, "014b")
        for run in [*[_LONGEST_RUN] * (blocks // _LONGEST_RUN), blocks % _LONGEST_RUN]
        if run
    )
    bits += "1" * (-len(bits) % 8)
    runs = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    first = segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + bytes(-(-blocks // 8))
    other = segment(0xDA, bytes([1, 1, 0, 1, 63, 0])) + runs
    tables = segment(0xC4, bytes([0x00, 1, *[0] * 15, 0x00])) + segment(
        0xC4, bytes([0x10, 1, *[0] * 15, 0xE0])
    )
    frame = segment(0xC2, struct.pack(">BHHB", 8, height, width, 1) + bytes([1, 0x11, 0]))
    quantisation = segment(0xDB, bytes([0, *[16] * 64]))
    return b"\xff\xd8" + quantisation + frame + tables + first + other * (count - 1) + b"\xff\xd9"


def _in_jpeg(parts: bytes) -> bytes:
    return jpeg()[:2] + parts + jpeg()[2:]


def _in_png(parts: bytes) -> bytes:
    whole = encoded(grey(), "PNG")
    return whole[:_IHDR_END] + parts + whole[_IHDR_END:]


def _after_png(parts: bytes) -> bytes:
    whole = encoded(grey(), "PNG")
    return whole[:-_IEND] + parts + whole[-_IEND:]


def _zipped(size: int) -> bytes:
    return zlib.compress(bytes(size), 9)


def _overlapping_exif() -> bytes:
    """Return Exif data with five thousand tags that all refer to the same 60 KB: 300 MB in one segment."""
    count = 5_000
    entries = b"".join(struct.pack("<HHLL", tag + 1, 7, 60_000, 8) for tag in range(count))
    return b"Exif\0\0" + struct.pack("<2sHLH", b"II", 42, 8, count) + entries + bytes(4)


SIZE = 4_000_000
# Name -> how the file is made. These are rejected by their header, or must be cheap to inspect.
HEADERS: dict[str, Callable[[], bytes]] = {
    "a JPEG of empty comments": lambda: _in_jpeg(segment(0xFE, b"") * (SIZE // 4)),
    "a JPEG of Exif in small pieces": lambda: _in_jpeg(segment(0xE1, b"Exif\0\0x") * (SIZE // 11)),
    "a JPEG of fill bytes": lambda: _in_jpeg(b"\xff" * SIZE),
    "a JPEG of stuffed bytes": lambda: _in_jpeg(b"\xff\x00" * (SIZE // 2)),
    "a JPEG of large profiles": lambda: _in_jpeg(segment(0xE2, bytes(65_000)) * 100),
    "a JPEG of overlapping Exif": lambda: _in_jpeg(segment(0xE1, _overlapping_exif())),
    "a PNG of unknown chunks": lambda: _in_png(png_chunk(b"prVt", b"") * (SIZE // 12)),
    "a PNG of unknown chunks at its end": lambda: _after_png(png_chunk(b"prVt", b"") * (SIZE // 12)),
    "a PNG in empty pieces": lambda: _after_png(png_chunk(b"IDAT", b"") * (SIZE // 12)),
    "a PNG of plain text": lambda: _in_png(png_chunk(b"tEXt", b"Comment\0" + bytes(30_000_000))),
    "a PNG of packed text": lambda: _in_png(png_chunk(b"zTXt", b"Comment\0\0" + _zipped(60_000_000))),
    "a PNG of many packed texts": lambda: _in_png(
        b"".join(png_chunk(b"zTXt", b"%d\0\0" % n + _zipped(2**20 - 1)) for n in range(60))
    ),
    "a PNG with a packed profile": lambda: _in_png(png_chunk(b"iCCP", b"p\0\0" + _zipped(60_000_000))),
    "a PNG of a million frames": lambda: _in_png(png_chunk(b"acTL", struct.pack(">II", 1_000_000, 0))),
}
IMAGES: dict[str, Callable[[], bytes]] = {
    "a grey PNG": lambda: black_png(LARGE, LARGE),
    "a colour PNG": lambda: black_png(LARGE, LARGE, colour=True),
    "an interlaced PNG": lambda: black_png(LARGE, LARGE, interlaced=True),
    "a progressive JPEG": lambda: scans(LARGE, LARGE, 10),
}
