"""Right and wrong answers of an OpenID provider, which runs over HTTP in a thread."""

from __future__ import annotations

import hmac
import socket
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import certifi
import pytest
from joserfc.jwk import RSAKey
from oidc_provider_mock import User
from werkzeug.wrappers import Response

from tests.certificates import write_certificate
from tests.identity_provider import (
    AUTHORIZE,
    CLIENT_ID,
    DISCOVERY,
    KEYS,
    TOKEN,
    IdentityProvider,
    document,
    identity_provider,
    new_key,
)
from webui.access.oidc import discovery, limited_http
from webui.access.oidc.attempt import Attempt, new_attempt
from webui.access.oidc.faults import Fault, SignInFailed
from webui.access.oidc.provider import Person, Provider
from worker.config import Settings

CALLBACK = "http://127.0.0.1:8000/sign-in/provider/callback"
ADA = User(sub="248289761001", claims={"name": "Ada Night", "groups": ["readers", "night shift"]})


@pytest.fixture(scope="module")
def _running() -> Iterator[IdentityProvider]:
    with identity_provider(ADA) as provider:
        yield provider


@pytest.fixture
def theirs(_running: IdentityProvider) -> IdentityProvider:
    """The provider, honest until the test makes it lie."""
    _running.reset()
    return _running


@pytest.fixture
def ours(theirs: IdentityProvider) -> Provider:
    """Our side, which has asked for nothing yet."""
    return Provider(Settings.model_validate(theirs.settings()))


@pytest.fixture
def sign_in(theirs: IdentityProvider, ours: Provider) -> Callable[[], Person]:
    """A function that signs Ada in, there and back."""

    def there_and_back() -> Person:
        attempt = new_attempt("/review")
        answer = theirs.signed_in(ours.sign_in_url(attempt, CALLBACK), ADA.sub)
        return ours.person(answer, attempt, CALLBACK)

    return there_and_back


def fault(act: Callable[[], object]) -> Fault:
    with pytest.raises(SignInFailed) as failed:
        act()
    return failed.value.fault


def _base64(content: bytes) -> str:
    return urlsafe_b64encode(content).decode().rstrip("=")


def with_value(name: str, value: object) -> Callable[[Response], Response]:
    """Return a change of one value of a JSON document."""
    return lambda response: document({**(response.json or {}), name: value})


def test_person_is_issuer_subject_and_groups(sign_in: Callable[[], Person], theirs: IdentityProvider) -> None:
    groups = frozenset({"readers", "night shift"})
    assert sign_in() == Person(theirs.issuer, ADA.sub, ("Ada Night",), groups)


def test_request_has_pkce_nonce_state_and_exact_redirect(
    sign_in: Callable[[], Person], theirs: IdentityProvider
) -> None:
    sign_in()
    asked = next(request.parameters for request in theirs.asked if request.path == AUTHORIZE)
    assert asked["response_type"] == "code"
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == CALLBACK
    assert asked["scope"] == "openid profile"
    secrets = [asked[name] for name in ("state", "nonce", "code_challenge")]
    assert len({*secrets}) == 3
    assert all(len(secret) == 43 for secret in secrets)
    exchanged = next(request.parameters for request in theirs.asked if request.path == TOKEN)
    assert exchanged["redirect_uri"] == CALLBACK
    assert len(exchanged["code_verifier"]) == 43
    assert exchanged["code_verifier"] not in secrets, "the browser must not carry the verifier"


def test_each_attempt_has_secrets_of_its_own() -> None:
    one, other = new_attempt("/review"), new_attempt("/review")
    assert not {one.state, one.nonce, one.verifier} & {other.state, other.nonce, other.verifier}


def test_documents_are_fetched_once_for_many_people(
    sign_in: Callable[[], Person], theirs: IdentityProvider
) -> None:
    for _ in range(3):
        sign_in()
    assert (theirs.count(DISCOVERY), theirs.count(KEYS), theirs.count(TOKEN)) == (1, 1, 3)


