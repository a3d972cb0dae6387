"""The terms of DICOM by which a header says what an image shows, and those of them that a sentence may repeat.

A sentence stands in the ledger, in logs and in reports. So it repeats no value of a header that is not in these tables:
anybody can have written a name into any attribute.
"""

from __future__ import annotations

import re

# SOP classes (PS3.4, B.5).
CR = "1.2.840.10008.5.1.4.1.1.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
# What an object of another SOP class is, by the beginning of its UID; the longest beginning counts.
_OBJECTS = {
    "1.2.840.10008.1.3.10": "a DICOMDIR",
    "1.2.840.10008.5.1.4.1.1.1.2": "a mammogram",
    "1.2.840.10008.5.1.4.1.1.1.3": "an intra-oral image",
    "1.2.840.10008.5.1.4.1.1.2": "a CT image",
    "1.2.840.10008.5.1.4.1.1.3": "an ultrasound image",
    "1.2.840.10008.5.1.4.1.1.4": "an MR image",
    "1.2.840.10008.5.1.4.1.1.5": "an image of nuclear medicine",
    "1.2.840.10008.5.1.4.1.1.6": "an ultrasound image",
    "1.2.840.10008.5.1.4.1.1.9": "a waveform",
    "1.2.840.10008.5.1.4.1.1.11": "a presentation state without pixels",
    "1.2.840.10008.5.1.4.1.1.12": "an X-ray angiography or fluoroscopy",
    "1.2.840.10008.5.1.4.1.1.13": "a tomosynthesis or a 3D X-ray image",
    "1.2.840.10008.5.1.4.1.1.20": "an image of nuclear medicine",
    "1.2.840.10008.5.1.4.1.1.66": "raw data, a registration or a segmentation",
    "1.2.840.10008.5.1.4.1.1.77": "a photograph or a microscope image",
    "1.2.840.10008.5.1.4.1.1.88": "a structured report without pixels",
    "1.2.840.10008.5.1.4.1.1.88.59": "a key object selection without pixels",
    "1.2.840.10008.5.1.4.1.1.104": "a document without pixels",
    "1.2.840.10008.5.1.4.1.1.128": "a PET image",
    "1.2.840.10008.5.1.4.1.1.130": "a PET image",
    "1.2.840.10008.5.1.4.1.1.481": "an object of radiotherapy",
}

# Modalities (PS3.3, C.7.3.1.1.1). RG is a scanned film. OT and unknown ones say nothing: the image gate decides.
_MODALITIES_TAKEN = {"CR", "DX", "RG", "XR", "OT", ""}
MODALITIES = {
    "BDUS", "BI", "BMD", "CT", "DG", "DOC", "ECG", "ES", "GM", "IO", "IVUS", "KO", "MG", "MR", "NM", "OP", "OPT", "PR",
    "PT", "PX", "REG", "RF", "RTDOSE", "RTIMAGE", "RTPLAN", "RTRECORD", "RTSTRUCT", "SC", "SEG", "SM", "SR", "US", "XA", "XC",
}  # fmt: skip

