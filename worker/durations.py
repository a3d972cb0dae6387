"""Durations as people write them."""

from __future__ import annotations

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400
# From here on, the smaller unit of the range below is not shown.
_WHOLE_MINUTES_FROM_S, _DAYS_FROM_S = 10 * _MINUTE_S, 2 * _DAY_S


def duration(seconds: float) -> str:
    """Return a duration in at most two units: "40 s", "3 min 20 s", "13 min", "2 h 5 min", "3 days 2 h"."""
    whole = round(seconds)
    if whole >= _WHOLE_MINUTES_FROM_S:
        whole = round(whole / _MINUTE_S) * _MINUTE_S
    if whole >= _DAYS_FROM_S:
        return _parts(round(whole / _HOUR_S) * _HOUR_S, (_DAY_S, "days"), (_HOUR_S, "h"))
    if whole >= _HOUR_S:
        return _parts(whole, (_HOUR_S, "h"), (_MINUTE_S, "min"))
    return _parts(whole, (_MINUTE_S, "min"), (1, "s"))


def _parts(seconds: int, larger: tuple[int, str], smaller: tuple[int, str]) -> str:
    """Return the parts that are not zero; a duration of zero in the smaller unit."""
    many, rest = divmod(seconds, larger[0])
    few = rest // smaller[0]
    parts = [f"{number} {unit}" for number, unit in ((many, larger[1]), (few, smaller[1])) if number]
    return " ".join(parts) or f"0 {smaller[1]}"
