"""Cookies of this site only: no script and no page of another site uses them, and over TLS nobody else can set them.

With the prefix `__Host-`, a browser accepts a cookie only over TLS, for this very host and for every path (RFC 6265bis,
section 4.1.3.2). Without the prefix, whoever answers for a name below ours, or for our name without TLS, could set it.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Literal

from flask import Flask, Response, current_app, request
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import URLSafeTimedSerializer

SameSite = Literal["Strict", "Lax"]


# The type of `hashlib.sha256` differs between versions of Python, and Flask's annotation accepts only one of them.
def _sha256(string: bytes = b"") -> Any:
    return sha256(string)


# The library's own default is SHA-1.
_SIGNER = {"digest_method": _sha256, "key_derivation": "hmac"}


def full_name(name: str) -> str:
    """Return the name that a cookie has in this request."""
    return f"__Host-{name}" if request.is_secure else name


def read(name: str) -> str | None:
    """Return the value of a cookie of this request."""
    return request.cookies.get(full_name(name))


def write(
    response: Response, name: str, value: str, *, max_age_s: int, same_site: SameSite = "Strict"
) -> None:
    """Let the browser keep a cookie for so many seconds."""
    response.set_cookie(
        full_name(name),
        value,
        max_age=max_age_s,
        path="/",
        secure=request.is_secure,
        httponly=True,
        samesite=same_site,
    )


def delete(response: Response, name: str, *, same_site: SameSite = "Strict") -> None:
    """Let the browser forget a cookie."""
    response.delete_cookie(
        full_name(name), path="/", secure=request.is_secure, httponly=True, samesite=same_site
    )


def signing_keys() -> list[bytes]:
    """Return the keys that sign cookies, the present one first, then those that it has replaced and that still count."""
    keys = [current_app.secret_key, *current_app.config["SECRET_KEY_FALLBACKS"]]
    return [key if isinstance(key, bytes) else str(key).encode() for key in keys]


def signer(purpose: str) -> URLSafeTimedSerializer:
    """Return what signs, and checks, values that a browser keeps for a purpose for a while."""
    # The library wants the present key last.
    return URLSafeTimedSerializer(signing_keys()[::-1], salt=purpose, signer_kwargs=_SIGNER)


class SignedCookie(SecureCookieSessionInterface):
    """Flask's own cookie, which carries the messages of the next page, with the same rules."""

    digest_method = staticmethod(_sha256)

    def get_cookie_name(self, app: Flask) -> str:
        """Return the name that the cookie has in this request."""
        return full_name(super().get_cookie_name(app))

    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002 - the signature is Flask's
        """Return whether the browser may send the cookie over TLS only."""
        return request.is_secure
