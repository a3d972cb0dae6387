"""Fixtures of the tests of the receiver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.receiving.peers import Running, Start, running


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a receiver in this process. Stop each one after the test."""
    with ExitStack() as stack:
        numbers = iter(range(100))

        def begin(**overrides: object) -> Running:
            folder = tmp_path / f"receiver{next(numbers)}"
            return stack.enter_context(running(folder, **overrides))

        yield begin
