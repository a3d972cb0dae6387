"""Second factors: authenticator apps, recovery codes, required roles, and what a page refuses of a passkey."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pyotp
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from tests.filling import arrived_from_the_service
from tests.integration.webui.night import Night
from tests.integration.webui.test_passphrases import (
    OWN,
    assert_whole,
    events,
    give_passphrase,
    is_signed_in,
    try_in,
    use_up_the_limit_of_all,
    user,
)
from tests.signing_in import Browser, sign_in
from webui import create_app
from webui.access import second_step, totp
from webui.access.identity import COOKIE
from worker.config import ROLES, Settings
from worker.ledger import actors, second_factors, sign_ins
from worker.ledger.comparison import compare
from worker.ledger.roles import Role
from worker.ledger.session import ledger_time
from worker.ledger.sign_ins import Method
from worker.ledger.tables import Passkey, Totp, User
from worker.passphrases.hashing import hashed

SECOND_STEP = "/sign-in/second-step?next=/"


class Clock(datetime):
    """The time at which codes are made, which the test moves."""

    now_s = 1_800_000_000


@pytest.fixture(scope="module")
def own_hash() -> str:
    return hashed(OWN)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    """Codes depend on a time that does not pass by itself."""
    monkeypatch.setattr(Clock, "now_s", 1_800_000_000)
    step_of = totp.step_of
    monkeypatch.setattr(
        totp,
        "step_of",
        lambda secret, code, _at: step_of(secret, code, datetime.fromtimestamp(Clock.now_s, UTC)),
    )
    return Clock


@pytest.fixture(autouse=True)
def ada(app: Flask, night: Night, own_hash: str) -> FlaskClient:
    """A browser of Ada, a reader with a passphrase, who is signed in."""
    give_passphrase(night, "Ada", own_hash)
    browser = app.test_client()
    try_in(browser)
    return browser


def code_of(secret: str) -> str:
    return pyotp.TOTP(secret).at(Clock.now_s)


def set_up(browser: FlaskClient, present: str = OWN) -> tuple[str, list[str]]:
    """Set an app up. Return its secret and the recovery codes."""
    page = browser.post("/account/authenticator", data={"present": present}).text
    secret = re.findall(r'id="secret"[^>]*value="([^"]+)"', page)[0].replace(" ", "")
    token = re.findall(r'name="token" value="([^"]+)"', page)[0]
    shown = browser.post("/account/authenticator/confirm", data={"token": token, "code": code_of(secret)})
    assert shown.status_code == 200
    return secret, re.findall(r"<code>([a-z2-7-]+)</code>", shown.text)


def second(browser: FlaskClient, code: str) -> TestResponse:
    return browser.post("/sign-in/second-step", data={"code": code, "next": "/runs"})


def test_code_of_the_app_is_asked_after_the_passphrase(
    app: Flask, night: Night, ada: FlaskClient, clock: type[Clock]
) -> None:
    secret, _ = set_up(ada)
    assert is_signed_in(ada)
    browser = app.test_client()
    assert try_in(browser).location == SECOND_STEP
    assert not is_signed_in(browser)
    assert 'autocomplete="one-time-code"' in browser.get(SECOND_STEP).text
    clock.now_s += 30
    answer = second(browser, code_of(secret))
    assert (answer.status_code, answer.location) == (303, "/runs")
    assert is_signed_in(browser)
    assert '"method":"totp"' in events(night, "signed_in")[-1].payload
    assert_whole(night)


def test_each_code_is_accepted_once(app: Flask, night: Night, ada: FlaskClient, clock: type[Clock]) -> None:
    secret, _ = set_up(ada)
    first, other = app.test_client(), app.test_client()
    try_in(first)
    try_in(other)
    assert second(first, code_of(secret)).status_code == 400, "the code that confirmed the app"
    clock.now_s += 30
    assert second(first, code_of(secret)).status_code == 303
    assert second(other, code_of(secret)).status_code == 400
    assert events(night, "sign_in_failed")[-1].payload == '{"method":"totp","reason":"wrong_code"}'
    clock.now_s += 30
    assert second(other, code_of(secret)).status_code == 303


def test_wrong_codes_are_limited(app: Flask, ada: FlaskClient, clock: type[Clock]) -> None:
    secret, _ = set_up(ada)
    clock.now_s += 30
    browser = app.test_client()
    try_in(browser)
    for wrong in ("", "000000" if code_of(secret) != "000000" else "000001", "12345", "١٢٣٤٥٦", "x" * 5_000):
        answer = second(browser, wrong)
        assert answer.status_code == 400
        assert "This code is wrong, or it was used before." in answer.text
    answer = second(browser, code_of(secret))
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1


def test_attack_on_all_leaves_second_factors_of_known_browsers_alone(
    app: Flask, night: Night, ada: FlaskClient, clock: type[Clock]
) -> None:
    secret, _ = set_up(ada)
    new = app.test_client()
    assert try_in(new).location == SECOND_STEP
    ada.post("/sign-out")
    with night.ledger.transaction() as session:
        row, at = session.get_one(User, user(night).id), ledger_time(session)
        second_factors.add_passkey(
            session,
            row,
            name="Phone",
            credential_id="AAAA",
            public_key=b"x",
            sign_count=0,
            actor=actors.PROGRAM,
            at=at,
        )
    use_up_the_limit_of_all(app)
    clock.now_s += 30
    passkey = {"credential": {"id": "AAAA"}, "state": ""}
    assert second(new, code_of(secret)).status_code == 429
    assert new.post("/sign-in/passkey", json=passkey).status_code == 429
    assert ada.post("/sign-in/passkey", json=passkey).status_code == 400, (
        "counted as this browser's, and wrong"
    )
    assert try_in(ada).location == SECOND_STEP
    assert second(ada, code_of(secret)).status_code == 303


def test_wrong_codes_are_limited_in_a_known_browser(app: Flask, ada: FlaskClient) -> None:
    set_up(ada)
    ada.post("/sign-out")
    try_in(ada)
    answers = [second(ada, f"00000{number % 10}").status_code for number in range(12)]
    assert answers == [400] * 10 + [429] * 2


def test_recovery_code_works_once(app: Flask, night: Night, ada: FlaskClient) -> None:
    _, codes = set_up(ada)
    assert len(set(codes)) == 10
    for number, expected in enumerate((303, 400)):
        browser = app.test_client()
        try_in(browser)
        typed = codes[0].upper().replace("-", " ") if number == 0 else codes[0]
        assert second(browser, typed).status_code == expected
    assert "9 recovery codes are left" in ada.get("/account").text
    assert len(events(night, "recovery_code_used")) == 1


def test_new_app_makes_the_earlier_one_and_its_codes_useless(
    app: Flask, ada: FlaskClient, clock: type[Clock]
) -> None:
    secret, codes = set_up(ada)
    newer, _ = set_up(ada)
    clock.now_s += 30
    browser = app.test_client()
    try_in(browser)
    assert second(browser, code_of(secret)).status_code == 400
    assert second(browser, codes[0]).status_code == 400
    assert second(browser, code_of(newer)).status_code == 303


def test_secret_is_encrypted_at_rest(night: Night, ada: FlaskClient) -> None:
    secret, codes = set_up(ada)
    stored = (night.settings.data / "nightread.sqlite3").read_bytes()
    wal = night.settings.data / "nightread.sqlite3-wal"
    stored += wal.read_bytes() if wal.exists() else b""
    assert secret.encode() not in stored
    assert codes[0].encode() not in stored
    assert codes[0].replace("-", "").encode() not in stored
    assert (night.settings.data / "totp.key").stat().st_mode & 0o777 == 0o600


def test_exchanged_secret_is_found(night: Night, ada: FlaskClient) -> None:
    set_up(ada)
    assert_whole(night)
    with night.ledger.transaction() as session:
        session.execute(update(Totp).values(secret="another"))
    with night.ledger.reading() as session:
        assert [mismatch.what for mismatch in compare(session).mismatches] == ["secret"]


def test_app_is_kept_only_after_a_right_code(night: Night, ada: FlaskClient) -> None:
    page = ada.post("/account/authenticator", data={"present": OWN}).text
    token = re.findall(r'name="token" value="([^"]+)"', page)[0]
    answer = ada.post("/account/authenticator/confirm", data={"token": token, "code": "12"})
    assert answer.status_code == 400
    assert "This code is wrong." in answer.text
    for forged in ("", "x", "ä"):
        assert (
            ada.post("/account/authenticator/confirm", data={"token": forged, "code": "1"}).status_code == 303
        )
    with night.ledger.reading() as session:
        assert session.scalars(select(Totp)).all() == []


def test_app_of_one_person_cannot_be_given_to_another(
    app: Flask, night: Night, ada: FlaskClient, own_hash: str
) -> None:
    """Whoever finds Ada's browser open has no passphrase of hers, but may have an app of their own."""
    other = sign_in(app.test_client(), night.ledger, "Eve", {Role.READER})
    page = other.post("/account/authenticator").text
    token = re.findall(r'name="token" value="([^"]+)"', page)[0]
    secret = re.findall(r'id="secret"[^>]*value="([^"]+)"', page)[0].replace(" ", "")
    ada.post("/account/authenticator/confirm", data={"token": token, "code": code_of(secret)})
    assert "This took too long." in ada.get("/account").text
    with night.ledger.reading() as session:
        assert session.scalars(select(Totp)).all() == []


