"""worker.intake.stability against a plain model: it looks at all earlier scans again, at each scan."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.intake.stability import Sighting, StabilityTracker

# Path -> state, and when the scan looked at the file.
Scan = dict[str, tuple[int, float]]

# Quarters of a second, so that every sum is exact.
SECONDS = st.integers(0, 12).map(lambda quarters: quarters / 4)
# Path -> state; a scan lists its files in the order of the dict.
FILES = st.dictionaries(st.sampled_from("abc"), st.integers(0, 1))
STEPS = st.lists(st.tuples(SECONDS, FILES), min_size=1, max_size=10)


def since(scans: list[Scan], path: str) -> float:
    """The time of the first of the last sightings that all saw the file as the last one did."""
    state, first = scans[-1][path]
    for earlier in reversed(scans):
        if path not in earlier or earlier[path][0] != state:
            break
        first = earlier[path][1]
    return first


@pytest.mark.slow
@given(SECONDS, SECONDS, STEPS)
def test_a_file_is_complete_when_it_rested_for_the_settle_time(
    settle_s: float, one_file_s: float, steps: list[tuple[float, dict[str, int]]]
) -> None:
    tracker, now, scans = StabilityTracker(settle_s), 100.0, list[Scan]()
    for pause, files in steps:
        now += pause
        scans.append({path: (state, now + n * one_file_s) for n, (path, state) in enumerate(files.items())})
        now += len(files) * one_file_s
        complete = tracker.observe([Sighting(path, *seen) for path, seen in scans[-1].items()])

        seen_twice = {
            path for path in files if len(scans) > 1 and scans[-2].get(path, (None,))[0] == files[path]
        }
        start = {path: since(scans, path) for path in files}
        rested = {path: at - start[path] for path, (_, at) in scans[-1].items()}
        assert complete == [path for path in files if path in seen_twice and rested[path] >= settle_s]

        waiting = [start[path] + settle_s - now for path in files if path not in complete]
        assert tracker.due_in(now) == (max(0.0, min(waiting)) if waiting else None)
        assert tracker.due_in(now + 100) == (0.0 if waiting else None)
