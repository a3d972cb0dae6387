"""Errors of training and evaluation that the commands report in one sentence."""

from __future__ import annotations


class WrongInput(Exception):  # noqa: N818 - says what happened
    """A data set, table or recipe is missing or says nothing usable; the message is a sentence."""
