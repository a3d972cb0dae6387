"""What is fuzzed: a file's bytes go in, and a result or a reason that a person is told comes out."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from worker.errors import REJECTIONS, RejectedImage
from worker.imagefile.formats import inspect_bytes
from worker.imagefile.limits import Limits
from worker.inference.preprocess import to_model_input

# Small, so that no input costs a second: how large ones end has tests of its own.
LIMITS = Limits(max_bytes=2**20, max_pixels=2**20, min_side=8)
SIDE = 64


def door(data: bytes) -> str:
    """What the intake says of a file: what it is, or why it is turned away. DICOM is recognised here."""
    return _outcome(lambda: inspect_bytes(data, LIMITS).format)


def model_input(data: bytes) -> str:
    """What the worker says of it, whatever the door has said, but for its size."""
    if door(data) in {"too_many_pixels", "too_many_bytes"}:
        return "too large"
    return _outcome(lambda: str(to_model_input(data, SIDE).shape))


TARGETS: dict[str, Callable[[bytes], str]] = {"door": door, "model_input": model_input}


def _outcome(work: Callable[[], str]) -> str:
    """Anything but a result or a known reason is raised, and is a finding."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return work()
        except RejectedImage as rejected:
            sentence = rejected.sentence
            if rejected.code not in REJECTIONS or not sentence.isprintable() or {"{", "\\"} & set(sentence):
                raise AssertionError(f"no reason for a person: {sentence}") from rejected
            return rejected.code
