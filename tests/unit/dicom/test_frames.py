"""Each transfer syntax gives the same stored values, and a frame that is not what it states is rejected."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.dicom_objects import LOSSLESS, as_file, grey_object, phantom_values, stating, with_pixels
from worker.dicom.picture import decode
from worker.errors import RejectedImage

VALUES = phantom_values()
ENDS = b"\xff\xd9"
COMPRESSED = [
    RLELossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
    HTJ2KLossless,
    JPEGExtended12Bit,
]
WITH_HEADER = COMPRESSED[1:]
# pydicom warns of what is added on purpose here.
_RLE_PADDING = "ignore:The decoded RLE segment contains non-conformant padding"
WITHOUT_HEADER = ["implicit", "explicit", "big endian", "deflated", "RLE"]


def code(data: bytes) -> str:
    with pytest.raises(RejectedImage) as rejected:
        decode(data)
    return rejected.value.code


def frame_of(data: bytes) -> bytes:
    """Return the compressed frame of a file that has one fragment."""
    start = data.rindex(b"\xfe\xff\x00\xe0", 0, len(data) - 8)
    (length,) = struct.unpack("<L", data[start + 4 : start + 8])
    return data[start + 8 : start + 8 + length]


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("name", LOSSLESS)
def test_each_lossless_syntax_gives_the_same_values(name: str, bits: int) -> None:
    values = phantom_values(bits)
    data = as_file(grey_object(values, bits, PhotometricInterpretation="MONOCHROME1"), LOSSLESS[name])
    plain = decode(as_file(grey_object(values, bits, PhotometricInterpretation="MONOCHROME1")))
    picture = decode(data)
    assert np.array_equal(picture.modality, values)
    assert np.array_equal(picture.grey8, plain.grey8)
    assert picture.facts == plain.facts


@pytest.mark.parametrize("name", [name for name in LOSSLESS if name != "HTJ2K"])
def test_each_lossless_syntax_gives_the_same_signed_values(name: str) -> None:
    values = VALUES.astype(np.int16) - 2048
    assert np.array_equal(decode(as_file(grey_object(values), LOSSLESS[name])).modality, values)


def test_jpeg_baseline_gives_nearly_the_same_values() -> None:
    values = phantom_values(8)
    difference = decode(as_file(grey_object(values, 8), JPEGBaseline8Bit)).modality.astype(int) - values
    assert 0 < np.abs(difference).max() <= 6


def test_jpeg_extended_gives_nearly_the_same_values() -> None:
    difference = decode(as_file(grey_object(VALUES), JPEGExtended12Bit)).modality.astype(int) - VALUES
    assert 0 < np.abs(difference).max() <= 40


def test_jpeg_2000_of_more_bits_than_stored_is_masked() -> None:
    data = as_file(grey_object(VALUES | 0xF000, 16), JPEG2000Lossless)
    masked = with_pixels(as_file(grey_object(VALUES)), JPEG2000Lossless, frame_of(data))
    assert np.array_equal(decode(masked).modality, VALUES)


def test_codestream_in_a_jp2_file_is_read() -> None:
    box = b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\0jp2c"
    frame = box + frame_of(as_file(grey_object(VALUES), JPEG2000Lossless))
    assert np.array_equal(
        decode(with_pixels(as_file(grey_object(VALUES)), JPEG2000Lossless, frame)).modality, VALUES
    )


@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda syntax: syntax.name)
def test_cut_frame_is_rejected(syntax: UID) -> None:
    frame = frame_of(as_file(grey_object(VALUES), syntax))
    plain = as_file(grey_object(VALUES))
    outcomes = {code(with_pixels(plain, syntax, frame[: len(frame) * part // 8 * 2])) for part in (1, 2, 3)}
    assert outcomes <= {"truncated", "dicom_pixels_damaged", "dicom_pixel_bytes"}


@pytest.mark.parametrize("border", [0, 20])
@pytest.mark.parametrize("syntax", [*WITH_HEADER, JPEGLossless, JPEGBaseline8Bit], ids=lambda s: s.name)
def test_frame_that_lacks_data_before_its_end_is_rejected(syntax: UID, border: int) -> None:
    """libjpeg shows the rest as plain grey. A plain border of a whole film is no reason to reject it."""
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    values = phantom_values(bits, 160)
    values[len(values) - border :] = 100
    plain = as_file(grey_object(values, bits))
    frame = frame_of(as_file(grey_object(values, bits), syntax))
    half, end = len(frame) // 2, len(frame.rstrip(b"\0")) - 2
    for lacking in (frame[:half] + ENDS, frame[: end - 2_000] + ENDS):
        assert code(with_pixels(plain, syntax, lacking)) in {"truncated", "dicom_pixels_damaged"}
    decode(with_pixels(plain, syntax, frame))


def test_codestream_that_lacks_a_tile_is_rejected() -> None:
    """Each header states four times as many pixels: OpenJPEG would show the tiles that are not there as black."""
    frame = frame_of(as_file(grey_object(VALUES), JPEG2000Lossless))
    rows, columns = VALUES.shape
    larger = frame[:8] + struct.pack(">LL", 2 * columns, 2 * rows) + frame[16:]
    stated = stating(as_file(grey_object(VALUES)), Rows=2 * rows, Columns=2 * columns)
    assert code(with_pixels(stated, JPEG2000Lossless, larger)) == "truncated"


@pytest.mark.parametrize("syntax", WITH_HEADER, ids=lambda syntax: syntax.name)
def test_frame_of_other_size_is_rejected(syntax: UID) -> None:
    frame = frame_of(as_file(grey_object(VALUES[:-8]), syntax))
    assert code(with_pixels(as_file(grey_object(VALUES)), syntax, frame)) == "dicom_frame_size"


@pytest.mark.parametrize("syntax", WITH_HEADER, ids=lambda syntax: syntax.name)
def test_frame_of_another_kind_is_rejected(syntax: UID) -> None:
    plain = as_file(grey_object(VALUES))
    for other in WITH_HEADER:
        if other is not syntax and {other, syntax} != {JPEG2000Lossless, HTJ2KLossless}:
            frame = frame_of(as_file(grey_object(VALUES), other))
            assert code(with_pixels(plain, syntax, frame)) == "dicom_frame_kind"


@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda syntax: syntax.name)
def test_frame_of_noise_is_rejected(syntax: UID) -> None:
    noise = np.random.default_rng(3).bytes(4000)
    assert code(with_pixels(as_file(grey_object(VALUES)), syntax, noise)) in {
        "dicom_frame_kind",
        "dicom_pixels_damaged",
    }


@pytest.mark.filterwarnings(_RLE_PADDING)
@pytest.mark.parametrize("padding", [b"\0" * 6, b"\0\xff"])
@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda syntax: syntax.name)
def test_padding_after_a_frame_is_passed_over(syntax: UID, padding: bytes) -> None:
    if syntax == RLELossless:
        padding = bytes(len(padding))
    frame = frame_of(as_file(grey_object(VALUES), syntax))
    padded = with_pixels(as_file(grey_object(VALUES)), syntax, frame + padding)
    assert np.array_equal(decode(padded).modality, decode(with_pixels(padded, syntax, frame)).modality)


def test_frame_in_several_fragments_is_read() -> None:
    frame = frame_of(as_file(grey_object(VALUES), JPEGLSLossless))
    data = with_pixels(as_file(grey_object(VALUES)), JPEGLSLossless, frame)
    item = b"\xfe\xff\x00\xe0"
    half = len(frame) // 4 * 2
    parts = b"".join(item + struct.pack("<L", len(part)) + part for part in (frame[:half], frame[half:]))
    data = data.replace(item + struct.pack("<L", len(frame)) + frame, parts)
    assert np.array_equal(decode(data).modality, VALUES)


def test_rle_bomb_is_rejected() -> None:
    bomb = struct.pack("<16L", 2, 64, 66, *[0] * 13) + b"\x81\xff" * 100_000
    assert code(with_pixels(as_file(grey_object(VALUES)), RLELossless, bomb)) == "dicom_frame_kind"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, *COMPRESSED], ids=lambda syntax: syntax.name)
def test_lie_about_the_size_is_rejected(syntax: UID) -> None:
    data = as_file(grey_object(VALUES), syntax)
    rows, columns = (struct.pack("<H", side) for side in VALUES.shape)
    for tag, side in ((b"\x28\x00\x10\x00US\x02\x00", rows), (b"\x28\x00\x11\x00US\x02\x00", columns)):
        assert tag + side in data
        data = data.replace(tag + side, tag + b"\xff\xff")
    assert code(data) in {"truncated", "dicom_frame_size", "dicom_pixel_bytes"}


@pytest.mark.parametrize("wrong", [{"Columns": -1}, {"Columns": 1}, {"Rows": -1}, {"Rows": 1}], ids=str)
@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("name", WITHOUT_HEADER)
def test_other_number_of_pixels_than_stated_is_rejected(name: str, bits: int, wrong: dict[str, int]) -> None:
    """These pixels have no size of their own: with wrong Columns, the picture would be skewed."""
    values = phantom_values(bits)
    data = as_file(grey_object(values, bits), LOSSLESS[name])
    stated = dict(zip(("Rows", "Columns"), values.shape, strict=True))
    stated |= {side: stated[side] + change for side, change in wrong.items()}
    sentence = f"state {stated['Columns']} x {stated['Rows']} of {8 if bits == 8 else 16} bits"
    with pytest.raises(RejectedImage, match=sentence) as rejected:
        decode(stating(data, **stated))
    assert rejected.value.code == "dicom_pixel_bytes"


@pytest.mark.parametrize("name", WITHOUT_HEADER)
def test_pixels_of_more_bytes_than_stated_are_rejected(name: str) -> None:
    data = as_file(grey_object(VALUES), LOSSLESS[name])
    wrong = code(stating(data, BitsAllocated=8, BitsStored=8, HighBit=7))
    assert wrong == ("dicom_pixels_damaged" if name == "RLE" else "dicom_pixel_bytes")


@pytest.mark.filterwarnings("ignore:The pixel data is .* excess padding", _RLE_PADDING)
@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("name", WITHOUT_HEADER)
def test_padding_shorter_than_a_row_or_column_is_passed_over(name: str, bits: int) -> None:
    values = phantom_values(bits)[:99, :99]
    dataset = grey_object(values, bits)
    # The file adds a byte if the length is odd.
    longest = 97 if bits == 8 else 2 * 98
    if name == "RLE":
        frame = frame_of(as_file(dataset, RLELossless))
        # A segment is padded with zeros, and each two of them are a run of one byte.
        data = with_pixels(as_file(dataset), RLELossless, frame + bytes(longest - longest % 2))
    else:
        dataset.PixelData += bytes(longest)
        data = as_file(dataset, LOSSLESS[name])
    assert np.array_equal(decode(data).modality, values)
