"""Drawn radiographs that are not frontal chests: limbs, skulls, slices, lateral chests.

With drawings, nobody needs images of other patients to train the gate. A seed determines each drawing.
The drawings need not convince a person. They only have to cover the shapes, borders and contrasts that
such images can have.
"""

# ruff: noqa: PLR2004 - sizes, amounts and shares of a drawing
from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from training.gate.plate import Grey, Plate, Point, as_grey
from training.gate.volume import lateral

Draw = Callable[[np.random.Generator], Grey]


def limb(rng: np.random.Generator) -> Grey:
    """Draw a forearm or leg: one bone or two, perhaps with a joint, at any angle."""
    plate = Plate(rng, turn=rng.choice((15.0, 90.0)))
    width, joint = rng.uniform(0.2, 0.45), rng.uniform(-1.6, 1.6)
    bend = rng.uniform(-0.4, 0.4)
    start, knee, end = (rng.uniform(-0.2, 0.2), -1.6), (0.0, joint), (bend * (1.6 - joint), 1.6)
    for a, b in ((start, knee), (knee, end)):
        plate.flesh(a, b, (width * rng.uniform(0.7, 1.2), width * rng.uniform(0.7, 1.2)))
        bones = rng.integers(1, 3)
        for side in range(bones):
            shift = 0.0 if bones == 1 else (side - 0.5) * width * rng.uniform(0.7, 1.0)
            plate.bone((a[0] + shift, a[1]), (b[0] + shift, b[1]), width * rng.uniform(0.15, 0.4))
    return plate.film()


def hand(rng: np.random.Generator) -> Grey:
    """Draw a frontal hand with spread fingers."""
    plate = Plate(rng, turn=rng.choice((15.0, 180.0)))
    wrist: Point = (0.0, 0.75)
    plate.flesh((0.0, 1.6), wrist, (0.3, 0.28), 0.5)
    plate.flesh(wrist, (0.0, 0.15), (0.3, 0.42), 0.35)
    for shift in (-0.12, 0.12):
        plate.bone((shift, 1.6), (shift, 0.8), 0.1)
    for _ in range(8):
        plate.blob((rng.uniform(-0.2, 0.2), rng.uniform(0.5, 0.75)), (0.09, 0.08), 0.25)
    for finger, angle in enumerate(np.linspace(-0.75, 0.35, 5) + rng.uniform(-0.1, 0.1)):
        at: Point = (0.55 * math.sin(angle) * 0.5, 0.5)
        for length in (0.42, 0.3, 0.2, 0.15)[(finger == 0) :]:
            to = (at[0] + length * math.sin(angle), at[1] - length * math.cos(angle))
            plate.flesh(at, to, (0.1, 0.09), 0.22)
            plate.bone(at, (to[0], to[1] + 0.02), 0.045, 0.45)
            at = to
    return plate.film()


def foot(rng: np.random.Generator) -> Grey:
    """Draw a foot and its ankle from the side."""
    plate = Plate(rng, turn=rng.choice((15.0, 90.0)))
    ankle: Point = (-0.45, 0.1)
    plate.flesh((-0.5, -1.6), ankle, (0.35, 0.25))
    plate.flesh((-0.75, 0.35), (0.8, 0.5), (0.3, 0.14), 0.55)
    plate.bone((-0.45, -1.6), (-0.42, 0.0), 0.15)
    plate.bone((-0.65, -1.6), (-0.6, 0.05), 0.06)
    plate.blob((-0.4, 0.15), (0.2, 0.14), 0.5)
    plate.blob((-0.7, 0.36), (0.27, 0.16), 0.5, tilt=0.4)
    for _ in range(5):
        plate.blob((rng.uniform(-0.2, 0.15), rng.uniform(0.2, 0.42)), (0.11, 0.09), 0.3)
    for toe in range(5):
        y = 0.32 + 0.05 * toe
        plate.bone((0.1, y), (0.55, y + 0.12), 0.04, 0.35)
        plate.bone((0.57, y + 0.12), (0.9, y + 0.16), 0.035, 0.3)
    return plate.film()


