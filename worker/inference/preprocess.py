"""Turns the bytes of a file into model input. Training and screening both use this preprocessing.

A change that changes the numbers must raise `PREPROCESSING_VERSION`, and needs a newly trained model: a bundle
with another version is not loaded.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from worker.errors import RejectedImage
from worker.imagefile.scans import MOST_SCANS, has_too_many_scans
from worker.inference import gate
from worker.inference.exposure import equalise, stretch

PREPROCESSING_VERSION: str = "1"

# Far above any radiograph. It is checked here too, because Pillow's own limit is one setting for the whole
# process, and `worker.imagefile.formats` turns it off.
LARGEST_PIXELS = 400_000_000

_FORMATS = ("JPEG", "PNG")
# Converting these modes to 8-bit grey would give wrong values without an error.
_REJECTED_MODES = {"CMYK": "cmyk", "I;16": "sixteen_bit", "I;16B": "sixteen_bit", "I": "sixteen_bit"}
# The exceptions that Pillow raises for damaged files.
_TRUNCATED = (EOFError, struct.error)
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, ArithmeticError)


def to_model_input(data: bytes, side: int) -> NDArray[np.uint8]:
    """Decode a file, reject a blank or saturated image, and normalise its exposure.

    Args:
        data: a whole JPEG or PNG file.
        side: edge of the model input, in pixels.

    Returns:
        Grey values 0..255, shape (side, side).

    Raises:
        RejectedImage: `empty`, `truncated`, `undecodable`, `cmyk`, `sixteen_bit`, `too_many_scans`,
            `needs_memory`, `blank` or `saturated`.
    """
    return normalise(checked_grey(data, side))


def checked_grey(data: bytes, side: int) -> NDArray[np.uint8]:
    """Decode a file and reject a blank or saturated image; its exposure stays as it was.

    Arguments, result and errors are those of `to_model_input`. Training augments the result.
    """
    grey = decode_grey(data, side)
    gate.check_exposure(grey)
    return grey


def decode_grey(data: bytes, side: int) -> NDArray[np.uint8]:
    """Decode a file to a grey square; its exposure stays as it was.

    The image is scaled to a square without padding, like the published training images. Arguments and
    errors are those of `to_model_input`, except `blank` and `saturated`.

    Returns:
        Grey values 0..255, shape (side, side).
    """
    if not data:
        raise RejectedImage("empty")
    try:
        return _decode(data, side)
    except RejectedImage:
        raise
    except UnidentifiedImageError:
        raise RejectedImage("undecodable", detail="it is neither a JPEG nor a PNG file") from None
    except MemoryError:
        # The memory limit of the process was reached: the same bytes would fail again.
        raise RejectedImage("needs_memory") from None
    except Image.DecompressionBombError:
        raise RejectedImage("undecodable", detail="it has too many pixels") from None
    except _TRUNCATED:
        raise RejectedImage("truncated") from None
    except _DAMAGED as error:
        raise _as_rejection(error) from error


def normalise(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Normalise the exposure: equalise the histogram, then stretch the range that a plain border takes up.

    With stretching alone, a network learns the haze of an image as a short cut, which fails in other
    hospitals; docs/model.md has the measurements.

    Args:
        grey: grey values 0..255, shape (side, side).

    Returns:
        An array of the same shape that contains 0 and 255, unless all values are equal.
    """
    return stretch(equalise(grey))


def _decode(data: bytes, side: int) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        if image.width * image.height > LARGEST_PIXELS:
            raise Image.DecompressionBombError
        if image.mode in _REJECTED_MODES:
            raise RejectedImage(_REJECTED_MODES[image.mode])
        if isinstance(image, JpegImageFile) and has_too_many_scans(data):
            raise RejectedImage("too_many_scans", limit=MOST_SCANS)
        coefficients = image.width * image.height * len(image.getbands())
        # The JPEG decoder scales by 1/2, 1/4 or 1/8 at nearly no cost, but with a coarse filter. Leaving a
        # factor of two to the resampling below takes half the time of a full decode, and differs from it
        # by half a grey level on average.
        image.draft("L", (2 * side, 2 * side))
        _load(image, coefficients)
        square = _upright(image).convert("L").resize((side, side), Image.Resampling.BILINEAR)
    return np.array(square, dtype=np.uint8)


def _load(image: Image.Image, coefficients: int) -> None:
    """Decode the image. Raises MemoryError when libjpeg reports broken data because it had too little memory.

    All coefficients of a progressive JPEG, two bytes each, are in memory until its last scan.
    """
    try:
        image.load()
    except OSError:
        if isinstance(image, JpegImageFile):
            bytearray(2 * coefficients)
        raise


def _upright(image: Image.Image) -> Image.Image:
    """Rotate the image as its EXIF orientation says; broken EXIF data are ignored."""
    try:
        return ImageOps.exif_transpose(image)
    except (*_TRUNCATED, *_DAMAGED):
        return image


def _as_rejection(error: Exception) -> RejectedImage:
    """Choose between `truncated` and `undecodable`; only the messages of Pillow tell them apart.

    Text in parentheses is dropped, because it can be bytes of the file.
    """
    message = " ".join(str(error).split()).partition(" (")[0].rstrip(".")
    if "truncated" in message.lower():
        return RejectedImage("truncated")
    return RejectedImage("undecodable", detail=message or type(error).__name__)
