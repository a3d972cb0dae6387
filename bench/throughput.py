"""`nightread bench`: measures the speed of this machine in one run on the same files.

The ceiling is a bare loop on all cores: read, hash, decode and predict, nothing else. End to end is a real
`nightread up`, from the first file in the inbox to the last committed prediction and audit event, including
the settle time, while uploads arrive at the same time.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import psutil
from sqlalchemy import select

from bench import bare_loop
from bench.measures import median_and_p95, peak_rss_mb
from bench.processor_time import ms_an_image, processor_seconds
from bench.program import rate_between, running, when_reached
from bench.upload_client import upload
from worker.config import Settings
from worker.imagefile.limits import limits_of
from worker.imagefile.parts import with_comment
from worker.ledger.schema import open_ledger
from worker.ledger.session import Ledger
from worker.ledger.states import ImageState
from worker.ledger.tables import Process
from worker.screening import open_scorer

_UPLOAD_EVERY_S = 0.3
_BASELINE_IMAGES = 48
_IDLE_UPLOADS = 30


def measure(settings: Settings, folder: Path, count: int, *, program_only: bool = False) -> dict[str, Any]:
    """Measure and return the document of `bench --json`.

    Args:
        settings: of the program; data folder, database and broker are the measurement's own.
        folder: of JPEG files.
        count: number of distinct files to make from them.
        program_only: measure neither the bare loop, nor the replaced application, nor uploads to an idle program.

    Raises:
        ModelUnusable: the model cannot be used.
        ClickException: the folder has no JPEG file, or the program stopped.
    """
    sources = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"})
    if not sources:
        raise click.ClickException(f"There is no JPEG file in {folder}.")
    with tempfile.TemporaryDirectory(prefix="nightread-bench-") as name:
        workspace = Path(name)
        files = _distinct_files(sources, workspace / "files", count)
        idle = _distinct_files(sources, workspace / "idle", 0 if program_only else _IDLE_UPLOADS, start=count)
        for_upload = _distinct_files(
            sources, workspace / "uploads", max(20, count // 20), start=count + _IDLE_UPLOADS
        )
        size_kb = sum(file.stat().st_size for file in files) / count / 1e3
        click.echo(f"{count} files of {size_kb:.0f} KB.", err=True)
        document: dict[str, Any] = {"count": count, "cores": settings.workers}
        ceiling = None if program_only else _ceiling(settings, files)
        click.echo("End to end ...", err=True)
        document |= _end_to_end(settings, workspace / "data", files, idle, for_upload)
    if ceiling is not None:
        click.echo("The replaced application ...", err=True)
        document |= _compared(document, ceiling) | {"seed_path_images_per_s": _baseline_rate(folder)}
    return document


def as_text(document: dict[str, Any]) -> str:
    """Return the document as text for people."""
    return "\n".join(
        [
            f"{document['count']} images on {document['cores']} cores",
            f"  end to end          {document['end_to_end_images_per_s']:8.1f} images a second",
            *_lines_of_comparison(document),
            *(
                f"  {label:19} {document[f'{name}_p50_ms']:8.0f} ms median, {document[f'{name}_p95_ms']:.0f} ms p95"
                for label, name in (("upload to verdict", "upload"), ("the same, idle", "idle_upload"))
                if f"{name}_p50_ms" in document
            ),
            f"  ready after         {document['ready_s']:8.1f} s",
            "  processor time an image, end to end:",
            *(
                f"    {name.replace('_', ' '):18}{ms:8.2f} ms"
                for name, ms in document["processor_ms_an_image"].items()
            ),
            *(
                f"  memory of {name:9} {document[f'{name}_peak_rss_mb']:8.0f} MB peak for one process, "
                f"{document[f'{name}_peak_rss_mb_at_a_quarter']:.0f} MB after a quarter of the images"
                for name in ("worker", "watch")
            ),
        ]
    )


def _lines_of_comparison(document: dict[str, Any]) -> list[str]:
    if "ratio" not in document:
        return []
    steady, baseline = document["steady_ratio"], document["seed_path_images_per_s"]
    return [
        f"  ceiling             {document['ceiling_images_per_s']:8.1f} images a second, ratio {document['ratio']:.2f}"
        + ("" if steady is None else f", between the first and the last quarter {steady:.2f}"),
        f"  replaced app        {baseline:8.1f} images a second"
        if baseline
        else "  replaced app: not measured, because TensorFlow is not installed",
        f"  processor time      {document['ceiling_processor_ms_an_image']:8.1f} ms an image in the loop",
    ]


def _compared(document: dict[str, Any], ceiling: float) -> dict[str, Any]:
    steady = document["steady_images_per_s"]
    return {
        "ceiling_images_per_s": round(ceiling, 1),
        "ceiling_processor_ms_an_image": round(1e3 * document["cores"] / ceiling, 2),
        "ratio": round(document["end_to_end_images_per_s"] / ceiling, 3),
        "steady_ratio": None if steady is None else round(steady / ceiling, 3),
    }


def _ceiling(settings: Settings, files: Sequence[Path]) -> float:
    click.echo("Ceiling ...", err=True)
    ceiling = bare_loop.rate(settings, files, _loop)
    click.echo(f"{ceiling:.0f} images a second.", err=True)
    return ceiling


def _distinct_files(sources: Sequence[Path], folder: Path, count: int, start: int = 0) -> list[Path]:
    """Write `count` files that decode like the sources and differ in a comment."""
    folder.mkdir(parents=True)
    files = []
    for number in range(start, start + count):
        source = sources[number % len(sources)]
        target = folder / f"{number:07d}.jpg"
        target.write_bytes(with_comment(source.read_bytes(), f"nightread bench {number}"))
        files.append(target)
    return files


def _loop(settings: Settings) -> Callable[[Sequence[Path]], None]:
    """Load the model and return the function that scores a chunk: read, hash, decode and predict, nothing else."""
    scorer, limits = open_scorer(settings), limits_of(settings)

    def score(files: Sequence[Path]) -> None:
        inputs = []
        for path in files:
            data = path.read_bytes()
            hashlib.sha256(data).hexdigest()
            inputs.append(scorer.prepare(data, limits))
        scorer.score(inputs)

    return score


def _end_to_end(
    settings: Settings, data: Path, files: Sequence[Path], idle: Sequence[Path], for_upload: Sequence[Path]
) -> dict[str, Any]:
    before = time.perf_counter()
    with running(settings, data) as (bench_settings, supervisor):
        ready_s = time.perf_counter() - before
        ledger = open_ledger(bench_settings.database)
        bulk_scored = threading.Event()
        idle_ms: list[float] = []
        _upload(bench_settings, idle, bulk_scored, idle_ms)
        latencies_ms: list[float] = []
        uploader = threading.Thread(
            target=_upload, args=(bench_settings, for_upload, bulk_scored, latencies_ms)
        )
        before_bulk = processor_seconds(supervisor)
        start = time.perf_counter()
        for path in files:
            path.rename(bench_settings.inbox / path.name)
        uploader.start()
        first_quarter = when_reached(ledger, len(files) // 4, supervisor, ImageState.SCORED)
        early = _memory(ledger)
        last_quarter = when_reached(ledger, len(files) - len(files) // 4, supervisor, ImageState.SCORED)
        when_reached(ledger, len(files), supervisor, ImageState.SCORED)
        seconds = time.perf_counter() - start
        after_bulk = processor_seconds(supervisor)
        bulk_scored.set()
        uploader.join()
        late = _memory(ledger)
        ledger.close()
    uploads = len(latencies_ms)
    return {
        "end_to_end_images_per_s": round((len(files) + uploads) / seconds, 1),
        "steady_images_per_s": rate_between(first_quarter, last_quarter),
        "uploads": uploads,
        **_upload_times("upload", latencies_ms),
        **_upload_times("idle_upload", idle_ms),
        "ready_s": round(ready_s, 1),
        "worker_peak_rss_mb": late["worker"],
        "worker_peak_rss_mb_at_a_quarter": early["worker"],
        "watch_peak_rss_mb": late["watch"],
        "watch_peak_rss_mb_at_a_quarter": early["watch"],
        "processor_ms_an_image": ms_an_image(before_bulk, after_bulk, len(files) + uploads),
    }


def _upload(
    settings: Settings, files: Sequence[Path], stop: threading.Event, latencies_ms: list[float]
) -> None:
    """Upload one image after another and append the time from upload to verdict of each."""
    for path in files:
        if stop.wait(_UPLOAD_EVERY_S):
            return
        start = time.perf_counter()
        upload(settings, path)
        latencies_ms.append(1e3 * (time.perf_counter() - start))


def _upload_times(name: str, latencies_ms: Sequence[float]) -> dict[str, float]:
    if not latencies_ms:
        return {}
    p50, p95 = median_and_p95(latencies_ms)
    return {f"{name}_p50_ms": p50, f"{name}_p95_ms": p95}


def _memory(ledger: Ledger) -> dict[str, float]:
    """Return the peak memory of the largest scoring process and of the watcher so far, in MB.

    Called twice only: polling ten times a second took a tenth of the throughput.
    """
    with ledger.reading() as session:
        of_name = {
            name: psutil.Process(pid) for name, pid in session.execute(select(Process.name, Process.pid))
        }
    scoring = of_name["worker"].children()
    return {
        "worker": round(max(map(peak_rss_mb, scoring), default=float("nan")), 1),
        "watch": round(peak_rss_mb(of_name["watch"]), 1),
    }


def _baseline_rate(folder: Path) -> float | None:
    """Return the images a second of the replaced application; None if TensorFlow is not installed."""
    if importlib.util.find_spec("tensorflow") is None:
        return None
    command = [sys.executable, "-m", "training.baseline.speed", "--images", str(folder), "--json"]
    completed = subprocess.run(
        [*command, "--count", str(_BASELINE_IMAGES)], capture_output=True, text=True, check=True
    )
    return float(json.loads(completed.stdout)["images_per_s"])
