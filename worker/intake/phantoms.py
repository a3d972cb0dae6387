"""Recognises the phantoms of this installation among the files that arrive."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import structlog

from worker.imagefile.phantom_mark import HEADER_BYTES, find_mark, is_genuine

log = structlog.get_logger(__name__)


def is_own_phantom(file: BinaryIO, key_file: Path) -> bool:
    """Return whether a file carries a mark that was made with the key in `key_file`.

    The key may be made while this process runs, so it is read for each file that carries a mark. Anybody can write a mark
    into a file; without the key it does not count. The position of the file is undefined afterwards. Raises OSError if the
    file cannot be read.
    """
    file.seek(0)
    mark = find_mark(file.read(HEADER_BYTES))
    key = _read_key(key_file) if mark else None
    return mark is not None and key is not None and is_genuine(file, mark, key)


def _read_key(path: Path) -> bytes | None:
    try:
        return path.read_bytes() or None
    except FileNotFoundError:
        return None
    except OSError as error:
        _warn_unreadable(str(error.strerror))
        return None


@lru_cache(maxsize=10)
def _warn_unreadable(error: str) -> None:
    """Log once, not for each file."""
    log.warning("the key of phantoms cannot be read; no file counts as a phantom", error=error)
