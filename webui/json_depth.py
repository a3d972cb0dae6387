"""Refuses JSON that is nested too deeply, before the parser reads it.

When Python's stack is full, the parser raises RecursionError, but so does the finalizer of every object that is
collected at that moment.
"""

from __future__ import annotations

# Far below Python's stack of 1000 calls, and far above what any document here needs.
MOST_PARTS = 500


def has_too_many_parts(document: bytes) -> bool:
    """Return whether a JSON document has more than MOST_PARTS objects and arrays, and may be that deep."""
    return document.count(b"[") + document.count(b"{") > MOST_PARTS
