from __future__ import annotations

from itertools import product

import pytest

from worker.ledger.states import IllegalTransition, ImageState, after_failure, check_transition

PENDING, LEASED, SCORED = ImageState.PENDING, ImageState.LEASED, ImageState.SCORED
REJECTED, QUARANTINED, ERASED = ImageState.REJECTED, ImageState.QUARANTINED, ImageState.ERASED

# Written out from the design, not taken from the code.
LEGAL: set[tuple[ImageState | None, ImageState]] = {
    (None, PENDING),
    (None, REJECTED),
    (PENDING, LEASED),
    (LEASED, SCORED),
    (LEASED, REJECTED),
    (LEASED, PENDING),
    (LEASED, QUARANTINED),
    (SCORED, PENDING),
    (REJECTED, PENDING),
    (QUARANTINED, PENDING),
    (PENDING, ERASED),
    (LEASED, ERASED),
    (SCORED, ERASED),
    (REJECTED, ERASED),
    (QUARANTINED, ERASED),
}
EVERY = sorted(product([None, *ImageState], ImageState), key=str)


@pytest.mark.parametrize(("before", "after"), [pair for pair in EVERY if pair in LEGAL])
def test_allowed_transition_passes(before: ImageState | None, after: ImageState) -> None:
    check_transition(before, after)


@pytest.mark.parametrize(("before", "after"), [pair for pair in EVERY if pair not in LEGAL])
def test_every_other_transition_raises(before: ImageState | None, after: ImageState) -> None:
    with pytest.raises(IllegalTransition, match=f"cannot go from {before or 'nothing'} to {after}"):
        check_transition(before, after)


def test_scored_image_can_only_be_scored_again_or_erased() -> None:
    assert {after for before, after in LEGAL if before is SCORED} == {PENDING, ERASED}


def test_erased_image_stays_erased() -> None:
    assert [after for before, after in LEGAL if before is ERASED] == []


@pytest.mark.parametrize(
    ("attempts", "after"), [(1, PENDING), (2, PENDING), (3, QUARANTINED), (4, QUARANTINED)]
)
def test_last_failed_attempt_quarantines(attempts: int, after: ImageState) -> None:
    assert after_failure(attempts, max_attempts=3) is after