def test_secret_goes_the_way_that_the_provider_accepts(
    sign_in: Callable[[], Person], theirs: IdentityProvider
) -> None:
    ways = with_value("token_endpoint_auth_methods_supported", ["private_key_jwt", "client_secret_post"])
    theirs.changes[DISCOVERY] = ways
    sign_in()
    (exchange,) = (request for request in theirs.asked if request.path == TOKEN)
    assert exchange.parameters["client_id"] == CLIENT_ID
    assert "Authorization" not in exchange.headers


@pytest.mark.parametrize("state", [None, "", "another", "ü\0"])
def test_wrong_or_missing_state_signs_nobody_in(
    ours: Provider, theirs: IdentityProvider, state: str | None
) -> None:
    attempt = new_attempt("/review")
    answer = theirs.signed_in(ours.sign_in_url(attempt, CALLBACK), ADA.sub)
    del answer["state"]
    wrong = answer if state is None else {**answer, "state": state}
    assert fault(lambda: ours.person(wrong, attempt, CALLBACK)) is Fault.STATE
    assert fault(lambda: ours.person({**answer, "state": attempt.state}, None, CALLBACK)) is Fault.STATE
    assert theirs.count(TOKEN) == 0, "the code must not be used"


def test_verifier_of_another_attempt_signs_nobody_in(ours: Provider, theirs: IdentityProvider) -> None:
    attempt, other = new_attempt("/review"), new_attempt("/review")
    answer = theirs.signed_in(ours.sign_in_url(attempt, CALLBACK), ADA.sub)
    mixed = Attempt(attempt.state, attempt.nonce, other.verifier, attempt.target)
    assert fault(lambda: ours.person(answer, mixed, CALLBACK)) is Fault.CODE


def test_code_signs_in_once(ours: Provider, theirs: IdentityProvider) -> None:
    attempt = new_attempt("/review")
    answer = theirs.signed_in(ours.sign_in_url(attempt, CALLBACK), ADA.sub)
    ours.person(answer, attempt, CALLBACK)
    assert fault(lambda: ours.person(answer, attempt, CALLBACK)) is Fault.CODE


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("access_denied", Fault.REFUSED),
        ("<script>", Fault.REFUSED),
        ("temporarily_unavailable", Fault.AWAY),
        ("unauthorized_client", Fault.CLIENT),
        ("invalid_scope", Fault.CLIENT),
    ],
)
def test_error_of_the_provider_has_a_sentence(ours: Provider, error: str, expected: Fault) -> None:
    attempt = new_attempt("/review")
    answer = {"error": error, "error_description": "secret words", "state": attempt.state}
    assert fault(lambda: ours.person(answer, attempt, CALLBACK)) is expected


def test_answer_without_a_code_is_refused(ours: Provider) -> None:
    attempt = new_attempt("/review")
    assert fault(lambda: ours.person({"state": attempt.state}, attempt, CALLBACK)) is Fault.ANSWER


