"""The errors that end work on an image, and the sentences that people read about them.

`RejectedImage` is a permanent answer about one image. `TransientFailure` is about the surroundings, and the
same work is tried again. `ModelUnusable` stops the worker.
"""

from __future__ import annotations

import errno

# code -> the sentence that a person reads. The code that rejects fills `{...}`.
REJECTIONS: dict[str, str] = {
    "empty": "The file is empty.",
    "too_many_bytes": "The file has {bytes} bytes; the limit is {limit}.",
    "not_an_image": "The file is not an image that Nightread can read (DICOM, JPEG or PNG).",
    "unsupported_format": "Nightread does not read {format} files. Send the study as DICOM, JPEG or PNG.",
    "dicom_not_installed": "Nightread was installed without DICOM. Install its extra `dicom`, restart it and retry the image.",
    "dicom_damaged": "The DICOM object is damaged: its header cannot be read. Send it again.",
    "dicom_transfer_syntax": "Nightread does not read the DICOM transfer syntax {syntax}. "
    "Send the object uncompressed, or as JPEG, JPEG-LS, JPEG 2000 or RLE.",
    "dicom_tag_missing": "The DICOM object has no {tag}, so its grey values are not known. Send it again from its source.",
    "dicom_tag_wrong": "The DICOM object states {value} as {tag}, which Nightread does not read. "
    "Send a grey image of one frame, as the modality made it.",
    "dicom_tag_unreadable": "The value of {tag} in the DICOM object cannot be read. Send it again from its source.",
    "dicom_high_bit": "The DICOM object states HighBit {high_bit} (0028,0102), but its BitsStored {bits_stored} (0028,0101) "
    "needs {needed}, so its grey values are not known.",
    "dicom_frame_size": "The compressed picture in the DICOM object has {width} x {height} pixels, "
    "but Columns (0028,0011) and Rows (0028,0010) state {columns} x {rows}.",
    "dicom_pixel_bytes": "The DICOM object has {bytes} bytes of pixels, but Columns (0028,0011), Rows (0028,0010) and BitsAllocated "
    "(0028,0100) state {columns} x {rows} of {allocated} bits, which are {stated} bytes. Send it again from its source.",
    "dicom_frame_kind": "The compressed picture in the DICOM object is not what its transfer syntax (0002,0010) states.",
    "dicom_pixels_damaged": "The compressed picture in the DICOM object is damaged. Send it again.",
    "dicom_needs_memory": "Decoding the DICOM object needs more memory than NIGHTREAD_DICOM_MEMORY_BYTES allows. "
    "Raise it, restart Nightread and retry the image.",
    "dicom_needs_time": "Decoding the DICOM object takes longer than NIGHTREAD_DICOM_S allows. "
    "Raise it, restart Nightread and retry the image.",
    "dicom_decoder_failed": "The DICOM object cannot be decoded: its decoder failed.",
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
    "no_lungs": "No lungs were found in this image, so it was not scored. If it is a frontal chest radiograph, read it without "
    "a score.",
    "dicom_other_object": "The DICOM object is {kind}, as its SOP class (0008,0016) says. Nightread scores CR and DX images. "
    "Send the CR or DX image of the chest.",
    "dicom_other_modality": "The DICOM object states {stated} (0008,0060). Nightread scores CR and DX images. "
    "Send the CR or DX image of the chest.",
    "dicom_secondary_capture": "The DICOM object is a secondary capture, as its SOP class (0008,0016) says: its grey values may be "
    "those of a screen. Send the CR or DX image itself.",
    "dicom_for_processing": "The DICOM object is for processing, as {tag} says, so its grey values are not those that people "
    "read. Send the image that is for presentation.",
    "dicom_no_pixels": "The DICOM object has no picture: {tag} is missing, or not a size. Send the CR or DX image of the chest.",
    "dicom_multi_frame": "The DICOM object has {frames} frames (0028,0008). Send each image as an object of its own.",
    "dicom_colour": "The DICOM object is in colour, as {tag} says. Send the grey image (MONOCHROME1 or MONOCHROME2).",
    "dicom_palette": "The grey values of the DICOM object are numbers of colours in a palette, as {tag} says. "
    "Send the grey image (MONOCHROME1 or MONOCHROME2).",
    "dicom_other_body_part": "The DICOM object states {stated} ({tag}). Nightread scores frontal chest images. If this is one, "
    "have the device state CHEST, and send it again.",
    "dicom_other_view": "The DICOM object states {stated} ({tag}). Nightread scores frontal views only (PA or AP).",
    "stated_view": "The view was stated as {view}. Nightread scores frontal views only (PA or AP).",
    "outside_population": "The patient's age lies outside of those for which the model's figures hold ({ages}), and the setting "
    "NIGHTREAD_OUTSIDE_POPULATION says not to score such images. Read the image without a score.",
    "unknown_age": "The patient's age is not known, so nobody can tell whether the model's figures hold ({ages}), and the "
    "settings say not to score such images. Read the image without a score, or send the age with the image.",
    "header_defect": "Nightread cannot read the header of this file, and has no rule for it. The file is kept. Report the place "
    "that the log names, and retry the image after an update.",
    "changed_in_store": "The stored bytes have changed since the file arrived. Check the disk of the image store.",
}

# Codes for which a file is rejected again, whatever the settings, the machine and the model bundle: only another version of
# Nightread may take it. A retry may help with every other code.
LASTING = frozenset({
    "empty", "not_an_image", "unsupported_format", "cmyk", "sixteen_bit", "unsupported_jpeg", "animated", "transparent",
    "too_many_parts", "too_many_scans", "truncated", "damaged", "undecodable", "stated_view",
    "dicom_damaged", "dicom_transfer_syntax", "dicom_tag_missing", "dicom_tag_wrong", "dicom_tag_unreadable",
    "dicom_high_bit", "dicom_frame_size", "dicom_pixel_bytes", "dicom_frame_kind", "dicom_pixels_damaged",
    "dicom_other_object", "dicom_other_modality", "dicom_secondary_capture", "dicom_for_processing", "dicom_no_pixels",
    "dicom_multi_frame", "dicom_colour", "dicom_palette", "dicom_other_body_part", "dicom_other_view",
})  # fmt: skip


def raise_fault(error: BaseException) -> None:
    """Raise an error again if it is a fault of this machine, such as a disk that cannot be read: it says nothing of a file.

    A failed system call has a number (errno(3)). Libraries raise OSError without one for damaged data. EINVAL comes from
    a position that the file itself states (lseek(2)).
    """
    if isinstance(error, OSError) and error.errno not in {None, errno.EINVAL}:
        raise error


class RejectedImage(Exception):  # noqa: N818 - an outcome, not an error
    """A permanent answer: this image is not scored, and `sentence` gives the reason.

    `code` is a key of `REJECTIONS`; the keyword arguments (`detail`) fill its sentence.
    """

    def __init__(self, code: str, **detail: object) -> None:
        self.code, self.detail = code, detail
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
