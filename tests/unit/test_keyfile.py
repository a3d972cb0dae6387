from __future__ import annotations

import os
from pathlib import Path

import pytest

from worker.keyfile import create_key_file


def test_only_the_owner_can_read_a_key_file(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "key"
    before = os.umask(0)
    try:
        create_key_file(path, b"a key")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"a key"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_that_exists_is_not_replaced(tmp_path: Path) -> None:
    create_key_file(tmp_path / "key", b"first")
    create_key_file(tmp_path / "key", b"second")
    assert (tmp_path / "key").read_bytes() == b"first"


def test_a_failed_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "link", fails)
    with pytest.raises(OSError, match="disk full"):
        create_key_file(tmp_path / "key", b"a key")
    assert list(tmp_path.iterdir()) == []
