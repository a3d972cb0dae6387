"""Numbers that tell the classes apart without looking at a lung, which a network may learn instead.

How bright an image is, how large its file, from which side the patient was X-rayed: if one of them
alone separates the classes, a network that scores well may have learned no more than that, and fails
in the next hospital (Geirhos et al., Nature Machine Intelligence 2, 2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.exploration.survey import EXPOSURE, Survey

# From this AUC on (or its mirror image below 0.5) a number alone is worth a warning.
TELLING = 0.70
_SURE = 4  # standard errors of chance: a dozen numbers are asked, of small sets too
_FOLDS = 5
_FEWEST_PATIENTS = 25  # in each class, for a model on patients that it has not seen
_OLDEST = 120

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Number:
    """One number of each image: NaN where it is not known.

    Attributes:
        name: key in the document.
        words: what it is, as it is put into a sentence.
        values: shape (n,).
        evened: the same number after preprocessing, or None where that does not change it.
        yes_or_no: whether the values are 1 and 0.
    """

    name: str
    words: str
    values: Floats
    evened: Floats | None = None
    yes_or_no: bool = False


@dataclass(frozen=True)
class Shortcut:
    """How far one number, or several together, tells pneumonia from normal.

    Attributes:
        normal: the median of the normal images; the share of yes of a yes-or-no.
        pneumonia: the same of the others.
        auc: that a pneumonia's number is the higher one (ties count half).
        evened_auc: the same after preprocessing; None where that does not change it.
        telling: far enough from 0.5, and surely no accident.
        yes_or_no: whether the number is one.
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
        """AUC whichever class has the higher numbers, 0.5..1."""
        return max(self.auc, 1 - self.auc)


@dataclass(frozen=True)
class Together:
    """What several numbers are worth together: AUC on patients that the regression had not seen."""

    name: str
    words: str
    auc: float


def numbers(survey: Survey) -> list[Number]:
    """All numbers that are asked of the images outside the test split, in the order of a reader's interest."""
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


def shortcuts(pneumonia: Flags, asked: Sequence[Number]) -> list[Shortcut]:
    """Ask every number that is not the same for all, the strongest first.

    Args:
        pneumonia: the truth, shape (n,).
        asked: of `numbers`.
    """
    found = [each for number in asked if (each := _asked(pneumonia, number)) is not None]
    return sorted(found, key=lambda each: -each.strength)


def together(
    pneumonia: Flags, patients: Sequence[str], name: str, words: str, values: Floats
) -> Together | None:
    """What numbers are worth together: logistic regression on them, their squares and products.

    Args:
        pneumonia: the truth, shape (n,).
        patients: whose each image is, n of them.
        name: key in the document.
        words: what the numbers are, as they are put into a sentence.
        values: shape (n, k).

    Returns:
        The AUC of five folds, by patient, together; None where a class has too few patients for it.
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
    # This solver takes a second for thousands of images where lbfgs takes half a minute.
    regression = LogisticRegression(solver="newton-cholesky", max_iter=200)
    model = make_pipeline(StandardScaler(), PolynomialFeatures(2), regression)
    # The matrices are small: on a busy machine threads would only wait for one another.
    with threadpool_limits(1):
        p = cross_val_predict(model, values, pneumonia, groups=groups, cv=folds, method="predict_proba")
    return Together(name, words, float(roc_auc_score(pneumonia, p[:, 1])))


def all_together(survey: Survey) -> list[Together]:
    """Exposure as filed, exposure as a network sees it, and how the files are stored."""
    chosen = survey.outside_test()
    images = [each.radiograph for each, keep in zip(survey.images, chosen, strict=True) if keep]
    pneumonia = np.array([each.pneumonia for each in images], dtype=bool)
    patients = [each.patient for each in images]
    stored = np.column_stack([n.values for n in numbers(survey) if n.name in _STORED])
    asked = (
        ("exposure", "the five numbers of exposure", survey.exposure[chosen]),
        ("exposure_evened", "the same five after preprocessing", survey.evened[chosen]),
        ("file", "how the file is stored (bytes, size, quantisation)", stored),
    )
    found = [together(pneumonia, patients, *each) for each in asked]
    return [each for each in found if each is not None]


_EXPOSURE_WORDS = {
    "brightness": "the mean grey value",
    "contrast": "the spread of the grey values",
    "black": "the share of black pixels",
    "white": "the share of white pixels",
    "sharpness": "sharpness",
}
_STORED = ("bytes", "width", "height", "coarseness")


def age_of(age_years: str | None) -> float:
    """An age as a number; NaN where there is none, or none that a person reaches."""
    try:
        age = float(age_years or "nan")
    except ValueError:
        return math.nan
    return age if 0 <= age <= _OLDEST else math.nan


def _traits(survey: Survey, chosen: Flags) -> list[Number]:
    """Age, and each trait that has exactly two values."""
    traits = [each.radiograph.traits for each, keep in zip(survey.images, chosen, strict=True) if keep]
    found = []
    if any("age_years" in each for each in traits):
        ages = np.array([age_of(each.get("age_years")) for each in traits])
        found.append(Number("age_years", "the patient's age", ages))
    for trait in ("sex", "view"):
        values = sorted({each[trait] for each in traits if trait in each})
        if len(values) == 2:  # noqa: PLR2004 - of more values none is the higher one
            is_first = [float(each[trait] == values[0]) if trait in each else math.nan for each in traits]
            words = f"the {trait} being {values[0]}"
            found.append(Number(trait, words, np.array(is_first), yes_or_no=True))
    return found


def _asked(pneumonia: Flags, number: Number) -> Shortcut | None:
    from sklearn.metrics import roc_auc_score

    known = np.isfinite(number.values)
    sick, values = pneumonia[known], number.values[known]
    if sick.all() or not sick.any() or np.ptp(values) == 0:
        return None
    auc = float(roc_auc_score(sick, values))
    evened = None if number.evened is None else float(roc_auc_score(sick, number.evened[known]))
    # Of the Mann-Whitney statistic without any difference, divided by the number of pairs.
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
