"""Print the coverage of the last run, and the reason for each module below 90 %.

The argument names the table of tests/coverage.toml that has the reasons. A reason for a module that does not exist is
an error.
"""

from __future__ import annotations

import json
import sys
import tempfile
import tomllib
from pathlib import Path

from coverage import Coverage

LEAST = 90.0
EXCEPTIONS = Path(__file__).with_name("coverage.toml")


def main(table: str) -> None:
    """Print the table and the reasons. Exit with 1 if tests/coverage.toml names a module that does not exist."""
    measured = Coverage()
    measured.load()
    measured.report(file=sys.stdout, skip_covered=True, skip_empty=True)
    covered = shares(measured)
    reasons: dict[str, str] = tomllib.loads(EXCEPTIONS.read_text(encoding="utf-8"))[table]
    for name, share in sorted(covered.items()):
        if share < LEAST:
            print(f"{share:5.1f} %  {name}: {reasons.get(name, 'no reason in tests/coverage.toml')}")
    if unknown := reasons.keys() - covered.keys():
        sys.exit(f"tests/coverage.toml names modules that do not exist: {', '.join(sorted(unknown))}")


def shares(measured: Coverage) -> dict[str, float]:
    """Return the percentage of each module's lines and branches that ran, by the module's path."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coverage.json"
        measured.json_report(outfile=str(path))
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
    return {name: file["summary"]["percent_covered"] for name, file in files.items()}


if __name__ == "__main__":
    main(sys.argv[1])
