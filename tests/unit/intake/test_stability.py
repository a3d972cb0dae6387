from __future__ import annotations

import pytest

from worker.intake.stability import Sighting, StabilityTracker


def sighting(path: str, size: int, at: float, mtime: int = 0) -> Sighting:
    return Sighting(path, (size, mtime), at)


def test_a_file_is_complete_after_the_settle_time() -> None:
    tracker = StabilityTracker(settle_s=1.0)
    assert tracker.observe([sighting("a", 10, 100.0)]) == []
    assert tracker.observe([sighting("a", 10, 100.9)]) == []
    assert tracker.observe([sighting("a", 10, 101.0)]) == ["a"]


def test_the_settle_time_starts_at_the_last_change() -> None:
    tracker = StabilityTracker(settle_s=1.0)
    for second in range(5):
        assert tracker.observe([sighting("a", 10 * second, float(second))]) == []
    assert tracker.observe([sighting("a", 40, 4.9)]) == []
    assert tracker.observe([sighting("a", 40, 5.0)]) == ["a"]


def test_a_new_modification_time_counts_as_a_change() -> None:
    tracker = StabilityTracker(settle_s=1.0)
    tracker.observe([sighting("a", 10, 0.0, mtime=1)])
    assert tracker.observe([sighting("a", 10, 1.0, mtime=2)]) == []
    assert tracker.observe([sighting("a", 10, 2.0, mtime=2)]) == ["a"]


def test_each_file_settles_from_its_own_sighting() -> None:
    tracker = StabilityTracker(settle_s=1.0)
    tracker.observe([sighting("a", 10, 0.0), sighting("b", 5, 60.0)])
    assert tracker.observe([sighting("a", 10, 60.5), sighting("b", 5, 60.9)]) == ["a"]
    assert tracker.due_in(60.9) == pytest.approx(0.1)
    assert tracker.observe([sighting("b", 5, 61.0)]) == ["b"]


def test_one_observation_is_never_enough() -> None:
    assert StabilityTracker(settle_s=1.0).observe([sighting("a", 10, 1e9)]) == []
    assert StabilityTracker(settle_s=0.0).observe([sighting("a", 10, 1e9)]) == []


def test_two_equal_observations_are_needed_without_a_settle_time() -> None:
    tracker = StabilityTracker(settle_s=0.0)
    tracker.observe([sighting("a", 10, 0.0)])
    assert tracker.observe([sighting("a", 11, 1.0)]) == []
    assert tracker.observe([sighting("a", 11, 1.0)]) == ["a"]


def test_a_file_that_disappears_is_forgotten() -> None:
    tracker = StabilityTracker(settle_s=1.0)
    tracker.observe([sighting("a", 10, 0.0), sighting("b", 5, 0.0)])
    tracker.observe([sighting("b", 5, 0.5)])
    assert tracker.observe([sighting("a", 10, 1.0), sighting("b", 5, 1.0)]) == ["b"]
    assert tracker.observe([sighting("a", 10, 2.0)]) == ["a"]


def test_a_complete_file_that_stays_is_returned_again() -> None:
    tracker = StabilityTracker(settle_s=1.0)
    for now in (0.0, 1.0):
        tracker.observe([sighting("a", 10, now)])
    assert tracker.observe([sighting("a", 10, 2.0)]) == ["a"]
    assert tracker.observe([]) == []


def test_due_in_is_the_time_to_the_next_complete_file() -> None:
    tracker = StabilityTracker(settle_s=2.0)
    assert tracker.due_in(0.0) is None
    tracker.observe([sighting("a", 10, 0.0)])
    tracker.observe([sighting("a", 10, 1.5), sighting("b", 5, 1.5)])
    assert tracker.due_in(1.5) == 0.5
    assert tracker.due_in(9.0) == 0.0
    assert tracker.observe([sighting("a", 10, 2.0), sighting("b", 5, 2.0)]) == ["a"]
    assert tracker.due_in(2.0) == 1.5
    # A complete file that stays, because it cannot be read or deleted, needs no earlier scan.
    tracker.observe([sighting("a", 10, 3.5), sighting("b", 5, 3.5)])
    assert tracker.due_in(3.5) is None


def test_due_in_follows_the_oldest_file_in_any_order() -> None:
    for order in (["old", "new"], ["new", "old"]):
        tracker = StabilityTracker(settle_s=2.0)
        tracker.observe([sighting("old", 10, 0.0)])
        tracker.observe([sighting(path, 10, 1.5) for path in order])
        assert tracker.due_in(1.5) == 0.5
