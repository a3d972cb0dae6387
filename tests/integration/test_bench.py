"""`nightread bench` with the real program and few images: its document, not the speed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.program import rate_between
from tests.conftest import Stack
from worker.phantom import write_phantom

COUNT = 40


def test_bench_document_has_its_published_keys(make_stack: Callable[..., Stack], tmp_path: Path) -> None:
    secret = tmp_path / "database"
    secret.touch(0o600)
    secret.write_text(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    # A settle time of one second leaves time for uploads while so few images are scored.
    machine = make_stack(settle_s=1.0, database_url_file=str(secret))
    images = machine.settings.data / "images"
    images.mkdir()
    for number in range(5):
        write_phantom(images / f"{number}.jpg", number)
    completed = machine.run("bench", "--images", str(images), "--count", str(COUNT), "--json")
    assert completed.returncode == 0, completed.stderr
    document = json.loads(completed.stdout)
    assert document["count"] == COUNT
    assert document["cores"] == machine.settings.workers
    positive = (
        "end_to_end_images_per_s",
        "ceiling_images_per_s",
        "seed_path_images_per_s",
        "worker_peak_rss_mb",
        "watch_peak_rss_mb",
        "ready_s",
    )
    assert all(document[key] > 0 for key in positive), document
    assert document["ratio"] == pytest.approx(
        document["end_to_end_images_per_s"] / document["ceiling_images_per_s"], rel=0.01
    )
    if document["steady_images_per_s"] is not None:
        steady = document["steady_images_per_s"] / document["ceiling_images_per_s"]
        assert document["steady_ratio"] == pytest.approx(steady, rel=0.01)
    parts = document["processor_ms_an_image"]
    assert set(parts) >= {
        "scoring",
        "worker",
        "watch",
        "web",
        "broker",
        "supervisor",
        "idle",
        "other_programs",
    }
    assert parts["scoring"] > parts["supervisor"] >= 0
    # Together, the parts are all that the machine's cores had.
    cores_ms = 1e3 * (os.cpu_count() or 0) / document["end_to_end_images_per_s"]
    assert sum(parts.values()) == pytest.approx(cores_ms, rel=0.25)
    assert 0 < document["upload_p50_ms"] <= document["upload_p95_ms"]
    assert 0 < document["idle_upload_p50_ms"] <= document["idle_upload_p95_ms"]
    # bench uses its own data folder and database, so nothing was added to the ledger of the user.
    assert machine.file_counts().received == 0


def test_steady_rate_needs_images_that_were_scored_between_the_readings() -> None:
    assert rate_between((250, 10.0), (760, 12.0)) == 255.0
    assert rate_between((40, 10.0), (40, 10.1)) is None
