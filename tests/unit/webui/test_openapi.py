"""webui/api/openapi.json: it describes exactly the routes that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from jsonschema import Draft202012Validator

from webui import create_app
from webui.access.identity import COOKIE
from webui.access.permissions import Permission, declared, of_scopes
from worker import DISCLAIMER
from worker.config import ROOT, Settings
from worker.ledger.findings import Action, Finding
from worker.ledger.roles import Scope
from worker.ledger.states import ImageState

DESCRIPTION: dict[str, Any] = json.loads(
    (files("webui") / "api" / "openapi.json").read_text(encoding="utf-8")
)


def endpoints(app: Flask) -> dict[tuple[str, str], str]:
    """Return the endpoint of each route for programs, by method and path as OpenAPI writes them."""
    return {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)): rule.endpoint
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith(("/api/", "/healthz", "/metrics", "/readyz"))
    }


def described() -> set[tuple[str, str]]:
    return {(method, path) for path, methods in DESCRIPTION["paths"].items() for method in methods}


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_described_operations_are_the_existing_routes(tmp_path: Path) -> None:
    assert described() == set(endpoints(create_app(Settings(data=tmp_path))))


def test_references_resolve_and_schemas_are_valid() -> None:
    schemas = DESCRIPTION["components"]["schemas"]
    assert {ref.removeprefix("#/components/schemas/") for ref in references(DESCRIPTION)} == set(schemas)
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)


def test_enums_are_those_of_the_ledger() -> None:
    schemas = DESCRIPTION["components"]["schemas"]
    assert schemas["Review"]["properties"]["action"]["enum"] == list(Action)
    assert schemas["Review"]["properties"]["finding"]["enum"] == [*Finding, None]
    assert schemas["QueueRow"]["properties"]["state"]["enum"] == list(ImageState)


def test_each_operation_names_the_scope_that_its_rule_needs(tmp_path: Path) -> None:
    app = create_app(Settings(data=tmp_path))
    for (method, path), endpoint in endpoints(app).items():
        permission = declared(app.view_functions[endpoint])
        security = DESCRIPTION["paths"][path][method]["security"]
        if permission is Permission.EVERYONE:
            # Nobody needs a token, and monitoring learns more with one.
            assert security == [] or {} in security
        else:
            scopes = [scope for scope in Scope if permission in of_scopes([scope])]
            assert security == [*({"token": [scope]} for scope in scopes), {"session": []}], path
            assert {"401", "403"} <= set(DESCRIPTION["paths"][path][method]["responses"])


def test_security_schemes_are_described() -> None:
    schemes = DESCRIPTION["components"]["securitySchemes"]
    assert (schemes["token"]["scheme"], schemes["session"]["name"]) == ("bearer", COOKIE)


def test_description_has_the_disclaimer() -> None:
    assert DISCLAIMER in DESCRIPTION["info"]["description"]


@pytest.mark.parametrize(("method", "path"), sorted(described()))
def test_operation_has_a_summary_and_its_error_responses(method: str, path: str) -> None:
    operation = DESCRIPTION["paths"][path][method]
    assert operation["summary"]
    assert "200" in operation["responses"]
    if method == "post":
        assert {"400", "403", "503"} <= set(operation["responses"])


@pytest.mark.parametrize(("method", "path"), sorted(described()))
def test_operation_is_documented_in_api_md_with_its_scope(method: str, path: str) -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    security = DESCRIPTION["paths"][path][method]["security"]
    scopes = [f"`{scope}`" for way in security for scope in way.get("token", ())]
    scope = "none" if not security or {} in security else (*scopes, "only a person")[0]
    route = re.escape(f"`{method.upper()} {path.replace('image_id', 'id')}") + r"(\?\w+=)?`"
    assert path.endswith("openapi.json") or re.search(rf"\| {route} \| {re.escape(scope)} \|", page)
