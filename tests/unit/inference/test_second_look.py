"""worker.inference.second_look, and its use by the classifier."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.bundles import WHOLE_FILMS
from worker.inference.bundle import Bundle, load_bundle
from worker.inference.classifier import Classifier, scores_of
from worker.inference.exposure import normalise
from worker.inference.second_look import VIEWS, SecondLook, average, views
from worker.phantom import draw_phantom


@pytest.fixture(scope="module")
def inputs() -> NDArray[np.uint8]:
    drawn = (draw_phantom(seed, width=128, height=128, opacity=seed % 2 == 0) for seed in range(12))
    return np.stack([normalise(np.asarray(image)) for image in drawn])


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """A model with one network: `test_film_network.py` has two."""
    return load_bundle(WHOLE_FILMS)


def with_second_look(bundle: Bundle, low: float | None, high: float = 1.0) -> Classifier:
    return Classifier(replace(bundle, second_look=None if low is None else SecondLook(low, high)))


def test_the_views_are_mirrored_and_enlarged(inputs: NDArray[np.uint8]) -> None:
    by_name = views(inputs)
    assert tuple(by_name) == VIEWS
    assert np.array_equal(by_name["mirrored"][3], inputs[3, :, ::-1])
    # The pixels at 90 % of the way from the centre to the edge are now at the edge.
    ramp = np.tile(np.arange(128, dtype=np.uint8), (1, 128, 1))
    enlarged = views(ramp)["enlarged"][0, 64].astype(int)
    assert (enlarged[0], enlarged[-1]) == (6, 121)
    assert abs(enlarged[64] - 64) <= 1


def test_mirrored_evidence_is_mirrored_back() -> None:
    first, other = (
        np.random.default_rng(seed).normal(size=(2, 4, 4, 3)).astype(np.float32) for seed in (1, 2)
    )
    mean = average(first, {"mirrored": first[:, :, ::-1], "enlarged": other})
    assert mean == pytest.approx((2 * first + other) / 3, abs=1e-6)


def test_only_scores_in_the_range_get_a_second_look(bundle: Bundle, inputs: NDArray[np.uint8]) -> None:
    once = with_second_look(bundle, None).predict_batch(inputs)
    p = np.sort(once.p_pneumonia)
    low, high = float(p[3]), float(p[8])
    assert low < high
    selected = (once.p_pneumonia >= low) & (once.p_pneumonia < high)
    twice = with_second_look(bundle, low, high).predict_batch(inputs)
    assert np.array_equal(twice.probabilities[~selected], once.probabilities[~selected])
    assert np.array_equal(twice.activation[~selected], once.activation[~selected])
    assert (twice.p_pneumonia[selected] != once.p_pneumonia[selected]).all()


def test_a_second_look_is_the_mean_of_three(bundle: Bundle, inputs: NDArray[np.uint8]) -> None:
    classifier = with_second_look(bundle, 0.0)
    scores = classifier.predict_batch(inputs)
    evidence = [
        classifier._runtime.run(view) for view in (inputs, inputs[:, :, ::-1], views(inputs)["enlarged"])
    ]
    logits = np.mean([logits.mean(axis=(1, 2)) for logits in evidence], axis=0)
    uniform = np.broadcast_to(logits[:, np.newaxis, np.newaxis], (len(inputs), 1, 1, 3)).astype(np.float32)
    expected = scores_of(uniform, bundle.temperature)
    selected = with_second_look(bundle, None).predict_batch(inputs).p_pneumonia < 1
    assert scores.probabilities[selected] == pytest.approx(expected.probabilities[selected], abs=1e-5)


def test_one_image_gives_the_same_bits_as_a_batch(bundle: Bundle, inputs: NDArray[np.uint8]) -> None:
    classifier = with_second_look(bundle, 0.0)
    batch = classifier.predict_batch(inputs)
    for index in range(len(inputs)):
        alone = classifier.predict_batch(inputs[index : index + 1])
        assert np.array_equal(alone.probabilities[0], batch.probabilities[index])
        assert np.array_equal(alone.activation[0], batch.activation[index])


def test_a_second_look_of_no_images_changes_nothing(bundle: Bundle, inputs: NDArray[np.uint8]) -> None:
    assert len(with_second_look(bundle, 0.0).predict_batch(inputs[:0])) == 0
    p = with_second_look(bundle, None).predict_batch(inputs).p_pneumonia
    outside = (
        with_second_look(bundle, float(np.nextafter(p.max(), 2)), 1.0)
        if p.max() < 1
        else with_second_look(bundle, 0.0, 1e-300)
    )
    assert np.array_equal(outside.predict_batch(inputs).p_pneumonia, p)


@pytest.mark.parametrize(
    ("low", "high"), [(0.5, 0.5), (0.6, 0.5), (-0.1, 0.5), (0.5, 1.1), (float("nan"), 0.5)]
)
def test_an_invalid_range_is_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="low < high"):
        SecondLook(low, high)
