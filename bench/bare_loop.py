"""Measures a bare loop over files: one process for each core, without ledger or queue. It is what Nightread could reach."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

from bench.program import bundled
from worker.config import Settings

# Takes the settings, loads what it needs, and returns the function that works through a chunk of files.
Loop = Callable[[Settings], Callable[[Sequence[Path]], None]]


def rate(settings: Settings, files: Sequence[Path], loop: Loop) -> float:
    """Return the files that all processes together work through in a second; `loop` is a function of a module."""
    shares = [list(files[core :: settings.workers]) for core in range(settings.workers)]
    context = multiprocessing.get_context("spawn")
    with context.Manager() as shared, ProcessPoolExecutor(settings.workers, mp_context=context) as pool:
        # Every process loads its model first; only the time after the barrier counts.
        barrier = shared.Barrier(settings.workers)
        dump = bundled(settings).model_dump()
        running = [pool.submit(_span, dump, share, loop, barrier) for share in shares]
        spans = [future.result() for future in running]
    return len(files) / (max(end for _, end in spans) - min(start for start, _ in spans))


def _span(
    settings_dump: dict[str, Any], files: Sequence[Path], loop: Loop, barrier: Barrier
) -> tuple[float, float]:
    """Work through the files in chunks and return start and end (epoch seconds)."""
    settings = Settings.model_validate(settings_dump)
    work = loop(settings)
    barrier.wait()
    start = time.time()
    for first in range(0, len(files), settings.chunk_size):
        work(files[first : first + settings.chunk_size])
    return start, time.time()
