"""The bounded process: kept for the next object, replaced when it fails, and gone with its parent."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from pydicom.uid import JPEG2000Lossless, RLELossless

from tests.conftest import HANG_S, wait_for
from tests.dicom_objects import as_file, grey_object, phantom_values, with_pixels
from worker.config import ROOT, Settings
from worker.dicom import process
from worker.dicom.decoder import Bounds, Decoder, _grey, bounds_of
from worker.dicom.picture import Picture, decode
from worker.errors import RejectedImage, TransientFailure

pytestmark = pytest.mark.slow

VALUES = phantom_values()
OBJECT = as_file(grey_object(VALUES, WindowCenter=2048, WindowWidth=3000, PixelSpacing=[0.1, 0.1]))
BOUNDS = Bounds(memory_bytes=1 << 30, cpu_s=60, wall_s=HANG_S)
TIGHT_BYTES = 512 * 1024**2


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with closing(Decoder(BOUNDS)) as started:
        yield started


def pid(decoder: Decoder) -> int:
    assert decoder._process is not None
    return decoder._process._popen.pid


def code(decoder: Decoder, data: bytes) -> str:
    with pytest.raises(RejectedImage) as rejected:
        decoder.decode(data)
    return rejected.value.code


def slow_rle(side: int = 2_000) -> bytes:
    """Return an object that takes the decoder of RLE many seconds: each byte is a run of its own."""
    values = np.zeros((side, side), dtype=np.uint16)
    segment = b"\x00\x07" * side * side
    frame = struct.pack("<16L", 2, 64, 64 + len(segment), *[0] * 13) + segment * 2
    return with_pixels(as_file(grey_object(values)), RLELossless, frame)


def test_process_gives_what_the_function_gives(decoder: Decoder) -> None:
    expected, grey = decode(OBJECT), decoder.decode(OBJECT)
    assert np.array_equal(grey.grey8, expected.grey8)
    assert grey.facts == expected.facts


def test_process_is_kept_for_the_next_object(decoder: Decoder) -> None:
    decoder.decode(OBJECT)
    first = pid(decoder)
    assert code(decoder, OBJECT[:-100]) == "truncated"
    decoder.decode(OBJECT)
    assert pid(decoder) == first


def test_sentence_of_a_rejection_comes_through(decoder: Decoder) -> None:
    small = as_file(grey_object(VALUES[:-8]), JPEG2000Lossless)
    frame = small[small.index(b"\xff\x4f\xff\x51") : small.rindex(b"\xff\xd9") + 2]
    data = with_pixels(OBJECT, JPEG2000Lossless, frame)
    with pytest.raises(RejectedImage) as inside:
        decode(data)
    with pytest.raises(RejectedImage) as outside:
        decoder.decode(data)
    assert outside.value.sentence == inside.value.sentence


def test_killed_process_is_replaced(decoder: Decoder) -> None:
    decoder.decode(OBJECT)
    first = pid(decoder)
    os.kill(first, signal.SIGKILL)
    assert decoder.decode(OBJECT).grey8.shape == VALUES.shape
    assert pid(decoder) != first


def test_process_that_stands_still_is_replaced(decoder: Decoder) -> None:
    decoder.decode(OBJECT)
    first = pid(decoder)
    assert decoder._process is not None
    decoder._process._bounds = replace(BOUNDS, wall_s=0.2)
    os.kill(first, signal.SIGSTOP)
    assert decoder.decode(OBJECT).grey8.shape == VALUES.shape
    assert pid(decoder) != first
    assert not psutil.pid_exists(first)


def test_late_answer_is_no_reason_to_reject() -> None:
    with closing(Decoder(replace(BOUNDS, wall_s=0.001))) as decoder, pytest.raises(TransientFailure):
        decoder.decode(OBJECT)


def test_object_that_takes_too_long_is_rejected() -> None:
    with closing(Decoder(replace(BOUNDS, cpu_s=0.5))) as decoder:
        assert code(decoder, slow_rle()) == "dicom_needs_time"


def test_processor_time_counts_for_each_object() -> None:
    """Many quick objects use more time together than one may."""
    with closing(Decoder(replace(BOUNDS, cpu_s=2))) as decoder:
        decoder.decode(OBJECT)
        first, process = pid(decoder), psutil.Process(pid(decoder))
        large = as_file(grey_object(phantom_values(width=1_000)), JPEG2000Lossless)
        while sum(process.cpu_times()[:2]) < 4:
            decoder.decode(large)
        assert pid(decoder) == first


def test_object_that_needs_too_much_memory_is_rejected() -> None:
    values = np.zeros((9_000, 9_000), dtype=np.uint16)
    with closing(Decoder(replace(BOUNDS, memory_bytes=TIGHT_BYTES))) as decoder:
        assert code(decoder, as_file(grey_object(values))) == "dicom_needs_memory"
        assert decoder.decode(OBJECT).grey8.shape == VALUES.shape


def test_fault_of_the_machine_is_no_reason_to_reject(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_data: bytes) -> Picture:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("worker.dicom.picture.decode", fail)
    document, values = process._decoded(OBJECT)
    with pytest.raises(TransientFailure, match=os.strerror(errno.EIO)):
        _grey(json.loads(json.dumps(document)), values)


def test_nothing_is_started_before_the_first_object() -> None:
    assert Decoder(BOUNDS)._process is None


def test_closed_decoder_leaves_no_process() -> None:
    decoder = Decoder(BOUNDS)
    decoder.decode(OBJECT)
    number = pid(decoder)
    decoder.close()
    assert not psutil.pid_exists(number)


def test_process_ends_when_its_parent_is_killed() -> None:
    script = (
        "import sys, time; from worker.dicom.decoder import *; d = Decoder(Bounds(1 << 30, 60, 300));"
        "d.decode(sys.stdin.buffer.read()); print(d._process._popen.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(OBJECT)
        parent.stdin.close()
        number = int(parent.stdout.readline())
        assert psutil.pid_exists(number)
        parent.kill()
    wait_for(lambda: not _runs(number))


def test_process_works_in_a_forked_child() -> None:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_side_of, (OBJECT,)) == VALUES.shape


def test_process_has_no_settings_and_prints_nothing(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NIGHTREAD_DATABASE_URL", "postgresql://:secret@host/base")
    decoder.close()
    decoder.decode(OBJECT)
    code(decoder, OBJECT[:300])
    assert b"secret" not in Path(f"/proc/{pid(decoder)}/environ").read_bytes()
    assert capfd.readouterr() == ("", "")


def test_bounds_follow_the_settings() -> None:
    settings = Settings(dicom_memory_bytes=1 << 29, dicom_s=4)
    assert bounds_of(settings) == Bounds(1 << 29, 4, 12)


def _side_of(data: bytes) -> tuple[int, ...]:
    with closing(Decoder(BOUNDS)) as decoder:
        return decoder.decode(data).grey8.shape


def _runs(number: int) -> bool:
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