@pytest.mark.parametrize("sender", ["https://evil.example", None])
def test_answer_of_another_provider_is_refused(
    ours: Provider, theirs: IdentityProvider, sender: str | None
) -> None:
    """RFC 9207: the answer in the browser names its issuer."""
    theirs.changes[DISCOVERY] = with_value("authorization_response_iss_parameter_supported", True)
    attempt = new_attempt("/review")
    answer = theirs.signed_in(ours.sign_in_url(attempt, CALLBACK), ADA.sub)
    forged = answer if sender is None else {**answer, "iss": sender}
    assert fault(lambda: ours.person(forged, attempt, CALLBACK)) is Fault.ISSUER
    assert ours.person({**answer, "iss": theirs.issuer}, attempt, CALLBACK).subject == ADA.sub


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"nonce": "of another sign-in"}, Fault.NONCE),
        ({"nonce": None}, Fault.NONCE),
        ({"aud": "another program"}, Fault.AUDIENCE),
        ({"aud": ["another program"], "azp": CLIENT_ID}, Fault.AUDIENCE),
        ({"aud": [CLIENT_ID, "another program"]}, Fault.AUDIENCE),
        ({"aud": [CLIENT_ID, "another program"], "azp": "another program"}, Fault.AUDIENCE),
        ({"aud": None}, Fault.AUDIENCE),
        ({"iss": "https://evil.example"}, Fault.ISSUER),
        ({"iss": None}, Fault.ISSUER),
        ({"exp": 1_000_000_000}, Fault.EXPIRED),
        ({"exp": None}, Fault.EXPIRED),
        ({"exp": "tomorrow"}, Fault.EXPIRED),
        ({"iat": 9_000_000_000}, Fault.EXPIRED),
        ({"nbf": 9_000_000_000}, Fault.EXPIRED),
        ({"sub": None}, Fault.ANSWER),
        ({"sub": ""}, Fault.ANSWER),
        ({"sub": 7}, Fault.ANSWER),
        ({"sub": "x" * 256}, Fault.ANSWER),
        ({"sub": "a\0b"}, Fault.ANSWER),
        ({"sub": "Ada Müller"}, Fault.ANSWER),
        ({"at_hash": "wrong"}, Fault.ANSWER),
    ],
    ids=str,
)
def test_wrong_claim_signs_nobody_in(
    sign_in: Callable[[], Person], theirs: IdentityProvider, claims: dict[str, object], expected: Fault
) -> None:
    theirs.claims.update(claims)
    assert fault(sign_in) is expected


def test_subject_is_the_key_whatever_the_address_says(
    sign_in: Callable[[], Person], theirs: IdentityProvider
) -> None:
    theirs.claims.update(
        {"email": "chief@hospital.example", "email_verified": True, "preferred_username": "chief"}
    )
    person = sign_in()
    assert (person.subject, person.names) == (ADA.sub, ("Ada Night", "chief"))


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (None, frozenset()),
        ("readers", frozenset({"readers"})),
        ([], frozenset()),
        ([["readers"], 7, None, "x"], frozenset({"x"})),
        ({"readers": True}, frozenset()),
    ],
)
def test_groups_are_texts_or_nothing(
    sign_in: Callable[[], Person], theirs: IdentityProvider, groups: object, expected: frozenset[str]
) -> None:
    theirs.claims.update({"groups": groups})
    assert sign_in().groups == expected


def test_another_claim_can_hold_the_groups(theirs: IdentityProvider) -> None:
    theirs.claims.update({"roles": ["readers"]})
    ours = Provider(Settings.model_validate(theirs.settings(oidc_groups_claim="roles")))
    attempt = new_attempt("/review")
    answer = theirs.signed_in(ours.sign_in_url(attempt, CALLBACK), ADA.sub)
    assert ours.person(answer, attempt, CALLBACK).groups == {"readers"}


def test_unsigned_token_signs_nobody_in(sign_in: Callable[[], Person], theirs: IdentityProvider) -> None:
    theirs.header["alg"] = "none"
    assert fault(sign_in) is Fault.ALGORITHM


def test_public_key_as_a_password_signs_nobody_in(
    sign_in: Callable[[], Person], theirs: IdentityProvider
) -> None:
    """The attack on libraries that take the algorithm from the token (RFC 8725, section 2.1)."""
    assert isinstance(theirs.key, RSAKey)
    pem = theirs.key.as_pem(private=False)
    theirs.changes[DISCOVERY] = with_value(
        "id_token_signing_alg_values_supported", ["HS256", "RS256", "none"]
    )

    def signed_with_public_key(response: Response) -> Response:
        payload = (response.json or {})["id_token"].split(".")[1]
        signed = ".".join([_base64(b'{"alg":"HS256","kid":"first"}'), payload])
        signature = _base64(hmac.digest(pem, signed.encode(), "sha256"))
        return with_value("id_token", f"{signed}.{signature}")(response)

    theirs.changes[TOKEN] = signed_with_public_key
    assert fault(sign_in) is Fault.ALGORITHM


def test_another_key_signs_nobody_in(sign_in: Callable[[], Person], theirs: IdentityProvider) -> None:
    theirs.published.append(theirs.key)
    for name in ("first", "second"):
        theirs.key = new_key(name)
        assert fault(sign_in) is Fault.SIGNATURE


