"""Text that is safe to print on a terminal."""

from __future__ import annotations


def printable(value: object) -> str:
    """Replace control characters, which a terminal would obey, by question marks."""
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
