"""The three ways in which work on an image ends badly, and what a person is told.

`RejectedImage` is an answer about the image and permanent; `TransientFailure` is about
the surroundings and is tried again; `ModelUnusable` stops the worker.
"""

from __future__ import annotations

# code -> the sentence a person reads. `{...}` are filled by the place that rejects.
REJECTIONS: dict[str, str] = {
    "empty": "The file is empty.",
    "too_many_bytes": "The file has {bytes} bytes; at most {limit} are taken.",
    "not_an_image": "The file is not an image of a kind that Nightread reads (JPEG or PNG).",
    "unsupported_format": "A {format} file is not taken; export the study as JPEG or PNG.",
    "dicom": "A DICOM file cannot be read yet; export the study as JPEG or PNG.",
    "too_many_pixels": "The image says it is {width} x {height} pixels; at most {limit} are taken.",
    "too_small": "The image is {width} x {height} pixels; at least {limit} on each side are needed.",
    "cmyk": "The image has the four inks of a printed page (CMYK), not grey values.",
    "sixteen_bit": "The image has 16 bits a pixel and no window to show it with; export 8 bits.",
    "animated": "The file holds {frames} frames; one still image is needed.",
    "transparent": "The image has an alpha channel, so its grey values are not certain.",
    "too_many_parts": "The file has a longer header, or is cut into more parts, than any radiograph. "
    "Export it again.",
    "too_many_scans": "The JPEG is made of more than {limit} scans. Export it again.",
    "needs_memory": "Decoding the image takes more memory than a scoring process may have "
    "(NIGHTREAD_WORKER_MEMORY_BYTES).",
    "truncated": "The file breaks off before the image is complete.",
    "undecodable": "The image cannot be decoded: {detail}.",
    "blank": "The image shows nothing: its grey values hardly differ.",
    "saturated": "Nearly all of the image is pure black or pure white. "
    "If it is a radiograph, export it again with another window.",
    "inverted": "Black and white seem to be swapped: the lungs are white. Invert the image and drop it again.",
    "turned_right": "The image seems to lie on its side, its top to the right. "
    "Turn it a quarter turn to the left and drop it again.",
    "turned_left": "The image seems to lie on its side, its top to the left. "
    "Turn it a quarter turn to the right and drop it again.",
    "upside_down": "The image seems to be upside down. Turn it by half a turn and drop it again.",
    "lateral": "This seems to be a chest from the side. Only frontal views (PA or AP) are scored.",
    "not_a_chest": "This does not look like a whole chest from the front. "
    "If it is one, read it without a score; nothing was scored.",
    "changed_in_store": "The stored bytes are no longer those that arrived; see the store's disk.",
}


class RejectedImage(Exception):  # noqa: N818 - an outcome, not an error
    """A permanent answer: this image is not scored, and `sentence` says why.

    `code` is a key of `REJECTIONS`; the keyword arguments fill its sentence.
    """

    def __init__(self, code: str, **detail: object) -> None:
        self.code = code
        self.sentence = REJECTIONS[code].format(**detail)
        super().__init__(self.sentence)


class TransientFailure(Exception):  # noqa: N818 - names what happened, as the design does
    """The surroundings failed (disk, network, database): the same work may succeed later."""


class StoreAway(TransientFailure):
    """The whole store is out of reach: that is no image's fault, and counts as no attempt."""


class BrokerAway(TransientFailure):
    """The broker is out of reach: images stay pending in the ledger, and nothing is lost."""


class DiskFull(TransientFailure):
    """A disk is nearly full: nothing more is taken in until there is room again."""


class ModelUnusable(Exception):  # noqa: N818 - names what happened, as the design does
    """The model's bundle is missing, corrupt or foreign: no image may be scored with it."""


class WrongSettings(Exception):  # noqa: N818 - names what happened, as the design does
    """A setting cannot be used; the message has a line for each, and never repeats a password."""


class SchemaOutdated(Exception):  # noqa: N818 - names what happened, as the design does
    """The database is not at the revision that this program needs: nothing may be read or written."""