def test_new_keys_of_the_provider_are_fetched(
    sign_in: Callable[[], Person], theirs: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in()
    monkeypatch.setattr("webui.access.oidc.kept._LEAST_AGE_S", -1.0)
    theirs.key = new_key("second")
    assert sign_in().subject == ADA.sub
    assert theirs.count(KEYS) == 2


@pytest.mark.parametrize(
    "unknown",
    [
        {"kty": "EC", "crv": "BP-256", "x": "AQAB", "y": "AQAB"},
        {"kty": "OKP", "crv": "X999", "x": "AQAB"},
        {},
        "key",
    ],
)
def test_keys_of_an_unknown_kind_are_left_out(
    sign_in: Callable[[], Person], theirs: IdentityProvider, unknown: object
) -> None:
    theirs.changes[KEYS] = lambda response: document({"keys": [unknown, *response.get_json()["keys"]]})
    assert sign_in().subject == ADA.sub


def test_key_set_without_a_known_key_is_no_answer(
    sign_in: Callable[[], Person], theirs: IdentityProvider
) -> None:
    theirs.changes[KEYS] = lambda _: document(
        {"keys": [{"kty": "EC", "crv": "BP-256", "x": "AQAB", "y": "AQAB"}]}
    )
    assert fault(sign_in) is Fault.ANSWER


def test_wrong_signatures_do_not_flood_the_provider(
    sign_in: Callable[[], Person], theirs: IdentityProvider
) -> None:
    theirs.published.append(theirs.key)
    theirs.key = new_key("second")
    for _ in range(3):
        assert fault(sign_in) is Fault.SIGNATURE
    assert theirs.count(KEYS) == 1


@pytest.mark.parametrize("path", [DISCOVERY, TOKEN, KEYS])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Response("<h1>gateway</h1>", 502), Fault.AWAY),
        (document({"message": "try later"}, 503), Fault.AWAY),
        (Response("<h1>hello</h1>"), Fault.ANSWER),
        (document(["a", "list"]), Fault.ANSWER),
        (document({}), None),
        (Response("{", 200), Fault.ANSWER),
        (Response(b"\xff\xfe\xff", 200), Fault.ANSWER),
        (Response("gone", 404), Fault.ANSWER),
        (Response("moved", 302, {"Location": "http://127.0.0.1:1/"}), Fault.ANSWER),
        (Response(" " * (limited_http.LARGEST_BODY + 1)), Fault.ANSWER),
        (Response("[" * 100_000), Fault.ANSWER),
    ],
    ids=lambda value: str(getattr(value, "status", "")),
)
def test_unusable_answer_has_a_sentence(
    sign_in: Callable[[], Person],
    theirs: IdentityProvider,
    path: str,
    answer: Response,
    expected: Fault | None,
) -> None:
    theirs.changes[path] = lambda _: answer
    without = Fault.ISSUER if path == DISCOVERY else Fault.ANSWER
    assert fault(sign_in) is (expected or without)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("invalid_grant", Fault.CODE),
        ("invalid_client", Fault.CLIENT),
        ("temporarily_unavailable", Fault.AWAY),
    ],
)
def test_refused_code_has_a_sentence(
    sign_in: Callable[[], Person], theirs: IdentityProvider, error: str, expected: Fault
) -> None:
    theirs.changes[TOKEN] = lambda _: document({"error": error, "error_description": "words"}, 400)
    assert fault(sign_in) is expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("issuer", "https://evil.example", Fault.ISSUER),
        ("issuer", None, Fault.ISSUER),
        ("token_endpoint", None, Fault.ANSWER),
        ("token_endpoint", "http://evil.example/token", Fault.ANSWER),
        ("jwks_uri", "file:///etc/passwd", Fault.ANSWER),
        ("jwks_uri", ["a"], Fault.ANSWER),
        ("authorization_endpoint", "javascript:alert(1)", Fault.ANSWER),
        ("authorization_endpoint", "https://[", Fault.ANSWER),
        ("id_token_signing_alg_values_supported", ["HS256", "none"], Fault.ALGORITHM),
    ],
)
def test_wrong_discovery_document_is_refused(
    sign_in: Callable[[], Person], theirs: IdentityProvider, name: str, value: object, expected: Fault
) -> None:
    theirs.changes[DISCOVERY] = with_value(name, value)
    assert fault(sign_in) is expected


