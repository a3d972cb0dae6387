"""The pseudonymous key of a patient: a keyed hash of the patient ID. Only who has the site key can make one.

Patient IDs are short, so without a key anybody could hash all of them and compare. The site key is made once and kept in
a file outside the database.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata

# Stands in no issuer and no patient ID: both lose it, as padding.
_SEPARATOR = "\0"
_FINGERPRINT_OF = b"fingerprint of the site key"
# What devices and anonymisers write if they know no patient ID. All such patients would be one.
_PLACEHOLDERS = {
    "ANON", "ANONYM", "ANONYMIZED", "ANONYMISED", "ANONYMOUS", "DUMMY", "EMPTY", "N/A", "NA", "NIL", "NO ID", "NOID",
    "NONE", "NULL", "REMOVED", "UNBEKANNT", "UNKNOWN", "UNDEFINED", "XXX",
}  # fmt: skip
# Only zeros, or no letter or digit at all.
_EMPTY = re.compile(r"0+|[\W_]*")


def patient_key(issuer: str | None, patient_id: str | None, site_key: bytes) -> str | None:
    """Return the key of a patient: HMAC-SHA-256 (RFC 2104) of issuer and patient ID, 64 hexadecimal digits.

    None if there is no patient ID, or only a placeholder such as `UNKNOWN`: then the patient is not known, and no image
    is another one's earlier image.
    """
    number = _normal(patient_id)
    if _EMPTY.fullmatch(number) or number.upper() in _PLACEHOLDERS:
        return None
    text = f"{_normal(issuer)}{_SEPARATOR}{number}"
    return hmac.digest(site_key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hex()


def fingerprint(site_key: bytes) -> str:
    """Return what recognises a site key without telling anything of it: 64 hexadecimal digits."""
    return hmac.digest(site_key, _FINGERPRINT_OF, hashlib.sha256).hex()


def _normal(text: str | None) -> str:
    return unicodedata.normalize("NFC", text or "").replace(_SEPARATOR, "").strip()
