"""webui.formatting: labels, file names, probabilities and times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webui.formatting import (
    STATES,
    VERDICT_SYMBOLS,
    VERDICTS,
    decimals_beside,
    distance,
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
    ("score", "edge", "shown"),
    [
        (0.397, 0.4, ("0.397", "0.400")),
        (0.404, 0.4, ("0.40", "0.40")),
        (0.4, 0.4, ("0.40", "0.40")),
        (0.3994, 0.3996, ("0.399", "0.400")),
        (0.39961, 0.3996, ("0.40", "0.40")),
        (0.3996, 0.39961, ("0.39960", "0.39961")),
        (0.0031, 0.0032, ("0.0031", "0.0032")),
        (0.9996, 0.5, (">0.99", "0.50")),
        (0.9996, 0.9997, ("0.99960", "0.99970")),
    ],
)
def test_score_beside_a_limit_reads_on_its_side(score: float, edge: float, shown: tuple[str, str]) -> None:
    decimals = decimals_beside([score, 0.5], [edge, 0.9])
    assert (probability(score, decimals), limit(edge, decimals)) == shown


@given(st.lists(st.floats(0, 1), min_size=1), st.lists(st.decimals(0, 1, places=6).map(float), min_size=1))
def test_scores_and_limits_side_by_side_never_contradict(scores: list[float], limits: list[float]) -> None:
    """But for scores that eight decimals cannot part from a limit."""
    decimals = decimals_beside(scores, limits, 3)
    assert decimals >= 3
    for score in scores:
        for edge in limits:
            shown = float(exact_probability(score, decimals).lstrip("<>")), float(limit(edge, decimals))
            if abs(score - edge) > 1e-8 and not exact_probability(score, decimals).startswith(("<", ">")):
                assert (shown[0] < shown[1]) == (score < edge)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.50"),
        (1.0, "1.00"),
        (0.999999, "1.00"),
        (1.000001, "1.000001"),
        (1.004, "1.004"),
        (3.04, "3.04"),
    ],
)
def test_distance_reads_on_its_side_of_the_limit(value: float, text: str) -> None:
    assert distance(value) == text


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
