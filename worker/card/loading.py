"""Reads card.json, and checks it against its schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from worker.card.schema import Section
from worker.errors import ModelUnusable

CARD = "card.json"
S = TypeVar("S", bound=Section)


def load_card(folder: Path) -> dict[str, Any]:
    """Return the content of card.json in a bundle's folder. Raises ModelUnusable if it is not a JSON object."""
    if not folder.is_dir():
        raise ModelUnusable(f"There is no model folder {folder}.")
    try:
        raw = json.loads((folder / CARD).read_bytes())
    except FileNotFoundError:
        raise ModelUnusable(f"The model folder {folder} has no {CARD}.") from None
    except OSError as error:
        raise ModelUnusable(f"{CARD} in {folder} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ModelUnusable(f"{CARD} in {folder} is not JSON: {error}.") from error
    if not isinstance(raw, dict):
        raise ModelUnusable(f"{CARD} in {folder} is not a JSON object.")
    return raw


def parse_section(section: type[S], raw: object, folder: Path, *path: str) -> S:
    """Check a part of the card against its schema. Raises ModelUnusable with the place of the first error.

    Args:
        section: the schema.
        raw: the part of the card.
        folder: the bundle's folder, for the message.
        path: keys that lead from the card to the part, for the message.
    """
    try:
        return section.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(str(key) for key in (*path, *first["loc"]))
        raise ModelUnusable(f"{CARD} in {folder} is wrong at {location}: {first['msg']}.") from None
