"""Recipes: readable TOML files that state how a model is made."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from training.errors import WrongInput
from worker.inference.lungs import FIELD_SIDE
from worker.inference.preprocess import FILM_ALONE, LUNGS_ALONE

RECIPES = Path(__file__).resolve().parent / "recipes"


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("the first value of a range must not exceed the second")
    return pair


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSection(_Section):
    """Name and version of the bundle."""

    name: str
    version: str


class SourceSection(_Section):
    """A data set, as the card describes it.

    Attributes:
        called: prefix of its figures on the card, for instance `children`.
    """

    called: str = Field(pattern=r"^[a-z][a-z_]*$")
    name: str
    source: str
    licence: str
    note: str


class DataSection(_Section):
    """The training data: a folder, and a table if one is given."""

    folder: SourceSection
    table: SourceSection


class PopulationSection(_Section):
    """The patients for whom the figures hold: the youngest and the oldest age, in completed years."""

    age_years: Range


class Stage(_Section):
    """Consecutive inverted residuals of one shape.

    Attributes:
        blocks: number of inverted residuals.
        kernel: edge of the depthwise kernel, in pixels.
        stride: of the first block; 2 halves the side.
        expand: factor by which a block widens its input inside.
        width: output channels.
    """

    blocks: int = Field(ge=1)
    kernel: Literal[3, 5, 7]
    stride: Literal[1, 2]
    expand: int = Field(ge=1)
    width: int = Field(ge=1)


class NetworkSection(_Section):
    """The network: see `training.network.architectures.inverted_residual`.

    Attributes:
        side: edge of the input, in pixels.
        stem: channels of the first convolution, which halves the side.
        stages: the stages after it.
        dropout: share of feature maps that training drops before the head.
        pretrained: name of the start weights, see `training.network.pretrained`; `none`: random weights.
    """

    side: int = Field(ge=32, le=512, multiple_of=16)
    stem: int = Field(ge=1)
    stages: tuple[Stage, ...] = Field(min_length=1)
    dropout: float = Field(ge=0, lt=1)
    pretrained: Literal["efficientnet-lite0", "none"]


class SplitSection(_Section):
    """How patients are divided into folds."""

    folds: int = Field(ge=2)
    seed: int


class SamplingSection(_Section):
    """How often an epoch shows an image, and how much the image counts."""

    class_balance: float = Field(ge=0)
    table_repeats: int = Field(ge=1)


class FitSection(_Section):
    """How the weights are optimised."""

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
    """A larger network. The shipped one learns from its scores of patients that it was not trained on."""

    network: NetworkSection
    fit: FitSection
    share: Share
    temperature: float = Field(gt=0)


class AugmentSection(_Section):
    """Ranges of the random changes of an image: see `training.data.augment`."""

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
    """The stressed variants that scores are measured on."""

    variants: int = Field(ge=1)
    seed: int


class CalibrateSection(_Section):
    """How scores are calibrated and operating points chosen: see `training.calibration.calibrate`."""

    prevalence: Share
    screen_sensitivity: Share
    screen_clear_sensitivity: Share
    rule_in_specificity: Share
    looked_at_again: Share
    default: Literal["screen", "balanced", "rule-in"]


class GateSection(_Section):
    """How the gate is fitted: see `training.gate.release`.

    Attributes:
        images: minimum number of variants of the real images of each set; each image has equally many.
        phantoms: drawn frontal chests: two thirds are phantoms, one third projected volumes.
        drawings: of each kind that is not a chest; laterals get three times as many.
        widths: channels at 32, 16, 8 and 4 pixels.
        epochs: of each network.
        batch_size: examples a step.
        learning_rate: maximum of AdamW; it rises over a tenth of the steps and then falls to zero.
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


class LungsSection(_Section):
    """The cut to the lungs, and how the lung network is fitted: see `training.lungs.fit`.

    Attributes:
        margin: around the lungs' box, as a share of its width and height.
        least_area: share of a film that must be lung.
        widths: channels at 64, 32, 16, ... pixels.
        epochs: of each network.
        batch_size: masks a step.
        learning_rate: maximum of AdamW; it rises over a tenth of the steps and then falls to zero.
        rotation, zoom, aspect, shift: geometry of the random variants; the other ranges are those of [augment].
        seed: of the variants and the weights.
    """

    margin: float = Field(ge=0, lt=1)
    least_area: float = Field(gt=0, lt=1)
    widths: tuple[int, ...] = Field(min_length=2)
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    learning_rate: float = Field(gt=0)
    rotation: Range
    zoom: Range
    aspect: Range
    shift: Range
    seed: int

    def geometry(self) -> dict[str, Range]:
        """Return the ranges that take the place of those of [augment]."""
        return {"rotation": self.rotation, "zoom": self.zoom, "aspect": self.aspect, "shift": self.shift}


class FilmSection(_Section):
    """A second network, which sees the whole film; the evidence of both is averaged.

    Attributes:
        zoom, aspect, shift: geometry of its random variants, in units of the film; the other ranges are those of [augment].
    """

    zoom: Range
    aspect: Range
    shift: Range

    def geometry(self) -> dict[str, Range]:
        """Return the ranges that take the place of those of [augment]."""
        return {"zoom": self.zoom, "aspect": self.aspect, "shift": self.shift}


