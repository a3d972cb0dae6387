"""Signing in through the hospital's sign-in service, with a real provider and our pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from limits import RateLimitItemPerYear
from oidc_provider_mock import User
from sqlalchemy import select
from structlog.testing import capture_logs
from werkzeug.test import TestResponse
from werkzeug.wrappers import Response

from tests.identity_provider import (
    CLIENT_SECRET,
    DISCOVERY,
    TOKEN,
    IdentityProvider,
    document,
    identity_provider,
    new_key,
)
from tests.integration.webui.night import NO_BROKER
from tests.ledgers import current_ledger
from webui import create_app
from webui.access import sign_in_limits
from webui.access.identity import COOKIE
from webui.dependencies import EXTENSION
from worker.config import Settings
from worker.ledger import audit, users
from worker.ledger.comparison import compare
from worker.ledger.roles import Role
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.tables import AuditEvent
from worker.ledger.tables import User as Person

ADA = User(sub="248289761001", claims={"name": "Ada Night", "groups": ["readers"]})
HOP = "nightread_sign_in"
CROSS_SITE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.fixture(scope="module")
def _running() -> Iterator[IdentityProvider]:
    with identity_provider(ADA) as provider:
        yield provider


@pytest.fixture
def theirs(_running: IdentityProvider) -> IdentityProvider:
    """The provider, honest until the test makes it lie."""
    _running.reset()
    return _running


def pages_of(data: Path, **settings: object) -> Flask:
    return create_app(Settings.model_validate({"data": data, "broker_url": NO_BROKER, **settings}))


@pytest.fixture
def app(theirs: IdentityProvider, tmp_path: Path) -> Iterator[Flask]:
    """Our pages, on an empty ledger."""
    data = tmp_path / "data"
    data.mkdir()
    current_ledger(Settings(data=data).database).close()
    made = pages_of(data, **theirs.settings())
    yield made
    made.extensions[EXTENSION].ledger.close()


@pytest.fixture
def ledger(app: Flask) -> Ledger:
    """The ledger of our pages."""
    opened: Ledger = app.extensions[EXTENSION].ledger
    return opened


@pytest.fixture
def browser(app: Flask) -> FlaskClient:
    """A browser in which nobody is signed in."""
    return app.test_client()


def go_there(browser: FlaskClient, theirs: IdentityProvider, target: str = "/account") -> str:
    """Go to the provider, sign in there, and return our address to which the browser is sent back."""
    answer = browser.get("/sign-in/provider", query_string={"next": target})
    assert answer.status_code == 303, answer.text
    parameters = theirs.signed_in(answer.location, ADA.sub)
    return "/sign-in/provider/callback?" + "&".join(f"{name}={value}" for name, value in parameters.items())


def come_back(browser: FlaskClient, address: str) -> TestResponse:
    return browser.get(address, headers=CROSS_SITE)


def sign_in(browser: FlaskClient, theirs: IdentityProvider) -> TestResponse:
    return come_back(browser, go_there(browser, theirs))


def is_signed_in(browser: FlaskClient) -> bool:
    return browser.get("/account").status_code == 200


def events(ledger: Ledger) -> list[tuple[str, str, str, str]]:
    with ledger.reading() as session:
        rows = session.scalars(select(AuditEvent).order_by(AuditEvent.seq)).all()
        return [(row.kind, row.actor, row.subject, row.payload) for row in rows]


def reason(ledger: Ledger) -> str:
    """Return the reason of the last event, which must be a failure."""
    kind, actor, _, payload = events(ledger)[-1]
    assert (kind, actor) == ("sign_in_failed", "anonymous")
    return payload.split('"reason":"')[1].split('"')[0]


def test_person_of_the_hospital_is_signed_in(
    browser: FlaskClient, theirs: IdentityProvider, ledger: Ledger
) -> None:
    page = sign_in(browser, theirs)
    assert page.status_code == 200
    assert '<meta http-equiv="refresh" content="0; url=/account">' in page.text
    assert '<a href="/account">Continue</a>' in page.text
    assert "Ada Night" in browser.get("/account").text
    assert [event[0] for event in events(ledger)] == ["user_added", "identity_added", "signed_in"]
    with ledger.reading() as session:
        assert compare(session).mismatch_count == 0
        assert audit.verify(session).ok


def test_sign_in_page_leads_to_the_service(browser: FlaskClient, tmp_path: Path) -> None:
    page = browser.get("/sign-in?next=/runs").text
    assert '<a class="button primary" href="/sign-in/provider?next=/runs">' in page
    assert "Sign in with your hospital account" in page
    without = pages_of(tmp_path / "data").test_client()
    assert "/sign-in/provider" not in without.get("/sign-in").text
    for address in ("/sign-in/provider", "/sign-in/provider/callback"):
        assert without.get(address).status_code == 404


def test_another_site_begins_no_sign_in(browser: FlaskClient, theirs: IdentityProvider) -> None:
    answer = browser.get("/sign-in/provider?next=/runs", headers=CROSS_SITE)
    assert answer.location == "/sign-in?next=/runs"
    assert theirs.asked == []


def test_hop_is_lax_short_and_hides_its_secrets(browser: FlaskClient, theirs: IdentityProvider) -> None:
    answer = browser.get("/sign-in/provider?next=/account")
    asked = {name: value for name, (value,) in parse_qs(urlsplit(answer.location).query).items()}
    cookie = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Lax", "Max-Age=600", "Path=/"} <= set(cookie.split("; "))
    assert not any(asked[name] in cookie for name in ("state", "nonce"))
    back = sign_in(browser, theirs)
    cookies = back.headers.getlist("Set-Cookie")
    (session,) = (text for text in cookies if text.startswith(f"{COOKIE}="))
    assert "SameSite=Strict" in session
    assert browser.get_cookie(HOP) is None, "an attempt is used once"


def test_tokens_reach_no_page_cookie_or_log(browser: FlaskClient, theirs: IdentityProvider) -> None:
    tokens: list[str] = []

    def keep(response: Response) -> Response:
        answer = response.json or {}
        tokens.extend(answer[name] for name in ("id_token", "access_token", "refresh_token"))
        return response

    theirs.changes[TOKEN] = keep
    with capture_logs() as logs:
        page = sign_in(browser, theirs)
    seen = f"{page.text} {page.headers} {logs} {browser.get('/account').text}"
    assert len(tokens) == 3
    assert not any(token in seen for token in (*tokens, CLIENT_SECRET))


def test_cookies_over_tls_belong_to_this_host(browser: FlaskClient) -> None:
    answer = browser.get("/sign-in/provider", base_url="https://localhost")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"__Host-{HOP}=")
    assert "Secure" in cookie.split("; ")
    assert "redirect_uri=https%3A%2F%2Flocalhost%2Fsign-in%2Fprovider%2Fcallback" in answer.location


def test_redirect_uri_is_the_setting_or_the_checked_name(
    theirs: IdentityProvider, browser: FlaskClient, tmp_path: Path
) -> None:
    forged = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "Forwarded": "host=evil.example",
    }
    uri = parse_qs(urlsplit(browser.get("/sign-in/provider", headers=forged).location).query)["redirect_uri"]
    assert uri == ["http://localhost/sign-in/provider/callback"]
    assert browser.get("/sign-in/provider", headers={"Host": "evil.example"}).status_code == 400
    chosen = "https://nightread.hospital.example/sign-in/provider/callback"
    other = pages_of(tmp_path / "data", **theirs.settings(oidc_redirect_uri=chosen)).test_client()
    assert parse_qs(urlsplit(other.get("/sign-in/provider").location).query)["redirect_uri"] == [chosen]


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example", "//[", ""])
def test_way_on_stays_on_this_site(browser: FlaskClient, theirs: IdentityProvider, target: str) -> None:
    page = come_back(browser, go_there(browser, theirs, target))
    assert 'content="0; url=/"' in page.text


def test_way_on_is_escaped(browser: FlaskClient, theirs: IdentityProvider) -> None:
    page = come_back(browser, go_there(browser, theirs, '/runs?x="><script>alert(1)</script>'))
    assert "<script>alert" not in page.text
    assert page.status_code == 200


def test_long_way_on_is_cut(browser: FlaskClient, theirs: IdentityProvider) -> None:
    page = come_back(browser, go_there(browser, theirs, "/runs?x=" + "ü" * 1000))
    assert 'content="0; url=/"' in page.text


def test_signed_in_person_needs_no_service(browser: FlaskClient, theirs: IdentityProvider) -> None:
    sign_in(browser, theirs)
    answer = browser.get("/sign-in/provider?next=/account")
    assert (answer.status_code, answer.location) == (303, "/account")


@pytest.mark.parametrize("change", ["wrong", "missing", "of another browser", "no cookie", "forged cookie"])
def test_wrong_state_is_a_400(
    app: Flask, browser: FlaskClient, theirs: IdentityProvider, ledger: Ledger, change: str
) -> None:
    address = go_there(browser, theirs)
    if change == "wrong":
        address = re.sub("state=[^&]*", "state=wrong", address)
    elif change == "missing":
        address = re.sub("&?state=[^&]*", "", address)
    elif change == "of another browser":
        browser = app.test_client()
        go_there(browser, theirs)
    elif change == "no cookie":
        browser.delete_cookie(HOP)
    else:
        browser.set_cookie(HOP, "gAAAAABforged")
    answer = come_back(browser, address)
    assert answer.status_code == 400
    assert "did not begin in this browser" in answer.text
    assert not is_signed_in(browser)
    assert theirs.count(TOKEN) == 0
    assert reason(ledger) == "state"


def test_forged_answer_does_not_end_an_attempt(browser: FlaskClient, theirs: IdentityProvider) -> None:
    """A page of another site can open our address with a wrong state, while the person is at the provider."""
    address = go_there(browser, theirs)
    come_back(browser, "/sign-in/provider/callback?code=x&state=x")
    assert come_back(browser, address).status_code == 200


def test_address_of_the_way_back_works_once(browser: FlaskClient, theirs: IdentityProvider) -> None:
    address = go_there(browser, theirs)
    assert come_back(browser, address).status_code == 200
    browser.delete_cookie(COOKIE)
    assert come_back(browser, address).status_code == 400
    assert not is_signed_in(browser)


def test_error_of_the_provider_is_a_sentence_of_ours(
    browser: FlaskClient, theirs: IdentityProvider, ledger: Ledger
) -> None:
    state = re.search("state=[^&]*", go_there(browser, theirs))
    assert state is not None
    words = "error=access_denied&error_description=<b>Ada+pressed+cancel</b>"
    answer = come_back(browser, f"/sign-in/provider/callback?{words}&{state[0]}")
    assert answer.status_code == 400
    assert "did not sign you in" in answer.text
    assert "pressed" not in answer.text
    assert reason(ledger) == "refused"
    assert "pressed" not in str(events(ledger))


@pytest.mark.parametrize(
    ("claims", "status", "code"),
    [
        ({"nonce": "other"}, 400, "nonce"),
        ({"aud": "other"}, 502, "audience"),
        ({"iss": "https://evil.example"}, 502, "issuer"),
        ({"exp": 1_000_000_000}, 502, "expired"),
    ],
)
def test_wrong_token_is_a_sentence_and_on_record(
    browser: FlaskClient,
    theirs: IdentityProvider,
    ledger: Ledger,
    claims: dict[str, object],
    status: int,
    code: str,
) -> None:
    theirs.claims.update(claims)
    with capture_logs() as logs:
        answer = sign_in(browser, theirs)
    assert answer.status_code == status
    assert "You are not signed in" in answer.text
    assert reason(ledger) == code
    assert not is_signed_in(browser)
    assert [line for line in logs if "Ada" in str(line) or ADA.sub in str(line)] == []


def test_unsigned_or_foreign_token_is_refused(
    browser: FlaskClient, theirs: IdentityProvider, ledger: Ledger
) -> None:
    theirs.header["alg"] = "none"
    assert sign_in(browser, theirs).status_code == 502
    assert reason(ledger) == "algorithm"
    theirs.header.clear()
    theirs.published.append(theirs.key)
    theirs.key = new_key("first")
    assert sign_in(browser, theirs).status_code == 502
    assert reason(ledger) == "signature"


def test_provider_that_is_away_is_a_503(
    browser: FlaskClient, theirs: IdentityProvider, ledger: Ledger
) -> None:
    theirs.changes[DISCOVERY] = lambda _: Response("", 503)
    answer = browser.get("/sign-in/provider")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "does not answer" in answer.text
    assert reason(ledger) == "away"


def test_provider_that_ends_half_way_is_a_503(
    browser: FlaskClient, theirs: IdentityProvider, ledger: Ledger
) -> None:
    theirs.changes[TOKEN] = lambda _: document({}, 500)
    assert sign_in(browser, theirs).status_code == 503
    assert reason(ledger) == "away"


def test_nobody_without_a_mapped_group_comes_in(
    browser: FlaskClient, theirs: IdentityProvider, ledger: Ledger
) -> None:
    theirs.claims["groups"] = ["visitors", "Readers"]
    answer = sign_in(browser, theirs)
    assert answer.status_code == 403
    assert "none of your groups gives a role" in answer.text
    assert not is_signed_in(browser)
    assert reason(ledger) == "no_role"
    assert [event[0] for event in events(ledger)] == ["sign_in_failed"], "nobody was added"


def test_administrator_sees_roles_and_cannot_change_them(
    browser: FlaskClient, theirs: IdentityProvider, ledger: Ledger
) -> None:
    theirs.claims["groups"] = ["admins"]
    sign_in(browser, theirs)
    assert "given by the hospital&#39;s sign-in service" in browser.get("/people").text.replace("'", "&#39;")
    answer = browser.post(
        "/people/1/roles", data={"role": "auditor"}, headers={"Sec-Fetch-Site": "same-origin"}
    )
    assert answer.status_code == 303
    assert "change their groups there" in browser.get("/people").text
    with ledger.reading() as session:
        assert session.get_one(Person, 1).roles == "administrator"


def test_roles_follow_the_groups_at_each_sign_in(
    app: Flask, browser: FlaskClient, theirs: IdentityProvider
) -> None:
    sign_in(browser, theirs)
    assert browser.get("/review").status_code == 200
    theirs.claims["groups"] = ["admins", "auditors"]
    sign_in(app.test_client(), theirs)
    assert browser.get("/review").status_code == 403, "an open tab has the new roles at once"
    assert browser.get("/people").status_code == 200


def test_person_who_left_the_group_loses_sessions(
    app: Flask, browser: FlaskClient, theirs: IdentityProvider, ledger: Ledger
) -> None:
    sign_in(browser, theirs)
    theirs.claims["groups"] = []
    assert sign_in(app.test_client(), theirs).status_code == 403
    assert not is_signed_in(browser)
    kind, _, subject, _ = events(ledger)[-1]
    assert (kind, subject) == ("sign_in_failed", "user:1")


def test_disabled_person_stays_out(browser: FlaskClient, theirs: IdentityProvider, ledger: Ledger) -> None:
    sign_in(browser, theirs)
    with ledger.transaction() as session:
        users.disable(session, session.get_one(Person, 1), actor="os:0", at=ledger_time(session))
    assert not is_signed_in(browser)
    answer = sign_in(browser, theirs)
    assert answer.status_code == 403
    assert "disabled" in answer.text
    assert reason(ledger) == "disabled"


def test_account_of_the_same_name_is_not_taken_over(
    browser: FlaskClient, theirs: IdentityProvider, ledger: Ledger
) -> None:
    with ledger.transaction() as session:
        at = ledger_time(session)
        users.add(session, "Ada Night", {Role.ADMINISTRATOR}, actor="os:0", at=at)
    sign_in(browser, theirs)
    assert "Ada Night (2)" in browser.get("/account").text
    assert browser.get("/people").status_code == 403


def test_person_of_the_hospital_can_have_no_passphrase(
    browser: FlaskClient, theirs: IdentityProvider, ledger: Ledger
) -> None:
    """It would let them in after the hospital has closed their account."""
    sign_in(browser, theirs)
    assert "assphrase" not in browser.get("/account").text
    new = "four words that nobody guesses"
    answer = browser.post(
        "/account/passphrase", data={"new": new, "again": new}, headers={"Sec-Fetch-Site": "same-origin"}
    )
    assert answer.status_code == 409
    assert "hospital account" in answer.text
    with ledger.reading() as session:
        assert session.get_one(Person, 1).passphrase_hash is None


def test_failures_on_purpose_do_not_fill_the_trail(
    browser: FlaskClient, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in_limits, "_RECORDED", RateLimitItemPerYear(3))
    for _ in range(5):
        assert come_back(browser, "/sign-in/provider/callback?state=x").status_code == 400
    assert len(events(ledger)) == 3


def test_nothing_personal_is_kept_by_the_browser(browser: FlaskClient, theirs: IdentityProvider) -> None:
    answers = [browser.get("/sign-in/provider"), sign_in(browser, theirs)]
    assert {answer.headers["Cache-Control"] for answer in answers} == {"no-store"}
