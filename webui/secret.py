"""The key that signs the session cookie: made once, kept in the data folder, for its owner only."""

from __future__ import annotations

import secrets
from pathlib import Path

from worker.keyfile import create_key_file

_KEY_BYTES = 32


def secret_key(path: Path) -> bytes:
    """Read the key, or make it."""
    if not path.exists():
        create_key_file(path, secrets.token_bytes(_KEY_BYTES))
    return path.read_bytes()
