"""API tokens: what a request with one gets, and the pages on which people make and revoke them."""

from __future__ import annotations

import io
import re
from datetime import datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update

from tests.integration.webui.conftest import Reader
from tests.integration.webui.night import Night
from tests.signing_in import TOKEN_OWNER, bearer, person, sign_in, token_key
from webui.access.identity import COOKIE
from worker.ledger import actors, users
from worker.ledger.roles import Role, Scope
from worker.ledger.session import Ledger, utc_now
from worker.ledger.tables import ApiToken, AuditEvent, Receipt, User

IMAGE = "/api/v1/images/1"


@pytest.fixture
def program(app: Flask) -> FlaskClient:
    """A program without a session, which does not say where a request comes from."""
    return FlaskClient(app, app.response_class)


def change(ledger: Ledger, **values: object) -> None:
    with ledger.transaction() as session:
        session.execute(update(ApiToken).values(**values))


class TestRequests:
    def test_token_is_the_actor_of_what_it_does(self, program: FlaskClient, night: Night) -> None:
        headers = bearer(night.ledger, {Scope.IMAGES_WRITE, Scope.RETRY})
        files = {"files": (io.BytesIO(b""), "empty.jpg")}
        (sent,) = program.post("/api/v1/images", data=files, headers=headers).get_json()
        again = program.post(
            f"/api/v1/images/{sent['image']}/retry", json={"reason": "sent again"}, headers=headers
        )
        assert again.status_code == 200
        with night.ledger.reading() as session:
            subject = f"image:{sent['image']}"
            events = session.scalars(select(AuditEvent.actor).where(AuditEvent.subject == subject)).all()
            received_by = session.get_one(Receipt, sent["receipt"]).received_by
        assert (set(events), received_by) == ({"token:1"}, "token:1")
        reading = bearer(night.ledger, {Scope.IMAGES_READ})
        (receipt,) = program.get(f"/api/v1/images/{sent['image']}", headers=reading).get_json()["receipts"]
        assert receipt["received_by"] == f"{TOKEN_OWNER} (script)"

    @pytest.mark.parametrize("key", ["nr_" + "0" * 64, "", "é", "nr_", "x" * 10_000])
    def test_wrong_key_is_refused_with_a_sentence(self, program: FlaskClient, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}".encode().decode("latin-1")}
        answer = program.get(IMAGE, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="Nightread", error="invalid_token"'
        assert answer.get_json()["error"].startswith("Nightread does not know this token.")

    def test_expired_token_is_refused(self, program: FlaskClient, night: Night) -> None:
        headers = bearer(night.ledger, {Scope.IMAGES_READ})
        assert program.get(IMAGE, headers=headers).status_code == 200
        change(night.ledger, expires_at=utc_now() - timedelta(seconds=1))
        answer = program.get(IMAGE, headers=headers)
        assert (answer.status_code, "expired" in answer.get_json()["error"]) == (401, True)

    def test_token_of_a_disabled_owner_is_refused_at_once(self, program: FlaskClient, night: Night) -> None:
        person(night.ledger, "Boss", {Role.ADMINISTRATOR})
        headers = bearer(night.ledger, {Scope.IMAGES_READ})
        assert program.get(IMAGE, headers=headers).status_code == 200
        with night.ledger.transaction() as session:
            owner = users.find(session, TOKEN_OWNER)
            users.disable(session, owner, actor=actors.PROGRAM, at=utc_now())
        assert program.get(IMAGE, headers=headers).status_code == 401

    def test_missing_scope_is_named(self, program: FlaskClient, night: Night) -> None:
        answer = program.post(IMAGE + "/retry", headers=bearer(night.ledger, {Scope.IMAGES_READ}))
        assert answer.status_code == 403
        assert "scope retry" in answer.get_json()["error"]
        assert answer.headers["WWW-Authenticate"] == (
            'Bearer realm="Nightread", error="insufficient_scope", scope="retry"'
        )

    def test_no_token_reads(self, program: FlaskClient, night: Night) -> None:
        headers = bearer(night.ledger, list(Scope))
        answer = program.post(IMAGE + "/review", json={"finding": "signs_of_pneumonia"}, headers=headers)
        assert (answer.status_code, "No token" in answer.get_json()["error"]) == (403, True)

    def test_request_without_identity_is_told_how_to_sign_in(self, program: FlaskClient) -> None:
        answer = program.get(IMAGE)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="Nightread"')

    @pytest.mark.parametrize("name", ["token", "access_token", "key", "Authorization"])
    def test_key_in_an_address_a_form_or_a_cookie_counts_nothing(
        self, program: FlaskClient, night: Night, name: str
    ) -> None:
        key = token_key(night.ledger, list(Scope))
        program.set_cookie(name, key)
        program.set_cookie(COOKIE, key)
        for value in (key, f"Bearer {key}"):
            assert program.get(IMAGE, query_string={name: value}).status_code == 401
            # The cookie alone makes this request one of a page, which would say where it comes from.
            assert program.post("/api/v1/images", data={name: value}).status_code == 403

    @pytest.mark.parametrize("scheme", ["Basic", "Token", "Digest"])
    def test_other_schemes_are_left_to_a_proxy(
        self, app: Flask, night: Night, reader: Reader, scheme: str
    ) -> None:
        headers = {"Authorization": f"{scheme} {token_key(night.ledger, list(Scope))}"}
        assert app.test_client().get(IMAGE, headers=headers).status_code == 401
        assert reader("Ada").get(IMAGE, headers=headers).status_code == 200

    def test_token_counts_before_the_cookie(self, night: Night, reader: Reader) -> None:
        browser = reader("Ada")
        assert browser.get("/api/v1/runs", headers=bearer(night.ledger, {Scope.RETRY})).status_code == 403
        assert browser.get("/api/v1/runs", headers={"Authorization": "Bearer nr_x"}).status_code == 401

    def test_unsafe_request_of_a_program_needs_no_origin(self, program: FlaskClient, night: Night) -> None:
        program.set_cookie("a_proxy", "adds this")
        headers = bearer(night.ledger, {Scope.IMAGES_WRITE})
        files = {"files": (io.BytesIO(b""), "empty.jpg")}
        assert program.post("/api/v1/images", data=files, headers=headers).status_code == 200

    def test_uploading_program_sees_no_images_of_others(self, program: FlaskClient, night: Night) -> None:
        addresses = ("/upload/rows?receipts=1", "/upload?receipts=1")
        for scopes, shown in (({Scope.IMAGES_WRITE}, False), ({Scope.IMAGES_WRITE, Scope.IMAGES_READ}, True)):
            headers = bearer(night.ledger, scopes)
            for address in addresses:
                assert ("phantom-000.jpg" in program.get(address, headers=headers).text) == shown

    def test_use_is_recorded_at_most_once_a_minute(self, program: FlaskClient, night: Night) -> None:
        headers = bearer(night.ledger, {Scope.IMAGES_READ})
        program.get(IMAGE, headers=headers)
        first = self._last_used(night.ledger)
        program.get(IMAGE, headers=headers)
        assert self._last_used(night.ledger) == first
        change(night.ledger, last_used_at=utc_now() - timedelta(seconds=61))
        program.get(IMAGE, headers=headers)
        assert self._last_used(night.ledger) > first

    def _last_used(self, ledger: Ledger) -> datetime:
        with ledger.reading() as session:
            last_used_at = session.scalars(select(ApiToken.last_used_at)).one()
        assert last_used_at is not None
        return last_used_at

    @pytest.mark.parametrize("path", ["/healthz", "/sign-in", "/nothing", "/static/page.js"])
    def test_wrong_key_is_no_failure_where_none_is_needed(self, program: FlaskClient, path: str) -> None:
        answer = program.get(path, headers={"Authorization": "Bearer nr_x"})
        assert answer.status_code in {200, 401, 404}

    def test_monitoring_sees_troubles_with_its_scope(self, program: FlaskClient, night: Night) -> None:
        assert "troubles" in program.get("/healthz", headers=bearer(night.ledger, {Scope.METRICS})).text
        assert "troubles" not in program.get("/healthz", headers=bearer(night.ledger, {Scope.RETRY})).text


class TestPages:
    def make(self, browser: FlaskClient, **form: object) -> str:
        defaults = {"name": "import script", "scope": ["images:read"], "days": "30"}
        answer = browser.post("/account/tokens", data=defaults | form)
        assert answer.headers["Cache-Control"] == "no-store"
        return answer.text

    def test_key_is_shown_once_and_works(self, reader: Reader, program: FlaskClient) -> None:
        ada = reader("Ada")
        (key,) = set(re.findall("nr_[0-9a-f]{64}", self.make(ada)))
        page = ada.get("/account/tokens").text
        assert key not in page
        assert "import script" in page
        assert program.get(IMAGE, headers={"Authorization": f"Bearer {key}"}).status_code == 200

    @pytest.mark.parametrize(
        ("form", "sentence"),
        [
            ({"name": ""}, "1 to 100 printable characters"),
            ({"scope": []}, "at least one scope"),
            ({"scope": ["metrics"]}, "do not allow the scope metrics"),
            ({"scope": ["everything"]}, "There is no such scope."),
            ({"days": "366"}, "1 to 365 days"),
            ({"days": "soon"}, "whole number"),
            ({"days": "9" * 5000}, "whole number"),
        ],
    )
    def test_bad_value_makes_no_token_and_says_why(
        self, reader: Reader, night: Night, form: dict[str, object], sentence: str
    ) -> None:
        page = self.make(reader("Ada"), **form)
        assert sentence in page
        assert "nr_" not in page
        with night.ledger.reading() as session:
            assert session.scalars(select(ApiToken)).all() == []

    def test_only_scopes_of_ones_own_roles_are_offered(self, app: Flask, night: Night) -> None:
        auditor = sign_in(app.test_client(), night.ledger, "Audrey", {Role.AUDITOR})
        offered = re.findall('name="scope" value="([^"]+)"', auditor.get("/account/tokens").text)
        assert set(offered) == {"reports:read", "audit:read", "metrics"}

    def test_person_revokes_their_own_token_and_no_other(
        self, reader: Reader, program: FlaskClient, night: Night
    ) -> None:
        headers = bearer(night.ledger, {Scope.IMAGES_READ}, "Ada", {Role.READER})
        ben = reader("Ben")
        assert "There are no tokens." in ben.get("/account/tokens").text
        assert ben.post("/account/tokens/1/revoke").status_code == 404
        assert ben.post("/tokens/1/revoke").status_code == 403
        assert program.get(IMAGE, headers=headers).status_code == 200
        assert reader("Ada").post("/account/tokens/1/revoke").status_code == 303
        answer = program.get(IMAGE, headers=headers)
        assert (answer.status_code, answer.get_json()) == (401, {"error": "This token was revoked."})

    def test_administrator_sees_and_revokes_all(self, app: Flask, program: FlaskClient, night: Night) -> None:
        headers = bearer(night.ledger, {Scope.IMAGES_READ}, "Ada", {Role.READER})
        boss = sign_in(app.test_client(), night.ledger, "Boss", {Role.ADMINISTRATOR})
        page = boss.get("/tokens").text
        assert "Ada" in page
        assert "Make token" not in page
        assert boss.post("/tokens/1/revoke").status_code == 303
        assert boss.post("/tokens/9/revoke").status_code == 404
        assert program.get(IMAGE, headers=headers).status_code == 401
        with night.ledger.reading() as session:
            boss_id = session.scalars(select(User.id).where(User.name == "Boss")).one()
            event = session.scalars(select(AuditEvent).where(AuditEvent.kind == "token_revoked")).one()
        assert (event.actor, event.subject) == (f"user:{boss_id}", "api_token:1")

    def test_disabling_a_person_on_the_page_ends_their_tokens_for_ever(
        self, client: FlaskClient, program: FlaskClient, night: Night
    ) -> None:
        headers = bearer(night.ledger, {Scope.IMAGES_READ}, "Ada", {Role.READER})
        ada_id = person(night.ledger, "Ada")
        client.post(f"/people/{ada_id}/disable")
        client.post(f"/people/{ada_id}/enable")
        assert "revoked" in program.get(IMAGE, headers=headers).get_json()["error"]

    def test_hostile_name_is_escaped(self, reader: Reader) -> None:
        assert "<script>alert" not in self.make(reader("Ada"), name="<script>alert(1)</script>")

    def test_long_list_has_pages(self, reader: Reader, night: Night) -> None:
        for _ in range(51):
            token_key(night.ledger, {Scope.IMAGES_READ}, "Ada", {Role.READER})
        ada = reader("Ada")
        first = ada.get("/account/tokens").text
        assert first.count('aria-label="Revoke') == 50
        assert ada.get("/account/tokens?before=2").text.count('aria-label="Revoke') == 1
        assert "/account/tokens?before=2" in first
