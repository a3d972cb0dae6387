"""Shortcuts: numbers that separate the classes without looking at lungs, which a network may learn instead.

Examples are the brightness of an image, the size of its file or the view. If one of them separates the
classes, a network with good metrics may have learned only that, and fails in the next hospital
(Geirhos et al., Nature Machine Intelligence 2, 2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.exploration.survey import EXPOSURE, Survey

# From this AUC on, or its mirror image below 0.5, a single number gets a warning.
TELLING = 0.70
_SURE = 4  # standard errors; a dozen numbers are tested, on small sets too
_FOLDS = 5
_FEWEST_PATIENTS = 25  # patients in each class, for a regression
_OLDEST = 120

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Number:
    """One number of each image; NaN if unknown.

    Attributes:
        name: key in the document.
        words: description for a sentence.
        values: shape (n,).
        evened: the number after preprocessing, or None if preprocessing does not change it.
        yes_or_no: whether the values are 1 and 0.
    """

    name: str
    words: str
    values: Floats
    evened: Floats | None = None
    yes_or_no: bool = False


@dataclass(frozen=True)
class Shortcut:
    """How well one number separates pneumonia from normal.

    Attributes:
        name: key in the document.
        words: description for a sentence.
        normal: median of the normal images; for yes or no, the share of yes.
        pneumonia: the same for images with pneumonia.
        auc: chance that an image with pneumonia has the higher number (ties count half).
        evened_auc: the same after preprocessing; None if preprocessing does not change the number.
        telling: whether the AUC is far from 0.5, and not by chance.
        yes_or_no: whether the number is 1 or 0.
    """

    name: str
    words: str
    normal: float
    pneumonia: float
    auc: float
    evened_auc: float | None
    telling: bool
    yes_or_no: bool

    @property
    def strength(self) -> float:
        """The AUC of the better direction, 0.5..1."""
        return max(self.auc, 1 - self.auc)


@dataclass(frozen=True)
class Together:
    """How well several numbers together separate the classes: AUC on patients that the regression did not see."""

    name: str
    words: str
    auc: float


def numbers(survey: Survey) -> list[Number]:
    """Return all numbers of the images outside the test split, the most interesting first."""
    chosen = survey.outside_test()
    files = [file for file, keep in zip(survey.files, chosen, strict=True) if keep]
    sizes = np.array([file.size for file in files], dtype=np.float64).reshape(-1, 2)
    in_colour = np.array([float(file.mode != "L") for file in files])
    exposure = [
        Number(name, _EXPOSURE_WORDS[name], survey.exposure[chosen, at], survey.evened[chosen, at])
        for at, name in enumerate(EXPOSURE)
    ]
    stored = [
        Number("bytes", "the file's size in bytes", np.array([file.bytes for file in files], dtype=float)),
        Number("width", "the width in pixels", sizes[:, 0]),
        Number("height", "the height in pixels", sizes[:, 1]),
        Number("aspect", "width over height", sizes[:, 0] / sizes[:, 1]),
        Number("colour", "being stored in colour", in_colour, yes_or_no=True),
        Number("coarseness", "how coarsely the JPEG is quantised", np.array([f.coarseness for f in files])),
    ]
    return [*exposure, *stored, *_traits(survey, chosen)]


def shortcuts(pneumonia: Flags, candidates: Sequence[Number]) -> list[Shortcut]:
    """Compute the shortcut of each number that is not the same for all images, the strongest first.

    Args:
        pneumonia: the label, shape (n,).
        candidates: of `numbers`.
    """
    results = [found for number in candidates if (found := _shortcut_of(pneumonia, number)) is not None]
    return sorted(results, key=lambda shortcut: -shortcut.strength)


def together(
    pneumonia: Flags, patients: Sequence[str], name: str, words: str, values: Floats
) -> Together | None:
    """Fit a logistic regression to numbers, their squares and products.

    Args:
        pneumonia: the label, shape (n,).
        patients: of the n images.
        name: key in the document.
        words: description of the numbers for a sentence.
        values: shape (n, k).

    Returns:
        The AUC over five folds by patient; None if a class has too few patients.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has no types

    groups = np.asarray(patients)
    if min(len(set(groups[pneumonia])), len(set(groups[~pneumonia]))) < _FEWEST_PATIENTS:
        return None
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=0)
    # This solver takes a second for thousands of images; lbfgs takes half a minute.
    regression = LogisticRegression(solver="newton-cholesky", max_iter=200)
    model = make_pipeline(StandardScaler(), PolynomialFeatures(2), regression)
    # The matrices are small; threads would only wait for each other on a busy machine.
    with threadpool_limits(1):
        p = cross_val_predict(model, values, pneumonia, groups=groups, cv=folds, method="predict_proba")
    return Together(name, words, float(roc_auc_score(pneumonia, p[:, 1])))


