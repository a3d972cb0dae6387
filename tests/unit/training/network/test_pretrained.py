"""training.network.pretrained: the weights match NOTICE and get into the right layers."""

from __future__ import annotations

import hashlib
from pathlib import Path

import keras
import numpy as np
import pytest

from training.errors import WrongInput
from training.network import pretrained
from training.network.architectures import fold, inverted_residual, named_blocks
from training.network.pretrained import load_pretrained
from training.recipe import NetworkSection, Stage, load_recipe
from worker.phantom import draw_phantom

NETWORK = load_recipe("nightread").network
WEIGHTS = Path(pretrained.__file__).parent / "weights"


def test_weights_are_the_file_in_the_notice() -> None:
    digest = hashlib.sha256((WEIGHTS / "efficientnet-lite0.npz").read_bytes()).hexdigest()
    assert digest in (WEIGHTS / "NOTICE").read_text(encoding="utf-8")


def test_weights_cover_exactly_the_shipped_network() -> None:
    model = inverted_residual(NETWORK)
    begun = {layer.name for layer in model.layers if layer.get_weights()} - {"evidence"}
    with np.load(WEIGHTS / "efficientnet-lite0.npz", allow_pickle=False) as arrays:
        assert {name.partition("/")[0] for name in arrays.files} == begun


def test_the_head_keeps_its_own_weights() -> None:
    model = inverted_residual(NETWORK)
    before = model.get_layer("evidence").get_weights()
    after = load_pretrained(model, NETWORK).get_layer("evidence").get_weights()
    assert all(np.array_equal(*pair) for pair in zip(before, after, strict=True))


def test_weights_reproduce_their_batch_statistics() -> None:
    """Weights in a wrong place or order would give other means than their batch norms expect."""
    model = load_pretrained(inverted_residual(NETWORK), NETWORK)
    chests = [np.asarray(draw_phantom(seed, width=NETWORK.side, height=NETWORK.side)) for seed in range(16)]
    inputs = np.stack(chests)[..., np.newaxis].astype(np.float32)
    convolutions = [f"{name}_project" for name, _ in named_blocks(NETWORK)]
    found = keras.Model(model.input, [model.get_layer(name).output for name in convolutions])(inputs)
    for name, output in zip(convolutions, found, strict=True):
        expected = model.get_layer(f"{name}_norm").moving_mean
        mean = keras.ops.mean(output, axis=(0, 1, 2))
        assert np.corrcoef(*map(keras.ops.convert_to_numpy, (expected, mean)))[0, 1] > 0.5, name
    assert np.isfinite(fold(model, inverted_residual(NETWORK, folded=True)).predict(inputs, verbose=0)).all()


def test_other_shapes_cannot_start_from_the_weights() -> None:
    other = NETWORK.model_copy(
        update={"stages": (Stage(blocks=1, kernel=5, stride=1, expand=1, width=16), *NETWORK.stages[1:])}
    )
    with pytest.raises(WrongInput, match="block0_depthwise has another shape"):
        load_pretrained(inverted_residual(other), other)


def test_longer_network_cannot_start_from_the_weights() -> None:
    longer: NetworkSection = NETWORK.model_copy(update={"stages": (*NETWORK.stages, NETWORK.stages[-1])})
    with pytest.raises(WrongInput, match="block11_expand is not in the file of its weights"):
        load_pretrained(inverted_residual(longer), longer)
