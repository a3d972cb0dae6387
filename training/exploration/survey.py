"""One pass over a data set that measures every file.

Each file is read and decoded once, by the preprocessing that training and screening share. About 6 kB an image
stay in memory.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.exploration.duplicates import fine_detail, perceptual_hash
from training.exploration.inventory import ListedImage
from worker.errors import RejectedImage
from worker.inference.exposure import normalise
from worker.inference.preprocess import checked_grey

# Networks see about this size; exposure and sharpness are measured at it.
SIDE = 128
BINS = 64
EXPOSURE = ("brightness", "contrast", "black", "white", "sharpness")
BLACK, WHITE = 12, 243  # of 255: beyond detector noise and coding errors
_AT_ONCE = 256

Grey = NDArray[np.uint8]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class File:
    """One file on disk.

    Attributes:
        sha256: of its bytes.
        bytes: size.
        size: width and height in pixels.
        mode: pixel format: L is grey, RGB colour.
        coarseness: mean divisor in the JPEG's luminance table (ITU-T T.81, A.3.4): about 5 at quality 95,
            29 at 75; 0 for PNG, which is lossless.
    """

    sha256: str
    bytes: int
    size: tuple[int, int]
    mode: str
    coarseness: float


@dataclass(frozen=True)
class UnusableImage:
    """An image that cannot be used, and why: a code of `worker.errors.REJECTIONS`, or `unreadable`."""

    listed: ListedImage
    code: str
    sentence: str


@dataclass(frozen=True)
class Survey:
    """The measurements of a data set. Arrays have one row for each image of `images`, in order.

    Attributes:
        images: the usable images.
        files: the file of each.
        rejected: the other images.
        exposure: the columns of EXPOSURE as decoded, shape (n, 5).
        evened: the same after the preprocessing has normalised the exposure.
        histogram: share of pixels in each of 64 bins of grey values, shape (n, 64).
        hashes: of `duplicates.perceptual_hash`, shape (n,).
        details: of `duplicates.fine_detail`, shape (n, 4096).
        averages: for each kind, the mean of its images outside the test split.
    """

    images: list[ListedImage]
    files: list[File]
    rejected: list[UnusableImage]
    exposure: Floats
    evened: Floats
    histogram: NDArray[np.float32]
    hashes: NDArray[np.uint64]
    details: NDArray[np.int8]
    averages: dict[str, Grey]

    def outside_test(self) -> NDArray[np.bool_]:
        """Return which images are outside the test split. Only those may be shown and measured."""
        return np.array([image.split != "test" for image in self.images], dtype=bool)


def survey(images: Sequence[ListedImage], advance: Callable[[int], None]) -> Survey:
    """Read, decode and measure all images, on all cores.

    Args:
        images: of `inventory.take_inventory`.
        advance: called with the number of images of each finished batch.
    """
    collected = _Collected()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(images), _AT_ONCE):
            part = images[start : start + _AT_ONCE]
            for listed, read in zip(part, pool.map(_read, part), strict=True):
                collected.add(listed, read)
            advance(len(part))
    return collected.survey()


def exposure_of(grey: Grey) -> list[float]:
    """Return mean, standard deviation, share of black and of white pixels, and sharpness, in this order.

    Sharpness is the decimal logarithm of the variance of the Laplacian (Pech-Pacheco et al., ICPR 2000).
    """
    values = grey.astype(np.int16)
    inner = values[1:-1, 1:-1]
    around = values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:]
    sharpness = np.log10((around - 4 * inner).var() + 1)
    shares = float((grey <= BLACK).mean()), float((grey >= WHITE).mean())
    return [float(grey.mean()), float(grey.std()), *shares, float(sharpness)]


@dataclass(frozen=True)
class _Usable:
    """The measurements of one usable image."""

    file: File
    grey: Grey
    exposure: list[float]
    evened: list[float]
    histogram: NDArray[np.float32]
    hash: int
    detail: NDArray[np.int8]


@dataclass(frozen=True)
class _Unusable:
    code: str
    sentence: str


class _Collected:
    """A survey that grows image by image and keeps no pixels."""

    def __init__(self) -> None:
        self.images: list[ListedImage] = []
        self.files: list[File] = []
        self.rejected: list[UnusableImage] = []
        self.columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        self.sums: dict[str, tuple[int, Floats]] = {}

    def add(self, listed: ListedImage, read: _Usable | _Unusable) -> None:
        if isinstance(read, _Unusable):
            self.rejected.append(UnusableImage(listed, read.code, read.sentence))
            return
        self.images.append(listed)
        self.files.append(read.file)
        for name, values in self.columns.items():
            values.append(getattr(read, name))
        if listed.split != "test":
            count, total = self.sums.get(listed.kind, (0, np.zeros((SIDE, SIDE))))
            self.sums[listed.kind] = count + 1, total + read.grey

    def survey(self) -> Survey:
        columns = {name: np.array(self.columns[name], dtype=kind) for name, kind in _COLUMNS.items()}
        return Survey(
            images=self.images,
            files=self.files,
            rejected=self.rejected,
            exposure=columns["exposure"],
            evened=columns["evened"],
            histogram=columns["histogram"],
            hashes=columns["hash"],
            details=columns["detail"],
            averages={
                kind: np.rint(total / count).astype(np.uint8) for kind, (count, total) in self.sums.items()
            },
        )


_COLUMNS = {
    "exposure": np.float64,
    "evened": np.float64,
    "histogram": np.float32,
    "hash": np.uint64,
    "detail": np.int8,
}


def _read(listed: ListedImage) -> _Usable | _Unusable:
    try:
        data = listed.radiograph.path.read_bytes()
        grey = checked_grey(data, SIDE)
    except OSError as failure:
        return _Unusable("unreadable", f"The file cannot be read: {failure.strerror}.")
    except RejectedImage as rejection:
        return _Unusable(rejection.code, rejection.sentence)
    return _measured(data, grey)


def _measured(data: bytes, grey: Grey) -> _Usable:
    with Image.open(io.BytesIO(data)) as image:
        file = File(hashlib.sha256(data).hexdigest(), len(data), image.size, image.mode, _coarseness(image))
    counts = np.bincount(grey.ravel() // (256 // BINS), minlength=BINS)
    return _Usable(
        file=file,
        grey=grey,
        exposure=exposure_of(grey),
        evened=exposure_of(normalise(grey)),
        histogram=(counts / grey.size).astype(np.float32),
        hash=perceptual_hash(grey),
        detail=fine_detail(grey),
    )


def _coarseness(image: Image.Image) -> float:
    tables: dict[int, list[int]] = getattr(image, "quantization", {})
    return float(np.mean(tables[0])) if 0 in tables else 0.0
