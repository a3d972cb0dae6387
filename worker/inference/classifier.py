"""Computes probabilities and activation maps from model inputs."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from worker import __version__
from worker.errors import ModelUnusable
from worker.inference.activation import FILM_MAP, log_odds, over_film, picture
from worker.inference.bundle import Bundle
from worker.inference.distance import DistanceMeasure, open_distance
from worker.inference.lungs import WHOLE_SIDE
from worker.inference.runtime import Runtime, open_runtime
from worker.inference.second_look import average, views
from worker.inference.softmax import softmax

_DIMENSIONS = 3
EvidenceArray = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """The output of a model for n images.

    Attributes:
        probabilities: (normal, bacterial, viral), float64, shape (n, 3); each row adds up to 1.
        activation: the log-odds of pneumonia at each place, uint8, shape (n, h, w): 0 where normal is
            more likely, 255 from `activation.FULL_SCALE` up. The scale is the same for all images, so that a clear
            image has a dark map. Log-odds are used because the probability is near 1 everywhere in a
            flagged image. With `parts`, it is a map of the whole film.
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
        film = bundle.film_file(runtime)
        self._film: Runtime | None = None if film is None else open_runtime(runtime, film)
        self._distance = open_distance(bundle.folder, bundle.card)
        if self._distance is not None:
            self._check_features(self._distance)

    def predict_batch(
        self,
        inputs: NDArray[np.uint8],
        films: NDArray[np.uint8] | None = None,
        parts: NDArray[np.float64] | None = None,
    ) -> Scores:
        """Score images.

        The network computes logits, which are divided by the calibration temperature of the bundle. If the bundle has a
        film network, the logits are the mean of both networks. Images near the threshold get a second look, if the bundle
        has one. On one machine with one set of versions, an image has the same numbers to the last bit in any batch.

        Args:
            inputs: from `to_model_input`, shape (n, side, side); n may be 0.
            films: the same images as whole films, shape (n, `WHOLE_SIDE`, `WHOLE_SIDE`); only a model with a film network
                needs them.
            parts: left, top, right and bottom of what the inputs show, as shares of the film, shape (n, 4); None: the inputs
                show all of it.

        Raises:
            ValueError: the inputs or the films have another shape or type, or the films are missing.
        """
        _expect_squares("inputs", inputs, self.bundle.side)
        evidence, distance = self._run(inputs)
        looks: list[tuple[Runtime, NDArray[np.uint8], NDArray[np.float32]]] = [
            (self._runtime, inputs, evidence)
        ]
        if self._film is not None:
            if films is None or len(films) != len(inputs):
                raise ValueError("this model needs the film of each input")
            _expect_squares("films", films, WHOLE_SIDE)
            looks.append((self._film, films, self._film.run(films)))
        temperature = self.bundle.temperature
        scores = replace(_scores([first for _, _, first in looks], temperature, parts), distance=distance)
        if self.bundle.second_look is not None:
            mask = self.bundle.second_look.selects(scores.p_pneumonia)
            again = [
                average(first[mask], {name: network.run(view) for name, view in views(images[mask]).items()})
                for network, images, first in looks
            ]
            second = _scores(again, temperature, None if parts is None else parts[mask])
            scores.probabilities[mask] = second.probabilities
            scores.activation[mask] = second.activation
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


def scores_of(evidence: EvidenceArray, temperature: float) -> Scores:
    """Compute scores from the evidence of a network.

    Args:
        evidence: logits at each place, shape (n, h, w, 3).
        temperature: the divisor of the logits; above 1, probabilities are less extreme.
    """
    return _scores([evidence], temperature, None)


def _scores(
    of_networks: Sequence[EvidenceArray], temperature: float, parts: NDArray[np.float64] | None
) -> Scores:
    """Compute scores from the evidence of the network, and of the film network if there is one."""
    scaled = [evidence.astype(np.float64) / temperature for evidence in of_networks]
    count, labels = len(scaled[0]), scaled[0].shape[-1]
    # One image at a time, because the order in which numpy adds may depend on the size of the batch.
    probabilities = [softmax(_mean([places[i] for places in scaled])) for i in range(count)]
    maps = [
        _activation([places[i] for places in scaled], None if parts is None else parts[i].tolist())
        for i in range(count)
    ]
    shape = scaled[0].shape[1:-1] if parts is None and len(scaled) == 1 else (FILM_MAP, FILM_MAP)
    return Scores(
        np.array(probabilities, dtype=np.float64).reshape(-1, labels),
        np.array(maps, dtype=np.uint8).reshape(-1, *shape),
    )


def _mean(of_networks: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the logits of one image: the mean over the places, and over the networks."""
    return np.asarray(sum(places.mean(axis=(0, 1)) for places in of_networks) / len(of_networks))


def _activation(
    of_networks: Sequence[NDArray[np.float64]], part: Sequence[float] | None
) -> NDArray[np.uint8]:
    first, *film = (log_odds(places) for places in of_networks)
    if part is None and not film:
        return picture(first)
    left, top, right, bottom = (0.0, 0.0, 1.0, 1.0) if part is None else part
    return picture(over_film(first, (left, top, right, bottom), film[0] if film else None))


def _expect_squares(name: str, images: NDArray[np.uint8], side: int) -> None:
    if images.dtype != np.uint8 or images.ndim != _DIMENSIONS or images.shape[1:] != (side, side):
        raise ValueError(f"{name} must be uint8 (n, {side}, {side}), not {images.dtype} {images.shape}")
