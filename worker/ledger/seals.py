"""Seals: hashes, under a random salt, of what a person typed.

The audit trail holds the seal, and the row holds the text and its salt. Without the salt, nobody can find the text
by guessing names. When text and salt are erased from the row, the audit trail stays as it was.
"""

from __future__ import annotations

import hashlib
import secrets

_SALT_BYTES = 16
# The text that replaces an erased one: names of runs and of readers must be unique, so theirs has the id of the row.
ERASED, _ERASED_UNIQUE = "(erased)", "(erased {id})"


def new_salt() -> str:
    """Return a random salt: 32 hexadecimal digits."""
    return secrets.token_hex(_SALT_BYTES)


def seal(salt: str, text: str | None) -> str | None:
    """Return the SHA-256 of salt, line feed and text in UTF-8, as hexadecimal digits; None for no text."""
    if text is None:
        return None
    return hashlib.sha256(f"{salt}\n{text}".encode("utf-8", "surrogatepass")).hexdigest()


def sealed_value(salt: str, value: object) -> str | None:
    """Return the seal of a value of a column, of its text if it is none itself; None for no value."""
    return seal(salt, None if value is None else str(value))


def erased_unique(row_id: int) -> str:
    """Return the text that replaces an erased name that must be unique."""
    return _ERASED_UNIQUE.format(id=row_id)


def is_erased(salt: str | None, text: str | None, row_id: int) -> bool:
    """Return whether text and salt were erased from a row."""
    return not salt and (not text or text in {ERASED, erased_unique(row_id)})
