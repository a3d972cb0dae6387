"""The environment of the processes that decode what strangers sent."""

from __future__ import annotations

import os


def decoder_environment() -> dict[str, str]:
    """Return the environment without our settings, because they can hold a password."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTREAD_")}
    return kept | {"OPENBLAS_NUM_THREADS": "1"}
