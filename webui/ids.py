"""Ids in a URL: one id, or a short text of many. Pure."""

from __future__ import annotations

from collections.abc import Sequence

# The largest integer of the database.
LARGEST_ID = 2**63 - 1


def id_of(text: str | None) -> int | None:
    """Read an id of a query; None for an empty text. Raises ValueError."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) <= LARGEST_ID):
        raise ValueError("an id must be a whole number")
    return int(text)


def ids_text(ids: Sequence[int]) -> str:
    """Write ids as a short text for a URL, sorted, with spans: 3,5-9."""
    spans: list[list[int]] = []
    for number in sorted(set(ids)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in spans)


def ids_of(text: str, max_ids: int) -> list[int]:
    """Read the text of `ids_text`. Raises ValueError when it is malformed or has more than `max_ids` ids."""
    ids: list[int] = []
    for span in filter(None, text.split(",")):
        first, dash, last = span.partition("-")
        low, high = id_of(first), id_of(last if dash else first)
        if low is None or high is None or not 0 <= high - low < max_ids - len(ids):
            raise ValueError(f"ids must be whole numbers or ranges such as 3-9, at most {max_ids} ids in all")
        ids.extend(range(low, high + 1))
    return ids