class DistanceSection(_Section):
    """The distance from the training data: see `training.distance.fit`.

    Attributes:
        shrinkage: of the covariance, towards a multiple of the identity.
        beyond: share of the folder's images of unseen patients that may lie beyond the limit.
    """

    shrinkage: float = Field(gt=0, le=1)
    beyond: float = Field(gt=0, lt=1)


class SplitsSection(_Section):
    """The splits that hurt: see `training.splits.dividing`. Calibration and operating points then hold in the worst one.

    Attributes:
        early_numbers: share of the images of each file family that is held out: those with the lowest patient numbers.
        shortcut_lies: share of each class: that which looks most like the other by exposure, sharpness and file size.
        framing_lies: the same by the box around the lungs.
    """

    early_numbers: float = Field(gt=0, le=0.5)
    shortcut_lies: float = Field(gt=0, le=0.5)
    framing_lies: float = Field(gt=0, le=0.5)


class Recipe(_Section):
    """A whole recipe.

    Without `lungs`, the network sees the whole film; with it and `film`, one network sees the lungs and another one the whole
    film. Without `distance`, none is measured.
    """

    model: ModelSection
    data: DataSection
    population: PopulationSection | None = None
    network: NetworkSection
    split: SplitSection
    sampling: SamplingSection
    fit: FitSection
    teacher: TeacherSection | None = None
    augment: AugmentSection
    stress: StressSection
    calibrate: CalibrateSection
    gate: GateSection
    lungs: LungsSection | None = None
    film: FilmSection | None = None
    distance: DistanceSection | None = None
    splits: SplitsSection | None = None

    @property
    def preprocessing(self) -> str:
        """The version of the preprocessing, one of `worker.inference.preprocess.VERSIONS`."""
        return FILM_ALONE if self.lungs is None else LUNGS_ALONE

    @model_validator(mode="after")
    def _check_side(self) -> Recipe:
        if self.lungs is not None and self.augment.side != FIELD_SIDE:
            raise ValueError(f"with a section lungs, augment.side must be {FIELD_SIDE}")
        return self

    @model_validator(mode="after")
    def _check_parts(self) -> Recipe:
        for name in ("film", "splits"):
            if getattr(self, name) is not None and (self.lungs is None or self.teacher is not None):
                # Without lungs, the network sees the film already, and one split is made from the boxes around them. A teacher
                # has seen the held-out patients, and it sees what one network sees.
                raise ValueError(f"a section {name} needs a section lungs, and no section teacher")
        return self


def load_recipe(name: str, base: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe.

    Args:
        name: of a file in `training/recipes` without `.toml`, or the path of another file.
        base: values that the file need not repeat: the recipe of a model that is tuned further. Values in
            the file take precedence. A file can also name another recipe as its `base`.

    Raises:
        WrongInput: the recipe does not exist or is not valid.
    """
    path = recipe_file(name)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        base_name = content.pop("base", None)
        if base_name is not None:
            base = load_recipe(str(base_name), base).model_dump(mode="json")
        if base is None and "network" not in content:
            raise WrongInput(f"The recipe {path} tunes an existing model: name its bundle with --from.")
        return Recipe.model_validate(_merged(base or {}, content))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise WrongInput(f"The recipe {path} is not valid: {_first_line(error)}.") from None


def recipe_file(name: str) -> Path:
    """Return the path of a recipe.

    Raises:
        WrongInput: the recipe does not exist.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(path.stem for path in RECIPES.glob("*.toml")))
        raise WrongInput(
            f"There is no recipe {name}. Choose one of {known}, or give the path of a .toml file."
        )
    return path


def recipe_of_card(card: dict[str, Any]) -> Recipe:
    """Return the recipe on a model's card.

    Raises:
        WrongInput: the card has no recipe that this version understands.
    """
    try:
        return Recipe.model_validate(card.get("recipe"))
    except ValidationError as error:
        raise WrongInput(f"The recipe on the model's card is not valid: {_first_line(error)}.") from None


def with_overrides(recipe: Recipe, epochs: int | None, seed: int | None) -> Recipe:
    """Return the recipe with other epochs or another seed, also for the teacher and the lungs; None keeps a value."""
    update = {key: value for key, value in (("epochs", epochs), ("seed", seed)) if value is not None}
    fit = recipe.fit.model_copy(update=update)
    teacher = recipe.teacher and recipe.teacher.model_copy(
        update={"fit": recipe.teacher.fit.model_copy(update=update)}
    )
    lungs = recipe.lungs and recipe.lungs.model_copy(update=update)
    return recipe.model_copy(update={"fit": fit, "teacher": teacher, "lungs": lungs})


def _merged(base: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Return `base`, with the values of `overrides` in place of its own."""
    merged = dict(base)
    for key, value in overrides.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merged(base[key], value) if both else value
    return merged


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error)
