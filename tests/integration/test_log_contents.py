"""The logs of a whole night have an entry for each image by its id, and never contain a file name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from bench.upload_client import upload
from tests.conftest import Stack
from tests.files import distinct
from worker.ledger.tables import Image

pytestmark = pytest.mark.stack

# Files and folders are often named after patients.
PATIENT = "DOE^JANE"


def test_logs_give_image_ids_and_never_file_names(
    make_stack: Callable[..., Stack], phantoms: list[Path]
) -> None:
    stack = make_stack(log_format="json", log_level="debug", chunk_size=2)
    stack.start()
    good = phantoms[0].read_bytes()
    (stack.settings.inbox / PATIENT).mkdir()
    stack.drop(f"{PATIENT}/1.jpg", good)
    for name, data in {
        "2.jpg": distinct(good, 2),
        "again.jpg": good,
        "broken off.jpg": good[: len(good) // 2],
        "letter.doc": b"Dear colleague",
        "empty.jpg": b"",
    }.items():
        stack.drop(f"{PATIENT} {name}", data)
    stack.wait_until_done(6)
    outside = stack.settings.data.parent / PATIENT
    outside.mkdir()
    (outside / f"{PATIENT} 3.jpg").write_bytes(distinct(good, 3))
    (outside / f"{PATIENT} 4.jpg").write_bytes(distinct(good, 4))
    imported = stack.run("import", str(outside), "--run", f"films of {PATIENT}")
    (outside / f"{PATIENT} 5.jpg").write_bytes(distinct(good, 5))
    upload(stack.settings, outside / f"{PATIENT} 5.jpg")
    stack.wait_until_done(9)
    stack.stop()

    log = stack.log.read_text()
    assert PATIENT not in log
    assert PATIENT not in imported.stderr
    lines = [json.loads(line) for line in (log + imported.stderr).splitlines() if line.startswith("{")]
    accepted = {i for line in lines if line["event"] == "accepted files" for i in line.get("new", [])}
    leased = {i for line in lines if line["event"] == "leased images" for i in line["images"]}
    outcomes = {
        int(i): outcome
        for line in lines
        if line["event"] == "screened images"
        for i, outcome in line["outcomes"].items()
    }
    with stack.ledger.reading() as session:
        images = {row.id: row for row in session.scalars(select(Image))}
    screened = {i for i, row in images.items() if row.reason_code not in {"empty", "not_an_image"}}
    assert len(screened) == 6
    assert accepted == leased == set(outcomes) == screened
    assert {i: images[i].verdict or images[i].reason_code for i in screened} == outcomes
    rejected = {i for line in lines for i in line.get("rejected", []) if line["event"] == "accepted files"}
    assert rejected == set(images) - screened
