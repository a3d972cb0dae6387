"""Bytes to model input: the only preprocessing there is, for training and for screening.

Whatever changes the numbers that come out of here must raise `PREPROCESSING_VERSION`, and a
model must be trained again: bundles that name another version are refused.
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

# No radiograph comes near it. Held here too, because Pillow's own limit is one for the whole
# process, and whoever inspects files before lifts it.
LARGEST_PIXELS = 400_000_000

_FORMATS = ("JPEG", "PNG")
# Modes whose conversion to 8-bit grey would silently give wrong values.
_REFUSED_MODES = {"CMYK": "cmyk", "I;16": "sixteen_bit", "I;16B": "sixteen_bit", "I": "sixteen_bit"}
# What Pillow raises for bad bytes, by kind of damage, besides OSError.
_BREAKS_OFF = (EOFError, struct.error)
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, ArithmeticError)


def to_model_input(data: bytes, side: int) -> NDArray[np.uint8]:
    """Decode a file, refuse a blank one, and even out its exposure.

    Args:
        data: a whole JPEG or PNG file.
        side: edge of the model's input, in pixels.

    Returns:
        Grey values 0..255, shape (side, side).

    Raises:
        RejectedImage: `empty`, `truncated`, `undecodable`, `cmyk`, `sixteen_bit`, `too_many_scans`,
            `needs_memory` or `blank`.
    """
    return normalise(checked_grey(data, side))


def checked_grey(data: bytes, side: int) -> NDArray[np.uint8]:
    """Decode a file and refuse a blank one; its exposure stays as it was.

    Arguments, result and errors as for `to_model_input`. Training augments what comes out of it.
    """
    grey = decode_grey(data, side)
    gate.check_exposure(grey)
    return grey


def decode_grey(data: bytes, side: int) -> NDArray[np.uint8]:
    """Decode a file to a grey square, its exposure as it was.

    The image is squashed to a square rather than padded, as the published training images
    are. Arguments, and errors less `blank`, as for `to_model_input`.

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
        # What bounds it is the process's own limit: the same bytes would fail again.
        raise RejectedImage("needs_memory") from None
    except Image.DecompressionBombError:
        raise RejectedImage("undecodable", detail="it says it has too many pixels") from None
    except _BREAKS_OFF:
        raise RejectedImage("truncated") from None
    except _BROKEN as error:
        raise _as_rejection(error) from error


def normalise(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Even out the exposure: equalise the histogram, then stretch what a plain border takes up.

    Stretching alone leaves how hazy an image is as a short cut, which fails in other hospitals:
    see docs/model.md for what was measured.

    Args:
        grey: grey values 0..255, shape (side, side).

    Returns:
        An array of the same shape, with 0 and 255 in it unless it is of one value.
    """
    return stretch(equalise(grey))


def _decode(data: bytes, side: int) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        if image.width * image.height > LARGEST_PIXELS:
            raise Image.DecompressionBombError
        if image.mode in _REFUSED_MODES:
            raise RejectedImage(_REFUSED_MODES[image.mode])
        # The JPEG decoder scales by 1/2, 1/4 or 1/8 for next to nothing, but with a coarse filter.
        # Leaving a factor of two to the resampling below halves the time of a full decode, and
        # differs from it by half a grey level on average.
        if isinstance(image, JpegImageFile) and has_too_many_scans(data):
            raise RejectedImage("too_many_scans", limit=MOST_SCANS)
        coefficients = image.width * image.height * len(image.getbands())
        image.draft("L", (2 * side, 2 * side))
        _load(image, coefficients)
        square = _upright(image).convert("L").resize((side, side), Image.Resampling.BILINEAR)
    return np.array(square, dtype=np.uint8)


def _load(image: Image.Image, coefficients: int) -> None:
    """Decode. Raises MemoryError where libjpeg says that the data are broken but had no room for them.

    All coefficients of a progressive JPEG, two bytes each, are in memory until its last scan.
    """
    try:
        image.load()
    except OSError:
        if isinstance(image, JpegImageFile):
            bytearray(2 * coefficients)
        raise


def _upright(image: Image.Image) -> Image.Image:
    """Turn the pixels as the EXIF tag Orientation says; broken EXIF data turn nothing."""
    try:
        return ImageOps.exif_transpose(image)
    except (*_BREAKS_OFF, *_BROKEN):
        return image


def _as_rejection(error: Exception) -> RejectedImage:
    """Pillow tells a file that breaks off from a damaged one only in its messages.

    What these have in brackets may be bytes of the file, which are no text for a person.
    """
    message = " ".join(str(error).split()).partition(" (")[0].rstrip(".")
    if "truncated" in message.lower():
        return RejectedImage("truncated")
    return RejectedImage("undecodable", detail=message or type(error).__name__)
