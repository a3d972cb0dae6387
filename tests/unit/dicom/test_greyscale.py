"""The grey scale of DICOM objects: one test for each trap, and the right answer to it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEG2000Lossless

from tests.dicom_objects import as_file, grey_object, lut, phantom_values, with_pixels
from worker.dicom.facts import Function, GreyFacts, Note, SpacingAt, Voi
from worker.dicom.picture import Picture, decode
from worker.errors import RejectedImage

VALUES = phantom_values()
WHITE = 0xFFFF


def picture(values: NDArray[np.integer] = VALUES, bits: int = 12, **elements: Any) -> Picture:
    return decode(as_file(grey_object(values, bits, **elements)))


def rejection(**elements: Any) -> RejectedImage:
    with pytest.raises(RejectedImage) as rejected:
        picture(**elements)
    return rejected.value


def ramp(shown: NDArray[np.uint16], values: NDArray[np.number], low: float, high: float) -> None:
    """Check that the values from `low` to `high` are spread over the grey scale."""
    expected = np.clip((values.astype(float) - low) / (high - low), 0, 1) * WHITE
    assert np.abs(shown - expected).max() <= 1


# Inversion.


def test_monochrome2_shows_high_values_white() -> None:
    shown = picture(WindowCenter=2048, WindowWidth=4096)
    ramp(shown.presentation, VALUES, 0, 4095)
    assert not shown.facts.inverted


def test_monochrome1_shows_high_values_black() -> None:
    shown = picture(PhotometricInterpretation="MONOCHROME1", WindowCenter=2048, WindowWidth=4096)
    ramp(WHITE - shown.presentation, VALUES, 0, 4095)
    assert shown.facts.inverted


def test_inverse_presentation_lut_shape_inverts() -> None:
    shown = picture(PresentationLUTShape="INVERSE", WindowCenter=2048, WindowWidth=4096)
    ramp(WHITE - shown.presentation, VALUES, 0, 4095)


def test_both_signs_of_inversion_invert_once() -> None:
    once = picture(PhotometricInterpretation="MONOCHROME1", WindowCenter=1500, WindowWidth=2000)
    both = picture(
        PhotometricInterpretation="MONOCHROME1",
        PresentationLUTShape="INVERSE",
        WindowCenter=1500,
        WindowWidth=2000,
    )
    assert np.array_equal(once.presentation, both.presentation)


def test_inversion_comes_after_the_window() -> None:
    shown = picture(PhotometricInterpretation="MONOCHROME1", WindowCenter=1500, WindowWidth=1001)
    ramp(WHITE - shown.presentation, VALUES, 999.5, 1999.5)


# Bits.


def test_other_high_bit_is_rejected_by_name() -> None:
    assert rejection(HighBit=15).code == "dicom_high_bit"
    assert "HighBit 15 (0028,0102)" in rejection(HighBit=15).sentence


def test_bits_above_bits_stored_are_masked() -> None:
    dataset = grey_object(VALUES, WindowCenter=2048, WindowWidth=4096)
    dataset.PixelData = (VALUES | 0xF000).astype("<u2").tobytes()
    assert np.array_equal(decode(as_file(dataset)).modality, VALUES)


def test_signed_values_are_extended() -> None:
    signed = VALUES.astype(np.int16) - 2048
    dataset = grey_object(signed, RescaleSlope=1, RescaleIntercept=0)
    dataset.PixelData = (signed & 0x0FFF).astype("<u2").tobytes()
    assert np.array_equal(decode(as_file(dataset)).modality, signed)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 15, 16])
def test_each_number_of_bits_keeps_all_values(bits: int) -> None:
    values = phantom_values(bits)
    assert np.array_equal(picture(values, bits).modality, values)


@pytest.mark.parametrize(
    ("keyword", "tag"),
    [
        ("BitsStored", "BitsStored (0028,0101)"),
        ("BitsAllocated", "BitsAllocated (0028,0100)"),
        ("HighBit", "HighBit (0028,0102)"),
        ("PhotometricInterpretation", "PhotometricInterpretation (0028,0004)"),
        ("PixelRepresentation", "PixelRepresentation (0028,0103)"),
        ("Rows", "Rows (0028,0010)"),
        ("Columns", "Columns (0028,0011)"),
        ("SamplesPerPixel", "SamplesPerPixel (0028,0002)"),
    ],
)
def test_missing_element_is_rejected_by_name(keyword: str, tag: str) -> None:
    rejected = rejection(**{keyword: None})
    assert rejected.code == "dicom_tag_missing"
    assert tag in rejected.sentence


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("BitsStored", 17),
        ("BitsStored", 0),
        ("BitsAllocated", 32),
        ("PixelRepresentation", 2),
        ("SamplesPerPixel", 3),
        ("NumberOfFrames", 2),
        ("PhotometricInterpretation", "RGB"),
        ("PhotometricInterpretation", "PALETTE COLOR"),
    ],
)
def test_value_that_is_not_read_is_rejected_by_name(keyword: str, value: object) -> None:
    rejected = rejection(**{keyword: value})
    assert rejected.code == "dicom_tag_wrong"
    assert keyword in rejected.sentence


# Windows.

PLACEHOLDERS: dict[str, tuple[Note, dict[str, Any]]] = {
    "width 0": (Note.WINDOW_UNUSABLE, {"WindowCenter": 2048, "WindowWidth": 0}),
    "negative width": (Note.WINDOW_UNUSABLE, {"WindowCenter": 2048, "WindowWidth": -5}),
    "the placeholder 0/1": (Note.WINDOW_COVERS_TOO_LITTLE, {"WindowCenter": 0, "WindowWidth": 1}),
    "16 bits on 12": (Note.WINDOW_COVERS_TOO_LITTLE, {"WindowCenter": 32768, "WindowWidth": 65536}),
    "beside the values": (Note.WINDOW_COVERS_TOO_LITTLE, {"WindowCenter": 30000, "WindowWidth": 200}),
    "a few values wide": (Note.WINDOW_COVERS_TOO_LITTLE, {"WindowCenter": 2048, "WindowWidth": 9}),
    "half a window": (Note.WINDOW_UNUSABLE, {"WindowCenter": 2048}),
}


@pytest.mark.parametrize("name", PLACEHOLDERS)
def test_window_that_covers_too_little_gives_way_to_the_range(name: str) -> None:
    note, elements = PLACEHOLDERS[name]
    shown, without = picture(**elements), picture()
    assert shown.facts.voi is Voi.RANGE
    assert shown.facts.notes == (note,)
    assert np.array_equal(shown.presentation, without.presentation)


def test_range_spreads_the_values_of_the_picture() -> None:
    shown = picture(VALUES // 4 + 500)
    assert shown.presentation.min() == 0
    assert shown.presentation.max() == WHITE
    assert 490 <= shown.facts.voi_low < shown.facts.voi_high <= 1530


def test_first_of_several_windows_is_used() -> None:
    shown = picture(WindowCenter=[1500, 900], WindowWidth=[2000, 100])
    first = picture(WindowCenter=1500, WindowWidth=2000)
    assert np.array_equal(shown.presentation, first.presentation)
    facts = shown.facts
    assert (facts.voi_number, facts.voi_count, facts.center, facts.width) == (1, 2, 1500, 2000)


def test_linear_window_follows_the_standard() -> None:
    """PS3.3, C.11.2.1.2.1: a window of width w has w steps, from 0 to the highest output."""
    shown = picture(WindowCenter=2048, WindowWidth=1024)
    ramp(shown.presentation, VALUES, 1536, 2559)


def test_exact_linear_window_follows_the_standard() -> None:
    shown = picture(WindowCenter=2048, WindowWidth=1024, VOILUTFunction="LINEAR_EXACT")
    ramp(shown.presentation, VALUES, 1536, 2560)
    assert shown.facts.function is Function.LINEAR_EXACT


def test_sigmoid_window_follows_the_standard() -> None:
    shown = picture(WindowCenter=2048, WindowWidth=2000, VOILUTFunction="SIGMOID")
    expected = WHITE / (1 + np.exp(-4 * (VALUES.astype(float) - 2048) / 2000))
    assert np.abs(shown.presentation - expected).max() <= 1
    assert shown.facts.function is Function.SIGMOID


def test_unknown_function_counts_as_linear() -> None:
    shown = picture(WindowCenter=2048, WindowWidth=4096, VOILUTFunction="PLANTED NAME")
    ramp(shown.presentation, VALUES, 0, 4095)
    assert (shown.facts.function, shown.facts.notes) == (Function.LINEAR, (Note.FUNCTION_UNKNOWN,))


# Look-up tables.


def test_voi_lut_goes_before_the_window() -> None:
    table = np.linspace(0, 1023, 4096).astype(np.uint16)[::-1]
    shown = picture(VOILUTSequence=lut(0, table, 10), WindowCenter=100, WindowWidth=50)
    assert np.abs(shown.presentation - table[VALUES] / 1023 * WHITE).max() <= 1
    assert shown.facts.voi is Voi.LUT
    assert shown.facts.center is None


@pytest.mark.parametrize("declared", [8, 10, 16])
def test_voi_lut_is_scaled_by_its_real_maximum(declared: int) -> None:
    shown = picture(VOILUTSequence=lut(0, np.linspace(0, 4095, 4096).astype(np.uint16), declared))
    ramp(shown.presentation, VALUES, 0, 4095)


def test_first_of_several_voi_luts_is_used() -> None:
    rising = np.arange(4096)
    shown = picture(VOILUTSequence=lut(0, rising) + lut(0, rising[::-1]))
    ramp(shown.presentation, VALUES, 0, 4095)
    assert (shown.facts.voi_number, shown.facts.voi_count) == (1, 2)


def test_values_outside_a_voi_lut_get_its_ends() -> None:
    shown = picture(VOILUTSequence=lut(1000, np.arange(1001)))
    ramp(shown.presentation, VALUES, 1000, 2000)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("wide", [True, False])
def test_voi_lut_is_read_in_each_encoding(syntax: object, *, wide: bool) -> None:
    entries = np.arange(4096)
    if wide and syntax is ExplicitVRBigEndian:
        entries = entries.astype("<u2").view(">u2").astype(np.int64)
    dataset = grey_object(VALUES, VOILUTSequence=lut(0, entries, wide=wide))
    ramp(decode(as_file(dataset, syntax)).presentation, VALUES, 0, 4095)  # type: ignore[arg-type]


def test_voi_lut_of_65536_entries_states_zero() -> None:
    values = phantom_values(16)
    shown = picture(values, 16, VOILUTSequence=lut(0, np.arange(65536), wide=True))
    ramp(shown.presentation, values, 0, 65535)


def test_voi_lut_begins_at_a_negative_value() -> None:
    signed = VALUES.astype(np.int16) - 2048
    shown = picture(signed, VOILUTSequence=lut(-2048, np.arange(4096)))
    ramp(shown.presentation, signed, -2048, 2047)


@pytest.mark.parametrize(
    "entries", [np.zeros(4096, dtype=np.int64), np.full(4096, 7)], ids=["all zero", "all the same"]
)
def test_voi_lut_without_contrast_gives_way_to_the_window(entries: NDArray[np.int64]) -> None:
    shown = picture(VOILUTSequence=lut(0, entries), WindowCenter=2048, WindowWidth=4096)
    assert shown.facts.voi is Voi.WINDOW
    assert shown.facts.notes[0] in {Note.LUT_UNUSABLE, Note.LUT_COVERS_TOO_LITTLE}


def test_voi_lut_with_too_few_entries_is_passed_over() -> None:
    broken = lut(0, np.arange(4096))
    broken[0].LUTData = [1, 2, 3]
    assert picture(VOILUTSequence=broken).facts.notes == (Note.LUT_UNUSABLE,)


def test_modality_lut_comes_first() -> None:
    table = (np.arange(4096) * 2 + 100).astype(np.uint16)
    shown = picture(ModalityLUTSequence=lut(0, table), WindowCenter=4196, WindowWidth=8192, RescaleSlope=5)
    assert np.array_equal(shown.modality, table[VALUES])
    ramp(shown.presentation, table[VALUES], 100, 8291)


def test_broken_modality_lut_is_rejected_by_name() -> None:
    broken = lut(0, np.arange(4096))
    del broken[0].LUTData
    assert "ModalityLUTSequence (0028,3000)" in rejection(ModalityLUTSequence=broken).sentence


# Rescale.


def test_slope_without_intercept_has_intercept_zero() -> None:
    shown = picture(RescaleSlope=2, WindowCenter=4096, WindowWidth=8192)
    assert np.array_equal(shown.modality, VALUES * 2)
    assert shown.facts.notes == (Note.INTERCEPT_MISSING,)


def test_intercept_without_slope_has_slope_one() -> None:
    shown = picture(RescaleIntercept=-1000)
    assert np.array_equal(shown.modality, VALUES.astype(np.int32) - 1000)
    assert shown.facts.notes == (Note.SLOPE_MISSING,)


def test_window_is_in_units_of_the_modality() -> None:
    shown = picture(RescaleSlope=0.5, RescaleIntercept=-100, WindowCenter=924, WindowWidth=2048)
    ramp(shown.presentation, VALUES * 0.5 - 100, -100, 1947)


def test_negative_slope_turns_the_range_round() -> None:
    turned = picture(RescaleSlope=-1, RescaleIntercept=4095).presentation
    # The range may differ by a value at its ends.
    assert np.abs(turned.astype(int) - (WHITE - picture().presentation)).max() < WHITE / 1000


@pytest.mark.parametrize("slope", ["0", "1e30", "nan", "inf", "x"])
def test_impossible_slope_is_rejected_by_name(slope: str) -> None:
    dataset = grey_object(VALUES, RescaleSlope=12345, RescaleIntercept=0)
    data = as_file(dataset).replace(b"12345.0 ", slope.encode().ljust(8))
    with pytest.raises(RejectedImage, match=r"RescaleSlope \(0028,1053\)"):
        decode(data)


# JPEG 2000.


def test_jpeg_2000_of_other_size_is_rejected() -> None:
    small = as_file(grey_object(VALUES[:-8]), JPEG2000Lossless)
    frame = small[small.index(b"\xff\x4f\xff\x51") : small.rindex(b"\xff\xd9") + 2]
    data = with_pixels(as_file(grey_object(VALUES)), JPEG2000Lossless, frame)
    with pytest.raises(RejectedImage) as rejected:
        decode(data)
    assert rejected.value.code == "dicom_frame_size"
    assert "Columns (0028,0011) and Rows (0028,0010)" in rejected.value.sentence


# What is shown and kept.


def test_grey8_is_the_presentation_in_fewer_steps() -> None:
    shown = picture(WindowCenter=2048, WindowWidth=4096)
    assert np.abs(shown.grey8 - shown.presentation / 257).max() <= 0.51


def test_facts_survive_json() -> None:
    facts = picture(
        WindowCenter=[1500.25, 900],
        WindowWidth=[2000, 100],
        PixelSpacing=[0.1, 0.2],
        VOILUTFunction="SIGMOID",
        RescaleSlope=1,
    ).facts
    assert GreyFacts.from_dict(json.loads(json.dumps(facts.as_dict()))) == facts


def test_facts_hold_no_text_of_the_object() -> None:
    planted = "PLANTED NAME"
    facts = picture(
        PresentationLUTShape=planted,
        VOILUTFunction=planted,
        WindowCenter=2048,
        WindowWidth=4096,
        PixelSpacing=[0.1, 0.1],
        PixelSpacingCalibrationType=planted,
        WindowCenterWidthExplanation=planted,
    ).facts
    assert "PLANTED" not in json.dumps(facts.as_dict())


SPACINGS: dict[str, tuple[SpacingAt | None, dict[str, Any]]] = {
    "none": (None, {}),
    "detector": (SpacingAt.DETECTOR, {"ImagerPixelSpacing": [0.2, 0.1]}),
    "the same twice": (SpacingAt.DETECTOR, {"ImagerPixelSpacing": [0.2, 0.1], "PixelSpacing": [0.2, 0.1]}),
    "corrected": (SpacingAt.PATIENT, {"ImagerPixelSpacing": [0.3, 0.2], "PixelSpacing": [0.2, 0.1]}),
    "calibrated": (
        SpacingAt.PATIENT,
        {"PixelSpacing": [0.2, 0.1], "PixelSpacingCalibrationType": "FIDUCIAL"},
    ),
    "unstated": (SpacingAt.UNSTATED, {"PixelSpacing": [0.2, 0.1]}),
    "scanned": (SpacingAt.DETECTOR, {"NominalScannedPixelSpacing": [0.2, 0.1]}),
    "no length": (None, {"PixelSpacing": [0, 0]}),
    "one value": (None, {"PixelSpacing": 0.1}),
}


@pytest.mark.parametrize("name", SPACINGS)
def test_spacing_says_where_it_was_measured(name: str) -> None:
    at, elements = SPACINGS[name]
    spacing = picture(**elements).facts.spacing
    assert (spacing and (spacing.at, spacing.down_mm, spacing.across_mm)) == (at and (at, 0.2, 0.1))
