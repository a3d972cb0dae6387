"""How values are said: names that cannot disguise themselves, probabilities never certain by rounding."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from webui.formatting import duration, probability, visible, when


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("person12_bacteria_3.jpeg", "person12_bacteria_3.jpeg"),
        ("Röntgen 胸部 café.png", "Röntgen 胸部 café.png"),
        ("two\nlines\x00", "two�lines�"),
        ("x\u202egpj.exe", "x�gpj.exe"),
        ("half\udc80", "half�"),
    ],
)
def test_a_name_shows_what_is_hidden_in_it(name: str, shown: str) -> None:
    assert visible(name) == shown


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0.00"),
        (0.001, "<0.01"),
        (0.005, "0.01"),
        (0.934, "0.93"),
        (0.994, "0.99"),
        (0.9951, ">0.99"),
        (1.0, "1.00"),
    ],
)
def test_a_probability_is_not_rounded_to_certainty(value: float, said: str) -> None:
    assert probability(value) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (61, "1 min 1 s"), (7_322, "2 h 2 min")]
)
def test_a_span_has_its_two_largest_units(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_time_is_utc_with_the_local_one_beside_it() -> None:
    said = when(datetime(2026, 11, 23, 5, 58, 1, tzinfo=UTC))
    assert 'datetime="2026-11-23T05:58:01+00:00"' in said
    assert ">2026-11-23 05:58:01 UTC<" in said
    assert "local time" in said
    assert when(None) == "\N{EN DASH}"
