"""The workflow and docker-compose.yml follow the schemas that check-jsonschema brings along."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from worker.config import ROOT

WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
COMPOSE = (ROOT / "docker-compose.yml").read_text()


@pytest.mark.parametrize(
    ("schema", "document", "complaint"),
    [
        ("vendor.github-workflows", WORKFLOW, None),
        ("vendor.github-workflows", WORKFLOW.replace("runs-on", "run-on"), "run-on"),
        ("vendor.compose-spec", COMPOSE, None),
        ("vendor.compose-spec", COMPOSE.replace("read_only", "readonly"), "readonly"),
    ],
    ids=["workflow", "misspelt workflow", "compose", "misspelt compose"],
)
def test_schema_accepts_ours_and_names_a_misspelling(
    schema: str, document: str, complaint: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "document.yml"
    path.write_text(document)
    command = [sys.executable, "-m", "check_jsonschema", "--verbose", "--builtin-schema", schema, str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == (complaint is not None)
    assert complaint is None or complaint in done.stdout
