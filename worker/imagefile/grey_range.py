"""The grey values that matter in a picture of up to 16 bits, which has no display window."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # The process that makes renditions needs NumPy for few files, and would need 0.1 s to import it.
    import numpy as np
    from numpy.typing import NDArray

HIGHEST = 0xFFFF
# The share of pixels at each end that the range leaves out, and the part of its width that is added again at each end.
_TAIL, _MARGIN = 0.005, 0.05


def robust_range(values: NDArray[np.uint16]) -> tuple[int, int]:
    """Return the lowest and highest value that matter, of grey values of up to 16 bits in any shape.

    The least and the greatest value are left out first: a black border and a burnt-in label take them, and may
    be far from the rest. Of the others, half a per cent at each end is left out, then 5 % of the width is added.
    """
    import numpy as np

    return range_of_counts(np.bincount(values.ravel(), minlength=HIGHEST + 1))


def range_of_counts(counts: NDArray[np.int64]) -> tuple[int, int]:
    """Return the range of `robust_range` of a picture in which the grey value n occurs `counts[n]` times."""
    import numpy as np

    present = np.flatnonzero(counts)
    first, last = int(present[0]), int(present[-1])
    inner = counts.copy()
    inner[[first, last]] = 0
    if not inner.any():
        return first, last
    share = np.cumsum(inner) / inner.sum()
    low, high = (int(np.searchsorted(share, part)) for part in (_TAIL, 1 - _TAIL))
    margin = round(_MARGIN * (high - low))
    return max(first, low - margin), min(last, high + margin)


def spread(values: NDArray[np.uint16], low: int, high: int, highest: int) -> NDArray[np.uint16]:
    """Map the range from `low` to `high` to 0..`highest`; values outside of it become 0 or `highest`."""
    import numpy as np

    steps = (np.arange(HIGHEST + 1, dtype=np.float64) - low) * (highest / max(1, high - low))
    table = np.clip(np.rint(steps), 0, highest).astype(np.uint16)
    spread_values: NDArray[np.uint16] = table[values]
    return spread_values
