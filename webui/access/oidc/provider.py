"""The provider: where the browser goes to sign in, and who the provider says came back."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from joserfc.jwk import KeySet

from webui.access.oidc import id_token
from webui.access.oidc.attempt import Attempt
from webui.access.oidc.discovery import Discovery, Documents
from webui.access.oidc.faults import Fault, SignInFailed
from webui.access.oidc.id_token import Expected, UnknownKey
from webui.access.oidc.kept import Kept
from webui.access.oidc.limited_http import LimitedAdapter, faults, limit
from worker.config import Settings

# Errors of RFC 6749, sections 4.1.2.1 and 5.2, and OpenID Connect Core 1.0, section 3.1.2.6, that are not the person's.
_AWAY = {"temporarily_unavailable", "server_error"}
_OF_CLIENT = {
    "invalid_client",
    "invalid_request",
    "invalid_scope",
    "request_not_supported",
    "request_uri_not_supported",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_response_type",
}
# Of ASCII characters: OpenID Connect Core 1.0, section 2.
_LONGEST_SUBJECT = 255
_MOST_GROUPS = 10_000


@dataclass(frozen=True)
class Person:
    """Who signed in at the provider.

    Attributes:
        issuer, subject: the key of the person. An e-mail address is none: it can get another owner.
        names: names of the person that the provider gave, the best first; may be empty.
        groups: names of the person's groups.
    """

    issuer: str
    subject: str
    names: tuple[str, ...]
    groups: frozenset[str]


class Provider:
    """The OpenID provider of the settings. Building it connects to nothing."""

    def __init__(self, settings: Settings) -> None:
        """Keep the settings; the provider's documents are fetched when somebody signs in."""
        self._settings = settings
        self._adapter = LimitedAdapter(settings.oidc_ca_file)
        documents = Documents(settings.oidc_issuer, self._adapter)
        self._discovery = Kept(documents.discovery)
        self._keys = Kept(lambda: documents.keys(self._discovery.get().jwks_uri))

    def sign_in_url(self, attempt: Attempt, redirect_uri: str) -> str:
        """Return the address at the provider to which the browser goes. Raises SignInFailed."""
        discovery = self._discovery.get()
        with self._client(discovery) as client:
            url, _ = client.create_authorization_url(
                discovery.authorization_endpoint,
                redirect_uri=redirect_uri,
                state=attempt.state,
                nonce=attempt.nonce,
                code_verifier=attempt.verifier,
            )
        return str(url)

    def person(self, answer: Mapping[str, str], attempt: Attempt | None, redirect_uri: str) -> Person:
        """Return who signed in. Raises SignInFailed.

        `answer` are the parameters of the address at which the browser came back.
        """
        if attempt is None or not _same(answer.get("state", ""), attempt.state):
            raise SignInFailed(Fault.STATE)
        discovery = self._discovery.get()
        self._check_sender(answer, discovery)
        if "error" in answer:
            raise SignInFailed(_fault_of(answer["error"], Fault.REFUSED))
        if not answer.get("code"):
            raise SignInFailed(Fault.ANSWER)
        token = self._token(discovery, answer["code"], attempt, redirect_uri)
        return self._person(self._claims(discovery, token, attempt.nonce))

    def _check_sender(self, answer: Mapping[str, str], discovery: Discovery) -> None:
        """Refuse the answer of another provider (RFC 9207, section 2.4)."""
        sender = answer.get("iss")
        if sender is None and not discovery.names_itself:
            return
        if sender != self._settings.oidc_issuer:
            raise SignInFailed(Fault.ISSUER)

    def _client(self, discovery: Discovery) -> OAuth2Session:
        client = OAuth2Session(
            self._settings.oidc_client_id,
            self._settings.oidc_client_secret,
            scope=self._settings.oidc_scopes,
            code_challenge_method="S256",
            token_endpoint_auth_method=discovery.client_authentication,
        )
        limit(client, self._adapter)
        return client

    def _token(
        self, discovery: Discovery, code: str, attempt: Attempt, redirect_uri: str
    ) -> Mapping[str, Any]:
        try:
            with faults(), self._client(discovery) as client:
                token: Mapping[str, Any] = client.fetch_token(
                    discovery.token_endpoint,
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=attempt.verifier,
                    redirect_uri=redirect_uri,
                )
                return token
        except OAuthError as error:
            raise SignInFailed(_fault_of(str(error.error), Fault.CODE)) from None

    def _claims(self, discovery: Discovery, token: Mapping[str, Any], nonce: str) -> Mapping[str, Any]:
        text = token.get("id_token")
        if not isinstance(text, str):
            raise SignInFailed(Fault.ANSWER)
        settings = self._settings
        expected = Expected(settings.oidc_issuer, settings.oidc_client_id, nonce, discovery.algorithms)

        def checked(keys: KeySet) -> Mapping[str, Any]:
            return id_token.claims(text, keys, expected, token.get("access_token"))

        try:
            return checked(self._keys.get())
        except UnknownKey:
            return self._with_new_keys(checked)

    def _with_new_keys(self, checked: Callable[[KeySet], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Check with the keys fetched again: providers change them."""
        try:
            return checked(self._keys.renewed())
        except UnknownKey:
            raise SignInFailed(Fault.SIGNATURE) from None

    def _person(self, claims: Mapping[str, Any]) -> Person:
        subject = claims["sub"]
        if not (1 <= len(subject) <= _LONGEST_SUBJECT and subject.isascii() and subject.isprintable()):
            raise SignInFailed(Fault.ANSWER)
        names = (claims.get(name) for name in ("name", "preferred_username"))
        return Person(
            issuer=self._settings.oidc_issuer,
            subject=subject,
            names=tuple(name for name in names if isinstance(name, str)),
            groups=_groups(claims.get(self._settings.oidc_groups_claim)),
        )


def _groups(claim: object) -> frozenset[str]:
    """Return the names of groups in a claim: a list of texts, or one text."""
    groups = claim if isinstance(claim, list) else [claim]
    return frozenset(group for group in groups[:_MOST_GROUPS] if isinstance(group, str))


def _fault_of(error: str, other: Fault) -> Fault:
    if error in _AWAY:
        return Fault.AWAY
    return Fault.CLIENT if error in _OF_CLIENT else other


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
