"""Where a reader is in the queue, and ids, as they stand in URLs."""

from __future__ import annotations

import pytest

from webui.queue_view import LARGEST_ID, READING, VERDICTS, QueueView, key_of, keys_of, keys_text
from worker.ledger.review import NEEDS_READING, Cursor
from worker.ledger.states import ReviewState


def test_without_a_query_it_is_the_top_of_what_waits_to_be_read() -> None:
    queue_view = QueueView.parse({})
    assert queue_view.wanted.verdicts == NEEDS_READING
    assert queue_view.wanted.review is ReviewState.UNREAD
    assert (queue_view.wanted.run, queue_view.after, queue_view.query) == (None, None, {})


@pytest.mark.parametrize("verdict", VERDICTS)
@pytest.mark.parametrize("reading", READING)
@pytest.mark.parametrize("run", [None, "night-2026-11-22", "ä & <b>"])
@pytest.mark.parametrize("after", [None, Cursor(0.1 + 0.2, 7), Cursor(1.0, LARGEST_ID)])
def test_every_place_comes_back_from_its_query(
    verdict: str, reading: str, run: str | None, after: Cursor | None
) -> None:
    queue_view = QueueView(verdict, reading, run, after)
    assert QueueView.parse(queue_view.query) == queue_view


@pytest.mark.parametrize(
    "query",
    [
        {"verdict": "pneumonia"},
        {"reading": "claimed"},
        {"after": "0.5"},
        {"after": "nan_3"},
        {"after": "0.5_-1"},
        {"after": f"0.5_{LARGEST_ID + 1}"},
        {"after": "2_1"},
    ],
)
def test_a_query_that_makes_no_sense_is_refused_with_a_sentence(query: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r" is (one of|the cursor) "):
        QueueView.parse(query)


def test_the_next_image_to_decide_on_is_unread_whatever_list_is_shown() -> None:
    assert QueueView(verdict="any", reading="any").unread.review is ReviewState.UNREAD


@pytest.mark.parametrize(
    ("keys", "text"), [([], ""), ([4], "4"), ([7, 5, 6], "5-7"), ([1, 2, 3, 9, 11, 12], "1-3,9,11-12")]
)
def test_ids_are_written_short_and_read_back(keys: list[int], text: str) -> None:
    assert keys_text(keys) == text
    assert keys_of(text, most=10) == sorted(keys)


@pytest.mark.parametrize(
    "text", ["x", "1-", "-3", "3-1", "1-11", "1-6,7-12", f"{LARGEST_ID + 1}", "٣", "1.5"]
)
def test_ids_that_are_none_or_too_many_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="whole number"):
        keys_of(text, most=10)


def test_no_id_is_none() -> None:
    assert key_of(None) is key_of("") is None
    assert key_of("12") == 12
