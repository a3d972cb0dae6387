"""`nightread bench-dicom` with the real program and few small objects: its document, not the speed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import dicom
from tests.conftest import Stack

COUNT = 8
SYNTAXES = {"native": COUNT, "jpeg_lossless_sv1": COUNT, "jpeg_ls": COUNT // 2, "jpeg_2000": COUNT // 4}
KINDS = {"up", "watch", "web", "worker", "scoring", "decoder", "valkey"}


def test_bench_dicom_document_has_rates_ratio_and_memory(make_stack: Callable[..., Stack]) -> None:
    machine = make_stack()
    completed = machine.run("bench-dicom", "--count", str(COUNT), "--rounds", "1", "--width", "400", "--json")
    assert completed.returncode == 0, completed.stderr
    document = json.loads(completed.stdout)
    assert (document["count"], document["rounds"], document["columns"]) == (COUNT, 1, 400)
    assert document["cores"] == machine.settings.workers
    assert {name: found["objects"] for name, found in document["syntaxes"].items()} == SYNTAXES
    for found in document["syntaxes"].values():
        assert len(found["rounds"]) == 1
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


def test_figures_are_medians_of_the_rounds_and_the_highest_memory(tmp_path: Path) -> None:
    files = [tmp_path / "small", tmp_path / "large"]
    for file, size in zip(files, (1_000_000, 3_000_000), strict=True):
        file.write_bytes(bytes(size))
    rounds = [
        dicom._Round(
            loop, end_to_end, steady, {"worker": {"first_quarter_mb": first, "last_quarter_mb": last}}
        )
        for loop, end_to_end, steady, first, last in (
            (4.0, 1.0, 2.0, 90.0, 80.0),
            (2.0, 1.5, None, 70.0, 95.0),
            (8.0, 6.0, 6.4, 60.0, 60.0),
        )
    ]
    found = dicom._summary(files, rounds)
    assert (found["objects"], found["mb_of_an_object"]) == (2, 2.0)
    assert (found["loop_objects_per_s"], found["end_to_end_objects_per_s"], found["ratio"]) == (
        4.0,
        1.5,
        0.75,
    )
    assert [measured["ratio"] for measured in found["rounds"]] == [0.25, 0.75, 0.75]
    assert found["steady_ratio"] == 0.65
    assert [measured["steady_ratio"] for measured in found["rounds"]] == [0.5, None, 0.8]
    assert found["memory"] == {"worker": {"first_quarter_mb": 90.0, "last_quarter_mb": 95.0}}
