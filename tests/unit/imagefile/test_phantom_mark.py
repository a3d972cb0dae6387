from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from worker.imagefile.phantom_mark import PHANTOM_MARK, is_phantom
from worker.phantom import draw_phantom, write_phantom


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.png"])
def test_the_first_kilobyte_of_a_phantom_holds_the_mark(tmp_path: Path, name: str) -> None:
    path = write_phantom(tmp_path / name, 5, width=200)
    assert is_phantom(path.read_bytes())
    assert is_phantom(path.read_bytes()[:1024])
    with Image.open(path) as image:
        assert image.format == ("PNG" if name.endswith("png") else "JPEG")


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
