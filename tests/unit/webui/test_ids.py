"""webui.ids: ids in URLs."""

from __future__ import annotations

import pytest

from webui.ids import LARGEST_ID, id_of, ids_of, ids_text


@pytest.mark.parametrize(
    ("ids", "text"), [([], ""), ([4], "4"), ([7, 5, 6], "5-7"), ([1, 2, 3, 9, 11, 12], "1-3,9,11-12")]
)
def test_ids_round_trip_as_spans(ids: list[int], text: str) -> None:
    assert ids_text(ids) == text
    assert ids_of(text, max_ids=10) == sorted(ids)


@pytest.mark.parametrize(
    "text", ["x", "1-", "-3", "3-1", "1-11", "1-6,7-12", f"{LARGEST_ID + 1}", "٣", "1.5"]
)
def test_malformed_or_too_many_ids_raise(text: str) -> None:
    with pytest.raises(ValueError, match="whole number"):
        ids_of(text, max_ids=10)


def test_missing_id_is_none() -> None:
    assert id_of(None) is id_of("") is None
    assert id_of("12") == 12
