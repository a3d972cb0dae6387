"""A chest as a volume: the same kind of body seen from the front and from the side.

Only the direction of the beam separates a frontal chest from a lateral one, so only the direction differs
between these drawings.
"""

# ruff: noqa: PLR2004 - sizes, densities and shares of a drawing
from __future__ import annotations

import math

import numpy as np
from PIL import Image

from training.gate.plate import SIDE, Field, Grey, Point, cloud, exposed

# Steps along the beam, and pixels across, from which a film of `SIDE` pixels is interpolated.
_DEPTH, _COARSE = 40, 80


def lateral(rng: np.random.Generator) -> Grey:
    """Draw a chest volume from the left or the right side."""
    return _projected(rng, rng.choice((-90.0, 90.0)) + rng.uniform(-18, 18), (0.55, 0.95))


def frontal(rng: np.random.Generator) -> Grey:
    """Draw a chest volume from the front. The gate must accept it."""
    return _projected(rng, rng.uniform(-10, 10), (0.8, 1.05))


def _projected(rng: np.random.Generator, degrees: float, zooms: Point) -> Grey:
    """Add up the density along the beam. x points to the side, y down, z to the back; each is -1 to 1."""
    v, u, t = np.mgrid[-1 : 1 : _COARSE * 1j, -1 : 1 : _COARSE * 1j, -1 : 1 : _DEPTH * 1j].astype(np.float32)
    angle, zoom = math.radians(degrees), rng.uniform(*zooms)
    u, y = (u - rng.uniform(-0.1, 0.1)) * zoom, (v - rng.uniform(-0.08, 0.08)) * zoom
    x, z = u * math.cos(angle) + t * math.sin(angle), -u * math.sin(angle) + t * math.cos(angle)
    density = _chest(rng, x, y, z)
    tissue = density.sum(axis=2) * np.float32(2.0 / _DEPTH)
    image = Image.fromarray(tissue).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    rough = 1 + rng.uniform(0, 0.08) * cloud(rng, SIDE, 30)
    return exposed(np.clip(np.asarray(image) * rough, 0, None), rng)


def _chest(rng: np.random.Generator, x: Field, y: Field, z: Field) -> Field:
    """Return the density at each point of a trunk with raised or hanging arms."""
    wide, deep, floor = rng.uniform(0.66, 0.8), rng.uniform(0.45, 0.62), rng.uniform(0.4, 0.6)
    narrow = np.clip(1 - 0.75 * np.clip(-y - 0.62, 0, 1) / 0.3, 0.28, 1)
    ring = np.hypot(x / (wide * narrow), z / (deep * narrow))
    density = 1.0 * (ring < 1)
    dome = floor + 0.5 * ((np.abs(x) - 0.33) ** 2 + (z + 0.05) ** 2)
    lungs = np.zeros_like(x, dtype=bool)
    for side in (-1, 1):
        lungs |= ((x - 0.35 * side * wide / 0.7) / 0.3) ** 2 + ((y + 0.05) / 0.7) ** 2 + (
            z / (deep - 0.08)
        ) ** 2 < 1
    tilt = y - 0.25 - 0.3 * (x - 0.1)
    heart = ((x - 0.1) / 0.32) ** 2 + (tilt / 0.3) ** 2 + ((z + 0.12) / 0.27) ** 2 < 1
    lungs &= (y < dome) & ~heart
    density = np.where(lungs, rng.uniform(0.05, 0.25), density)
    ribs = (np.abs(ring - 0.93) < 0.06) & (np.cos(2 * math.pi * (y - 0.35 * z) / 0.17) > 0.3)
    density += rng.uniform(0.4, 0.9) * (ribs & (y > -0.7) & (y < 0.6))
    back = np.hypot(x, z - deep * 0.72)
    density += 0.9 * (back < 0.11) * (0.7 + 0.3 * (np.cos(2 * math.pi * y * 6.5) < 0.6))
    density += 0.8 * ((np.abs(x) < 0.07) & (np.abs(z + deep * 0.95) < 0.05) & (np.abs(y + 0.1) < 0.4))
    density -= 0.6 * (np.hypot(x, z - 0.05) < 0.05) * (y < -0.25) * (ring < 1)
    raised = rng.random() < 0.7
    for side in (-1, 1):
        reach = -0.9 - 0.4 * (np.abs(x) - 0.5) if raised else -0.45 + 0.8 * (np.abs(x) - 0.7)
        arm = np.hypot(y - reach, z + (0.25 if raised else 0.0)) < 0.2
        density = np.maximum(density, 0.75 * (arm & (x * side > 0.35)))
    return np.asarray(density, dtype=np.float32)
