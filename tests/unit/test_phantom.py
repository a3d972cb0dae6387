"""worker.phantom: drawn radiographs."""

from __future__ import annotations

import numpy as np
import pytest

from worker.phantom import draw_phantom


def test_a_seed_decides_the_pixels() -> None:
    assert draw_phantom(1).tobytes() == draw_phantom(1).tobytes()
    assert draw_phantom(1).tobytes() != draw_phantom(2).tobytes()


@pytest.mark.parametrize(("width", "height"), [(1024, None), (300, 400), (64, 64), (2000, 1500)])
def test_a_phantom_has_the_requested_size(width: int, height: int | None) -> None:
    image = draw_phantom(3, width=width, height=height)
    assert image.mode == "L"
    assert image.size == (width, height or round(width * 0.83))


def test_the_lungs_are_dark() -> None:
    grey = np.asarray(draw_phantom(4, width=400, height=332, opacity=False)).astype(float)
    lung, spine, corner = grey[140:220, 100:140].mean(), grey[140:220, 190:210].mean(), grey[260:, :15].mean()
    assert lung < 0.6 * spine
    assert corner < 0.5 * spine


@pytest.mark.slow
def test_an_opacity_whitens_the_lungs_of_the_same_chest() -> None:
    for seed in range(8):
        plain, patchy = (
            np.asarray(draw_phantom(seed, width=400, height=332, opacity=opacity)).astype(float)
            for opacity in (False, True)
        )
        lungs, belly = patchy[110:240, 80:320] - plain[110:240, 80:320], patchy[290:] - plain[290:]
        assert lungs.mean() > 3
        assert abs(belly.mean()) < 1


@pytest.mark.slow
def test_the_seed_decides_about_an_opacity_by_default() -> None:
    as_drawn = [draw_phantom(seed, width=128).tobytes() for seed in range(16)]
    plain = [draw_phantom(seed, width=128, opacity=False).tobytes() for seed in range(16)]
    assert 3 < sum(a == b for a, b in zip(as_drawn, plain, strict=True)) < 13


def test_the_word_phantom_is_burned_in() -> None:
    grey = np.asarray(draw_phantom(6, width=400))
    corner = grey[-20:, 5:70]
    assert (corner > 150).sum() > 50
