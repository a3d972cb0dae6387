from __future__ import annotations

import io
import random
import struct
import warnings
from contextlib import suppress

import pytest
from PIL import Image as Pillow

from tests.files import (
    PNG_START,
    cmyk_jpeg,
    encoded,
    grey,
    harmed,
    jpeg,
    png_chunk,
    png_of,
    sixteen_bit_png,
)
from worker.errors import REJECTIONS, RejectedImage
from worker.imagefile.formats import Inspection, inspect
from worker.imagefile.limits import Limits
from worker.recognition import inspect_bytes

LIMITS = Limits(max_bytes=1_000_000, max_pixels=100_000_000, min_side=64)


def rejection(data: bytes, limits: Limits = LIMITS) -> tuple[str, str]:
    with pytest.raises(RejectedImage) as rejected:
        inspect_bytes(data, limits)
    return rejected.value.code, rejected.value.sentence


def animated_png() -> bytes:
    return encoded(grey(), "PNG", save_all=True, append_images=[grey(seed=1), grey(seed=2)])


def dicom() -> bytes:
    return bytes(128) + b"DICM" + bytes(200)


GOOD = {
    "a grey JPEG": (jpeg(), "jpeg"),
    "a colour JPEG": (encoded(grey().convert("RGB"), "JPEG"), "jpeg"),
    "a progressive JPEG": (encoded(grey(), "JPEG", progressive=True), "jpeg"),
    "a grey PNG": (encoded(grey(), "PNG"), "png"),
    "a colour PNG": (encoded(grey().convert("RGB"), "PNG"), "png"),
    "a PNG with a palette": (encoded(grey().convert("P"), "PNG"), "png"),
    "a 16-bit PNG": (sixteen_bit_png(), "png16"),
    "an RGBA PNG": (encoded(grey().convert("RGBA"), "PNG"), "png"),
    "a PNG of grey and alpha": (encoded(grey().convert("LA"), "PNG"), "png"),
    "a palette with a transparent colour": (encoded(grey().convert("P"), "PNG", transparency=3), "png"),
    "a grey PNG with a transparent grey": (encoded(grey(), "PNG", transparency=3), "png"),
    "a JPEG with a preview": (encoded(grey(), "MPO", save_all=True, append_images=[grey(60, 50)]), "jpeg"),
    "a PNG of one bit a pixel": (encoded(grey().convert("1"), "PNG"), "png"),
    "bytes after the end of a JPEG": (jpeg() + b"written by some modality", "jpeg"),
}
BAD = {
    "nothing": (b"", "empty"),
    "text": (b"Dear colleague,\nthe X-ray is attached.", "not_an_image"),
    "zeros": (bytes(5000), "not_an_image"),
    "a JPEG that breaks off in its header": (jpeg()[:200], "undecodable"),
    "a PNG that breaks off in its header": (encoded(grey(), "PNG")[:20], "undecodable"),
    "the first bytes of a JPEG": (b"\xff\xd8\xff", "undecodable"),
    "the first bytes of a PNG": (PNG_START, "undecodable"),
    "a CMYK JPEG": (cmyk_jpeg(), "cmyk"),
    "a 16-bit colour PNG": (png_of(200, 200, depth=16, colour=2), "sixteen_bit"),
    "a PNG bomb": (png_of(50_000, 50_000), "too_many_pixels"),
    "a bomb of one bit a pixel": (png_of(2_000_000, 2_000_000, depth=1), "too_many_pixels"),
    "an animated PNG": (animated_png(), "animated"),
    "a 16-bit PNG of grey and alpha": (png_of(200, 200, depth=16, colour=4), "sixteen_bit"),
    "an icon": (encoded(grey(63, 200), "PNG"), "too_small"),
    "GIF": (encoded(grey(), "GIF"), "unsupported_format"),
    "TIFF": (encoded(grey(), "TIFF"), "unsupported_format"),
    "TIFF, big-endian": (b"MM\x00*" + bytes(100), "unsupported_format"),
    "BMP": (encoded(grey(), "BMP"), "unsupported_format"),
    "WebP": (encoded(grey(), "WEBP"), "unsupported_format"),
    "JPEG 2000": (encoded(grey(), "JPEG2000"), "unsupported_format"),
    "PDF": (b"%PDF-1.7\n" + bytes(100), "unsupported_format"),
    "ZIP": (b"PK\x03\x04" + bytes(100), "unsupported_format"),
    "an empty DICOM object": (dicom(), "dicom_damaged"),
}


