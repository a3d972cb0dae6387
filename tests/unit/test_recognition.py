"""A file is recognised when it arrives: a fault of this machine rejects no file, and no header ends the intake."""

from __future__ import annotations

import errno
import io
import os
from typing import Any

import pytest
import structlog
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.dicom_objects import as_file, grey_object, phantom_values
from tests.files import encoded, grey, jpeg, sixteen_bit_png
from worker.dicom import header, reading
from worker.errors import RejectedImage, raise_fault
from worker.imagefile import formats
from worker.imagefile.formats import Inspection
from worker.imagefile.limits import Limits
from worker.recognition import HEADER_DEFECT, Recognised, recognise

LIMITS = Limits(max_bytes=10_000_000, max_pixels=1_000_000, min_side=64)
OBJECT = grey_object(phantom_values(width=100))
FILES = {
    "a JPEG": jpeg(),
    "a progressive JPEG": encoded(grey(), "JPEG", progressive=True),
    "a PNG": encoded(grey(), "PNG"),
    "a 16-bit PNG": sixteen_bit_png(),
    "a DICOM object": as_file(OBJECT),
    "an implicit DICOM object": as_file(OBJECT, ImplicitVRLittleEndian),
    "a deflated DICOM object": as_file(OBJECT, DeflatedExplicitVRLittleEndian),
}


class FailingFile(io.BytesIO):
    """A file whose disk fails at one of its reads."""

    def __init__(self, data: bytes, reads: int) -> None:
        super().__init__(data)
        self.reads_left = reads

    def read(self, size: int | None = -1, /) -> bytes:
        if self.reads_left == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.reads_left -= 1
        return super().read(size)


def found(data: bytes) -> Recognised:
    return recognise(io.BytesIO(data), len(data), LIMITS)


@pytest.mark.parametrize("name", FILES)
def test_disk_that_fails_is_no_answer_about_a_file(name: str) -> None:
    data = FILES[name]
    whole = FailingFile(data, reads=100_000)
    assert isinstance(recognise(whole, len(data), LIMITS).outcome, Inspection)
    needed = 100_000 - whole.reads_left
    assert needed > 2
    for reads in range(needed):
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            recognise(FailingFile(data, reads), len(data), LIMITS)


def test_error_of_a_library_is_no_fault_of_the_machine() -> None:
    for error in (OSError("broken data stream"), OSError(errno.EINVAL, "a wrong position"), ValueError()):
        raise_fault(error)


@pytest.mark.parametrize("name", ["a JPEG", "a DICOM object"])
def test_header_that_nobody_foresaw_is_rejected_and_logged_without_its_text(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("Planted^Name")

    monkeypatch.setattr(formats, "inspect", fail)
    monkeypatch.setattr(reading, "read_header", fail)
    with structlog.testing.capture_logs() as lines:
        outcome = found(FILES[name]).outcome
    assert isinstance(outcome, RejectedImage)
    assert outcome.code == HEADER_DEFECT
    assert [line["error"] for line in lines] == ["AssertionError"]
    assert "test_recognition.py" in lines[0]["at"]
    assert "Planted" not in repr(lines) + outcome.sentence


def test_defect_in_one_header_leaves_the_identity_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(header, "check_suitable", fail)
    recognised = found(FILES["a DICOM object"])
    assert isinstance(recognised.outcome, RejectedImage)
    assert recognised.identity is not None


@pytest.mark.parametrize("elements", [{"ViewPosition": "LL"}, {"BodyPartExamined": "LEG"}])
def test_radiograph_that_its_tags_refuse_has_a_picture_to_read(elements: dict[str, Any]) -> None:
    values = phantom_values(width=100)
    recognised = found(as_file(grey_object(values, **elements)))
    assert isinstance(recognised.outcome, RejectedImage)
    assert recognised.readable == Inspection("dicom", values.shape[1], values.shape[0])


@pytest.mark.parametrize(
    "elements",
    [
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "Modality": "CT"},
        {"PresentationIntentType": "FOR PROCESSING"},
        {"ViewPosition": "LL", "Rows": 60_000, "Columns": 60_000},
        {"ViewPosition": "LL", "PhotometricInterpretation": "RGB"},
    ],
)
def test_other_refused_object_has_no_picture_to_read(elements: dict[str, Any]) -> None:
    recognised = found(as_file(grey_object(phantom_values(width=100), **elements)))
    assert isinstance(recognised.outcome, RejectedImage)
    assert recognised.readable is None
