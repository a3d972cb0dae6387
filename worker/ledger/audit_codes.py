"""What each kind of event and of access means: words for people, and its code in DICOM where there is one.

The codes are those of DICOM PS3.16, CID 400 (audit event ID) and CID 401 (audit event type), for the messages of
PS3.15, A.5. DICOM has no code for a score or a reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from worker.ledger.accesses import AccessKind


@dataclass(frozen=True)
class Code:
    """A code of the coding scheme DCM, and its meaning."""

    code: str
    meaning: str


class Act(StrEnum):
    """What was done: the event action code of PS3.15, A.5.2."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    DELETE = "D"
    EXECUTE = "E"


@dataclass(frozen=True)
class Meaning:
    """What a kind means.

    Attributes:
        words: for people.
        act: what was done.
        event: code of CID 400; None if DICOM has none.
        type: code of CID 401; None likewise.
        failed: whether something was not allowed or did not work.
    """

    words: str
    act: Act = Act.EXECUTE
    event: Code | None = None
    type: Code | None = None
    failed: bool = False


_LOG_USED = Code("110101", "Audit Log Used")
_ACCESSED = Code("110103", "DICOM Instances Accessed")
_EXPORT = Code("110106", "Export")
_IMPORT = Code("110107", "Import")
_QUERY = Code("110112", "Query")
_ALERT = Code("110113", "Security Alert")
_AUTHENTICATION = Code("110114", "User Authentication")
_LOGIN = Code("110122", "Login")
_LOGOUT = Code("110123", "Logout")
_SOFTWARE_CONFIGURATION = Code("110131", "Software Configuration")
_RESTRICTED = Code("110132", "Use of Restricted Function")
_ROLES = Code("110136", "Security Roles Changed")
_USER = Code("110137", "User Security Attributes Changed")


def _user_changed(words: str, act: Act = Act.UPDATE) -> Meaning:
    return Meaning(words, act, _ALERT, _USER)


def _signed(words: str, code: Code, *, failed: bool = False) -> Meaning:
    return Meaning(words, Act.EXECUTE, _AUTHENTICATION, code, failed)


