"""Recognising and reading objects: what is plausible is read, and what is hostile is rejected soon."""

from __future__ import annotations

import io
import logging
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
)

from tests.dicom_objects import LOSSLESS, as_file, grey_object, phantom_values, without_meta, without_preamble
from worker.dicom.header import identity_of
from worker.dicom.patients import patient_key
from worker.dicom.picture import decode
from worker.dicom.reading import START_BYTES, is_dicom, read_header, read_object
from worker.errors import RejectedImage

VALUES = phantom_values()
OBJECT = as_file(grey_object(VALUES))
SQ = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff"
ITEM, ITEM_END, END = (
    struct.pack("<HHL", 0xFFFE, element, length)
    for element, length in ((0xE000, 0xFFFFFFFF), (0xE00D, 0), (0xE0DD, 0))
)
# Where the first element after the file meta information begins.
BODY = OBJECT.index(b"\x08\x00\x16\x00UI")


def code(data: bytes) -> str:
    with pytest.raises(RejectedImage) as rejected:
        read_object(data)
    return rejected.value.code


def header(data: bytes) -> Dataset:
    return read_header(io.BytesIO(data), len(data))


def inserted(parts: bytes) -> bytes:
    """Return the object with these elements before its own."""
    return OBJECT[:BODY] + parts + OBJECT[BODY:]


# What is a DICOM object.


@pytest.mark.parametrize("name", LOSSLESS)
def test_object_without_preamble_is_read(name: str) -> None:
    data = without_preamble(as_file(grey_object(VALUES), LOSSLESS[name]))
    assert is_dicom(data[:START_BYTES])
    assert np.array_equal(decode(data).modality, VALUES)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian], ids=lambda uid: uid.name
)
def test_object_without_file_meta_is_read(syntax: UID) -> None:
    dataset = grey_object(VALUES)
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = VALUES.astype(">u2").tobytes()
    data = without_meta(dataset, syntax)
    assert is_dicom(data[:START_BYTES])
    assert np.array_equal(decode(data).modality, VALUES)


def test_object_without_transfer_syntax_is_read() -> None:
    element = b"\x02\x00\x10\x00UI"
    at = OBJECT.index(element)
    (length,) = struct.unpack("<H", OBJECT[at + 6 : at + 8])
    data = OBJECT[:at] + OBJECT[at + 8 + length :]
    assert np.array_equal(decode(data).modality, VALUES)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"Dear colleague,\nthe X-ray of your patient is attached." * 100,
        b"\x08\x00" * 500,
        b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100and a letter follows" * 20,
        bytes(4000),
        b"\xff" * 4000,
        np.random.default_rng(1).bytes(4000),
        b"\xff\xd8\xff\xe0" + bytes(4000),
        b"\x89PNG\r\n\x1a\n" + bytes(4000),
        b"PK\x03\x04" + bytes(4000),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_other_files_are_no_objects(data: bytes) -> None:
    assert not is_dicom(data[:START_BYTES])
    with pytest.raises(RejectedImage):
        read_object(data)


def test_starting_elements_alone_make_no_object() -> None:
    start = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100\x08\x00\x08\x00CS\x02\x00AB"
    assert is_dicom(start)
    assert code(start) == "not_an_image"


def test_unknown_transfer_syntax_is_named() -> None:
    data = OBJECT.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0")
    with pytest.raises(RejectedImage, match=r"1\.2\.840\.10008\.1\.2\.9") as rejected:
        header(data)
    assert rejected.value.code == "dicom_transfer_syntax"


def test_text_in_place_of_a_transfer_syntax_is_not_repeated() -> None:
    data = OBJECT.replace(b"1.2.840.10008.1.2.1\0", b"Planted^Name of him\0")
    with pytest.raises(RejectedImage) as rejected:
        header(data)
    assert "Planted" not in rejected.value.sentence


@pytest.mark.parametrize("vr", [b"IS", b"DS", b"LO", b"DA"])
def test_transfer_syntax_of_another_representation_is_read(vr: bytes) -> None:
    """The fuzzer found it: setting the element anew kept `IS`, and ended the process."""
    data = OBJECT.replace(b"\x02\x00\x10\x00UI", b"\x02\x00\x10\x00" + vr)
    assert data != OBJECT
    assert np.array_equal(decode(data).modality, VALUES)


# What is read.


def test_header_has_no_pixels_but_says_that_there_are() -> None:
    dataset = header(OBJECT)
    assert dataset.Rows == VALUES.shape[0]
    assert dataset.PixelData == b""


def test_header_of_an_object_without_pixels_has_none() -> None:
    dataset = grey_object(VALUES)
    del dataset.PixelData
    data = as_file(dataset)
    assert "PixelData" not in header(data)
    with pytest.raises(RejectedImage, match=r"PixelData \(7FE0,0010\)"):
        decode(data)


def test_name_of_the_patient_is_never_read() -> None:
    assert "PatientName" not in read_object(OBJECT)


