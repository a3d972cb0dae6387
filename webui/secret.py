"""The key that signs the session cookie: made once, kept in the data folder, for its owner only."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

_KEY_BYTES = 32


def secret_key(path: Path) -> bytes:
    """Read the key, or make it. Linked into place whole, so that two processes share one key."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
        try:
            path.hardlink_to(unfinished)
        except FileExistsError:
            pass
        finally:
            unfinished.unlink()
    return path.read_bytes()
