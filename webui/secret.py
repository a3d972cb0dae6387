"""The key that signs the session cookie. It is created once and kept in the data folder."""

from __future__ import annotations

import secrets
from pathlib import Path

from worker.keyfile import create_key_file

_KEY_BYTES = 32


def secret_key(path: Path) -> bytes:
    """Return the key. Create it if the file is missing."""
    if not path.exists():
        create_key_file(path, secrets.token_bytes(_KEY_BYTES))
    return path.read_bytes()
