"""Limits the number of scans of a JPEG file: each scan is a pass over the whole image.

A progressive file of 1 MB can have ten thousand scans of a hundred megapixels, which take a minute to decode;
one of 64 MB takes an hour (libjpeg-turbo, "Two Issues with the JPEG Standard", 2017).
"""

from __future__ import annotations

from worker.imagefile.parts import END_OF_IMAGE, START_OF_SCAN, jpeg_segments

# A usual progressive file has 10 (libjpeg, `jpeg_simple_progression`); optimisers write some 60.
MOST_SCANS = 100

# Tables and comments may stand before every scan.
_MOST_SEGMENTS = 10_000


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
