"""Print the coverage of the last `make test COVERAGE=1`, and check the modules below 90 % against a list.

tests/coverage.toml names each of these modules with its reason. Any other module below 90 % is an error.
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


def main() -> None:
    """Print the table. Exit with 1 if a module below 90 % has no reason in tests/coverage.toml."""
    measured = Coverage()
    measured.load()
    measured.report(file=sys.stdout, skip_covered=True, skip_empty=True)
    low = {name: share for name, share in shares(measured).items() if share < LEAST}
    reasons: dict[str, str] = tomllib.loads(EXCEPTIONS.read_text(encoding="utf-8"))["below_90"]
    for name, share in sorted(low.items()):
        print(f"{share:5.1f} %  {name}: {reasons.get(name, 'NO REASON IS GIVEN in tests/coverage.toml')}")
    sys.exit(not low.keys() <= reasons.keys())


def shares(measured: Coverage) -> dict[str, float]:
    """Return the percentage of each module's lines and branches that ran, by the module's path."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coverage.json"
        measured.json_report(outfile=str(path))
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
    return {name: file["summary"]["percent_covered"] for name, file in files.items()}


if __name__ == "__main__":
    main()
