"""Signing in with a link, sessions and their end, and an administrator's page of people."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, select, update

from tests.integration.webui.conftest import Reader
from tests.integration.webui.night import Night, open_night
from tests.signing_in import person, sign_in
from webui import create_app
from webui.access.identity import COOKIE
from worker.ledger import actors, audit, sign_ins, users
from worker.ledger.comparison import compare
from worker.ledger.roles import Role
from worker.ledger.session import ledger_time, utc_now
from worker.ledger.tables import AuditEvent, BrowserSession, SignInLink, User

FOREIGN = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}


def link(night: Night, name: str = "Ada") -> str:
    """Return the path of a new link of a reader."""
    user_id = person(night.ledger, name)
    with night.ledger.transaction() as session:
        user, at = session.get_one(User, user_id), ledger_time(session)
        return f"/sign-in/{sign_ins.make_link(session, user, actor=actors.PROGRAM, at=at)}"


def age(night: Night, **columns: timedelta) -> None:
    """Put times of all sessions back."""
    with night.ledger.transaction() as session:
        for row in session.scalars(select(BrowserSession)):
            for name, by in columns.items():
                setattr(row, name, getattr(row, name) - by)


def kinds(night: Night) -> list[str]:
    with night.ledger.reading() as session:
        return list(session.scalars(select(AuditEvent.kind).order_by(AuditEvent.seq)))


def is_signed_in(client: FlaskClient) -> bool:
    return client.get("/account").status_code == 200


def test_cookies_over_tls_can_be_set_by_this_host_only(app: Flask, night: Night) -> None:
    browser = app.test_client()
    browser.environ_base["HTTP_SEC_FETCH_SITE"] = "same-origin"
    site = "https://localhost"
    signed_in = browser.get(link(night), base_url=site, headers={"Sec-Fetch-Site": "none"})
    undone = browser.post("/review/undo", base_url=site)
    cookies = [cookie for answer in (signed_in, undone) for cookie in answer.headers.getlist("Set-Cookie")]
    assert {cookie.split("=")[0] for cookie in cookies} == {
        "__Host-nightread_device",
        "__Host-nightread_session",
        "__Host-nightread",
    }
    for cookie in cookies:
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=Strict"} <= set(cookie.split("; "))
        assert "Domain" not in cookie
    assert "nothing to undo" in browser.get("/review", base_url=site).text
    key = browser.get_cookie("__Host-nightread_session")
    assert key is not None
    planted = app.test_client()
    planted.set_cookie(COOKIE, key.value)
    assert planted.get("/account", base_url=site).status_code == 303
    ended = browser.post("/sign-out", base_url=site)
    assert ended.headers["Clear-Site-Data"] == '"cache", "storage"'
    assert browser.get_cookie("__Host-nightread_session") is None
    assert browser.get("/account", base_url=site).status_code == 303


def test_link_signs_a_browser_in_at_once(app: Flask, night: Night) -> None:
    browser = app.test_client()
    answer = browser.get(link(night), headers={"Sec-Fetch-Site": "none"})
    assert (answer.status_code, answer.location) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Ada" in browser.get("/review").text
    assert kinds(night)[-3:] == ["user_added", "sign_in_link_made", "signed_in"]


def test_link_works_once(app: Flask, night: Night) -> None:
    path = link(night)
    assert app.test_client().get(path).status_code == 303
    for again in (app.test_client().get(path), app.test_client().post(path)):
        assert again.status_code == 410
        assert "This link was used before, or it is too old." in again.text


def test_new_link_makes_earlier_ones_useless(app: Flask, night: Night) -> None:
    earlier, newer = link(night), link(night)
    assert app.test_client().get(earlier).status_code == 410
    assert app.test_client().get(newer).status_code == 303


def test_wrong_link_is_on_record(app: Flask, night: Night) -> None:
    for _ in range(100):
        assert app.test_client().get("/sign-in/wrong").status_code == 410
    assert kinds(night).count("sign_in_failed") == 60, "a minute"


def test_link_expires(app: Flask, night: Night) -> None:
    path = link(night)
    with night.ledger.transaction() as session:
        session.execute(update(SignInLink).values(valid_until=utc_now()))
    assert app.test_client().get(path).status_code == 410


def test_link_of_a_disabled_person_is_refused(app: Flask, night: Night) -> None:
    path = link(night)
    with night.ledger.transaction() as session:
        users.disable(session, users.find(session, "Ada"), actor=actors.PROGRAM, at=utc_now())
    assert app.test_client().get(path).status_code == 410


@pytest.mark.parametrize(
    "headers", [FOREIGN, {"Sec-Fetch-Site": "same-site"}, {"Sec-Purpose": "prefetch;prerender"}]
)
def test_another_site_or_a_prefetch_does_not_use_a_link(
    app: Flask, night: Night, headers: dict[str, str]
) -> None:
    path, browser = link(night), app.test_client()
    answer = browser.get(path, headers=headers)
    assert answer.status_code == 200
    assert "This link signs you in as <strong>Ada</strong>, once." in answer.text
    assert browser.get_cookie(COOKIE) is None
    assert browser.head(path).status_code == 200
    assert browser.post(path, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 303
    assert is_signed_in(browser)


@pytest.mark.parametrize("key", ["x", "a" * 5_000, "%00", "\N{ARABIC-INDIC DIGIT ONE}"])
def test_unknown_link_is_refused(app: Flask, key: str) -> None:
    assert app.test_client().get(f"/sign-in/{key}").status_code in {400, 410}


def test_first_administrator_is_asked_for_a_name_when_reading(unnamed: FlaskClient) -> None:
    assert "Enter your name" in unnamed.get("/review").text
    assert 'action="/account/name"' in unnamed.get("/review/1").text
    answer = unnamed.post("/account/name", data={"name": " Ada  Night ", "next": "/review/1"})
    assert (answer.status_code, answer.location) == (303, "/review/1")
    assert unnamed.post("/review/1/decide", data={"finding": "signs_of_pneumonia"}).location == "/review/2"
    assert "Ada Night" in unnamed.get("/review/2").text


def test_ledger_and_trail_hold_no_key_and_no_name(app: Flask, night: Night) -> None:
    path, browser = link(night, "Ada Night"), app.test_client()
    browser.get(path)
    cookie = browser.get_cookie(COOKIE)
    assert cookie is not None
    with night.ledger.reading() as session:
        payloads = " ".join(session.scalars(select(AuditEvent.payload)))
        stored = [row.key_sha256 for row in session.scalars(select(BrowserSession))]
        assert audit.verify(session).ok
        assert compare(session).mismatches == []
    assert cookie.value not in stored
    for secret in (path.removeprefix("/sign-in/"), cookie.value, "Ada"):
        assert secret not in payloads


def test_session_is_new_at_each_sign_in(app: Flask, night: Night) -> None:
    browser = app.test_client()
    keys = []
    for _ in range(2):
        browser.get(link(night))
        cookie = browser.get_cookie(COOKIE)
        assert cookie is not None
        keys.append(cookie.value)
    assert keys[0] != keys[1]
    browser.set_cookie(COOKIE, keys[0])
    assert not is_signed_in(browser)


def test_key_of_another_installation_is_no_key(app: Flask) -> None:
    browser = app.test_client()
    browser.set_cookie(COOKIE, "a" * 43)
    assert browser.get("/review").location == "/sign-in?next=%2Freview"


def test_person_returns_to_the_page_that_they_asked_for(app: Flask, reader: Reader) -> None:
    asked = app.test_client().get("/review/2?verdict=any").location
    assert asked == "/sign-in?next=%2Freview%2F2%3Fverdict%3Dany"
    assert reader("Ada").get(asked).location == "/review/2?verdict=any"
    assert reader("Ada").get("/sign-in?next=https://evil.example/").location == "/"


def test_session_without_use_ends(reader: Reader, night: Night) -> None:
    ada = reader("Ada")
    age(night, seen_at=timedelta(hours=11))
    assert is_signed_in(ada), "the use is recorded"
    age(night, seen_at=timedelta(hours=13))
    assert not is_signed_in(ada)


def test_pages_are_shown_while_the_ledger_cannot_be_written(app: Flask, reader: Reader, night: Night) -> None:
    ada = reader("Ada")
    age(night, seen_at=timedelta(hours=11))
    ledger = app.extensions["nightread"].ledger
    event.listen(ledger.engine, "connect", lambda connection, _: connection.execute("PRAGMA query_only=ON"))
    ledger.close()
    assert ada.get("/account").status_code == 200
    assert ada.post("/account/name", data={"name": "Eve"}).status_code == 503


@pytest.mark.parametrize("asked_by_itself", ["/status/strip", "/review/news"])
def test_open_page_is_no_use(reader: Reader, night: Night, asked_by_itself: str) -> None:
    ada = reader("Ada")
    age(night, seen_at=timedelta(hours=11))
    assert ada.get(asked_by_itself).status_code == 200
    age(night, seen_at=timedelta(hours=2))
    assert not is_signed_in(ada)


def test_session_ends_after_its_longest_time(reader: Reader, night: Night) -> None:
    ada = reader("Ada")
    age(night, started_at=timedelta(days=6))
    assert is_signed_in(ada)
    age(night, started_at=timedelta(days=2))
    assert not is_signed_in(ada)


def test_administrator_has_shorter_limits(app: Flask, night: Night) -> None:
    administrator = sign_in(app.test_client(), night.ledger, "Adam", {Role.ADMINISTRATOR, Role.READER})
    age(night, started_at=timedelta(days=2))
    assert not is_signed_in(administrator)


def test_sign_out_ends_the_session(reader: Reader, night: Night) -> None:
    ada = reader("Ada")
    cookie = ada.get_cookie(COOKIE)
    assert cookie is not None
    answer = ada.post("/sign-out")
    assert (answer.status_code, answer.location) == (303, "/sign-in")
    assert ada.get_cookie(COOKIE) is None
    ada.set_cookie(COOKIE, cookie.value)
    assert not is_signed_in(ada)
    assert kinds(night)[-1] == "signed_out"


def test_person_ends_a_session_elsewhere(reader: Reader) -> None:
    ada, elsewhere, ben = reader("Ada"), reader("Ada"), reader("Ben")
    page = ada.get("/account").text
    (address,) = re.findall(r'action="(/account/sessions/\d+/end)"', page)
    assert ben.post(address).status_code == 404
    assert is_signed_in(elsewhere)
    assert ada.post(address).status_code == 303
    assert not is_signed_in(elsewhere)
    assert is_signed_in(ada)


def test_open_page_of_a_disabled_person_is_sent_away(
    reader: Reader, client: FlaskClient, night: Night
) -> None:
    ada = reader("Ada")
    client.post(f"/people/{person(night.ledger, 'Ada')}/disable")
    answer = ada.get("/status/strip", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (401, "/sign-in")
    for opened, target in (
        ("http://localhost/review/2?verdict=any", "/sign-in?next=/review/2?verdict%3Dany"),
        ("http://localhost//elsewhere.example/", "/sign-in"),
    ):
        there = {"HX-Request": "true", "HX-Current-URL": opened}
        assert ada.get("/status/strip", headers=there).headers["HX-Redirect"] == target
    assert ada.post("/review/1/decide", data={"finding": "signs_of_pneumonia"}).status_code == 401
    picture = ada.get("/images/1/picture", headers={"Sec-Fetch-Dest": "image"})
    assert picture.status_code == 401


def test_administrator_adds_a_person_and_gets_a_link(app: Flask, client: FlaskClient) -> None:
    answer = client.post("/people", data={"name": "Ben", "role": ["viewer", "auditor"]})
    (address,) = re.findall(r'value="http://localhost(/sign-in/[^"]+)"', answer.text)
    ben = app.test_client()
    ben.get(address)
    assert ben.get("/review").status_code == 200
    assert ben.get("/people").status_code == 403
    assert "Ben" in client.get("/people").text


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"name": "", "role": "reader"}, "A name of 1 to 100"),
        ({"name": "(erased 4)", "role": "reader"}, "must not begin with a parenthesis"),
        ({"name": "SOMEBODY", "role": "reader"}, "Somebody has this name already."),
        ({"name": "Ben"}, "A person needs a role."),
        ({"name": "Ben", "role": "root"}, "not a valid Role"),
    ],
)
def test_wrong_form_adds_nobody(
    client: FlaskClient, night: Night, form: dict[str, str], sentence: str
) -> None:
    answer = client.post("/people", data=form)
    assert answer.status_code == 400
    assert sentence in answer.text
    with night.ledger.reading() as session:
        assert [user.name for user in users.everybody(session)] == ["Somebody"]


def test_roles_hold_at_once(client: FlaskClient, reader: Reader, night: Night) -> None:
    ada, ada_id = reader("Ada"), person(night.ledger, "Ada")
    client.post(f"/people/{ada_id}/roles", data={"role": "viewer"})
    assert ada.post("/review/1/decide", data={"finding": "signs_of_pneumonia"}).status_code == 403
    client.post(f"/people/{ada_id}/roles", data={"role": ["reader", "viewer"]})
    assert ada.post("/review/1/decide", data={"finding": "signs_of_pneumonia"}).status_code == 303


def test_last_administrator_stays(client: FlaskClient) -> None:
    for address, form in (("/people/1/roles", {"role": "reader"}), ("/people/1/disable", {})):
        page = client.post(address, data=form, follow_redirects=True).text
        assert "This is the only administrator; make somebody else administrator first." in page
    assert client.get("/people").status_code == 200


def test_disabled_person_gets_no_link(client: FlaskClient, reader: Reader, night: Night) -> None:
    reader("Ada")
    ada_id = person(night.ledger, "Ada")
    client.post(f"/people/{ada_id}/disable")
    for action in ("link", "reset"):
        answer = client.post(f"/people/{ada_id}/{action}")
        assert answer.status_code == 400
        assert "This person is disabled; enable them first." in answer.text


def test_disabled_person_can_come_back(app: Flask, client: FlaskClient, reader: Reader, night: Night) -> None:
    ada, ada_id = reader("Ada"), person(night.ledger, "Ada")
    client.post(f"/people/{ada_id}/disable")
    client.post(f"/people/{ada_id}/enable")
    assert not is_signed_in(ada), "the session stays ended"
    page = client.post(f"/people/{ada_id}/link").text
    browser = app.test_client()
    browser.get(re.findall(r'value="http://localhost(/sign-in/[^"]+)"', page)[0])
    assert is_signed_in(browser)


def test_administrator_ends_sessions(client: FlaskClient, reader: Reader, night: Night) -> None:
    ada = reader("Ada")
    client.post(f"/people/{person(night.ledger, 'Ada')}/end-sessions")
    assert not is_signed_in(ada)
    assert kinds(night)[-1] == "session_ended"


def test_administrator_sees_sessions_without_addresses_and_ends_one(
    client: FlaskClient, reader: Reader, night: Night
) -> None:
    ada, elsewhere, ben = reader("Ada"), reader("Ada"), reader("Ben")
    with night.ledger.transaction() as session:
        newest = session.scalars(select(BrowserSession).order_by(BrowserSession.id.desc()).limit(3)).all()
        for row, browser in zip(newest, ("Lynx <9>", "Mosaic", "Arena"), strict=True):
            row.browser, row.address = browser, "203.0.113.7"
    page = client.get("/people").text
    assert "Lynx &lt;9&gt;" in page
    assert "203.0.113.7" not in page
    (address,) = re.findall(r'Mosaic.*?action="(/people/\d+/sessions/\d+/end)"', page, re.DOTALL)
    assert ada.post(address).status_code == 403
    answer = client.post(address, follow_redirects=True)
    assert "The session was ended." in answer.text
    assert "Mosaic" not in answer.text
    assert [is_signed_in(browser) for browser in (ada, elsewhere, ben)] == [True, False, True]
    with night.ledger.reading() as session:
        ended = session.scalars(select(AuditEvent).order_by(AuditEvent.seq.desc()).limit(1)).one()
    assert (ended.kind, ended.actor) == (
        "session_ended",
        f"user:{person(night.ledger, 'Somebody', set(Role))}",
    )
    assert ended.subject == f"user:{person(night.ledger, 'Ada')}"
    assert client.post(address).status_code == 404, "it has ended"


def test_session_of_one_person_is_not_ended_at_another(
    client: FlaskClient, reader: Reader, night: Night
) -> None:
    ada, ben_id = reader("Ada"), person(night.ledger, "Ben")
    with night.ledger.reading() as session:
        newest = session.scalars(select(BrowserSession.id).order_by(BrowserSession.id.desc()).limit(1)).one()
    assert client.post(f"/people/{ben_id}/sessions/{newest}/end").status_code == 404
    assert client.post(f"/people/999/sessions/{newest}/end").status_code == 404
    assert is_signed_in(ada)
    assert "/sessions/" not in client.get("/people").text.split("<h2>Somebody")[1].split("</li>")[0]


def test_unknown_person_is_404(client: FlaskClient) -> None:
    for action in ("link", "roles", "disable", "enable", "end-sessions"):
        assert client.post(f"/people/999/{action}", data={"role": "reader"}).status_code == 404


@pytest.mark.postgres
def test_signing_in_works_on_postgresql(postgres_url: str, tmp_path: object) -> None:
    night = open_night(tmp_path / "data", database_url=postgres_url)  # type: ignore[operator]
    app = create_app(night.settings)
    administrator = sign_in(app.test_client(), night.ledger, "Adam", {Role.ADMINISTRATOR})
    page = administrator.post("/people", data={"name": "Ada", "role": "reader"}).text
    browser = app.test_client()
    browser.get(re.findall(r'value="http://localhost(/sign-in/[^"]+)"', page)[0])
    assert browser.get("/review").status_code == 200
    administrator.post("/people/2/disable")
    assert browser.get("/review").status_code == 303
    with night.ledger.reading() as session:
        assert audit.verify(session).ok
        assert compare(session).mismatches == []
    app.extensions["nightread"].ledger.close()
    night.ledger.close()
