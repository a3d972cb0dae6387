"""TLS of the receiver (PS3.15, B): version 1.2 or later."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

from worker.config import Settings
from worker.errors import WrongSettings

_OTHERS = stat.S_IROTH | stat.S_IWOTH


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Return what connections are wrapped with; None without TLS.

    With `dicom_tls_ca`, a sender must show a certificate that one of these authorities has signed.

    Raises WrongSettings: a file cannot be used.
    """
    if not settings.dicom_tls_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _check_key(Path(settings.dicom_tls_key))
    try:
        # A key with a password would ask a terminal for it.
        context.load_cert_chain(settings.dicom_tls_certificate, settings.dicom_tls_key, password=lambda: "")
    except (OSError, ValueError) as error:
        raise WrongSettings(
            f"NIGHTREAD_DICOM_TLS_CERTIFICATE, NIGHTREAD_DICOM_TLS_KEY: they cannot be used ({_reason(error)})."
        ) from None
    if settings.dicom_tls_ca:
        try:
            context.load_verify_locations(settings.dicom_tls_ca)
        except OSError as error:
            raise WrongSettings(f"NIGHTREAD_DICOM_TLS_CA: it cannot be used ({_reason(error)}).") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _check_key(path: Path) -> None:
    try:
        exposed = path.stat().st_mode & _OTHERS
    except OSError as error:
        raise WrongSettings(f"NIGHTREAD_DICOM_TLS_KEY: {path} cannot be read ({error.strerror}).") from None
    if exposed:
        raise WrongSettings(
            f"NIGHTREAD_DICOM_TLS_KEY: every user can read or change the file {path}; run `chmod o= {path}`."
        )


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
