from __future__ import annotations

from worker.intake.stability import Sighting, StabilityTracker


def seen(key: str, size: int, mtime: int = 0) -> Sighting:
    return Sighting(key, (size, mtime))


def test_a_file_is_complete_once_it_has_rested() -> None:
    tracker = StabilityTracker(settle_s=1.0)
    assert tracker.observe([seen("a", 10)], now=100.0) == []
    assert tracker.observe([seen("a", 10)], now=100.9) == []
    assert tracker.observe([seen("a", 10)], now=101.0) == ["a"]


def test_a_slow_write_is_waited_for_and_its_rest_is_counted_from_the_last_change() -> None:
    tracker = StabilityTracker(settle_s=1.0)
    for second in range(5):
        assert tracker.observe([seen("a", 10 * second)], now=float(second)) == []
    assert tracker.observe([seen("a", 40)], now=4.9) == []
    assert tracker.observe([seen("a", 40)], now=5.0) == ["a"]


def test_a_change_of_time_alone_is_a_change() -> None:
    tracker = StabilityTracker(settle_s=1.0)
    tracker.observe([seen("a", 10, mtime=1)], now=0.0)
    assert tracker.observe([seen("a", 10, mtime=2)], now=1.0) == []
    assert tracker.observe([seen("a", 10, mtime=2)], now=2.0) == ["a"]


def test_one_look_says_nothing_at_start_up_either() -> None:
    assert StabilityTracker(settle_s=1.0).observe([seen("a", 10)], now=1e9) == []
    assert StabilityTracker(settle_s=0.0).observe([seen("a", 10)], now=1e9) == []


def test_without_a_settle_time_a_second_look_is_still_needed() -> None:
    tracker = StabilityTracker(settle_s=0.0)
    tracker.observe([seen("a", 10)], now=0.0)
    assert tracker.observe([seen("a", 11)], now=1.0) == []
    assert tracker.observe([seen("a", 11)], now=1.0) == ["a"]


def test_a_file_that_disappears_is_forgotten_and_starts_anew() -> None:
    tracker = StabilityTracker(settle_s=1.0)
    tracker.observe([seen("a", 10), seen("b", 5)], now=0.0)
    tracker.observe([seen("b", 5)], now=0.5)
    assert tracker.observe([seen("a", 10), seen("b", 5)], now=1.0) == ["b"]
    assert tracker.observe([seen("a", 10)], now=2.0) == ["a"]


def test_a_complete_file_that_stays_is_named_again_by_the_next_scan() -> None:
    tracker = StabilityTracker(settle_s=1.0)
    for now in (0.0, 1.0):
        tracker.observe([seen("a", 10)], now)
    assert tracker.observe([seen("a", 10)], now=2.0) == ["a"]
    assert tracker.observe([], now=3.0) == []


def test_the_next_look_is_due_when_the_first_of_the_unfinished_may_be_complete() -> None:
    tracker = StabilityTracker(settle_s=2.0)
    assert tracker.due_in(0.0) is None
    tracker.observe([seen("a", 10)], now=0.0)
    tracker.observe([seen("a", 10), seen("b", 5)], now=1.5)
    assert tracker.due_in(1.5) == 0.5
    assert tracker.due_in(9.0) == 0.0
    assert tracker.observe([seen("a", 10), seen("b", 5)], now=2.0) == ["a"]
    assert tracker.due_in(2.0) == 1.5
    # What is complete and stays, since nobody could read or remove it, hurries nobody.
    tracker.observe([seen("a", 10), seen("b", 5)], now=3.5)
    assert tracker.due_in(3.5) is None
