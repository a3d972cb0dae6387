"""Bad files of every kind arrive together. Each gets its reason, and the good files are scored."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.conftest import Stack, wait_for
from tests.files import cmyk_jpeg, distinct, encoded, png_of
from tests.filling import assert_consistent
from worker.ledger.tables import Image, Prediction, Receipt

pytestmark = pytest.mark.stack


def bad_files(good: bytes) -> dict[str, tuple[bytes, str, str]]:
    """Return file name -> (bytes, reason code, reason)."""
    from PIL import Image as Pillow

    blank = encoded(Pillow.new("L", (300, 300), 128), "JPEG")
    return {
        "letter.jpg": (
            b"Dear colleague,\nthe X-ray is attached.",
            "not_an_image",
            "The file is not an image that Nightread can read (DICOM, JPEG or PNG).",
        ),
        "empty.jpg": (b"", "empty", "The file is empty."),
        "broken off.jpg": (
            good[: len(good) // 2],
            "truncated",
            "The file ends before the image is complete.",
        ),
        "printed.jpg": (
            cmyk_jpeg(),
            "cmyk",
            "The image has the four ink colours of print (CMYK) instead of grey values.",
        ),
        "lost block.jpg": (
            good[: len(good) // 3] + good[len(good) // 2 :],
            "damaged",
            "The file is damaged: part of the image is missing or wrong. Send it again.",
        ),
        "bomb.png": (
            png_of(50_000, 50_000),
            "too_many_pixels",
            "The image has 50000 x 50000 pixels; the limit is 100000000 pixels.",
        ),
        "blank.jpg": (blank, "blank", "The image is blank: its grey values hardly differ."),
    }


def test_bad_files_get_their_reason_and_good_files_are_scored(
    make_stack: Callable[..., Stack], phantoms: list[Path]
) -> None:
    # Far longer than the pause between two writes to the growing file, however busy the machine is.
    stack, good = make_stack(settle_s=4.0), phantoms[0].read_bytes()
    stack.start()
    bad = bad_files(good)
    link = stack.settings.inbox / "link.jpg"
    link.symlink_to(phantoms[1])
    for name, (data, _, _) in bad.items():
        stack.drop(name, data)

    growing = stack.settings.inbox / "growing.jpg"
    complete = distinct(good, 1)
    step = len(complete) // 60
    with growing.open("wb", buffering=0) as file:
        for start in range(0, len(complete), step):
            file.write(complete[start : start + step])
            time.sleep(0.1)
            assert growing.exists(), "the file was accepted before it was complete"

    wait_for(lambda: not growing.exists(), stack.log_tail)
    stack.drop("good.jpg", good)
    counts = stack.wait_until_done(len(bad) + 2)
    assert (counts.received, counts.scored, counts.rejected) == (len(bad) + 2, 2, len(bad))
    assert assert_consistent(stack.ledger) == counts
    assert sorted(path.name for path in stack.settings.inbox.iterdir()) == ["link.jpg"]

    with stack.ledger.reading() as session:
        images = {row.original_name: row for row in session.scalars(select(Image))}
        receipts = {row.original_name: row.outcome for row in session.scalars(select(Receipt))}
        scored = set(session.scalars(select(Prediction.image_id)))
    for name, (_, code, sentence) in bad.items():
        assert (images[name].state, images[name].reason_code, images[name].reason) == (
            "rejected",
            code,
            sentence,
        )
        # Only decoding shows these faults. The worker finds them later, so the receipt's outcome is `new`.
        assert receipts[name] == ("new" if code in {"truncated", "damaged", "blank"} else "rejected")
    assert scored == {images["growing.jpg"].id, images["good.jpg"].id}

    # A person retries a rejected image: the worker applies the same limits.
    bomb_id = images["bomb.png"].id
    assert stack.run("retry", str(bomb_id), "--why", "the modality says that it is sound").returncode == 0
    wait_for(lambda: stack.file_counts().rejected == len(bad), stack.log_tail)
    with stack.ledger.reading() as session:
        retried = session.get_one(Image, bomb_id)
        assert (retried.state, retried.reason_code) == ("rejected", "too_many_pixels")
        assert bomb_id not in set(session.scalars(select(Prediction.image_id)))
    assert json.loads(stack.run("status", "--json").stdout)["balanced"] is True
    assert_consistent(stack.ledger)
