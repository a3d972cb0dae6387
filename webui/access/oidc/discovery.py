"""What the provider says about itself: its discovery document (OpenID Connect Discovery 1.0, section 4) and its keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key, KeySet

from webui.access.oidc.faults import Fault, SignInFailed
from webui.access.oidc.limited_http import LimitedAdapter, faults, limit

_PATH = "/.well-known/openid-configuration"
# Signatures with a public key. `none` and those with the client's secret never count (RFC 8725, section 3.1).
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
_BASIC, _POST = "client_secret_basic", "client_secret_post"


@dataclass(frozen=True)
class Discovery:
    """The parts of the discovery document that sign-in needs.

    Attributes:
        authorization_endpoint: where the browser goes to sign in.
        token_endpoint: where Nightread exchanges the code for an ID token.
        jwks_uri: where the provider's public keys are.
        algorithms: signatures that the provider makes and that Nightread trusts; never empty.
        client_authentication: how Nightread sends its secret, `client_secret_basic` or `client_secret_post`.
        names_itself: whether the provider adds its issuer to the answer that the browser brings (RFC 9207).
    """

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    algorithms: tuple[str, ...]
    client_authentication: str
    names_itself: bool


class Documents:
    """Fetches the discovery document and the keys of one issuer."""

    def __init__(self, issuer: str, adapter: LimitedAdapter) -> None:
        """Keep what is needed to fetch; connect to nothing."""
        self._issuer, self._adapter = issuer, adapter

    def discovery(self) -> Discovery:
        """Fetch the discovery document. Raises SignInFailed if there is none, or one of another issuer."""
        return parsed(self._json(self._issuer.rstrip("/") + _PATH), self._issuer)

    def keys(self, uri: str) -> KeySet:
        """Fetch the provider's public keys. Raises SignInFailed if there is none that Nightread can use.

        Keys of a kind that is not known here, for instance of another curve, are left out (RFC 7517, section 5).
        """
        listed = self._json(uri).get("keys")
        keys = (
            [key for entry in listed if (key := _key(entry)) is not None] if isinstance(listed, list) else []
        )
        if not keys:
            raise SignInFailed(Fault.ANSWER)
        return KeySet(keys)

    def _json(self, uri: str) -> dict[str, Any]:
        with faults(), requests.Session() as session:
            limit(session, self._adapter)
            response = session.get(uri, auth=_unchanged)
            response.raise_for_status()
            document = response.json()
        if not isinstance(document, dict):
            raise SignInFailed(Fault.ANSWER)
        return document


def _key(entry: Any) -> Key | None:
    """Return a key of a key set; None if it cannot be used."""
    if not isinstance(entry, dict):
        return None
    try:
        return JWKRegistry.import_key(entry)
    except (JoseError, LookupError, TypeError, ValueError, AttributeError):
        return None


def parsed(document: Mapping[str, Any], issuer: str) -> Discovery:
    """Return the discovery document of this issuer.

    Raises SignInFailed if it is of another issuer (ASVS 5.0, 10.5.3), lacks an address, names an address without TLS
    although the issuer has it, or if the provider makes no signature that Nightread trusts.
    """
    if document.get("issuer") != issuer:
        raise SignInFailed(Fault.ISSUER)
    offered = _texts(document, "id_token_signing_alg_values_supported")
    algorithms = tuple(name for name in _ALGORITHMS if name in (offered or ["RS256"]))
    if not algorithms:
        raise SignInFailed(Fault.ALGORITHM)
    ways = _texts(document, "token_endpoint_auth_methods_supported")
    return Discovery(
        authorization_endpoint=_address(document, "authorization_endpoint", issuer),
        token_endpoint=_address(document, "token_endpoint", issuer),
        jwks_uri=_address(document, "jwks_uri", issuer),
        algorithms=algorithms,
        client_authentication=_POST if ways and _BASIC not in ways and _POST in ways else _BASIC,
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
    )


def _texts(document: Mapping[str, Any], name: str) -> list[str]:
    values = document.get(name)
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def _address(document: Mapping[str, Any], name: str, issuer: str) -> str:
    address = document.get(name)
    if not isinstance(address, str) or not _is_as_safe_as(address, issuer):
        raise SignInFailed(Fault.ANSWER)
    return address


def _is_as_safe_as(address: str, issuer: str) -> bool:
    """Return whether an address has TLS, or is on the same host as an issuer without it, which is this machine."""
    try:
        theirs, ours = urlsplit(address), urlsplit(issuer)
    except ValueError:
        return False
    if theirs.scheme == "https":
        return bool(theirs.hostname)
    return (theirs.scheme, theirs.hostname) == ("http", ours.hostname) and ours.scheme == "http"


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Send no password of ~/.netrc, which requests would add."""
    return request
