"""Copies: identical files, and images that were stored again in another size, quality or exposure.

A perceptual hash alone cannot distinguish chest radiographs, because they all look similar. Among 5,216
images of children, 36,000 pairs of different images differ in at most 10 of 64 bits, and 11 pairs in 2. So
the hash only proposes pairs, and their fine detail (ribs, vessels, letters) decides, which differs from
child to child.

The package ImageHash is not used: it hashes one image at a time into objects that are compared in
Python, and it depends on PyWavelets and SciPy. The hash here is its `phash`, of images that are already
decoded, as one integer each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# 81 originals and 60 phantoms, stored again (JPEG quality 40, half the size, squashed to 224 x 224,
# brightness, contrast, gamma 1.4), differ in at most 8 bits and have a likeness of at least 0.96. The most
# similar different images of 5,216 children reach 0.58. Drawn phantoms, which resemble each other more than
# children do, reach 0.88. A copy that was cropped by 1 % or turned by 1 degree has 0.78 to 0.87: it does not
# count as a copy but is shown as a near miss.
FARTHEST = 12
LEAST_ALIKE = 0.90

DETAIL_SIDE = 64
_HASH_SIDE, _BANDS = 32, 8
_FINE, _COARSE = 2, 8  # radii of the means that are subtracted and divided by, in pixels
_FLATTEST = 4.0  # grey levels: less contrast than this is noise and is not amplified
_LEVELS = 31  # steps a standard deviation, so that four standard deviations fit into a signed byte
_ROWS, _PAIRS = 256, 4096  # compared at a time
_MISSES = 4

Bytes = NDArray[np.int8]
Hashes = NDArray[np.uint64]
Indices = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Alike:
    """Files that show the same picture, by index; `likeness` is 1 for identical bytes.

    Otherwise it is the smallest correlation, -1..1, that joined two of them.
    """

    files: tuple[int, ...]
    likeness: float


@dataclass(frozen=True)
class NearMiss:
    """Two similar pictures that do not count as the same."""

    files: tuple[int, int]
    likeness: float


def perceptual_hash(grey: NDArray[np.uint8]) -> int:
    """Return 64 bits: which of the 8 x 8 lowest frequencies exceed their median (Zauner, 2010, 3.2.1).

    Args:
        grey: grey values 0..255, of any shape.
    """
    small = np.asarray(_reduced(grey, _HASH_SIDE), dtype=np.float64)
    low = _DCT @ small @ _DCT.T
    return int(np.packbits(low > np.median(low)).view(">u8")[0])


def fine_detail(grey: NDArray[np.uint8]) -> Bytes:
    """Return detail finer than the gap between ribs, at uniform contrast: signed bytes, shape (4096,).

    Brightness, contrast and haze cancel out; flat areas are zero.

    Args:
        grey: grey values 0..255, of any shape.
    """
    values = np.asarray(_reduced(grey, DETAIL_SIDE), dtype=np.float64)
    values -= _mean_around(values, _FINE)
    values /= np.sqrt(np.maximum(_mean_around(values**2, _COARSE), 0)) + _FLATTEST
    values -= values.mean()
    values /= max(float(values.std()), 1e-9)
    return np.clip(np.rint(values * _LEVELS), -127, 127).astype(np.int8).ravel()


def identical(sha256: Sequence[str]) -> list[Alike]:
    """Return groups of two or more files with the same hash."""
    places = defaultdict(list)
    for place, digest in enumerate(sha256):
        places[digest].append(place)
    return [Alike(tuple(group), 1.0) for group in places.values() if len(group) > 1]


def stored_again(hashes: Hashes, details: Bytes, sha256: Sequence[str]) -> tuple[list[Alike], list[NearMiss]]:
    """Group files that show the same picture but differ in some bytes.

    Args:
        hashes: of `perceptual_hash`, shape (n,).
        details: of `fine_detail`, shape (n, 4096).
        sha256: of the bytes, n of them.

    Returns:
        The groups, each with at least two different sha256, and the four most similar pairs that are not the
        same, the most similar first.
    """
    _, content = np.unique(np.asarray(sha256, dtype=str), return_inverse=True)
    joined: list[tuple[int, int, float]] = []
    missed: list[NearMiss] = []
    for first, second in nominated(hashes):
        alike = likeness(details[first], details[second])
        same = (alike >= LEAST_ALIKE) | (content[first] == content[second])
        joined += zip(first[same].tolist(), second[same].tolist(), alike[same].tolist(), strict=True)
        missed = _nearest(missed, first[~same], second[~same], alike[~same])
    groups = [group for group in _connected(joined) if len({sha256[i] for i in group.files}) > 1]
    return groups, missed


def likeness(first: Bytes, second: Bytes) -> Floats:
    """Return the correlation of the details of each pair, -1..1, shape (m,).

    Args:
        first: of `fine_detail`, shape (m, 4096).
        second: of the other images, likewise.
    """
    one, other = first.astype(np.float32), second.astype(np.float32)
    product = np.einsum("ij,ij->i", one, other)
    size = np.sqrt(np.einsum("ij,ij->i", one, one) * np.einsum("ij,ij->i", other, other))
    return np.asarray(product / np.maximum(size, 1), dtype=np.float64)


def nominated(hashes: Hashes) -> Iterator[tuple[Indices, Indices]]:
    """Yield each pair whose hashes differ in at most 12 bits once, in parts that fit into memory.

    Takes about n^2 / 2 integer comparisons: 0.05 s for 5,000 images, half a minute for 100,000.
    """
    for start in range(0, len(hashes), _ROWS):
        rows = hashes[start : start + _ROWS, np.newaxis]
        far = np.bitwise_count(rows ^ hashes[np.newaxis, start:])
        first, second = np.nonzero(far <= FARTHEST)
        ordered = second > first
        first, second = first[ordered] + start, second[ordered] + start
        for at in range(0, len(first), _PAIRS):
            yield first[at : at + _PAIRS], second[at : at + _PAIRS]


def _nearest(missed: list[NearMiss], first: Indices, second: Indices, alike: Floats) -> list[NearMiss]:
    best = np.argsort(-alike, kind="stable")[:_MISSES]
    new = [NearMiss((int(first[at]), int(second[at])), float(alike[at])) for at in best]
    return sorted([*missed, *new], key=lambda pair: -pair.likeness)[:_MISSES]


def _connected(pairs: Iterable[tuple[int, int, float]]) -> list[Alike]:
    """Merge pairs that share a file into groups."""
    group_of: dict[int, set[int]] = {}
    weakest: dict[int, float] = {}
    for one, other, alike in pairs:
        merged = group_of.get(one, {one}) | group_of.get(other, {other})
        for member in merged:
            group_of[member] = merged
            weakest[member] = min(alike, *(weakest.get(file, 1.0) for file in merged))
    distinct = {min(group): group for group in group_of.values()}
    return [Alike(tuple(sorted(group)), weakest[first]) for first, group in sorted(distinct.items())]


def _reduced(grey: NDArray[np.uint8], side: int) -> Image.Image:
    return Image.fromarray(grey).resize((side, side), Image.Resampling.BOX)


def _mean_around(values: NDArray[np.float64], radius: int) -> NDArray[np.float64]:
    """Return the mean of the square of 2 * radius + 1 around each place, by summed areas (Crow, 1984)."""
    size = 2 * radius + 1
    padded = np.pad(values, ((radius + 1, radius), (radius + 1, radius)), mode="edge")
    sums = padded.cumsum(axis=0).cumsum(axis=1)
    total = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    return np.asarray(total / size**2)


def _cosines() -> NDArray[np.float64]:
    """Return the first rows of the discrete cosine transform of type II, shape (8, 32)."""
    frequency, place = np.mgrid[0:_BANDS, 0:_HASH_SIDE]
    return np.asarray(np.cos(np.pi * frequency * (place + 0.5) / _HASH_SIDE))


_DCT = _cosines()
