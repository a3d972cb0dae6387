"""Draws the renditions of a JPEG or PNG file, or of a DICOM object. Only the bounded process runs this.

The full rendition is a PNG: it shows exactly the decoded grey values, in up to 16 bits, and every browser reads it. For
a JPEG it is about twice as large as the original. WebP holds 8 bits only and takes ten times as long to write without
loss; another JPEG would compress a compressed picture again. The small renditions are JPEG files. Only pixels are
copied: no metadata, no profile, no comment.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

from PIL import Image, ImageOps, PngImagePlugin
from PIL.JpegImagePlugin import JpegImageFile

from worker.dicom.facts import GreyFacts, Voi
from worker.dicom.reading import START_BYTES, is_dicom, read_header
from worker.errors import RejectedImage, raise_fault
from worker.imagefile.grey_range import HIGHEST, robust_range, spread
from worker.imagefile.limits import LONGEST_HEADER, check_parts
from worker.imagefile.scans import MOST_SCANS, has_too_many_scans
from worker.renditions.pack import Facts, Kind

if TYPE_CHECKING:
    # The process that makes renditions needs NumPy for few files, and would need 0.1 s to import it.
    import numpy as np
    from numpy.typing import NDArray

_SIXTEEN_BITS = 16
# Above the 4,300 x 3,500 pixels of the largest detectors by a few per cent only; a hundred megapixels shrink to 16.
LONGEST_SIDE = {Kind.FULL: 4096, Kind.VALUES: 4096, Kind.PREVIEW: 480, Kind.THUMBNAIL: 160}
_FORMATS = ("JPEG", "PNG")
# The exceptions that Pillow raises for damaged files.
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, struct.error)


def draw(data: bytes, max_pixels: int) -> tuple[Facts, dict[Kind, bytes]]:
    """Decode a file and return its renditions, grey and upright.

    Raises:
        RejectedImage: the file cannot be shown, for the reason in its sentence.
        MemoryError: the process may use too little memory.
    """
    if is_dicom(data[:START_BYTES]):
        return _object(data, max_pixels)
    check_parts(io.BytesIO(data))
    # Our own limit is checked below, before anything is decoded.
    Image.MAX_IMAGE_PIXELS = None
    PngImagePlugin.MAX_TEXT_MEMORY = LONGEST_HEADER
    try:
        size, grey = _decode(data, max_pixels)
    except RejectedImage:
        raise
    except _DAMAGED as error:
        raise_fault(error)
        raise RejectedImage("undecodable", detail="it is damaged, or neither JPEG nor PNG") from error
    if grey.mode == "L":
        return Facts(*size, bits=8), _encoded(grey, grey)
    return _sixteen_bit(size, grey)


def _decode(data: bytes, max_pixels: int) -> tuple[tuple[int, int], Image.Image]:
    """Return the upright size of the original, and its grey picture of mode L or I;16."""
    side = LONGEST_SIDE[Kind.FULL]
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        _check(image, data, max_pixels)
        turned = _orientation(image) in {5, 6, 7, 8}
        size = (image.height, image.width) if turned else image.size
        # The JPEG decoder shrinks by 1/2, 1/4 or 1/8 at nearly no cost.
        image.draft("L", (side, side))
        image.load()
        grey = image if image.mode.startswith("I") else image.convert("L")
        if grey.mode == "I":
            grey = grey.convert("I;16")
        grey.thumbnail((side, side))
        return size, _upright(grey)


def _check(image: Image.Image, data: bytes, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise RejectedImage("too_many_pixels", width=image.width, height=image.height, limit=max_pixels)
    if isinstance(image, JpegImageFile) and has_too_many_scans(data):
        raise RejectedImage("too_many_scans", limit=MOST_SCANS)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; broken EXIF data are ignored."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except _DAMAGED as error:
        raise_fault(error)
        return 1


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _DAMAGED as error:
        raise_fault(error)
        return image


def _sixteen_bit(size: tuple[int, int], grey: Image.Image) -> tuple[Facts, dict[Kind, bytes]]:
    """Spread the range of the picture over 16 bits, so that a browser, which shows the upper 8, shows all of it."""
    import numpy as np

    values = np.asarray(grey, dtype=np.uint16)
    low, high = robust_range(values)
    shown = spread(values, low, high, HIGHEST)
    eight_bits = Image.fromarray((shown >> 8).astype(np.uint8))
    lowest, highest = int(values.min()), int(values.max())
    grey_facts = GreyFacts(
        stored_bits=_SIXTEEN_BITS,
        lowest=lowest,
        highest=highest,
        voi=Voi.RANGE,
        voi_low=low,
        voi_high=high,
        voi_number=0,
        voi_count=0,
        center=None,
        width=None,
        function=None,
        inverted=False,
        spacing=None,
        notes=(),
    )
    facts = Facts(*size, bits=_SIXTEEN_BITS, grey=grey_facts.as_dict())
    codes = spread(values, lowest, highest, HIGHEST)
    return facts, _encoded(Image.fromarray(shown), eight_bits, codes)


def _object(data: bytes, max_pixels: int) -> tuple[Facts, dict[Kind, bytes]]:
    """Draw a DICOM object: what its grey scale shows, in 16 bits, and the values behind it."""
    import numpy as np

    from worker.dicom.form import form_of
    from worker.dicom.picture import decode

    form = form_of(read_header(io.BytesIO(data), len(data)))
    if form.rows * form.columns > max_pixels:
        raise RejectedImage("too_many_pixels", width=form.columns, height=form.rows, limit=max_pixels)
    picture = decode(data)
    shown, codes = (_shrunk(values) for values in (picture.presentation, picture.codes))
    eight_bits = Image.fromarray((shown >> 8).astype(np.uint8))
    facts = Facts(form.columns, form.rows, bits=_SIXTEEN_BITS, grey=picture.facts.as_dict())
    return facts, _encoded(Image.fromarray(shown), eight_bits, codes)


def _shrunk(values: NDArray[np.uint16]) -> NDArray[np.uint16]:
    import numpy as np

    side = LONGEST_SIDE[Kind.FULL]
    if max(values.shape) <= side:
        return values
    image = Image.fromarray(values)
    image.thumbnail((side, side))
    return np.asarray(image, dtype=np.uint16)


def _encoded(
    full: Image.Image, shown: Image.Image, codes: NDArray[np.uint16] | None = None
) -> dict[Kind, bytes]:
    """Encode the full rendition, its values, and the small ones from `shown`, which has 8 bits."""
    pictures = {Kind.FULL: _png(full)}
    if codes is not None:
        pictures[Kind.VALUES] = _png(_in_two_colours(codes))
    for kind in (Kind.PREVIEW, Kind.THUMBNAIL):
        shown.thumbnail((LONGEST_SIDE[kind], LONGEST_SIDE[kind]))
        pictures[kind] = _jpeg(shown)
    return pictures


def _in_two_colours(codes: NDArray[np.uint16]) -> Image.Image:
    import numpy as np

    colours = np.zeros((*codes.shape, 3), dtype=np.uint8)
    colours[..., 0], colours[..., 1] = codes >> 8, codes & 0xFF
    return Image.fromarray(colours)


def _jpeg(image: Image.Image) -> bytes:
    image.info = {}
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _png(image: Image.Image) -> bytes:
    image.info = {}
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()
