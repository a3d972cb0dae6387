"""bench.gate: when one program is slower than another, from pairs of runs."""

from __future__ import annotations

import pytest

from bench.gate import PROCESSOR_MARGIN, TIME_MARGIN, Run, compare, run_of

BASE = Run(processor_ms=6.0, time_ms=4.0)


def test_what_the_machine_did_in_one_pair_does_not_count() -> None:
    slow_machine = (Run(12.0, 8.0), Run(12.0, 8.0))
    disturbed = (BASE, Run(9.0, 16.0))
    found = compare([slow_machine, disturbed, (BASE, BASE)])
    assert (found.processor, found.time) == (1.0, 1.0)
    assert not found.is_slower


@pytest.mark.parametrize("share", [0.99, 1.01])
def test_program_is_slower_beyond_one_of_the_margins(share: float) -> None:
    busier = Run(BASE.processor_ms * (1 + share * PROCESSOR_MARGIN), BASE.time_ms)
    waits = Run(BASE.processor_ms, BASE.time_ms * (1 + share * TIME_MARGIN))
    assert compare(3 * [(BASE, busier)]).is_slower is (share > 1)
    assert compare(3 * [(BASE, waits)]).is_slower is (share > 1)


def test_faster_program_is_not_slower() -> None:
    assert not compare([(BASE, Run(3.0, 2.0))]).is_slower


def test_idle_cores_and_other_programs_are_not_the_programs_time() -> None:
    spent = {"scoring": 5.0, "watch": 0.75, "idle": 9.0, "other_programs": 2.0}
    found = run_of({"processor_ms_an_image": spent, "end_to_end_images_per_s": 250.0})
    assert found == Run(5.75, 4.0)
