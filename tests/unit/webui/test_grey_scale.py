"""The words about a grey scale."""

from __future__ import annotations

from dataclasses import replace

import pytest

from webui.grey_scale import described, measured_at
from worker.dicom.facts import Function, GreyFacts, Note, Spacing, SpacingAt, Voi

WINDOW = GreyFacts(
    stored_bits=12,
    lowest=0,
    highest=4095,
    voi=Voi.WINDOW,
    voi_low=0,
    voi_high=4095,
    voi_number=1,
    voi_count=1,
    center=2048,
    width=4096,
    function=Function.LINEAR,
    inverted=False,
    spacing=None,
    notes=(),
)


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (WINDOW, "Window 2048 / 4096 (level / width)"),
        (replace(WINDOW, voi_count=3, inverted=True), "Window 2048 / 4096 (level / width), 1 of 3, inverted"),
        (replace(WINDOW, function=Function.LINEAR_EXACT), "Window 2048 / 4096 (level / width), linear exact"),
        (replace(WINDOW, voi=Voi.LUT, voi_count=2), "VOI LUT, 1 of 2"),
        (replace(WINDOW, voi=Voi.RANGE, voi_low=7), "Range of its own values, 7 to 4095"),
    ],
)
def test_what_is_shown_is_named(facts: GreyFacts, text: str) -> None:
    assert described(facts) == f"{text}."


@pytest.mark.parametrize("note", Note)
def test_each_note_has_a_sentence(note: Note) -> None:
    text = described(replace(WINDOW, notes=(note,)))
    assert text.startswith(f"{described(WINDOW)} The ")
    assert text.endswith(".")


@pytest.mark.parametrize("place", SpacingAt)
def test_each_place_of_a_spacing_has_words(place: SpacingAt) -> None:
    assert "at the" in measured_at(Spacing(0.1, 0.1, place))
