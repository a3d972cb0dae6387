"""Identifies a model by one hash over all that its scores and rejections depend on, and lists the shipped models.

The operating points are no part of it: they are recorded with each prediction.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

NETWORK, GATE, LUNGS = "model.tflite", "gate.tflite", "lungs.tflite"
DISTANCE = "distance.npz"
# The network that sees the whole film, beside one that sees the lungs.
FILM = "film.tflite"
# The values of the card's sections that scores and rejections depend on; the rest is for people.
_OF_GATE, _OF_SECOND_LOOK = ("labels", "side", "threshold"), ("low", "high", "views")
_OF_LUNGS, _OF_DISTANCE = ("margin", "least_area"), ("limit",)

# SHA-256 of each shipped model -> SHA-256 of its card in canonical JSON. The card holds the operating points.
SHIPPED = {
    "c937973b287b45f4440ccc889bea81035c4a303b0d7ad563405a8bc018822cfd": "f840bd9f6674c400b731dda6c18c309c11a687f4c6a1632ae0886627df84b461",
    "586b4ab07032ff11cdac94e43df980a37cb921264e28246dc61a0717171db150": "938be55114124b0f74a04b148ea591246afb7e58da9d7236c3fa51b312b6dd91",
}


def model_sha256(card: Mapping[str, Any]) -> str:
    """Return the identity of the model with this card: a SHA-256 in hex.

    It covers the network, the preprocessing, the temperature, and the gate, the lung network, the film network, the second
    look and the distance from the training data if there are any.

    Args:
        card: a card that `schema.ScoringCard` accepts.
    """
    files = card["files"]
    parts = {
        "gate": {"sha256": files[GATE]["sha256"], **_values(card, "gate", _OF_GATE)}
        if GATE in files
        else None,
        "network": files[NETWORK]["sha256"],
        "preprocessing": card["input"]["preprocessing_version"],
        "second_look": _values(card, "second_look", _OF_SECOND_LOOK),
        "temperature": card["calibration"]["temperature"],
    }
    # Models without these parts keep the identity that their predictions have on record.
    for file, section, names in ((LUNGS, "lungs", _OF_LUNGS), (DISTANCE, "distance", _OF_DISTANCE)):
        if file in files:
            parts[section] = {"sha256": files[file]["sha256"], **_values(card, section, names)}
    if FILM in files:
        parts["film"] = files[FILM]["sha256"]
    return _sha256(parts)


def card_sha256(card: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a card in canonical JSON, in hex."""
    return _sha256(card)


def is_shipped(sha256: str, card: Mapping[str, Any]) -> bool:
    """Return whether Nightread ships this model with this card. Any other model is not verified."""
    return SHIPPED.get(sha256) == card_sha256(card)


def network_of(sha256: str, card: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a registered model's network.

    Args:
        sha256: of the model. Before preprocessing version 2, it was that of the network.
        card: as it was registered.
    """
    found = card.get("files", {}).get(NETWORK, {}).get("sha256", sha256)
    return str(found)


def _values(card: Mapping[str, Any], section: str, names: Sequence[str]) -> dict[str, Any]:
    content = card.get(section)
    # Whoever loads the section says what is wrong with it.
    return {name: content.get(name) for name in names} if isinstance(content, Mapping) else {}


def _sha256(content: object) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
