"""training.architectures: the shipped network, folded and not, and the replaced one."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from training.architectures import BatchNorm, fold, multiply_adds, plain_residual, pooled, seed_cnn
from training.recipe import load_recipe

RNG = np.random.default_rng(1)


def grey(count: int = 2) -> NDArray[np.float32]:
    return RNG.integers(0, 256, (count, 32, 32, 1)).astype(np.float32)


def test_the_shipped_network_is_small_enough() -> None:
    model = plain_residual(**load_recipe("nightread").network.model_dump(), folded=True)
    assert 0.5e6 < model.count_params() <= 1e6
    assert multiply_adds(model) < 250e6


def test_the_evidence_of_the_places_averages_to_the_logits() -> None:
    model = plain_residual(32, (8, 8, 8, 16), 1, 0.0)
    image = grey()
    logits = keras.ops.convert_to_numpy(pooled(model)(image))
    evidence = keras.ops.convert_to_numpy(model(image))
    assert evidence.mean(axis=(1, 2)) == pytest.approx(logits, abs=1e-5)


def test_folding_changes_nothing_but_the_number_of_layers() -> None:
    trained = plain_residual(32, (8, 8, 12, 16), 2, 0.3)
    for _ in range(5):  # Statistics and scales other than those it begins with.
        trained(grey(16), training=True)
    for weight in trained.weights:
        if weight.name in ("gamma", "beta"):
            weight.assign(RNG.uniform(0.5, 1.5, weight.shape))
    folded = fold(trained, plain_residual(32, (8, 8, 12, 16), 2, 0.3, folded=True))
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)
    image = grey()
    before, after = (keras.ops.convert_to_numpy(model(image)) for model in (trained, folded))
    assert after == pytest.approx(before, abs=1e-4)


def test_the_fused_batch_norm_does_what_keras_own_does() -> None:
    features = RNG.normal(3, 2, (8, 5, 5, 4)).astype(np.float32)
    fused, own = BatchNorm(momentum=0.9), keras.layers.BatchNormalization(momentum=0.9)
    found, expected = (keras.ops.convert_to_numpy(norm(features, training=True)) for norm in (fused, own))
    assert found == pytest.approx(expected, abs=1e-4)
    assert fused.get_weights()[2] == pytest.approx(own.get_weights()[2], abs=1e-5)
    # The fused kernel divides by n - 1.
    assert fused.get_weights()[3] == pytest.approx(own.get_weights()[3], rel=0.01)


def test_the_replaced_application_is_as_it_was() -> None:
    assert [tuple(layer.kernel.shape) for layer in seed_cnn().layers if hasattr(layer, "kernel")] == [
        (3, 3, 3, 32), (3, 3, 32, 64), (3, 3, 64, 128), (14 * 14 * 128, 256), (256, 1),
    ]  # fmt: skip
