"""Files of the repository that other programs read: type information, systemd units, the CI workflow."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from configparser import ConfigParser, SectionProxy
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from worker.cli import nightread
from worker.config import ROOT, Settings

WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
UNITS = {path.name: path.read_text() for path in (ROOT / "packaging").glob("*.service")}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def service(name: str) -> SectionProxy:
    """Return the directives of a unit. Of a directive that stands there twice, the last counts."""
    parser = ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNITS[name])
    return parser["Service"]


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


@pytest.mark.parametrize("name", UNITS)
def test_service_is_confined_to_its_state_directory(name: str) -> None:
    directives = service(name)
    assert directives["User"] == directives["Group"] == name.removesuffix(".service")
    assert directives["ProtectSystem"] == "strict"
    assert directives["NoNewPrivileges"] == "yes"
    assert directives["CapabilityBoundingSet"] == ""
    assert directives["WorkingDirectory"] == f"/var/lib/{directives['StateDirectory']}"


def test_only_the_signer_reaches_other_machines() -> None:
    assert service("nightread.service")["IPAddressDeny"] == "any"
    assert "IPAddressDeny" not in service("nightread-checkpoint.service")


@pytest.mark.parametrize("name", UNITS)
def test_service_sets_only_settings_that_exist(name: str) -> None:
    names = set(re.findall(r"(?<=[ =])NIGHTREAD_(\w+)(?==)", UNITS[name]))
    assert "DATA" in names
    assert {name.lower() for name in names} <= set(Settings.model_fields)


def test_signer_runs_a_command_that_exists_and_reads_its_password_from_a_file() -> None:
    directives = service("nightread-checkpoint.service")
    _, *arguments = directives["ExecStart"].split()
    assert CliRunner().invoke(nightread, [*arguments, "--help"]).exit_code == 0
    credential, _ = directives["LoadCredential"].split(":")
    assert f"NIGHTREAD_DATABASE_URL_FILE=%d/{credential}" in UNITS["nightread-checkpoint.service"]


@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_every_line_of_the_service(name: str, tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        return  # Not every system has systemd; the tests above read the file all the same.
    unit = tmp_path / name
    unit.write_text(UNITS[name].replace("/opt/nightread/.venv/bin/nightread", sys.executable))
    done = subprocess.run([verify, "verify", str(unit)], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
