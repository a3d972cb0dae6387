"""Numbers of an image that tell the classes apart but are not the disease, and how well they do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from worker.inference.lung_box import LungBox

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

# How the published files are named: the family and the patient's number. Each family counts its own patients.
_NAME = re.compile(r"(NORMAL2-IM-|IM-|person)(\d+)", re.IGNORECASE)
_PERCENTILES = (5, 25, 50, 75, 95)
_FOLDS = 5


def appearance(films: Iterable[NDArray[np.uint8]], sizes: Sequence[int]) -> Floats:
    """Return nine numbers of exposure, sharpness and file size for each image, shape (n, 9).

    Args:
        films: grey values before the exposure is normalised, each of shape (side, side).
        sizes: of the files, in bytes, length n.
    """
    return np.stack([[*_exposure(film), np.log(size)] for film, size in zip(films, sizes, strict=True)])


def framing(boxes: Sequence[LungBox | None]) -> Floats:
    """Return the edges, the width and the height of the box around each image's lungs, shape (n, 6).

    They are shares of the film. An image without lungs counts as one that the lungs fill.
    """
    edges = np.array([(0.0, 0.0, 1.0, 1.0) if box is None else box.edges for box in boxes])
    return np.concatenate([edges, edges[:, 2:] - edges[:, :2]], axis=1)


def resemblance(numbers: Floats, pneumonia: Flags, patients: Sequence[str], degree: int) -> Floats:
    """Return how much each patient's images look like pneumonia by these numbers, shape (n,).

    It is the mean over the patient's images of the probability by a logistic regression that has not seen the patient.

    Args:
        numbers: of each image, shape (n, k).
        pneumonia: shape (n,).
        patients: of each image, length n.
        degree: 1: the numbers themselves; 2: their squares and products, too.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    powers = [PolynomialFeatures(degree)] if degree > 1 else []
    regression = make_pipeline(StandardScaler(), *powers, LogisticRegression(max_iter=3000))
    folds = GroupKFold(min(_FOLDS, len(set(patients))))
    p = cross_val_predict(
        regression, numbers, pneumonia, groups=list(patients), cv=folds, method="predict_proba"
    )
    _, patient = np.unique(np.array(patients), return_inverse=True)
    return np.asarray((np.bincount(patient, p[:, 1]) / np.bincount(patient))[patient])


def numbers_in_names(stems: Sequence[str]) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """Return the family and the patient's number in each file's name; an empty family: the name has none."""
    matches = [_NAME.match(stem) for stem in stems]
    families = [match.group(1).lower() if match else "" for match in matches]
    return np.array(families), np.array([int(match.group(2)) if match else 0 for match in matches])


def _exposure(film: NDArray[np.uint8]) -> list[float]:
    """Return mean, deviation, percentiles and the logarithm of the sharpness of a film."""
    values = film.astype(np.float64)
    sharpness = sum(float(np.abs(np.diff(values, axis=axis)).mean()) for axis in (0, 1))
    # A film of one grey value is rejected before; the least step keeps the logarithm finite all the same.
    least = 1 / film.size
    percentiles = np.percentile(values, _PERCENTILES)
    return [float(values.mean()), float(values.std()), *percentiles, float(np.log(max(sharpness, least)))]
