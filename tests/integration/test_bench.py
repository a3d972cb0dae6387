"""`nightread bench`, with the real program and few images: what it says, not how fast it is."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.conftest import Stack
from worker.phantom import write_phantom

COUNT = 40


def test_bench_document_has_its_published_keys(make_stack: Callable[..., Stack]) -> None:
    # At rest for a second first, so that there is time for uploads beside so few images.
    machine = make_stack(settle_s=1.0)
    images = machine.settings.data / "images"
    images.mkdir()
    for number in range(5):
        write_phantom(images / f"{number}.jpg", number)
    done = machine.run("bench", "--images", str(images), "--count", str(COUNT), "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["count"] == COUNT
    assert said["cores"] == machine.settings.workers
    positive = (
        "end_to_end_images_per_s",
        "ceiling_images_per_s",
        "seed_path_images_per_s",
        "worker_peak_rss_mb",
        "watch_peak_rss_mb",
        "ready_s",
    )
    assert all(said[key] > 0 for key in positive), said
    assert said["ratio"] == pytest.approx(
        said["end_to_end_images_per_s"] / said["ceiling_images_per_s"], rel=0.01
    )
    assert 0 < said["upload_p50_ms"] <= said["upload_p95_ms"]
    assert 0 < said["idle_upload_p50_ms"] <= said["idle_upload_p95_ms"]
    # A data folder of its own: nothing of it is among the user's images.
    assert machine.file_counts().received == 0