def test_changes_need_the_present_passphrase(night: Night, ada: FlaskClient) -> None:
    set_up(ada)
    for path in ("/account/authenticator", "/account/authenticator/remove"):
        assert ada.post(path, data={"present": "wrong"}).location == "/account"
        assert "Your present passphrase is another one." in ada.get("/account").text
    assert events(night, "totp_removed") == []
    ada.post("/account/authenticator/remove", data={"present": OWN})
    assert len(events(night, "totp_removed")) == 1
    assert_whole(night)


def test_wrong_present_passphrase_is_on_record(night: Night, ada: FlaskClient) -> None:
    ada.post("/account/authenticator", data={"present": "wrong"})
    payload = '{"method":"passphrase","reason":"wrong_present_passphrase"}'
    assert events(night, "sign_in_failed")[-1].payload == payload


def test_removed_app_ends_other_sessions(
    app: Flask, night: Night, ada: FlaskClient, clock: type[Clock]
) -> None:
    secret, _ = set_up(ada)
    clock.now_s += 30
    other = app.test_client()
    try_in(other)
    second(other, code_of(secret))
    assert is_signed_in(other)
    ada.post("/account/authenticator/remove", data={"present": OWN})
    assert (is_signed_in(ada), is_signed_in(other)) == (True, False)


