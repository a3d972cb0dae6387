"""Computes probabilities and activation maps from model inputs."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from worker import __version__
from worker.errors import ModelUnusable
from worker.inference.bundle import Bundle
from worker.inference.distance import DistanceMeasure, open_distance
from worker.inference.runtime import open_runtime
from worker.inference.second_look import average, views
from worker.inference.softmax import softmax

# The log-odds of pneumonia that an activation map shows as 255. In 161 original files, the median of the
# strongest place is 6 in normal images, and 21 in images with pneumonia.
FULL_SCALE = 24.0

_NORMAL = 0
_DIMENSIONS = 3


@dataclass(frozen=True)
class Scores:
    """The output of a model for n images.

    Attributes:
        probabilities: (normal, bacterial, viral), float64, shape (n, 3); each row adds up to 1.
        activation: the log-odds of pneumonia at each place, uint8, shape (n, h, w): 0 where normal is
            more likely, 255 from `FULL_SCALE` up. The scale is the same for all images, so that a clear
            image has a dark map. Log-odds are used because the probability is near 1 everywhere in a
            flagged image.
        distance: from the training data in units of the limit, shape (n,); None: the model does not say.
    """

    probabilities: NDArray[np.float64]
    activation: NDArray[np.uint8]
    distance: NDArray[np.float64] | None = None

    @property
    def p_pneumonia(self) -> NDArray[np.float64]:
        """The score of each image, p_bacterial + p_viral: shape (n,), in 0..1."""
        return np.minimum(self.probabilities[:, 1] + self.probabilities[:, 2], 1.0)

    def __len__(self) -> int:
        return len(self.probabilities)


class Classifier:
    """A loaded model. Not for use by two threads at the same time."""

    def __init__(self, bundle: Bundle, runtime: str = "litert") -> None:
        """Load the model.

        Args:
            bundle: verified by `load_bundle`.
            runtime: `litert`, or `tensorflow` for the float reference.

        Raises:
            ModelUnusable: the runtime cannot load the model.
        """
        self.bundle = bundle
        self._runtime = open_runtime(runtime, bundle.file(runtime))
        self._distance = open_distance(bundle.folder, bundle.card)
        if self._distance is not None:
            self._check_features(self._distance)

    def predict_batch(self, inputs: NDArray[np.uint8]) -> Scores:
        """Score images.

        The network computes logits, which are divided by the calibration temperature of the bundle. Images
        near the threshold get a second look, if the bundle has one. On one machine with one set of
        versions, an image has the same numbers to the last bit in any batch.

        Args:
            inputs: from `to_model_input`, shape (n, side, side); n may be 0.

        Raises:
            ValueError: the inputs have another shape or type.
        """
        side = self.bundle.side
        if inputs.dtype != np.uint8 or inputs.ndim != _DIMENSIONS or inputs.shape[1:] != (side, side):
            raise ValueError(f"inputs must be uint8 (n, {side}, {side}), not {inputs.dtype} {inputs.shape}")
        evidence, distance = self._run(inputs)
        scores = replace(scores_of(evidence, self.bundle.temperature), distance=distance)
        if self.bundle.second_look is not None:
            mask = self.bundle.second_look.selects(scores.p_pneumonia)
            view_evidence = {name: self._runtime.run(view) for name, view in views(inputs[mask]).items()}
            second_scores = scores_of(average(evidence[mask], view_evidence), self.bundle.temperature)
            scores.probabilities[mask] = second_scores.probabilities
            scores.activation[mask] = second_scores.activation
        return scores

    def _check_features(self, distance: DistanceMeasure) -> None:
        """Raise ModelUnusable now, and not with the first image, if the network does not give the features."""
        side = self.bundle.side
        _, features = self._runtime.run_with_features(np.zeros((1, side, side), np.uint8))
        width, expected = features.shape[-1], len(distance.reference.whitening)
        if width != expected:
            raise ModelUnusable(
                f"The network in {self.bundle.folder} has {width} features, and its distance is measured in {expected}."
            )

    def _run(self, inputs: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float64] | None]:
        """Return the evidence, and the distances if the model says them. A second look changes no distance."""
        if self._distance is None:
            return self._runtime.run(inputs), None
        evidence, features = self._runtime.run_with_features(inputs)
        return evidence, self._distance.measure(features)

    @cached_property
    def versions(self) -> dict[str, str]:
        """Name -> version of the software that the numbers depend on."""
        return {
            "nightread": __version__,
            "preprocessing": self.bundle.preprocessing_version,
            "python": platform.python_version(),
            "numpy": version("numpy"),
            "pillow": version("pillow"),
            **self._runtime.versions(),
        }


def scores_of(evidence: NDArray[np.float32] | NDArray[np.float64], temperature: float) -> Scores:
    """Compute scores from the evidence.

    Args:
        evidence: logits at each place, shape (n, h, w, 3).
        temperature: the divisor of the logits; above 1, probabilities are less extreme.
    """
    scaled = evidence.astype(np.float64) / temperature
    # One image at a time, because the order in which numpy adds may depend on the size of the batch.
    probabilities = [softmax(places.mean(axis=(0, 1))) for places in scaled]
    activation = [_activation(places) for places in scaled]
    return Scores(
        np.array(probabilities, dtype=np.float64).reshape(-1, evidence.shape[-1]),
        np.array(activation, dtype=np.uint8).reshape(evidence.shape[:-1]),
    )


def _activation(places: NDArray[np.float64]) -> NDArray[np.uint8]:
    normal = places[..., _NORMAL]
    pneumonia: NDArray[np.float64] = np.logaddexp.reduce(np.delete(places, _NORMAL, axis=-1), axis=-1)
    share = np.clip((pneumonia - normal) / FULL_SCALE, 0.0, 1.0)
    return np.asarray(np.rint(255.0 * share), dtype=np.uint8)
