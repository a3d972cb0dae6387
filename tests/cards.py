"""The model card of the web and ledger tests, read from tests/fixtures so that no test needs `training`."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from tests.fixtures import CARD

# The operating points of the fixture card, by name.
THRESHOLDS = {"screen": 0.3, "balanced": 0.5, "rule-in": 0.62}


@cache
def a_card(sha256: str = "5f" * 32) -> dict[str, Any]:
    """Return a whole card whose network has this hash. Callers must not change it."""
    card: dict[str, Any] = json.loads(CARD.read_text(encoding="utf-8"))
    card["files"]["model.tflite"]["sha256"] = sha256
    return card
