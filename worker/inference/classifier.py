"""From model inputs to probabilities and activation maps."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from worker import __version__
from worker.inference.bundle import Bundle
from worker.inference.runtime import open_runtime
from worker.inference.second_look import average, views
from worker.inference.softmax import softmax

# Log-odds of pneumonia at which a map is brightest. Of 161 original files, the strongest place
# reaches 6 in the median normal one, and 21 in the median one with pneumonia.
FULL_SCALE = 24.0

_NORMAL = 0
_DIMENSIONS = 3


@dataclass(frozen=True)
class Scores:
    """What a model says of n images.

    Attributes:
        probabilities: (normal, bacterial, viral), float64, shape (n, 3); each row sums to 1.
        activation: how much each place speaks for pneumonia, uint8, shape (n, h, w): the
            log-odds of its evidence, from 0 where it speaks for normal to 255 at
            `FULL_SCALE`. The scale is the same for all images, so that a clear image has a
            dark map; log-odds, since the probability itself is near 1 all over a flagged one.
    """

    probabilities: NDArray[np.float64]
    activation: NDArray[np.uint8]

    @property
    def p_pneumonia(self) -> NDArray[np.float64]:
        """p_bacterial + p_viral of each image, shape (n,), within 0..1."""
        return np.minimum(self.probabilities[:, 1] + self.probabilities[:, 2], 1.0)

    def __len__(self) -> int:
        return len(self.probabilities)


class Classifier:
    """A loaded model. Not for use by two threads at once."""

    def __init__(self, bundle: Bundle, runtime: str = "litert") -> None:
        """Load the model.

        Args:
            bundle: verified by `load_bundle`.
            runtime: `litert`, or `tensorflow` for the reference.

        Raises:
            ModelUnusable: the runtime cannot load the model.
        """
        self.bundle = bundle
        self._runtime = open_runtime(runtime, bundle.file(runtime))

    def predict_batch(self, inputs: NDArray[np.uint8]) -> Scores:
        """Score images.

        The graph gives logits; the bundle's calibration temperature is applied to them here. Images
        that the first look leaves open get a second one, if the bundle says so.
        The same image gives the same numbers to the last bit in whatever batch it comes, on
        one machine with one set of versions.

        Args:
            inputs: from `to_model_input`, shape (n, side, side); n may be 0.

        Raises:
            ValueError: the inputs are not of that shape and type.
        """
        side = self.bundle.side
        if inputs.dtype != np.uint8 or inputs.ndim != _DIMENSIONS or inputs.shape[1:] != (side, side):
            raise ValueError(f"uint8 (n, {side}, {side}) is needed, got {inputs.dtype} {inputs.shape}")
        evidence = self._runtime.run(inputs)
        scores = scores_of(evidence, self.bundle.temperature)
        if self.bundle.second_look is not None:
            wanted = self.bundle.second_look.selects(scores.p_pneumonia)
            again = {name: self._runtime.run(view) for name, view in views(inputs[wanted]).items()}
            better = scores_of(average(evidence[wanted], again), self.bundle.temperature)
            scores.probabilities[wanted], scores.activation[wanted] = better.probabilities, better.activation
        return scores

    @cached_property
    def versions(self) -> dict[str, str]:
        """The software that the numbers depend on: name to version."""
        return {
            "nightread": __version__,
            "preprocessing": self.bundle.preprocessing_version,
            "python": platform.python_version(),
            "numpy": version("numpy"),
            "pillow": version("pillow"),
            **self._runtime.versions(),
        }


def scores_of(evidence: NDArray[np.float32] | NDArray[np.float64], temperature: float) -> Scores:
    """Turn what the graph gives into scores.

    Args:
        evidence: logits of each place, shape (n, h, w, 3).
        temperature: what the logits are divided by; above 1 makes the model less sure of itself.
    """
    scaled = evidence.astype(np.float64) / temperature
    # One image at a time: the order in which numpy adds may depend on the size of the batch.
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
