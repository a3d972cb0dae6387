"""webui.queue_view: filter and cursor in URLs."""

from __future__ import annotations

from typing import Any

import pytest

from webui.ids import LARGEST_ID
from webui.queue_view import AGES, READING, SEXES, STATES, VERDICTS, VIEWS, QueueView
from worker.ledger.queue_order import Cursor, Order, Part
from worker.ledger.states import NEEDS_READING, ReviewState


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
    "chosen",
    [
        {"before": Cursor(0.5, 7)},
        {"order": Order.OLDEST, "after": Cursor(1.7e15, 7)},
        {"after": Cursor(1.7e15, 7, Part.OVERDUE)},
        *({"order": order} for order in Order),
        *({"state": state} for state in STATES),
        *({"age": age} for age in AGES),
        *({"sex": sex} for sex in SEXES),
        *({"view": view} for view in VIEWS),
        {"low": 0.0, "high": 1 / 3},
        {"source": "dicom", "reader": 3},
        {"reason": "blank", "state": "rejected"},
        {"reason": "blank", "state": "scored"},
    ],
)
def test_query_of_each_filter_round_trips(chosen: dict[str, Any]) -> None:
    queue_view = QueueView(**chosen)
    assert QueueView.parse(queue_view.query) == queue_view
    assert len(queue_view.query) >= len(chosen) - 1


def test_reason_alone_lists_images_without_a_score() -> None:
    assert QueueView.parse({"reason": "blank"}).state == "without-score"


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
        {"after": "0.5_1", "before": "0.5_1"},
        {"after": "o0.5_x"},
        {"before": f"w{2.0**53!r}_1"},
        {"after": "1700000000000000.0_1"},
        {"order": "name"},
        {"state": "leased"},
        {"low": "half"},
        {"high": "1.1"},
        {"low": "nan"},
        {"source": "fax"},
        {"age": "7"},
        {"sex": "female"},
        {"view": "DOE^JANE"},
        {"reader": "Ada"},
        {"reason": "It is blank."},
        {"run": "films of DOE^JANE"},
        {"run": "-1"},
        {"run": str(LARGEST_ID + 1)},
    ],
)
def test_invalid_query_raises_with_a_sentence(query: dict[str, str]) -> None:
    with pytest.raises(
        ValueError, match=r" must be (one of|the `next` of|the number of|the only|a score|the code) "
    ):
        QueueView.parse(query)


def test_next_image_comes_from_unread_images_of_any_list() -> None:
    assert QueueView(verdict="any", reading="any").unread.review is ReviewState.UNREAD
