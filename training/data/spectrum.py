"""Radial spectra: how strong an image is at each spatial frequency.

In this data set, sharpness and haze alone nearly separate the classes (docs/training.md), and other machines
produce other values. Training, and one of the validation conditions, therefore give images the spectra of
other images: the phase (where structures lie) stays, the amplitude (how strongly they show) changes (Chen
et al., ICCV 2021).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Floats = NDArray[np.float32]

# The mean and the coarsest waves describe the anatomy, not the style.
_COARSEST = 2


def radial_spectra(images: Grey) -> Floats:
    """Return the mean log amplitude at each integer spatial frequency.

    Args:
        images: grey values 0..255, shape (n, side, side).

    Returns:
        Natural logarithms, shape (n, k), from 0 cycles an edge to the frequency of the corner.
    """
    ring = _ring(images.shape[-1])
    counts = np.bincount(ring.ravel())
    measured = [
        np.bincount(ring.ravel(), np.log1p(np.abs(np.fft.rfft2(image.astype(np.float32)))).ravel()) / counts
        for image in images
    ]
    return np.asarray(measured, dtype=np.float32)


def restyled(image: Grey, gain: Floats) -> Grey:
    """Return the image with each spatial frequency amplified or attenuated.

    Args:
        image: grey values 0..255, shape (side, side).
        gain: added to the log amplitude at each frequency, shape (k,), as in `radial_spectra`.

    Returns:
        Grey values, clipped to 0..255, shape (side, side).
    """
    factor = np.exp(gain)
    factor[:_COARSEST] = 1
    waves = np.fft.rfft2(image.astype(np.float32)) * factor[_ring(len(image))]
    return np.clip(np.rint(np.fft.irfft2(waves, image.shape)), 0, 255).astype(np.uint8)


@lru_cache(maxsize=4)
def _ring(side: int) -> NDArray[np.intp]:
    """Return the integer frequency of each coefficient of rfft2."""
    rows, columns = np.fft.fftfreq(side) * side, np.fft.rfftfreq(side) * side
    return np.asarray(np.rint(np.hypot(rows[:, np.newaxis], columns)), dtype=np.intp)
