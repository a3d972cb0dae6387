"""Statistics of times and memory that both benchmarks use."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import psutil


def median_and_p95(values: Sequence[float]) -> tuple[float, float]:
    """Return median and 95th percentile, rounded to one decimal; NaN if there are no values.

    The percentile is the nearest rank, so it is a value that was measured.
    """
    if not values:
        return math.nan, math.nan
    p95 = sorted(values)[math.ceil(0.95 * len(values)) - 1]
    return round(statistics.median(values), 1), round(p95, 1)


def peak_rss_mb(process: psutil.Process) -> float:
    """Return the peak resident memory of a process in MB; 0 if it has ended.

    On Linux this is VmHWM (proc(5)); elsewhere it is the present size. getrusage(2) is not used, because its
    figure starts at the size of the parent process.
    """
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return float(process.memory_info().rss / 1e6) if process.is_running() else 0.0
    kilobytes = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")), "0")
    return int(kilobytes) * 1024 / 1e6
