"""How long something took and how large it grew, told as both benches tell it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import psutil


def median_and_p95(values: Sequence[float]) -> tuple[float, float]:
    """Both to one decimal; the 95th percentile as the nearest rank, a value that was measured. NaN of none."""
    if not values:
        return math.nan, math.nan
    p95 = sorted(values)[math.ceil(0.95 * len(values)) - 1]
    return round(statistics.median(values), 1), round(p95, 1)


def peak_rss_mb(process: psutil.Process) -> float:
    """The most memory a process has had, as Linux counts it (proc(5), VmHWM); elsewhere, what it has now.

    0 of one that has ended. Not getrusage(2), whose figure begins with the size of the parent.
    """
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return float(process.memory_info().rss / 1e6) if process.is_running() else 0.0
    kilobytes = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")), "0")
    return int(kilobytes) * 1024 / 1e6
