"""worker.terminal: text that is safe to print."""

from __future__ import annotations

import pytest

from worker.terminal import printable


@pytest.mark.parametrize(
    ("value", "shown"), [("a\nb", "a?b"), ("\x9b31m", "?31m"), ("Ä 胸", "Ä 胸"), (None, "None")]
)
def test_unprintable_characters_become_question_marks(value: object, shown: str) -> None:
    assert printable(value) == shown