def skull(rng: np.random.Generator) -> Grey:
    """Draw a skull from the front or from the side, with the upper neck."""
    plate = Plate(rng)
    wide = rng.uniform(0.55, 0.85)
    plate.blob((0.0, -0.2), (wide * 1.08, 0.85), 0.35)
    plate.shell((0.0, -0.2), (wide, 0.78), 0.9, rng.uniform(0.08, 0.16))
    plate.spine((rng.uniform(-0.1, 0.5), 0.5), (rng.uniform(-0.1, 0.4), 1.5), 0.16, 6)
    plate.flesh((0.1, 0.4), (0.1, 1.6), (0.45, 0.45), 0.35)
    if rng.random() < 0.5:  # from the front
        for side in (-1, 1):
            plate.shell((0.27 * side, 0.08), (0.19, 0.16), 0.5, 0.25)
            plate.blob((0.25 * side, 0.1), (0.15, 0.12), -0.25)
        plate.blob((0.0, 0.3), (0.1, 0.16), -0.3)
        plate.shell((0.0, 0.55), (0.38, 0.35), 0.5, 0.3)
    else:
        plate.shell((-0.45, 0.1), (0.2, 0.17), 0.4, 0.3)
        plate.bone((-0.6, 0.72), (0.15, 0.5), 0.1, 0.6)
        plate.bone((0.15, 0.5), (0.2, 0.15), 0.1, 0.5)
        plate.blob((-0.3, 0.3), (0.2, 0.12), -0.2)
    return plate.film()


def pelvis(rng: np.random.Generator) -> Grey:
    """Draw a pelvis with both hips."""
    plate = Plate(rng)
    plate.flesh((0.0, -1.5), (0.0, 0.4), (0.95, 1.1), 0.9)
    plate.spine((0.0, -1.5), (0.0, -0.45), 0.17, 5)
    plate.blob((0.0, -0.2), (0.28, 0.4), 0.35)
    for side in (-1, 1):
        plate.flesh((0.55 * side, 0.2), (0.5 * side, 1.6), (0.42, 0.38), 0.6)
        plate.shell((0.52 * side, -0.35), (0.36, 0.46), 0.45, 0.3, tilt=0.5 * side)
        plate.shell((0.24 * side, 0.42), (0.22, 0.2), 0.5, 0.4)
        plate.blob((0.68 * side, 0.15), (0.15, 0.15), 0.5)
        plate.bone((0.66 * side, 0.15), (0.84 * side, 0.34), 0.1)
        plate.bone((0.82 * side, 0.32), (0.66 * side, 1.6), 0.13, 0.6)
    return plate.film()


def abdomen(rng: np.random.Generator) -> Grey:
    """Draw an abdomen: spine, gas in the bowel, the lowest ribs above, perhaps the pelvis below."""
    plate = Plate(rng, turn=12.0)
    wide = rng.uniform(0.8, 1.05)
    plate.flesh((0.0, -1.6), (0.0, 1.6), (wide, wide), 0.9)
    plate.spine((0.0, -1.6), (rng.uniform(-0.05, 0.05), 1.2), 0.14, int(rng.integers(8, 13)), 0.3)
    for _ in range(rng.integers(4, 14)):
        at = (rng.uniform(-0.65, 0.65), rng.uniform(-0.6, 0.9))
        plate.blob(at, (rng.uniform(0.05, 0.2), rng.uniform(0.05, 0.16)), -rng.uniform(0.1, 0.4))
    for side in (-1, 1):
        for rib in range(rng.integers(0, 4)):
            y = -0.95 + 0.2 * rib
            plate.bone((0.15 * side, y), (0.8 * side, y + 0.25), 0.04, 0.2)
        if rng.random() < 0.6:
            plate.shell((0.6 * side, 1.1), (0.4, 0.45), 0.4, 0.3, tilt=0.4 * side)
    return plate.film()


