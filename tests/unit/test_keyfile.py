from __future__ import annotations

import os
from pathlib import Path

import pytest

from worker.keyfile import create_key_file, read_secret, secret_key


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


def secret_file(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o660])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_secret_is_the_one_line_of_its_file(tmp_path: Path, end: bytes, mode: int) -> None:
    assert read_secret(secret_file(tmp_path / "s", " sécret ".encode() + end, mode)) == " sécret "


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"secret\n\n", "must hold one line of text"),
        (b"secret\nsecret", "must hold one line of text"),
        (b"secret\0", "must hold one line of text"),
        (b"secret\xff", "is not UTF-8 text"),
        (b"secret" * 20_000, "is too long for a setting"),
    ],
)
def test_content_that_is_no_secret_is_refused_and_never_repeated(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence) as error:
        read_secret(secret_file(tmp_path / "file", content))
    assert "secret" not in str(error.value).replace(str(tmp_path), "")


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o666])
def test_a_secret_that_every_user_can_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ValueError, match="every user can read or change the file"):
        read_secret(secret_file(tmp_path / "file", b"secret", mode))


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ValueError, match=f"{path} is not a file"):
            read_secret(path)
    with pytest.raises(ValueError, match=r"cannot be read \(No such file or directory"):
        read_secret(tmp_path / "missing")


def test_a_secret_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    # Root may read any file.
    monkeypatch.setattr(os, "open", forbidden)
    with pytest.raises(ValueError, match=r"cannot be read \(Permission denied\)"):
        read_secret(tmp_path / "file")


def test_a_secret_key_is_made_once(tmp_path: Path) -> None:
    key = secret_key(tmp_path / "data" / "key")
    assert len(key) == 32
    assert secret_key(tmp_path / "data" / "key") == key != secret_key(tmp_path / "other")


def test_the_folder_of_a_key_file_is_private(tmp_path: Path) -> None:
    secret_key(tmp_path / "data" / "key")
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
