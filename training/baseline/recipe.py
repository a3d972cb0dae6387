"""The recipe of the replaced application."""

from __future__ import annotations

import tomllib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.errors import WrongInput
from training.recipe import Share, recipe_file

KIND = "seed-cnn"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BaselineSplit(_Section):
    """If the data have no val/: the recipe whose first fold is held out, and whose stress is applied."""

    like: str


class BaselineFit(_Section):
    """How the weights are optimised."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    patience: int = Field(ge=1)
    seed: int


class BaselineAugment(_Section):
    """Random changes in training: three classic ones of Keras's ImageDataGenerator."""

    rotation: float = Field(ge=0, le=30)
    shift: float = Field(ge=0, le=0.2)
    flip: Share


class BaselineMeasure(_Section):
    """The threshold from which a score counts as pneumonia."""

    threshold: Share


class BaselineRecipe(_Section):
    """A whole recipe of this kind."""

    kind: Literal["seed-cnn"]
    split: BaselineSplit
    fit: BaselineFit
    augment: BaselineAugment
    measure: BaselineMeasure


def is_baseline_recipe(name: str) -> bool:
    """Return whether a recipe, named as for `load_recipe`, is of this kind."""
    try:
        return tomllib.loads(recipe_file(name).read_text(encoding="utf-8")).get("kind") == KIND
    except tomllib.TOMLDecodeError:
        return False


def load_baseline_recipe(name: str, epochs: int | None = None, seed: int | None = None) -> BaselineRecipe:
    """Read a recipe of this kind, with other epochs or another seed if they are given.

    Raises:
        WrongInput: the recipe does not exist or is not valid.
    """
    path = recipe_file(name)
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    overrides = {key: value for key, value in (("epochs", epochs), ("seed", seed)) if value is not None}
    try:
        return BaselineRecipe.model_validate(content | {"fit": content.get("fit", {}) | overrides})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise WrongInput(f"The recipe {path} is not valid: {where}: {first['msg']}.") from None