def all_together(survey: Survey) -> list[Together]:
    """Fit the regression to exposure as stored, exposure after preprocessing, and file properties."""
    chosen = survey.outside_test()
    images = [image.radiograph for image, keep in zip(survey.images, chosen, strict=True) if keep]
    pneumonia = np.array([image.pneumonia for image in images], dtype=bool)
    patients = [image.patient for image in images]
    stored = np.column_stack([n.values for n in numbers(survey) if n.name in _STORED])
    candidates = (
        ("exposure", "the five numbers of exposure", survey.exposure[chosen]),
        ("exposure_evened", "the same five after preprocessing", survey.evened[chosen]),
        ("file", "how the file is stored (bytes, size, quantisation)", stored),
    )
    results = [together(pneumonia, patients, *candidate) for candidate in candidates]
    return [item for item in results if item is not None]


_EXPOSURE_WORDS = {
    "brightness": "the mean grey value",
    "contrast": "the spread of the grey values",
    "black": "the share of black pixels",
    "white": "the share of white pixels",
    "sharpness": "sharpness",
}
_STORED = ("bytes", "width", "height", "coarseness")


def age_of(age_years: str | None) -> float:
    """Return an age as a number; NaN if it is missing or impossible."""
    try:
        age = float(age_years or "nan")
    except ValueError:
        return math.nan
    return age if 0 <= age <= _OLDEST else math.nan


def _traits(survey: Survey, chosen: Flags) -> list[Number]:
    """Return age, and each trait that has exactly two values."""
    traits = [
        image_traits.radiograph.traits
        for image_traits, keep in zip(survey.images, chosen, strict=True)
        if keep
    ]
    numbers_of_traits = []
    if any("age_years" in traits_of_image for traits_of_image in traits):
        ages = np.array([age_of(traits_of_image.get("age_years")) for traits_of_image in traits])
        numbers_of_traits.append(Number("age_years", "the patient's age", ages))
    for trait in ("sex", "view"):
        values = sorted({traits_of_image[trait] for traits_of_image in traits if trait in traits_of_image})
        if len(values) == 2:  # noqa: PLR2004 - of more values none is the higher one
            is_first = [
                float(traits_of_image[trait] == values[0]) if trait in traits_of_image else math.nan
                for traits_of_image in traits
            ]
            words = f"the {trait} being {values[0]}"
            numbers_of_traits.append(Number(trait, words, np.array(is_first), yes_or_no=True))
    return numbers_of_traits


def _shortcut_of(pneumonia: Flags, number: Number) -> Shortcut | None:
    from sklearn.metrics import roc_auc_score

    known = np.isfinite(number.values)
    sick, values = pneumonia[known], number.values[known]
    if sick.all() or not sick.any() or np.ptp(values) == 0:
        return None
    auc = float(roc_auc_score(sick, values))
    evened = None if number.evened is None else float(roc_auc_score(sick, number.evened[known]))
    # Standard error of the Mann-Whitney statistic without any difference, divided by the number of pairs.
    error = math.sqrt((len(sick) + 1) / (12 * sick.sum() * (~sick).sum()))
    distance = abs(auc - 0.5)
    typical = np.mean if number.yes_or_no else np.median
    return Shortcut(
        name=number.name,
        words=number.words,
        normal=float(typical(values[~sick])),
        pneumonia=float(typical(values[sick])),
        auc=auc,
        evened_auc=evened,
        telling=distance >= TELLING - 0.5 and distance > _SURE * error,
        yes_or_no=number.yes_or_no,
    )
