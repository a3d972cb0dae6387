"""Recipes: readable files that say how a model is made."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from training.errors import WrongInput

RECIPES = Path(__file__).resolve().parent / "recipes"


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("a range goes from low to high")
    return pair


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Model(_Section):
    """The network."""

    name: str
    version: str
    architecture: Literal["plain_residual"]
    side: int = Field(ge=32, le=512, multiple_of=16)
    widths: tuple[int, int, int, int]
    dropout: float = Field(ge=0, lt=1)


class Split(_Section):
    """Which patients are kept from training."""

    folds: int = Field(ge=2)
    held_out: int = Field(ge=0)


class Fit(_Section):
    """How the weights are found."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    warm_up_epochs: float = Field(ge=0)
    ema: float = Field(ge=0, lt=1)
    label_smoothing: float = Field(ge=0, lt=1)
    mixup: float = Field(ge=0)
    class_balance: float = Field(ge=0)
    seed: int


class Augment(_Section):
    """How an image may be changed: see `training.augment`."""

    side: int = Field(ge=32)
    rotation: Range
    zoom: Range
    aspect: Range
    shift: Range
    shear: Range
    flip: Share
    detail: Range
    detail_radius: Range
    gamma: Range
    contrast: Range
    brightness: Range
    shading: Range
    blur: Range
    noise: Range
    jpeg: Range
    jpeg_share: Share
    erased: Range
    erased_size: Range


class Stress(Augment):
    """The stressed validation."""

    variants: int = Field(ge=1)
    seed: int


class Calibrate(_Section):
    """How the operating points are chosen: see `training.calibrate`."""

    screen_sensitivity: Share
    rule_in_specificity: Share
    default: Literal["screen", "balanced", "rule-in"]


class Recipe(_Section):
    """A whole recipe."""

    model: Model
    split: Split
    fit: Fit
    augment: Augment
    stress: Stress
    calibrate: Calibrate


def load_recipe(name: str) -> Recipe:
    """Read a recipe.

    Args:
        name: of a file in `training/recipes` without `.toml`, or the path of another file.

    Raises:
        WrongInput: there is no such recipe, or it does not say what it must.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in RECIPES.glob("*.toml")))
        raise WrongInput(f"There is no recipe {name}; there are {known}, or give the path of a .toml file.")
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise WrongInput(f"The recipe {path} cannot be used: {_first_line(error)}.") from None


def of_card(card: dict[str, Any]) -> Recipe:
    """The recipe on a model's card.

    Raises:
        WrongInput: there is none that this version understands.
    """
    try:
        return Recipe.model_validate(card.get("recipe"))
    except ValidationError as error:
        raise WrongInput(f"The recipe on the model's card cannot be used: {_first_line(error)}.") from None


def changed(recipe: Recipe, **fit: Any) -> Recipe:
    """The same recipe with other values of its [fit] section; None leaves a value as it is."""
    update = {key: value for key, value in fit.items() if value is not None}
    return recipe.model_copy(update={"fit": Fit.model_validate({**recipe.fit.model_dump(), **update})})


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error)
