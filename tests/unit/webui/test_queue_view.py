"""webui.queue_view: filter, cursor and ids in URLs."""

from __future__ import annotations

import pytest

from webui.queue_view import LARGEST_ID, READING, VERDICTS, QueueView, id_of, ids_of, ids_text
from worker.ledger.review import NEEDS_READING, Cursor
from worker.ledger.states import ReviewState


def test_empty_query_is_the_first_page_of_unread_images() -> None:
    queue_view = QueueView.parse({})
    assert queue_view.filter.verdicts == NEEDS_READING
    assert queue_view.filter.review is ReviewState.UNREAD
    assert (queue_view.filter.run, queue_view.after, queue_view.query) == (None, None, {})


@pytest.mark.parametrize("verdict", VERDICTS)
@pytest.mark.parametrize("reading", READING)
@pytest.mark.parametrize("run", [None, "night-2026-11-22", "ä & <b>"])
@pytest.mark.parametrize("after", [None, Cursor(0.1 + 0.2, 7), Cursor(1.0, LARGEST_ID)])
def test_query_round_trips(verdict: str, reading: str, run: str | None, after: Cursor | None) -> None:
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
def test_invalid_query_raises_with_a_sentence(query: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r" must be (one of|the `next` of) "):
        QueueView.parse(query)


def test_next_image_comes_from_unread_images_of_any_list() -> None:
    assert QueueView(verdict="any", reading="any").unread.review is ReviewState.UNREAD


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
