from __future__ import annotations

from worker.intake.stability import Sighting, StabilityTracker


def sighting(path: str, size: int, mtime: int = 0) -> Sighting:
    return Sighting(path, (size, mtime))


def test_a_file_is_complete_after_the_settle_time() -> None:
    tracker = StabilityTracker(settle_s=1.0)
    assert tracker.observe([sighting("a", 10)], now=100.0) == []
    assert tracker.observe([sighting("a", 10)], now=100.9) == []
    assert tracker.observe([sighting("a", 10)], now=101.0) == ["a"]


def test_the_settle_time_starts_at_the_last_change() -> None:
    tracker = StabilityTracker(settle_s=1.0)
    for second in range(5):
        assert tracker.observe([sighting("a", 10 * second)], now=float(second)) == []
    assert tracker.observe([sighting("a", 40)], now=4.9) == []
    assert tracker.observe([sighting("a", 40)], now=5.0) == ["a"]


def test_a_new_modification_time_counts_as_a_change() -> None:
    tracker = StabilityTracker(settle_s=1.0)
    tracker.observe([sighting("a", 10, mtime=1)], now=0.0)
    assert tracker.observe([sighting("a", 10, mtime=2)], now=1.0) == []
    assert tracker.observe([sighting("a", 10, mtime=2)], now=2.0) == ["a"]


def test_one_observation_is_never_enough() -> None:
    assert StabilityTracker(settle_s=1.0).observe([sighting("a", 10)], now=1e9) == []
    assert StabilityTracker(settle_s=0.0).observe([sighting("a", 10)], now=1e9) == []


def test_two_equal_observations_are_needed_without_a_settle_time() -> None:
    tracker = StabilityTracker(settle_s=0.0)
    tracker.observe([sighting("a", 10)], now=0.0)
    assert tracker.observe([sighting("a", 11)], now=1.0) == []
    assert tracker.observe([sighting("a", 11)], now=1.0) == ["a"]


def test_a_file_that_disappears_is_forgotten() -> None:
    tracker = StabilityTracker(settle_s=1.0)
    tracker.observe([sighting("a", 10), sighting("b", 5)], now=0.0)
    tracker.observe([sighting("b", 5)], now=0.5)
    assert tracker.observe([sighting("a", 10), sighting("b", 5)], now=1.0) == ["b"]
    assert tracker.observe([sighting("a", 10)], now=2.0) == ["a"]


def test_a_complete_file_that_stays_is_returned_again() -> None:
    tracker = StabilityTracker(settle_s=1.0)
    for now in (0.0, 1.0):
        tracker.observe([sighting("a", 10)], now)
    assert tracker.observe([sighting("a", 10)], now=2.0) == ["a"]
    assert tracker.observe([], now=3.0) == []


def test_due_in_is_the_time_to_the_next_complete_file() -> None:
    tracker = StabilityTracker(settle_s=2.0)
    assert tracker.due_in(0.0) is None
    tracker.observe([sighting("a", 10)], now=0.0)
    tracker.observe([sighting("a", 10), sighting("b", 5)], now=1.5)
    assert tracker.due_in(1.5) == 0.5
    assert tracker.due_in(9.0) == 0.0
    assert tracker.observe([sighting("a", 10), sighting("b", 5)], now=2.0) == ["a"]
    assert tracker.due_in(2.0) == 1.5
    # A complete file that stays, because it cannot be read or deleted, needs no earlier scan.
    tracker.observe([sighting("a", 10), sighting("b", 5)], now=3.5)
    assert tracker.due_in(3.5) is None


def test_due_in_follows_the_oldest_file_in_any_order() -> None:
    for order in (["old", "new"], ["new", "old"]):
        tracker = StabilityTracker(settle_s=2.0)
        tracker.observe([sighting("old", 10)], now=0.0)
        tracker.observe([sighting(path, 10) for path in order], now=1.5)
        assert tracker.due_in(1.5) == 0.5