def neck_or_back(rng: np.random.Generator) -> Grey:
    """Draw a stretch of spine, from the front or the side, with a curve."""
    plate = Plate(rng)
    wide, bend = rng.uniform(0.4, 0.9), rng.uniform(-0.35, 0.35)
    plate.flesh((0.0, -1.6), (bend, 1.6), (wide, wide * rng.uniform(0.8, 1.3)), 0.7)
    count, width = int(rng.integers(3, 6)), rng.uniform(0.14, 0.26)
    plate.spine((-bend / 2, -1.5), (bend / 2, 0.0), width, count)
    plate.spine((bend / 2, 0.0), (-bend / 3, 1.5), width, count)
    for y in np.arange(-1.4, 1.4, 1.5 / count):
        plate.bone((bend / 3, y), (bend / 3 + width * rng.uniform(1.2, 2.2), y + 0.15), 0.05, 0.3)
    return plate.film()


def shoulder(rng: np.random.Generator) -> Grey:
    """Draw a shoulder: the head of the humerus, the clavicle, and a corner of the lung."""
    plate = Plate(rng)
    plate.flesh((-1.4, 0.4), (0.3, 0.0), (0.9, 0.5), 0.7)
    plate.flesh((0.3, 0.0), (0.5, 1.6), (0.42, 0.34), 0.6)
    plate.blob((0.25, 0.0), (0.24, 0.24), 0.55)
    plate.bone((0.35, 0.1), (0.5, 1.6), 0.14, 0.6)
    plate.bone((-1.4, -0.35), (0.2, -0.3), 0.09, 0.45)
    plate.shell((-0.2, 0.3), (0.25, 0.5), 0.35, 0.3, tilt=-0.3)
    plate.blob((-1.2, 0.8), (0.75, 0.9), -0.5)
    for rib in range(5):
        plate.bone((-1.6, -0.1 + 0.28 * rib), (-0.45, 0.15 + 0.3 * rib), 0.05, 0.22)
    return plate.film()


def breast(rng: np.random.Generator) -> Grey:
    """Draw a mammogram: half a disc at one edge of a black plate."""
    plate = Plate(rng, turn=25.0)
    tall = rng.uniform(0.6, 1.0)
    plate.blob((-1.15, 0.0), (rng.uniform(0.9, 1.5), tall), 0.8)
    plate.tissue += 0.12 * np.abs(plate.cloud(14)) * (plate.tissue > 0.1)
    return plate.film()


def trunk_slice(rng: np.random.Generator) -> Grey:
    """Draw a CT slice through the chest or the belly, on the table."""
    plate = Plate(rng, turn=8.0)
    wide, high = rng.uniform(0.7, 0.95), rng.uniform(0.5, 0.7)
    plate.disc((0, 0), (wide, high), rng.uniform(0.35, 0.6))
    plate.disc((0, 0), (wide * 0.93, high * 0.9), rng.uniform(-0.15, 0.2))
    if rng.random() < 0.6:  # the chest
        for side in (-1, 1):
            plate.disc((0.42 * side * wide, -0.05), (0.36 * wide, 0.68 * high), -1.0, tilt=0.1 * side)
        plate.disc((0.08, -0.1), (0.26, 0.24), rng.uniform(0.1, 0.5))
    else:
        for _ in range(8):
            at = (rng.uniform(-0.5, 0.5), rng.uniform(-0.35, 0.3))
            plate.disc(at, (rng.uniform(0.05, 0.3), rng.uniform(0.05, 0.2)), rng.uniform(-0.2, 0.25))
    plate.disc((0, high * 0.62), (0.11, 0.1), 0.9)
    for angle in np.linspace(0, 2 * math.pi, 14)[:-1] + rng.uniform(0, 1):
        plate.disc(
            (0.88 * wide * math.cos(angle), 0.86 * high * math.sin(angle)), (0.06, 0.03), 0.6, tilt=angle
        )
    _table(plate, high, rng)
    return plate.slice()


