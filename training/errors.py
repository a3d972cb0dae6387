"""What a person gave cannot be used."""

from __future__ import annotations


class WrongInput(Exception):  # noqa: N818 - says what happened
    """A data set, table or recipe is missing or says nothing usable; the message is a sentence."""