def test_link_asks_for_the_second_factor(
    app: Flask, night: Night, ada: FlaskClient, clock: type[Clock]
) -> None:
    secret, _ = set_up(ada)
    clock.now_s += 30
    with night.ledger.transaction() as session:
        key = sign_ins.make_link(session, user(night), actor="os:0", at=ledger_time(session))
    browser = app.test_client()
    assert browser.get(f"/sign-in/{key}").location == "/sign-in/second-step"
    assert not is_signed_in(browser)
    assert second(browser, code_of(secret)).status_code == 303
    assert is_signed_in(browser)


def test_removed_app_is_not_asked_for(app: Flask, ada: FlaskClient) -> None:
    set_up(ada)
    ada.post("/account/authenticator/remove", data={"present": OWN})
    assert try_in(app.test_client()).location == "/"


def test_reset_removes_second_factors(
    app: Flask, night: Night, client: FlaskClient, ada: FlaskClient
) -> None:
    set_up(ada)
    ada.post("/account/tokens", data={"name": "script", "scope": "images:read", "days": "9"})
    client.post(f"/people/{user(night).id}/reset")
    assert not is_signed_in(ada)
    assert len(events(night, "totp_removed")) == 1
    assert len(events(night, "token_revoked")) == 1
    assert_whole(night)


@pytest.mark.parametrize("forged", ["", "x", "WzEsIiJd.abc.def"])
def test_second_step_needs_a_right_passphrase_first(app: Flask, ada: FlaskClient, forged: str) -> None:
    secret, _ = set_up(ada)
    browser = app.test_client()
    browser.set_cookie(second_step.COOKIE, forged)
    assert browser.get(SECOND_STEP).location == "/sign-in"
    assert second(browser, code_of(secret)).location == "/sign-in"


