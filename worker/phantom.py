"""Draws phantoms: artificial chest radiographs for tests, benchmarks, screenshots and demonstrations.

They show no patient. A seed decides the thickness of each tissue, which attenuates a simulated beam. Each phantom
says what it is in its pixels. One that is drawn with the key of an installation is marked in its header, too.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from worker.imagefile.phantom_mark import add_mark

# Drawn at this width, then enlarged: only noise has finer details.
_DRAWN_WIDTH = 448
_ASPECT = 0.83

Field = NDArray[np.float32]


def draw_phantom(
    seed: int, *, width: int = 1024, height: int | None = None, opacity: bool | None = None
) -> Image.Image:
    """Draw a chest radiograph.

    Args:
        seed: the same seed gives the same pixels.
        width: in pixels, at least 64.
        height: in pixels, at least 64; None: 0.83 of the width.
        opacity: whether the lungs have patchy consolidation; None: the seed decides.

    Returns:
        An image of mode L.
    """
    rng = np.random.default_rng(seed)
    random_opacity = bool(rng.random() < 0.5)  # noqa: PLR2004 - an even chance
    rows = height or round(width * _ASPECT)
    chest = _Chest(rng, (round(_DRAWN_WIDTH * rows / width), _DRAWN_WIDTH))
    film = chest.film(rng, opacity=random_opacity if opacity is None else opacity)
    image = Image.fromarray(film).resize((width, rows), Image.Resampling.BICUBIC)
    grain = rng.standard_normal((rows, width), dtype=np.float32) * np.float32(rng.uniform(1.0, 4.0))
    grey = Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))
    _burn_in(grey, rng)
    return grey


def write_phantom(
    path: Path,
    seed: int,
    *,
    width: int = 1024,
    height: int | None = None,
    opacity: bool | None = None,
    quality: int = 90,
    key: bytes | None = None,
) -> Path:
    """Draw a phantom and save it, as PNG if the name ends in .png, else as JPEG.

    Args:
        path: the file.
        seed: as in `draw_phantom`.
        width: as in `draw_phantom`.
        height: as in `draw_phantom`.
        opacity: as in `draw_phantom`.
        quality: quality of the JPEG.
        key: the key of the installation that recognises the phantom by its mark; None: no mark.

    Returns:
        The path.
    """
    file = io.BytesIO()
    form = "PNG" if path.suffix.lower() == ".png" else "JPEG"
    draw_phantom(seed, width=width, height=height, opacity=opacity).save(file, form, quality=quality)
    path.write_bytes(add_mark(file.getvalue(), key) if key else file.getvalue())
    return path


class _Chest:
    """The chest of one child: x runs from -1 to 1, y from 0 at the top to 1; the heart is at positive x."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int]) -> None:
        self.shape = shape
        y, x = np.mgrid[0 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j].astype(np.float32)
        lean = rng.uniform(-0.05, 0.05)
        zoom = rng.uniform(0.92, 1.15)
        self.y = (y - 0.5) * zoom + 0.5
        self.x = (x - rng.uniform(-0.05, 0.05) - lean * (y - 0.5)) * zoom
        self.lateral = np.abs(self.x)
        self.wall = rng.uniform(0.60, 0.68)  # half of the largest width of the rib cage
        self.apex = rng.uniform(0.15, 0.20)
        self.floor = rng.uniform(0.72, 0.80)  # height of the diaphragm
        self.cage = self._cage()

    def film(self, rng: np.random.Generator, *, opacity: bool) -> Field:
        """Return grey values, 0..255: white where little of the beam passes."""
        lungs, heart = self._lungs(rng), self._heart(rng)
        air = lungs * (1 - 0.9 * heart)
        body = self._body(rng)
        tissue = 0.88 * body - 0.60 * air + 0.08 * heart + self._mediastinum()
        tissue += air * self._markings(rng)
        tissue += (0.15 * self._ribs(rng) + self._clavicles(rng) + self._spine()) * np.minimum(1, 2 * body)
        if opacity:
            # From its own random stream, so that the chest is the same with and without the opacity.
            tissue += self._consolidation(rng.spawn(1)[0], lungs, air)
        exposure = rng.uniform(1.1, 1.5)
        film = 1 - np.exp(-exposure * np.clip(tissue, 0, None) ** rng.uniform(1.0, 1.25))
        film *= rng.uniform(225, 250) / max(float(np.percentile(film, 99.5)), 0.1)
        return np.asarray(film + rng.uniform(2, 14), dtype=np.float32)

    def _cage(self) -> Field:
        """Return half the width of the rib cage at each height: a dome that is widest near the diaphragm."""
        down = np.clip((self.y - self.apex + 0.04) / (0.90 - self.apex), 0, 1)
        return np.asarray(self.wall * (0.22 + 0.78 * (1 - (1 - down) ** 2.6)), dtype=np.float32)

    def _body(self, rng: np.random.Generator) -> Field:
        """Return the thickness of neck, trunk and arms; the middle of the trunk is 1."""
        rise = np.clip((self.y - rng.uniform(0.05, 0.08)) / 0.16, 0, 1)
        half = (self.wall + rng.uniform(0.08, 0.16)) * (0.30 + 0.70 * np.sqrt(rise)) + 0.06 * self.y
        trunk = _cylinder(self.lateral / half) * (0.82 + 0.25 * _step(self.y - self.floor, 0.05))
        arm_y = 0.24 - rng.uniform(-0.25, 0.30) * (self.lateral - 0.5)
        arm = 0.62 * _cylinder((self.y - arm_y) / 0.10) * _step(self.lateral - 0.55, 0.06)
        humerus = 0.10 * _bar(self.y - arm_y, 0.022) * _step(self.lateral - 0.74, 0.01)
        neck = 0.75 * _cylinder(self.lateral / 0.25) * _step(0.16 - self.y, 0.03)
        return np.asarray(np.maximum(np.maximum(trunk, arm + humerus), neck), dtype=np.float32)

    def _lungs(self, rng: np.random.Generator) -> Field:
        inner = 0.13 + 0.05 * np.clip(self.y - 0.3, 0, 1)
        dome = (
            self.floor
            + 0.02 * np.sign(self.x)
            + 0.42 * (self.lateral - rng.uniform(0.28, 0.36)) ** 2 / self.wall
        )
        top = self.apex + 0.9 * np.clip(self.lateral - 0.24, 0, 1) ** 2
        sides = _step(self.lateral - inner, 0.03) * _step(self.cage - 0.03 - self.lateral, 0.02)
        return np.asarray(sides * _step(dome - self.y, 0.012) * _step(self.y - top, 0.02), dtype=np.float32)

    def _heart(self, rng: np.random.Generator) -> Field:
        size, tilt = rng.uniform(0.88, 1.08), rng.uniform(0.5, 0.8)
        across, down = self.x - 0.09, (self.y - self.floor + 0.13) * 2 * _ASPECT
        u = across * math.cos(tilt) + down * math.sin(tilt)
        v = -across * math.sin(tilt) + down * math.cos(tilt)
        return _step(1 - (u / (0.33 * size)) ** 2 - (v / (0.235 * size)) ** 2, 0.12)

    def _mediastinum(self) -> Field:
        return np.asarray(
            0.16 * np.exp(-((self.lateral / 0.15) ** 4)) * _step(self.y - 0.02, 0.1), dtype=np.float32
        )

    def _spine(self) -> Field:
        discs = 0.75 + 0.25 * np.cos(self.y * 2 * math.pi * 17)
        pedicles = np.exp(-(((self.lateral - 0.055) / 0.018) ** 2)) * (discs > 0.85)  # noqa: PLR2004
        return np.asarray(
            0.12 * _step(0.085 - self.lateral, 0.012) * discs + 0.05 * pedicles, dtype=np.float32
        )

    def _ribs(self, rng: np.random.Generator) -> Field:
        """Draw posterior ribs, and fainter anterior ribs that slope to the middle."""
        outward = np.clip(self.lateral / self.cage, 0, 1)
        gap, first = rng.uniform(0.072, 0.080), self.apex - rng.uniform(0.01, 0.03)
        back = self.y - (-0.10 * outward * (1 - outward) * 2 + 0.13 * outward**3.5)
        front = self.y + 0.26 * outward - 0.30
        visible = _step(self.cage + 0.015 - self.lateral, 0.008) * _step(self.lateral - 0.08, 0.015)
        posterior = _bars(back, first, gap, 0.0125) * _step(back - first + gap / 2, 0.01)
        anterior = _bars(front, first, gap * 1.1, 0.014) * _step(self.lateral - 0.3 * self.cage, 0.05)
        ribs = posterior + 0.5 * anterior * _step(self.floor - 0.1 - self.y, 0.06)
        # A rib at the side of the chest is seen edge on.
        edge_on = 1 + 1.3 * np.exp(-(((self.lateral - self.cage) / 0.035) ** 2))
        return np.asarray(ribs * visible * edge_on * _step(0.97 - self.y, 0.05), dtype=np.float32)

    def _clavicles(self, rng: np.random.Generator) -> Field:
        line = self.apex + 0.03 - rng.uniform(0.06, 0.16) * self.lateral + 0.018 * np.sin(self.lateral * 9)
        bar = _bar(self.y - line, 0.014) * _step(0.58 - self.lateral, 0.02) * _step(self.lateral - 0.09, 0.02)
        return np.asarray(0.22 * bar, dtype=np.float32)

    def _markings(self, rng: np.random.Generator) -> Field:
        """Draw vessels, which are densest at the hila."""
        hila = np.exp(-(((self.lateral - 0.2) / 0.16) ** 2) - ((self.y - 0.47) / 0.16) ** 2)
        cells = self._cloud(rng, 34) + 0.6 * self._cloud(rng, 70)
        return np.asarray(0.05 + 0.11 * hila + (0.02 + 0.045 * hila) * np.abs(cells), dtype=np.float32)

    def _consolidation(self, rng: np.random.Generator, lungs: Field, air: Field) -> Field:
        """Draw a few patches with ragged borders, anywhere in the lungs."""
        patches = np.zeros(self.shape, dtype=np.float32)
        for _ in range(int(rng.integers(2, 6))):
            side = 1 if rng.random() < 0.5 else -1  # noqa: PLR2004 - an even chance
            x, y = side * rng.uniform(0.2, 0.48), rng.uniform(0.36, self.floor - 0.06)
            wide, high = rng.uniform(0.10, 0.24), rng.uniform(0.06, 0.16)
            patches += np.exp(-(((self.x - x) / wide) ** 2) - ((self.y - y) / high) ** 2)
        ragged = np.clip(patches * (1 + 0.55 * self._cloud(rng, 12) + 0.35 * self._cloud(rng, 36)), 0, 1.1)
        return np.asarray(rng.uniform(0.36, 0.52) * ragged * np.maximum(air, 0.3 * lungs), dtype=np.float32)

    def _cloud(self, rng: np.random.Generator, cells: int) -> Field:
        """Return smooth noise of unit variance; `cells` is the number of cells across the image."""
        rows = max(2, round(cells * self.shape[0] / self.shape[1]))
        coarse = Image.fromarray(rng.standard_normal((rows, cells), dtype=np.float32))
        return np.asarray(coarse.resize(self.shape[::-1], Image.Resampling.BICUBIC)) * np.float32(1.4)


