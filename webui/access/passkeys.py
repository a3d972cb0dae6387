"""Passkeys (WebAuthn level 3): what a browser is asked for, and whether its answer is right.

A passkey belongs to the host name of the page. So a page that was opened under a bare address offers none. Each one is
discoverable and verifies its person (PIN, finger, face): it takes the place of name, passphrase and second factor.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import webauthn
from flask import request
from itsdangerous import BadData
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url, options_to_json
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from webui import cookies
from webui.access import sign_in_limits
from webui.access.passphrase_sign_in import NotSignedIn
from worker.ledger.tables import Passkey, User

_VALID_S = 300
# WebAuthn allows 1,023 bytes.
_CREDENTIAL_ID = re.compile("[A-Za-z0-9_-]{1,1364}")
_STALE = "This took too long. Try again."
WRONG = "This passkey was not accepted. It may have been removed, or it belongs to another site."


def are_possible() -> bool:
    """Return whether the page was opened in a way that allows passkeys: under a host name, and safely."""
    name = _host()
    return not _is_address(name) and (request.is_secure or name == "localhost")


def options_to_add(user: User, present: list[Passkey]) -> dict[str, Any]:
    """Return what the browser needs to make a passkey, as `options`, and a `state` to send back."""
    options = webauthn.generate_registration_options(
        rp_id=_host(),
        rp_name="Nightread",
        user_id=str(user.id).encode(),
        user_name=user.name,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            require_resident_key=True,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=[
            PublicKeyCredentialDescriptor(base64url_to_bytes(each.credential_id)) for each in present
        ],
    )
    return _with_state(options_to_json(options), f"add:{user.id}", options.challenge)


def options_to_sign_in() -> dict[str, Any]:
    """Return what the browser needs to sign in with a passkey, as `options`, and a `state` to send back."""
    options = webauthn.generate_authentication_options(
        rp_id=_host(), user_verification=UserVerificationRequirement.REQUIRED
    )
    return _with_state(options_to_json(options), "sign-in", options.challenge)


def checked_addition(answer: Mapping[str, Any], user_id: int) -> tuple[str, bytes, int]:
    """Return credential id, public key and sign count of a new passkey. Raises NotSignedIn if it is not right."""
    challenge = _challenge(answer, f"add:{user_id}")
    try:
        added = webauthn.verify_registration_response(
            credential=_credential(answer),
            expected_challenge=challenge,
            expected_rp_id=_host(),
            expected_origin=request.host_url.rstrip("/"),
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, TypeError, KeyError):
        raise NotSignedIn(WRONG, 400) from None
    return bytes_to_base64url(added.credential_id), added.credential_public_key, added.sign_count


def credential_id_of(answer: Mapping[str, Any]) -> str:
    """Return the id of the passkey that a browser's answer names, in base64url; empty if it names none."""
    name = _credential(answer).get("id")
    return name if isinstance(name, str) and _CREDENTIAL_ID.fullmatch(name) else ""


def checked_sign_in(answer: Mapping[str, Any], passkey: Passkey | None) -> int:
    """Return the new sign count of a passkey. Raises NotSignedIn if the browser's answer does not prove that it has it."""
    challenge = _challenge(answer, "sign-in")
    if passkey is None:
        raise NotSignedIn(WRONG, 400)
    try:
        proven = webauthn.verify_authentication_response(
            credential=_credential(answer),
            expected_challenge=challenge,
            expected_rp_id=_host(),
            expected_origin=request.host_url.rstrip("/"),
            credential_public_key=passkey.public_key,
            credential_current_sign_count=passkey.sign_count,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, TypeError, KeyError):
        raise NotSignedIn(WRONG, 400) from None
    return proven.new_sign_count


def _with_state(options: str, purpose: str, challenge: bytes) -> dict[str, Any]:
    state = cookies.signer("passkey").dumps([purpose, bytes_to_base64url(challenge)])
    return {"options": json.loads(options), "state": state}


def _challenge(answer: Mapping[str, Any], purpose: str) -> bytes:
    """Return the challenge that was sent for this purpose. Each one is accepted once."""
    try:
        signed_purpose, challenge = cookies.signer("passkey").loads(
            str(answer.get("state", "")), max_age=_VALID_S
        )
    except (BadData, ValueError, TypeError):
        raise NotSignedIn(_STALE, 400) from None
    if signed_purpose != purpose or not sign_in_limits.current().is_first(f"challenge/{challenge}"):
        raise NotSignedIn(_STALE, 400)
    return base64url_to_bytes(challenge)


def _credential(answer: Mapping[str, Any]) -> dict[str, Any]:
    credential = answer.get("credential")
    return credential if isinstance(credential, dict) else {}


def _host() -> str:
    return urlsplit(request.host_url).hostname or ""


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
