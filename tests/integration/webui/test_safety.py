"""Protection without logins: host names, origins, headers, cookies; and errors without internals."""

from __future__ import annotations

import re
import stat
from itertools import product
from pathlib import Path
from typing import cast

import pytest
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from flask.testing import FlaskClient
from itsdangerous import BadSignature, URLSafeTimedSerializer
from sqlalchemy import select

from tests.integration.webui.conftest import Reader
from tests.integration.webui.night import RUN, Night, open_night
from tests.integration.webui.test_permissions import requests_of
from tests.signing_in import signed_in_client
from webui import create_app
from webui.access.permissions import Permission, needs
from worker import DISCLAIMER
from worker.config import ROOT, Settings
from worker.ledger.states import ReviewState
from worker.ledger.tables import Base, Image

PAGES = (
    "/review",
    "/review/1",
    "/upload",
    "/runs",
    f"/runs/{RUN}",
    "/rejected",
    "/models",
    "/account",
    "/people",
    "/sign-in/x",
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
    assert shared_client.get("/healthz", headers={"Host": host}).status_code == 200


def test_settings_allow_more_host_names(tmp_path: Path) -> None:
    named = signed_in_client(create_app(open_night(tmp_path / "a", allowed_hosts="reading-room").settings))
    assert named.get("/healthz", headers={"Host": "reading-room:8000"}).status_code == 200
    assert named.get("/healthz", headers={"Host": "other-room:8000"}).status_code == 400
    settings = open_night(tmp_path / "b", allowed_hosts="page", host="0.0.0.0").settings  # noqa: S104
    remote = signed_in_client(create_app(settings))
    assert remote.get("/healthz", headers={"Host": "page"}).status_code == 200
    for host in ("anything.example", "0.0.0.0"):  # noqa: S104
        assert remote.get("/healthz", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize(
    ("peer", "status"), [("10.0.0.5", 200), ("127.0.0.1", 200), ("::1", 200), ("10.0.0.6", 403)]
)
def test_only_the_proxy_and_this_machine_are_answered(tmp_path: Path, peer: str, status: int) -> None:
    settings = open_night(tmp_path, proxy_hops=1, proxy_addresses="10.0.0.5").settings
    answer = create_app(settings).test_client().get("/healthz", environ_base={"REMOTE_ADDR": peer})
    assert answer.status_code == status
    assert ("through its proxy only" in answer.text) is (status == 403)


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
    for url in ("/review/1/decide", "/review/undo", "/upload", "/rejected/1/retry", "/account/name"):
        assert ada.post(url, data={"finding": "signs_of_pneumonia"}, headers=headers).status_code == 403
    refused = ada.post("/api/v1/images/1/review", json={"finding": "signs_of_pneumonia"}, headers=headers)
    assert refused.status_code == 403
    assert refused.get_json()["error"].startswith("This request came from a page of another site.")
    assert unread(night)


def test_own_page_may_change_data(reader: Reader, night: Night) -> None:
    headers = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    assert (
        reader("Ada")
        .post("/review/1/decide", data={"finding": "signs_of_pneumonia"}, headers=headers)
        .status_code
        == 303
    )
    assert not unread(night)


def test_cookie_without_the_page_that_sent_it_changes_nothing(reader: Reader, night: Night) -> None:
    ada = reader("Ada")
    del ada.environ_base["HTTP_SEC_FETCH_SITE"]
    refused = ada.post("/review/1/decide", data={"finding": "signs_of_pneumonia"})
    assert refused.status_code == 403
    assert "does not say which page it came from" in refused.text
    assert unread(night)
    origin = {"Origin": "http://localhost"}
    assert (
        ada.post("/review/1/decide", data={"finding": "signs_of_pneumonia"}, headers=origin).status_code
        == 303
    )


# What a safe request may write: that a session is in use, that a process is alive, and who looked at what.
_MAY_CHANGE = {"session", "process", "access_record", "access_reason", "access_batch"}


def content(night: Night) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of every table that no safe request may change."""
    with night.ledger.reading() as session:
        return {
            table.name: [tuple(row) for row in session.execute(select(table))]
            for table in Base.metadata.sorted_tables
            if table.name not in _MAY_CHANGE
        }


def addresses(app: Flask) -> dict[str, str]:
    """Return an address for each rule that answers GET, by its endpoint."""
    made = {endpoint: address for endpoint, method, address in requests_of(app) if method == "GET"}
    assert len(made) > 20
    return made


def test_no_safe_request_changes_data(reader: Reader, client: FlaskClient, night: Night) -> None:
    """A page of another site can make a browser send any of them, and a browser may load a page ahead."""
    ada = reader("Ada")
    before = content(night)
    for browser, (endpoint, url) in product((ada, client), addresses(client.application).items()):
        answers = [browser.get(url, headers={"Sec-Purpose": "prefetch"}), browser.head(url)]
        # A link that a person opens signs them in, and one that is wrong is on record.
        answers += [browser.get(url)] if endpoint != "sign_in.open_link" else []
        assert max(answer.status_code for answer in answers) < 500
        assert content(night) == before, endpoint


@pytest.mark.parametrize("method", ["TRACE", "PUT", "PROPFIND"])
def test_methods_that_no_rule_has_are_refused(client: FlaskClient, method: str) -> None:
    assert client.open("/review", method=method).status_code == 405


def test_scripts_keep_nothing_in_the_browser_but_settings_drafts_and_unsent_readings() -> None:
    scripts = {path.name: path.read_text() for path in (ROOT / "webui" / "static").glob("*.js")}
    keeping = {name for name, script in scripts.items() if "./tab_storage.js" in script}
    assert keeping == {"view_settings.js", "drafts.js", "unsent.js"}
    storage = scripts.pop("tab_storage.js")
    everything = "".join(scripts.values())
    assert "fetch(" in everything
    assert not re.search(
        r"localStorage|sessionStorage|indexedDB|document\.cookie|caches\b|serviceWorker", everything
    )
    assert not re.search(r"localStorage|indexedDB|document\.cookie|caches\b|serviceWorker", storage)


def test_browser_keeps_nothing_personal(client: FlaskClient) -> None:
    urls = addresses(client.application)
    kept = {
        endpoint for endpoint, url in urls.items() if client.get(url).headers["Cache-Control"] != "no-store"
    }
    assert kept == {"static", "images.scale"}
    for url in ("/nothing-here", "/review/99", "/images/1/picture?v=0000", "/images/99/thumb.jpg"):
        assert client.get(url).headers["Cache-Control"] == "no-store", url


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
    page = shared_client.get(url, follow_redirects=True).text
    assert DISCLAIMER in page
    for forbidden in ("http://", "https://", "<style", " style=", "onclick", "javascript:"):
        assert forbidden not in page, forbidden
    assert "<script>" not in page


def test_secret_key_is_created_once_for_its_owner(night: Night, app: Flask) -> None:
    path = night.settings.data / "secret_key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == app.secret_key == create_app(night.settings).secret_key
    assert len(path.read_bytes()) == 32


def test_cookie_outlives_one_change_of_its_key(night: Night) -> None:
    key = night.settings.data / "secret_key"

    def serializer() -> URLSafeTimedSerializer:
        app = create_app(night.settings)
        made = cast("SecureCookieSessionInterface", app.session_interface).get_signing_serializer(app)
        assert made is not None
        return made

    first = serializer().dumps({"n": 1})
    key.rename(key.with_name("secret_key.previous"))
    second = serializer().dumps({"n": 2})
    assert [serializer().loads(cookie)["n"] for cookie in (first, second)] == [1, 2]
    key.with_name("secret_key.previous").unlink()
    assert serializer().loads(second) == {"n": 2}
    with pytest.raises(BadSignature):
        serializer().loads(first)


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "(unnamed)"])
def test_invalid_name_is_refused(client: FlaskClient, name: str) -> None:
    answer = client.post("/account/name", data={"name": name})
    assert answer.status_code == 400
    assert "A name of 1 to 100 printable characters is needed" in answer.text


def test_name_form_does_not_redirect_to_another_site(client: FlaskClient) -> None:
    answer = client.post("/account/name", data={"name": "Ada", "next": "//evil.example/"})
    assert answer.location == "/"


def test_missing_page_links_to_the_queue(shared_client: FlaskClient) -> None:
    answer = shared_client.get("/nothing-here")
    assert answer.status_code == 404
    assert "There is no page at this address." in answer.text
    assert 'href="/review"' in answer.text


def test_unreachable_database_is_a_503_response(app: Flask, night: Night) -> None:
    client = signed_in_client(app)
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
    app.add_url_rule("/defect", view_func=needs(Permission.EVERYONE)(lambda: str(1 / 0)))
    answer = app.test_client().get("/defect")
    assert answer.status_code == 500
    assert "Everything that was recorded before is safe." in answer.text
    assert "ZeroDivisionError" not in answer.text
