"""Turns a picture into model input. Training and screening both use this preprocessing.

Version 1 squashes the whole picture. Version 2 first finds the film on a margin or a page (`film`) and cuts it out;
of a picture without a margin it gives the same bytes. Version 3 cuts the film to the lungs (`lungs`). A change that
changes the numbers needs a new version.
"""

from __future__ import annotations

import io
import math
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from worker.errors import RejectedImage, raise_fault
from worker.imagefile.scans import MOST_SCANS, has_too_many_scans
from worker.inference import gate
from worker.inference.decoding import decode_to_grey
from worker.inference.exposure import normalise
from worker.inference.film import LONGEST_SIDE, Box, NoSingleFilm, find_film

# A model is trained and scores with one version. Predictions of older models are replayed with theirs.
WHOLE_PICTURE, FILM_ALONE, LUNGS_ALONE = "1", "2", "3"
VERSIONS = (WHOLE_PICTURE, FILM_ALONE, LUNGS_ALONE)

# The JPEG decoder scales by 1/2, 1/4 or 1/8 at nearly no cost, but with a coarse filter. Leaving a factor of two to
# the resampling takes half the time of a full decode, and differs from it by half a grey level on average.
_FINENESS = 2.0

# Far above any radiograph. It is checked here too, because Pillow's own limit is one setting for the whole
# process, and `worker.imagefile.formats` turns it off.
LARGEST_PIXELS = 400_000_000

# The Exif tag Orientation, and its values that swap width and height.
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)

_FORMATS = ("JPEG", "PNG")
# A whole JPEG or PNG file; or the grey values of another format, decoded elsewhere: 0..255, upright, shape (h, w).
Picture = bytes | NDArray[np.uint8]
# The exceptions that Pillow raises for damaged files.
_TRUNCATED = (EOFError, struct.error)
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, ArithmeticError)


@dataclass(frozen=True)
class Film:
    """The square of which the model input is made, and the part of the picture that it shows.

    Attributes:
        grey: grey values 0..255 before the exposure is normalised, shape (side, side).
        crop: the film, in pixels of the upright original; None: the whole picture.
        size: width and height of the upright original, in pixels.
    """

    grey: NDArray[np.uint8]
    crop: Box | None
    size: tuple[int, int]

    @property
    def part(self) -> Box:
        """The part of the picture that the square shows, in pixels of the upright original."""
        return self.crop or Box(0, 0, *self.size)


def versions_without_film(version: str) -> tuple[str, ...]:
    """Return the versions that do not find the film, if this one does; none for an unknown version."""
    return (WHOLE_PICTURE,) if version in VERSIONS[1:] else ()


def to_model_input(picture: Picture, side: int) -> NDArray[np.uint8]:
    """Decode a picture, cut out the film, reject a blank or saturated image, and normalise its exposure.

    Args:
        picture: a file, or grey values.
        side: edge of the model input, in pixels.

    Returns:
        Grey values 0..255, shape (side, side).

    Raises:
        RejectedImage: `empty`, `truncated`, `damaged`, `undecodable`, `cmyk`, `transparent`,
            `too_many_scans`, `needs_memory`, `on_a_page`, `blank` or `saturated`.
    """
    return normalise(checked_grey(picture, side))


def checked_grey(picture: Picture, side: int) -> NDArray[np.uint8]:
    """Like `to_model_input`, but leave the exposure as it was. Training augments the result."""
    return checked_film(picture, side).grey


def checked_film(picture: Picture, side: int, version: str = FILM_ALONE, fineness: float = _FINENESS) -> Film:
    """Decode a picture, cut out the film and reject a blank or saturated image; its exposure stays as it was.

    Arguments are those of `decode_film`, errors those of `to_model_input`.
    """
    film = decode_film(picture, side, version, fineness)
    gate.check_exposure(film.grey)
    return film


