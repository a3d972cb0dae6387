"""A plate to draw radiographs and slices on: tissue thickness adds up along an imagined beam."""

# ruff: noqa: PLR2004 - sizes, amounts and shares of a drawing
from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Grey = NDArray[np.uint8]
Field = NDArray[np.float32]
Point = tuple[float, float]

# Edge of a drawing, in pixels.
SIDE = 160


class Plate:
    """A detector with tissue on it: x and y run from -1 to 1, turned and shifted; tissue adds up."""

    def __init__(self, rng: np.random.Generator, *, turn: float = 20.0, side: int = SIDE) -> None:
        """Create an empty plate, turned by at most `turn` degrees either way."""
        y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j].astype(np.float32)
        angle, zoom = math.radians(rng.uniform(-turn, turn)), rng.uniform(0.75, 1.2)
        x, y = (x - rng.uniform(-0.15, 0.15)) * zoom, (y - rng.uniform(-0.15, 0.15)) * zoom
        flip = rng.choice((-1.0, 1.0))
        self.x = (x * math.cos(angle) + y * math.sin(angle)) * flip
        self.y = -x * math.sin(angle) + y * math.cos(angle)
        self.tissue: Field = np.zeros_like(x)
        self._rng = rng

    def distance(self, a: Point, b: Point) -> tuple[Field, Field]:
        """Return the distance of each place from the line a to b, and its position along the line, in [0, 1]."""
        dx, dy = b[0] - a[0], b[1] - a[1]
        along = np.clip(
            ((self.x - a[0]) * dx + (self.y - a[1]) * dy) / max(dx * dx + dy * dy, 1e-6), 0.0, 1.0
        )
        away = np.hypot(self.x - a[0] - along * dx, self.y - a[1] - along * dy)
        return np.asarray(away, dtype=np.float32), np.asarray(along, dtype=np.float32)

    def flesh(self, a: Point, b: Point, radii: Point, amount: float = 0.6) -> None:
        """Add a round, solid limb from a to b; amount 1 is as thick as a trunk."""
        away, along = self.distance(a, b)
        radius = radii[0] + (radii[1] - radii[0]) * along
        self.tissue += np.float32(amount) * _round(away / radius)

    def bone(self, a: Point, b: Point, radius: float, amount: float = 0.5) -> None:
        """Add a hollow bone with a dense cortex and thicker ends."""
        away, along = self.distance(a, b)
        radius_here = radius * (1 + self._rng.uniform(0.2, 0.7) * np.abs(2 * along - 1) ** 4)
        hollow = self._rng.uniform(0.55, 0.8)
        shell = _round(away / radius_here) - 0.8 * hollow * _round(away / (hollow * radius_here))
        self.tissue += np.float32(amount) * shell

    def blob(self, centre: Point, radii: Point, amount: float, *, tilt: float = 0.0) -> None:
        """Add an ellipsoid; a negative amount is air."""
        u, v = self._within(centre, radii, tilt)
        self.tissue += np.float32(amount) * _round(np.hypot(u, v))

    def shell(self, centre: Point, radii: Point, amount: float, wall: float, *, tilt: float = 0.0) -> None:
        """Add the shell of an ellipsoid, like a skull."""
        u, v = self._within(centre, radii, tilt)
        r = np.hypot(u, v)
        self.tissue += np.float32(amount) * (_round(r) - (1 - wall) * _round(r / (1 - wall)))

    def disc(
        self, centre: Point, radii: Point, amount: float, *, tilt: float = 0.0, soft: float = 0.03
    ) -> None:
        """Add a flat ellipse, as a slice shows it."""
        u, v = self._within(centre, radii, tilt)
        self.tissue += np.float32(amount) * _step(1 - np.hypot(u, v), soft)

    def spine(self, a: Point, b: Point, width: float, count: int, amount: float = 0.45) -> None:
        """Add a column of vertebrae with discs between them."""
        away, along = self.distance(a, b)
        body = _step(1 - away / width, 0.15)
        gaps = 0.65 + 0.35 * np.clip(4 * np.cos(2 * math.pi * count * along) + 2.5, -1, 1)
        self.tissue += np.float32(amount) * body * gaps

    def cloud(self, cells: int) -> Field:
        """Return smooth noise of unit variance with `cells` cells across."""
        return cloud(self._rng, len(self.x), cells)

    def film(self) -> Grey:
        """Return the exposed film: white where tissue stops the beam, black where there is only air."""
        rng = self._rng
        tissue = np.clip(self.tissue * (1 + rng.uniform(0, 0.12) * self.cloud(24)), 0, None)
        return exposed(tissue, rng)

    def slice(self) -> Grey:
        """Return the amounts of tissue as grey values, as a slice shows them."""
        texture = self._rng.uniform(0, 0.08) * self.cloud(40) * (self.tissue > 0.02)
        return as_grey(255 * np.clip(self.tissue + texture, 0, 1))

    def _within(self, centre: Point, radii: Point, tilt: float) -> tuple[Field, Field]:
        x, y = self.x - centre[0], self.y - centre[1]
        cos, sin = math.cos(tilt), math.sin(tilt)
        return (x * cos + y * sin) / radii[0], (-x * sin + y * cos) / radii[1]


def exposed(tissue: Field, rng: np.random.Generator) -> Grey:
    """Expose a film through tissue of this thickness, with grain."""
    film = 1 - np.exp(-rng.uniform(0.9, 2.0) * tissue ** rng.uniform(0.8, 1.3))
    film *= rng.uniform(200, 250) / max(float(np.percentile(film, 99.5)), 0.05)
    return as_grey(film + rng.uniform(0, 14) + rng.uniform(0, 3) * rng.standard_normal(film.shape))


def cloud(rng: np.random.Generator, side: int, cells: int) -> Field:
    """Return smooth noise of unit variance, shape (side, side)."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)) * np.float32(1.4)


def as_grey(values: NDArray[np.floating]) -> Grey:
    """Round and clip to 0..255."""
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)


def _round(relative: NDArray[np.floating]) -> Field:
    """Return the thickness of a cylinder across its radius: 1 in the middle, 0 from 1 on."""
    return np.asarray(np.sqrt(np.clip(1 - relative**2, 0, 1)), dtype=np.float32)


def _step(distance: NDArray[np.floating], softness: float) -> Field:
    """Return a smooth step from 0 to 1 where the distance passes 0."""
    return np.asarray(0.5 + 0.5 * np.tanh(distance / softness), dtype=np.float32)
