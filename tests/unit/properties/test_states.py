"""worker.ledger.states: properties of every way that an image can take through the table."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from worker.ledger.states import TRANSITIONS, ImageState, after_failure

LEASED, PENDING, QUARANTINED = ImageState.LEASED, ImageState.PENDING, ImageState.QUARANTINED
ERASED = ImageState.ERASED


@st.composite
def walks(draw: st.DrawFn) -> list[ImageState]:
    """States that an image passes through, from its arrival, as the table allows."""
    path: list[ImageState] = []
    state: ImageState | None = None
    for _ in range(draw(st.integers(1, 12))):
        following = [after for before, after in TRANSITIONS if before is state]
        if not following:
            break
        state = draw(st.sampled_from(following))
        path.append(state)
    return path


@given(walks())
def test_a_scored_image_was_leased_before_and_is_pending_or_erased_afterwards(path: list[ImageState]) -> None:
    for before, after in pairwise(path):
        assert after is not ImageState.SCORED or before is LEASED
        assert before is not ImageState.SCORED or after in {PENDING, ERASED}


@given(walks())
def test_lease_follows_pending_and_quarantine_follows_a_lease(path: list[ImageState]) -> None:
    for before, after in pairwise(path):
        assert after is not LEASED or before is PENDING
        assert after is not QUARANTINED or before is LEASED


@given(st.integers(1, 20))
def test_an_image_is_quarantined_after_exactly_its_attempts(max_attempts: int) -> None:
    outcomes = [after_failure(attempts, max_attempts) for attempts in range(1, max_attempts + 3)]
    assert outcomes == [PENDING] * (max_attempts - 1) + [QUARANTINED] * 3
