"""webui/api/openapi.json: it describes exactly the routes that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from webui import create_app
from worker import DISCLAIMER
from worker.config import ROOT, Settings
from worker.ledger.review import Action, Finding
from worker.ledger.states import ImageState

DESCRIPTION: dict[str, Any] = json.loads(
    (files("webui") / "api" / "openapi.json").read_text(encoding="utf-8")
)


def routes(data: Path) -> set[tuple[str, str]]:
    """Return method and path of every route for programs, as OpenAPI writes them."""
    rules = create_app(Settings(data=data)).url_map.iter_rules()
    return {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in rules
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
    assert described() == routes(tmp_path)


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


def test_description_has_the_disclaimer() -> None:
    assert DISCLAIMER in DESCRIPTION["info"]["description"]


@pytest.mark.parametrize(("method", "path"), sorted(described()))
def test_operation_has_a_summary_and_its_error_responses(method: str, path: str) -> None:
    operation = DESCRIPTION["paths"][path][method]
    assert operation["summary"]
    assert "200" in operation["responses"]
    if method == "post":
        assert {"400", "403", "503"} <= set(operation["responses"])
        assert any(p["name"] == "X-Nightread-Reader" for p in operation["parameters"])


@pytest.mark.parametrize("path", sorted({path for _, path in described()}))
def test_route_is_documented_in_api_md(path: str) -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert f"{path.replace('image_id', 'id')}`" in page
