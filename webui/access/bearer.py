"""API tokens in requests: `Authorization: Bearer KEY` (RFC 6750, section 2.1) and what is answered (section 3).

A key counts nowhere else: addresses and forms stand in logs and in the history of browsers.
"""

from __future__ import annotations

from typing import Any

from flask import request
from werkzeug.exceptions import Forbidden, HTTPException, Unauthorized

from webui.access.permissions import Permission, scope_of

CHALLENGE = "WWW-Authenticate"
_REALM = "Nightread"


def key_of_request() -> str | None:
    """Return the key that the request carries; None if it carries none. Other schemes are for a proxy."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def challenge(**parameters: str) -> str:
    """Return the value of the header `WWW-Authenticate`. All its parameters are quoted strings."""
    return "Bearer " + ", ".join(f'{name}="{text}"' for name, text in {"realm": _REALM, **parameters}.items())


def not_signed_in() -> Unauthorized:
    """Return the answer to a request without an identity."""
    sentence = "Sign in first. A program sends the key of an API token: Authorization: Bearer KEY."
    return _NotSignedIn(sentence, challenge())


def not_granted(permission: Permission) -> Forbidden:
    """Return the answer to a program whose token does not allow what it asks for."""
    scope = scope_of(permission)
    if scope is None:
        return Forbidden("No token allows this. Only a person who is signed in may do it.")
    return _NotGranted(
        f"This needs the scope {scope}. The token does not have it, or its owner may not do this any more.",
        challenge(error="insufficient_scope", scope=scope),
    )


class _Challenging(HTTPException):
    """An answer that carries a challenge."""

    def __init__(self, sentence: str, challenge: str) -> None:
        super().__init__(sentence)
        self._challenge = challenge

    def get_headers(self, *arguments: Any, **options: Any) -> list[tuple[str, str]]:
        return [*super().get_headers(*arguments, **options), (CHALLENGE, self._challenge)]


class _NotSignedIn(_Challenging, Unauthorized):
    pass


class _NotGranted(_Challenging, Forbidden):
    pass
