"""How strong an image is at each fineness: its radial spectrum, the style of a machine.

In this data set sharpness and haze alone nearly tell the classes apart (docs/model.md), and another
machine has others. So training, and one of the validations, give images each other's spectra: where
things are stays (the phase), how strongly they show changes (the amplitude; Chen et al., ICCV 2021).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Floats = NDArray[np.float32]

# The mean and the coarsest waves are what is where, not how it shows.
_COARSEST = 2


def radial_spectra(images: Grey) -> Floats:
    """The mean log amplitude at each whole spatial frequency.

    Args:
        images: grey values 0..255, shape (n, side, side).

    Returns:
        Shape (n, k); natural logarithms, by cycles an edge from 0 to the corner's.
    """
    ring = _ring(images.shape[-1])
    counts = np.bincount(ring.ravel())
    measured = [
        np.bincount(ring.ravel(), np.log1p(np.abs(np.fft.rfft2(each.astype(np.float32)))).ravel()) / counts
        for each in images
    ]
    return np.asarray(measured, dtype=np.float32)


def restyled(image: Grey, gain: Floats) -> Grey:
    """Strengthen or weaken each frequency.

    Args:
        image: grey values 0..255, shape (side, side).
        gain: what is added to the log amplitude at each frequency, shape (k,), as in `radial_spectra`.

    Returns:
        Grey values 0..255, shape (side, side); what leaves the range is clipped.
    """
    factor = np.exp(gain)
    factor[:_COARSEST] = 1
    waves = np.fft.rfft2(image.astype(np.float32)) * factor[_ring(len(image))]
    return np.clip(np.rint(np.fft.irfft2(waves, image.shape)), 0, 255).astype(np.uint8)


@lru_cache(maxsize=4)
def _ring(side: int) -> NDArray[np.intp]:
    """The whole frequency of each coefficient of rfft2."""
    rows, columns = np.fft.fftfreq(side) * side, np.fft.rfftfreq(side) * side
    return np.asarray(np.rint(np.hypot(rows[:, np.newaxis], columns)), dtype=np.intp)
