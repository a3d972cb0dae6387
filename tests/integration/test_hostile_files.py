"""The whole program gets images that need more memory than a scoring process may have."""

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
    (first_process,) = scoring_processes(stack)
    stack.drop("large.png", bombs.black_png(bombs.LARGE, bombs.LARGE, colour=True))
    for number in range(6):
        stack.drop(f"{number}.jpg", distinct(phantoms[0].read_bytes(), number))
    counts = stack.wait_until_done(7)
    assert (counts.scored, counts.rejected, counts.quarantined) == (6, 1, 0), stack.log_tail()
    with stack.ledger.reading() as session:
        large = session.scalars(select(Image).where(Image.state == "rejected")).one()
        attempts = set(session.scalars(select(Image.attempts)))
    assert (large.original_name, large.reason_code) == ("large.png", "needs_memory")
    assert attempts == {1}, "the large image cost another image an attempt"
    assert scoring_processes(stack) == [first_process]

    # This image makes the process grow, but not beyond its limit. The process is then replaced.
    stack.drop("growing.png", bombs.black_png(8_000, bombs.LARGE))
    assert stack.wait_until_done(8).rejected == 2
    wait_for(
        lambda: bool(processes := scoring_processes(stack)) and processes != [first_process], stack.log_tail
    )
    stack.drop("last.jpg", distinct(phantoms[0].read_bytes(), 99))
    assert stack.wait_until_done(9).scored == 7
    assert_consistent(stack.ledger)
