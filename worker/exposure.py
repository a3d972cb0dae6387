"""What must be true before other machines may reach the web interface or the receiver."""

from __future__ import annotations

import socket
from importlib.util import find_spec

from worker.addresses import is_loopback
from worker.config import Settings
from worker.errors import WrongSettings
from worker.ledger import users
from worker.ledger.session import Ledger

_OTHERS_REACH_IT = "NIGHTREAD_HOST: other machines can reach the address {host}."
_NO_NAMES = "Set NIGHTREAD_ALLOWED_HOSTS to the names under which people open the page."
_NO_TLS = (
    "Put a proxy with TLS in front (packaging/nginx.conf, packaging/Caddyfile) and set NIGHTREAD_PROXY_HOPS=1. If nobody "
    "can read the traffic, set NIGHTREAD_ALLOW_PLAIN_HTTP=true instead."
)
_RECEIVER_IS_REACHED = "NIGHTREAD_DICOM_HOST: other machines can reach the address {host}."
_NO_TITLES = "Set NIGHTREAD_DICOM_CALLING to the AE titles that may send."
_NO_ADDRESSES = "Set NIGHTREAD_DICOM_ADDRESSES to the addresses or networks that may send."
_NOT_INSTALLED = (
    "NIGHTREAD_DICOM_PORT: the receiver is not installed. Install Nightread with its extra `dicom`."
)
_NO_ADMINISTRATOR = (
    "No administrator can sign in there without a link. Run `nightread users add NAME --role administrator`, then "
    "`nightread users passphrase NAME`; or start Nightread on 127.0.0.1, open the link and set a passphrase on the page "
    "Account."
)


def check_settings(settings: Settings) -> None:
    """Raise WrongSettings if other machines can reach the web interface without names, or without TLS by oversight.

    A host that is no address passes: whoever binds to it says so.
    """
    if is_loopback(settings.host) or not _is_an_address(settings.host):
        return
    missing = [] if settings.host_names else [_NO_NAMES]
    if not settings.proxy_hops and not settings.allow_plain_http:
        missing.append(_NO_TLS)
    if missing:
        raise WrongSettings(" ".join([_OTHERS_REACH_IT.format(host=settings.host), *missing]))


def check_receiver(settings: Settings) -> None:
    """Raise WrongSettings if other machines can reach the receiver and it has no list of senders."""
    if is_loopback(settings.dicom_host):
        return
    missing = [] if settings.calling_ae_titles else [_NO_TITLES]
    if not settings.dicom_networks:
        missing.append(_NO_ADDRESSES)
    if missing:
        raise WrongSettings(" ".join([_RECEIVER_IS_REACHED.format(host=settings.dicom_host), *missing]))


def check_dicom_is_installed() -> None:
    """Raise WrongSettings if the libraries that read and receive DICOM are missing."""
    if not all(find_spec(name) for name in ("pydicom", "pynetdicom")):
        raise WrongSettings(_NOT_INSTALLED)


def _is_an_address(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None))
    except (OSError, UnicodeError):
        return False


def check_administrator(settings: Settings, ledger: Ledger) -> None:
    """Raise WrongSettings if other machines can reach the web interface and no administrator has a passphrase."""
    if is_loopback(settings.host):
        return
    with ledger.reading() as session:
        if not users.an_administrator_can_sign_in(session):
            raise WrongSettings(f"{_OTHERS_REACH_IT.format(host=settings.host)} {_NO_ADMINISTRATOR}")
