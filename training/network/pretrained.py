"""Start weights from ImageNet.

EfficientNet-Lite0 (Tan and Le, ICML 2019; the Lite variant by Google, 2020) was trained on ImageNet. The
folder `weights` holds its stem and first eleven blocks; `weights/NOTICE` states their origin and conversion.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from training.errors import WrongInput
from training.network.architectures import HEAD
from training.recipe import NetworkSection

_WEIGHTS = Path(__file__).parent / "weights"
_PARTS = ("kernel", "gamma", "beta", "moving_mean", "moving_variance")


def load_pretrained(model: keras.Model, network: NetworkSection) -> keras.Model:
    """Set the convolutions and batch norms of a network to pretrained weights; the head keeps its own.

    Args:
        model: of `inverted_residual`, not folded.
        network: its shape: that of the front of EfficientNet-Lite0.

    Returns:
        `model`.

    Raises:
        WrongInput: the network is longer than the file of weights or has layers of other shapes.
    """
    with np.load(_WEIGHTS / f"{network.pretrained}.npz", allow_pickle=False) as weights:
        for layer in model.layers:
            own = layer.get_weights()
            if not own or layer.name == HEAD:
                continue
            pretrained = [weights[name] for part in _PARTS if (name := f"{layer.name}/{part}") in weights]
            if [array.shape for array in pretrained] != [array.shape for array in own]:
                problem = "has another shape" if pretrained else "is not in the file of its weights"
                raise WrongInput(
                    f"The recipe's network cannot start from {network.pretrained}: {layer.name} {problem}."
                )
            layer.set_weights(pretrained)
    return model
