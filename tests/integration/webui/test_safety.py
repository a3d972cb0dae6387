"""Protection without logins: host names, origins, headers, cookies; and errors without internals."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import cast

import pytest
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from flask.testing import FlaskClient

from tests.integration.webui.conftest import Reader
from tests.integration.webui.night import RUN, Night, open_night
from webui import create_app
from worker import DISCLAIMER
from worker.config import Settings
from worker.ledger.states import ReviewState
from worker.ledger.tables import Image

PAGES = (
    "/review",
    "/review/1",
    "/upload",
    "/runs",
    f"/runs/{RUN}",
    "/rejected",
    "/models",
    "/reader",
    "/nothing-here",
)
ALL_URLS = (*PAGES, "/api/v1/queue", "/healthz", "/images/1/picture", "/static/page.js", "/status/strip")


def unread(night: Night) -> bool:
    with night.ledger.reading() as session:
        return session.get_one(Image, 1).review_state == ReviewState.UNREAD


@pytest.mark.parametrize("url", ALL_URLS)
@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8000", "169.254.1.1"]
)
def test_foreign_host_name_gets_no_data(shared_client: FlaskClient, url: str, host: str) -> None:
    answer = shared_client.get(url, headers={"Host": host})
    assert answer.status_code == 400
    assert "phantom" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "LOCALHOST"])
def test_own_host_names_are_answered(shared_client: FlaskClient, host: str) -> None:
    assert shared_client.get("/review", headers={"Host": host}).status_code == 200


def test_settings_allow_more_host_names(tmp_path: Path) -> None:
    named = create_app(open_night(tmp_path / "a", allowed_hosts="reading-room").settings).test_client()
    assert named.get("/healthz", headers={"Host": "reading-room:8000"}).status_code == 200
    assert named.get("/healthz", headers={"Host": "other-room:8000"}).status_code == 400
    settings = open_night(tmp_path / "b", allow_remote=True, allowed_hosts="page", host="0.0.0.0").settings  # noqa: S104
    remote = create_app(settings).test_client()
    assert remote.get("/healthz", headers={"Host": "page"}).status_code == 200
    for host in ("anything.example", "0.0.0.0"):  # noqa: S104
        assert remote.get("/healthz", headers={"Host": host}).status_code == 400


FOREIGN_ORIGINS = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:9999"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
]


@pytest.mark.parametrize("headers", FOREIGN_ORIGINS)
def test_page_of_another_site_changes_nothing(reader: Reader, night: Night, headers: dict[str, str]) -> None:
    ada = reader("Ada")
    for url in ("/review/1/decide", "/review/undo", "/upload", "/rejected/1/retry", "/reader"):
        assert ada.post(url, data={"action": "confirm"}, headers=headers).status_code == 403
    refused = ada.post("/api/v1/images/1/review", json={"action": "confirm"}, headers=headers)
    assert refused.status_code == 403
    assert refused.get_json()["error"].startswith("This request came from a page of another site.")
    assert unread(night)


def test_own_page_may_change_data(reader: Reader, night: Night) -> None:
    headers = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    assert (
        reader("Ada").post("/review/1/decide", data={"action": "confirm"}, headers=headers).status_code == 303
    )
    assert not unread(night)


@pytest.mark.parametrize("url", ALL_URLS)
def test_responses_have_security_headers(shared_client: FlaskClient, url: str) -> None:
    answer = shared_client.get(url)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    if answer.mimetype == "text/html":
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("url", PAGES)
def test_page_has_disclaimer_and_no_foreign_content(shared_client: FlaskClient, url: str) -> None:
    page = shared_client.get(url).text
    assert DISCLAIMER in page
    for forbidden in ("http://", "https://", "<style", " style=", "onclick", "javascript:"):
        assert forbidden not in page, forbidden
    assert "<script>" not in page


def test_cookie_is_http_only_and_same_site(app: Flask) -> None:
    cookie = app.test_client().post("/reader", data={"name": "Ada"}).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


def test_forged_cookie_is_ignored(app: Flask, tmp_path: Path) -> None:
    other = create_app(Settings(data=tmp_path / "other"))
    forged = cast("SecureCookieSessionInterface", other.session_interface).get_signing_serializer(other)
    assert forged is not None
    browser = app.test_client()
    browser.set_cookie("nightread", forged.dumps({"reader": "Ada"}))
    assert "Enter your name" in browser.get("/review").text


def test_secret_key_is_created_once_for_its_owner(night: Night, app: Flask) -> None:
    path = night.settings.data / "secret_key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == app.secret_key == create_app(night.settings).secret_key
    assert len(path.read_bytes()) == 32


@pytest.mark.parametrize("name", ["", "   ", "x" * 101])
def test_invalid_name_is_refused(app: Flask, name: str) -> None:
    answer = app.test_client().post("/reader", data={"name": name})
    assert answer.status_code == 400
    assert "A name of 1 to 100 printable characters is needed." in answer.text


def test_name_form_does_not_redirect_to_another_site(app: Flask) -> None:
    answer = app.test_client().post("/reader", data={"name": "Ada", "next": "//evil.example/"})
    assert answer.location == "/review"


def test_missing_page_links_to_the_queue(shared_client: FlaskClient) -> None:
    answer = shared_client.get("/nothing-here")
    assert answer.status_code == 404
    assert "There is no page at this address." in answer.text
    assert 'href="/review"' in answer.text


def test_unreachable_database_is_a_503_response(app: Flask, night: Night) -> None:
    client = app.test_client()
    database = night.settings.data / "nightread.sqlite3"
    for path in (database, *night.settings.data.glob("nightread.sqlite3-*")):
        path.rename(path.with_name(f"away-{path.name}"))
    database.mkdir()
    app.extensions["nightread"].ledger.close()
    for url in ("/review", "/review/1", "/runs", "/rejected"):
        answer = client.get(url)
        assert answer.status_code == 503
        assert "The database or the image store cannot be reached. No data is lost." in answer.text
        assert answer.headers["Retry-After"] == "5"
    answer = client.get("/api/v1/queue")
    assert answer.status_code == 503
    assert answer.get_json() == {
        "error": "The database or the image store cannot be reached. No data is lost. Try again in a moment."
    }
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    assert client.get("/static/page.js").status_code == 200


def test_outdated_database_is_not_ready(tmp_path: Path) -> None:
    client = create_app(Settings(data=tmp_path / "new")).test_client()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "nightread db upgrade" in answer.get_json()["error"]


def test_internal_error_shows_no_internals(app: Flask) -> None:
    app.add_url_rule("/defect", view_func=lambda: str(1 / 0))
    answer = app.test_client().get("/defect")
    assert answer.status_code == 500
    assert "Everything that was recorded before is safe." in answer.text
    assert "ZeroDivisionError" not in answer.text
