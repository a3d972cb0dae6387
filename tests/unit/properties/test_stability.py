"""worker.intake.stability against a plain model: it looks at all earlier scans again, at each scan."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.intake.stability import Sighting, StabilityTracker

Scan = tuple[float, dict[str, int]]

# Quarters of a second, so that every sum is exact.
SECONDS = st.integers(0, 12).map(lambda quarters: quarters / 4)
# Path -> state; a scan lists its files in the order of the dict.
FILES = st.dictionaries(st.sampled_from("abc"), st.integers(0, 1))
SCANS = st.lists(st.tuples(SECONDS, FILES), min_size=1, max_size=10)


def since(scans: list[Scan], path: str) -> float:
    """The time of the first of the last scans that all saw the file as the last one did."""
    first, files = scans[-1]
    for now, earlier in reversed(scans):
        if earlier.get(path) != files[path]:
            break
        first = now
    return first


@pytest.mark.slow
@given(SECONDS, SCANS)
def test_a_file_is_complete_when_it_rested_for_the_settle_time(settle_s: float, steps: list[Scan]) -> None:
    tracker, now, scans = StabilityTracker(settle_s), 100.0, list[Scan]()
    for pause, files in steps:
        now += pause
        scans.append((now, files))
        complete = tracker.observe([Sighting(path, state) for path, state in files.items()], now)

        seen_twice = {path for path in files if len(scans) > 1 and scans[-2][1].get(path) == files[path]}
        rested = {path: now - since(scans, path) for path in files}
        assert complete == [path for path in files if path in seen_twice and rested[path] >= settle_s]

        waiting = [settle_s - rested[path] for path in files if path not in complete]
        assert tracker.due_in(now) == (max(0.0, min(waiting)) if waiting else None)
        assert tracker.due_in(now + 100) == (0.0 if waiting else None)