def decode_film(picture: Picture, side: int, version: str = FILM_ALONE, fineness: float = _FINENESS) -> Film:
    """Decode a picture to a grey square; its exposure stays as it was.

    The film is scaled to a square without padding, like the published training images.

    Args:
        picture: a file, or grey values.
        side: edge of the square, in pixels.
        version: one of `VERSIONS`.
        fineness: a JPEG is decoded with at least this many times `side` pixels on each side of the film.

    Raises:
        RejectedImage: as `to_model_input`, except `blank` and `saturated`.
    """
    if not len(picture):
        raise RejectedImage("empty")
    try:
        return _decode(picture, side, version, math.ceil(fineness * side))
    except RejectedImage:
        raise
    except NoSingleFilm:
        raise RejectedImage("on_a_page") from None
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
        raise_fault(error)
        raise _as_rejection(error) from error


@dataclass(frozen=True)
class _Decoded:
    """A decoded picture, upright and grey, and its size in the file, also upright."""

    image: Image.Image
    width: int
    height: int


def _decode(source: Picture, side: int, version: str, least: int) -> Film:
    picture = _open(source, least)
    crop = _crop(picture) if version != WHOLE_PICTURE else None
    if crop is not None:
        finer = max(picture.width / crop.width, picture.height / crop.height)
        picture = _open(source, math.ceil(least * finer))
    return Film(_squashed(picture, crop, side), crop, (picture.width, picture.height))


def _open(source: Picture, least: int) -> _Decoded:
    """Decode a picture; a JPEG may be scaled down to no less than `least` pixels on each side."""
    if not isinstance(source, bytes):
        image = Image.fromarray(source)
        return _Decoded(image, *image.size)
    return _open_file(source, least)


def _open_file(data: bytes, least: int) -> _Decoded:
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        if image.width * image.height > LARGEST_PIXELS:
            raise Image.DecompressionBombError
        if image.mode == "CMYK":
            raise RejectedImage("cmyk")
        if isinstance(image, JpegImageFile) and has_too_many_scans(data):
            raise RejectedImage("too_many_scans", limit=MOST_SCANS)
        size = image.size[::-1] if _is_turned(image) else image.size
        return _Decoded(_upright(decode_to_grey(image, data, least)), *size)


def _squashed(picture: _Decoded, part: Box | None, side: int) -> NDArray[np.uint8]:
    """Scale a part of the picture, in pixels of the original, to a square; None: the whole picture."""
    image, box = picture.image, None
    if part is not None:
        # Multiplied first: a part that ends with the picture must end exactly there.
        box = (
            part.left * image.width / picture.width,
            part.top * image.height / picture.height,
            part.right * image.width / picture.width,
            part.bottom * image.height / picture.height,
        )
    return np.array(image.resize((side, side), Image.Resampling.BILINEAR, box), dtype=np.uint8)


def _crop(picture: _Decoded) -> Box | None:
    """Find the film, in pixels of the upright original."""
    image = picture.image
    scale = min(1.0, LONGEST_SIDE / max(image.size))
    reduced = image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BILINEAR
    )
    film = find_film(np.asarray(reduced))
    if film is None:
        return None
    x, y = picture.width / reduced.width, picture.height / reduced.height
    return Box(round(film.left * x), round(film.top * y), round(film.right * x), round(film.bottom * y))


def _upright(image: Image.Image) -> Image.Image:
    """Rotate the image as its EXIF orientation says; broken EXIF data are ignored."""
    try:
        return ImageOps.exif_transpose(image)
    except (*_TRUNCATED, *_DAMAGED) as error:
        raise_fault(error)
        return image


def _is_turned(image: Image.Image) -> bool:
    """Return whether `_upright` swaps width and height."""
    try:
        return image.getexif().get(_ORIENTATION) in _TURNED
    except (*_TRUNCATED, *_DAMAGED) as error:
        raise_fault(error)
        return False


def _as_rejection(error: Exception) -> RejectedImage:
    """Choose between `truncated` and `undecodable`; only the messages of Pillow tell them apart.

    Text in parentheses is dropped, because it can be bytes of the file.
    """
    message = " ".join(str(error).split()).partition(" (")[0].rstrip(".")
    if "truncated" in message.lower():
        return RejectedImage("truncated")
    return RejectedImage("undecodable", detail=message or type(error).__name__)
