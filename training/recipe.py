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


class ModelSection(_Section):
    """What the bundle is called."""

    name: str
    version: str


class SourceSection(_Section):
    """Where images come from, as the card says it.

    Attributes:
        called: what its figures are called on the card, for instance `children`.
    """

    called: str = Field(pattern=r"^[a-z][a-z_]*$")
    name: str
    source: str
    licence: str
    note: str


class DataSection(_Section):
    """What is trained on: a folder, and if one is given, a table."""

    folder: SourceSection
    table: SourceSection


class Stage(_Section):
    """Inverted residuals of one kind, one after the other.

    Attributes:
        blocks: how many.
        kernel: edge of the window that each looks through, in pixels.
        stride: of the first of them; 2 halves the side.
        expand: how many times wider it is inside.
        width: channels of what it gives.
    """

    blocks: int = Field(ge=1)
    kernel: Literal[3, 5, 7]
    stride: Literal[1, 2]
    expand: int = Field(ge=1)
    width: int = Field(ge=1)


class NetworkSection(_Section):
    """A network: see `training.network.architectures.inverted_residual`.

    Attributes:
        side: edge of the input, in pixels.
        stem: channels of the first convolution, which halves the side.
        stages: what follows.
        dropout: share of feature maps dropped before the head, in training.
        pretrained: the weights to begin with, by a name that `training.network.pretrained` knows; none: random.
    """

    side: int = Field(ge=32, le=512, multiple_of=16)
    stem: int = Field(ge=1)
    stages: tuple[Stage, ...] = Field(min_length=1)
    dropout: float = Field(ge=0, lt=1)
    pretrained: Literal["efficientnet-lite0", "none"]


class SplitSection(_Section):
    """Which patients are kept from which training."""

    folds: int = Field(ge=2)
    seed: int


class SamplingSection(_Section):
    """How often an image is shown, and how much it counts."""

    class_balance: float = Field(ge=0)
    table_repeats: int = Field(ge=1)


class FitSection(_Section):
    """How the weights are found."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    warm_up_epochs: float = Field(ge=0)
    ema: float = Field(ge=0, lt=1)
    label_smoothing: float = Field(ge=0, lt=1)
    mixup: float = Field(ge=0)
    seed: int


class TeacherSection(_Section):
    """A bigger network, whose opinion of patients that it was not shown the shipped one learns from."""

    network: NetworkSection
    fit: FitSection
    share: Share
    temperature: float = Field(gt=0)


class AugmentSection(_Section):
    """How an image may be changed: see `training.data.augment`."""

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
    spectrum: Share


class StressSection(AugmentSection):
    """The stressed validation."""

    variants: int = Field(ge=1)
    seed: int


class CalibrateSection(_Section):
    """How the scores are calibrated and the operating points chosen: see `training.calibration.calibrate`."""

    prevalence: Share
    screen_sensitivity: Share
    rule_in_specificity: Share
    looked_at_again: Share
    default: Literal["screen", "balanced", "rule-in"]


class GateSection(_Section):
    """How the gate is fitted: see `training.gate.release`.

    Attributes:
        images: variants of the real images of a set at least, each image the same number of times.
        phantoms: drawn frontal chests; two thirds as tests have them, one third volumes.
        drawings: of each kind of what is no chest; three times as many of laterals.
        widths: channels at 32, 16, 8 and 4 pixels.
        epochs: of each network.
        batch_size: of each step.
        learning_rate: the highest, of AdamW; it rises over a tenth of the steps and falls to zero.
        seed: of the drawings and the weights.
    """

    images: int = Field(ge=1)
    phantoms: int = Field(ge=1)
    drawings: int = Field(ge=1)
    widths: tuple[int, int, int, int]
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    learning_rate: float = Field(gt=0)
    seed: int


class Recipe(_Section):
    """A whole recipe."""

    model: ModelSection
    data: DataSection
    network: NetworkSection
    split: SplitSection
    sampling: SamplingSection
    fit: FitSection
    teacher: TeacherSection | None = None
    augment: AugmentSection
    stress: StressSection
    calibrate: CalibrateSection
    gate: GateSection


def load_recipe(name: str, base: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe.

    Args:
        name: of a file in `training/recipes` without `.toml`, or the path of another file.
        base: values that the file need not repeat, those of a model that is tuned further. What
            the file says goes before. A file may also name another recipe as its `base`.

    Raises:
        WrongInput: there is no such recipe, or it does not say what it must.
    """
    path = recipe_file(name)
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
        other = said.pop("base", None)
        if other is not None:
            base = load_recipe(str(other), base).model_dump(mode="json")
        if base is None and "network" not in said:
            raise WrongInput(f"The recipe {path} tunes a model further: name its bundle with --from.")
        return Recipe.model_validate(_over(base or {}, said))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise WrongInput(f"The recipe {path} cannot be used: {_first_line(error)}.") from None


def recipe_file(name: str) -> Path:
    """The path of a recipe.

    Raises:
        WrongInput: there is no such recipe.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in RECIPES.glob("*.toml")))
        raise WrongInput(f"There is no recipe {name}; there are {known}, or give the path of a .toml file.")
    return path


def recipe_of_card(card: dict[str, Any]) -> Recipe:
    """The recipe on a model's card.

    Raises:
        WrongInput: there is none that this version understands.
    """
    try:
        return Recipe.model_validate(card.get("recipe"))
    except ValidationError as error:
        raise WrongInput(f"The recipe on the model's card cannot be used: {_first_line(error)}.") from None


def with_overrides(recipe: Recipe, epochs: int | None, seed: int | None) -> Recipe:
    """The same recipe with other epochs or another seed, the teacher's too; None leaves them as they are."""
    update = {key: value for key, value in (("epochs", epochs), ("seed", seed)) if value is not None}
    fit = recipe.fit.model_copy(update=update)
    teacher = recipe.teacher and recipe.teacher.model_copy(
        update={"fit": recipe.teacher.fit.model_copy(update=update)}
    )
    return recipe.model_copy(update={"fit": fit, "teacher": teacher})


def _over(base: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """Sections of `base` with what `said` says in their place, value by value."""
    merged = dict(base)
    for key, value in said.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _over(base[key], value) if both else value
    return merged


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error)
