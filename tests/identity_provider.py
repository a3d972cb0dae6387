"""An OpenID provider on this machine, which a test can make lie, hang or fail. It keeps no secrets."""

from __future__ import annotations

import json
import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.jwk import Key, KeySet, RSAKey
from joserfc.util import urlsafe_b64decode
from werkzeug.datastructures import Headers
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

with warnings.catch_warnings():
    # Its own use of Authlib is out of date.
    warnings.simplefilter("ignore")
    import oidc_provider_mock

DISCOVERY, KEYS = "/.well-known/openid-configuration", "/jwks"
AUTHORIZE, TOKEN = "/oauth2/authorize", "/oauth2/token"
CLIENT_ID, CLIENT_SECRET = "nightread", "the secret of the client"

Change = Callable[[Response], Response]


class _SilentRequestHandler(WSGIRequestHandler):
    def log_request(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class Asked:
    """A request to the provider."""

    path: str
    parameters: Mapping[str, str]
    headers: Headers


@dataclass
class IdentityProvider:
    """The provider.

    Attributes:
        issuer: its address.
        people: whom it knows.
        changes: what a test does to the response of a path before it is sent.
        claims: claims of the ID token that a test changes; None removes one.
        header: header of the ID token.
        key: the key that signs ID tokens.
        published: the keys that it publishes; empty: `key`.
        asked: each request.
    """

    issuer: str
    people: Sequence[oidc_provider_mock.User]
    changes: dict[str, Change] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    first_key: Key = field(default_factory=lambda: new_key("first"))
    published: list[Key] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Sign with the first key."""
        self.key = self.first_key

    def reset(self) -> None:
        """Be an honest provider again, with the first key."""
        self.key = self.first_key
        for changed in (self.changes, self.claims, self.header, self.published, self.asked):
            changed.clear()

    def signed_in(self, sign_in_url: str, subject: str) -> dict[str, str]:
        """Sign in at the provider as a browser does, and return the parameters with which it is sent back."""
        answer = requests.post(sign_in_url, data={"sub": subject}, allow_redirects=False, timeout=30)
        assert answer.status_code == 302, answer.text
        return dict(parse_qsl(urlsplit(answer.headers["Location"]).query))

    def count(self, path: str) -> int:
        """Return how often a path was asked for."""
        return sum(1 for request in self.asked if request.path == path)

    def settings(self, **others: object) -> dict[str, object]:
        """Return the settings of Nightread that lead here."""
        return {
            "oidc_issuer": self.issuer,
            "oidc_client_id": CLIENT_ID,
            "oidc_client_secret": CLIENT_SECRET,
            "oidc_roles": "readers=reader, admins=administrator, auditors=auditor",
            **others,
        }

    def _changed(self, path: str, response: Response) -> Response:
        if path == TOKEN and response.status_code == 200:
            response = (
                self._resigned(response)
                if self._has_verifier()
                else document({"error": "invalid_grant"}, 400)
            )
        if path == KEYS:
            keys = KeySet(self.published or [self.key]).as_dict(private=False)
            response = document(keys)
        if path == AUTHORIZE and response.status_code == 200:
            response = self._page()
        change = self.changes.get(path)
        return change(response) if change else response

    def _page(self) -> Response:
        """Return a page that asks who the person is. The mock's own takes its style from the internet."""
        buttons = "".join(
            f'<button name="sub" value="{person.sub}">{person.sub}</button>' for person in self.people
        )
        head = '<title>Who are you?</title><link rel="icon" href="data:,">'
        return Response(f'{head}<form method="post">{buttons}</form>', mimetype="text/html")

    def _has_verifier(self) -> bool:
        """Return whether the verifier belongs to the challenge (RFC 7636, section 4.6), which the mock does not check."""
        asked = next(request.parameters for request in reversed(self.asked) if request.path == AUTHORIZE)
        verifier = self.asked[-1].parameters.get("code_verifier", "")
        return asked.get("code_challenge_method") == "S256" and asked.get(
            "code_challenge"
        ) == create_s256_code_challenge(verifier)

    def _resigned(self, response: Response) -> Response:
        token = json.loads(response.get_data())
        said = json.loads(urlsafe_b64decode(token["id_token"].split(".")[1].encode()))
        said = {name: value for name, value in {**said, **self.claims}.items() if value is not None}
        header = {"kid": self.key.kid, "alg": "RS256", **self.header}
        token["id_token"] = jwt.encode(header, said, self.key, algorithms=[header["alg"]])
        return document(token)


def new_key(name: str) -> Key:
    """Return a new key of RSA."""
    return RSAKey.generate_key(2048, {"kid": name})


def document(content: object, status: int = 200) -> Response:
    """Return a JSON document."""
    return Response(json.dumps(content), status, mimetype="application/json")


@contextmanager
def identity_provider(
    *people: oidc_provider_mock.User, tls: tuple[str, str] | None = None
) -> Iterator[IdentityProvider]:
    """Run a provider that knows these people, in a thread; `tls` are its files of certificate and key."""
    app = oidc_provider_mock.app(user_claims=people)
    app.debug = False

    @Request.application
    def changing(request: Request) -> Response:
        body = request.get_data()
        provider.asked.append(Asked(request.path, {**request.args, **request.form}, request.headers))
        environ = {**request.environ, "wsgi.input": BytesIO(body)}
        return provider._changed(request.path, Response.from_app(app.wsgi_app, environ))

    logging.getLogger("oidc_provider_mock").setLevel(logging.CRITICAL)
    server = make_server(
        "localhost", 0, changing, threaded=True, request_handler=_SilentRequestHandler, ssl_context=tls
    )
    provider = IdentityProvider(f"http{'s' if tls else ''}://localhost:{server.server_port}", people)
    thread = threading.Thread(target=server.serve_forever, name="provider")
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