def _step(distance: Any, softness: float) -> Field:
    """Rise from 0 to 1 where the distance crosses 0, over about four times the softness."""
    return np.asarray(
        0.5 + 0.5 * np.tanh(np.asarray(distance, dtype=np.float32) / softness), dtype=np.float32
    )


def _cylinder(relative: Any) -> Field:
    """Return the thickness of a cylinder across its radius: 1 in the middle, 0 at 1 and beyond."""
    return np.asarray(np.sqrt(np.clip(1 - np.asarray(relative) ** 2, 0, 1)), dtype=np.float32)


def _bar(distance: Field, half: float) -> Field:
    """Draw a bone: a bar with brighter borders, like the shadow of a hollow cylinder."""
    relative = np.abs(distance) / half
    return np.asarray(
        _step(1 - relative, 0.3) * (0.65 + 0.35 * np.clip(relative, 0, 1) ** 2), dtype=np.float32
    )


def _bars(along: Field, first: float, gap: float, half: float) -> Field:
    """Draw bars at equal distances."""
    return _bar((along - first + gap / 2) % gap - gap / 2, half)


def _burn_in(image: Image.Image, rng: np.random.Generator) -> None:
    """Write PHANTOM outside the lungs, and the side marker of a radiograph."""
    draw = ImageDraw.Draw(image)
    small, large = (
        ImageFont.load_default(size=max(10, round(image.width * part))) for part in (0.026, 0.045)
    )
    margin = image.width * 0.02
    draw.text((margin, image.height - margin), "PHANTOM", fill=235, font=small, anchor="ls")
    draw.text((margin, image.height * float(rng.uniform(0.12, 0.5))), "R", fill=245, font=large, anchor="ls")
