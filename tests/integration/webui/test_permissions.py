"""Every URL rule, tried by nobody, by each role and by tokens of each scope: what is not allowed is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from tests.integration.webui.night import MODEL_SHA256, RUN, Night
from tests.signing_in import TOKEN_OWNER, bearer, person, sign_in
from webui.access.guard import UndeclaredRule, install
from worker.ledger.roles import Role, Scope

PEOPLE = frozenset(Role)
LOOK = frozenset({Role.VIEWER, Role.READER, Role.ADJUDICATOR})
READ = frozenset({Role.READER, Role.ADJUDICATOR})
REPORT = LOOK | {Role.AUDITOR}
MANAGE = frozenset({Role.ADMINISTRATOR})
TROUBLES = READ | {Role.ADMINISTRATOR, Role.AUDITOR}
AUDIT = frozenset({Role.AUDITOR})
METRICS = frozenset({Role.ADMINISTRATOR, Role.AUDITOR})
# Written out, and not taken from the declarations: None stands for everybody.
ALLOWED: dict[str, frozenset[Role] | None] = {
    "static": None,
    "sign_in.show": None,
    "sign_in.with_passphrase": None,
    "sign_in.open_link": None,
    "sign_in.use_link": None,
    "sign_in.sign_out": PEOPLE,
    "provider.begin": None,
    "provider.come_back": None,
    "account.show": PEOPLE,
    "account.rename": PEOPLE,
    "account.set_theme": PEOPLE,
    "account.set_passphrase": PEOPLE,
    "account.end_session": PEOPLE,
    "tokens.own": PEOPLE,
    "tokens.add": PEOPLE,
    "tokens.revoke_own": PEOPLE,
    "tokens.every": MANAGE,
    "tokens.revoke": MANAGE,
    "authenticator.begin": PEOPLE,
    "authenticator.confirm": PEOPLE,
    "authenticator.remove": PEOPLE,
    "passkeys.sign_in_options": None,
    "passkeys.sign_in": None,
    "passkeys.options_to_add": PEOPLE,
    "passkeys.add": PEOPLE,
    "passkeys.remove": PEOPLE,
    "second_step.show": None,
    "second_step.check": None,
    "people.show": MANAGE,
    "protocol.show": PEOPLE,
    "protocol.change": MANAGE,
    "thresholds.show": PEOPLE,
    "thresholds.change": MANAGE,
    "models.activate": MANAGE,
    "models.activate_default": MANAGE,
    "models.shadow": MANAGE,
    "models.shadow_off": MANAGE,
    "models.compare": PEOPLE,
    "models.compare_csv": REPORT,
    "workbench.show": PEOPLE,
    "workbench.figures": PEOPLE,
    "workbench.figures_csv": REPORT,
    "workbench.cases_csv": REPORT,
    "calibration.show": PEOPLE,
    "calibration.figures_csv": REPORT,
    "calibration.fit": MANAGE,
    "calibration.revoke": MANAGE,
    "agreement.show": PEOPLE,
    "monitor.show": PEOPLE,
    "erasures.show": MANAGE,
    "erasures.erase": MANAGE,
    "people.add": MANAGE,
    "people.link": MANAGE,
    "people.reset": MANAGE,
    "people.set_roles": MANAGE,
    "people.disable": MANAGE,
    "people.enable": MANAGE,
    "people.end_sessions": MANAGE,
    "people.end_session": MANAGE,
    "audit.show": AUDIT,
    "audit.export": AUDIT,
    "audit.verify": AUDIT,
    "home.show": PEOPLE,
    "home.now": PEOPLE,
    "queue.news": LOOK,
    "queue.search": LOOK,
    "queue.show": LOOK,
    "summary.show": LOOK,
    "viewer.show": LOOK,
    "viewer.claim": READ,
    "viewer.decide": READ,
    "viewer.release": READ,
    "viewer.take_over": READ,
    "viewer.undo": READ,
    "upload.show": READ,
    "upload.rows": READ,
    "upload.send": READ,
    "runs.listing": LOOK,
    "runs.show": LOOK,
    "rejected.show": LOOK,
    "rejected.retry": READ,
    "rejected.retry_all": READ,
    "rescored.show": LOOK,
    "rescored.seen": READ,
    "models.listing": PEOPLE,
    "models.show": PEOPLE,
    "status.strip": PEOPLE,
    "images.picture": LOOK,
    "images.values": LOOK,
    "images.grey": LOOK,
    "images.thumb": LOOK,
    "images.preview": LOOK,
    "images.original": frozenset({Role.ADJUDICATOR}),
    "images.activation": LOOK,
    "images.outline": LOOK,
    "images.scale": LOOK,
    "api_images.send": READ,
    "api_images.look_up": LOOK,
    "api_images.show": LOOK,
    "api_images.retry": READ,
    "api_reading.queue": LOOK,
    "api_reading.decide": READ,
    "api_reading.undo": READ,
    "api_runs.listing": LOOK,
    "api_runs.report": REPORT,
    "api_agreement.show": REPORT,
    "api_monitor.show": REPORT,
    "api_rescored.listing": LOOK,
    "api_rescored.seen": READ,
    "api_models.listing": PEOPLE,
    "api_models.show": PEOPLE,
    "api_models.calibration": PEOPLE,
    "api_health.alive": None,
    "api_health.ready": None,
    "api_health.metrics": METRICS,
    "api_health.status": TROUBLES,
    "api_health.description": None,
}
# What the tokens of each scope reach, besides what everybody may.
TOKENS: dict[Scope, frozenset[str]] = {
    Scope.IMAGES_READ: frozenset(
        {
            "queue.news",
            "queue.search",
            "queue.show",
            "summary.show",
            "viewer.show",
            "runs.listing",
            "runs.show",
            "rejected.show",
            "rescored.show",
            "models.listing",
            "models.show",
            "models.compare",
            "protocol.show",
            "thresholds.show",
            "workbench.show",
            "workbench.figures",
            "calibration.show",
            "agreement.show",
            "monitor.show",
            "images.picture",
            "images.values",
            "images.grey",
            "images.thumb",
            "images.preview",
            "images.activation",
            "images.outline",
            "images.scale",
            "api_images.look_up",
            "api_images.show",
            "api_reading.queue",
            "api_runs.listing",
            "api_rescored.listing",
            "api_models.listing",
            "api_models.show",
            "api_models.calibration",
        }
    ),
    Scope.IMAGES_WRITE: frozenset({"upload.show", "upload.rows", "upload.send", "api_images.send"}),
    Scope.RETRY: frozenset({"rejected.retry", "rejected.retry_all", "api_images.retry"}),
    Scope.ORIGINALS_READ: frozenset({"images.original"}),
    Scope.REPORTS_READ: frozenset(
        {
            "api_runs.report",
            "api_agreement.show",
            "api_monitor.show",
            "models.compare_csv",
            "workbench.figures_csv",
            "workbench.cases_csv",
            "calibration.figures_csv",
        }
    ),
    Scope.AUDIT_READ: frozenset({"audit.show", "audit.export", "audit.verify"}),
    Scope.METRICS: frozenset({"api_health.metrics", "api_health.status"}),
}
ARGUMENTS = {
    "image_id": "1",
    "user_id": "999",
    "session_id": "999",
    "token_id": "999",
    "passkey_id": "999",
    "sha256": MODEL_SHA256,
    "run": RUN,
    "key": "x",
    "filename": "page.js",
}


def requests_of(app: Flask) -> Iterator[tuple[str, str, str]]:
    """Yield endpoint, method and address of every rule."""
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"OPTIONS"}):
            yield rule.endpoint, method, address_of(rule)


def address_of(rule: Rule) -> str:
    _, address = rule.build({name: ARGUMENTS[name] for name in rule.arguments}) or ("", "")
    return address


def is_refused(client: FlaskClient, method: str, address: str) -> bool:
    return client.open(address, method=method).status_code in {401, 403}


def test_table_names_every_rule(app: Flask) -> None:
    assert {endpoint for endpoint, _, _ in requests_of(app)} == set(ALLOWED)


@pytest.mark.parametrize("role", Role)
def test_role_reaches_what_it_may_and_nothing_else(app: Flask, night: Night, role: Role) -> None:
    for endpoint, method, address in requests_of(app):
        allowed = ALLOWED[endpoint]
        client = sign_in(app.test_client(), night.ledger, f"A {role}", {role})
        refused = is_refused(client, method, address)
        assert refused == (allowed is not None and role not in allowed), (role, method, address)


@pytest.mark.parametrize("scope", Scope)
def test_token_reaches_what_its_scope_allows_and_nothing_else(app: Flask, night: Night, scope: Scope) -> None:
    headers = bearer(night.ledger, {scope})
    client = app.test_client()
    for endpoint, method, address in requests_of(app):
        status = client.open(address, method=method, headers=headers).status_code
        allowed = ALLOWED[endpoint] is None or endpoint in TOKENS[scope]
        assert (status == 403) != allowed, (scope, method, address, status)
        assert status != 401, (scope, method, address)


def test_token_of_every_scope_does_not_read_or_manage(app: Flask, night: Night) -> None:
    headers = bearer(night.ledger, list(Scope))
    reached = {endpoint for endpoints in TOKENS.values() for endpoint in endpoints}
    client = app.test_client()
    for endpoint, method, address in requests_of(app):
        refused = client.open(address, method=method, headers=headers).status_code == 403
        assert refused == (ALLOWED[endpoint] is not None and endpoint not in reached), (method, address)


@pytest.mark.parametrize("role", Role)
def test_token_never_reaches_more_than_its_owner(app: Flask, night: Night, role: Role) -> None:
    person(night.ledger, "Another", {Role.ADMINISTRATOR})
    headers = bearer(night.ledger, list(Scope))
    person(night.ledger, TOKEN_OWNER, {role})
    client = app.test_client()
    for endpoint, method, address in requests_of(app):
        allowed = ALLOWED[endpoint]
        if allowed is not None and role not in allowed:
            assert client.open(address, method=method, headers=headers).status_code == 403, (method, address)


def test_nobody_reaches_only_what_everybody_may(app: Flask) -> None:
    client = app.test_client()
    for endpoint, method, address in requests_of(app):
        answer = client.open(address, method=method)
        sent_to_sign_in = answer.status_code == 303 and (answer.location or "").startswith("/sign-in?next=")
        refused = answer.status_code == 401 or sent_to_sign_in
        assert refused == (ALLOWED[endpoint] is not None), (method, address)


def test_several_roles_allow_what_each_allows(app: Flask, night: Night) -> None:
    both = sign_in(app.test_client(), night.ledger, "Both", {Role.VIEWER, Role.ADMINISTRATOR})
    assert both.get("/review").status_code == both.get("/people").status_code == 200
    assert both.post("/review/1/decide", data={"finding": "signs_of_pneumonia"}).status_code == 403


def test_rule_without_a_declaration_stops_the_start(app: Flask) -> None:
    app.view_functions["forgotten"] = lambda: "everything"
    with pytest.raises(UndeclaredRule, match="forgotten"):
        install(app)


def test_rule_that_is_added_later_is_refused(app: Flask, client: FlaskClient) -> None:
    app.add_url_rule("/forgotten", view_func=lambda: "everything")
    assert client.get("/forgotten").status_code == 403


def test_troubles_are_told_only_to_who_may_see_them(app: Flask, night: Night, client: FlaskClient) -> None:
    viewer = sign_in(app.test_client(), night.ledger, "Vera", {Role.VIEWER})
    for address in ("/healthz", "/readyz"):
        assert "troubles" in client.get(address).get_json()
        for other in (viewer, app.test_client()):
            assert list(other.get(address).get_json()) == [{"/healthz": "ok", "/readyz": "ready"}[address]]
