"""webui.formatting: labels, file names, probabilities and times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from webui.formatting import (
    STATES,
    VERDICT_SYMBOLS,
    VERDICTS,
    exact_probability,
    limit,
    percent,
    probability,
    visible,
    when,
)
from worker.inference.triage import Verdict
from worker.ledger.states import ImageState


def test_every_state_and_verdict_has_a_label() -> None:
    assert list(STATES) == list(ImageState)
    assert set(VERDICTS) == set(VERDICT_SYMBOLS) == set(Verdict)


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
def test_hidden_characters_become_visible(name: str, shown: str) -> None:
    assert visible(name) == shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "<0.01"),
        (0.001, "<0.01"),
        (0.005, "0.01"),
        (0.934, "0.93"),
        (0.994, "0.99"),
        (0.9951, ">0.99"),
        (1.0, ">0.99"),
    ],
)
def test_probability_is_not_rounded_to_certainty(value: float, text: str) -> None:
    assert probability(value) == text


@pytest.mark.parametrize(
    ("value", "text", "as_limit"),
    [
        (0.0, "<0.01", "0.00"),
        (1e-12, "<0.01", "0.00000000"),
        (0.0004, "0.00040", "0.00040"),
        (0.25, "0.25", "0.25"),
        (0.9996, "0.99960", "0.99960"),
        (1 - 1e-12, ">0.99", "1.00000000"),
        (1.0, ">0.99", "1.00"),
    ],
)
def test_no_score_reads_as_certain_and_a_limit_may(value: float, text: str, as_limit: str) -> None:
    assert exact_probability(value) == text
    assert limit(value) == as_limit


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "<1 %"), (0.0149, "1 %"), (0.5, "50 %"), (0.994, "99 %"), (0.996, ">99 %")]
)
def test_per_cent_are_not_rounded_to_certainty(value: float, text: str) -> None:
    assert percent(value) == text


def test_time_is_utc_and_says_so() -> None:
    element = when(datetime(2026, 11, 23, 5, 58, 1, tzinfo=UTC))
    assert 'datetime="2026-11-23T05:58:01+00:00"' in element
    assert ">2026-11-23 05:58:01 UTC<" in element
    assert when(None) == "\N{EN DASH}"
