"""`nightread bench`: this machine's speed, all of it measured in one run on the same files.

The ceiling is a bare loop on all cores: read, hash, decode, forward, and nothing else. End to
end runs from the first file in the inbox to the last committed prediction and audit event of
a real `nightread up`, its settle time included, while uploads arrive beside the bulk.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import psutil
from sqlalchemy import func, select

from bench.measures import median_and_p95, peak_rss_mb
from bench.upload_client import upload
from worker.config import Settings
from worker.imagefile.limits import limits_of
from worker.imagefile.parts import with_comment
from worker.ledger.schema import open_ledger
from worker.ledger.session import Ledger
from worker.ledger.states import ImageState, Lane
from worker.ledger.tables import Image
from worker.screening import open_scorer

_READY_WITHIN_S = 60.0
_FINISHED_WITHIN_S = 86_400.0
_LOOK_EVERY_S = 0.1
_UPLOAD_EVERY_S = 0.3
_SEED_IMAGES = 48
_IDLE_UPLOADS = 30


def measure(settings: Settings, folder: Path, count: int) -> dict[str, Any]:
    """Measure, and give the document of `bench --json`. Raises ModelUnusable, ClickException."""
    sources = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"})
    if not sources:
        raise click.ClickException(f"There is no JPEG file in {folder}.")
    with tempfile.TemporaryDirectory(prefix="nightread-bench-") as name:
        room = Path(name)
        files = _distinct_files(sources, room / "files", count)
        idle = _distinct_files(sources, room / "idle", _IDLE_UPLOADS, start=count)
        for_upload = _distinct_files(
            sources, room / "uploads", max(20, count // 20), start=count + _IDLE_UPLOADS
        )
        click.echo(
            f"{count} files of {sum(f.stat().st_size for f in files) / count / 1e3:.0f} KB. Ceiling ...",
            err=True,
        )
        ceiling = _ceiling(settings, files)
        click.echo(f"{ceiling:.0f} images a second. End to end ...", err=True)
        measured = _end_to_end(settings, room / "data", files, idle, for_upload)
    click.echo("The replaced system's way ...", err=True)
    return {
        "count": count,
        **measured,
        "ceiling_images_per_s": round(ceiling, 1),
        "ratio": round(measured["end_to_end_images_per_s"] / ceiling, 3),
        "seed_path_images_per_s": _seed_path(folder),
        "cores": settings.workers,
    }


def as_text(said: dict[str, Any]) -> str:
    """The document for people."""
    seed = said["seed_path_images_per_s"]
    return "\n".join(
        [
            f"{said['count']} images on {said['cores']} cores",
            f"  end to end          {said['end_to_end_images_per_s']:8.1f} images a second",
            f"  ceiling             {said['ceiling_images_per_s']:8.1f} images a second, ratio {said['ratio']:.2f}",
            f"  the replaced system {seed:8.1f} images a second"
            if seed
            else "  the replaced system: no TensorFlow",
            f"  upload to verdict   {said['upload_p50_ms']:8.0f} ms median, {said['upload_p95_ms']:.0f} ms p95",
            f"  the same, idle      {said['idle_upload_p50_ms']:8.0f} ms median, {said['idle_upload_p95_ms']:.0f} ms p95",
            f"  ready after         {said['ready_s']:8.1f} s",
            *(
                f"  memory of {name:9} {said[f'{name}_peak_rss_mb']:8.0f} MB at most a process, "
                f"{said[f'{name}_peak_rss_mb_at_a_quarter']:.0f} MB after a quarter of the images"
                for name in ("worker", "watch")
            ),
        ]
    )


def _distinct_files(sources: Sequence[Path], folder: Path, count: int, start: int = 0) -> list[Path]:
    """`count` files that decode like the sources and differ in a comment."""
    folder.mkdir(parents=True)
    files = []
    for number in range(start, start + count):
        source = sources[number % len(sources)]
        target = folder / f"{number:07d}.jpg"
        target.write_bytes(with_comment(source.read_bytes(), f"nightread bench {number}"))
        files.append(target)
    return files


def _ceiling(settings: Settings, files: Sequence[Path]) -> float:
    shares = [list(files[core :: settings.workers]) for core in range(settings.workers)]
    context = multiprocessing.get_context("spawn")
    with context.Manager() as shared, ProcessPoolExecutor(settings.workers, mp_context=context) as pool:
        # Every process loads its model first; only the loop between the barrier and the end counts.
        barrier = shared.Barrier(settings.workers)
        running = [pool.submit(_bare_loop, settings.model_dump(), share, barrier) for share in shares]
        spans = [future.result() for future in running]
    return len(files) / (max(end for _, end in spans) - min(start for start, _ in spans))


def _bare_loop(
    given: dict[str, Any], files: Sequence[Path], barrier: threading.Barrier
) -> tuple[float, float]:
    """Score files in chunks, without ledger or queue; when the loop began and ended (epoch seconds)."""
    settings = Settings.model_validate(given)
    scorer, limits = open_scorer(settings), limits_of(settings)
    barrier.wait()
    start = time.time()
    for first in range(0, len(files), settings.chunk_size):
        inputs = []
        for path in files[first : first + settings.chunk_size]:
            data = path.read_bytes()
            hashlib.sha256(data).hexdigest()
            inputs.append(scorer.prepare(data, limits).model_input)
        scorer.score(inputs)
    return start, time.time()


def _end_to_end(
    settings: Settings, data: Path, files: Sequence[Path], idle: Sequence[Path], for_upload: Sequence[Path]
) -> dict[str, float]:
    own = settings.model_copy(update={"data": data, "database_url": "", "broker_url": "", "store": ""})
    before = time.perf_counter()
    with _running(own) as supervisor:
        ready_s = time.perf_counter() - before
        ledger = open_ledger(own.database)
        finished = threading.Event()
        idle_ms: list[float] = []
        _upload(own, idle, finished, idle_ms)
        latencies_ms: list[float] = []
        beside = threading.Thread(target=_upload, args=(own, for_upload, finished, latencies_ms))
        start = time.perf_counter()
        for path in files:
            path.rename(own.inbox / path.name)
        beside.start()
        _wait(lambda: _bulk_scored(ledger) >= len(files) // 4, _FINISHED_WITHIN_S, supervisor)
        early = _memory(supervisor)
        _wait(lambda: _bulk_scored(ledger) >= len(files), _FINISHED_WITHIN_S, supervisor)
        seconds = time.perf_counter() - start
        finished.set()
        beside.join()
        late = _memory(supervisor)
        ledger.close()
    uploads = len(latencies_ms)
    p50, p95 = median_and_p95(latencies_ms)
    idle_p50, idle_p95 = median_and_p95(idle_ms)
    return {
        "end_to_end_images_per_s": round((len(files) + uploads) / seconds, 1),
        "upload_p50_ms": p50,
        "upload_p95_ms": p95,
        "uploads": uploads,
        "idle_upload_p50_ms": idle_p50,
        "idle_upload_p95_ms": idle_p95,
        "ready_s": round(ready_s, 1),
        "worker_peak_rss_mb": late["worker"],
        "worker_peak_rss_mb_at_a_quarter": early["worker"],
        "watch_peak_rss_mb": late["watch"],
        "watch_peak_rss_mb_at_a_quarter": early["watch"],
    }


@contextmanager
def _running(settings: Settings) -> Iterator[psutil.Process]:
    """A real `nightread up` on a data folder of its own, ready; stopped at the end."""
    settings.inbox.mkdir(parents=True)
    given = settings.model_dump(mode="json", include=settings.model_fields_set | {"data", "model", "workers"})
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("NIGHTREAD_")},
        **{f"NIGHTREAD_{name.upper()}": str(value) for name, value in given.items()},
    }
    log_path = settings.data.parent / "up.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.cli", "up"], env=environment, stdout=log, stderr=log
        )
        try:
            _wait(lambda: b"Nightread is ready" in log_path.read_bytes(), _READY_WITHIN_S, process)
            yield psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


def _upload(
    settings: Settings, files: Sequence[Path], finished: threading.Event, latencies_ms: list[float]
) -> None:
    """Upload one image after another, beside the bulk or alone; from sending to the verdict."""
    for path in files:
        if finished.wait(_UPLOAD_EVERY_S):
            return
        start = time.perf_counter()
        upload(settings, path)
        latencies_ms.append(1e3 * (time.perf_counter() - start))


def _memory(supervisor: psutil.Process) -> dict[str, float]:
    """The most memory that the largest scoring process and the folder monitor have had so far, in MB.

    Asked twice: looking ten times a second took a tenth of what is measured.
    """
    of_command = {child.cmdline()[-1]: child for child in supervisor.children() if child.cmdline()}
    scoring = of_command["worker"].children()
    return {
        "worker": round(max(map(peak_rss_mb, scoring), default=float("nan")), 1),
        "watch": round(peak_rss_mb(of_command["watch"]), 1),
    }


def _bulk_scored(ledger: Ledger) -> int:
    scored = (Image.lane == Lane.OVERNIGHT) & (Image.state == ImageState.SCORED)
    with ledger.reading() as session:
        return session.scalar(select(func.count()).select_from(Image).where(scored)) or 0


def _seed_path(folder: Path) -> float | None:
    """The original application's way, in a process of its own; None where TensorFlow is not installed."""
    if importlib.util.find_spec("tensorflow") is None:
        return None
    command = [sys.executable, "-m", "training.baseline.speed", "--images", str(folder), "--json"]
    done = subprocess.run(
        [*command, "--count", str(_SEED_IMAGES)], capture_output=True, text=True, check=True
    )
    return float(json.loads(done.stdout)["images_per_s"])


def _wait(condition: Callable[[], bool], seconds: float, process: Any) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until or not psutil.pid_exists(process.pid):
            raise click.ClickException("Nightread did not get that far; is the port free?")
        time.sleep(_LOOK_EVERY_S)
