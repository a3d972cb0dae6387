"""`nightread bench-dicom` with the real program and few small objects: its document, not the speed."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.conftest import Stack

COUNT = 8
SYNTAXES = {"native": COUNT, "jpeg_lossless_sv1": COUNT, "jpeg_ls": COUNT // 2, "jpeg_2000": COUNT // 4}
KINDS = {"up", "watch", "web", "worker", "scoring", "decoder", "valkey"}


def test_bench_dicom_document_has_rates_ratio_and_memory(make_stack: Callable[..., Stack]) -> None:
    machine = make_stack()
    completed = machine.run("bench-dicom", "--count", str(COUNT), "--rounds", "2", "--width", "400", "--json")
    assert completed.returncode == 0, completed.stderr
    document = json.loads(completed.stdout)
    assert (document["count"], document["rounds"], document["columns"]) == (COUNT, 2, 400)
    assert document["cores"] == machine.settings.workers
    assert {name: found["objects"] for name, found in document["syntaxes"].items()} == SYNTAXES
    for found in document["syntaxes"].values():
        assert len(found["rounds"]) == 2
        assert found["end_to_end_objects_per_s"] > 0
        assert found["loop_objects_per_s"] > 0
        for measured in found["rounds"]:
            assert measured["ratio"] == pytest.approx(
                measured["end_to_end_objects_per_s"] / measured["loop_objects_per_s"], rel=0.05
            )
        assert found["memory"].keys() >= KINDS
        assert all(found["memory"][kind]["last_quarter_mb"] > 0 for kind in KINDS)
    # bench-dicom uses its own data folder and database.
    assert machine.file_counts().received == 0
