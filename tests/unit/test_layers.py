"""Every import contract of pyproject.toml catches the import that it forbids."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from worker.config import ROOT

pytestmark = pytest.mark.slow

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]

# contract -> file, and the import that is planted in it
VIOLATIONS = {
    "engine-layers": ("worker/ledger/runs.py", "import worker.commands.status"),
    "engine-is-alone": ("worker/store.py", "import webui.app"),
    "ledger-and-inference": ("worker/ledger/runs.py", "import flask"),
    "web-layers": ("webui/charts.py", "import webui.pages.viewer"),
    "web-pages": ("webui/pages/queue.py", "import webui.pages.viewer"),
    "web-api": ("webui/api/documents.py", "import webui.api.health"),
    "web-uses": ("webui/charts.py", "import worker.supervisor"),
    "web-has-no-model": ("worker/ledger/runs.py", "import worker.inference.bundle"),
    "web-decodes-nothing": ("webui/pages/images.py", "import PIL.Image"),
    "web-knows-no-broker": ("webui/api/health.py", "import kombu.exceptions"),
    "training-layers": ("training/data/cohort.py", "import training.cli"),
    "training-uses": ("training/data/cohort.py", "import worker.ledger.tables"),
    "nobody-imports-bench": ("worker/store.py", "import bench"),
    "tensorflow": ("worker/ledger/runs.py", "import keras"),
}
NEW_MODULES = {"worker": "engine-layers", "webui": "web-layers", "training": "training-layers"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the packages and of pyproject.toml, to plant imports in."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def broken(checkout: Path, contract: str) -> bool:
    """Run import-linter; True when it reports this contract as broken."""
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint_imports, "--no-logo", "--no-cache", "--contract", contract],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Contracts: " in done.stdout, done.stdout + done.stderr
    return "1 broken" in done.stdout


def test_each_contract_has_a_planted_violation() -> None:
    assert sorted(contract["id"] for contract in CONTRACTS) == sorted(VIOLATIONS)


@pytest.mark.parametrize("contract", VIOLATIONS)
def test_a_planted_import_breaks_its_contract(checkout: Path, contract: str) -> None:
    assert not broken(checkout, contract)
    name, line = VIOLATIONS[contract]
    with (checkout / name).open("a") as module:
        module.write(f"\n{line}\n")
    assert broken(checkout, contract)


@pytest.mark.parametrize("package", NEW_MODULES)
def test_a_new_module_fails_until_it_is_placed(checkout: Path, package: str) -> None:
    (checkout / package / "not_placed.py").write_text('"""A new module."""\n')
    assert broken(checkout, NEW_MODULES[package])
