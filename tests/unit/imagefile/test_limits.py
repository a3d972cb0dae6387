"""Inspection reads only headers: each bomb is inspected in a process that has no memory for its contents."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import bombs
from tests.conftest import HANG_S
from tests.files import encoded, grey, jpeg, png_chunk
from worker.config import ROOT
from worker.errors import RejectedImage
from worker.imagefile.limits import LONGEST_HEADER, MOST_PARTS, check_parts

# Inspects each file with 16 MB of free memory, a tenth of the smallest of the large images.
PROGRAM = """
import json, sys, warnings
from worker.errors import RejectedImage
from worker.imagefile.formats import inspect
from worker.imagefile.limits import Limits
from worker.queue.memory_limit import limit_memory

def inspected(path):
    with open(path, "rb") as file:
        try:
            return inspect(file, 1, Limits(2**26, 10**8, 64)).format
        except RejectedImage as rejected:
            return rejected.code

warnings.simplefilter("ignore")
inspected(sys.argv[1])
used = int(open("/proc/self/status").read().split("VmData:")[1].split()[0]) * 1024
limit_memory(used + 16 * 2**20)
print(json.dumps([inspected(path) for path in sys.argv[1:]]))
"""
TOO_MANY = "too_many_parts"
EXPECTED = {
    "a JPEG of empty comments": TOO_MANY,
    "a JPEG of Exif in small pieces": TOO_MANY,
    "a JPEG of fill bytes": TOO_MANY,
    "a JPEG of stuffed bytes": TOO_MANY,
    "a JPEG of large profiles": TOO_MANY,
    "a JPEG of overlapping Exif": "jpeg",
    "a PNG of unknown chunks": TOO_MANY,
    "a PNG of unknown chunks at its end": TOO_MANY,
    "a PNG in empty pieces": TOO_MANY,
    "a PNG of plain text": TOO_MANY,
    "a PNG of packed text": "undecodable",
    "a PNG of many packed texts": "undecodable",
    "a PNG with a packed profile": "undecodable",
    "a PNG of a million frames": "animated",
    "a grey PNG": "png",
    "a colour PNG": "png",
    "an interlaced PNG": "png",
    "a progressive JPEG": "jpeg",
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read from /proc")
def test_inspection_needs_little_memory_for_any_file(tmp_path: Path) -> None:
    makers = {**bombs.HEADERS, **bombs.IMAGES}
    paths = [tmp_path / str(number) for number in range(len(makers))]
    for path, make in zip(paths, makers.values(), strict=True):
        path.write_bytes(make())
    command = [sys.executable, "-c", PROGRAM, *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=HANG_S)
    assert done.returncode == 0, done.stderr
    assert dict(zip(makers, json.loads(done.stdout), strict=True)) == EXPECTED


def is_accepted(data: bytes) -> bool:
    try:
        check_parts(io.BytesIO(data))
    except RejectedImage:
        return False
    return True


def test_the_limit_of_parts_is_exact() -> None:
    # A JPEG as the library writes it: APP0, DQT, SOF0, DHT, DHT, SOS.
    for comments, accepted in ((MOST_PARTS - 6, True), (MOST_PARTS - 5, False)):
        data = jpeg()
        assert is_accepted(data[:2] + bombs.segment(0xFE, b"x") * comments + data[2:]) is accepted
    # IHDR counts, IEND does not.
    for chunks, accepted in ((MOST_PARTS - 1, True), (MOST_PARTS, False)):
        data = encoded(grey(), "PNG")
        assert is_accepted(data[:-12] + png_chunk(b"prVt", b"") * chunks + data[-12:]) is accepted


def test_a_long_colour_profile_is_accepted() -> None:
    assert is_accepted(encoded(grey(), "JPEG", icc_profile=bytes(3_000_000)))
    assert is_accepted(encoded(grey(), "PNG", icc_profile=bytes(3_000_000)))
    data = encoded(grey(), "PNG")
    assert not is_accepted(data[:33] + png_chunk(b"tEXt", bytes(LONGEST_HEADER)) + data[33:])


def test_a_png_in_small_pieces_is_accepted() -> None:
    data = encoded(grey(), "PNG")
    assert is_accepted(data[:-12] + png_chunk(b"IDAT", bytes(1024)) * 60_000 + data[-12:])
