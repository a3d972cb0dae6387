"""The targets of fuzzing: bytes of a file go in, and a result or a rejection code comes out."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from worker.errors import REJECTIONS, RejectedImage
from worker.imagefile.formats import inspect_bytes
from worker.imagefile.limits import Limits
from worker.inference.preprocess import to_model_input

# Small, so that no input needs a second; large images have their own tests.
LIMITS = Limits(max_bytes=2**20, max_pixels=2**20, min_side=8)
SIDE = 64


def inspection(data: bytes) -> str:
    """Return the format that the inspection finds, or the rejection code."""
    return _outcome(lambda: inspect_bytes(data, LIMITS).format)


def model_input(data: bytes) -> str:
    """Return the shape of the model input, or the rejection code; the inspection only excludes large files."""
    if inspection(data) in {"too_many_pixels", "too_many_bytes"}:
        return "too large"
    return _outcome(lambda: str(to_model_input(data, SIDE).shape))


TARGETS: dict[str, Callable[[bytes], str]] = {"inspection": inspection, "model_input": model_input}


def _outcome(work: Callable[[], str]) -> str:
    """Return the result or the rejection code; raise anything else, which the fuzzer reports."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return work()
        except RejectedImage as rejected:
            sentence = rejected.sentence
            if rejected.code not in REJECTIONS or not sentence.isprintable() or {"{", "\\"} & set(sentence):
                raise AssertionError(f"this sentence is not fit for people: {sentence}") from rejected
            return rejected.code
