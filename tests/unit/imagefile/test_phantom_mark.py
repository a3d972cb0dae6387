"""The mark of a phantom: only who has the key can make it, and only for the bytes that it was made for."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from worker.imagefile.phantom_mark import HEADER_BYTES, PHANTOM_MARK, add_mark, find_mark, is_genuine
from worker.phantom import draw_phantom, write_phantom

KEY, OTHER_KEY = b"a key of thirty-two random bytes", b"the key of another installation."
NAMES = ["a.jpg", "a.jpeg", "a.png"]


def genuine(data: bytes, key: bytes = KEY) -> bool:
    mark = find_mark(data[:HEADER_BYTES])
    return mark is not None and is_genuine(io.BytesIO(data), mark, key)


@pytest.mark.parametrize("name", NAMES)
def test_the_first_kilobyte_of_a_phantom_holds_the_mark(tmp_path: Path, name: str) -> None:
    path = write_phantom(tmp_path / name, 5, width=200, key=KEY)
    assert genuine(path.read_bytes())
    assert find_mark(path.read_bytes()[:1024]) is not None
    with Image.open(path) as image:
        image.load()
        assert image.format == ("PNG" if name.endswith("png") else "JPEG")


@pytest.mark.parametrize("name", NAMES)
def test_a_mark_of_another_key_is_not_genuine(tmp_path: Path, name: str) -> None:
    data = write_phantom(tmp_path / name, 5, width=100, key=OTHER_KEY).read_bytes()
    assert find_mark(data) is not None
    assert not genuine(data)


@pytest.mark.parametrize("name", NAMES)
def test_a_mark_counts_for_no_other_bytes(tmp_path: Path, name: str) -> None:
    data = write_phantom(tmp_path / name, 5, width=100, key=KEY).read_bytes()
    mark = find_mark(data)
    assert mark is not None
    part = data[mark.start : mark.end]
    film = write_phantom(tmp_path / f"film-{name}", 6, width=100).read_bytes()
    assert not genuine(film[: mark.start] + part + film[mark.start :])
    changed = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in (len(data) // 2, len(data) - 1)]
    for other in (*changed, data + b"\0", data[: mark.start] + part + data[mark.start :]):
        assert not genuine(other)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    "text", [b"another camera", PHANTOM_MARK.strip(), PHANTOM_MARK + b"0" * 63 + b"\xe9"]
)
def test_other_comments_are_no_mark(kind: str, text: bytes) -> None:
    buffer = io.BytesIO()
    draw_phantom(7, width=100).save(buffer, kind, comment=text)
    assert find_mark(buffer.getvalue()) is None


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xfe\x00", b"\x89PNG\r\n\x1a\n\x00", PHANTOM_MARK, bytes(99)]
)
def test_broken_headers_have_no_mark(data: bytes) -> None:
    assert find_mark(data) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_mark_that_is_cut_off_is_none(tmp_path: Path, name: str) -> None:
    data = write_phantom(tmp_path / name, 5, width=100, key=KEY).read_bytes()
    mark = find_mark(data)
    assert mark is not None
    assert find_mark(data[: mark.end - 1]) is None


def test_a_mark_behind_the_picture_does_not_count(tmp_path: Path) -> None:
    data = write_phantom(tmp_path / "a.jpg", 8, width=100).read_bytes()
    marked = add_mark(data, KEY)
    mark = find_mark(marked)
    assert mark is not None
    assert not genuine(data + marked[mark.start : mark.end])
