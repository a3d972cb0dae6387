"""Files that hold a secret: a key that the program makes, or a setting that somebody keeps in a file."""

from __future__ import annotations

import os
import secrets
import stat
import uuid
from contextlib import suppress
from pathlib import Path

_LONGEST_SECRET = 64 * 1024
_OTHERS = stat.S_IROTH | stat.S_IWOTH
_SECRET_BYTES = 32


def secret_key(path: Path) -> bytes:
    """Return the secret key in a file, which is created with a random key if it is missing. Raises OSError."""
    if not path.exists():
        create_key_file(path, secrets.token_bytes(_SECRET_BYTES))
    return path.read_bytes()


def previous_keys(path: Path) -> list[bytes]:
    """Return the keys that a secret key has replaced and that still count: the one in `<name>.previous`, if it is there.

    Raises OSError.
    """
    previous = path.with_name(f"{path.name}.previous")
    return [previous.read_bytes()] if previous.exists() else []


def create_key_file(path: Path, key: bytes) -> None:
    """Create a file that holds this key and that only its owner can read, unless the file exists already. Raises OSError.

    The key is written to a file beside `path`, which is then linked. Two processes that do this at the same
    time end up with the same key. It is on the disk when this returns.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_secret(path: Path) -> str:
    """Return the one line that a file holds, without the line feed at its end.

    Raises ValueError if the file cannot be read, is empty, holds more than a line, or if every user can read or change
    it. No message repeats the content.
    """
    try:
        content = _read_closed_file(path)
        secret = content.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ValueError(f"the file {path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError(f"the file {path} is not UTF-8 text") from None
    if not secret:
        raise ValueError(f"the file {path} is empty")
    if not secret.isprintable():
        raise ValueError(f"the file {path} must hold one line of text")
    return secret


def _read_closed_file(path: Path) -> bytes:
    # Opened without waiting: a named pipe would have no end.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise ValueError(f"{path} is not a file")
        if mode & _OTHERS:
            raise ValueError(f"every user can read or change the file {path}; run `chmod o= {path}`")
        content = os.read(handle, _LONGEST_SECRET + 1)
    finally:
        os.close(handle)
    if len(content) > _LONGEST_SECRET:
        raise ValueError(f"the file {path} is too long for a setting")
    return content
