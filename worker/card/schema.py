"""The schema of card.json, for the software that scores with a model and for the people who read the card.

`ScoringCard` holds what the software relies on: anything wrong in it is an error. `Card` holds what
people read. Another version of this program, or another maker, may have written the card. In `Card` a
missing or malformed value therefore counts as empty, and unknown sections are kept as they are.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    OnErrorOmit,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

Texts = list[OnErrorOmit[str]]


class Section(BaseModel):
    """A part of the card: values of the wrong type are errors, unknown keys are kept."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


class TolerantSection(Section):
    """A part of the card for people: a malformed optional value counts as missing."""

    @field_validator("*", mode="wrap")
    @classmethod
    def _drop_malformed(
        cls, value: object, handler: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> object:
        try:
            return handler(value)
        except ValidationError:
            field = cls.model_fields[info.field_name or ""]
            if field.is_required():
                raise
            return field.get_default(call_default_factory=True, validated_data={})


class InputSection(Section):
    """The network's input: `side` is the edge of the square in pixels."""

    side: int = Field(ge=16, le=1024)
    preprocessing_version: str


class ScoringCalibration(Section):
    """The calibration that scores depend on: the softmax divides the logits by `temperature`."""

    temperature: float = Field(gt=0, allow_inf_nan=False)


class PointSection(Section):
    """An operating point: threshold and band in [0, 1], and what to expect of it where that was measured."""

    threshold: float
    band_low: float
    band_high: float
    sensitivity: float | None = None
    specificity: float | None = None
    flagged_share: float | None = None


class SecondLookSection(Section):
    """The scores from `low` to `high` that get a second look, and the views that it uses."""

    low: float
    high: float
    views: list[str]


class AgeSection(Section):
    """The youngest and the oldest age, in completed years."""

    min: float = Field(ge=0, allow_inf_nan=False)
    max: float = Field(ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check_order(self) -> AgeSection:
        if self.min > self.max:
            raise ValueError("min must not exceed max")
        return self


class PopulationSection(Section):
    """The patients for whom the figures hold."""

    age_years: AgeSection


class GateSection(Section):
    """The gate's network: its labels, the edge of its input in pixels, and its threshold."""

    labels: list[str] = Field(min_length=2)
    side: int = Field(ge=16, le=1024)
    threshold: float = Field(gt=0, lt=1)


class LungsSection(Section):
    """The rule for the lungs' box: its margin, a share of its size, and the least share of lung in a film."""

    margin: float = Field(ge=0, lt=1)
    least_area: float = Field(gt=0, lt=1)


class DistanceSection(Section):
    """The distance from the training data that is the limit, in standard deviations."""

    limit: float = Field(gt=0, allow_inf_nan=False)


class ScoringFile(Section):
    """A file of the bundle that must have this SHA-256."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class ScoringCard(Section):
    """The sections of card.json that the software relies on."""

    card_version: Literal[1]
    name: str = Field(min_length=1)
    version: str = Field(min_length=1)
    files: dict[str, ScoringFile]
    labels: list[str]
    input: InputSection
    calibration: ScoringCalibration
    operating_points: dict[str, PointSection] = Field(min_length=1)
    default_operating_point: str
    second_look: SecondLookSection | None = None
    population: PopulationSection | None = None


class CalibrationSection(TolerantSection):
    """How the scores were calibrated."""

    temperature: float | None = None
    rule: str = ""


class ImageSetSection(TolerantSection):
    """Metrics on one set of `n` images.

    Each metric is a key of its own, with its 95 % interval in a second key that ends in `_ci`.
    """

    n: int
    patients: int | None = None
    prevalence: float | None = None
    turned_away: int | None = None
    subgroups: dict[str, OnErrorOmit[dict[str, OnErrorOmit[ImageSetSection]]]] = {}


class SpreadSection(TolerantSection):
    """How a metric varies over seeds or folds."""

    mean: float
    sd: float | None = None
    values: list[float] = []


class RocSection(TolerantSection):
    """A ROC curve as two lists of equal length. `threshold` has the threshold of each point, in cards that state it."""

    threshold: list[float] = []
    sensitivity: list[float] = []
    specificity: list[float] = []


class ReliabilitySection(TolerantSection):
    """A reliability diagram: the mean score and the share of pneumonia in each bin."""

    score: list[float] = []
    share: list[float] = []


class CurvesSection(TolerantSection):
    """The diagrams of one set of images."""

    roc: RocSection = RocSection()
    reliability: ReliabilitySection = ReliabilitySection()


class LowestSection(TolerantSection):
    """The lowest sensitivity and specificity of an operating point in any condition, and the condition of each."""

    sensitivity: float
    sensitivity_in: str = ""
    specificity: float
    specificity_in: str = ""


class SplitsSection(TolerantSection):
    """The splits that hurt: held-out images that differ from the training images on purpose.

    `held_out` has a split's sets of figures by condition; `lowest` has an entry for each operating point.
    """

    held_out: dict[str, OnErrorOmit[dict[str, Any]]] = {}
    lowest: dict[str, OnErrorOmit[LowestSection]] = {}


class DatasetSection(TolerantSection):
    """A data set that the model was trained or measured on."""

    name: str = Field(min_length=1)
    source: str = ""
    licence: str = ""
    note: str = ""


class FileSection(TolerantSection):
    """A file of the bundle and its size."""

    sha256: str = Field(min_length=1)
    bytes: int | None = None


class Card(TolerantSection):
    """A model card as people read it; see the module's docstring for what happens to malformed parts."""

    name: str = ""
    version: str = ""
    preliminary: bool = False
    intended_use: str = ""
    not_for: Texts = []
    limits: Texts = []
    population: PopulationSection | None = None
    calibration: CalibrationSection = CalibrationSection()
    operating_points: dict[str, OnErrorOmit[PointSection]] = {}
    default_operating_point: str = ""
    operating_point_rule: str = ""
    metrics: dict[str, Any] = {}
    spread: dict[str, Any] = {}
    networks: dict[str, OnErrorOmit[dict[str, OnErrorOmit[dict[str, OnErrorOmit[float]]]]]] = {}
    curves: dict[str, OnErrorOmit[CurvesSection]] = {}
    splits: SplitsSection = SplitsSection()
    data: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    training: dict[str, Any] = {}
    plots: Texts = []
    files: dict[str, OnErrorOmit[FileSection]] = {}