# Beginnings of words for the chest, in the languages of the devices, and what leaves it open (PS3.16, Annex L).
_CHEST = re.compile(
    r"CHEST|CXR|THORA|TORAX|TORAC|TÓRAX|LUNG|PULM|POUMON|BRUSTK|BRYST|BORST|MEDIASTIN|WHOLEBODY|TRUNK"
)
# Words for the chest are in the names of the thoracic spine, too.
_SPINE = re.compile(r"SPINE|LUMBA|WIRBEL|COLUMN|RACHIS")
_OPEN = {
    "",
    "BODY",
    "DEFAULT",
    "GENERAL",
    "NA",
    "NONE",
    "OTHER",
    "STANDARD",
    "UNDEFINED",
    "UNKNOWN",
    "UNSPECIFIED",
}
_BODY_PARTS = {
    "ABD", "ABDOMEN", "ABDOMENPELVIS", "ACJ", "ADRENAL", "ANKLE", "AORTA", "ARM", "AXILLA", "BACK", "BLADDER", "BONE",
    "BRAIN", "BREAST", "BRONCHUS", "BUTTOCK", "CALCANEUS", "CALF", "CAROTID", "CERVICAL", "CERVIX", "CHEEK",
    "CLAVICLE", "COCCYX", "COLON", "CORONARYARTERY", "CSPINE", "CTSPINE", "DENTAL", "DUODENUM", "EAR", "ELBOW",
    "ESOPHAGUS", "EXTREMITY", "EYE", "FACE", "FEMUR", "FIBULA", "FINGER", "FINGERS", "FOOT", "FOREARM", "GALLBLADDER",
    "HAND", "HEAD", "HEADNECK", "HEART", "HEEL", "HIP", "HIPS", "HUMERUS", "IAC", "ILEUM", "ILIUM", "JAW", "JEJUNUM",
    "JOINT", "KIDNEY", "KNEE", "KNEES", "KUB", "L", "LARYNX", "LEFT", "LEG", "LEGS", "LIVER", "LOWER", "LSPINE",
    "LSSPINE", "LUMBAR", "MANDIBLE", "MAXILLA", "MOUTH", "NASAL", "NECK", "NOSE", "ORBIT", "ORBITS", "PANCREAS",
    "PAROTID", "PATELLA", "PELVIS", "PHARYNX", "PROSTATE", "R", "RADIUS", "RECTUM", "RIB", "RIBS", "RIGHT", "SACRUM",
    "SCALP", "SCAPULA", "SHOULDER", "SINUS", "SINUSES", "SKULL", "SPINE", "SPLEEN", "SSPINE", "STERNUM", "STOMACH",
    "TEETH", "TEMPORAL", "THIGH", "THORACIC", "THUMB", "THYROID", "TIBIA", "TLSPINE", "TMJ", "TOE", "TOES", "TONGUE",
    "TOOTH", "TRACHEA", "TSPINE", "ULNA", "UPPER", "URETER", "UTERUS", "WRIST", "ZYGOMA",
}  # fmt: skip
# Regions that hold the chest, in SNOMED CT and in its older codes (PS3.16, CID 4 and CID 4009).
CHEST_REGIONS = {
    "816094009", "51185008", "T-D3000", "43799004", "T-D3200", "39607008", "T-28000", "72410000", "T-D3300",
    "416550000", "R-FAB55", "416775004", "R-FAB56", "417437006", "R-FAB52", "416152001", "R-FAB53", "416319003", "R-FAB54",
    "416949008", "R-FAB57", "38266002", "T-D0010", "22943007", "T-D2000", "706342009",
}  # fmt: skip
_REGION_CODE = re.compile(r"\d{6,18}|[A-Z]{1,2}-[0-9A-F]{4,6}")

# View positions (PS3.3, C.8.1.2.1.1), and what devices write for them.
FRONTAL_VIEWS = {"PA", "AP"}
_SIDE_VIEWS = {
    "LL", "RL", "LLD", "RLD", "LLO", "RLO", "LAT", "LATERAL", "LLAT", "RLAT", "LEFT LATERAL", "RIGHT LATERAL", "L LAT",
    "R LAT", "LAO", "RAO", "LPO", "RPO", "OBLIQUE", "DECUB", "DECUBITUS", "PROFIL", "PROFILE", "PERFIL",
}  # fmt: skip
_SIDE = re.compile(r"(\b|_)(LAT|LATERAL|OBLIQUE|DECUB\w*|PROFILE?|PERFIL)(\b|_)")
# View codes (PS3.16, CID 4010) in SNOMED CT and in its older codes.
VIEW_CODES = {
    "272479007": "PA", "R-10214": "PA", "R-40888": "PA", "399348003": "AP", "R-10206": "AP", "399173006": "LL",
    "R-10236": "LL", "399198007": "RL", "R-10232": "RL", "399067008": "LATERAL", "R-102CD": "LATERAL",
}  # fmt: skip

