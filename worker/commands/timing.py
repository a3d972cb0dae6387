"""How long something took, told as both benches tell it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def median_and_p95(values: Sequence[float]) -> tuple[float, float]:
    """Both to one decimal; the 95th percentile as the nearest rank, a value that was measured. NaN of none."""
    if not values:
        return math.nan, math.nan
    p95 = sorted(values)[math.ceil(0.95 * len(values)) - 1]
    return round(statistics.median(values), 1), round(p95, 1)
