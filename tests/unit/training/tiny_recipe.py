"""Recipes of tiny networks, which train on phantoms within seconds."""

from __future__ import annotations

from typing import Any

from training.recipe import Recipe, load_recipe

_TINY = """
base = "{base}"

[model]
name = "tiny"
version = "0.0.1"

[network]
side = 32
stem = 8
stages = [
  {{ blocks = 1, kernel = 3, stride = 2, expand = 1, width = 8 }},
  {{ blocks = 1, kernel = 5, stride = 2, expand = 2, width = 12 }},
  {{ blocks = 1, kernel = 3, stride = 2, expand = 2, width = 16 }},
]
dropout = 0.1
pretrained = "none"

[split]
folds = 2

[fit]
batch_size = 8
"""


def tiny_recipe(base: str, more: str = "") -> str:
    """Return the text of a recipe with a tiny network and two folds, and with `more` sections."""
    return _TINY.format(base=base) + more


def tiny_lungs(**sections: dict[str, Any]) -> Recipe:
    """Return the recipe of the cut to the lungs, with a tiny network and two folds; values of `sections` replace its own."""
    said = load_recipe("lungs").model_dump()
    block = {"blocks": 1, "kernel": 3, "stride": 2, "expand": 2, "width": 8}
    said["network"] |= {"side": 32, "stem": 8, "stages": [block, block | {"stride": 1}], "pretrained": "none"}
    said["split"]["folds"] = 2
    for name, values in sections.items():
        said[name] |= values
    return Recipe.model_validate(said)