def test_second_step_ends_when_the_passphrase_is_changed(
    app: Flask, night: Night, ada: FlaskClient, own_hash: str
) -> None:
    set_up(ada)
    browser = app.test_client()
    try_in(browser)
    give_passphrase(night, "Ada", hashed("an owl counts the stairs"))
    assert browser.get(SECOND_STEP).location == "/sign-in"


def test_role_that_needs_a_second_factor_reaches_only_the_account(night: Night, own_hash: str) -> None:
    app = create_app(night.settings.model_copy(update={"second_factor_roles": "reader,auditor"}))
    app.test_client_class = Browser
    browser = app.test_client()
    try_in(browser)
    assert browser.get("/review").location == "/account"
    assert browser.get("/api/v1/queue").status_code == 403
    assert browser.post("/upload").status_code == 403
    token = {"name": "script", "scope": "images:read", "days": "9"}
    assert browser.post("/account/tokens", data=token).status_code == 403
    assert "Your role needs a second factor." in browser.get("/account").text
    set_up(browser)
    assert browser.get("/review").status_code == 200
    viewer = sign_in(app.test_client(), night.ledger, "Vera", {Role.VIEWER})
    assert viewer.get("/review").status_code == 200
    app.extensions["nightread"].ledger.close()


def test_setting_names_roles() -> None:
    assert tuple(role.value for role in Role) == ROLES
    assert Settings(second_factor_roles=" Reader, auditor,").second_factor_roles == "reader,auditor"
    with pytest.raises(ValueError, match="there is no role 'boss'"):
        Settings(second_factor_roles="boss")


def test_page_under_a_bare_address_offers_no_passkeys(app: Flask, night: Night) -> None:
    browser = app.test_client()
    address = {"base_url": "http://127.0.0.1"}
    assert "passkey" not in browser.get("/sign-in", **address).text
    for path in ("/sign-in/passkey/options", "/sign-in/passkey"):
        assert browser.post(path, json={}, **address).status_code == 404
    assert "passkey" in browser.get("/sign-in", base_url="http://localhost").text


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"state": 5},
        {"state": "x", "credential": "y"},
        {"credential": {"id": 5}},
        {"credential": {"id": "\x00"}},
    ],
)
def test_answer_that_is_no_passkey_is_refused(app: Flask, ada: FlaskClient, answer: object) -> None:
    assert app.test_client().post("/sign-in/passkey", json=answer).status_code == 400
    assert ada.post("/account/passkeys", json=answer).status_code == 400


def test_unknown_passkey_is_refused_and_recorded(app: Flask, night: Night) -> None:
    browser = app.test_client()
    state = browser.post("/sign-in/passkey/options").get_json()["state"]
    answer = browser.post("/sign-in/passkey", json={"state": state, "credential": {"id": "abc"}})
    assert answer.status_code == 400
    assert "This passkey was not accepted." in answer.get_json()["error"]
    assert events(night, "sign_in_failed")[-1].payload == '{"method":"passkey","reason":"wrong_passkey"}'


def test_passkey_of_another_person_cannot_be_removed(app: Flask, night: Night, ada: FlaskClient) -> None:
    with night.ledger.transaction() as session:
        key = {"credential_id": "abc", "public_key": b"k", "sign_count": 0, "name": "Key"}
        session.add(Passkey(user_id=user(night).id, added_at=user(night).created_at, **key))
    other = sign_in(app.test_client(), night.ledger, "Grace", {Role.READER})
    assert other.post("/account/passkeys/1/remove").status_code == 404
    assert ada.post("/account/passkeys/1/remove", data={"present": "wrong"}).status_code == 303
    with night.ledger.reading() as session:
        assert session.scalars(select(Passkey.removed_at)).all() == [None]


def test_person_of_the_sign_in_service_adds_no_factor_here(app: Flask, night: Night) -> None:
    with night.ledger.transaction() as session:
        at = ledger_time(session)
        eva = arrived_from_the_service(session, at)
        key = sign_ins.start(session, eva, Method.PROVIDER, address="", browser="", at=at)[1]
    browser = app.test_client()
    browser.set_cookie(COOKIE, key)
    assert "Authenticator app" not in browser.get("/account").text
    browser.post("/account/authenticator")
    assert "It asks for a second factor, and not Nightread." in browser.get("/account").text
    assert browser.post("/account/passkeys/options", json={}).status_code == 409
