"""The fuzzing targets: each takes the bytes of a file and returns a result or a rejection code."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

from worker.dicom import header
from worker.dicom.picture import decode
from worker.dicom.reading import read_header
from worker.errors import REJECTIONS, RejectedImage
from worker.imagefile.identity import OLDEST
from worker.imagefile.limits import Limits
from worker.inference.preprocess import to_model_input
from worker.recognition import HEADER_DEFECT, inspect_bytes, recognise
from worker.renditions.drawing import draw

# Small, so that no input takes a second. Other tests check large images.
LIMITS = Limits(max_bytes=2**20, max_pixels=2**20, min_side=8)
SIDE = 64


def inspection(data: bytes) -> str:
    """Return the image format or the rejection code."""
    return _outcome(lambda: inspect_bytes(data, LIMITS).format)


def model_input(data: bytes) -> str:
    """Return the shape of the model input or the rejection code. Do not decode images above `LIMITS`."""
    if inspection(data) in {"too_many_pixels", "too_many_bytes"}:
        return "too large"
    return _outcome(lambda: str(to_model_input(data, SIDE).shape))


def renditions(data: bytes) -> str:
    """Return the bits per pixel of the full rendition or the rejection code."""
    return _outcome(lambda: f"{draw(data, LIMITS.max_pixels)[0].bits} bits")


def dicom_header(data: bytes) -> str:
    """Return what the intake says of an object, or the rejection code. Its identity must hold nothing unexpected."""
    return _outcome(lambda: _dicom_header(data))


def _dicom_header(data: bytes) -> str:
    identity = header.identity_of(read_header(io.BytesIO(data), len(data)), bytes(32))
    lengths = (len(value) for value in vars(identity).values() if isinstance(value, str))
    if max(lengths, default=0) > 64 or not 0 <= (identity.age_years or 0) <= OLDEST:
        raise AssertionError(f"the identity of an object is not plausible: {identity}")
    outcome = recognise(io.BytesIO(data), len(data), LIMITS, lambda: bytes(32)).outcome
    if isinstance(outcome, RejectedImage):
        raise outcome
    return outcome.format


def dicom(data: bytes) -> str:
    """Return how the grey scale of an object came about, or the rejection code. Do not decode above `LIMITS`."""
    return _outcome(lambda: _dicom(data))


def _dicom(data: bytes) -> str:
    header = read_header(io.BytesIO(data), len(data))
    rows, columns = header.get("Rows"), header.get("Columns")
    if isinstance(rows, int) and isinstance(columns, int) and rows * columns > LIMITS.max_pixels:
        return "too large"
    picture = decode(data)
    if picture.grey8.shape != picture.presentation.shape:
        raise AssertionError("the pictures of an object differ in size")
    return f"by {picture.facts.voi}"


TARGETS: dict[str, Callable[[bytes], str]] = {
    "inspection": inspection,
    "model_input": model_input,
    "renditions": renditions,
    "dicom_header": dicom_header,
    "dicom": dicom,
}


def _outcome(work: Callable[[], str]) -> str:
    """Return the result or the rejection code. Let the fuzzer report any other exception."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return work()
        except RejectedImage as rejected:
            sentence = rejected.sentence
            if rejected.code == HEADER_DEFECT:
                raise AssertionError("the header has a defect that the intake must foresee") from rejected
            if rejected.code not in REJECTIONS or not sentence.isprintable() or {"{", "\\"} & set(sentence):
                raise AssertionError(f"a person cannot read this sentence: {sentence}") from rejected
            return rejected.code
