"""webui.queue_view: filter and cursor in URLs."""

from __future__ import annotations

import pytest

from webui.ids import LARGEST_ID
from webui.queue_view import READING, VERDICTS, QueueView
from worker.ledger.reading_queue import Cursor
from worker.ledger.review import NEEDS_READING
from worker.ledger.states import ReviewState


def test_empty_query_is_the_first_page_of_unread_images() -> None:
    queue_view = QueueView.parse({})
    assert queue_view.filter.verdicts == NEEDS_READING
    assert queue_view.filter.review is ReviewState.UNREAD
    assert (queue_view.filter.run, queue_view.after, queue_view.query) == (None, None, {})


@pytest.mark.parametrize("verdict", VERDICTS)
@pytest.mark.parametrize("reading", READING)
@pytest.mark.parametrize("run", [None, "night-2026-11-22", "canary", "7"])
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
        {"run": "films of DOE^JANE"},
        {"run": "-1"},
        {"run": str(LARGEST_ID + 1)},
    ],
)
def test_invalid_query_raises_with_a_sentence(query: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r" must be (one of|the `next` of|the number of) "):
        QueueView.parse(query)


def test_next_image_comes_from_unread_images_of_any_list() -> None:
    assert QueueView(verdict="any", reading="any").unread.review is ReviewState.UNREAD
