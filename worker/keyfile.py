"""Files that hold a secret key: readable by their owner only, and complete as soon as they exist."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path


def create_key_file(path: Path, key: bytes) -> None:
    """Create a file that holds this key, unless the file exists already. Raises OSError.

    The key is written to a file beside `path`, which is then linked. Two processes that do this at the same
    time end up with the same key.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(key)
        with suppress(FileExistsError):
            os.link(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
