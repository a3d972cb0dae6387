"""The cursor of the reading queue, as text and in a URL."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webui.ids import LARGEST_ID, ids_of, ids_text
from webui.queue_view import QueueView
from worker.ledger.queue_order import LATEST, Cursor, Part

IDS = st.integers(0, LARGEST_ID)
TIMES = st.integers(0, int(LATEST)).map(float)
CURSORS = st.builds(Cursor, st.floats(0, 1), IDS) | st.builds(
    Cursor, TIMES, IDS, st.sampled_from([Part.OVERDUE, Part.WITHOUT_SCORE])
)
TEXTS = st.text(st.sampled_from("0123456789.eE+-_, nafi٣"), max_size=12) | st.text(max_size=12)
RUNS = st.sampled_from(["", "night-2026-11-22"]) | st.integers(1, LARGEST_ID).map(str)


@given(CURSORS)
def test_text_of_a_cursor_gives_it_back(cursor: Cursor) -> None:
    assert Cursor.parse(str(cursor)) == cursor


@given(CURSORS, st.sampled_from(["", "any", "clear"]), st.sampled_from(["", "read", "any"]), RUNS)
def test_query_of_a_view_gives_it_back(cursor: Cursor, verdict: str, reading: str, run: str) -> None:
    view = QueueView.parse({"verdict": verdict, "reading": reading, "run": run, "after": str(cursor)})
    assert view.after == cursor
    assert QueueView.parse(view.query) == view


@given(TEXTS)
def test_any_text_in_a_url_is_a_cursor_in_range_or_an_error(text: str) -> None:
    with suppress(ValueError):
        after = QueueView.parse({"after": text}).after
        assert after is None or (0 <= after.key <= LATEST and 0 <= after.image_id <= LARGEST_ID)


@given(st.builds(Cursor, st.floats(), st.integers()).filter(lambda cursor: not 0 <= cursor.key <= 1))
def test_a_cursor_with_another_score_is_an_error(cursor: Cursor) -> None:
    with pytest.raises(ValueError, match="after"):
        QueueView.parse({"after": str(cursor)})


@given(st.lists(st.integers(0, 40) | IDS, max_size=30))
def test_text_of_ids_gives_them_back_sorted(ids: list[int]) -> None:
    assert ids_of(ids_text(ids), 30) == sorted(set(ids))


@given(TEXTS)
def test_any_text_of_ids_is_few_ids_or_an_error(text: str) -> None:
    with suppress(ValueError):
        assert len(ids_of(text, 5)) <= 5
