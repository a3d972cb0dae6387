"""`nightread users`: what it prints and records, and its exit codes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests import commands
from tests.conftest import HANG_S
from tests.ledgers import current_ledger
from worker.config import Settings
from worker.ledger import actors
from worker.ledger.session import Ledger
from worker.ledger.tables import AuditEvent, User

pytestmark = pytest.mark.slow


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """An empty ledger that the command uses."""
    monkeypatch.setenv("NIGHTREAD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NIGHTREAD_PORT", "8123")
    return current_ledger(Settings(data=tmp_path / "data").database)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return commands.run("users", *arguments, seconds=HANG_S)


def listed() -> list[dict[str, object]]:
    people: list[dict[str, object]] = json.loads(run("list", "--json").stdout)
    return people


def test_added_person_gets_a_link(data: Ledger) -> None:
    added = run("add", "Ada Night", "--role", "reader", "--role", "administrator")
    assert added.returncode == 0
    assert added.stdout.startswith("http://localhost:8123/sign-in/")
    assert added.stdout != run("link", "Ada Night").stdout
    assert [(row["name"], row["roles"], row["disabled"]) for row in listed()] == [
        ("Ada Night", ["administrator", "reader"], False)
    ]
    with data.reading() as session:
        assert session.get_one(AuditEvent, 1).actor == actors.operating_system_user()


def test_reset_person_has_a_link_and_nothing_else(data: Ledger) -> None:
    run("add", "Ada", "--role", "administrator")
    typed = b"an owl counts the stairs\n"
    commands.run("users", "passphrase", "Ada", stdin=typed, seconds=HANG_S).check_returncode()
    reset = run("reset", "Ada")
    assert (reset.returncode, reset.stdout[:30]) == (0, "http://localhost:8123/sign-in/")
    with data.reading() as session:
        assert session.get_one(User, 1).passphrase_hash is None
    unknown = run("reset", "Nobody")
    assert (unknown.returncode, unknown.stdout) == (1, "")


def test_roles_and_access_change(data: Ledger) -> None:
    run("add", "Ada", "--role", "administrator")
    run("add", "Ben", "--role", "reader")
    assert run("roles", "Ben", "--role", "viewer", "--role", "auditor").returncode == 0
    assert run("disable", "Ben").returncode == 0
    assert listed()[1] | {"user": 0} == {
        "user": 0,
        "name": "Ben",
        "roles": ["auditor", "viewer"],
        "disabled": True,
    }
    assert "Ben  auditor, viewer  (disabled)" in run("list").stdout
    refused = run("link", "Ben")
    assert (refused.returncode, refused.stderr) == (1, "This person is disabled; enable them first.\n")
    assert run("enable", "Ben").returncode == 0
    assert run("link", "Ben").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("link", "Eve"), "There is no person with the name 'Eve'."),
        (("disable", "Ada"), "This is the only administrator; make somebody else administrator first."),
        (("add", "ADA", "--role", "reader"), "Somebody has this name already."),
        (("add", "(x)", "--role", "reader"), "must not begin with a parenthesis."),
    ],
)
def test_what_cannot_be_done_is_a_sentence(data: Ledger, arguments: tuple[str, ...], sentence: str) -> None:
    run("add", "Ada", "--role", "administrator")
    refused = run(*arguments)
    assert refused.returncode == 1
    assert refused.stderr.endswith(f"{sentence}\n")


@pytest.mark.parametrize(
    "arguments", [("add", "Ben"), ("add", "Ben", "--role", "root"), ("add", "a\x1bb", "--role", "reader")]
)
def test_wrong_use_is_exit_code_2(data: Ledger, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).returncode == 2
    assert run("list").stdout.startswith("There is nobody yet.")