@pytest.mark.parametrize("name", GOOD)
def test_sound_files_are_accepted(name: str) -> None:
    data, form = GOOD[name]
    assert inspect_bytes(data, LIMITS) == Inspection(form, 120, 100)


@pytest.mark.parametrize("name", BAD)
def test_each_bad_file_has_its_code_and_sentence(name: str) -> None:
    data, code = BAD[name]
    actual, sentence = rejection(data)
    assert actual == code
    assert sentence.endswith(".")
    assert "{" not in sentence


def with_frame(marker: int, bits: int) -> bytes:
    """Return a JPEG whose frame header has another marker and another number of bits (ITU-T T.81, B.2.2)."""
    data = bytearray(jpeg())
    start = data.index(b"\xff\xc0")
    data[start + 1], data[start + 4] = marker, bits
    return bytes(data)


@pytest.mark.parametrize(
    ("marker", "bits", "kind"),
    [
        (0xC0, 12, "12-bit JPEG"),
        (0xC1, 12, "12-bit JPEG"),
        (0xC1, 16, "16-bit JPEG"),
        (0xC2, 12, "12-bit JPEG"),
        (0xC3, 8, "lossless JPEG"),
        (0xC3, 16, "lossless JPEG"),
        (0xC5, 8, "hierarchical JPEG"),
        (0xC9, 8, "arithmetic-coded JPEG"),
        (0xCA, 8, "arithmetic-coded JPEG"),
        (0xF7, 8, "JPEG-LS"),
    ],
)
def test_unsupported_jpeg_is_named(marker: int, bits: int, kind: str) -> None:
    code, sentence = rejection(with_frame(marker, bits))
    assert code == "unsupported_jpeg"
    assert f"does not read {kind} files" in sentence


def test_sentences_name_the_measured_values() -> None:
    assert rejection(png_of(50_000, 50_000))[1] == (
        "The image has 50000 x 50000 pixels; the limit is 100000000 pixels."
    )
    assert "WebP files" in rejection(BAD["WebP"][0])[1]
    assert "3 frames" in rejection(animated_png())[1]
    assert "63 x 200" in rejection(BAD["an icon"][0])[1]


def test_every_code_has_a_sentence() -> None:
    assert {code for _, code in BAD.values()} <= set(REJECTIONS)


def test_limits_are_inclusive() -> None:
    data = jpeg()
    inspect_bytes(data, Limits(len(data), 120 * 100, 100))
    assert rejection(data, Limits(len(data) - 1, 12_000, 100))[0] == "too_many_bytes"
    assert rejection(data, Limits(len(data), 11_999, 100))[0] == "too_many_pixels"
    assert rejection(data, Limits(len(data), 12_000, 101))[0] == "too_small"


def test_a_decompression_bomb_is_rejected_by_its_header() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Pillow.DecompressionBombWarning)
        assert rejection(png_of(50_000, 50_000))[0] == "too_many_pixels"


def with_much_in_its_header(form: str) -> bytes:
    exif = Pillow.Exif()
    exif[0x0112], exif[0x010F] = 6, "A modality"
    more = {"dpi": (300, 300), "icc_profile": bytes(200), "exif": exif}
    if form == "PNG":
        return encoded(grey(), form, **more)
    frames = [grey(seed=1).convert("RGB")]
    return encoded(grey().convert("RGB"), "MPO", save_all=True, append_images=frames, **more)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_header_is_rejected_without_another_error(form: str) -> None:
    chance = random.Random(form)
    plain, rich = encoded(grey(), form), with_much_in_its_header(form)
    for _ in range(1_500):
        data = harmed(chance.choice([plain, rich]), chance)
        with suppress(RejectedImage):
            inspect(io.BytesIO(data), len(data), LIMITS)


@pytest.mark.parametrize("error", [OSError, SyntaxError, KeyError, ZeroDivisionError, EOFError, struct.error])
def test_every_exception_of_the_library_becomes_a_rejection(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    # Simulated, because which bytes raise which exception depends on the release of the library.
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Pillow, "open", fails)
    assert rejection(jpeg()) == ("undecodable", "The image cannot be decoded: its header is damaged.")


def test_a_png_chunk_that_claims_gigabytes_is_rejected() -> None:
    header = png_of(200, 200)[: 8 + 25]
    text = png_chunk(b"tEXt", b"x" * 100)
    assert rejection(header + b"\x7f\xff\xff\xff" + text[4:])[0] == "too_many_parts"
