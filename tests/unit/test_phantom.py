"""worker.phantom: drawn radiographs, and how they are told from real ones."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from worker.phantom import PHANTOM_MARK, draw_phantom, is_phantom, write_phantom


def test_a_seed_draws_the_same_pixels_and_another_draws_others() -> None:
    assert draw_phantom(1).tobytes() == draw_phantom(1).tobytes()
    assert draw_phantom(1).tobytes() != draw_phantom(2).tobytes()


@pytest.mark.parametrize(("width", "height"), [(1024, None), (300, 400), (64, 64), (2000, 1500)])
def test_it_has_the_size_that_was_asked_for(width: int, height: int | None) -> None:
    image = draw_phantom(3, width=width, height=height)
    assert image.mode == "L"
    assert image.size == (width, height or round(width * 0.83))


def test_the_lungs_are_dark_between_heart_and_wall() -> None:
    grey = np.asarray(draw_phantom(4, width=400, height=332, opacity=False)).astype(float)
    lung, spine, corner = grey[140:220, 100:140].mean(), grey[140:220, 190:210].mean(), grey[260:, :15].mean()
    assert lung < 0.6 * spine
    assert corner < 0.5 * spine


def test_an_opacity_whitens_the_lungs_of_the_same_chest() -> None:
    for seed in range(8):
        plain, patchy = (
            np.asarray(draw_phantom(seed, width=400, height=332, opacity=opacity)).astype(float)
            for opacity in (False, True)
        )
        lungs, belly = patchy[110:240, 80:320] - plain[110:240, 80:320], patchy[290:] - plain[290:]
        assert lungs.mean() > 3
        assert abs(belly.mean()) < 1


def test_some_have_an_opacity_when_nothing_is_said() -> None:
    as_drawn = [draw_phantom(seed, width=128).tobytes() for seed in range(16)]
    plain = [draw_phantom(seed, width=128, opacity=False).tobytes() for seed in range(16)]
    assert 3 < sum(a == b for a, b in zip(as_drawn, plain, strict=True)) < 13


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.png"])
def test_a_written_phantom_says_so_in_its_first_kilobyte(tmp_path: Path, name: str) -> None:
    path = write_phantom(tmp_path / name, 5, width=200)
    assert is_phantom(path.read_bytes())
    assert is_phantom(path.read_bytes()[:1024])
    with Image.open(path) as image:
        assert image.format == ("PNG" if name.endswith("png") else "JPEG")


def test_the_word_is_burned_in() -> None:
    grey = np.asarray(draw_phantom(6, width=400))
    corner = grey[-20:, 5:70]
    assert (corner > 150).sum() > 50


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_other_images_are_not_phantoms(kind: str) -> None:
    buffer = io.BytesIO()
    draw_phantom(7, width=100).save(buffer, kind, comment=b"another camera")
    assert not is_phantom(buffer.getvalue())


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xfe\x00", b"\x89PNG\r\n\x1a\n\x00", PHANTOM_MARK, bytes(99)]
)
def test_broken_headers_are_not_phantoms(data: bytes) -> None:
    assert not is_phantom(data)


def test_the_mark_counts_only_as_a_comment(tmp_path: Path) -> None:
    path = write_phantom(tmp_path / "a.jpg", 8, width=100)
    unmarked = path.read_bytes().replace(PHANTOM_MARK, b"x" * len(PHANTOM_MARK))
    assert not is_phantom(unmarked + PHANTOM_MARK)
