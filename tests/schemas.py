"""Checks of YAML files against the schemas that check-jsonschema brings along."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def schema_status(schema: str, document: str, folder: Path) -> int:
    """Return check-jsonschema's exit status: 0 for a valid document, 1 for another."""
    path = folder / "document.yml"
    path.write_text(document)
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    return subprocess.run(command, check=False, capture_output=True).returncode
