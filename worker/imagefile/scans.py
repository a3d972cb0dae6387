"""The scans of a JPEG file: each scan is a pass over the whole image.

A progressive file of 1 MB can have ten thousand scans of a hundred megapixels, which take a minute to decode;
one of 64 MB takes an hour (libjpeg-turbo, "Two Issues with the JPEG Standard", 2017).
"""

from __future__ import annotations

from worker.imagefile.parts import END_OF_IMAGE, SEGMENT_HEAD_BYTES, START_OF_SCAN, jpeg_segments

# A usual progressive file has 10 (libjpeg, `jpeg_simple_progression`); optimisers write some 60.
MOST_SCANS = 100

# Tables and comments may stand before every scan.
_MOST_SEGMENTS = 10_000
_PROGRESSIVE_FRAME = 0xC2
_COEFFICIENTS = 64


def has_too_many_scans(data: bytes) -> bool:
    """Return whether a JPEG file has more than `MOST_SCANS` scans before its end (ITU-T T.81, B.2.1)."""
    scans = 0
    for number, (marker, _, _) in enumerate(jpeg_segments(data)):
        if marker == END_OF_IMAGE:
            return False
        scans += marker == START_OF_SCAN
        if scans > MOST_SCANS or number == _MOST_SEGMENTS:
            return True
    return False


def has_all_scans(data: bytes) -> bool:
    """Return whether the scans of a progressive JPEG file give all bits of all coefficients (ITU-T T.81, G.1.1.1).

    A decoder shows an image without its last scans, only less sharp. A file that lost bytes may have lost one.
    """
    missing: dict[int, list[bool]] = {}
    for number, (marker, start, _) in enumerate(jpeg_segments(data)):
        if marker == END_OF_IMAGE or number == _MOST_SEGMENTS:
            break
        body = start + SEGMENT_HEAD_BYTES
        if marker == _PROGRESSIVE_FRAME:
            count = data[body + 5]
            missing = {
                component: [True] * _COEFFICIENTS for component in data[body + 6 : body + 6 + 3 * count : 3]
            }
        elif marker == START_OF_SCAN:
            count = data[body]
            first, last, bits = data[body + 1 + 2 * count : body + 4 + 2 * count]
            for component in data[body + 1 : body + 1 + 2 * count : 2]:
                # The lower half of `bits` is the lowest bit that this scan gives (B.2.3, Al).
                if component in missing and not bits & 0x0F:
                    missing[component][first : last + 1] = [False] * (last + 1 - first)
    return not any(any(coefficients) for coefficients in missing.values())
