"""In how many scans a JPEG file comes: each is a pass over the whole image, however few bytes it has.

A progressive file of 1 MB can ask for ten thousand passes over a hundred megapixels, a minute's work;
one of 64 MB for an hour's (libjpeg-turbo, "Two Issues with the JPEG Standard", 2017).
"""

from __future__ import annotations

import re

# The usual script has 10 (libjpeg, `jpeg_simple_progression`); those that search for the best, some 60.
MOST_SCANS = 100

# Tables and comments may stand before every scan.
_MOST_SEGMENTS = 10_000
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9
# A marker, and none of those that stand inside the data of a scan: stuffed bytes, restarts, fill bytes.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def has_too_many_scans(data: bytes) -> bool:
    """Whether a JPEG file has more than `MOST_SCANS` (ITU-T T.81, B.2.1). What follows its end does not count."""
    scans, at = 0, 2
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None or data[found.end() - 1] == _END_OF_IMAGE:
            return False
        scans += data[found.end() - 1] == _START_OF_SCAN
        if scans > MOST_SCANS:
            return True
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return True
