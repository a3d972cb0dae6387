"""One attempt to sign in through the provider, kept in a cookie of the browser until it comes back.

The cookie of the session has SameSite=Strict, so no browser sends it when the provider's page leads back to us. This
cookie has SameSite=Lax, lives for ten minutes, and says nothing about who the browser belongs to. It is encrypted and
authenticated (Fernet: AES-CBC and HMAC-SHA-256): nobody who reads it learns the verifier, and nobody can make one.
"""

from __future__ import annotations

import json
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

LIFETIME_S = 600
_PURPOSE = b"nightread sign-in through a provider"
# 256 bits each (ASVS 5.0, 10.1.2). The verifier's 43 characters are the least of RFC 7636, section 4.1.
_BYTES = 32


@dataclass(frozen=True)
class Attempt:
    """The secrets of one attempt, and the path of this site to open afterwards."""

    state: str
    nonce: str
    verifier: str
    target: str


def new_attempt(target: str) -> Attempt:
    """Return an attempt with new random secrets."""
    state, nonce, verifier = (secrets.token_urlsafe(_BYTES) for _ in range(3))
    return Attempt(state, nonce, verifier, target)


def sealed(attempt: Attempt, keys: Sequence[bytes]) -> str:
    """Return the value of the cookie, encrypted with the first of the keys that sign cookies."""
    return _fernet(keys).encrypt(json.dumps(asdict(attempt)).encode()).decode()


def opened(cookie: str, keys: Sequence[bytes]) -> Attempt | None:
    """Return the attempt in a cookie; None if it is older than ten minutes or was not made with one of the keys."""
    try:
        content = json.loads(_fernet(keys).decrypt(cookie, ttl=LIFETIME_S))
    except (InvalidToken, ValueError):
        return None
    return Attempt(**content)


def _fernet(keys: Sequence[bytes]) -> MultiFernet:
    return MultiFernet([Fernet(_derived(key)) for key in keys])


def _derived(key: bytes) -> bytes:
    """Derive a key for this purpose alone."""
    return urlsafe_b64encode(HKDF(SHA256(), _BYTES, salt=None, info=_PURPOSE).derive(key))
