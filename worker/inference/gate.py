"""Pure: may this image be scored at all? So far: does it show anything?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worker.errors import RejectedImage
from worker.inference.exposure import bounds

# Grey levels between the 1st and the 99th percentile. The flattest of 5,910 real radiographs
# (children's and adults') spans 85; a page of one colour with JPEG noise spans 0 to 4.
# Below 16 levels the stretch to 256 would enlarge coding noise more than sixteenfold.
SMALLEST_SPAN = 16


def check(grey: NDArray[np.uint8]) -> None:
    """Pass an image on, or say why it must not be scored.

    Args:
        grey: grey values 0..255 *before* the exposure is stretched, shape (side, side).

    Raises:
        RejectedImage: `blank`, when the grey values hardly differ.
    """
    low, high = bounds(grey)
    if high - low < SMALLEST_SPAN:
        raise RejectedImage("blank")