COLOURS = ("RGB", "YBR", "HSV", "ARGB", "CMYK")
PALETTE = "PALETTE COLOR"

_MANUFACTURERS = {
    "AGFA": "Agfa", "ALLENGERS": "Allengers", "CANON": "Canon", "CARESTREAM": "Carestream", "DEL MEDICAL": "Del Medical",
    "DELFT": "Delft", "DRGEM": "DRGEM", "DRTECH": "DRTECH", "DUERR": "Duerr", "EIZO": "Eizo", "FUJI": "Fujifilm",
    "GE HEALTHCARE": "GE", "GE MEDICAL": "GE", "GENERAL ELECTRIC": "GE", "GMM": "GMM", "HITACHI": "Hitachi",
    "HOLOGIC": "Hologic", "IDC": "IDC", "IMAGING DYNAMICS": "IDC", "ITALRAY": "Italray", "KODAK": "Kodak", "KONICA": "Konica Minolta",
    "LUMISYS": "Lumisys", "MINDRAY": "Mindray", "OEHM": "Oehm und Rehbein", "PHILIPS": "Philips", "RAYENCE": "Rayence",
    "SAMSUNG": "Samsung", "SEDECAL": "Sedecal", "SHIMADZU": "Shimadzu", "SIEMENS": "Siemens", "STERLING": "Sterling",
    "SWISSRAY": "Swissray", "TOSHIBA": "Toshiba", "TRIXELL": "Trixell", "UNITED IMAGING": "United Imaging", "VAREX": "Varex",
    "VARIAN": "Varian", "VIDAR": "Vidar", "VIEWORKS": "Vieworks", "VILLA": "Villa", "WANDONG": "Wandong", "ZIEHM": "Ziehm",
}  # fmt: skip


def object_of(sop_class: str) -> str:
    """Return what an object of another SOP class than CR and DX is, with its article."""
    beginnings = [known for known in _OBJECTS if f"{sop_class}.".startswith(f"{known}.")]
    return _OBJECTS[max(beginnings, key=len)] if beginnings else "an object of another kind"


def is_secondary_capture(sop_class: str) -> bool:
    """Return whether a SOP class is one of those for secondary captures."""
    return f"{sop_class}.".startswith(f"{SECONDARY_CAPTURE}.")


def is_other_modality(modality: str) -> bool:
    """Return whether a modality is certainly not that of a radiograph."""
    return modality.upper() not in _MODALITIES_TAKEN and modality.upper() in MODALITIES


def is_other_body_part(stated: str) -> bool:
    """Return whether a body part is stated that is not the chest. A region that holds the chest is not another one."""
    plain = re.sub(r"[\s_/-]+", "", stated.upper())
    return plain not in _OPEN and (_CHEST.search(plain) is None or _SPINE.search(plain) is not None)


def is_known_body_part(stated: str) -> bool:
    """Return whether all words of a body part are known ones, so that a sentence may repeat it."""
    words = re.split(r"[\s_/-]+", stated.upper())
    return set(words) <= _BODY_PARTS


def is_region_code(code: str) -> bool:
    """Return whether a text looks like a code of SNOMED and like nothing else."""
    return _REGION_CODE.fullmatch(code) is not None


def is_side_view(stated: str) -> bool:
    """Return whether a view is stated that is lateral, oblique, or taken of a person who lies on a side."""
    return stated.upper() in _SIDE_VIEWS or _SIDE.search(stated.upper()) is not None


def is_known_view(stated: str) -> bool:
    """Return whether a view is one of the known terms, so that it may be kept and repeated."""
    return stated.upper() in FRONTAL_VIEWS | _SIDE_VIEWS


def manufacturer_of(stated: str) -> str | None:
    """Return the name of a known manufacturer, `other`, or None if none is stated. The attribute itself is free text."""
    upper = re.sub(r"[\W_]+", " ", stated.upper()).strip()
    known = [name for word, name in _MANUFACTURERS.items() if re.search(rf"\b{word}", upper)]
    if known:
        return known[0]
    if upper == "GE":
        return "GE"
    return "other" if upper else None
