"""Hostile and broken DICOM objects at the entrances of the real program: each gets one outcome, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select

from tests.conftest import Stack, free_port
from tests.dicom import DCMSEND, STORESCU, call, radiograph, write
from tests.filling import assert_consistent
from tests.hostile_objects import hostile_objects
from worker.ledger.tables import Image, Receipt

pytestmark = [pytest.mark.stack, pytest.mark.slow]

# What must not be scored, and why.
CODES = {
    "deflate bomb before the pixels": "too_many_parts",
    "deeper nest": "too_many_parts",
    "65535 x 65535 in RLE Lossless": "too_many_pixels",
    "10000 x 10000 in the codestream as well": "truncated",
    "cut at 50 %": "truncated",
    "one column too few": "dicom_pixel_bytes",
    "RLE Lossless that states JPEG 2000 Image Compression (Lossless Only)": "dicom_frame_kind",
    "two frames": "dicom_multi_frame",
    "more bits stored than allocated": "dicom_tag_wrong",
    "rescale slope 0": "dicom_tag_wrong",
    "rescale slope NaN": "dicom_tag_unreadable",
    "empty photometric interpretation": "dicom_tag_missing",
}
HARMFUL = ("deflate", "deep", "many", "65535", "10000", "RLE bomb", "thousands")
SCORED = ("window width 0", "VOI LUT with two descriptors", "group length 4294967295 of group 8")


@pytest.fixture
def stack(make_stack: Callable[..., Stack]) -> Stack:
    # A second of processor time for each object: none of them needs more.
    return make_stack(dicom_port=free_port(), dicom_s=1.0, broken_off_s=1.0, log_format="json")


def test_each_hostile_object_gets_one_outcome(stack: Stack, tmp_path: Path) -> None:
    stack.start()
    objects = hostile_objects()
    files = []
    for number, data in enumerate(objects.values()):
        stack.drop(f"{number}.dcm", data)
        files.append(tmp_path / f"{number}.dcm")
        files[-1].write_bytes(data)
    counts = stack.wait_until_done(len(objects))
    assert (counts.received, counts.quarantined, counts.balanced) == (len(objects), 0, True)
    with stack.ledger.reading() as session:
        rows = {row.original_name: row for row in session.scalars(select(Image))}
    of_name = {name: rows[path.name] for name, path in zip(objects, files, strict=True)}
    assert {name: of_name[name].reason_code for name in CODES} == CODES
    assert {of_name[name].state for name in SCORED} == {"scored"}
    for row in rows.values():
        assert (row.state == "scored") != bool(row.reason), row.original_name
        assert row.reason_code not in {"dicom_needs_time", "dicom_needs_memory", "dicom_decoder_failed"}

    screened = json.loads(stack.run("screen", "--json", *map(str, files)).stdout)
    assert [(found["outcome"], found["reason"]) for found in screened] == [
        (rows[path.name].state, rows[path.name].reason) for path in files
    ]

    # DCMTK does not send what it cannot read itself, and takes minutes to read bombs and nests. The receiver answers all
    # the others, and then one that is whole.
    sent_files = [path for name, path in zip(objects, files, strict=True) if not name.startswith(HARMFUL)]
    good = write(radiograph(1), tmp_path / "good.dcm")
    for program, option in ((STORESCU, "-R"), (DCMSEND, "--decompress-never")):
        call(program, stack.settings.dicom_port, "--no-halt", option, *sent_files)
        call(program, stack.settings.dicom_port, good)
    counts = stack.wait_until_done(0)
    assert (counts.quarantined, counts.balanced) == (0, True)
    with stack.ledger.reading() as session:
        sent = session.scalar(select(func.count()).where(Receipt.source == "dicom"))
        of_good = select(Receipt.outcome).where(
            Receipt.original_name == f"{radiograph(1).SOPInstanceUID}.dcm"
        )
        assert session.scalars(of_good).all()[0] == "new"
    assert sent is not None
    assert sent > len(objects) // 2, stack.log_tail()
    assert "Traceback" not in stack.log.read_text()
    assert "Planted" not in stack.log.read_text()
    assert not list(stack.settings.incoming.iterdir())
    assert_consistent(stack.ledger)
