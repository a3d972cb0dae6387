"""Images that need more memory than a scoring process may have, among others, through the whole program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from tests import bombs
from tests.chaos.sender import scoring_processes
from tests.conftest import Stack, wait_for
from tests.files import distinct
from tests.filling import assert_consistent
from worker.ledger.tables import Image

pytestmark = pytest.mark.stack


def test_image_that_needs_too_much_memory_is_rejected_alone(
    make_stack: Callable[..., Stack], phantoms: list[Path]
) -> None:
    stack = make_stack(workers=1, lease_s=120.0, worker_memory_bytes=400 * 1024**2)
    stack.start()
    wait_for(lambda: len(scoring_processes(stack)) == 1, stack.log_tail)
    (before,) = scoring_processes(stack)
    stack.drop("large.png", bombs.black_png(bombs.LARGE, bombs.LARGE, colour=True))
    for number in range(6):
        stack.drop(f"{number}.jpg", distinct(phantoms[0].read_bytes(), number))
    counts = stack.wait_until_done(7)
    assert (counts.scored, counts.rejected, counts.quarantined) == (6, 1, 0), stack.log_tail()
    with stack.ledger.reading() as session:
        large = session.scalars(select(Image).where(Image.state == "rejected")).one()
        attempts = set(session.scalars(select(Image.attempts)))
    assert (large.original_name, large.reason_code) == ("large.png", "needs_memory")
    assert attempts == {1}, "nobody paid for it"
    assert scoring_processes(stack) == [before]

    # One that has grown, though within its bound, makes room for another.
    stack.drop("grown.png", bombs.black_png(8_000, bombs.LARGE))
    assert stack.wait_until_done(8).rejected == 2
    wait_for(lambda: bool(new := scoring_processes(stack)) and new != [before], stack.log_tail)
    stack.drop("again.jpg", distinct(phantoms[0].read_bytes(), 99))
    assert stack.wait_until_done(9).scored == 7
    assert_consistent(stack.ledger)