def test_warnings_and_log_lines_of_the_parser_are_silenced(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    with caplog.at_level(logging.DEBUG):
        decode(as_file(grey_object(VALUES, PatientAge="PLANTED NAME", StudyDate="PLANTED NAME")))
        code(OBJECT[: BODY + 100])
    assert not [record for record in caplog.records if record.name.startswith("pydicom")]


@pytest.mark.slow
def test_pydicom_is_loaded_with_the_first_object() -> None:
    script = "import sys, worker.dicom.reading, worker.dicom.decoder; print('pydicom' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout == "False\n"


# What is cut.


@pytest.mark.parametrize("name", LOSSLESS)
def test_cut_object_is_broken_off(name: str) -> None:
    data = as_file(grey_object(VALUES), LOSSLESS[name])
    pixels = len(data) - 5_000
    for length in (len(data) - 9, pixels, len(data) * 3 // 4):
        assert code(data[:length]) == "truncated"


@pytest.mark.parametrize("name", [name for name in LOSSLESS if name != "deflated"])
def test_cut_object_is_noticed_in_the_header(name: str) -> None:
    data = as_file(grey_object(VALUES), LOSSLESS[name])[:-9]
    with pytest.raises(RejectedImage) as rejected:
        header(data)
    assert rejected.value.code == "truncated"


def test_each_cut_is_rejected() -> None:
    data = as_file(grey_object(VALUES[:8, :8]))
    for length in range(1, len(data)):
        with pytest.raises(RejectedImage):
            decode(data[:length])


def test_pixels_shorter_than_stated_are_rejected() -> None:
    dataset = grey_object(VALUES)
    dataset.PixelData = dataset.PixelData[:-2]
    assert code(as_file(dataset)) == "dicom_pixel_bytes"


def test_truncated_object_of_pydicom_is_broken_off() -> None:
    assert code(Path(str(get_testdata_file("MR_truncated.dcm"))).read_bytes()) == "truncated"


# What is hostile.


def test_deep_nest_is_rejected() -> None:
    assert code(inserted((SQ + ITEM) * 5_000)) == "too_many_parts"


def test_closed_deep_nest_is_rejected() -> None:
    depth = 3_000
    assert code(inserted((SQ + ITEM) * depth + (ITEM_END + END) * depth)) == "too_many_parts"


def test_nest_of_wanted_sequences_is_rejected() -> None:
    wanted = b"\x54\x00\x20\x02SQ\x00\x00\xff\xff\xff\xff"
    assert code(inserted((wanted + ITEM) * 20 + (ITEM_END + END) * 20)) == "too_many_parts"


def test_many_elements_are_rejected() -> None:
    elements = b"".join(struct.pack("<HH2sH", 9, number, b"LO", 0) for number in range(40_000))
    assert code(inserted(elements)) == "too_many_parts"


def test_many_items_are_rejected() -> None:
    assert code(inserted(SQ + (ITEM + ITEM_END) * 20_000 + END)) == "too_many_parts"


def test_long_wanted_value_is_rejected() -> None:
    body_part = b"\x18\x00\x15\x00UT\x00\x00" + struct.pack("<L", 2 << 20) + bytes(2 << 20)
    assert code(inserted(body_part)) == "too_many_parts"


def test_some_private_sequences_are_no_reason() -> None:
    private = b"\x09\x00\x10\x10SQ\x00\x00\xff\xff\xff\xff"
    nested = private + (ITEM + b"\x09\x00\x11\x10LO\x02\x00ab" + ITEM_END) * 1_000 + END
    assert np.array_equal(decode(inserted(nested)).modality, VALUES)


@pytest.mark.parametrize("before_the_pixels", [True, False])
def test_deflate_bomb_is_rejected(*, before_the_pixels: bool) -> None:
    """It would unpack to 256 MB and more, in a text or after its pixels."""
    data = as_file(grey_object(VALUES), DeflatedExplicitVRLittleEndian)
    # The group length of the file meta information says where it ends.
    start = 144 + int.from_bytes(data[140:144], "little")
    body = zlib.decompress(data[start:], -zlib.MAX_WBITS)
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = packer.compress(b"" if before_the_pixels else body)
    if before_the_pixels:
        zeros += packer.compress(b"\x08\x00\x05\x00UT\x00\x00" + struct.pack("<L", 1 << 28))
    block = bytes(1 << 24)
    zeros += b"".join(packer.compress(block) for _ in range(16)) + packer.flush()
    assert code(data[:start] + zeros) == "too_many_parts"


def test_damaged_deflated_object_is_rejected() -> None:
    data = bytearray(as_file(grey_object(VALUES), DeflatedExplicitVRLittleEndian))
    data[400] ^= 0x55
    data[500:520] = bytes(20)
    assert code(bytes(data)) in {"dicom_damaged", "truncated", "dicom_tag_unreadable"}


def test_unreadable_number_is_named() -> None:
    data = as_file(grey_object(VALUES, NumberOfFrames=1)).replace(b"IS\x02\x001 ", b"IS\x02\x00x ")
    with pytest.raises(RejectedImage, match=r"NumberOfFrames \(0028,0008\)"):
        decode(data)


def test_fragments_without_end_are_rejected() -> None:
    data = as_file(grey_object(VALUES), JPEGLosslessSV1)
    assert code(data[:-8]) == "truncated"
    assert code(data[:-8] + b"\xfe\xff\x00\xe0\x00\x00\x00\x00" * 20_000) == "too_many_parts"


def test_compressed_syntax_with_native_pixels_is_rejected() -> None:
    data = OBJECT.replace(b"1.2.840.10008.1.2.1\0\x02\0", b"1.2.840.10008.1.2.5\0\x02\0")
    assert data != OBJECT
    assert code(data) == "dicom_damaged"


def test_one_patient_in_two_character_sets_has_one_key() -> None:
    keys = set()
    for character_set in ("ISO_IR 192", "ISO_IR 100"):
        data = as_file(
            grey_object(phantom_values(width=120), SpecificCharacterSet=character_set, PatientID="M\u00fc-1")
        )
        keys.add(identity_of(read_header(io.BytesIO(data), len(data)), b"k" * 32).patient_key)
    assert keys == {patient_key(None, "M\u00fc-1", b"k" * 32)}
