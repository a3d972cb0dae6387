"""Decodes the pixels of a JPEG or PNG file to grey, and rejects damage that most programs pass over.

At damaged data libjpeg warns and goes on with wrong or grey pixels. Pillow ignores the warnings, so JPEG files are
decoded by simplejpeg, which stops at them. Both use libjpeg-turbo and give the same grey values. Of a PNG file, Pillow
leaves the checksums of the picture unread.
"""

from __future__ import annotations

import io
import zlib

import numpy as np
import simplejpeg
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from worker.errors import RejectedImage
from worker.imagefile.grey_range import robust_range, spread
from worker.imagefile.parts import CHECKSUM_BYTES, png_chunks
from worker.imagefile.scans import has_all_scans

_OPAQUE = 0xFF
# The length of a PNG chunk stands before what its checksum covers: its kind and its data.
_LENGTH_BYTES = 4
# How the messages of libjpeg begin when the file ends too early (jerror.h, JWRN_JPEG_EOF) and when memory is short.
_ENDS_EARLY, _WITHOUT_MEMORY = "Premature end of JPEG file", "Insufficient memory"
# How its warnings about the pixels begin.
_DAMAGE = ("Corrupt JPEG data", "Inconsistent progression sequence", "Invalid SOS parameters")


def decode_to_grey(image: Image.Image, data: bytes, least: int) -> Image.Image:
    """Decode an opened file.

    Args:
        image: the file, opened with Pillow; its pixels are not loaded.
        data: all bytes of the file.
        least: a JPEG is scaled down by 8, 4 or 2 if both sides then still have so many pixels.

    Returns:
        An image of mode L with the metadata of `image`, not yet turned upright. Values of 16 bits are mapped to
        0..255 by their range.

    Raises:
        RejectedImage: `damaged`, `truncated`, `undecodable` or `transparent`.
        MemoryError: the process may use too little memory.
        Exception: Pillow raises many kinds of errors for damaged PNG files.
    """
    if isinstance(image, JpegImageFile):
        grey = Image.fromarray(_jpeg_pixels(image, data, least))
    else:
        image.load()
        _check_sums(data)
        grey = _opaque_grey(image)
    grey.info = image.info
    return grey


def _jpeg_pixels(
    image: Image.Image, data: bytes, least: int
) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    scale = next((scale for scale in (8, 4, 2) if min(image.size) // scale >= least), 1)
    width, height = (-(-side // scale) for side in image.size)
    try:
        grey = simplejpeg.decode_jpeg(
            data, colorspace="GRAY", min_height=height, min_width=width, strict=True
        )
    except ValueError as error:
        raise _reason(str(error)) from error
    if "progressive" in image.info and not has_all_scans(data):
        raise RejectedImage("damaged")
    return np.asarray(grey[:, :, 0])


def _reason(message: str) -> Exception:
    if message.startswith(_WITHOUT_MEMORY):
        return MemoryError(message)
    if message.startswith(_ENDS_EARLY):
        return RejectedImage("truncated")
    if message.startswith(_DAMAGE):
        return RejectedImage("damaged")
    return RejectedImage("undecodable", detail=message.rstrip("."))


def _check_sums(data: bytes) -> None:
    """Check the checksums of the chunks that a PNG picture needs (PNG, third edition, 5.3, 13.1). Raises RejectedImage."""
    whole = memoryview(data)
    for kind, start, end in png_chunks(io.BytesIO(data)):
        # The case of the first letter says whether a picture can be shown without the chunk.
        if kind[:1].isupper():
            said = int.from_bytes(whole[end - CHECKSUM_BYTES : end], "big")
            if zlib.crc32(whole[start + _LENGTH_BYTES : end - CHECKSUM_BYTES]) != said:
                raise RejectedImage("damaged")


def _opaque_grey(image: Image.Image) -> Image.Image:
    """Convert a loaded PNG to 8-bit grey. Raises RejectedImage if a pixel is transparent."""
    if image.mode.startswith("I"):
        return _eight_bits(image)
    if image.mode in {"LA", "RGBA"} or "transparency" in image.info:
        alpha = (image if image.mode in {"LA", "RGBA"} else image.convert("RGBA")).getchannel("A")
        if alpha.getextrema() != (_OPAQUE, _OPAQUE):
            raise RejectedImage("transparent")
    return image.convert("L")


def _eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.uint16)
    if (values == image.info.get("transparency", -1)).any():
        raise RejectedImage("transparent")
    return Image.fromarray(spread(values, *robust_range(values), _OPAQUE).astype(np.uint8))
