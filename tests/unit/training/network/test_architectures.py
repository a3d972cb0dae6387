"""training.network.architectures: the shipped network, folded and not."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from training.network.architectures import (
    BatchNorm,
    fold,
    inverted_residual,
    multiply_adds,
    named_blocks,
    pooled,
)
from training.recipe import NetworkSection, Stage, load_recipe

RNG = np.random.default_rng(1)


SMALL = NetworkSection(
    side=32,
    stem=8,
    stages=(
        Stage(blocks=1, kernel=3, stride=1, expand=1, width=8),
        Stage(blocks=2, kernel=5, stride=2, expand=3, width=12),
        Stage(blocks=1, kernel=3, stride=2, expand=2, width=16),
    ),
    dropout=0.3,
    pretrained="none",
)


def grey(count: int = 2) -> NDArray[np.float32]:
    return RNG.integers(0, 256, (count, 32, 32, 1)).astype(np.float32)


def test_the_shipped_network_is_small_enough() -> None:
    model = inverted_residual(load_recipe("nightread").network, folded=True)
    assert 0.5e6 < model.count_params() <= 1e6
    assert multiply_adds(model) < 100e6


def test_stage_halves_once_and_adds_matching_inputs() -> None:
    blocks = named_blocks(SMALL)
    assert [(name, block.stride, block.width) for name, block in blocks] == [
        ("block0", 1, 8),
        ("block1", 2, 12),
        ("block2", 1, 12),
        ("block3", 2, 16),
    ]
    model = inverted_residual(SMALL)
    assert model.output.shape == (None, 4, 4, 3)
    # The first block and the second of stage two keep width and size.
    assert sum(isinstance(layer, keras.layers.Add) for layer in model.layers) == 2


def test_multiply_adds_equal_a_manual_count() -> None:
    one = SMALL.model_copy(update={"stages": (Stage(blocks=1, kernel=3, stride=2, expand=2, width=4),)})
    stem, expand, depthwise, project, head = (
        16 * 16 * 8 * 9,
        16 * 16 * 8 * 16,
        8 * 8 * 16 * 9,
        8 * 8 * 16 * 4,
        8 * 8 * 4 * 3,
    )
    assert multiply_adds(inverted_residual(one)) == stem + expand + depthwise + project + head


def test_mean_evidence_equals_the_logits() -> None:
    model = inverted_residual(SMALL)
    image = grey()
    logits = keras.ops.convert_to_numpy(pooled(model)(image))
    evidence = keras.ops.convert_to_numpy(model(image))
    assert evidence.mean(axis=(1, 2)) == pytest.approx(logits, abs=1e-5)


def test_folding_preserves_the_output() -> None:
    trained = inverted_residual(SMALL)
    for _ in range(5):  # Statistics and scales that differ from their initial values.
        trained(grey(16), training=True)
    for weight in trained.weights:
        if weight.name in ("gamma", "beta"):
            weight.assign(RNG.uniform(0.5, 1.5, weight.shape))
    folded = fold(trained, inverted_residual(SMALL, folded=True))
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)
    image = grey()
    before, after = (keras.ops.convert_to_numpy(model(image)) for model in (trained, folded))
    assert after == pytest.approx(before, abs=1e-4)


def test_fused_batch_norm_equals_keras_batch_norm() -> None:
    features = RNG.normal(3, 2, (8, 5, 5, 4)).astype(np.float32)
    fused, own = BatchNorm(momentum=0.9), keras.layers.BatchNormalization(momentum=0.9)
    found, expected = (keras.ops.convert_to_numpy(norm(features, training=True)) for norm in (fused, own))
    assert found == pytest.approx(expected, abs=1e-4)
    assert fused.get_weights()[2] == pytest.approx(own.get_weights()[2], abs=1e-5)
    # The fused kernel divides by n - 1.
    assert fused.get_weights()[3] == pytest.approx(own.get_weights()[3], rel=0.01)


def test_layer_names_do_not_depend_on_earlier_networks() -> None:
    one, other = (inverted_residual(SMALL, folded=True) for _ in range(2))
    assert [layer.name for layer in one.layers] == [layer.name for layer in other.layers]
