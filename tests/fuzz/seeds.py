"""The first files of the corpus: small phantoms, and files with one fault each.

`python -m tests.fuzz.seeds` writes them into `tests/fuzz/corpus`. When a file makes a target fail, add it by
hand as `found_*`.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from tests import bombs
from tests.dicom_objects import (
    LOSSLESS,
    LOSSY,
    as_file,
    grey_object,
    lut,
    phantom_values,
    without_meta,
    without_preamble,
)
from tests.files import PNG_START, cmyk_jpeg, encoded, png_chunk, png_of
from worker.phantom import draw_phantom

CORPUS = Path(__file__).parent / "corpus"


def _exif(orientation: int) -> Pillow.Exif:
    exif = Pillow.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A] = orientation, "A modality", 72.0
    return exif


def _dicom(*, explicit: bool) -> bytes:
    """Return the start of a DICOM file (PS3.10, 7.1): preamble, prefix, meta information of one element."""
    element = b"\x02\x00\x10\x00" + (b"UI\x14\x00" if explicit else b"\x14\x00\x00\x00")
    return bytes(128) + b"DICM" + element + b"1.2.840.10008.1.2.1\x00"


def _objects() -> dict[str, bytes]:
    """Return small DICOM objects: one in each transfer syntax, and one with each part of the grey scale."""
    values, bytes_only = phantom_values(width=40), phantom_values(8, width=40)
    window: dict[str, Any] = {
        "WindowCenter": [2000, 100],
        "WindowWidth": [3000, 50],
        "PixelSpacing": [0.1, 0.1],
    }
    plain = grey_object(values, **window)
    table = lut(0, np.arange(256), 8)
    eight = grey_object(bytes_only, 8, VOILUTSequence=table, PhotometricInterpretation="MONOCHROME1")
    signed = grey_object(values.astype(np.int16) - 2048, RescaleSlope="1.5", RescaleIntercept="-7")
    syntaxes = {name: as_file(plain, syntax) for name, syntax in LOSSLESS.items()}
    return {
        **{f"{name.lower().replace(' ', '_')}-dcm": data for name, data in syntaxes.items()},
        "jpeg_extended-dcm": as_file(plain, LOSSY["JPEG extended"]),
        "jpeg_baseline-dcm": as_file(eight, LOSSY["JPEG baseline"]),
        "lut-dcm": as_file(eight),
        "signed-dcm": as_file(signed),
        "modality_lut-dcm": as_file(grey_object(bytes_only, 8, ModalityLUTSequence=table)),
        "no_preamble-dcm": without_preamble(syntaxes["explicit"]),
        "no_meta-dcm": without_meta(plain),
        "breaks_off-dcm": syntaxes["JPEG-LS"][:-20],
        "size_lies-dcm": as_file(grey_object(values, Rows=65535, Columns=65535)),
        "two_frames-dcm": as_file(grey_object(values, NumberOfFrames=2)),
        "nested-dcm": syntaxes["explicit"].replace(
            b"\x08\x00\x60\x00", b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" * 3 + b"\x08\x00\x60\x00"
        ),
    }


def seeds() -> dict[str, bytes]:
    """Return name -> bytes. No side is longer than 100 pixels, so that the corpus stays small."""
    grey = draw_phantom(1, width=96, opacity=True)
    colour, tiny = grey.convert("RGB"), grey.resize((24, 20))
    jpeg = encoded(grey, "JPEG", quality=30, comment=b"nightread phantom")
    png = encoded(tiny, "PNG")
    small = {"quality": 20, "exif": _exif(6)}
    return {
        "grey-jpg": jpeg,
        "colour-jpg": encoded(colour, "JPEG", **small, icc_profile=bytes(60), dpi=(300, 300)),
        "progressive-jpg": encoded(colour, "JPEG", quality=20, progressive=True),
        "restarts-jpg": encoded(grey, "JPEG", quality=20, restart_marker_blocks=1),
        "scans-jpg": bombs.scans(64, 64, 20),
        "two_frames-jpg": encoded(tiny.convert("RGB"), "MPO", save_all=True, append_images=[tiny.convert("RGB")]),
        "cmyk-jpg": cmyk_jpeg()[:2000],
        "breaks_off-jpg": jpeg[: len(jpeg) // 2],
        "breaks_off_in_its_header-jpg": jpeg[:60],
        "no_tables-jpg": jpeg[:2] + jpeg[jpeg.find(b"\xff\xc0") :],
        "bytes_after_its_end-jpg": jpeg + b"written by some modality",
        "comments-jpg": jpeg[:2] + bombs.segment(0xFE, b"") * 20 + jpeg[2:],
        "photoshop-jpg": jpeg[:2] + bombs.segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\x00\x00\x00\x00") + jpeg[2:],
        "twelve_bits-jpg": jpeg.replace(b"\xff\xc0\x00\x0b\x08", b"\xff\xc0\x00\x0b\x0c"),
        "arithmetic-jpg": jpeg.replace(b"\xff\xc0", b"\xff\xc9"),
        "grey-png": png,
        "colour-png": encoded(tiny.convert("RGB"), "PNG", exif=_exif(8), icc_profile=bytes(60), dpi=(300, 300)),
        "palette-png": encoded(tiny.convert("P"), "PNG"),
        "one_bit-png": encoded(tiny.convert("1"), "PNG"),
        "opaque-png": encoded(tiny.convert("LA"), "PNG"),
        "transparent-png": encoded(Pillow.merge("LA", (tiny, tiny)), "PNG"),
        "sixteen_bits-png": encoded(Pillow.fromarray(np.asarray(tiny, dtype=np.uint16) * 16), "PNG"),
        "sixteen_bits_colour-png": png_of(24, 20, depth=16, colour=2),
        "interlaced-png": bombs.black_png(24, 20, interlaced=True),
        "animated-png": encoded(tiny, "PNG", save_all=True, append_images=[tiny.rotate(180)]),
        "breaks_off-png": png[: len(png) // 2],
        "texts-png": png[:33] + _text_chunks() + png[33:],
        "in_pieces-png": png[:33] + _split_pixel_data(png) + png[-12:],
        "wrong_checksum-png": png[:30] + b"\x00" + png[31:],
        "bomb-png": png_of(50_000, 50_000),
        "no_size-png": PNG_START + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 0, 8, 0, 0, 0, 0)) + png[33:],
        "explicit_start-dcm": _dicom(explicit=True),
        "implicit_start-dcm": _dicom(explicit=False),
        "preamble_only-dcm": bytes(128) + b"DIC",
        "empty": b"",
        "letter": b"Dear colleague,\nthe X-ray is attached.",
        "webp": b"RIFF\x24\x00\x00\x00WEBPVP8 " + bytes(24),
        "gif": encoded(tiny, "GIF")[:200],
        **_objects(),
    }  # fmt: skip


def _text_chunks() -> bytes:
    compressed = zlib.compress(b"a" * 5000)
    return (
        png_chunk(b"tEXt", b"Comment\0plain")
        + png_chunk(b"zTXt", b"Comment\0\0" + compressed)
        + png_chunk(b"iTXt", b"Title\0\1\0de\0Titel\0" + compressed)
        + png_chunk(b"iCCP", b"profile\0\0" + compressed)
        + png_chunk(b"pHYs", struct.pack(">IIB", 3000, 3000, 1))
        + png_chunk(b"gAMA", struct.pack(">I", 45455))
    )


def _split_pixel_data(png: bytes) -> bytes:
    start = png.find(b"IDAT")
    pixels = png[start + 4 : start + 4 + int.from_bytes(png[start - 4 : start], "big")]
    return b"".join(png_chunk(b"IDAT", pixels[n : n + 50]) for n in range(0, len(pixels), 50))


if __name__ == "__main__":
    CORPUS.mkdir(exist_ok=True)
    for name, data in seeds().items():
        (CORPUS / name).write_bytes(data)
