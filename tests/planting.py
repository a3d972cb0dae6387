"""Objects with a name in every attribute that can hold a text, and where the name is afterwards."""

from __future__ import annotations

from pathlib import Path

from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import Dataset

NAME = "ZWETSCHGE"
TEXTS = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
# These hold no text; a device that fills them wrongly may have anything in them.
_OTHERS = {"AS", "DA", "DT", "TM", "UI"}
# Without these, the object is none that can be scored: it would prove less.
NEEDED = {"BodyPartExamined", "PhotometricInterpretation", "SOPClassUID", "SpecificCharacterSet"}
_LUTS = {"ModalityLUTSequence", "VOILUTSequence"}


def plant(dataset: Dataset, but: set[str]) -> None:
    """Put the name into every attribute that can hold it, into a private one, and into the items of every sequence.

    pydicom must not validate what it writes.
    """
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        # Overlays and curves have their attributes in groups of their own, and commands none in a file.
        if retired or not 0x00080000 < tag < 0x50000000 or keyword in but:
            continue
        if vr in TEXTS | _OTHERS:
            dataset.add_new(tag, vr, NAME)
        elif vr == "SQ" and keyword not in _LUTS:
            item = Dataset()
            item.CodeValue = item.CodeMeaning = item.PatientName = item.ReferencedSOPInstanceUID = NAME
            dataset.add_new(tag, vr, [item])
    dataset.private_block(0x0019, NAME, create=True).add_new(1, "LO", NAME)


def files_with_the_name(data: Path) -> list[str]:
    """Return the files of the data folder that hold the name, but for originals."""
    originals = data / "store" / "images", data / "store" / "turned-away"
    return [
        str(path)
        for path in data.rglob("*")
        if path.is_file()
        and not any(path.is_relative_to(folder) for folder in originals)
        and NAME.encode() in path.read_bytes()
    ]