MEANINGS: dict[str, Meaning] = {
    # Accesses.
    AccessKind.VIEW: Meaning("Image viewed", Act.READ, _ACCESSED),
    AccessKind.PREFETCH: Meaning("Picture fetched ahead", Act.READ, _ACCESSED),
    AccessKind.ORIGINAL: Meaning("Original downloaded", Act.READ, _EXPORT),
    AccessKind.SEARCH: Meaning("Images listed", Act.EXECUTE, _QUERY),
    AccessKind.EXPORT: Meaning("Report exported", Act.READ, _EXPORT),
    AccessKind.REFUSAL: Meaning("Request refused", Act.EXECUTE, _ALERT, _RESTRICTED, failed=True),
    AccessKind.TRAIL: Meaning("Audit trail used", Act.READ, _LOG_USED),
    # Images.
    "received": Meaning("File received", Act.CREATE, _IMPORT),
    "scored": Meaning("Image scored", Act.UPDATE),
    "rejected": Meaning("Image rejected", Act.UPDATE),
    "quarantined": Meaning("Image quarantined", Act.UPDATE),
    "returned": Meaning("Image returned to the queue", Act.UPDATE),
    "retried": Meaning("Retry", Act.UPDATE),
    "rescored": Meaning("Image to be scored again", Act.UPDATE),
    "rescore_seen": Meaning("Image scored again was seen", Act.READ, _ACCESSED),
    "restored": Meaning("Earlier score restored", Act.UPDATE),
    "read": Meaning("Reading recorded", Act.UPDATE),
    "read_amended": Meaning("Reading changed", Act.UPDATE),
    "read_undone": Meaning("Reading undone", Act.UPDATE),
    "claim_taken_over": Meaning("Claim taken over", Act.UPDATE),
    # The program.
    "study_added": Meaning("Study added", Act.CREATE),
    "site_key_made": Meaning("Site key made", Act.CREATE, _ALERT, _SOFTWARE_CONFIGURATION),
    "run_started": Meaning("Run started", Act.CREATE),
    "model_registered": Meaning("Model registered", Act.CREATE, _ALERT, _SOFTWARE_CONFIGURATION),
    "card_replaced": Meaning("Card of a model replaced", Act.UPDATE, _ALERT, _SOFTWARE_CONFIGURATION),
    "operating_point_set": Meaning("Operating point set", Act.UPDATE, _ALERT, _SOFTWARE_CONFIGURATION),
    "thresholds_set": Meaning("Operating point put in force", Act.UPDATE, _ALERT, _SOFTWARE_CONFIGURATION),
    "model_activated": Meaning("Model made active", Act.UPDATE, _ALERT, _SOFTWARE_CONFIGURATION),
    "shadow_set": Meaning("Shadow scoring set", Act.UPDATE, _ALERT, _SOFTWARE_CONFIGURATION),
    "calibration_fitted": Meaning("Site calibration fitted", Act.CREATE),
    "calibration_set": Meaning("Site calibration put in force", Act.UPDATE, _ALERT, _SOFTWARE_CONFIGURATION),
    "calibration_revoked": Meaning("Site calibration revoked", Act.UPDATE, _ALERT, _SOFTWARE_CONFIGURATION),
    "shadow_scored": Meaning("Image scored by a candidate", Act.CREATE),
    "retriaged": Meaning("Unread images triaged again", Act.UPDATE),
    "protocol_set": Meaning("Reading protocol set", Act.UPDATE, _ALERT, _SOFTWARE_CONFIGURATION),
    "tallies_repaired": Meaning("Tallies counted again", Act.UPDATE),
    # The trail.
    "checkpoint_signed": Meaning("Checkpoint signed", Act.CREATE),
    "accesses_chained": Meaning("Accesses chained", Act.CREATE),
    "trail_verification_started": Meaning("Verification of the audit trail started", Act.EXECUTE, _LOG_USED),
    "trail_verified": Meaning("Audit trail verified", Act.READ, _LOG_USED),
    # People.
    "reader_added": _user_changed("Reader added", Act.CREATE),
    "user_added": _user_changed("Person added", Act.CREATE),
    "identity_added": _user_changed("Identity of the sign-in service added", Act.CREATE),
    "user_named": _user_changed("Person renamed"),
    "user_disabled": _user_changed("Person disabled"),
    "user_enabled": _user_changed("Person enabled"),
    "user_roles_set": Meaning("Roles changed", Act.UPDATE, _ALERT, _ROLES),
    "token_added": _user_changed("API token added", Act.CREATE),
    "token_revoked": _user_changed("API token revoked", Act.DELETE),
    "passphrase_set": _user_changed("Passphrase set"),
    "passphrase_reset": _user_changed("Passphrase reset"),
    "passphrase_rehashed": _user_changed("Passphrase hashed anew"),
    "totp_added": _user_changed("Authenticator app added", Act.CREATE),
    "totp_removed": _user_changed("Authenticator app removed", Act.DELETE),
    "recovery_code_used": _user_changed("Recovery code used"),
    "passkey_added": _user_changed("Passkey added", Act.CREATE),
    "passkey_removed": _user_changed("Passkey removed", Act.DELETE),
    "sign_in_link_made": _user_changed("Sign-in link made", Act.CREATE),
    "signed_in": _signed("Signed in", _LOGIN),
    "sign_in_failed": _signed("Sign-in failed", _LOGIN, failed=True),
    "signed_out": _signed("Signed out", _LOGOUT),
    "session_ended": _signed("Session ended by somebody", _LOGOUT),
    # Erasure.
    "erased": Meaning("Personal data erased", Act.DELETE),
    "bytes_removed": Meaning("Stored bytes removed", Act.DELETE),
    "name_erased": Meaning("Name of a run erased", Act.DELETE),
    "study_erased": Meaning("Personal data of a study erased", Act.DELETE),
    # Retention.
    "numbers_erased": Meaning("UIDs of an image erased", Act.DELETE),
    "study_numbers_erased": Meaning("UID and accession number of a study erased", Act.DELETE),
    "names_erased": Meaning("Names of files erased", Act.DELETE),
    "texts_erased": Meaning("Notes or reasons erased", Act.DELETE),
    "access_reasons_erased": Meaning("Reasons for downloads erased", Act.DELETE),
    "renditions_removed": Meaning("Renditions removed", Act.DELETE),
    "sessions_removed": Meaning("Records of sessions removed", Act.DELETE),
    "sign_in_links_removed": Meaning("Records of sign-in links removed", Act.DELETE),
}


def meaning(kind: str) -> Meaning:
    """Return what a kind means. A kind of another version has only its name."""
    return MEANINGS.get(kind) or Meaning(kind.replace("_", " ").capitalize())