def head_slice(rng: np.random.Generator) -> Grey:
    """Draw a CT or MR slice through a head: with a bright skull, or a dark one under bright skin."""
    plate = Plate(rng, turn=12.0)
    wide, high = rng.uniform(0.5, 0.75), rng.uniform(0.65, 0.9)
    rims = (1.0, 0.25) if rng.random() < 0.6 else (0.55, 0.0)  # CT else MR
    plate.disc((0, 0), (wide, high), rims[0])
    inner = rng.uniform(0.8, 0.92)
    plate.disc((0, 0), (wide * inner, high * inner), rims[1] - rims[0] + rng.uniform(0.0, 0.15))
    plate.tissue += rng.uniform(0.02, 0.1) * plate.cloud(int(rng.integers(8, 30))) * (plate.tissue > 0.05)
    for side in (-1, 1):
        plate.disc((0.12 * side, -0.05), (0.07, rng.uniform(0.15, 0.35)), -0.25, tilt=0.3 * side)
    _table(plate, high, rng)
    return plate.slice()


def ultrasound(rng: np.random.Generator) -> Grey:
    """Draw a fan of speckle on black."""
    plate = Plate(rng, turn=5.0)
    radius, angle = np.hypot(plate.x, plate.y + 1.0), np.arctan2(plate.x, plate.y + 1.0)
    fan = (np.abs(angle) < rng.uniform(0.4, 0.8)) & (radius > rng.uniform(0.1, 0.5)) & (radius < 1.85)
    speckle = np.abs(plate.cloud(60)) * np.exp(0.5 * plate.cloud(6))
    return as_grey(fan * 255 * np.clip(rng.uniform(0.15, 0.4) * speckle, 0, 1))


def lateral_drawn(rng: np.random.Generator) -> Grey:
    """Draw a lateral chest: the spine behind, the heart in front, the arms raised."""
    plate = Plate(rng, turn=8.0)
    deep = rng.uniform(0.55, 0.8)
    plate.blob((0.0, 0.1), (deep, 1.4), 0.9)
    plate.flesh((-0.6, -1.5), (0.1, -0.75), (0.35, 0.4), 0.6)
    plate.bone((-0.7, -1.5), (0.05, -0.7), 0.1, 0.4)
    plate.blob((0.0, -0.1), (deep * 0.78, 0.75), -rng.uniform(0.4, 0.6), tilt=rng.uniform(-0.1, 0.1))
    plate.blob((-deep * 0.35, 0.3), (0.32, 0.3), 0.4)
    plate.blob((0.05, 0.95), (deep * 1.1, 0.5), 0.5)
    plate.spine((deep * 0.6, -1.4), (deep * 0.75, 1.4), 0.1, int(rng.integers(9, 14)), 0.3)
    plate.bone((-deep * 0.8, -0.5), (-deep * 0.95, 0.5), 0.04, 0.3)
    for rib in range(8):
        y = -0.7 + 0.2 * rib
        plate.bone((deep * 0.7, y), (-deep * 0.8, y + rng.uniform(0.3, 0.5)), 0.025, 0.12)
    return plate.film()


def _table(plate: Plate, high: float, rng: np.random.Generator) -> None:
    """Draw the curved patient table, which most slices show."""
    if rng.random() < 0.5:
        curve = high + 0.08 + 0.35 * (1 - np.sqrt(np.clip(1 - plate.x**2, 0, 1)))
        plate.tissue += np.float32(0.6) * (np.abs(plate.y - curve) < 0.02)


# Drawings by kind. Lateral chests have a rejection code of their own.
LATERALS: dict[str, Draw] = {"lateral": lateral, "lateral_drawn": lateral_drawn}
OTHER_PARTS: dict[str, Draw] = {
    "limb": limb, "hand": hand, "foot": foot, "skull": skull, "pelvis": pelvis, "abdomen": abdomen,
    "neck_or_back": neck_or_back, "shoulder": shoulder, "breast": breast, "trunk_slice": trunk_slice,
    "head_slice": head_slice, "ultrasound": ultrasound,
}  # fmt: skip
