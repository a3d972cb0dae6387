"""Generated requests to every operation of openapi.json, sent with a token of each scope and without one.

Schemathesis makes requests that follow the document, and requests that do not. No answer may be a failure of the
program, each must be as the document says, and a token reaches the operations of its scope and no other.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.webui.night import NO_BROKER
from tests.signing_in import bearer
from webui import create_app
from webui.dependencies import EXTENSION
from worker.config import Settings
from worker.ledger.roles import Scope

pytestmark = pytest.mark.slow

DESCRIPTION: dict[str, Any] = json.loads(
    (files("webui") / "api" / "openapi.json").read_text(encoding="utf-8")
)
OPERATIONS = sorted((method, path) for path, methods in DESCRIPTION["paths"].items() for method in methods)
# A generated address that leads to no operation is refused before anybody asks who sent it.
BEFORE_ANY_OPERATION = {"There is no page at this address.", "The address contains the character NUL."}
# How many requests of each kind are made for an operation; each is sent once for each scope.
FEW, MANY = 4, 400


@dataclass(frozen=True)
class Programs:
    """The API and the headers of a program for each scope; for None, of one without a token."""

    schema: schemathesis.schemas.BaseSchema
    headers: dict[Scope | None, dict[str, str]]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory, scored_data: Path) -> Iterator[Programs]:
    """Programs of a ledger with eight scored phantoms. Their requests change it."""
    data = tmp_path_factory.mktemp("generated") / "data"
    shutil.copytree(scored_data, data)
    app = create_app(Settings(data=data, broker_url=NO_BROKER))
    ledger = app.extensions[EXTENSION].ledger
    headers: dict[Scope | None, dict[str, str]] = {None: {}}
    headers |= {scope: bearer(ledger, {scope}) for scope in Scope}

    def from_this_machine(environ: dict[str, Any], start_response: Any) -> Any:
        return app({"REMOTE_ADDR": "127.0.0.1", **environ}, start_response)

    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", from_this_machine)
    yield Programs(schema, headers)
    ledger.close()


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_operation_answers_each_scope_as_described(programs: Programs, method: str, path: str) -> None:
    send_generated(programs, method, path, FEW)


@pytest.mark.long
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_operation_answers_each_scope_as_described_for_long(
    programs: Programs, method: str, path: str
) -> None:
    send_generated(programs, method, path, MANY)


def send_generated(programs: Programs, method: str, path: str, count: int) -> None:
    operation = programs.schema[path][method]
    sent = 0
    for mode in GenerationMode:

        @hypothesis.settings(max_examples=count, phases=[hypothesis.Phase.generate])
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def send(case: Case[Any]) -> None:
            nonlocal sent
            sent += 1
            for scope, headers in programs.headers.items():
                check_answer(case, scope, headers, DESCRIPTION["paths"][path][method]["security"])

        try:
            send()
        except hypothesis.errors.Unsatisfiable:
            # An operation without parameters cannot be asked in a wrong way.
            assert mode is GenerationMode.NEGATIVE
    assert sent > 0


def check_answer(
    case: Case[Any], scope: Scope | None, headers: dict[str, str], security: list[dict[str, list[str]]]
) -> None:
    # A generated key or session would be a wrong one.
    case.headers.pop("Authorization", None)
    case.cookies.clear()
    answer = case.call(headers=headers)
    if answer.status_code in {400, 404} and answer.json()["error"] in BEFORE_ANY_OPERATION:
        return
    if not security or {} in security or {"token": [scope]} in security:
        assert answer.status_code not in {401, 403}, answer.content
    else:
        assert answer.status_code == (401 if scope is None else 403), answer.content
    case.validate_response(
        answer,
        checks=[
            schemathesis.checks.not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ],
    )
