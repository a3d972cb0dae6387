"""Identifies a model by one hash over its network, its gate and its preprocessing, and lists the shipped models.

The operating points are no part of it: they are recorded with each prediction.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

NETWORK, GATE = "model.tflite", "gate.tflite"

# SHA-256 of each shipped model -> SHA-256 of its card in canonical JSON. The card holds the operating points.
SHIPPED = {
    "8cfe962f53d7777b486b2dba499b154c9777942fad51ad778d9c91b82a76e730": "abbb2e15ac51c95979a9a84b094089fa0612384031e3ebec8ba573ae0505e207",
}


def model_sha256(card: Mapping[str, Any]) -> str:
    """Return the identity of the model with this card: a SHA-256 in hex.

    Args:
        card: a card whose `files` names the network and whose `input` names the preprocessing.
    """
    files = card["files"]
    gate = files[GATE]["sha256"] if GATE in files else None
    parts = {
        "gate": gate,
        "network": files[NETWORK]["sha256"],
        "preprocessing": card["input"]["preprocessing_version"],
    }
    return _sha256(parts)


def is_shipped(sha256: str, card: Mapping[str, Any]) -> bool:
    """Return whether Nightread ships this model with this card. Any other model is not verified."""
    return SHIPPED.get(sha256) == _sha256(card)


def network_of(sha256: str, card: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a registered model's network.

    Args:
        sha256: of the model. Before preprocessing version 2, it was that of the network.
        card: as it was registered.
    """
    found = card.get("files", {}).get(NETWORK, {}).get("sha256", sha256)
    return str(found)


def _sha256(content: object) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
