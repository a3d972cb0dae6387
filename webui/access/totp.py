"""Codes of an authenticator app (TOTP, RFC 6238): the encrypted secret, and the step of a code.

The secret must be read to check a code, so a hash would not do. It is encrypted with `totp.key` in the data folder: whoever
reads only the database cannot make codes.
"""

from __future__ import annotations

import base64
import hmac
from datetime import datetime

import pyotp
import segno
from cryptography.fernet import Fernet, InvalidToken

from webui.dependencies import dependencies
from worker.keyfile import secret_key

_STEP_S = 30
# A clock may be half a minute wrong.
_NEIGHBOURS = (0, -1, 1)
# Seconds that a person has to enter the first code.
_SETUP_S = 900
_DIGITS = 6


def new_secret() -> str:
    """Return a random secret of 160 bits, in base 32."""
    return pyotp.random_base32()


def address_of(secret: str, name: str) -> str:
    """Return the `otpauth` address that an authenticator app reads."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name="Nightread")


def picture_of(address: str) -> str:
    """Return an SVG element with the QR code of an address."""
    return segno.make_qr(address, error="m").svg_inline(border=4, dark="#000", light="#fff", omitsize=True)


def encrypted(secret: str) -> str:
    """Return the encrypted secret."""
    return _cipher().encrypt(secret.encode()).decode()


def decrypted(token: str | None) -> str | None:
    """Return the secret; None if there is none, or if it was encrypted with another key."""
    try:
        return _cipher().decrypt((token or "").encode()).decode()
    except InvalidToken:
        return None


def sealed(secret: str, user_id: int) -> str:
    """Return the secret that a person is setting up, encrypted. Nobody else can set it up."""
    return _cipher().encrypt(f"{user_id} {secret}".encode()).decode()


def opened(token: str, user_id: int) -> str | None:
    """Return the secret that a person is setting up; None if it is another person's, or older than 15 minutes."""
    try:
        owner, secret = _cipher().decrypt(token.encode(), ttl=_SETUP_S).decode().split(" ")
    except (InvalidToken, ValueError):
        return None
    return secret if owner == str(user_id) else None


def step_of(secret: str, typed: str, at: datetime) -> int | None:
    """Return the step, near the present time, whose code was typed; None if there is none."""
    code = "".join(typed.split())
    if len(code) != _DIGITS or not (code.isascii() and code.isdigit()):
        return None
    present, app = int(at.timestamp()) // _STEP_S, pyotp.TOTP(secret)
    steps = (present + neighbour for neighbour in _NEIGHBOURS)
    return next((step for step in steps if hmac.compare_digest(app.generate_otp(step), code)), None)


def _cipher() -> Fernet:
    key = secret_key(dependencies().settings.data / "totp.key")
    return Fernet(base64.urlsafe_b64encode(key))