def test_issuer_with_tls_has_no_address_without_it() -> None:
    issuer = "https://id.hospital.example"
    names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    honest = {"issuer": issuer, **{name: f"{issuer}/{name}" for name in names}}
    assert discovery.parsed(honest, issuer).token_endpoint == f"{issuer}/token_endpoint"
    for name in names:
        weak = {**honest, name: f"http://id.hospital.example/{name}"}
        assert fault(lambda weak=weak: discovery.parsed(weak, issuer)) is Fault.ANSWER  # type: ignore[misc]


def test_provider_that_is_away_has_a_sentence(theirs: IdentityProvider) -> None:
    with socket.create_server(("localhost", 0)) as closed:
        port = closed.getsockname()[1]
    ours = Provider(Settings.model_validate(theirs.settings(oidc_issuer=f"http://localhost:{port}")))
    assert fault(lambda: ours.sign_in_url(new_attempt("/review"), CALLBACK)) is Fault.AWAY


def test_failure_is_not_repeated_for_everybody(
    ours: Provider, theirs: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs.changes[DISCOVERY] = lambda _: Response("", 503)
    for _ in range(3):
        assert fault(lambda: ours.sign_in_url(new_attempt("/review"), CALLBACK)) is Fault.AWAY
    assert theirs.count(DISCOVERY) == 1
    theirs.changes.clear()
    monkeypatch.setattr("webui.access.oidc.kept._REST_S", 0.0)
    assert ours.sign_in_url(new_attempt("/review"), CALLBACK).startswith(theirs.issuer)


@pytest.fixture(params=["silent", "in drops"])
def slow_issuer(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a provider that never finishes its answer."""
    stop = threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if request.param == "in drops":
                self.send_response(200)
                self.send_header("Content-Length", "100000")
                self.end_headers()
            with suppress(OSError):
                while not stop.wait(0.05):
                    self.wfile.write(b" " if request.param == "in drops" else b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("localhost", 0), Slow) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}"
        stop.set()
        server.shutdown()
        thread.join()


def test_slow_provider_keeps_nobody_waiting(
    slow_issuer: str, theirs: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limited_http, "_SILENCE_S", 0.3)
    monkeypatch.setattr(limited_http, "_WHOLE_S", 0.3)
    ours = Provider(Settings.model_validate(theirs.settings(oidc_issuer=slow_issuer)))
    assert fault(lambda: ours.sign_in_url(new_attempt("/review"), CALLBACK)) is Fault.AWAY


def test_no_redirect_leads_the_program_elsewhere(
    sign_in: Callable[[], Person], theirs: IdentityProvider
) -> None:
    theirs.changes[KEYS] = lambda _: Response("", 307, {"Location": f"{theirs.issuer}{DISCOVERY}"})
    assert fault(sign_in) is Fault.ANSWER
    assert theirs.count(DISCOVERY) == 1


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    """Files of a certificate of `localhost` that no public authority signed, and of its key."""
    certificate, key = write_certificate(tmp_path, "localhost")
    return str(certificate), str(key)


def test_certificate_must_come_from_a_trusted_authority(
    certificate: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    other = tmp_path / "other.pem"
    other.write_text("no certificate")
    with identity_provider(ADA, tls=certificate) as theirs:

        def go(**settings: object) -> str:
            ours = Provider(Settings.model_validate(theirs.settings(**settings)))
            return ours.sign_in_url(new_attempt("/review"), CALLBACK)

        assert fault(go) is Fault.ANSWER
        assert fault(lambda: go(oidc_ca_file=str(other))) is Fault.ANSWER
        assert go(oidc_ca_file=certificate[0]).startswith(theirs.issuer)
