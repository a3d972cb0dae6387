"""The errors that end work on an image, and the sentences that people read about them.

`RejectedImage` is a permanent answer about one image. `TransientFailure` is about the surroundings, and the
same work is tried again. `ModelUnusable` stops the worker.
"""

from __future__ import annotations

# code -> the sentence that a person reads. The code that rejects fills `{...}`.
REJECTIONS: dict[str, str] = {
    "empty": "The file is empty.",
    "too_many_bytes": "The file has {bytes} bytes; the limit is {limit}.",
    "not_an_image": "The file is not an image that Nightread can read (JPEG or PNG).",
    "unsupported_format": "Nightread does not read {format} files. Export the study as JPEG or PNG.",
    "dicom": "Nightread cannot read DICOM files yet. Export the study as JPEG or PNG.",
    "too_many_pixels": "The image has {width} x {height} pixels; the limit is {limit} pixels.",
    "too_small": "The image has {width} x {height} pixels; each side needs at least {limit} pixels.",
    "cmyk": "The image has the four ink colours of print (CMYK) instead of grey values.",
    "sixteen_bit": "The image has 16 bits per colour. Export it in grey, or with 8 bits.",
    "unsupported_jpeg": "Nightread does not read {kind} files. Export the image as an ordinary JPEG with 8 bits, or as PNG.",
    "animated": "The file contains {frames} frames. Export a single image.",
    "transparent": "Parts of the image are transparent, so its grey values are ambiguous. Export it without transparency.",
    "too_many_parts": "The file has a longer header, or more parts, than any radiograph. Export it again.",
    "too_many_scans": "The JPEG has more than {limit} scans. Export it again.",
    "needs_memory": "Decoding the image needs more memory than a scoring process may use. "
    "Raise NIGHTREAD_WORKER_MEMORY_BYTES, restart Nightread and retry the image.",
    "truncated": "The file ends before the image is complete.",
    "damaged": "The file is damaged: part of the image is missing or wrong. Send it again.",
    "undecodable": "The image cannot be decoded: {detail}.",
    "blank": "The image is blank: its grey values hardly differ.",
    "saturated": "Nearly all of the image is pure black or pure white. "
    "If it is a radiograph, export it again with another window.",
    "on_a_page": "The film lies on a page or a margin from which it cannot be cut out reliably. "
    "Export the film alone and send it again.",
    "film_too_small": "The film on the page has {width} x {height} pixels; each side needs at least {limit} pixels. "
    "Export the film alone.",
    "inverted": "Black and white seem to be swapped: the lungs are white. Invert the image and send it again.",
    "turned_right": "The image seems to lie on its side, with its top to the right. "
    "Rotate it a quarter turn to the left and send it again.",
    "turned_left": "The image seems to lie on its side, with its top to the left. "
    "Rotate it a quarter turn to the right and send it again.",
    "upside_down": "The image seems to be upside down. Rotate it by half a turn and send it again.",
    "lateral": "This seems to be a lateral view. Nightread scores frontal views only (PA or AP).",
    "not_a_chest": "This does not look like a complete frontal chest radiograph, so it was not scored. "
    "If it is one, read it without a score.",
    "changed_in_store": "The stored bytes have changed since the file arrived. Check the disk of the image store.",
}


class RejectedImage(Exception):  # noqa: N818 - an outcome, not an error
    """A permanent answer: this image is not scored, and `sentence` gives the reason.

    `code` is a key of `REJECTIONS`; the keyword arguments fill its sentence.
    """

    def __init__(self, code: str, **detail: object) -> None:
        self.code = code
        self.sentence = REJECTIONS[code].format(**detail)
        super().__init__(self.sentence)


class TransientFailure(Exception):  # noqa: N818 - the name says what happened
    """The disk, the network or the database failed: the same work may succeed later."""


class DatabaseAway(TransientFailure):
    """The database is out of reach, locked, full or read-only."""


class StoreAway(TransientFailure):
    """The image store is out of reach. No image is at fault, so this counts as no attempt."""


class BrokerAway(TransientFailure):
    """The broker is out of reach. Images stay pending in the ledger, and nothing is lost."""


class DiskFull(TransientFailure):
    """A disk is nearly full. No file is accepted until there is free space again."""


class ModelUnusable(Exception):  # noqa: N818 - the name says what happened
    """The model bundle is missing, corrupt or incompatible: it must not score any image."""


class WrongSettings(Exception):  # noqa: N818 - the name says what happened
    """Settings are not valid. The message has one line for each such setting, and never repeats a password."""


class SchemaOutdated(Exception):  # noqa: N818 - the name says what happened
    """The database schema is not at the revision that this program needs: it must not be used."""
