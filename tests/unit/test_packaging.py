"""What other programs take from the repository: type information, the systemd unit, the CI workflow."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from pathlib import Path

import yaml

from worker.config import ROOT, Settings

WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
UNIT = (ROOT / "packaging" / "nightread.service").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SERVICE = ConfigParser(interpolation=None)
SERVICE.optionxform = str  # type: ignore[assignment,method-assign]
SERVICE.read_string(UNIT)


def test_every_shipped_package_has_type_information() -> None:
    shipped = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    packages = [name for name in shipped if (ROOT / name / "__init__.py").exists()]
    assert {"worker", "webui", "training"} <= set(packages)
    assert [name for name in packages if not (ROOT / name / "py.typed").exists()] == []


def test_workflow_runs_ci_on_each_supported_python() -> None:
    job = yaml.safe_load(WORKFLOW)["jobs"]["ci"]
    versions = job["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.12", "3.13"]
    assert PROJECT["project"]["requires-python"] == f">={versions[0]}"
    assert job["steps"][-1]["run"].endswith("bash .ci/run")


def test_no_package_renames_processes_in_the_environment_of_the_tests() -> None:
    # With setproctitle, Celery and gunicorn replace the command lines by which the tests find processes.
    locks = [(ROOT / "lock" / f"{name}.txt").read_text() for name in ("serve", "fast", "develop")]
    assert not any("\nsetproctitle==" in lock for lock in locks)


def test_service_is_confined_to_its_state_directory() -> None:
    directives = SERVICE["Service"]
    assert directives["User"] == "nightread"
    assert directives["ProtectSystem"] == "strict"
    assert directives["NoNewPrivileges"] == "yes"
    assert directives["CapabilityBoundingSet"] == ""
    assert directives["IPAddressDeny"] == "any"
    assert directives["WorkingDirectory"] == f"/var/lib/{directives['StateDirectory']}"


def test_service_sets_only_settings_that_exist() -> None:
    pairs = SERVICE["Service"]["Environment"].split()
    names = {pair.split("=")[0] for pair in pairs} - {"PYTHONDONTWRITEBYTECODE"}
    assert "NIGHTREAD_DATA" in names
    assert {name.removeprefix("NIGHTREAD_").lower() for name in names} <= set(Settings.model_fields)


def test_systemd_understands_every_line_of_the_service(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        return  # Not every system has systemd; the tests above read the file all the same.
    unit = tmp_path / "nightread.service"
    unit.write_text(UNIT.replace("/opt/nightread/.venv/bin/nightread", sys.executable))
    done = subprocess.run([verify, "verify", str(unit)], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
