"""worker.durations: durations as people write them."""

from __future__ import annotations

import pytest

from worker.durations import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (599, "9 min 59 s"),
        (600, "10 min"),
        (794, "13 min"),
        (3_569, "59 min"),
        (3_571, "1 h"),
        (7_322, "2 h 2 min"),
        (7_500, "2 h 5 min"),
        (86_400, "24 h"),
        (86_400 * 2 - 1, "2 days"),
        (266_400, "3 days 2 h"),
    ],
)
def test_duration_has_at_most_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text
